"""Where would a packet go?  bpf_fib_lookup and bpf_check_mtu, answered from the environment's `net`.

(net/core/filter.c: bpf_skb_fib_lookup, bpf_skb_check_mtu.)  The tables are network.py's.  A namespace without
routes answers as a kernel without routes does, and the environment counts that it was asked.
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Callable

from ..environment import EnvironmentAt, Missing
from ..native_skb import At
from ..subset import (
    copy,
    load_i64,
    load_u8,
    load_u16,
    load_u32,
    native,
    s32,
    store_u8,
    store_u16,
    store_u32,
    u32,
)
from .network import DeviceAt, NetAt, RouteAt, RouteKind, best_route, device_at, miss, neighbour
from .socket_image import AF_INET, AF_INET6

DIRECT = 1 << 0
OUTPUT = 1 << 1
SKIP_NEIGH = 1 << 2
TBID = 1 << 3
SRC = 1 << 4
MARK = 1 << 5
FLAGS = DIRECT | OUTPUT | SKIP_NEIGH | TBID | SRC | MARK
"""BPF_FIB_LOOKUP_*."""

SUCCESS = 0
BLACKHOLE = 1
UNREACHABLE = 2
PROHIBIT = 3
NOT_FWDED = 4
FWD_DISABLED = 5
UNSUPP_LWT = 6
NO_NEIGH = 7
FRAG_NEEDED = 8
NO_SRC_ADDR = 9
"""BPF_FIB_LKUP_RET_*."""
FIB_BYTES = 64
"""sizeof(struct bpf_fib_lookup)."""
VLAN_HLEN = 4

MTU_CHK_SEGS = 1 << 0
MTU_FRAG_NEEDED = 1
MTU_SEGS_TOOBIG = 2


class FibAt(enum.IntEnum):
    """Byte offsets in struct bpf_fib_lookup: the question, and then the answer; in network order what is a
    packet's."""

    FAMILY = 0
    LENGTH = 6
    """u16: tot_len; in the answer mtu_result."""
    IFINDEX = 8
    METRIC = 12
    """u32: tos or flowinfo; in the answer rt_metric."""
    SOURCE = 16
    DESTINATION = 32
    VLAN = 48
    """u32: tbid; in the answer h_vlan_proto and h_vlan_TCI."""
    SMAC = 52
    """u32 mark; in the answer smac and dmac."""
    DMAC = 58


@native
def forward(machine: int, skb: int, params: int, route: int, out: int, flags: int) -> int:
    """The packet goes by a route: to whom, and from where."""
    store_u32(params + FibAt.IFINDEX, load_u32(out + DeviceAt.IFINDEX))
    store_u32(params + FibAt.METRIC, load_u32(route + RouteAt.METRIC))
    if flags & SRC:
        if load_u32(route + RouteAt.HAS_SOURCE) == 0:
            return NO_SRC_ADDR
        copy(params + FibAt.SOURCE, route + RouteAt.SOURCE, 16)
    gateway = load_u32(route + RouteAt.GATEWAY_FAMILY)
    if gateway:
        store_u8(params + FibAt.FAMILY, gateway)
        copy(params + FibAt.DESTINATION, route + RouteAt.GATEWAY, 16)
    if not flags & SKIP_NEIGH:
        family = load_u8(params + FibAt.FAMILY)
        link = neighbour(machine, load_u32(out + DeviceAt.IFINDEX), family, params + FibAt.DESTINATION)
        if link == 0:
            return NO_NEIGH
        copy(params + FibAt.SMAC, out + DeviceAt.ADDRESS, 6)
        copy(params + FibAt.DMAC, link, 6)
    store_u32(params + FibAt.VLAN, 0)
    mtu = load_u32(out + DeviceAt.MTU)
    asked = load_u16(params + FibAt.LENGTH)
    routed = load_u32(route + RouteAt.MTU)
    store_u16(params + FibAt.LENGTH, routed if asked and routed else mtu)
    most = mtu + load_u32(out + DeviceAt.HARD_HEADER_LEN) + VLAN_HLEN
    if not asked and load_u32(skb + At.GSO_SIZE) == 0 and load_u32(skb + At.LEN) > most:
        return FRAG_NEEDED
    return SUCCESS


@native
def look_up(machine: int, skb: int, params: int, device: int, flags: int) -> int:
    """bpf_ipv4_fib_lookup and bpf_ipv6_fib_lookup for what comes in at a device."""
    if load_u32(device + DeviceAt.FORWARDING) == 0:
        return FWD_DISABLED
    table = load_u32(device + DeviceAt.TABLE)
    if flags & DIRECT and flags & TBID:
        table = load_u32(params + FibAt.VLAN)
        store_u32(params + FibAt.VLAN, 0)
    over = load_u32(device + DeviceAt.IFINDEX) if flags & OUTPUT else 0
    route = best_route(machine, table, load_u8(params + FibAt.FAMILY), params + FibAt.DESTINATION, over)
    if route == 0:
        return NOT_FWDED
    kind = load_u32(route + RouteAt.KIND)
    if kind != RouteKind.UNICAST:
        return kind if kind != RouteKind.OTHER else NOT_FWDED
    out = device_at(machine, load_u32(route + RouteAt.IFINDEX))
    if out == 0:
        return NOT_FWDED
    mtu = load_u32(route + RouteAt.MTU)
    if mtu == 0:
        mtu = load_u32(out + DeviceAt.MTU)
    if load_u16(params + FibAt.LENGTH) > mtu:
        store_u16(params + FibAt.LENGTH, mtu)
        return FRAG_NEEDED
    return forward(machine, skb, params, route, out, flags)


@native
def fib_lookup(machine: int, skb: int, params: int, length: int, flags: int) -> int:
    """bpf_fib_lookup: 0 with the next hop in `params` (struct bpf_fib_lookup), BPF_FIB_LKUP_RET_*, -errno."""
    if length < FIB_BYTES or flags & ~FLAGS & 0xFFFFFFFF:
        return -errno.EINVAL
    if load_u8(params + FibAt.FAMILY) not in (AF_INET, AF_INET6):
        return -errno.EAFNOSUPPORT
    device = device_at(machine, load_u32(params + FibAt.IFINDEX))
    net = load_i64(machine + EnvironmentAt.NET)
    if net and load_i64(net + NetAt.ROUTED) == 0:
        miss(machine, Missing.ROUTES, 0)
    return look_up(machine, skb, params, device, flags) if device else -errno.ENODEV


@native
def check_mtu(machine: int, skb: int, ifindex: int, result: int, difference: int, flags: int) -> int:
    """bpf_check_mtu: would the packet, so much longer, go through a device?  0, BPF_MTU_CHK_RET_*, -errno."""
    wanted = load_u32(result)
    longer = s32(difference)
    if flags & ~MTU_CHK_SEGS or (flags & MTU_CHK_SEGS and (longer or wanted)):
        return -errno.EINVAL
    device = device_at(machine, u32(ifindex) if u32(ifindex) else load_u32(skb + At.IFINDEX))
    if device == 0:
        miss(machine, Missing.MTU, u32(ifindex))
        return -errno.ENODEV
    mtu = load_u32(device + DeviceAt.MTU)
    header = load_u32(device + DeviceAt.HARD_HEADER_LEN)
    length = wanted + header if wanted else load_u32(skb + At.LEN)
    answer = MTU_FRAG_NEEDED
    segment = load_u32(skb + At.GSO_SIZE)
    if s32(length + longer) <= mtu + header:
        answer = SUCCESS
    elif segment:
        answer = MTU_SEGS_TOOBIG if flags & MTU_CHK_SEGS and segment > mtu else SUCCESS
    store_u32(result, mtu)
    return answer


BODIES: dict[str, Callable[..., int]] = {"fib_lookup": fib_lookup, "check_mtu": check_mtu}
