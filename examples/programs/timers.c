// SPDX-License-Identifier: GPL-2.0-or-later
/* Idle flows: each packet of a flow winds its timer up again. */
#include "helpers.h"
#include "packet.h"

#define CLOCK_MONOTONIC 1
#define IDLE 3600000000000ULL /* an hour */

struct entry {
	struct bpf_timer timer;
	u64 packets;
};

struct {
	MAP_UINT(type, MAP_HASH);
	MAP_UINT(max_entries, 64);
	MAP_TYPE(key, struct flow);
	MAP_TYPE(value, struct entry);
} entries SEC(".maps");

u64 expired;

static int expire(void *map, struct flow *flow, struct entry *entry)
{
	(void)entry;
	expired++;
	bpf_map_delete_elem(map, flow);
	return 0;
}

SEC("tc")
int timers(struct __sk_buff *skb)
{
	struct entry *entry, fresh = {};
	struct flow flow;

	if (flow_of(skb, &flow))
		return TC_ACT_UNSPEC;
	entry = bpf_map_lookup_elem(&entries, &flow);
	if (!entry) {
		bpf_map_update_elem(&entries, &flow, &fresh, UPDATE_NOEXIST);
		entry = bpf_map_lookup_elem(&entries, &flow);
		if (!entry)
			return TC_ACT_SHOT;
		skb->cb[0] = -bpf_timer_start(&entry->timer, IDLE, 0); /* before init: refused */
		skb->cb[1] = -bpf_timer_init(&entry->timer, &entries, CLOCK_MONOTONIC);
		skb->cb[2] = -bpf_timer_set_callback(&entry->timer, expire);
	}
	entry->packets++;
	skb->cb[3] = -bpf_timer_init(&entry->timer, &entries, CLOCK_MONOTONIC); /* again: refused */
	skb->cb[4] = -bpf_timer_start(&entry->timer, IDLE, 0);
	if (entry->packets > 5)
		skb->mark = bpf_timer_cancel(&entry->timer);
	return TC_ACT_OK;
}

LICENSE("GPL");
