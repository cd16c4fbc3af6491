// SPDX-License-Identifier: GPL-2.0-or-later
/* A load balancer by consistent hashing: each service has a table of its own, an inner map that user space
 * replaces when backends come and go.  Connections that are known stay where they are.
 */
#include "helpers.h"
#include "packet.h"

#define TABLE 251 /* a prime */

struct service {
	be32 address;
	be16 port;
	u8 protocol;
	u8 unused;
};

struct backend {
	u8 mac[6];
	u16 weight;
};

struct table {
	MAP_UINT(type, MAP_ARRAY);
	MAP_UINT(max_entries, TABLE);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u32);
};

struct table web SEC(".maps");
struct table names SEC(".maps");

struct {
	MAP_UINT(type, MAP_ARRAY_OF_MAPS);
	MAP_UINT(max_entries, 4);
	MAP_TYPE(key, u32);
	MAP_ARRAY_OF(values, struct table);
} tables SEC(".maps") = {
	.values = {[1] = (void *)&web, [2] = (void *)&names},
};

struct {
	MAP_UINT(type, MAP_HASH);
	MAP_UINT(max_entries, 64);
	MAP_TYPE(key, struct service);
	MAP_TYPE(value, u32);
} services SEC(".maps");

struct {
	MAP_UINT(type, MAP_LRU_HASH);
	MAP_UINT(max_entries, 4096);
	MAP_TYPE(key, struct flow);
	MAP_TYPE(value, u32);
} connections SEC(".maps");

struct {
	MAP_UINT(type, MAP_ARRAY);
	MAP_UINT(max_entries, 16);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct backend);
} backends SEC(".maps");

struct {
	MAP_UINT(type, MAP_PERCPU_ARRAY);
	MAP_UINT(max_entries, 16);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64[2]);
} sent SEC(".maps");

INLINE u32 mix(u32 hash, u32 word)
{
	hash ^= word * 0xcc9e2d51;
	hash = (hash << 13 | hash >> 19) * 5 + 0xe6546b64;
	return hash;
}

SEC("tc")
int maglev(struct __sk_buff *skb)
{
	struct service service = {};
	struct backend *backend;
	u32 *index, *known, *slot, hash, id;
	struct flow flow;
	struct eth *eth;
	void *table;
	u64 *count;

	if (flow_of(skb, &flow))
		return TC_ACT_UNSPEC;
	service.address = flow.dst;
	service.port = flow.dst_port;
	service.protocol = flow.protocol;
	index = bpf_map_lookup_elem(&services, &service);
	if (!index)
		return TC_ACT_OK;
	known = bpf_map_lookup_elem(&connections, &flow);
	if (known) {
		id = *known;
	} else {
		table = bpf_map_lookup_elem(&tables, index);
		if (!table)
			return TC_ACT_SHOT;
		hash = mix(mix(mix(flow.protocol, flow.src), flow.dst), (u32)flow.src_port << 16 | flow.dst_port);
		hash = (hash ^ hash >> 15) % TABLE;
		slot = bpf_map_lookup_elem(table, &hash);
		if (!slot)
			return TC_ACT_SHOT;
		id = *slot;
		bpf_map_update_elem(&connections, &flow, &id, UPDATE_ANY);
	}
	backend = bpf_map_lookup_elem(&backends, &id);
	count = bpf_map_lookup_elem(&sent, &id);
	if (!backend || !count || !backend->weight)
		return TC_ACT_SHOT;
	count[0] += 1;
	count[1] += skb->len;
	eth = DATA(skb);
	if ((void *)(eth + 1) > DATA_END(skb))
		return TC_ACT_SHOT;
	memcpy(eth->src, eth->dst, 6);
	memcpy(eth->dst, backend->mac, 6);
	skb->mark = id;
	return TC_ACT_OK;
}

LICENSE("GPL");
