"""Which sockets does a program find?  bpf_sk_lookup_tcp and what is done with a socket.

Sockets are those of the environment's `net`; a program sees one as struct bpf_sock, and may read its
fields.  (net/core/filter.c.)  A socket that a lookup gave is to be released.
"""

from __future__ import annotations

import ctypes
import enum
import errno
import ipaddress
import struct
from collections.abc import Callable

from ..environment import Environment, EnvironmentAt
from ..memory import Region
from ..native_skb import At
from ..net import TCP_CLOSE, Address, Socket
from ..subset import copy, external, load_i64, load_u32, native, s32, store_i64
from .answers import AnswerAt, Question, answered, ask, keep
from .misc import in_cgroup_array

AF_UNSPEC = 0
AF_INET = 2
AF_INET6 = 10
SOCK_STREAM = 1
SOCK_DGRAM = 2
IPPROTO_TCP = 6
IPPROTO_UDP = 17
TCP_ESTABLISHED = 1
TCP_TIME_WAIT = 6
TCP_LISTEN = 10
TCP_NEW_SYN_RECV = 12
S32_MAX = 0x7FFFFFFF

_SOCK = struct.Struct("=IIIIII4s16sI2s2x4s16sIi")
"""struct bpf_sock."""
SOCK_BYTES = 80
assert _SOCK.size == SOCK_BYTES
_TCP_FIELDS = (
    *("snd_cwnd", "srtt_us", "rtt_min", "snd_ssthresh", "rcv_nxt", "snd_nxt", "snd_una", "mss_cache"),
    *("ecn_flags", "rate_delivered", "rate_interval_us", "packets_out", "retrans_out", "total_retrans"),
    *("segs_in", "data_segs_in", "segs_out", "data_segs_out", "lost_out", "sacked_out"),
)
_TCP_WIDE = ("bytes_received", "bytes_acked")
_TCP_LAST = ("dsack_dups", "delivered", "delivered_ce", "icsk_retransmits")
_TCP = struct.Struct("=20I2Q4I")
"""struct bpf_tcp_sock."""

_KINDS = {"tcp": (SOCK_STREAM, IPPROTO_TCP), "udp": (SOCK_DGRAM, IPPROTO_UDP)}


def state_of(socket: Socket) -> int:
    """Its TCP_* state."""
    if socket.state:
        return socket.state
    if socket.protocol == "udp":
        return TCP_ESTABLISHED if socket.remote else TCP_CLOSE
    return TCP_ESTABLISHED if socket.remote else TCP_LISTEN


def image(socket: Socket) -> bytes:
    """struct bpf_sock of a socket."""
    kind, protocol = _KINDS.get(socket.protocol, (0, 0))
    version = socket.local[0].version
    remote = socket.remote or (ipaddress.ip_address("0.0.0.0" if version == 4 else "::"), 0)

    def both(address: Address) -> tuple[bytes, bytes]:
        raw = address.packed
        return (raw, bytes(16)) if len(raw) == 4 else (bytes(4), raw)

    family = AF_INET if version == 4 else AF_INET6
    return _SOCK.pack(
        socket.bound_ifindex,
        AF_UNSPEC if not socket.protocol and socket.local[0].is_unspecified else family,
        kind,
        protocol,
        socket.mark,
        socket.priority,
        *both(socket.local[0]),
        socket.local[1],
        remote[1].to_bytes(2, "big"),
        *both(remote[0]),
        state_of(socket),
        socket.rx_queue_mapping,
    )


def tcp_image(socket: Socket) -> bytes:
    """struct bpf_tcp_sock of a socket."""
    fields = dict(socket.fields)
    return _TCP.pack(*(fields.get(name, 0) for name in (*_TCP_FIELDS, *_TCP_WIDE, *_TCP_LAST)))


class SockAt(enum.IntEnum):
    """Byte offsets of what is known of a socket, before the structure that a program sees of it; all i64."""

    FULL = -32
    """1: more than a remainder or a request (sk_fullsock)."""
    TCP = -24
    """The address of its struct bpf_tcp_sock, UNKNOWN before that was asked for, or NONE."""
    LISTENS = -16
    """1: it does (get_listener_sock)."""
    NAME = -8
    """Which socket it is, of whatever address it was shown at."""
    HEAD = 32


UNKNOWN = 0
NONE = -1


def _show(machine: int, name: str, socket: Socket, content: bytes) -> int:
    """Native memory with a structure of a socket, which the program may read: its address."""
    environment = Environment.at(machine)
    running = environment.running
    memory = ctypes.create_string_buffer(bytes(SockAt.HEAD) + content, SockAt.HEAD + len(content))
    address = ctypes.addressof(memory) + SockAt.HEAD
    store_i64(address + SockAt.FULL, state_of(socket) not in (TCP_TIME_WAIT, TCP_NEW_SYN_RECV))
    store_i64(address + SockAt.LISTENS, state_of(socket) == TCP_LISTEN)
    store_i64(address + SockAt.NAME, id(socket))
    running.kept.append(memory)
    running.sockets[address] = socket
    assert running.memory is not None
    running.memory.add(Region(name, address, len(content), writable=False))
    return address


def show_socket(machine: int, socket: Socket) -> int:
    """struct bpf_sock of a socket: its address."""
    return _show(machine, "struct bpf_sock", socket, image(socket))


def socket_at(machine: int, address: int) -> Socket:
    """The socket that a program's pointer is, which was checked."""
    return Environment.at(machine).running.sockets[address & 0xFFFFFFFFFFFFFFFF]


def find(machine: int, protocol: str, raw: bytes) -> Socket | None:
    """__inet_lookup, __udp4_lib_lookup: a connected socket, else one that listens, the more exact first."""
    environment = Environment.at(machine)
    if len(raw) == 12:
        source: Address = ipaddress.IPv4Address(raw[:4])
        destination: Address = ipaddress.IPv4Address(raw[4:8])
    else:
        source, destination = ipaddress.IPv6Address(raw[:16]), ipaddress.IPv6Address(raw[16:32])
    remote = (source, int.from_bytes(raw[-4:-2], "big"))
    local = (destination, int.from_bytes(raw[-2:], "big"))
    if not environment.net.sockets:
        environment.miss(f"{protocol} sockets")
    best: tuple[int, Socket] | None = None
    for socket in environment.net.sockets:
        if socket.protocol != protocol or socket.local[1] != local[1]:
            continue
        if socket.local[0] != local[0] and not socket.local[0].is_unspecified:
            continue
        if socket.local[0].version != local[0].version and socket.local[0].version == 4:
            continue
        if socket.remote is not None and socket.remote != remote:
            continue
        score = 4 * (socket.remote is not None) + 2 * (socket.local[0] == local[0])
        if best is None or score > best[0]:
            best = score, socket
    return best[1] if best else None


@external
def ask_socket(machine: int, question: int, tuple_at: int, size: int) -> int:
    """A socket for addresses and ports, shown to the program; or 0."""
    protocol = "tcp" if question == Question.TCP else "udp"
    socket = find(machine, protocol, ctypes.string_at(tuple_at, size))
    return show_socket(machine, socket) if socket is not None else 0


@native
def look_up(machine: int, question: int, tuple_at: int, size: int, netns: int, flags: int) -> int:
    """__bpf_sk_lookup().  Of other namespaces, by id, none is known."""
    if flags or size not in (12, 36) or s32(netns) >= 0:
        return 0
    about = ask(machine, question)
    if about == 0:
        return ask_socket(machine, question, tuple_at, size)
    copy(about, tuple_at, size)
    store_i64(about + 40, size)
    answer = answered(machine)
    if answer:
        return load_i64(answer + AnswerAt.RESULT)
    return keep(machine, ask_socket(machine, question, tuple_at, size), 0, 0)


@native
def sk_lookup_tcp(machine: int, skb: int, tuple_at: int, size: int, netns: int, flags: int) -> int:
    """bpf_sk_lookup_tcp: a socket for addresses and ports (struct bpf_sock_tuple), or 0."""
    return look_up(machine, Question.TCP, tuple_at, size, netns, flags)


@native
def sk_lookup_udp(machine: int, skb: int, tuple_at: int, size: int, netns: int, flags: int) -> int:
    """bpf_sk_lookup_udp."""
    return look_up(machine, Question.UDP, tuple_at, size, netns, flags)


@native
def sk_release(machine: int, socket: int) -> int:
    """bpf_sk_release: 0."""
    return 0


@native
def sk_fullsock(machine: int, socket: int) -> int:
    """bpf_sk_fullsock: the socket, if it is more than a remainder or a request; else 0."""
    return socket if load_i64(socket + SockAt.FULL) else 0


@external
def ask_tcp_socket(machine: int, socket: int) -> int:
    """struct bpf_tcp_sock of a TCP socket, shown to the program, or 0."""
    found = socket_at(machine, socket)
    if found.protocol != "tcp" or state_of(found) in (TCP_TIME_WAIT, TCP_NEW_SYN_RECV):
        return 0
    return _show(machine, "struct bpf_tcp_sock", found, tcp_image(found))


@native
def tcp_sock(machine: int, socket: int) -> int:
    """bpf_tcp_sock: struct bpf_tcp_sock of a TCP socket, or 0."""
    known = load_i64(socket + SockAt.TCP)
    if known == UNKNOWN:
        shown = ask_tcp_socket(machine, socket)
        known = shown if shown else NONE
        store_i64(socket + SockAt.TCP, known)
    return 0 if known == NONE else known


@native
def get_listener_sock(machine: int, socket: int) -> int:
    """bpf_get_listener_sock: the socket, if it listens; else 0."""
    return socket if load_i64(socket + SockAt.LISTENS) else 0


@native
def sk_assign(machine: int, skb: int, socket: int, flags: int) -> int:
    """bpf_sk_assign: the packet is for that socket.  0 or -errno."""
    if socket == 0 or flags:
        return -errno.EINVAL
    if load_u32(skb + At.AT_INGRESS) == 0:
        return -errno.EOPNOTSUPP
    store_i64(machine + EnvironmentAt.ASSIGNED, socket)
    return 0


@native
def get_socket_cookie(machine: int, skb: int) -> int:
    """bpf_get_socket_cookie: of the packet's socket; 0 where it has none."""
    return load_i64(machine + EnvironmentAt.SOCKET_COOKIE)


@native
def get_socket_uid(machine: int, skb: int) -> int:
    """bpf_get_socket_uid: of the packet's socket; overflowuid where it has none."""
    return load_i64(machine + EnvironmentAt.SOCKET_UID)


@native
def get_netns_cookie(machine: int, skb: int) -> int:
    """bpf_get_netns_cookie."""
    return load_i64(machine + EnvironmentAt.NETNS_COOKIE)


@external
def skb_cgroup_id(machine: int, skb: int) -> int:
    """bpf_skb_cgroup_id: of the packet's socket; 0 where it has none."""
    environment = Environment.at(machine)
    return environment.net.cgroup_ids[-1] if environment.socket is not None else 0


@external
def skb_ancestor_cgroup_id(machine: int, skb: int, level: int) -> int:
    """bpf_skb_ancestor_cgroup_id: the ancestor at a level, 0 the root; 0 where there is none."""
    environment = Environment.at(machine)
    if environment.socket is None:
        return 0
    ids = environment.net.cgroup_ids
    return ids[level] if 0 <= level < len(ids) else 0


@external
def get_current_cgroup_id(machine: int) -> int:
    """bpf_get_current_cgroup_id: the idle task is in the root."""
    return Environment.at(machine).net.cgroup_ids[0]


@external
def get_current_ancestor_cgroup_id(machine: int, level: int) -> int:
    """bpf_get_current_ancestor_cgroup_id."""
    return Environment.at(machine).net.cgroup_ids[0] if level == 0 else 0


@external
def skb_cgroup_classid(machine: int, skb: int) -> int:
    """bpf_skb_cgroup_classid: of the packet's socket; 0 where it has none."""
    return 0


@external
def skb_under_cgroup(machine: int, skb: int, map: int, index: int) -> int:
    """bpf_skb_under_cgroup: 1 if the packet's socket is under the cgroup at an index; -errno."""
    environment = Environment.at(machine)
    if environment.socket is None:
        return -errno.ENOENT
    found = in_cgroup_array(map, index & 0xFFFFFFFF)
    return found if found < 0 else 0


@external
def no_such_type(machine: int, socket: int) -> int:
    """bpf_skc_to_*: the kernel's own structure of a socket: there is none."""
    return 0


BODIES: dict[str, Callable[..., int]] = {
    "sk_lookup_tcp": sk_lookup_tcp,
    "skc_lookup_tcp": sk_lookup_tcp,
    "sk_lookup_udp": sk_lookup_udp,
    "sk_release": sk_release,
    "sk_fullsock": sk_fullsock,
    "tcp_sock": tcp_sock,
    "get_listener_sock": get_listener_sock,
    "sk_assign": sk_assign,
    "get_socket_cookie": get_socket_cookie,
    "get_socket_uid": get_socket_uid,
    "get_netns_cookie": get_netns_cookie,
    "skb_cgroup_id": skb_cgroup_id,
    "skb_ancestor_cgroup_id": skb_ancestor_cgroup_id,
    "get_current_cgroup_id": get_current_cgroup_id,
    "get_current_ancestor_cgroup_id": get_current_ancestor_cgroup_id,
    "skb_cgroup_classid": skb_cgroup_classid,
    "skb_under_cgroup": skb_under_cgroup,
    **dict.fromkeys(
        (
            *("skc_to_tcp6_sock", "skc_to_tcp_sock", "skc_to_tcp_timewait_sock", "skc_to_tcp_request_sock"),
            *("skc_to_udp6_sock", "skc_to_unix_sock", "skc_to_mptcp_sock"),
        ),
        no_such_type,
    ),
}
