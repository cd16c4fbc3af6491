// SPDX-License-Identifier: GPL-2.0-or-later
/* NAT64, stateless (RFC 7915 in small): IPv4 to IPv6 and back, with the transport checksum carried over.
 *
 * 64:ff9b::/96 stands for the IPv4 Internet.
 */
#include "helpers.h"
#include "packet.h"

#define L4_CSUM_6(type) (sizeof(struct eth) + sizeof(struct ipv6) + offset_of(struct type, checksum))
#define L4_CSUM_4(type) (L4_OFFSET + offset_of(struct type, checksum))

INLINE void embed(be32 *to, be32 address)
{
	to[0] = htonl(0x0064ff9b);
	to[1] = 0;
	to[2] = 0;
	to[3] = address;
}

INLINE int embedded(const be32 *address)
{
	return address[0] == htonl(0x0064ff9b) && !address[1] && !address[2];
}

INLINE int set_type(struct __sk_buff *skb, u16 type)
{
	be16 wire = htons(type);

	return bpf_skb_store_bytes(skb, offset_of(struct eth, type), &wire, sizeof(wire), 0);
}

SEC("tc/egress")
int four_to_six(struct __sk_buff *skb)
{
	struct ipv4 *ip = ipv4_header(skb), old;
	struct ipv6 new = {};
	s64 difference;
	u32 checksum;

	if (!ip || !has_l4(ip) || (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP))
		return TC_ACT_UNSPEC;
	old = *ip;
	new.version_class_label = htonl(6 << 28 | old.tos << 20);
	new.payload_len = htons(ntohs(old.total_len) - sizeof(old));
	new.next_header = old.protocol;
	new.hop_limit = old.ttl;
	embed(new.src, old.src);
	embed(new.dst, old.dst);
	difference = bpf_csum_diff(&old.src, 8, new.src, 32, 0);

	if (bpf_skb_change_proto(skb, htons(ETH_P_IPV6), 0))
		return TC_ACT_SHOT;
	if (set_type(skb, ETH_P_IPV6) || bpf_skb_store_bytes(skb, IPV4_OFFSET, &new, sizeof(new), 0))
		return TC_ACT_SHOT;
	checksum = old.protocol == IPPROTO_TCP ? L4_CSUM_6(tcp) : L4_CSUM_6(udp);
	if (bpf_l4_csum_replace(skb, checksum, 0, difference, F_PSEUDO_HDR))
		return TC_ACT_SHOT;
	skb->cb[0] = skb->len;
	skb->cb[1] = skb->protocol;
	return TC_ACT_OK;
}

SEC("tc/ingress")
int six_to_four(struct __sk_buff *skb)
{
	struct eth *eth = DATA(skb);
	struct ipv6 *ip = (void *)(eth + 1), old;
	struct ipv4 new = {};
	u32 checksum;
	s64 difference;

	if ((void *)(ip + 1) > DATA_END(skb) || eth->type != htons(ETH_P_IPV6))
		return TC_ACT_UNSPEC;
	if (ip->next_header != IPPROTO_TCP && ip->next_header != IPPROTO_UDP)
		return TC_ACT_UNSPEC;
	if (!embedded(ip->dst))
		return TC_ACT_OK;
	old = *ip;
	new.version = 4;
	new.ihl = 5;
	new.tos = ntohl(old.version_class_label) >> 20;
	new.total_len = htons(ntohs(old.payload_len) + sizeof(new));
	new.fragment = htons(0x4000);
	new.ttl = old.hop_limit;
	new.protocol = old.next_header;
	new.src = old.src[3];
	new.dst = old.dst[3];
	new.checksum = csum_fold(bpf_csum_diff(NULL, 0, (u32 *)&new, sizeof(new), 0));
	difference = bpf_csum_diff(old.src, 32, &new.src, 8, 0);

	if (bpf_skb_change_proto(skb, htons(ETH_P_IP), 0))
		return TC_ACT_SHOT;
	if (set_type(skb, ETH_P_IP) || bpf_skb_store_bytes(skb, IPV4_OFFSET, &new, sizeof(new), 0))
		return TC_ACT_SHOT;
	checksum = new.protocol == IPPROTO_TCP ? L4_CSUM_4(tcp) : L4_CSUM_4(udp);
	if (bpf_l4_csum_replace(skb, checksum, 0, difference, F_PSEUDO_HDR))
		return TC_ACT_SHOT;
	skb->cb[0] = skb->len;
	skb->cb[1] = skb->protocol;
	return TC_ACT_OK;
}

LICENSE("GPL");
