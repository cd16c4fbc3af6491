/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a tc program needs to know of the kernel: the types of its interface, in one place.
 *
 * Only what the examples use.  Numbers and layouts are the kernel's ABI (linux/bpf.h); helpers are in
 * helpers.h, packet headers in packet.h.
 */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char s8;
typedef short s16;
typedef int s32;
typedef long long s64;
typedef u16 be16;
typedef u32 be32;

#define SEC(name) __attribute__((section(name), used))
#define KCONFIG __attribute__((section(".kconfig"))) /* what only the loader knows */
#define KSYM __attribute__((section(".ksyms"))) /* a function of the kernel */
#define WEAK __attribute__((weak))
#define INLINE static inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#define UNROLL _Pragma("clang loop unroll(full)")
#define NULL ((void *)0)
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define offset_of(type, member) __builtin_offsetof(type, member)
#define memcpy __builtin_memcpy
#define memset __builtin_memset
#define memcmp __builtin_memcmp
#define count_of(array) (sizeof(array) / sizeof((array)[0]))

#define htons(x) ((be16)(__builtin_constant_p(x) ? (u16)((((u16)(x)) >> 8) | (((u16)(x)) << 8)) \
						 : __builtin_bswap16(x)))
#define ntohs(x) htons(x)
#define htonl(x) ((be32)__builtin_bswap32(x))
#define ntohl(x) htonl(x)

/* The compiler must not assume what a value is: keeps a checked value in its register. */
#define opaque(value) asm volatile("" : "+r"(value))

/* The context: a view of the packet's metadata. */
struct bpf_sock;
struct bpf_flow_keys;

struct __sk_buff {
	u32 len;
	u32 pkt_type;
	u32 mark;
	u32 queue_mapping;
	u32 protocol; /* network order */
	u32 vlan_present;
	u32 vlan_tci;
	u32 vlan_proto; /* network order */
	u32 priority;
	u32 ingress_ifindex;
	u32 ifindex;
	u32 tc_index;
	u32 cb[5];
	u32 hash;
	u32 tc_classid;
	u32 data;
	u32 data_end;
	u32 napi_id;
	u32 family;
	u32 remote_ip4;
	u32 local_ip4;
	u32 remote_ip6[4];
	u32 local_ip6[4];
	u32 remote_port;
	u32 local_port;
	u32 data_meta;
	struct bpf_flow_keys *flow_keys;
	u64 tstamp;
	u32 wire_len;
	u32 gso_segs;
	struct bpf_sock *sk;
	u32 gso_size;
	u8 tstamp_type;
	u8 : 8;
	u16 : 16;
	u64 hwtstamp;
};

#define DATA(skb) ((void *)(long)(skb)->data)
#define DATA_END(skb) ((void *)(long)(skb)->data_end)
#define DATA_META(skb) ((void *)(long)(skb)->data_meta)

enum tc_action {
	TC_ACT_UNSPEC = -1,
	TC_ACT_OK = 0,
	TC_ACT_RECLASSIFY = 1,
	TC_ACT_SHOT = 2,
	TC_ACT_PIPE = 3,
	TC_ACT_STOLEN = 4,
	TC_ACT_QUEUED = 5,
	TC_ACT_REPEAT = 6,
	TC_ACT_REDIRECT = 7,
	TC_ACT_TRAP = 8,
};

enum pkt_type {
	PACKET_HOST = 0,
	PACKET_BROADCAST = 1,
	PACKET_MULTICAST = 2,
	PACKET_OTHERHOST = 3,
};

enum map_type {
	MAP_HASH = 1,
	MAP_ARRAY = 2,
	MAP_PROG_ARRAY = 3,
	MAP_PERF_EVENT_ARRAY = 4,
	MAP_PERCPU_HASH = 5,
	MAP_PERCPU_ARRAY = 6,
	MAP_CGROUP_ARRAY = 8,
	MAP_LRU_HASH = 9,
	MAP_LRU_PERCPU_HASH = 10,
	MAP_LPM_TRIE = 11,
	MAP_ARRAY_OF_MAPS = 12,
	MAP_HASH_OF_MAPS = 13,
	MAP_DEVMAP = 14,
	MAP_SOCKMAP = 15,
	MAP_SOCKHASH = 18,
	MAP_QUEUE = 22,
	MAP_STACK = 23,
	MAP_SK_STORAGE = 24,
	MAP_DEVMAP_HASH = 25,
	MAP_RINGBUF = 27,
	MAP_BLOOM_FILTER = 30,
};

#define MAP_NO_PREALLOC (1U << 0)
#define MAP_NO_COMMON_LRU (1U << 1)
#define MAP_RDONLY_PROG (1U << 7)

#define UPDATE_ANY 0
#define UPDATE_NOEXIST 1
#define UPDATE_EXIST 2
#define UPDATE_LOCK 4

/* Fields of a map definition in a `.maps` section: a number is the length of an array type. */
#define MAP_UINT(name, value) int(*name)[value]
#define MAP_TYPE(name, type) typeof(type) *name
#define MAP_ARRAY_OF(name, type) typeof(type) *name[]

/* The kernel keeps these opaque; programs only hold them. */
struct bpf_spin_lock {
	u32 opaque;
};

struct bpf_timer {
	u64 opaque[2];
} __attribute__((aligned(8)));

struct bpf_dynptr {
	u64 opaque[2];
} __attribute__((aligned(8)));

#define LICENSE(terms) char license_terms[] SEC("license") = terms
