"""The name of a section says what type of program is in it.

libbpf has a table of names; iproute2 knew none but took any section for what tc was told to load.  Here
both hold: a name that libbpf gives to another type means that type, every other name means a classifier
(`from-container`, `2/1`, `my_prog`).
"""

from __future__ import annotations

import re

from ..bpf.spec import SCHED_ACT, SCHED_CLS, SOCKET_FILTER

_TYPES: tuple[tuple[str, str], ...] = (
    (r"classifier|tc|tcx|netkit", SCHED_CLS),
    (r"action", SCHED_ACT),
    (r"socket\d*", SOCKET_FILTER),
    (r"k(?:ret)?probe(?:\.multi)?|u(?:ret)?probe(?:\.multi)?(?:\.s)?|k(?:ret)?syscall|usdt", "kprobe"),
    (r"tracepoint|tp", "tracepoint"),
    (r"raw_tracepoint|raw_tp", "raw_tracepoint"),
    (r"raw_tracepoint\.w|raw_tp\.w", "raw_tracepoint_writable"),
    (r"tp_btf|f(?:entry|exit|mod_ret)(?:\.s)?|iter(?:\.s)?", "tracing"),
    (r"lsm(?:_cgroup)?(?:\.s)?", "lsm"),
    (r"freplace", "ext"),
    (r"syscall", "syscall"),
    (r"xdp(?:[._].*|\d*)", "xdp"),
    (r"perf_event", "perf_event"),
    (r"lwt_in", "lwt_in"),
    (r"lwt_out", "lwt_out"),
    (r"lwt_xmit", "lwt_xmit"),
    (r"lwt_seg6local", "lwt_seg6local"),
    (r"sockops", "sock_ops"),
    (r"sk_skb", "sk_skb"),
    (r"sk_msg", "sk_msg"),
    (r"lirc_mode2", "lirc_mode2"),
    (r"flow_dissector", "flow_dissector"),
    (r"sk_reuseport", "sk_reuseport"),
    (r"sk_lookup", "sk_lookup"),
    (r"struct_ops(?:\.s)?", "struct_ops"),
    (r"netfilter", "netfilter"),
    (r"cgroup_skb", "cgroup_skb"),
    (r"cgroup/(?:skb)", "cgroup_skb"),
    (r"cgroup/(?:sock|sock_create|sock_release|post_bind[46])", "cgroup_sock"),
    (r"cgroup/dev", "cgroup_device"),
    (r"cgroup/sysctl", "cgroup_sysctl"),
    (r"cgroup/[gs]etsockopt", "cgroup_sockopt"),
    (
        r"cgroup/(?:bind|connect|getpeername|getsockname|sendmsg|recvmsg)(?:[46]|_unix)",
        "cgroup_sock_addr",
    ),
)
"""Full names, and beginnings up to a `/`, with the type of program; the first that fits counts."""

_PATTERNS = tuple((re.compile(rf"(?:{pattern})(?:/.*)?", re.DOTALL), type) for pattern, type in _TYPES)


def program_type(section: str) -> str:
    """The type of the programs in a section, a key of `bpf.spec.PROGRAM_TYPES`."""
    name = section.removeprefix("?")
    return next((type for pattern, type in _PATTERNS if pattern.fullmatch(name)), SCHED_CLS)


def is_autoloaded(section: str) -> bool:
    """Does libbpf load it without being asked?  `?` before the name says no."""
    return not section.startswith("?")
