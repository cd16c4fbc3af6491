"""How is the network around a program looked up?  In tables that are made of the environment's `Net`.

`Net` is Python objects, put in by whoever tests a program; to ask them for each packet takes microseconds.
So they are written down in maps like those of programs, and what a body asks is a lookup:

- devices by ifindex;
- routes by (table, family, prefix length, device asked for or 0, prefix): a lookup tries the lengths that a
  table has, the longest first (`best_route`);
- neighbours by (ifindex, address);
- sockets by protocol, family and addresses, in four forms, from "connected to this very end" to "listens
  anywhere"; a socket is in each in which it may be found, the first one given stays.

While machine code runs nothing of a `Net` changes.  When a run first asks, Python looks whether the tables
still say what `Net` does, and makes them again if not (`ask_net`); an interpreted program's run is one, too.
"""

from __future__ import annotations

import ctypes
import enum
import struct
from collections.abc import Iterator, Mapping

from ...bpf.maps import MapType
from ...bpf.spec import MapSpec
from ...errors import MapError
from ..environment import KEY_BYTES, MISSES, Environment, EnvironmentAt, Missing
from ..maps.hash import hash_lookup
from ..maps.map import Map
from ..maps.storage import Storage
from ..net import LOOPBACK_IFINDEX, LOOPBACK_ROUTES, Address, Net, NetDevice, Route, Socket, to_nobody
from ..subset import (
    copy,
    external,
    fill,
    load_i64,
    load_u8,
    native,
    store_i64,
    store_u8,
    store_u32,
    wrap,
)
from .socket_image import AF_INET, AF_INET6, SOCKET_BYTES, write_socket

RT_TABLE_MAIN = 254
MANY_DEVICES = 1 << 16
"""How many a table has room for where every ifindex has a device."""


class NetAt(enum.IntEnum):
    """Byte offsets in the tables' header, all i64: maps by their address, and what else there is."""

    DEVICES = 0
    MORE_DEVICES = 8
    """1: a device that is not in the table may be one (`ask_device`)."""
    ROUTES = 16
    ROUTED = 24
    """1: somebody gave routes."""
    NEIGHBOURS = 32
    SOCKETS = 40
    FORMS = 48
    """Which forms of sockets there are: bit CONNECTED or ANYWHERE or both."""
    LISTED = 56
    """1: somebody gave sockets."""
    DELIVERS = 64
    """Who takes clones (`Clones`)."""
    BYTES = 72


class Clones(enum.IntEnum):
    """What becomes of clones."""

    MISSED = 0
    """There is no way out."""
    TAKEN = 1
    UNSEEN = 2
    """They go out, and nobody looks."""


class DeviceAt(enum.IntEnum):
    """Byte offsets in a device, u32 where nothing is said."""

    IFINDEX = 0
    MTU = 4
    HARD_HEADER_LEN = 8
    FORWARDING = 12
    TABLE = 16
    """Which routing table is asked for what comes in there."""
    ADDRESS = 20
    """6 bytes."""
    BYTES = 32


class RouteAt(enum.IntEnum):
    """Byte offsets in a route, u32 where nothing is said."""

    KIND = 0
    """`RouteKind`."""
    IFINDEX = 4
    METRIC = 8
    MTU = 12
    """0: the device's."""
    GATEWAY_FAMILY = 16
    """0: none."""
    HAS_SOURCE = 20
    GATEWAY = 24
    """16 bytes, network order, as in the other."""
    SOURCE = 40
    BYTES = 56


class RouteKind(enum.IntEnum):
    """What becomes of packets."""

    UNICAST = 0
    BLACKHOLE = 1
    UNREACHABLE = 2
    PROHIBIT = 3
    OTHER = 4


LENGTHS = 0xFFFFFFFF
"""In place of a prefix length: the prefix lengths that a table has.  At ROUTE.KIND is their count, at
GATEWAY the address of a row of i64, the longest first."""
CONNECTED = 1
ANYWHERE = 2
"""In the form of a socket: it has a remote end; its own address is none, or another family's."""


# Questions ----------------------------------------------------------------------------------------


@native
def net_of(machine: int) -> int:
    """The address of the tables; 0 where Python failed to make them."""
    net = load_i64(machine + EnvironmentAt.NET)
    return net if net else ask_net(machine)


@native
def new_key(machine: int) -> int:
    """Room for a question, zeros."""
    fill(machine + EnvironmentAt.KEY, 0, KEY_BYTES)
    return machine + EnvironmentAt.KEY


@native
def device_at(machine: int, ifindex: int) -> int:
    """dev_get_by_index(): the device, or 0."""
    net = net_of(machine)
    if net == 0:
        return 0
    key = new_key(machine)
    store_u32(key, ifindex)
    found = hash_lookup(load_i64(net + NetAt.DEVICES), key)
    if found or load_i64(net + NetAt.MORE_DEVICES) == 0:
        return found
    return ask_device(machine, ifindex)


@native
def route_key(machine: int, table: int, family: int, length: int, ifindex: int) -> int:
    """Room for the prefix, after what else is asked."""
    key = new_key(machine)
    store_u32(key, table)
    store_u32(key + 4, family)
    store_u32(key + 8, length)
    store_u32(key + 12, ifindex)
    return key + 16


@native
def best_route(machine: int, table: int, family: int, destination: int, ifindex: int) -> int:
    """fib_table_lookup(): the longest prefix that the address at `destination` is in; over a device, if
    that is not 0.  The route, or 0."""
    routes = load_i64(net_of(machine) + NetAt.ROUTES)
    route_key(machine, table, family, LENGTHS, 0)
    lengths = hash_lookup(routes, machine + EnvironmentAt.KEY)
    if lengths == 0:
        return 0
    row = load_i64(lengths + RouteAt.GATEWAY)
    for at in range(load_i64(lengths)):
        length = load_i64(row + at * 8)
        prefix = route_key(machine, table, family, length, ifindex)
        whole = length >> 3
        copy(prefix, destination, whole)
        if length & 7:
            store_u8(prefix + whole, load_u8(destination + whole) & (0xFF00 >> (length & 7)))
        found = hash_lookup(routes, machine + EnvironmentAt.KEY)
        if found:
            return found
    return 0


@native
def neighbour(machine: int, ifindex: int, family: int, address: int) -> int:
    """The address of a neighbour's link-layer address, or 0."""
    key = new_key(machine)
    store_u32(key, ifindex)
    store_u32(key + 4, family)
    copy(key + 8, address, 4 if family == AF_INET else 16)
    return hash_lookup(load_i64(net_of(machine) + NetAt.NEIGHBOURS), key)


@native
def find_socket(machine: int, protocol: int, ends: int, size: int) -> int:
    """__inet_lookup(), __udp4_lib_lookup(): struct bpf_sock of the socket for addresses and ports (struct
    bpf_sock_tuple): a connected one, else one that listens, the more exact first; or 0."""
    net = net_of(machine)
    if net == 0:
        return 0
    if load_i64(net + NetAt.LISTED) == 0:
        miss(machine, protocol, 0)
        return 0
    forms = load_i64(net + NetAt.FORMS)
    width = (size - 4) >> 1
    for step in range(4):
        form = (0 if step & 2 else CONNECTED) | (ANYWHERE if step & 1 else 0)
        if forms >> form & 1:
            key = new_key(machine)
            store_u8(key, protocol)
            store_u8(key + 1, form)
            store_u8(key + 2, width)
            copy(key + 4, ends + 2 * width + 2, 2)
            if not form & ANYWHERE:
                copy(key + 8, ends + width, width)
            if form & CONNECTED:
                copy(key + 6, ends + 2 * width, 2)
                copy(key + 24, ends, width)
            found = hash_lookup(load_i64(net + NetAt.SOCKETS), key)
            if found:
                return load_i64(found)
    return 0


@native
def miss(machine: int, what: int, number: int) -> None:
    """Count that a program asked for what is not here."""
    missing = wrap(what | number << 32)
    for slot in range(MISSES):
        known = load_i64(machine + EnvironmentAt.MISSING + slot * 8)
        if known == missing:
            counter = machine + EnvironmentAt.MISSED + slot * 8
            store_i64(counter, load_i64(counter) + 1)
            return
        if known == 0:
            break
    ask_miss(machine, what, number)


# Tables -------------------------------------------------------------------------------------------


@external
def ask_net(machine: int) -> int:
    """The tables of what the network is now."""
    environment = Environment.at(machine)
    tables = environment.kept.get("net")
    if not isinstance(tables, Tables) or not tables.tell(environment.net):
        tables = environment.kept["net"] = Tables(environment.net)
    environment.sockets = tables.sockets
    environment.native.net = tables.address
    return tables.address


@external
def ask_device(machine: int, ifindex: int) -> int:
    """A device that is not in the table: its place there, or 0."""
    environment = Environment.at(machine)
    tables = environment.kept["net"]
    assert isinstance(tables, Tables)
    number = ifindex & 0xFFFFFFFF
    device = environment.net.device(number)
    return tables.add_device(number, device) if device is not None else 0


@external
def ask_miss(machine: int, what: int, number: int) -> int:
    """Something else that is not here."""
    Environment.at(machine).miss(Missing(what), number & 0xFFFFFFFF)
    return 0


KINDS: Mapping[str, RouteKind] = {
    "unicast": RouteKind.UNICAST,
    "blackhole": RouteKind.BLACKHOLE,
    "unreachable": RouteKind.UNREACHABLE,
    "prohibit": RouteKind.PROHIBIT,
}
PROTOCOLS = {"tcp": Missing.TCP, "udp": Missing.UDP}
"""The number of a protocol, in a question for a socket."""
_ROUTE_KEY = struct.Struct("=4I16s")
_ROUTE = struct.Struct("=6I16s16s")
_LENGTHS = struct.Struct("=q16xq24x")
_DEVICE = struct.Struct("=5I6s6x")
_NEIGHBOUR_KEY = struct.Struct("=II16s")
_SOCKET_KEY = struct.Struct("=BBBx2s2s16s16s")
assert _ROUTE.size == _LENGTHS.size == RouteAt.BYTES
assert _DEVICE.size == DeviceAt.BYTES


def family_of(address: Address) -> int:
    """AF_INET or AF_INET6."""
    return AF_INET if address.version == 4 else AF_INET6


class Tables:
    """The tables of a `Net` as it was."""

    def __init__(self, net: Net) -> None:
        self._told = _told(net)
        self.storage = Storage(NetAt.BYTES)
        self.address = self.storage.address
        self._net = net
        self._maps: list[Map] = []
        any_device = type(net.devices) is not dict
        found = {ifindex: net.device(ifindex) for ifindex in (LOOPBACK_IFINDEX, *net.devices)}
        self._devices = self._table(
            "devices", 4, DeviceAt.BYTES, MANY_DEVICES if any_device else len(found), NetAt.DEVICES
        )
        for ifindex, device in found.items():
            if device is not None:
                self.add_device(ifindex, device)
        self.storage[NetAt.MORE_DEVICES] = any_device
        self.storage[NetAt.DELIVERS] = _clones(net)
        self.storage[NetAt.ROUTED] = bool(net.routes)
        self.storage[NetAt.LISTED] = bool(net.sockets)
        self._add_routes((*net.routes, *LOOPBACK_ROUTES))
        neighbours = self._table("neighbours", 24, 8, len(net.neighbours), NetAt.NEIGHBOURS)
        for (ifindex, address), link in net.neighbours.items():
            neighbours.update(
                _NEIGHBOUR_KEY.pack(ifindex, family_of(address), address.packed), link[:6].ljust(8, b"\0")
            )
        self.sockets: dict[int, Socket] = {}
        """By the address that programs see."""
        self._add_sockets(net.sockets)

    def tell(self, net: Net) -> bool:
        """Do they say what the network is?"""
        return _told(net) == self._told

    def _table(self, name: str, key: int, value: int, count: int, at: NetAt) -> Map:
        made = Map(MapSpec(name, MapType.HASH, key, value, count + 1))
        self._maps.append(made)
        self.storage[at] = made.address
        return made

    def add_device(self, ifindex: int, device: NetDevice) -> int:
        """Write a device down: where.  Where there is no room left, the others are forgotten."""
        master = self._net.device(device.master) if device.master else None
        table = master.vrf_table if master is not None and master.vrf_table else RT_TABLE_MAIN
        value = _DEVICE.pack(
            device.ifindex, device.mtu, device.hard_header_len, device.forwarding, table, device.address
        )
        key = ifindex.to_bytes(4, "little")
        try:
            self._devices.update(key, value)
        except MapError:
            for each in list(self._devices.walk()):
                self._devices.delete(each)
            self._devices.update(key, value)
        buffer = ctypes.create_string_buffer(key, 4)
        return hash_lookup(self._devices.address, ctypes.addressof(buffer))

    def _add_routes(self, routes: tuple[Route, ...]) -> None:
        best: dict[bytes, Route] = {}
        lengths: dict[tuple[int, int], set[int]] = {}
        for route in routes:
            network = route.network
            family = family_of(network.network_address)
            lengths.setdefault((route.table, family), set()).add(network.prefixlen)
            for ifindex in {0, route.ifindex}:
                key = _ROUTE_KEY.pack(
                    route.table, family, network.prefixlen, ifindex, network.network_address.packed
                )
                if key not in best or route.metric < best[key].metric:
                    best[key] = route
        table = self._table("routes", 32, RouteAt.BYTES, len(best) + len(lengths), NetAt.ROUTES)
        for key, route in best.items():
            table.update(key, self._route(route))
        for (number, family), found in lengths.items():
            row = self.storage.reserve(8 * len(found))
            for at, length in enumerate(sorted(found, reverse=True)):
                store_i64(row + 8 * at, length)
            table.update(
                _ROUTE_KEY.pack(number, family, LENGTHS, 0, bytes(16)), _LENGTHS.pack(len(found), row)
            )

    def _route(self, route: Route) -> bytes:
        kind = KINDS.get(route.kind, RouteKind.OTHER)
        if kind is RouteKind.UNICAST and self._net.device(route.ifindex) is None:
            kind = RouteKind.OTHER
        return _ROUTE.pack(
            kind,
            route.ifindex,
            route.metric,
            route.mtu,
            0 if route.gateway is None else family_of(route.gateway),
            route.source is not None,
            b"" if route.gateway is None else route.gateway.packed,
            b"" if route.source is None else route.source.packed,
        )

    def _add_sockets(self, sockets: list[Socket]) -> None:
        found: dict[bytes, int] = {}
        forms = 0
        for socket in sockets:
            if socket.protocol not in PROTOCOLS:
                continue
            at = write_socket(self.storage.reserve(SOCKET_BYTES), socket)
            self.sockets[at] = socket
            for form, width in _forms(socket):
                forms |= 1 << form
                found.setdefault(_socket_key(socket, form, width), at)
        table = self._table("sockets", _SOCKET_KEY.size, 8, len(found), NetAt.SOCKETS)
        for key, at in found.items():
            table.update(key, at.to_bytes(8, "little"))
        self.storage[NetAt.FORMS] = forms


def _forms(socket: Socket) -> Iterator[tuple[int, int]]:
    """In which forms a socket is found, each with the length of addresses that are asked for."""
    address = socket.local[0]
    connected = CONNECTED if socket.remote is not None else 0
    places = [(connected, len(address.packed))]
    if address.is_unspecified:
        places.append((connected | ANYWHERE, len(address.packed)))
        if address.version == 6:  # it takes IPv4, too
            places.append((connected | ANYWHERE, 4))
    for form, width in places:
        if socket.remote is None or len(socket.remote[0].packed) == width:
            yield form, width


def _socket_key(socket: Socket, form: int, width: int) -> bytes:
    remote = (bytes(2), b"")
    if socket.remote is not None:
        remote = (socket.remote[1].to_bytes(2, "big"), socket.remote[0].packed)
    return _SOCKET_KEY.pack(
        PROTOCOLS[socket.protocol],
        form,
        width,
        socket.local[1].to_bytes(2, "big"),
        remote[0],
        b"" if form & ANYWHERE else socket.local[0].packed,
        remote[1],
    )


def _told(net: Net) -> tuple[object, ...]:
    """What tables say of a network, to compare."""
    return (
        *(type(net.devices), dict(net.devices), tuple(net.routes), dict(net.neighbours)),
        *(tuple(net.sockets), _clones(net)),
    )


def _clones(net: Net) -> Clones:
    if net.deliver is None:
        return Clones.MISSED
    return Clones.UNSEEN if net.deliver is to_nobody else Clones.TAKEN
