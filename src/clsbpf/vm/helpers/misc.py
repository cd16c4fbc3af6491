"""What else can a program ask about its packet?  Congestion marks, time stamps, IPsec, cgroups, routes.

Where a kernel would look at the packet's socket, task or route there is usually none in a capture: the
answers are those of a packet that came in from the wire.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from ..environment import EnvironmentAt
from ..maps.header import MapAt
from ..native_skb import At
from ..packet import header
from ..subset import (
    fill,
    load_be32,
    load_i32,
    load_i64,
    load_u8,
    load_u16,
    load_u32,
    native,
    store_i64,
    store_u8,
    store_u16,
    store_u32,
    swap16,
    swap32,
    u16,
    u32,
)
from .resize import IPV4_HLEN, IPV4_NETWORK_ORDER, IPV6_HLEN, IPV6_NETWORK_ORDER
from .room import captured
from .vlan import ETH_HLEN, ETH_P_8021AD_BE, ETH_P_8021Q_BE, VLAN_HLEN

ECN_MASK = 3
ECN_CE = 3

VLAN_MAX_DEPTH = 8

CLOCK_REALTIME = 0
CLOCK_MONOTONIC = 1
CLOCK_TAI = 2


@native
def set_ce4(ip: int) -> int:
    """IP_ECN_set_ce(): 1 where the mark is set (or was), 0 where the packet does not take part."""
    tos = load_u8(ip + 1)
    step = tos + 1 & ECN_MASK
    if step & 2 == 0:
        return step == 0
    total = load_u16(ip + 10) + u16(swap16(0xFFFB) + swap16(step))
    store_u16(ip + 10, total + (total >> 16))
    store_u8(ip + 1, tos | ECN_CE)
    return 1


@native
def set_ce6(ip: int) -> int:
    """IP6_ECN_set_ce()."""
    word = load_be32(ip)
    if word >> 20 & ECN_MASK == 0:
        return 0
    store_u32(ip, swap32(word | ECN_CE << 20))
    return 1


@native
def protocol_behind_tags(skb: int) -> int:
    """vlan_get_protocol(): the protocol, in network order, behind the tags in the bytes; 0 if they go on."""
    protocol = load_u32(skb + At.PROTOCOL)
    mac_len = load_u32(skb + At.MAC_LEN)
    at = mac_len - VLAN_HLEN if mac_len > ETH_HLEN else ETH_HLEN
    last = at + VLAN_HLEN * (VLAN_MAX_DEPTH - 1)
    while protocol in (ETH_P_8021Q_BE, ETH_P_8021AD_BE):
        tag = header(skb, at, VLAN_HLEN)
        if tag == 0 or at == last:
            return 0
        protocol = load_u16(tag + 2)
        at += VLAN_HLEN
    return protocol


@native
def skb_ecn_set_ce(machine: int, skb: int) -> int:
    """bpf_skb_ecn_set_ce: mark congestion in the IP header.  1 if the mark is there now.

    Behind tags in the bytes it marks what lies at the network header as if that were the IP header: with
    the network header at the first tag, as in a test run, that is not it.
    """
    protocol = protocol_behind_tags(skb)
    if protocol not in (IPV4_NETWORK_ORDER, IPV6_NETWORK_ORDER):
        return 0
    size = IPV4_HLEN if protocol == IPV4_NETWORK_ORDER else IPV6_HLEN
    network = load_i32(skb + At.NET_OFF)
    if network + size > captured(skb):
        if network + size <= load_u32(skb + At.LEN):
            store_u32(skb + At.READ_PAST, 1)
        return 0
    ip = load_i64(skb + At.DATA_PTR) + network
    return set_ce4(ip) if protocol == IPV4_NETWORK_ORDER else set_ce6(ip)


@native
def skb_set_tstamp(machine: int, skb: int, tstamp: int, type: int) -> int:
    """bpf_skb_set_tstamp: when to deliver the packet, and by which clock.  0 or -errno."""
    if load_u32(skb + At.PROTOCOL) not in (IPV4_NETWORK_ORDER, IPV6_NETWORK_ORDER):
        return -errno.EOPNOTSUPP
    kind = u32(type)
    if kind == CLOCK_REALTIME:
        store_i64(skb + At.TSTAMP, tstamp)
    elif kind in (CLOCK_MONOTONIC, CLOCK_TAI):
        if tstamp == 0:
            return -errno.EINVAL
        store_i64(skb + At.TSTAMP, tstamp)
    else:
        return -errno.EINVAL
    store_u32(skb + At.TSTAMP_TYPE, kind)
    return 0


@native
def skb_get_xfrm_state(machine: int, skb: int, index: int, to: int, size: int, flags: int) -> int:
    """bpf_skb_get_xfrm_state: a packet of a capture did not come through IPsec.  -EINVAL, and zeros."""
    fill(to, 0, size)
    return -errno.EINVAL


@native
def get_cgroup_classid(machine: int, skb: int) -> int:
    """bpf_get_cgroup_classid: of the task that sends the packet; 0 where none does."""
    return load_i64(machine + EnvironmentAt.CLASSID)


@native
def get_route_realm(machine: int, skb: int) -> int:
    """bpf_get_route_realm: of the route the packet has; 0 before routing."""
    return load_i64(machine + EnvironmentAt.REALM)


@native
def in_cgroup_array(map: int, index: int) -> int:
    """Is there a cgroup at an index of the array?  1, or -errno."""
    if index >= load_i64(map + MapAt.MAX_ENTRIES):
        return -errno.E2BIG
    return 1 if load_i64(load_i64(map + MapAt.ELEMENTS) + index * 8) else -errno.EAGAIN


@native
def current_task_under_cgroup(machine: int, map: int, index: int) -> int:
    """bpf_current_task_under_cgroup: the idle task is in the root cgroup only.  0 or -errno."""
    found = in_cgroup_array(map, u32(index))
    return found if found < 0 else 0


@native
def send_signal(machine: int, signal: int) -> int:
    """bpf_send_signal: the idle task takes none."""
    return -errno.EPERM


@native
def probe_nothing(machine: int, to: int, size: int, source: int) -> int:
    """bpf_probe_read_user, bpf_copy_from_user, …: there is no user's memory.  -EFAULT, and zeros."""
    fill(to, 0, size)
    return -errno.EFAULT


@native
def probe_nothing_of(machine: int, to: int, size: int, source: int, task: int, flags: int) -> int:
    """bpf_copy_from_user_task."""
    fill(to, 0, size)
    return -errno.EFAULT


@native
def get_branch_snapshot(machine: int, to: int, size: int, flags: int) -> int:
    """bpf_get_branch_snapshot: no processor records branches here."""
    return -errno.EINVAL if flags else -errno.ENOENT


@native
def get_task_stack(machine: int, task: int, to: int, size: int, flags: int) -> int:
    """bpf_get_task_stack: there is no stack of a task."""
    fill(to, 0, size)
    return -errno.EFAULT


@native
def get_ns_current_pid_tgid(machine: int, device: int, inode: int, to: int, size: int) -> int:
    """bpf_get_ns_current_pid_tgid: no pid namespace is known by device and inode.  -EINVAL, and zeros."""
    fill(to, 0, size)
    return -errno.EINVAL


@native
def find_vma(machine: int, task: int, address: int, callback: int, context: int, flags: int) -> int:
    """bpf_find_vma: the idle task has no memory of its own.  -errno."""
    return -errno.EINVAL if flags else -errno.ENOENT


@native
def user_ringbuf_drain(machine: int, map: int, callback: int, context: int, flags: int) -> int:
    """bpf_user_ringbuf_drain: nobody puts anything there.  0 records."""
    return 0


BODIES: dict[str, Callable[..., int]] = {
    "skb_ecn_set_ce": skb_ecn_set_ce,
    "skb_set_tstamp": skb_set_tstamp,
    "skb_get_xfrm_state": skb_get_xfrm_state,
    "get_cgroup_classid": get_cgroup_classid,
    "get_route_realm": get_route_realm,
    "current_task_under_cgroup": current_task_under_cgroup,
    "send_signal": send_signal,
    "send_signal_thread": send_signal,
    "probe_read_user": probe_nothing,
    "probe_read_user_str": probe_nothing,
    "copy_from_user": probe_nothing,
    "copy_from_user_task": probe_nothing_of,
    "get_branch_snapshot": get_branch_snapshot,
    "find_vma": find_vma,
    "user_ringbuf_drain": user_ringbuf_drain,
    "get_task_stack": get_task_stack,
    "get_ns_current_pid_tgid": get_ns_current_pid_tgid,
}
