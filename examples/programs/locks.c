// SPDX-License-Identifier: GPL-2.0-or-later
/* Counters that belong together change together: a spin lock in the map's value. */
#include "helpers.h"
#include "packet.h"

struct window {
	u32 epoch;
	struct bpf_spin_lock lock;
	u64 packets;
	u64 bytes;
	u32 average;
	u32 unused;
};

struct {
	MAP_UINT(type, MAP_ARRAY);
	MAP_UINT(max_entries, 4);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct window);
} windows SEC(".maps");

struct {
	MAP_UINT(type, MAP_HASH);
	MAP_UINT(max_entries, 64);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct window);
} by_mark SEC(".maps");

NOINLINE static int record(struct window *window, u32 len)
{
	int rolled = 0;

	bpf_spin_lock(&window->lock);
	window->packets++;
	window->bytes += len;
	if (window->packets == 8) {
		window->average = (u32)window->bytes / 8;
		window->packets = 0;
		window->bytes = 0;
		window->epoch++;
		rolled = 1;
	}
	bpf_spin_unlock(&window->lock);
	return rolled;
}

SEC("tc")
int locks(struct __sk_buff *skb)
{
	u32 slot = skb->len & 3, mark = skb->mark;
	struct window *window;
	int rolled = 0;

	window = bpf_map_lookup_elem(&windows, &slot);
	if (window)
		rolled = record(window, skb->len);
	window = bpf_map_lookup_elem(&by_mark, &mark);
	if (window) {
		rolled += record(window, skb->len);
	} else {
		struct window first = {.packets = 1, .bytes = skb->len};

		bpf_map_update_elem(&by_mark, &mark, &first, UPDATE_ANY);
	}
	if (rolled) {
		struct window reset = {.epoch = 1000};

		slot = 3;
		bpf_map_update_elem(&windows, &slot, &reset, UPDATE_LOCK);
	}
	return rolled ? TC_ACT_PIPE : TC_ACT_OK;
}

LICENSE("GPL");
