// SPDX-License-Identifier: GPL-2.0-or-later
/* SYN proxy: a SYN is answered from here, with a cookie for a sequence number, and no state is kept.
 *
 * The ACK that comes back proves the address; then, and only then, the flow is let through.  The cookie
 * is a keyed hash of the flow and of the minute-like `epoch` that user space advances.
 */
#include "helpers.h"
#include "packet.h"

struct secret {
	u64 key;
	u32 epoch;
	u32 enabled;
};

struct {
	MAP_UINT(type, MAP_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct secret);
} secrets SEC(".maps");

struct {
	MAP_UINT(type, MAP_LRU_HASH);
	MAP_UINT(max_entries, 512);
	MAP_TYPE(key, struct flow);
	MAP_TYPE(value, u32);
} proven SEC(".maps");

NOINLINE static u32 cookie(const struct flow *flow, u64 key, u32 epoch)
{
	u64 state = key ^ ((u64)flow->src << 32 | flow->dst);

	state ^= state >> 33;
	state *= 0xff51afd7ed558ccdULL;
	state ^= (u64)flow->src_port << 48 | (u64)flow->dst_port << 32 | epoch;
	state ^= state >> 29;
	state *= 0xc4ceb9fe1a85ec53ULL;
	return (u32)(state >> 32);
}

INLINE u16 tcp_checksum(const struct ipv4 *ip, const struct tcp *tcp)
{
	const u16 *words = (const void *)tcp;
	u64 sum = 0;

	sum += (u64)ip->src + ip->dst;
	sum += htons(IPPROTO_TCP);
	sum += htons(sizeof(*tcp));
	UNROLL for (u32 i = 0; i < sizeof(*tcp) / 2; i++)
		sum += words[i];
	return csum_fold(sum);
}

/* Turn the SYN into its SYN-ACK where it lies.  It keeps no options. */
INLINE void answer(struct eth *eth, struct ipv4 *ip, struct tcp *tcp, u32 seq)
{
	const u16 *words = (const void *)ip;
	u8 mac[6];
	be32 address = ip->src;
	be16 port = tcp->src;
	u64 sum = 0;

	memcpy(mac, eth->src, sizeof(mac));
	memcpy(eth->src, eth->dst, sizeof(mac));
	memcpy(eth->dst, mac, sizeof(mac));
	ip->src = ip->dst;
	ip->dst = address;
	ip->ttl = 64;
	ip->total_len = htons(sizeof(*ip) + sizeof(*tcp));
	ip->checksum = 0;
	UNROLL for (u32 i = 0; i < sizeof(*ip) / 2; i++)
		sum += words[i];
	ip->checksum = csum_fold(sum);
	tcp->src = tcp->dst;
	tcp->dst = port;
	tcp->ack = htonl(ntohl(tcp->seq) + 1);
	tcp->seq = htonl(seq);
	tcp->flags = TCP_SYN | TCP_ACK;
	tcp->words = sizeof(*tcp) / 4;
	tcp->window = htons(64240);
	tcp->checksum = 0;
	tcp->checksum = tcp_checksum(ip, tcp);
}

SEC("tc")
int syncookie(struct __sk_buff *skb)
{
	u32 zero = 0, one = 1, expected;
	struct secret *secret;
	struct flow flow;
	struct ipv4 *ip;
	struct tcp *tcp;

	if (flow_of(skb, &flow) || flow.protocol != IPPROTO_TCP)
		return TC_ACT_UNSPEC;
	secret = bpf_map_lookup_elem(&secrets, &zero);
	if (!secret || !secret->enabled)
		return TC_ACT_OK;
	if (bpf_map_lookup_elem(&proven, &flow))
		return TC_ACT_OK;
	ip = ipv4_header(skb);
	if (!ip || !has_l4(ip))
		return TC_ACT_SHOT;
	tcp = (void *)(ip + 1);
	if ((void *)(tcp + 1) > DATA_END(skb))
		return TC_ACT_SHOT;
	expected = cookie(&flow, secret->key, secret->epoch);
	if ((tcp->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) {
		answer(DATA(skb), ip, tcp, expected);
		if (bpf_skb_change_tail(skb, L4_OFFSET + sizeof(*tcp), 0))
			return TC_ACT_SHOT;
		return bpf_redirect(skb->ifindex, 0);
	}
	if ((tcp->flags & TCP_ACK) && ntohl(tcp->ack) - 1 == expected) {
		bpf_map_update_elem(&proven, &flow, &one, UPDATE_ANY);
		return TC_ACT_OK;
	}
	return TC_ACT_SHOT;
}

LICENSE("GPL");
