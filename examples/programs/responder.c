// SPDX-License-Identifier: GPL-2.0-or-later
/* Answers without a stack: ICMP echo and ARP requests for the addresses in a table. */
#include "helpers.h"
#include "packet.h"

struct owner {
	u8 mac[6];
	u16 replies;
};

struct {
	MAP_UINT(type, MAP_HASH);
	MAP_UINT(max_entries, 64);
	MAP_TYPE(key, be32);
	MAP_TYPE(value, struct owner);
} owners SEC(".maps");

INLINE int answer_arp(struct __sk_buff *skb, struct eth *eth)
{
	struct arp *arp = (void *)(eth + 1);
	struct owner *owner;
	be32 address;

	if ((void *)(arp + 1) > DATA_END(skb) || arp->operation != htons(1))
		return TC_ACT_UNSPEC;
	if (arp->hardware != htons(1) || arp->protocol != htons(ETH_P_IP))
		return TC_ACT_UNSPEC;
	address = arp->target_ip;
	owner = bpf_map_lookup_elem(&owners, &address);
	if (!owner)
		return TC_ACT_OK;
	memcpy(eth->dst, eth->src, 6);
	memcpy(eth->src, owner->mac, 6);
	arp->operation = htons(2);
	arp->target_ip = arp->sender_ip;
	memcpy(arp->target_mac, arp->sender_mac, 6);
	arp->sender_ip = address;
	memcpy(arp->sender_mac, owner->mac, 6);
	owner->replies++;
	return bpf_redirect(skb->ifindex, 0);
}

INLINE int answer_echo(struct __sk_buff *skb, struct eth *eth)
{
	struct ipv4 *ip = ipv4_header(skb);
	u8 reply = 0;
	struct icmp *icmp;
	struct owner *owner;
	be32 src, dst;

	if (!ip || ip->protocol != IPPROTO_ICMP || !has_l4(ip))
		return TC_ACT_UNSPEC;
	icmp = (void *)(ip + 1);
	if ((void *)(icmp + 1) > DATA_END(skb) || icmp->type != 8 || icmp->code)
		return TC_ACT_UNSPEC;
	src = ip->src;
	dst = ip->dst;
	owner = bpf_map_lookup_elem(&owners, &dst);
	if (!owner)
		return TC_ACT_OK;
	memcpy(eth->dst, eth->src, 6);
	memcpy(eth->src, owner->mac, 6);
	owner->replies++;
	/* The addresses change places: the header's checksum stays what it is. */
	bpf_skb_store_bytes(skb, IPV4_OFFSET + offset_of(struct ipv4, src), &dst, sizeof(dst), 0);
	bpf_skb_store_bytes(skb, IPV4_OFFSET + offset_of(struct ipv4, dst), &src, sizeof(src), 0);
	bpf_l4_csum_replace(skb, L4_OFFSET + offset_of(struct icmp, checksum), 8, 0, 2);
	bpf_skb_store_bytes(skb, L4_OFFSET, &reply, sizeof(reply), 0);
	return bpf_redirect(skb->ifindex, 0);
}

SEC("tc")
int respond(struct __sk_buff *skb)
{
	struct eth *eth = DATA(skb);

	if ((void *)(eth + 1) > DATA_END(skb))
		return TC_ACT_SHOT;
	if (eth->type == htons(ETH_P_ARP))
		return answer_arp(skb, eth);
	return answer_echo(skb, eth);
}

LICENSE("GPL");
