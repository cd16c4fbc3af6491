// SPDX-License-Identifier: GPL-2.0-or-later
/* Tunnels made by hand: room between the link layer and IP, then the outer headers into it.
 *
 * IPIP, GRE, VXLAN (with an inner Ethernet header) and 6in4, and the way back.
 */
#include "helpers.h"
#include "packet.h"

struct gre {
	be16 flags;
	be16 protocol;
};

struct vxlan {
	be32 flags;
	be32 vni;
};

struct outer {
	be32 src;
	be32 dst;
	be32 vni;
	u32 unused;
};

struct {
	MAP_UINT(type, MAP_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct outer);
} tunnel SEC(".maps");

INLINE void outer_ipv4(struct ipv4 *ip, const struct outer *to, u32 inner_len, u8 protocol)
{
	u16 *words = (u16 *)ip;
	u64 sum = 0;

	memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = 5;
	ip->ttl = 64;
	ip->protocol = protocol;
	ip->total_len = htons((u16)(sizeof(*ip) + inner_len));
	ip->src = to->src;
	ip->dst = to->dst;
	UNROLL for (int i = 0; i < 10; i++)
		sum += words[i];
	ip->checksum = csum_fold(sum);
}

INLINE const struct outer *target(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&tunnel, &zero);
}

SEC("tc/ipip")
int encap_ipip(struct __sk_buff *skb)
{
	const struct outer *to = target();
	struct ipv4 ip;

	if (!to || !ipv4_header(skb))
		return TC_ACT_UNSPEC;
	outer_ipv4(&ip, to, skb->len - sizeof(struct eth), IPPROTO_IPIP);
	if (bpf_skb_adjust_room(skb, sizeof(ip), ADJ_ROOM_MAC, F_ADJ_ROOM_FIXED_GSO | F_ADJ_ROOM_ENCAP_L3_IPV4))
		return TC_ACT_SHOT;
	if (bpf_skb_store_bytes(skb, IPV4_OFFSET, &ip, sizeof(ip), F_INVALIDATE_HASH))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

SEC("tc/gre")
int encap_gre(struct __sk_buff *skb)
{
	struct {
		struct ipv4 ip;
		struct gre gre;
	} __attribute__((packed)) headers;
	const struct outer *to = target();

	if (!to || !ipv4_header(skb))
		return TC_ACT_UNSPEC;
	outer_ipv4(&headers.ip, to, skb->len - sizeof(struct eth) + sizeof(headers.gre), IPPROTO_GRE);
	headers.gre.flags = 0;
	headers.gre.protocol = htons(ETH_P_IP);
	if (bpf_skb_adjust_room(skb, sizeof(headers), ADJ_ROOM_MAC,
				F_ADJ_ROOM_FIXED_GSO | F_ADJ_ROOM_ENCAP_L3_IPV4 | F_ADJ_ROOM_ENCAP_L4_GRE))
		return TC_ACT_SHOT;
	if (bpf_skb_store_bytes(skb, IPV4_OFFSET, &headers, sizeof(headers), F_INVALIDATE_HASH))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

SEC("tc/vxlan")
int encap_vxlan(struct __sk_buff *skb)
{
	struct {
		struct ipv4 ip;
		struct udp udp;
		struct vxlan vxlan;
		struct eth eth;
	} __attribute__((packed)) headers;
	const struct outer *to = target();
	u32 inner = skb->len + sizeof(headers.udp) + sizeof(headers.vxlan);

	if (!to || !ipv4_header(skb))
		return TC_ACT_UNSPEC;
	if (bpf_skb_load_bytes(skb, 0, &headers.eth, sizeof(headers.eth)))
		return TC_ACT_SHOT;
	outer_ipv4(&headers.ip, to, inner, IPPROTO_UDP);
	headers.udp.src = htons(0xc000);
	headers.udp.dst = htons(4789);
	headers.udp.len = htons((u16)inner);
	headers.udp.checksum = 0;
	headers.vxlan.flags = htonl(0x08000000);
	headers.vxlan.vni = htonl(to->vni << 8);
	if (bpf_skb_adjust_room(skb, sizeof(headers), ADJ_ROOM_MAC,
				F_ADJ_ROOM_FIXED_GSO | F_ADJ_ROOM_ENCAP_L3_IPV4 | F_ADJ_ROOM_ENCAP_L4_UDP |
					F_ADJ_ROOM_ENCAP_L2(sizeof(struct eth)) | F_ADJ_ROOM_ENCAP_L2_ETH))
		return TC_ACT_SHOT;
	if (bpf_skb_store_bytes(skb, IPV4_OFFSET, &headers, sizeof(headers), F_INVALIDATE_HASH))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

/* IPv4 in IPv4 back to IPv4. */
SEC("tc/decap")
int decap_ipip(struct __sk_buff *skb)
{
	struct ipv4 *ip = ipv4_header(skb);

	if (!ip || ip->protocol != IPPROTO_IPIP)
		return TC_ACT_UNSPEC;
	if (bpf_skb_adjust_room(skb, -(s32)sizeof(*ip), ADJ_ROOM_MAC,
				F_ADJ_ROOM_FIXED_GSO | F_ADJ_ROOM_DECAP_L3_IPV4))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

/* An option's worth of room between IP and what it carries: the old form of the call. */
SEC("tc/room")
int room_after_ip(struct __sk_buff *skb)
{
	u32 option = htonl(0x01010101), before = skb->len;
	u8 header;

	if (!ipv4_header(skb) || bpf_skb_load_bytes(skb, IPV4_OFFSET, &header, 1))
		return TC_ACT_UNSPEC;
	if (bpf_skb_adjust_room(skb, 4, ADJ_ROOM_NET, 0))
		return TC_ACT_SHOT;
	header += 1;
	bpf_skb_store_bytes(skb, IPV4_OFFSET, &header, 1, F_RECOMPUTE_CSUM);
	bpf_skb_store_bytes(skb, L4_OFFSET, &option, sizeof(option), F_RECOMPUTE_CSUM);
	skb->cb[0] = skb->len - before;
	return TC_ACT_OK;
}

LICENSE("GPL");
