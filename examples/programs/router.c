// SPDX-License-Identifier: GPL-2.0-or-later
/* Routing in tc: the kernel's tables are asked, the neighbour filled in, the packet sent from here. */
#include "helpers.h"
#include "packet.h"

#define AF_INET 2
#define AF_INET6 10

/* struct bpf_fib_lookup */
struct route {
	u8 family;
	u8 l4_protocol;
	be16 src_port;
	be16 dst_port;
	u16 total_len; /* in; mtu, out */
	u32 ifindex;
	union {
		u8 tos;
		be32 flow_info;
		u32 metric; /* out */
	};
	be32 src[4];
	be32 dst[4];
	be16 vlan_proto;
	be16 vlan_tci;
	u8 src_mac[6];
	u8 dst_mac[6];
};

/* struct bpf_redir_neigh */
struct neighbour {
	u32 family;
	be32 gateway[4];
};

struct {
	MAP_UINT(type, MAP_ARRAY);
	MAP_UINT(max_entries, 16);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
} outcomes SEC(".maps");

u32 uplink;

INLINE void count(u32 outcome)
{
	u64 *packets = bpf_map_lookup_elem(&outcomes, &outcome);

	if (packets)
		__sync_fetch_and_add(packets, 1);
}

INLINE int decrement_ttl(struct __sk_buff *skb, struct ipv4 *ip)
{
	u32 sum = ip->checksum;

	if (ip->ttl <= 1)
		return -1;
	sum += htons(0x0100);
	ip->checksum = (u16)(sum + (sum >= 0xffff));
	ip->ttl--;
	(void)skb;
	return 0;
}

SEC("tc/route")
int route(struct __sk_buff *skb)
{
	struct route query = {};
	struct eth *eth = DATA(skb);
	void *end = DATA_END(skb);
	long outcome;

	if ((void *)(eth + 1) > end)
		return TC_ACT_SHOT;
	if (eth->type == htons(ETH_P_IP)) {
		struct ipv4 *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return TC_ACT_SHOT;
		query.family = AF_INET;
		query.tos = ip->tos;
		query.l4_protocol = ip->protocol;
		query.total_len = ntohs(ip->total_len);
		query.src[0] = ip->src;
		query.dst[0] = ip->dst;
	} else if (eth->type == htons(ETH_P_IPV6)) {
		struct ipv6 *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return TC_ACT_SHOT;
		query.family = AF_INET6;
		query.flow_info = ip->version_class_label & htonl(0x0fffffff);
		query.l4_protocol = ip->next_header;
		query.total_len = ntohs(ip->payload_len);
		memcpy(query.src, ip->src, sizeof(query.src));
		memcpy(query.dst, ip->dst, sizeof(query.dst));
	} else {
		return TC_ACT_UNSPEC;
	}
	query.ifindex = skb->ifindex;
	outcome = bpf_fib_lookup(skb, &query, sizeof(query), 0);
	count(outcome < 0 ? 15 : outcome & 15);
	skb->cb[0] = outcome;
	skb->cb[1] = query.ifindex;
	if (outcome)
		return outcome < 0 ? TC_ACT_SHOT : TC_ACT_OK;
	if (query.family == AF_INET) {
		struct ipv4 *ip = ipv4_header(skb);

		if (ip && decrement_ttl(skb, ip))
			return TC_ACT_SHOT;
	}
	bpf_skb_store_bytes(skb, 0, query.dst_mac, 6, 0);
	bpf_skb_store_bytes(skb, 6, query.src_mac, 6, 0);
	return bpf_redirect(query.ifindex, 0);
}

/* Let the kernel find the neighbour when the packet leaves. */
SEC("tc/neigh")
int to_neighbour(struct __sk_buff *skb)
{
	struct neighbour gateway = {.family = AF_INET};
	struct flow flow;

	if (flow_of(skb, &flow))
		return bpf_redirect_neigh(uplink ? uplink : skb->ifindex, NULL, 0, 0);
	gateway.gateway[0] = flow.dst;
	if (flow.protocol == IPPROTO_ICMP)
		return bpf_redirect_neigh(skb->ifindex, &gateway, sizeof(gateway), 1); /* no such flag */
	return bpf_redirect_neigh(skb->ifindex, &gateway, sizeof(gateway), 0);
}

/* Straight into the container; only where packets come in. */
SEC("tc/peer")
int to_peer(struct __sk_buff *skb)
{
	if (skb->mark)
		return bpf_redirect_peer(skb->ifindex, 1); /* no such flag */
	return bpf_redirect_peer(skb->ifindex, 0);
}

/* Where redirect sends, and which flags it knows. */
SEC("tc/redirect")
int to_device(struct __sk_buff *skb)
{
	return bpf_redirect(skb->ifindex, skb->mark);
}

LICENSE("GPL");
