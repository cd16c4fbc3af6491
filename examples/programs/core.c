// SPDX-License-Identifier: GPL-2.0-or-later
/* Compile once, run everywhere: sizes, offsets, existence and values of the kernel's own types, as the
 * loader finds them.  The declarations here hold only what is asked for, and some of it wrongly on
 * purpose: a relocation goes by name.
 */
#include "helpers.h"
#include "packet.h"

#define KERNEL_TYPE __attribute__((preserve_access_index))

/* __builtin_preserve_field_info */
enum { BYTE_OFFSET, BYTE_SIZE, EXISTS, SIGNED, LSHIFT_U64, RSHIFT_U64 };
/* __builtin_preserve_type_info, __builtin_preserve_enum_value */
enum { TYPE_EXISTS = 0, TYPE_SIZE = 1, TYPE_MATCHES = 2 };
enum { ENUM_EXISTS = 0, ENUM_VALUE = 1 };

#define field_info(type, field, kind) \
	__builtin_preserve_field_info(((type *)0)->field, kind)
#define type_info(type, kind) __builtin_preserve_type_info(*(typeof(type) *)0, kind)
#define enum_info(type, value, kind) __builtin_preserve_enum_value(*(typeof(type) *)value, kind)

struct net_device {
	u32 mtu;
	int ifindex;
	char name[16];
} KERNEL_TYPE;

struct sk_buff {
	struct net_device *dev;
	u32 len;
	u8 pkt_type : 3;
	u8 ip_summed : 2;
	u32 mark;
	u16 mac_len;
	u32 never_was;
} KERNEL_TYPE;

/* Another version of it: everything behind ___ is not part of the name. */
struct sk_buff___old {
	u32 tc_verd;
} KERNEL_TYPE;

struct tcphdr {
	be16 source;
	be16 dest;
	be32 seq;
	be32 ack_seq;
	u16 doff : 4;
	u16 syn : 1;
	u16 ack : 1;
	be16 window;
} KERNEL_TYPE;

struct iphdr {
	u8 ttl;
	u8 protocol;
	be32 saddr;
	be32 daddr;
} KERNEL_TYPE;

struct no_such_type {
	int x;
} KERNEL_TYPE;

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1000,
	BPF_MAP_TYPE_RINGBUF = 2000,
	BPF_MAP_TYPE_NEVER = 3000,
};

typedef struct {
	int value;
} atomic_t;

struct answers {
	u32 skb_size, tcp_size, skb_exists, none_exists, old_exists, never_exists;
	u32 mark_offset, mark_size, syn_offset, syn_lshift, syn_rshift, signed_ifindex, signed_mark;
	u32 hash_value, ringbuf_value, never_value_exists, atomic_size, name_size;
};

struct answers answers;
u64 syns;

SEC("tc/facts")
int facts(struct __sk_buff *skb)
{
	answers.skb_size = type_info(struct sk_buff, TYPE_SIZE);
	answers.tcp_size = type_info(struct tcphdr, TYPE_SIZE);
	answers.skb_exists = type_info(struct sk_buff, TYPE_EXISTS);
	answers.none_exists = type_info(struct no_such_type, TYPE_EXISTS);
	answers.atomic_size = type_info(atomic_t, TYPE_SIZE);
	answers.old_exists = field_info(struct sk_buff___old, tc_verd, EXISTS);
	answers.never_exists = field_info(struct sk_buff, never_was, EXISTS);
	answers.mark_offset = field_info(struct sk_buff, mark, BYTE_OFFSET);
	answers.mark_size = field_info(struct sk_buff, mark, BYTE_SIZE);
	answers.syn_offset = field_info(struct tcphdr, syn, BYTE_OFFSET);
	answers.syn_lshift = field_info(struct tcphdr, syn, LSHIFT_U64);
	answers.syn_rshift = field_info(struct tcphdr, syn, RSHIFT_U64);
	answers.signed_ifindex = field_info(struct net_device, ifindex, SIGNED);
	answers.signed_mark = field_info(struct sk_buff, mark, SIGNED);
	answers.name_size = field_info(struct net_device, name, BYTE_SIZE);
	answers.hash_value = enum_info(enum bpf_map_type, BPF_MAP_TYPE_HASH, ENUM_VALUE);
	answers.ringbuf_value = enum_info(enum bpf_map_type, BPF_MAP_TYPE_RINGBUF, ENUM_VALUE);
	answers.never_value_exists = enum_info(enum bpf_map_type, BPF_MAP_TYPE_NEVER, ENUM_EXISTS);
	skb->cb[0] = answers.ringbuf_value;
	skb->cb[1] = answers.tcp_size;
	if (answers.never_exists)
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

/* The packet's own headers by the kernel's types: wherever it keeps its fields, they are found. */
SEC("tc/headers")
int headers(struct __sk_buff *skb)
{
	void *data = DATA(skb), *end = DATA_END(skb);
	struct iphdr *ip = data + sizeof(struct eth);
	struct tcphdr *tcp = data + L4_OFFSET;

	if (data + L4_OFFSET + 20 > end || !ipv4_header(skb))
		return TC_ACT_UNSPEC;
	skb->cb[0] = ip->saddr;
	skb->cb[1] = ip->ttl << 8 | ip->protocol;
	if (ip->protocol != IPPROTO_TCP)
		return TC_ACT_OK;
	skb->cb[2] = tcp->seq;
	skb->cb[3] = ntohs(tcp->dest);
	skb->cb[4] = ntohs(tcp->window);
	if (tcp->syn && !tcp->ack)
		syns++;
	return tcp->doff > 5 ? TC_ACT_PIPE : TC_ACT_OK;
}

LICENSE("GPL");
