// SPDX-License-Identifier: GPL-2.0-or-later
/* Loops over packets and maps by callbacks: bpf_loop, bpf_for_each_map_elem, and a bounded loop. */
#include "helpers.h"
#include "packet.h"

struct {
	MAP_UINT(type, MAP_ARRAY);
	MAP_UINT(max_entries, 16);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
} histogram SEC(".maps");

struct {
	MAP_UINT(type, MAP_HASH);
	MAP_UINT(max_entries, 64);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
} lengths SEC(".maps");

struct scan {
	struct __sk_buff *skb;
	u32 sum;
	u32 zeros;
	u32 newline; /* offset of the first, or 0 */
};

static long scan_byte(u32 index, void *context)
{
	struct scan *scan = context;
	u8 byte = 0;

	if (bpf_skb_load_bytes(scan->skb, index, &byte, 1))
		return 1;
	scan->sum += byte;
	scan->zeros += !byte;
	if (byte == '\n' && !scan->newline) {
		scan->newline = index;
		return 1;
	}
	return 0;
}

SEC("tc/scan")
int scan(struct __sk_buff *skb)
{
	struct scan scan = {.skb = skb};
	long times = bpf_loop(skb->len > 512 ? 512 : skb->len, scan_byte, &scan, 0);

	skb->cb[0] = times;
	skb->cb[1] = scan.sum;
	skb->cb[2] = scan.zeros;
	skb->cb[3] = scan.newline;
	return scan.newline ? TC_ACT_PIPE : TC_ACT_OK;
}

struct total {
	u64 sum;
	u64 largest;
	u32 entries;
	u32 limit;
};

static long add_up(void *map, void *key, void *value, void *context)
{
	struct total *total = context;
	u64 count = *(u64 *)value;

	(void)map;
	(void)key;
	total->sum += count;
	if (count > total->largest)
		total->largest = count;
	return ++total->entries == total->limit;
}

/* Buckets of powers of two; entries of the hash that are too old go while it is walked. */
static long drop_small(void *map, void *key, void *value, void *context)
{
	u32 length = *(u32 *)key;
	u32 *dropped = context;

	if (length < 64 && *(u64 *)value > 2) {
		bpf_map_delete_elem(map, &length);
		*dropped += 1;
	}
	return 0;
}

SEC("tc/walk")
int walk(struct __sk_buff *skb)
{
	struct total total = {.limit = 12};
	u32 bucket = 0, length = skb->len, dropped = 0;
	u64 *count, one = 1;

	for (u32 size = length; size > 1 && bucket < 15; size >>= 1)
		bucket++;
	count = bpf_map_lookup_elem(&histogram, &bucket);
	if (count)
		__sync_fetch_and_add(count, 1);
	count = bpf_map_lookup_elem(&lengths, &length);
	if (count)
		*count += 1;
	else
		bpf_map_update_elem(&lengths, &length, &one, UPDATE_ANY);
	skb->cb[0] = bpf_for_each_map_elem(&histogram, add_up, &total, 0);
	skb->cb[1] = total.sum;
	skb->cb[2] = total.largest;
	skb->cb[3] = bpf_for_each_map_elem(&lengths, drop_small, &dropped, 0);
	skb->cb[4] = dropped;
	return TC_ACT_OK;
}

LICENSE("GPL");
