"""Where would a packet go?  bpf_fib_lookup and bpf_check_mtu, answered from the environment's `net`.

(net/core/filter.c: bpf_skb_fib_lookup, bpf_skb_check_mtu.)  A namespace without routes answers as a kernel
without routes does, and the environment counts that it was asked.
"""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import ipaddress
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass

from ..environment import Environment
from ..native_skb import At, NativeSkb
from ..net import LOOPBACK_ROUTES, Address, Net, NetDevice, Route
from ..subset import copy, external, load_i64, load_u32, native, store_i64, store_u32
from .answers import AnswerAt, Question, answered, ask, keep

AF_INET = 2
AF_INET6 = 10
RT_TABLE_MAIN = 254

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
_BY_KIND = {"blackhole": BLACKHOLE, "unreachable": UNREACHABLE, "prohibit": PROHIBIT}

_FIB = struct.Struct("=BB2s2sHII16s16s4s12s")
"""struct bpf_fib_lookup: family, protocol, ports, tot_len or mtu, ifindex, tos or metric, source,
destination, VLAN or table, link-layer addresses or mark."""
FIB_BYTES = 64
assert _FIB.size == FIB_BYTES

VLAN_HLEN = 4

MTU_CHK_SEGS = 1 << 0
MTU_FRAG_NEEDED = 1
MTU_SEGS_TOOBIG = 2


def skb_of(address: int) -> NativeSkb:
    """The native skb at a context pointer."""
    return NativeSkb.from_address(address)


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


@dataclass(slots=True)
class FibLookup:
    """struct bpf_fib_lookup: the question, and then the answer.  Addresses and ports in network order."""

    family: int
    protocol: int
    sport: bytes
    dport: bytes
    length: int
    """tot_len; in the answer mtu_result."""
    ifindex: int
    metric: int
    """tos or flowinfo; in the answer rt_metric."""
    source: bytes
    destination: bytes
    vlan: bytes
    """tbid; in the answer h_vlan_proto and h_vlan_TCI."""
    link: bytes
    """mark; in the answer smac and dmac."""

    @property
    def to(self) -> Address:
        """The destination."""
        if self.family == AF_INET:
            return ipaddress.IPv4Address(self.destination[:4])
        return ipaddress.IPv6Address(self.destination)


def _table(net: Net, query: FibLookup, device: NetDevice, flags: int) -> int:
    """Which routing table is asked."""
    if flags & DIRECT and flags & TBID:
        table = int.from_bytes(query.vlan, sys.byteorder)
        query.vlan = bytes(4)
        return table
    master = net.device(device.master) if device.master else None
    return master.vrf_table if master is not None and master.vrf_table else RT_TABLE_MAIN


def _look_up(net: Net, skb: NativeSkb, query: FibLookup, flags: int) -> int:
    """bpf_ipv4_fib_lookup and bpf_ipv6_fib_lookup: the answer, and what they leave in `query`."""
    device = net.device(query.ifindex)
    if device is None:
        return -errno.ENODEV
    if not device.forwarding:
        return FWD_DISABLED
    table = _table(net, query, device, flags)
    route = best_route(net, query.to, table, device.ifindex if flags & OUTPUT else 0)
    if route is None:
        return NOT_FWDED
    out = net.device(route.ifindex)
    if route.kind != "unicast" or out is None:
        return _BY_KIND.get(route.kind, NOT_FWDED)
    mtu = route.mtu or out.mtu
    if query.length > mtu:
        query.length = mtu
        return FRAG_NEEDED
    return _forward(net, skb, query, route, out, flags)


def _forward(net: Net, skb: NativeSkb, query: FibLookup, route: Route, out: NetDevice, flags: int) -> int:
    """The packet goes by a route: to whom, and from where."""
    query.ifindex, query.metric = out.ifindex, route.metric
    if flags & SRC:
        if route.source is None:
            return NO_SRC_ADDR
        query.source = route.source.packed.ljust(16, b"\0")
    if route.gateway is not None:
        query.family = AF_INET if route.gateway.version == 4 else AF_INET6
        query.destination = route.gateway.packed.ljust(16, b"\0")
    if not flags & SKIP_NEIGH:
        neighbour = net.neighbours.get((out.ifindex, query.to))
        if neighbour is None:
            return NO_NEIGH
        query.link = out.address + neighbour
    query.vlan = bytes(4)
    asked = query.length
    query.length = (route.mtu or out.mtu) if asked else out.mtu
    too_long = skb.len > out.mtu + out.hard_header_len + VLAN_HLEN
    return FRAG_NEEDED if not asked and not skb.gso_size and too_long else SUCCESS


@external
def ask_route(machine: int, skb: int, params: int, flags: int) -> int:
    """The answer, from the environment's routes."""
    environment = Environment.at(machine)
    query = FibLookup(*_FIB.unpack(ctypes.string_at(params, FIB_BYTES)))
    if query.family not in (AF_INET, AF_INET6):
        return -errno.EAFNOSUPPORT
    if not environment.net.routes:
        environment.miss("routes (bpf_fib_lookup)")
    result = _look_up(environment.net, skb_of(skb), query, flags)
    ctypes.memmove(params, _FIB.pack(*dataclasses.astuple(query)), FIB_BYTES)
    return result


@native
def fib_lookup(machine: int, skb: int, params: int, length: int, flags: int) -> int:
    """bpf_fib_lookup: 0 with the next hop in `params` (struct bpf_fib_lookup), BPF_FIB_LKUP_RET_*, -errno."""
    if length < FIB_BYTES or flags & ~FLAGS & 0xFFFFFFFF:
        return -errno.EINVAL
    about = ask(machine, Question.ROUTE)
    if about == 0:
        return ask_route(machine, skb, params, flags)
    copy(about, params, FIB_BYTES)
    store_u32(about + FIB_BYTES, flags)
    store_u32(about + FIB_BYTES + 4, load_u32(skb + At.LEN))
    store_u32(about + FIB_BYTES + 8, load_u32(skb + At.GSO_SIZE))
    answer = answered(machine)
    if answer:
        copy(params, answer + AnswerAt.OUTPUT, FIB_BYTES)
        return load_i64(answer + AnswerAt.RESULT)
    return keep(machine, ask_route(machine, skb, params, flags), params, FIB_BYTES)


@external
def ask_mtu(machine: int, skb: int, ifindex: int, result: int, difference: int, flags: int) -> int:
    """The answer, from the environment's devices."""
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


@native
def check_mtu(machine: int, skb: int, ifindex: int, result: int, difference: int, flags: int) -> int:
    """bpf_check_mtu: would the packet, so much longer, go through a device?  0, BPF_MTU_CHK_RET_*, -errno."""
    about = ask(machine, Question.MTU)
    if about == 0:
        return ask_mtu(machine, skb, ifindex, result, difference, flags)
    store_u32(about, ifindex)
    store_u32(about + 4, load_u32(skb + At.IFINDEX))
    store_u32(about + 8, load_u32(result))
    store_u32(about + 12, difference)
    store_i64(about + 16, flags)
    store_u32(about + 24, load_u32(skb + At.LEN))
    store_u32(about + 28, load_u32(skb + At.GSO_SIZE))
    answer = answered(machine)
    if answer:
        store_u32(result, load_u32(answer + AnswerAt.OUTPUT))
        return load_i64(answer + AnswerAt.RESULT)
    return keep(machine, ask_mtu(machine, skb, ifindex, result, difference, flags), result, 4)


BODIES: dict[str, Callable[..., int]] = {"fib_lookup": fib_lookup, "check_mtu": check_mtu}
