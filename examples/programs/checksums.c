// SPDX-License-Identifier: GPL-2.0-or-later
/* Checksums: of a difference, of a header from nothing, of the whole packet as the device gave it. */
#include "helpers.h"
#include "packet.h"

#define IP_CSUM (IPV4_OFFSET + offset_of(struct ipv4, checksum))

/* DSCP rewritten: a difference of words, folded into the header's checksum. */
SEC("tc/dscp")
int remark(struct __sk_buff *skb)
{
	struct ipv4 *ip = ipv4_header(skb);
	u32 old, new;
	s64 difference;

	if (!ip)
		return TC_ACT_UNSPEC;
	memcpy(&old, ip, sizeof(old));
	ip->tos = 0xb8 | (ip->tos & 3);
	memcpy(&new, ip, sizeof(new));
	difference = bpf_csum_diff(&old, sizeof(old), &new, sizeof(new), 0);
	if (bpf_l3_csum_replace(skb, IP_CSUM, 0, difference, 0))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

/* Is the header's checksum right?  Computed over a copy, in one call; and what the call says of odd uses. */
SEC("tc/verify")
int verify(struct __sk_buff *skb)
{
	struct ipv4 header;
	u32 zero[2] = {0, 0}, data[4] = {0x01020304, 0xfffefdfc, 0x80000000, 0x7fffffff};
	s64 sum;

	if (bpf_skb_load_bytes(skb, IPV4_OFFSET, &header, sizeof(header)))
		return TC_ACT_UNSPEC;
	sum = bpf_csum_diff(NULL, 0, &header, sizeof(header), 0);
	skb->cb[0] = csum_fold(sum);
	skb->cb[1] = csum_fold(bpf_csum_diff(data, sizeof(data), NULL, 0, 0));
	skb->cb[2] = csum_fold(bpf_csum_diff(data, 8, data + 2, 8, 0x12345));
	skb->cb[3] = csum_fold(bpf_csum_diff(zero, sizeof(zero), zero, 4, -1));
	skb->cb[4] = csum_fold(bpf_csum_diff(zero, 4, data, sizeof(data), sum));
	return skb->cb[0] ? TC_ACT_SHOT : TC_ACT_OK;
}

/* A new UDP port with the checksum left alone when it is 0, and never made 0. */
SEC("tc/udp")
int port_shift(struct __sk_buff *skb)
{
	struct ipv4 *ip = ipv4_header(skb);
	u32 at = L4_OFFSET + offset_of(struct udp, checksum);
	struct udp *udp;
	be16 port, new;

	if (!ip || ip->protocol != IPPROTO_UDP || !has_l4(ip))
		return TC_ACT_UNSPEC;
	udp = (void *)(ip + 1);
	if ((void *)(udp + 1) > DATA_END(skb))
		return TC_ACT_SHOT;
	port = udp->dst;
	new = htons(ntohs(port) + 1000);
	if (bpf_l4_csum_replace(skb, at, port, new, F_MARK_MANGLED_0 | sizeof(port)))
		return TC_ACT_SHOT;
	bpf_skb_store_bytes(skb, L4_OFFSET + offset_of(struct udp, dst), &new, sizeof(new), F_INVALIDATE_HASH);
	return TC_ACT_OK;
}

/* There is a complete checksum only if the device gave one; levels it may have verified. */
SEC("tc/level")
int level(struct __sk_buff *skb)
{
	skb->cb[0] = bpf_csum_update(skb, 0x1234);
	skb->cb[1] = bpf_csum_level(skb, 0); /* query */
	skb->cb[2] = bpf_csum_level(skb, 1); /* increment */
	skb->cb[3] = bpf_csum_level(skb, 3); /* reset */
	skb->cb[4] = bpf_csum_level(skb, 9);
	return TC_ACT_OK;
}

LICENSE("GPL");
