/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Every kind of CO-RE relocation, against the types of the kernel: fields that moved, fields that changed
 * size, fields, types and enum names that are there and that are not, bitfields, flavours, arrays.
 */
#include "bpf.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sk_buff {
	__u32 mark; /* far from where the kernel has it */
	__u32 hash;
	__u16 protocol;
	__u8 pkt_type : 3;
	__u8 nothing_like_it;
	char cb[48];
	struct net_device *dev;
};

struct net_device {
	int ifindex;
	__u32 mtu;
	char name[16];
};

struct net_device___other {
	__u32 mtu;
};

struct net_device___renamed {
	__u32 no_such_member;
};

struct no_such_struct {
	int member;
};

struct iphdr {
	__u8 ihl : 4, version : 4;
	__u8 tos;
	__u16 tot_len;
	__u64 ttl; /* 1 byte in the kernel */
	__u8 protocol;
	__u32 saddr; /* in an anonymous union and struct in the kernel */
};

#pragma clang attribute pop

enum tcp_state___here {
	TCP_ESTABLISHED = 17, /* 1 in the kernel */
	TCP_NO_SUCH_STATE = 3,
};

enum bpf_map_type___of_kernel {
	BPF_MAP_TYPE_LPM_TRIE___of_kernel = 99, /* 11 in the kernel */
	BPF_MAP_TYPE_NO_SUCH___of_kernel = 98,
};

typedef int (*no_such_typedef)(void);
typedef __u32 u_int32_t;

#define OFFSET(s, f) __builtin_preserve_field_info(((s *)0)->f, 0)
#define FIELD(s, f, kind) __builtin_preserve_field_info(((s *)0)->f, kind)
#define TYPE_INFO(t, kind) __builtin_preserve_type_info(*(t *)0, kind)
#define TYPE_ID(t, kind) __builtin_btf_type_id(*(t *)0, kind)
#define ENUM(t, v, kind) __builtin_preserve_enum_value(*(t *)v, kind)

__u64 results[64];

SEC("tc/fields")
int fields(struct __sk_buff *skb)
{
	results[0] = FIELD(struct sk_buff, mark, 0);
	results[1] = FIELD(struct sk_buff, protocol, 1);
	results[2] = FIELD(struct sk_buff, hash, 2);
	results[3] = FIELD(struct sk_buff, nothing_like_it, 2);
	results[4] = FIELD(struct net_device, ifindex, 3);
	results[5] = FIELD(struct sk_buff, pkt_type, 0);
	results[6] = FIELD(struct sk_buff, pkt_type, 1);
	results[7] = FIELD(struct sk_buff, pkt_type, 4);
	results[8] = FIELD(struct sk_buff, pkt_type, 5);
	results[9] = FIELD(struct sk_buff, cb[17], 0);
	results[10] = FIELD(struct net_device___other, mtu, 0);
	results[11] = FIELD(struct net_device___renamed, no_such_member, 2);
	results[12] = FIELD(struct no_such_struct, member, 2);
	results[13] = FIELD(struct iphdr, saddr, 0);
	results[14] = FIELD(struct sk_buff, pkt_type, 3);
	results[15] = FIELD(struct iphdr, version, 4);
	return 0;
}

SEC("tc/types")
int types(struct __sk_buff *skb)
{
	results[0] = TYPE_ID(struct sk_buff, 1);
	results[1] = TYPE_INFO(struct sk_buff, 0);
	results[2] = TYPE_INFO(struct no_such_struct, 0);
	results[3] = TYPE_INFO(struct iphdr, 1);
	results[4] = TYPE_INFO(struct no_such_struct, 1);
	results[5] = TYPE_INFO(no_such_typedef, 0);
	results[6] = TYPE_ID(struct sk_buff, 0);
	results[7] = TYPE_INFO(u_int32_t, 0);
	return 0;
}

SEC("tc/enums")
int enums(struct __sk_buff *skb)
{
	results[0] = ENUM(enum bpf_map_type___of_kernel, BPF_MAP_TYPE_LPM_TRIE___of_kernel, 0);
	results[1] = ENUM(enum bpf_map_type___of_kernel, BPF_MAP_TYPE_NO_SUCH___of_kernel, 0);
	results[2] = ENUM(enum bpf_map_type___of_kernel, BPF_MAP_TYPE_LPM_TRIE___of_kernel, 1);
	return 0;
}

/* Loads: through a pointer of the program's own, so that the kernel's verifier has no opinion of it. */
static __u8 buffer[8192];

SEC("tc/loads")
int loads(struct __sk_buff *skb)
{
	struct iphdr *ip = (void *)buffer;
	struct net_device *dev = (void *)buffer;

	results[0] = ip->ttl; /* 1 byte is moved */
	results[1] = ip->tot_len;
	results[2] = ip->saddr;
	dev->mtu = 9;
	results[3] = dev->name[3];
	return 0;
}

SEC("tc/guarded")
int guarded(struct __sk_buff *skb)
{
	struct net_device___renamed *dev = (void *)buffer;

	if (FIELD(struct net_device___renamed, no_such_member, 2))
		return dev->no_such_member;
	return 7;
}

#ifdef UNGUARDED
SEC("tc/unguarded")
int unguarded(struct __sk_buff *skb)
{
	return ((struct net_device___renamed *)buffer)->no_such_member;
}
#endif

char _license[] SEC("license") = "GPL";
