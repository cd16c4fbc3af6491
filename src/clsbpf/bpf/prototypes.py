"""What does a helper take, and what does it give back?  struct bpf_func_proto, for every helper of tc's.

A prototype says of each argument what it must be, which is what a verifier proves and the interpreter
checks: the context, a map, memory of so many bytes, any number.  One table serves both: a line a helper,
in the order of the numbers: arguments, `->`, what r0 is afterwards, and what else is true of the call.
The words are what the verifier has rules for; `_ARGS` and `_RESULTS` say what they are to the
interpreter, which needs to know less.  A `?` after a word says that 0 will do (PTR_MAYBE_NULL).

    any      any initialised register            ctx     the context
    map      a map                                key, value, value-u    memory of the map's sizes
    mem      memory to read, its size comes next  mem-w   to read and write     mem-u   to write (MEM_UNINIT)
    size, size0       bytes; 0 allowed or not     alloc, reserve   a number known now
    fix-w4, fix-u8    memory of 4 or 8 bytes      ip4, ip6, tcp    of a header's size
    sock     SOCK_COMMON or its BTF type (sk, skc: too, and at run time it may be 0), sk_common, socket
    rest     nothing, or any number (it is not looked at)

`pkt`: packet pointers may be passed (pkt_access).  `packet`: those held are worthless afterwards.
"""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass

from .helpers import BY_NUMBER
from .spec import SCHED_CLS, SOCKET_FILTER


class Arg(enum.Enum):
    """enum bpf_arg_type, as far as tc's helpers have it.  `?`: may also be 0."""

    ANY = "any"
    REST = "rest"
    """Any number, or nothing: it need not have been written."""
    CTX = "ctx"
    MAP = "map"
    KEY = "key"
    """Memory of the map's key size."""
    VALUE = "value"
    """Memory of the map's value size."""
    VALUE_OR_NULL = "value?"
    VALUE_OUT = "value-out"
    """The same, to be written; what was there does not matter."""
    MEM = "mem"
    """Memory to be read; the next argument is its size."""
    MEM_OR_NULL = "mem?"
    """Or 0, where the size is 0."""
    BUFFER_OR_NULL = "buffer?"
    """Memory to be written if need be, with its size after it; 0 for none, whatever the size."""
    RW = "rw"
    """Memory to be read and written; the next argument is its size."""
    OUT = "out"
    """Memory to be written; the next argument is its size."""
    OUT_OR_NULL = "out?"
    SIZE = "size"
    """Bytes, at least one."""
    SIZE_OR_ZERO = "size0"
    OUT4 = "out4"
    """Four bytes, aligned, to be written."""
    RW4 = "rw4"
    OUT8 = "out8"
    STRING = "string"
    """A string with its end, in memory that nothing can write."""
    FUNC = "func"
    STACK_OR_NULL = "stack?"
    SOCK_COMMON = "sock_common"
    SOCKET = "socket"
    SOCKET_OR_NULL = "socket?"
    LOCK = "lock"
    TIMER = "timer"
    RECORD = "record"
    """What ringbuf_reserve gave; it is gone after the call."""
    RECORD_SIZE = "record_size"
    """A constant: how much is reserved."""
    DYNPTR = "dynptr"
    DYNPTR_OUT = "dynptr-out"
    BTF_ID = "btf"
    """A pointer to a kernel structure."""
    CONST = "const"
    """A number that is known before the program runs."""
    IP4 = "ip4"
    """20 bytes: an IPv4 header."""
    IP6 = "ip6"
    TCP = "tcp"
    """20 bytes: a TCP header."""


class Ret(enum.Enum):
    """enum bpf_return_type.  `?`: or 0."""

    INT = "int"
    VOID = "void"
    VALUE_OR_NULL = "value?"
    """A value of the map that was argument 1."""
    MEM_OR_NULL = "mem?"
    """Memory: of the size that was asked for."""
    SOCK_COMMON_OR_NULL = "sock_common?"
    SOCKET_OR_NULL = "socket?"
    TCP_SOCK_OR_NULL = "tcp_sock?"
    BTF_ID_OR_NULL = "btf?"
    BTF_ID = "btf"
    DYNPTR_MEM_OR_NULL = "dynptr_mem?"


@dataclass(frozen=True, slots=True)
class Prototype:
    """struct bpf_func_proto: what the arguments r1, r2, … must be, and what r0 is afterwards."""

    arguments: tuple[Arg, ...]
    returns: Ret
    changes_packet: bool = False
    """bpf_helper_changes_pkt_data(): are the pointers into the packet worthless afterwards?"""
    gpl_only: bool = False
    words: tuple[str, ...] = ()
    """The arguments as the table has them, without those that are not looked at."""
    result: str = "int"
    packet_access: bool = False
    releases: bool = False
    """Is argument 1 given back (OBJ_RELEASE)?"""


_ARGS: dict[str, Arg] = {
    "any": Arg.ANY, "rest": Arg.REST, "ctx": Arg.CTX, "ctx?": Arg.ANY, "map": Arg.MAP, "key": Arg.KEY,
    "value": Arg.VALUE, "value-or-null": Arg.VALUE_OR_NULL, "value-u": Arg.VALUE_OUT, "mem": Arg.MEM,
    "mem?": Arg.MEM_OR_NULL, "mem-w": Arg.RW, "mem-u": Arg.OUT, "mem-u?": Arg.OUT_OR_NULL,
    "mem-w?": Arg.OUT_OR_NULL,
    "size": Arg.SIZE, "size0": Arg.SIZE_OR_ZERO, "fix-w4": Arg.RW4, "fix-u8": Arg.OUT8,
    "string": Arg.STRING, "func": Arg.FUNC,
    "stack?": Arg.STACK_OR_NULL, "sk_common": Arg.SOCK_COMMON, "sock": Arg.SOCK_COMMON,
    "sk": Arg.SOCKET_OR_NULL, "skc": Arg.ANY, "lock": Arg.LOCK, "timer": Arg.TIMER, "record": Arg.RECORD,
    "alloc": Arg.CONST, "reserve": Arg.RECORD_SIZE, "dynptr": Arg.DYNPTR, "dynptr-r": Arg.DYNPTR,
    "dynptr-u": Arg.DYNPTR_OUT, "task": Arg.BTF_ID, "cgroup": Arg.BTF_ID, "task?": Arg.ANY,
    "cgroup?": Arg.ANY, "percpu": Arg.ANY,
    "kptr": Arg.OUT8, "exchanged?": Arg.ANY, "ip4": Arg.IP4, "ip6": Arg.IP6, "tcp": Arg.TCP,
}  # fmt: skip
_RESULTS: dict[str, Ret] = {
    "int": Ret.INT, "cpu": Ret.INT, "length": Ret.INT, "void": Ret.VOID, "value?": Ret.VALUE_OR_NULL,
    "mem?": Ret.MEM_OR_NULL, "sock_common?": Ret.SOCK_COMMON_OR_NULL, "socket?": Ret.SOCKET_OR_NULL,
    "tcp_sock?": Ret.TCP_SOCK_OR_NULL, "btf?": Ret.BTF_ID_OR_NULL, "btf": Ret.BTF_ID,
    "dynptr_mem?": Ret.DYNPTR_MEM_OR_NULL, "kptr?": Ret.BTF_ID_OR_NULL, "percpu": Ret.BTF_ID,
    "percpu?": Ret.BTF_ID_OR_NULL,
}  # fmt: skip

_TEXT = """
map_lookup_elem: map key -> value? pkt
map_update_elem: map key value any -> int pkt
map_delete_elem: map key -> int pkt
ktime_get_ns: -> int
trace_printk: mem size rest rest rest -> int gpl
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
sk_lookup_tcp: ctx mem size0 any any -> socket? pkt acquire
sk_lookup_udp: ctx mem size0 any any -> socket? pkt acquire
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
skc_lookup_tcp: ctx mem size0 any any -> sock_common? pkt acquire
tcp_check_syncookie: sock mem size mem size -> int pkt gpl
strtol: mem size any fix-u8 -> int
strtoul: mem size any fix-u8 -> int
sk_storage_get: map sk value-or-null any -> value?
sk_storage_delete: map sk -> int
send_signal: any -> int
tcp_gen_syncookie: sock mem size mem size -> int pkt gpl
probe_read_user: mem-u size0 any -> int gpl
probe_read_kernel: mem-u size0 any -> int gpl
probe_read_user_str: mem-u size0 any -> length gpl
probe_read_kernel_str: mem-u size0 any -> length gpl
send_signal_thread: any -> int
jiffies64: -> int
get_ns_current_pid_tgid: any any mem-u size -> int
get_netns_cookie: ctx? -> int
get_current_ancestor_cgroup_id: any -> int
sk_assign: ctx sk any -> int
ktime_get_boot_ns: -> int
ringbuf_output: map mem size0 any -> int
ringbuf_reserve: map reserve any -> mem? acquire
ringbuf_submit: record any -> void release
ringbuf_discard: record any -> void release
ringbuf_query: map any -> int
csum_level: ctx any -> int
skc_to_tcp6_sock: skc -> btf?:tcp6_sock cast
skc_to_tcp_sock: skc -> btf?:tcp_sock cast
skc_to_tcp_timewait_sock: skc -> btf?:tcp_timewait_sock cast
skc_to_tcp_request_sock: skc -> btf?:tcp_request_sock cast
skc_to_udp6_sock: skc -> btf?:udp6_sock cast
get_task_stack: task mem-u size0 any -> length
copy_from_user: mem-u size0 any -> int sleeps
snprintf_btf: mem-w size mem size any -> int
skb_cgroup_classid: ctx -> int
redirect_neigh: any mem? size0 any -> int
per_cpu_ptr: percpu any -> percpu?
this_cpu_ptr: percpu -> percpu
redirect_peer: any any -> int
task_storage_get: map task? value-or-null any -> value?
task_storage_delete: map task? -> int
get_current_task_btf: -> btf:task_struct gpl
ktime_get_coarse_ns: -> int
check_mtu: ctx any fix-w4 any any -> int gpl
for_each_map_elem: map func stack? any -> int
snprintf: mem-w? size0 string mem? size0 -> int gpl
timer_init: timer map any -> int gpl
timer_set_callback: timer func -> int gpl
timer_start: timer any any -> int gpl
timer_cancel: timer -> int gpl
task_pt_regs: task -> btf:pt_regs gpl
get_branch_snapshot: mem-u size0 any -> int gpl
trace_vprintk: mem size mem? size0 -> int gpl
skc_to_unix_sock: skc -> btf?:unix_sock cast
find_vma: task any func stack? any -> int
loop: any func stack? any -> int
strncmp: mem size string -> int
copy_from_user_task: mem-u size0 any task any -> int sleeps gpl
skb_set_tstamp: ctx any any -> int
kptr_xchg: kptr exchanged? -> kptr? release
map_lookup_percpu_elem: map key any -> value? pkt
skc_to_mptcp_sock: sk_common -> btf?:mptcp_sock cast
dynptr_from_mem: mem-u size0 any dynptr-u -> int
ringbuf_reserve_dynptr: map any any dynptr-u -> int
ringbuf_submit_dynptr: dynptr-r any -> void
ringbuf_discard_dynptr: dynptr-r any -> void
dynptr_read: mem-u size0 dynptr any any -> int
dynptr_write: dynptr any mem size0 any -> int
dynptr_data: dynptr any alloc -> dynptr_mem?
tcp_raw_gen_syncookie_ipv4: ip4 mem size0 -> int pkt gpl
tcp_raw_gen_syncookie_ipv6: ip6 mem size0 -> int pkt gpl
tcp_raw_check_syncookie_ipv4: ip4 tcp -> int pkt gpl
tcp_raw_check_syncookie_ipv6: ip6 tcp -> int pkt gpl
ktime_get_tai_ns: -> int
user_ringbuf_drain: map func stack? any -> int
cgrp_storage_get: map cgroup? value-or-null any -> value?
cgrp_storage_delete: map cgroup? -> int
"""


def _of_table(text: str) -> Prototype:
    arguments, _, result = text.partition("->")
    words = arguments.split()
    returns, *flags = result.split()
    return Prototype(
        tuple(_ARGS[word] for word in words),
        _RESULTS[returns.partition(":")[0]],
        changes_packet="packet" in flags,
        gpl_only="gpl" in flags,
        words=tuple(word for word in words if word != "rest"),
        result=returns,
        packet_access="pkt" in flags,
        releases="release" in flags,
    )


@functools.cache
def prototypes() -> dict[str, Prototype]:
    """Every prototype by the helper's name."""
    lines = (line.partition(":") for line in _TEXT.strip().splitlines())
    return {name: _of_table(text) for name, _, text in lines}


_OF_SOCKET_FILTERS = {17: _of_table("rest -> int")}
"""By number: get_cgroup_classid is the current task's there (bpf_get_cgroup_classid_curr), of no packet."""


@functools.cache
def prototype_of(number: int, type: str = SCHED_CLS) -> Prototype | None:
    """The prototype of a helper, as programs of a type call it; None of one that tc has not."""
    if type == SOCKET_FILTER and number in _OF_SOCKET_FILTERS:
        return _OF_SOCKET_FILTERS[number]
    helper = BY_NUMBER.get(number)
    return prototypes().get(helper.name) if helper is not None else None


def _parse(text: str) -> Prototype:
    arguments, _, result = text.partition("->")
    returns, *rest = result.split()
    return Prototype(tuple(Arg(word) for word in arguments.split()), Ret(returns), "packet" in rest)


_KFUNC_TEXT = """
bpf_dynptr_from_skb: ctx any dynptr-out -> int
bpf_dynptr_slice: dynptr any buffer? size -> mem?
bpf_dynptr_slice_rdwr: dynptr any buffer? size -> mem?
bpf_dynptr_adjust: dynptr any any -> int
bpf_dynptr_is_null: dynptr -> int
bpf_dynptr_is_rdonly: dynptr -> int
bpf_dynptr_size: dynptr -> int
bpf_dynptr_clone: dynptr dynptr-out -> int
bpf_dynptr_copy: dynptr any dynptr any any -> int
bpf_dynptr_memset: dynptr any any any -> int
bpf_rcu_read_lock: -> void
bpf_rcu_read_unlock: -> void
bpf_preempt_disable: -> void
bpf_preempt_enable: -> void
bpf_local_irq_save: out8 -> void
bpf_local_irq_restore: out8 -> void
bpf_cast_to_kern_ctx: ctx -> btf
bpf_rdonly_cast: any any -> btf
bpf_iter_num_new: out8 any any -> int
bpf_iter_num_next: out8 -> mem?
bpf_iter_num_destroy: out8 -> void
"""

KFUNC_PROTOTYPES: dict[str, Prototype] = {
    name: _parse(text) for name, _, text in (line.partition(":") for line in _KFUNC_TEXT.strip().splitlines())
}
"""Kernel functions by name.  (The kernel has these from their BTF.)"""
