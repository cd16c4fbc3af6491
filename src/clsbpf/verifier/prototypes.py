"""What must hold of a helper's arguments?  struct bpf_func_proto, word for word, for tc's helpers.

A line a helper, in the order of the numbers: arguments, `->`, what r0 is afterwards, and what else is
true of it.  The words are the keys of `arguments.RULES` and `calls.RESULTS`; a `?` after one says that
0 will do (PTR_MAYBE_NULL).

    any      any initialised register            ctx     the context
    map      a map                                key, value, value-u    memory of the map's sizes
    mem      memory to read, its size comes next  mem-w   to read and write     mem-u   to write (MEM_UNINIT)
    size, size0       bytes; 0 allowed or not     alloc   a number known now
    fix-w4, fix-u8 …  memory of a fixed size      sock    SOCK_COMMON or its BTF type   sk_common, socket

`pkt`: packet pointers may be passed (pkt_access).  `packet`: those held are worthless afterwards.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from ..bpf.helpers import BY_NUMBER


@dataclass(frozen=True, slots=True)
class Proto:
    """struct bpf_func_proto: argument words, result word, and flags."""

    arguments: tuple[str, ...]
    returns: str
    packet_access: bool
    changes_packet: bool
    gpl_only: bool
    releases: bool
    """Is argument 1 given back (OBJ_RELEASE)?"""


_TEXT = """
map_lookup_elem: map key -> value? pkt
map_update_elem: map key value any -> int pkt
map_delete_elem: map key -> int pkt
ktime_get_ns: -> int
trace_printk: mem size -> int gpl
get_prandom_u32: -> int
get_smp_processor_id: -> cpu
skb_store_bytes: ctx any mem size any -> int packet
l3_csum_replace: ctx any any any any -> int packet
l4_csum_replace: ctx any any any any -> int packet
tail_call: ctx map any -> void
clone_redirect: ctx any any -> int packet
get_current_pid_tgid: -> int
get_current_uid_gid: -> int
get_current_comm: mem-u size -> int
get_cgroup_classid: ctx -> int
skb_vlan_push: ctx any any -> int packet
skb_vlan_pop: ctx -> int packet
skb_get_tunnel_key: ctx mem-u size any -> int
skb_set_tunnel_key: ctx mem size any -> int
perf_event_read: map any -> int gpl
redirect: any any -> int
get_route_realm: ctx -> int
perf_event_output: ctx map any mem size0 -> int gpl
skb_load_bytes: ctx any mem-u size -> int
csum_diff: mem? size0 mem? size0 any -> int pkt
skb_get_tunnel_opt: ctx mem-u size -> int
skb_set_tunnel_opt: ctx mem size -> int
skb_change_proto: ctx any any -> int packet
skb_change_type: ctx any -> int
skb_under_cgroup: ctx map any -> int
get_hash_recalc: ctx -> int
get_current_task: -> int gpl
current_task_under_cgroup: map any -> int
skb_change_tail: ctx any any -> int packet
skb_pull_data: ctx any -> int packet
csum_update: ctx any -> int
set_hash_invalid: ctx -> int
get_numa_node_id: -> int
skb_change_head: ctx any any -> int packet
get_socket_cookie: ctx -> int
get_socket_uid: ctx -> int
set_hash: ctx any -> int
skb_adjust_room: ctx any any any -> int packet
perf_event_read_value: map any mem-u size -> int gpl
skb_get_xfrm_state: ctx any mem-u size any -> int
skb_load_bytes_relative: ctx any mem-u size any -> int
fib_lookup: ctx mem-w size any -> int gpl
skb_cgroup_id: ctx -> int
get_current_cgroup_id: -> int
skb_ancestor_cgroup_id: ctx any -> int
sk_lookup_tcp: ctx mem size any any -> socket? pkt acquire
sk_lookup_udp: ctx mem size any any -> socket? pkt acquire
sk_release: sock -> int release
map_push_elem: map value any -> int pkt
map_pop_elem: map value-u -> int
map_peek_elem: map value-u -> int
spin_lock: lock -> void
spin_unlock: lock -> void
sk_fullsock: sk_common -> socket? cast
tcp_sock: sk_common -> tcp_sock? cast
skb_ecn_set_ce: ctx -> int
get_listener_sock: sk_common -> socket?
skc_lookup_tcp: ctx mem size any any -> sock_common? pkt acquire
tcp_check_syncookie: sock mem size mem size -> int pkt
strtol: mem size any fix-u8 -> int
strtoul: mem size any fix-u8 -> int
sk_storage_get: map sock value-or-null any -> value?
sk_storage_delete: map sock -> int
send_signal: any -> int
tcp_gen_syncookie: sock mem size mem size -> int pkt
probe_read_user: mem-u size0 any -> int gpl
probe_read_kernel: mem-u size0 any -> int gpl
probe_read_user_str: mem-u size0 any -> length gpl
probe_read_kernel_str: mem-u size0 any -> length gpl
send_signal_thread: any -> int
jiffies64: -> int
get_ns_current_pid_tgid: any any mem-u size -> int
get_netns_cookie: ctx? -> int
get_current_ancestor_cgroup_id: any -> int
sk_assign: ctx sock any -> int
ktime_get_boot_ns: -> int
ringbuf_output: map mem size0 any -> int
ringbuf_reserve: map alloc any -> mem? acquire
ringbuf_submit: record any -> void release
ringbuf_discard: record any -> void release
ringbuf_query: map any -> int
csum_level: ctx any -> int
skc_to_tcp6_sock: sock -> btf?:tcp6_sock cast
skc_to_tcp_sock: sock -> btf?:tcp_sock cast
skc_to_tcp_timewait_sock: sock -> btf?:tcp_timewait_sock cast
skc_to_tcp_request_sock: sock -> btf?:tcp_request_sock cast
skc_to_udp6_sock: sock -> btf?:udp6_sock cast
get_task_stack: task mem-u size0 any -> length
copy_from_user: mem-u size0 any -> int sleeps
snprintf_btf: mem-w size mem size any -> int gpl
skb_cgroup_classid: ctx -> int
redirect_neigh: any mem? size0 any -> int
per_cpu_ptr: percpu any -> unknown
this_cpu_ptr: percpu -> unknown
redirect_peer: any any -> int
task_storage_get: map task value-or-null any -> value?
task_storage_delete: map task -> int
get_current_task_btf: -> btf:task_struct
ktime_get_coarse_ns: -> int
check_mtu: ctx any fix-w4 any any -> int
for_each_map_elem: map func stack? any -> int
snprintf: mem-u? size0 string mem? size0 -> int
timer_init: timer map any -> int
timer_set_callback: timer func -> int
timer_start: timer any any -> int
timer_cancel: timer -> int
task_pt_regs: task -> unknown
get_branch_snapshot: mem-u size0 any -> int gpl
trace_vprintk: mem size mem? size0 -> int gpl
skc_to_unix_sock: sock -> btf?:unix_sock cast
find_vma: task any func stack? any -> int
loop: any func stack? any -> int
strncmp: mem size string -> int
copy_from_user_task: mem-u size0 any task any -> int gpl sleeps
skb_set_tstamp: ctx any any -> int
kptr_xchg: kptr exchanged? -> kptr? release
map_lookup_percpu_elem: map key any -> value? pkt
skc_to_mptcp_sock: sock -> btf?:mptcp_sock cast
dynptr_from_mem: mem-w size0 any dynptr-u -> int
ringbuf_reserve_dynptr: map any any dynptr-u -> int
ringbuf_submit_dynptr: dynptr-r any -> void
ringbuf_discard_dynptr: dynptr-r any -> void
dynptr_read: mem-u size0 dynptr any any -> int
dynptr_write: dynptr any mem size0 any -> int
dynptr_data: dynptr any alloc -> dynptr_mem?
tcp_raw_gen_syncookie_ipv4: fix-r20 mem size -> int pkt
tcp_raw_gen_syncookie_ipv6: fix-r40 mem size -> int pkt
tcp_raw_check_syncookie_ipv4: fix-r20 fix-r20 -> int pkt
tcp_raw_check_syncookie_ipv6: fix-r40 fix-r20 -> int pkt
ktime_get_tai_ns: -> int
user_ringbuf_drain: map func stack? any -> int
cgrp_storage_get: map cgroup value-or-null any -> value?
cgrp_storage_delete: map cgroup -> int
"""


@functools.cache
def _prototypes() -> dict[str, Proto]:
    found = {}
    for line in _TEXT.strip().splitlines():
        name, _, rest = line.partition(":")
        arguments, _, result = rest.partition("->")
        returns, *flags = result.split()
        found[name] = Proto(
            tuple(arguments.split()),
            returns,
            "pkt" in flags,
            "packet" in flags,
            "gpl" in flags,
            "release" in flags,
        )
    return found


@functools.cache
def proto_of(number: int) -> Proto | None:
    """The prototype of a helper; None of one that tc programs cannot have."""
    helper = BY_NUMBER.get(number)
    return _prototypes().get(helper.name) if helper is not None else None


ACQUIRES = frozenset({84, 85, 99, 131})
"""is_acquire_function: what r0 is must be given back."""
CASTS = frozenset({95, 96, 136, 137, 138, 139, 140, 178, 196})
"""is_ptr_cast_function: r0 is the argument seen otherwise, and owes what it owes."""
SLEEPS = frozenset({148, 191})

_QUEUES = frozenset({22, 23, 30})
_PERF = frozenset({22, 25, 55, 111, 121})
_RINGBUF = frozenset({130, 131, 134, 198})
MAP_ACCEPTS: dict[int, frozenset[int]] = {
    3: frozenset({12}),
    4: _PERF,
    27: _RINGBUF,
    31: frozenset({209}),
    7: frozenset({27}),
    8: frozenset({33, 37}),
    19: frozenset({81}),
    21: frozenset({81}),
    14: frozenset({51, 1}),
    25: frozenset({51, 1}),
    16: frozenset({51}),
    17: frozenset({51, 1}),
    12: frozenset({1}),
    13: frozenset({1}),
    15: frozenset({52, 53, 3, 60, 82, 1, 2}),
    18: frozenset({72, 70, 3, 71, 82, 1, 2}),
    20: frozenset({82}),
    22: frozenset({87, 88, 89}),
    23: frozenset({87, 88, 89}),
    24: frozenset({107, 108, 194}),
    28: frozenset({145, 146, 194}),
    29: frozenset({156, 157, 194}),
    32: frozenset({210, 211, 194}),
    30: frozenset({87, 89}),
}
"""check_map_func_compatibility: by map type, the only helpers that take such a map."""
HELPER_ACCEPTS: dict[int, frozenset[int]] = {
    12: frozenset({3}),
    22: frozenset({4}),
    25: frozenset({4}),
    55: frozenset({4}),
    130: frozenset({27}),
    131: frozenset({27}),
    134: frozenset({27}),
    198: frozenset({27}),
    209: frozenset({31}),
    33: frozenset({8}),
    37: frozenset({8}),
    87: _QUEUES,
    89: _QUEUES,
    88: frozenset({22, 23}),
    107: frozenset({24}),
    108: frozenset({24}),
    156: frozenset({29}),
    157: frozenset({29}),
    195: frozenset({5, 6, 10}),
    210: frozenset({32}),
    211: frozenset({32}),
}
"""The same from the other side: by helper, the only map types that it takes."""
ITERABLE = frozenset({1, 2, 5, 6, 9, 10})
"""Map types that for_each_map_elem walks."""
