"""Which sockets does a program find?  bpf_sk_lookup_tcp and what is done with a socket.

Sockets are those of the environment's `net`; a program sees one as struct bpf_sock, and may read its
fields.  (net/core/filter.c.)  A socket that a lookup gave is to be released.
"""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable

from ..environment import Environment, EnvironmentAt, Missing
from ..memory import Region
from ..native_skb import At
from ..net import Socket
from ..subset import load_i64, load_u32, native, s32, store_i64, u32
from .misc import in_cgroup_array
from .network import find_socket
from .socket_image import SOCK_BYTES, SOCKET_BYTES, SockAt, write_socket


def show_socket(machine: int, socket: Socket) -> int:
    """struct bpf_sock of the packet's socket, which the program may read: its address."""
    running = Environment.at(machine).running
    memory = ctypes.create_string_buffer(SOCKET_BYTES)
    address = write_socket(ctypes.addressof(memory), socket)
    running.kept.append(memory)
    running.sockets[address] = socket
    if running.memory is not None:
        running.memory.add(Region("struct bpf_sock", address, SOCK_BYTES, writable=False))
    return address


@native
def look_up(machine: int, protocol: int, tuple_at: int, size: int, netns: int, flags: int) -> int:
    """__bpf_sk_lookup().  Of other namespaces, by id, none is known."""
    if flags or size not in (12, 36) or s32(netns) >= 0:
        return 0
    return find_socket(machine, protocol, tuple_at, size)


@native
def sk_lookup_tcp(machine: int, skb: int, tuple_at: int, size: int, netns: int, flags: int) -> int:
    """bpf_sk_lookup_tcp: a socket for addresses and ports (struct bpf_sock_tuple), or 0."""
    return look_up(machine, Missing.TCP, tuple_at, size, netns, flags)


@native
def sk_lookup_udp(machine: int, skb: int, tuple_at: int, size: int, netns: int, flags: int) -> int:
    """bpf_sk_lookup_udp."""
    return look_up(machine, Missing.UDP, tuple_at, size, netns, flags)


@native
def sk_release(machine: int, socket: int) -> int:
    """bpf_sk_release: 0."""
    return 0


@native
def sk_fullsock(machine: int, socket: int) -> int:
    """bpf_sk_fullsock: the socket, if it is more than a remainder or a request; else 0."""
    return socket if load_i64(socket + SockAt.FULL) else 0


@native
def tcp_sock(machine: int, socket: int) -> int:
    """bpf_tcp_sock: struct bpf_tcp_sock of a TCP socket, or 0."""
    return load_i64(socket + SockAt.TCP)


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


@native
def skb_ancestor_cgroup_id(machine: int, skb: int, level: int) -> int:
    """bpf_skb_ancestor_cgroup_id: the ancestor at a level, 0 the root; 0 where there is none."""
    at = s32(level)
    if at < 0 or at >= load_i64(machine + EnvironmentAt.CGROUP_LEVELS):
        return 0
    return load_i64(load_i64(machine + EnvironmentAt.CGROUPS) + at * 8)


@native
def skb_cgroup_id(machine: int, skb: int) -> int:
    """bpf_skb_cgroup_id: of the packet's socket; 0 where it has none."""
    return skb_ancestor_cgroup_id(machine, skb, load_i64(machine + EnvironmentAt.CGROUP_LEVELS) - 1)


@native
def get_current_cgroup_id(machine: int) -> int:
    """bpf_get_current_cgroup_id: the idle task is in the root."""
    return load_i64(load_i64(machine + EnvironmentAt.CGROUPS))


@native
def get_current_ancestor_cgroup_id(machine: int, level: int) -> int:
    """bpf_get_current_ancestor_cgroup_id."""
    return load_i64(load_i64(machine + EnvironmentAt.CGROUPS)) if level == 0 else 0


@native
def skb_cgroup_classid(machine: int, skb: int) -> int:
    """bpf_skb_cgroup_classid: of the packet's socket; 0 where it has none."""
    return 0


@native
def skb_under_cgroup(machine: int, skb: int, map: int, index: int) -> int:
    """bpf_skb_under_cgroup: 1 if the packet's socket is under the cgroup at an index; -errno."""
    if load_i64(machine + EnvironmentAt.CGROUP_LEVELS) == 0:
        return -errno.ENOENT
    found = in_cgroup_array(map, u32(index))
    return found if found < 0 else 0


@native
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
