"""Where would a packet go?  bpf_fib_lookup and bpf_check_mtu, answered from the environment's `net`.

(net/core/filter.c: bpf_skb_fib_lookup, bpf_skb_check_mtu.)  A namespace without routes answers as a kernel
without routes does, and the environment counts that it was asked.
"""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import struct
from collections.abc import Callable

from ..environment import Environment
from ..native_skb import NativeSkb
from ..net import LOOPBACK_ROUTES, Address, Net, NetDevice, Route
from ..subset import external

AF_INET = 2
AF_INET6 = 10
RT_TABLE_MAIN = 254

DIRECT = 1 << 0
OUTPUT = 1 << 1
SKIP_NEIGH = 1 << 2
TBID = 1 << 3
SRC = 1 << 4
MARK = 1 << 5
VLAN = 1 << 6
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
_BY_KIND = {"blackhole": BLACKHOLE, "unreachable": UNREACHABLE, "prohibit": PROHIBIT}

_FIB = struct.Struct("=BB2s2sHII16s16s4s12s")
"""struct bpf_fib_lookup: family, protocol, ports, tot_len or mtu, ifindex, tos or metric, source,
destination, VLAN or table, link-layer addresses or mark."""
FIB_BYTES = 64
assert _FIB.size == FIB_BYTES

MTU_CHK_SEGS = 1 << 0
MTU_FRAG_NEEDED = 1
MTU_SEGS_TOOBIG = 2


def skb_of(address: int) -> NativeSkb:
    """The native skb at a context pointer."""
    return NativeSkb.from_address(address)


def address_of(family: int, raw: bytes) -> Address:
    """An address out of the sixteen bytes of struct bpf_fib_lookup."""
    return ipaddress.IPv4Address(raw[:4]) if family == AF_INET else ipaddress.IPv6Address(raw)


def stays_on_link(address: Address) -> bool:
    """rt6_need_strict(): packets from and to such an IPv6 address are not forwarded."""
    return address.is_multicast or address.is_link_local or address.is_loopback


def _ends(fields: list[object]) -> list[bytes]:
    """Source and destination."""
    return [raw for raw in fields[7:9] if isinstance(raw, bytes)]


def best_route(net: Net, destination: Address, table: int, oif: int) -> Route | None:
    """fib_table_lookup(): the longest prefix, then the least metric."""
    found = [
        route
        for route in (*net.routes, *LOOPBACK_ROUTES)
        if route.table == table
        and route.network.version == destination.version
        and destination in route.network
        and (oif == 0 or route.ifindex == oif)
    ]
    return max(found, key=lambda route: (route.network.prefixlen, -route.metric), default=None)


def _lookup(
    net: Net, fields: list[object], device: NetDevice, flags: int
) -> tuple[int, Route | None, Address]:
    family, raw = fields[0], fields[8]
    assert isinstance(family, int) and isinstance(raw, bytes)
    destination = address_of(family, raw)
    table = RT_TABLE_MAIN
    master = net.device(device.master) if device.master else None
    if master is not None and master.vrf_table:
        table = master.vrf_table
    if flags & DIRECT and flags & TBID:
        tbid = fields[9]
        assert isinstance(tbid, bytes)
        table = int.from_bytes(tbid, "little")
        fields[9] = bytes(4)
    route = best_route(net, destination, table, device.ifindex if flags & OUTPUT else 0)
    if route is None:
        return NOT_FWDED, None, destination
    if route.kind != "unicast":
        return _BY_KIND.get(route.kind, NOT_FWDED), None, destination
    return SUCCESS, route, destination


def _look_up(net: Net, skb: NativeSkb, fields: list[object], flags: int) -> int:
    """bpf_ipv4_fib_lookup and bpf_ipv6_fib_lookup: the answer; `fields` are what they leave."""
    family, total, ifindex = fields[0], fields[4], fields[5]
    assert isinstance(family, int) and isinstance(total, int) and isinstance(ifindex, int)
    device = net.device(ifindex)
    if device is None:
        return -errno.ENODEV
    if family == AF_INET6 and any(stays_on_link(address_of(family, raw)) for raw in _ends(fields)):
        return NOT_FWDED
    if not device.forwarding:
        return FWD_DISABLED
    answer, route, destination = _lookup(net, fields, device, flags)
    if route is None:
        return answer
    out = net.device(route.ifindex)
    if out is None:
        return NOT_FWDED
    mtu = route.mtu or out.mtu
    if total and total > mtu:
        fields[4] = mtu
        return FRAG_NEEDED
    fields[5], fields[6] = out.ifindex, route.metric
    if flags & SRC:
        if route.source is None:
            return NO_SRC_ADDR
        fields[7] = route.source.packed.ljust(16, b"\0")
    if route.gateway is not None:
        fields[0] = AF_INET if route.gateway.version == 4 else AF_INET6
        fields[8] = route.gateway.packed.ljust(16, b"\0")
        destination = route.gateway
    if not flags & SKIP_NEIGH:
        neighbour = net.neighbours.get((out.ifindex, destination))
        if neighbour is None:
            return NO_NEIGH
        fields[10] = out.address + neighbour
    fields[9] = bytes(4)
    fields[4] = mtu if total else out.mtu
    if not total and skb.gso_size == 0 and skb.len > out.mtu + out.hard_header_len + 4:
        return FRAG_NEEDED
    return SUCCESS


@external
def fib_lookup(machine: int, skb: int, params: int, length: int, flags: int) -> int:
    """bpf_fib_lookup: 0 with the next hop in `params` (struct bpf_fib_lookup), BPF_FIB_LKUP_RET_*, or -errno."""
    environment = Environment.at(machine)
    if length < FIB_BYTES or flags & ~FLAGS & 0xFFFFFFFF:
        return -errno.EINVAL
    fields: list[object] = list(_FIB.unpack(ctypes.string_at(params, FIB_BYTES)))
    if fields[0] not in (AF_INET, AF_INET6):
        return -errno.EAFNOSUPPORT
    if not environment.net.routes:
        environment.miss("routes (bpf_fib_lookup)")
    result = _look_up(environment.net, skb_of(skb), fields, flags)
    ctypes.memmove(params, _FIB.pack(*fields), FIB_BYTES)
    return result


@external
def check_mtu(machine: int, skb: int, ifindex: int, result: int, difference: int, flags: int) -> int:
    """bpf_check_mtu: would the packet, so much longer, go through a device?  0, BPF_MTU_CHK_RET_*, -errno."""
    environment = Environment.at(machine)
    packet = skb_of(skb)
    wanted = ctypes.c_uint32.from_address(result)
    difference = ctypes.c_int32(difference).value
    if flags & ~MTU_CHK_SEGS or (flags & MTU_CHK_SEGS and (difference or wanted.value)):
        return -errno.EINVAL
    device = environment.net.device((ifindex & 0xFFFFFFFF) or packet.ifindex)
    if device is None:
        environment.miss(f"device {ifindex & 0xFFFFFFFF} (bpf_check_mtu)")
        return -errno.ENODEV
    length = wanted.value + device.hard_header_len if wanted.value else packet.len
    answer = MTU_FRAG_NEEDED
    if ctypes.c_int32(length + difference).value <= device.mtu + device.hard_header_len:
        answer = SUCCESS
    elif packet.gso_size:
        too_big = flags & MTU_CHK_SEGS and packet.gso_size > device.mtu
        answer = MTU_SEGS_TOOBIG if too_big else SUCCESS
    wanted.value = device.mtu
    return answer


BODIES: dict[str, Callable[..., int]] = {"fib_lookup": fib_lookup, "check_mtu": check_mtu}
