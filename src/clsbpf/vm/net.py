"""What does the network around a program look like?  Devices, routes, neighbours, sockets, cgroups.

A kernel answers `bpf_fib_lookup` from its routing tables; here there are the ones that someone put in:
whoever tests a program fills a `Net` with what the program should find.  An empty one is a network
namespace in which nothing was configured but the loopback device, and answers as that would.

Addresses are `ipaddress` objects, link-layer addresses six bytes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

LOOPBACK_IFINDEX = 1
TCP_CLOSE = 7
LOOPBACK_MTU = 65536
ETHERNET_MTU = 1500

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class NetDevice:
    """struct net_device, as far as helpers see it.

    `peer` is the ifindex of the other end where there is one (netkit, veth), `vlan` the (protocol, id)
    of a VLAN device on top of `lower`, `vrf_table` the table of a VRF master.
    """

    ifindex: int
    name: str = ""
    mtu: int = ETHERNET_MTU
    address: bytes = bytes(6)
    up: bool = True
    forwarding: bool = True
    hatype: int = 1
    hard_header_len: int = 14
    lower: int = 0
    vlan: tuple[int, int] | None = None
    master: int = 0
    vrf_table: int = 0
    peer: int = 0


@dataclass(frozen=True, slots=True)
class Route:
    """A route: to `network` over `ifindex`, by way of `gateway` if that is not None.

    `kind` is "unicast", "local", "blackhole", "unreachable", "prohibit" or "broadcast".
    """

    network: Network
    ifindex: int = 0
    gateway: Address | None = None
    source: Address | None = None
    kind: str = "unicast"
    mtu: int = 0
    table: int = 254
    metric: int = 0


@dataclass(frozen=True, slots=True)
class Socket:
    """A socket that programs can find: struct sock as struct bpf_sock shows it.

    `protocol` is "tcp", "udp" or "" (of neither; then 0.0.0.0 stands for no family at all).  A listening or
    unconnected one has no `remote`.  `fields` has those of struct bpf_tcp_sock by name.
    """

    protocol: str
    local: tuple[Address, int]
    remote: tuple[Address, int] | None = None
    state: int = 0
    """TCP_* (include/net/tcp_states.h); 0: ESTABLISHED with a remote end, else LISTEN; UDP: CLOSE."""
    bound_ifindex: int = 0
    mark: int = 0
    priority: int = 0
    cookie: int = 0
    uid: int = 0
    rx_queue_mapping: int = -1
    fields: tuple[tuple[str, int], ...] = ()


@dataclass(slots=True)
class Net:
    """struct net: a network namespace.  `deliver` takes the clones of clone_redirect.

    `deliver(skb, ifindex, flags)` gets a copy of the packet and returns 0 or -errno; `to_nobody`, where
    nobody looks at clones.
    """

    devices: dict[int, NetDevice] = field(default_factory=dict)
    routes: list[Route] = field(default_factory=list)
    neighbours: dict[tuple[int, Address], bytes] = field(default_factory=dict)
    """(ifindex, address) → link-layer address."""
    sockets: list[Socket] = field(default_factory=list)
    cookie: int = 1
    """net->net_cookie; the first namespace has 1."""
    cgroup_ids: tuple[int, ...] = (1,)
    """The cgroup v2 of the packet's socket and its ancestors: ids from the root down."""
    deliver: Callable[[Any, int, int], int] | None = None

    def device(self, ifindex: int) -> NetDevice | None:
        """dev_get_by_index(); a namespace has its loopback device whether listed or not."""
        found = self.devices.get(ifindex)
        if found is None and ifindex == LOOPBACK_IFINDEX:
            return LOOPBACK
        return found


def to_nobody(skb: Any, ifindex: int, flags: int) -> int:
    """For `Net.deliver`: clones go out, and nobody looks at them.  (Machine code need not make them.)"""
    return 0


LOOPBACK = NetDevice(
    LOOPBACK_IFINDEX, "lo", mtu=LOOPBACK_MTU, up=True, forwarding=False, hatype=772, hard_header_len=14
)
"""What a namespace begins with."""
LOOPBACK_ROUTES = (
    Route(ipaddress.ip_network("127.0.0.0/8"), LOOPBACK_IFINDEX, kind="local"),
    Route(ipaddress.ip_network("::1/128"), LOOPBACK_IFINDEX, kind="local"),
)
