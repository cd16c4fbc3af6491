/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kernel helpers: a call by number.  Names and numbers are the kernel's (enum bpf_func_id). */
#pragma once

#include "tc.h"

#define HELPER(number, result, name, ...) static result (*const bpf_##name)(__VA_ARGS__) = (void *)number

/* maps */
HELPER(1, void *, map_lookup_elem, void *map, const void *key);
HELPER(2, long, map_update_elem, void *map, const void *key, const void *value, u64 flags);
HELPER(3, long, map_delete_elem, void *map, const void *key);
HELPER(87, long, map_push_elem, void *map, const void *value, u64 flags);
HELPER(88, long, map_pop_elem, void *map, void *value);
HELPER(89, long, map_peek_elem, void *map, void *value);
HELPER(164, long, for_each_map_elem, void *map, void *callback, void *context, u64 flags);
HELPER(195, void *, map_lookup_percpu_elem, void *map, const void *key, u32 cpu);
HELPER(93, void, spin_lock, struct bpf_spin_lock *lock);
HELPER(94, void, spin_unlock, struct bpf_spin_lock *lock);
HELPER(169, long, timer_init, struct bpf_timer *timer, void *map, u64 clock);
HELPER(170, long, timer_set_callback, struct bpf_timer *timer, void *callback);
HELPER(171, long, timer_start, struct bpf_timer *timer, u64 nanoseconds, u64 flags);
HELPER(172, long, timer_cancel, struct bpf_timer *timer);

/* time, chance, place */
HELPER(5, u64, ktime_get_ns, void);
HELPER(7, u32, get_prandom_u32, void);
HELPER(8, u32, get_smp_processor_id, void);
HELPER(42, long, get_numa_node_id, void);
HELPER(118, u64, jiffies64, void);
HELPER(125, u64, ktime_get_boot_ns, void);
HELPER(160, u64, ktime_get_coarse_ns, void);
HELPER(208, u64, ktime_get_tai_ns, void);

/* control */
HELPER(12, long, tail_call, void *ctx, void *prog_array, u32 index);
HELPER(181, long, loop, u32 times, void *callback, void *context, u64 flags);

/* the task that runs */
HELPER(14, u64, get_current_pid_tgid, void);
HELPER(15, u64, get_current_uid_gid, void);
HELPER(16, long, get_current_comm, void *buffer, u32 size);
HELPER(35, u64, get_current_task, void);
HELPER(37, long, current_task_under_cgroup, void *map, u32 index);
HELPER(80, u64, get_current_cgroup_id, void);
HELPER(113, long, probe_read_kernel, void *to, u32 size, const void *from);
HELPER(115, long, probe_read_kernel_str, void *to, u32 size, const void *from);

/* packet bytes */
HELPER(9, long, skb_store_bytes, struct __sk_buff *skb, u32 offset, const void *from, u32 len, u64 flags);
HELPER(10, long, l3_csum_replace, struct __sk_buff *skb, u32 offset, u64 from, u64 to, u64 flags);
HELPER(11, long, l4_csum_replace, struct __sk_buff *skb, u32 offset, u64 from, u64 to, u64 flags);
HELPER(26, long, skb_load_bytes, const void *skb, u32 offset, void *to, u32 len);
HELPER(28, s64, csum_diff, const void *from, u32 from_size, const void *to, u32 to_size, u32 seed);
HELPER(39, long, skb_pull_data, struct __sk_buff *skb, u32 len);
HELPER(40, s64, csum_update, struct __sk_buff *skb, u32 csum);
HELPER(68, long, skb_load_bytes_relative, const void *skb, u32 offset, void *to, u32 len, u32 start);
HELPER(97, long, skb_ecn_set_ce, struct __sk_buff *skb);
HELPER(135, long, csum_level, struct __sk_buff *skb, u64 level);

/* packet size and headers */
HELPER(18, long, skb_vlan_push, struct __sk_buff *skb, be16 proto, u16 tci);
HELPER(19, long, skb_vlan_pop, struct __sk_buff *skb);
HELPER(31, long, skb_change_proto, struct __sk_buff *skb, be16 proto, u64 flags);
HELPER(32, long, skb_change_type, struct __sk_buff *skb, u32 type);
HELPER(38, long, skb_change_tail, struct __sk_buff *skb, u32 len, u64 flags);
HELPER(43, long, skb_change_head, struct __sk_buff *skb, u32 len, u64 flags);
HELPER(50, long, skb_adjust_room, struct __sk_buff *skb, s32 len, u32 mode, u64 flags);
HELPER(163, long, check_mtu, struct __sk_buff *skb, u32 ifindex, u32 *mtu, s32 difference, u64 flags);
HELPER(192, long, skb_set_tstamp, struct __sk_buff *skb, u64 tstamp, u32 type);

/* where to */
HELPER(13, long, clone_redirect, struct __sk_buff *skb, u32 ifindex, u64 flags);
HELPER(23, long, redirect, u32 ifindex, u64 flags);
HELPER(152, long, redirect_neigh, u32 ifindex, void *neighbour, int size, u64 flags);
HELPER(155, long, redirect_peer, u32 ifindex, u64 flags);
HELPER(69, long, fib_lookup, void *ctx, void *query, int size, u32 flags);

/* whose it is */
HELPER(17, u32, get_cgroup_classid, struct __sk_buff *skb);
HELPER(24, u32, get_route_realm, struct __sk_buff *skb);
HELPER(33, long, skb_under_cgroup, struct __sk_buff *skb, void *map, u32 index);
HELPER(34, u32, get_hash_recalc, struct __sk_buff *skb);
HELPER(41, void, set_hash_invalid, struct __sk_buff *skb);
HELPER(46, u64, get_socket_cookie, struct __sk_buff *skb);
HELPER(47, u32, get_socket_uid, struct __sk_buff *skb);
HELPER(48, long, set_hash, struct __sk_buff *skb, u32 hash);
HELPER(66, long, skb_get_xfrm_state, struct __sk_buff *skb, u32 index, void *state, u32 size, u64 flags);
HELPER(79, u64, skb_cgroup_id, struct __sk_buff *skb);
HELPER(83, u64, skb_ancestor_cgroup_id, struct __sk_buff *skb, int level);
HELPER(122, u64, get_netns_cookie, void *ctx);
HELPER(151, u64, skb_cgroup_classid, struct __sk_buff *skb);

/* tunnels */
HELPER(20, long, skb_get_tunnel_key, struct __sk_buff *skb, void *key, u32 size, u64 flags);
HELPER(21, long, skb_set_tunnel_key, struct __sk_buff *skb, const void *key, u32 size, u64 flags);
HELPER(29, long, skb_get_tunnel_opt, struct __sk_buff *skb, void *option, u32 size);
HELPER(30, long, skb_set_tunnel_opt, struct __sk_buff *skb, const void *option, u32 size);

/* sockets */
HELPER(84, struct bpf_sock *, sk_lookup_tcp, void *ctx, void *tuple, u32 size, u64 netns, u64 flags);
HELPER(85, struct bpf_sock *, sk_lookup_udp, void *ctx, void *tuple, u32 size, u64 netns, u64 flags);
HELPER(86, long, sk_release, void *sk);
HELPER(95, struct bpf_sock *, sk_fullsock, struct bpf_sock *sk);
HELPER(96, struct bpf_tcp_sock *, tcp_sock, struct bpf_sock *sk);
HELPER(98, struct bpf_sock *, get_listener_sock, struct bpf_sock *sk);
HELPER(99, struct bpf_sock *, skc_lookup_tcp, void *ctx, void *tuple, u32 size, u64 netns, u64 flags);
HELPER(107, void *, sk_storage_get, void *map, void *sk, void *value, u64 flags);
HELPER(108, long, sk_storage_delete, void *map, void *sk);
HELPER(124, long, sk_assign, void *ctx, void *sk, u64 flags);
HELPER(204, s64, tcp_raw_gen_syncookie_ipv4, void *ip, void *tcp, u32 tcp_len);
HELPER(206, long, tcp_raw_check_syncookie_ipv4, void *ip, void *tcp);

/* messages to the outside, and strings */
HELPER(6, long, trace_printk, const char *format, u32 size, ...);
HELPER(177, long, trace_vprintk, const char *format, u32 size, const void *data, u32 data_size);
HELPER(165, long, snprintf, char *to, u32 size, const char *format, u64 *data, u32 data_size);
HELPER(182, long, strncmp, const char *a, u32 size, const char *b);
HELPER(105, long, strtol, const char *text, u64 size, u64 flags, s64 *result);
HELPER(106, long, strtoul, const char *text, u64 size, u64 flags, u64 *result);
HELPER(25, long, perf_event_output, void *ctx, void *map, u64 flags, void *data, u64 size);
HELPER(130, long, ringbuf_output, void *ring, void *data, u64 size, u64 flags);
HELPER(131, void *, ringbuf_reserve, void *ring, u64 size, u64 flags);
HELPER(132, void, ringbuf_submit, void *data, u64 flags);
HELPER(133, void, ringbuf_discard, void *data, u64 flags);
HELPER(134, u64, ringbuf_query, void *ring, u64 what);

/* dynptrs: a pointer with its length, checked at run time */
HELPER(197, long, dynptr_from_mem, void *data, u32 size, u64 flags, struct bpf_dynptr *result);
HELPER(198, long, ringbuf_reserve_dynptr, void *ring, u32 size, u64 flags, struct bpf_dynptr *result);
HELPER(199, void, ringbuf_submit_dynptr, struct bpf_dynptr *dynptr, u64 flags);
HELPER(200, void, ringbuf_discard_dynptr, struct bpf_dynptr *dynptr, u64 flags);
HELPER(201, long, dynptr_read, void *to, u32 size, struct bpf_dynptr *from, u32 offset, u64 flags);
HELPER(202, long, dynptr_write, struct bpf_dynptr *to, u32 offset, void *from, u32 size, u64 flags);
HELPER(203, void *, dynptr_data, struct bpf_dynptr *dynptr, u32 offset, u32 size);

#undef HELPER

/* flags */
#define F_RECOMPUTE_CSUM (1ULL << 0) /* skb_store_bytes */
#define F_INVALIDATE_HASH (1ULL << 1)
#define F_HDR_FIELD_MASK 0xfULL /* l3_csum_replace, l4_csum_replace: size of what changed */
#define F_PSEUDO_HDR (1ULL << 4)
#define F_MARK_MANGLED_0 (1ULL << 5)
#define F_MARK_ENFORCE (1ULL << 6)
#define F_INGRESS (1ULL << 0) /* redirect, clone_redirect */
#define F_CURRENT_CPU 0xffffffffULL /* perf_event_output */
#define F_INDEX_BITS 32
#define F_TUNINFO_IPV6 (1ULL << 0) /* tunnel keys */
#define F_ZERO_CSUM_TX (1ULL << 1)
#define F_CURRENT_NETNS (-1LL)

#define ADJ_ROOM_NET 0
#define ADJ_ROOM_MAC 1
#define F_ADJ_ROOM_FIXED_GSO (1ULL << 0)
#define F_ADJ_ROOM_ENCAP_L3_IPV4 (1ULL << 1)
#define F_ADJ_ROOM_ENCAP_L3_IPV6 (1ULL << 2)
#define F_ADJ_ROOM_ENCAP_L4_GRE (1ULL << 3)
#define F_ADJ_ROOM_ENCAP_L4_UDP (1ULL << 4)
#define F_ADJ_ROOM_NO_CSUM_RESET (1ULL << 5)
#define F_ADJ_ROOM_ENCAP_L2_ETH (1ULL << 6)
#define F_ADJ_ROOM_DECAP_L3_IPV4 (1ULL << 7)
#define F_ADJ_ROOM_ENCAP_L2(len) (((u64)(len)) << 56)
