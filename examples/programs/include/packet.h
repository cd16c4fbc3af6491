/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Headers on the wire (all fields in network order), and the first steps into a packet. */
#pragma once

#include "tc.h"

#define ETH_P_IP 0x0800
#define ETH_P_ARP 0x0806
#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88a8
#define ETH_P_IPV6 0x86dd

#define IPPROTO_ICMP 1
#define IPPROTO_IPIP 4
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_GRE 47
#define IPPROTO_ICMPV6 58

struct eth {
	u8 dst[6];
	u8 src[6];
	be16 type;
} __attribute__((packed));

struct vlan {
	be16 tci;
	be16 type;
};

struct arp {
	be16 hardware;
	be16 protocol;
	u8 hardware_len;
	u8 protocol_len;
	be16 operation;
	u8 sender_mac[6];
	be32 sender_ip;
	u8 target_mac[6];
	be32 target_ip;
} __attribute__((packed));

struct ipv4 {
	u8 ihl : 4, version : 4;
	u8 tos;
	be16 total_len;
	be16 id;
	be16 fragment;
	u8 ttl;
	u8 protocol;
	u16 checksum;
	be32 src;
	be32 dst;
};

struct ipv6 {
	be32 version_class_label;
	be16 payload_len;
	u8 next_header;
	u8 hop_limit;
	be32 src[4];
	be32 dst[4];
};

struct tcp {
	be16 src;
	be16 dst;
	be32 seq;
	be32 ack;
	u8 reserved : 4, words : 4;
	u8 flags;
	be16 window;
	u16 checksum;
	be16 urgent;
};

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10

struct udp {
	be16 src;
	be16 dst;
	be16 len;
	u16 checksum;
};

struct icmp {
	u8 type;
	u8 code;
	u16 checksum;
	be16 id;
	be16 seq;
};

struct flow {
	be32 src;
	be32 dst;
	be16 src_port;
	be16 dst_port;
	u32 protocol;
};

#define IPV4_OFFSET (sizeof(struct eth))
#define L4_OFFSET (sizeof(struct eth) + sizeof(struct ipv4))

/* The IPv4 header without options of an untagged frame, or NULL.  Direct access: `data_end` bounds it. */
INLINE struct ipv4 *ipv4_header(struct __sk_buff *skb)
{
	struct eth *eth = DATA(skb);
	struct ipv4 *ip = (void *)(eth + 1);

	if ((void *)(ip + 1) > DATA_END(skb))
		return NULL;
	if (eth->type != htons(ETH_P_IP) || ip->version != 4 || ip->ihl != 5)
		return NULL;
	return ip;
}

/* Is it the first fragment, or whole?  Only then is there a transport header. */
INLINE int has_l4(const struct ipv4 *ip)
{
	return !(ip->fragment & htons(0x1fff));
}

/* Addresses, protocol and ports of an IPv4 packet; ports are 0 where there are none. */
INLINE int flow_of(struct __sk_buff *skb, struct flow *flow)
{
	struct ipv4 *ip = ipv4_header(skb);
	be16 *ports;

	if (!ip)
		return -1;
	memset(flow, 0, sizeof(*flow));
	flow->src = ip->src;
	flow->dst = ip->dst;
	flow->protocol = ip->protocol;
	if ((ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP) || !has_l4(ip))
		return 0;
	ports = (void *)(ip + 1);
	if ((void *)(ports + 2) > DATA_END(skb))
		return 0;
	flow->src_port = ports[0];
	flow->dst_port = ports[1];
	return 0;
}

/* Internet checksum arithmetic. */
INLINE u16 csum_fold(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (u16)~sum;
}
