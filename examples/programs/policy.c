// SPDX-License-Identifier: GPL-2.0-or-later
/* Policies as maps in maps: which table of ports applies depends on the network, or on the tenant.
 *
 * User space builds a new inner map and puts it in place of the old: a packet sees one or the other.
 */
#include "helpers.h"
#include "packet.h"

struct verdict {
	u32 action;
	u32 hits;
};

struct inner {
	MAP_UINT(type, MAP_HASH);
	MAP_UINT(max_entries, 128);
	MAP_TYPE(key, be16);
	MAP_TYPE(value, struct verdict);
};

struct inner web SEC(".maps");
struct inner dns SEC(".maps");

struct {
	MAP_UINT(type, MAP_ARRAY_OF_MAPS);
	MAP_UINT(max_entries, 4);
	MAP_TYPE(key, u32);
	MAP_ARRAY_OF(values, struct inner);
} by_protocol SEC(".maps") = {
	.values = {[1] = (void *)&web, [2] = (void *)&dns},
};

struct {
	MAP_UINT(type, MAP_HASH_OF_MAPS);
	MAP_UINT(max_entries, 64);
	MAP_TYPE(key, u32);
	MAP_ARRAY_OF(values, struct {
		MAP_UINT(type, MAP_ARRAY);
		MAP_UINT(max_entries, 4);
		MAP_TYPE(key, u32);
		MAP_TYPE(value, u64);
	});
} by_tenant SEC(".maps");

SEC("tc")
int policy(struct __sk_buff *skb)
{
	u32 index, tenant = skb->mark, slot;
	struct verdict *verdict;
	struct flow flow;
	void *ports, *counters;
	u64 *count;

	if (flow_of(skb, &flow))
		return TC_ACT_UNSPEC;
	slot = flow.protocol & 3;
	counters = bpf_map_lookup_elem(&by_tenant, &tenant);
	if (counters) {
		count = bpf_map_lookup_elem(counters, &slot);
		if (count)
			*count += skb->len;
	}
	index = flow.protocol == IPPROTO_TCP ? 1 : flow.protocol == IPPROTO_UDP ? 2 : 3;
	ports = bpf_map_lookup_elem(&by_protocol, &index);
	if (!ports)
		return TC_ACT_PIPE;
	verdict = bpf_map_lookup_elem(ports, &flow.dst_port);
	if (!verdict) {
		struct verdict first = {.action = TC_ACT_OK, .hits = 1};

		return bpf_map_update_elem(ports, &flow.dst_port, &first, UPDATE_ANY) ? TC_ACT_SHOT : TC_ACT_OK;
	}
	verdict->hits++;
	return verdict->action;
}

LICENSE("GPL");
