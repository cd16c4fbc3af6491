// SPDX-License-Identifier: GPL-2.0-or-later
/* A load balancer: a virtual service is spread over backends by a hash of the flow.
 *
 * The hash is the program's own (a hash of the kernel's would change at each boot, and move flows).
 * The packet goes to its backend by rewriting the link-layer destination: direct server return.
 */
#include "helpers.h"
#include "packet.h"

#define SLOTS 64 /* a power of two */

struct service {
	be32 address;
	be16 port;
	u8 protocol;
	u8 unused;
};

struct backend {
	u8 mac[6];
	u16 ifindex;
	u32 id;
};

struct {
	MAP_UINT(type, MAP_HASH);
	MAP_UINT(max_entries, 16);
	MAP_TYPE(key, struct service);
	MAP_TYPE(value, u32);
} services SEC(".maps");

struct {
	MAP_UINT(type, MAP_ARRAY);
	MAP_UINT(max_entries, 4 * SLOTS);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u32);
} slots SEC(".maps");

struct {
	MAP_UINT(type, MAP_ARRAY);
	MAP_UINT(max_entries, 8);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct backend);
} backends SEC(".maps");

struct {
	MAP_UINT(type, MAP_PERCPU_ARRAY);
	MAP_UINT(max_entries, 8);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64[2]);
} load SEC(".maps");

/* Multiply and fold, a word at a time. */
INLINE u32 mix(u32 hash, u32 word)
{
	u64 product = (u64)(hash ^ word) * 0x9e3779b97f4a7c15ULL;

	return (u32)(product >> 32) ^ (u32)product;
}

INLINE u32 flow_hash(const struct flow *flow)
{
	u32 hash = mix(0x811c9dc5, flow->src);

	hash = mix(hash, flow->dst);
	hash = mix(hash, (u32)flow->src_port << 16 | flow->dst_port);
	return mix(hash, flow->protocol);
}

SEC("classifier")
int balance(struct __sk_buff *skb)
{
	struct service service = {};
	struct backend *backend;
	struct eth *eth;
	u32 *base, *id, slot;
	struct flow flow;
	u64 *counters;

	if (flow_of(skb, &flow))
		return TC_ACT_UNSPEC;
	service.address = flow.dst;
	service.port = flow.dst_port;
	service.protocol = flow.protocol;
	base = bpf_map_lookup_elem(&services, &service);
	if (!base)
		return TC_ACT_UNSPEC;
	slot = *base * SLOTS + (flow_hash(&flow) & (SLOTS - 1));
	id = bpf_map_lookup_elem(&slots, &slot);
	if (!id)
		return TC_ACT_SHOT;
	backend = bpf_map_lookup_elem(&backends, id);
	if (!backend || !backend->ifindex)
		return TC_ACT_SHOT;
	counters = bpf_map_lookup_elem(&load, id);
	if (counters) {
		counters[0] += 1;
		counters[1] += skb->len;
	}
	eth = DATA(skb);
	if ((void *)(eth + 1) > DATA_END(skb))
		return TC_ACT_SHOT;
	memcpy(eth->dst, backend->mac, sizeof(eth->dst));
	skb->mark = backend->id;
	return bpf_redirect(backend->ifindex, 0);
}

LICENSE("GPL");
