// SPDX-License-Identifier: GPL-2.0-or-later
/* Was this flow seen before?  A bloom filter says no for certain, or perhaps; only then is a table asked. */
#include "helpers.h"
#include "packet.h"

struct {
	MAP_UINT(type, MAP_BLOOM_FILTER);
	MAP_UINT(max_entries, 10000);
	MAP_UINT(map_extra, 5); /* hash functions */
	MAP_TYPE(value, struct flow);
} filter SEC(".maps");

struct {
	MAP_UINT(type, MAP_HASH);
	MAP_UINT(max_entries, 1000);
	MAP_TYPE(key, struct flow);
	MAP_TYPE(value, u64);
} table SEC(".maps");

u64 asked_table;
u64 certain;

SEC("tc")
int seen(struct __sk_buff *skb)
{
	struct flow flow;
	u64 *count, one = 1;

	if (flow_of(skb, &flow))
		return TC_ACT_UNSPEC;
	if (bpf_map_peek_elem(&filter, &flow)) {
		certain++;
		bpf_map_push_elem(&filter, &flow, UPDATE_ANY);
		bpf_map_update_elem(&table, &flow, &one, UPDATE_ANY);
		return TC_ACT_OK;
	}
	asked_table++;
	count = bpf_map_lookup_elem(&table, &flow);
	if (count)
		++*count;
	return TC_ACT_PIPE;
}

LICENSE("GPL");
