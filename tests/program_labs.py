"""Networks that programs are tried in: built in a namespace, and described for the interpreter.

`bare` is what a namespace begins with.  In `routes` there are two devices, a few routes of each kind and two
neighbours; in `sockets` some listen and one connection is open.  The two sides of a lab say the same.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from clsbpf.vm.net import LOOPBACK, Net, NetDevice, Route, Socket
from judges import inside, network_namespace

LAN, WAN = 100, 101
LAN_MAC = bytes.fromhex("020000001001")
WAN_MAC = bytes.fromhex("020000001002")
NEIGHBOUR = bytes.fromhex("020000002001")
GATEWAY = bytes.fromhex("020000002002")


def nothing(stack: contextlib.ExitStack) -> None:
    """Nothing more in the namespace."""


@dataclass(frozen=True)
class Lab:
    """`commands` for ip(8), `sysctl` settings, `open` what is to be open; `net`: what comes of it."""

    commands: tuple[str, ...] = ()
    sysctl: tuple[str, ...] = ()
    open: Callable[[contextlib.ExitStack], None] = nothing
    net: Callable[[], Net] = field(default=Net)


@contextlib.contextmanager
def built(lab: Lab) -> Iterator[str]:
    """The lab in a namespace of its own, by name."""
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(network_namespace())
        for command in lab.commands:
            subprocess.run(["ip", "-n", name, *command.split()], check=True)
        for setting in lab.sysctl:
            subprocess.run(["ip", "netns", "exec", name, "sysctl", "-qw", setting], check=True)
        with inside(name):
            lab.open(stack)
        yield name


def route_net() -> Net:
    lan = NetDevice(LAN, "lan", mtu=1500, address=LAN_MAC)
    wan = NetDevice(WAN, "wan", mtu=1400, address=WAN_MAC)
    gateway = ip_address("192.0.2.2")
    return Net(
        devices={1: LOOPBACK, LAN: lan, WAN: wan},
        routes=[
            Route(ip_network("10.0.0.0/24"), LAN),
            Route(ip_network("192.0.2.0/24"), WAN),
            Route(ip_network("10.0.0.254/32"), LAN, kind="local"),
            Route(ip_network("10.0.0.255/32"), LAN, kind="broadcast"),
            Route(ip_network("0.0.0.0/0"), WAN, gateway=gateway),
            Route(ip_network("172.16.0.0/16"), WAN, gateway=gateway, mtu=600, metric=7),
            Route(ip_network("10.9.0.0/16"), kind="blackhole"),
            Route(ip_network("5.6.0.0/16"), kind="unreachable"),
            Route(ip_network("10.20.0.0/16"), kind="prohibit"),
            Route(ip_network("2001::/64"), LAN),
            Route(ip_network("64:ff9b::/96"), kind="blackhole"),
        ],
        neighbours={
            (LAN, ip_address("10.0.0.2")): NEIGHBOUR,
            (LAN, ip_address("2001::2")): NEIGHBOUR,
            (WAN, gateway): GATEWAY,
        },
    )


def listen(stack: contextlib.ExitStack, kind: int, at: str, port: int) -> socket.socket:
    opened = stack.enter_context(socket.socket(socket.AF_INET, kind))
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.bind((at, port))
    if kind == socket.SOCK_STREAM:
        opened.listen()
    return opened


def open_sockets(stack: contextlib.ExitStack) -> None:
    listen(stack, socket.SOCK_DGRAM, "10.0.0.2", 5000)
    listen(stack, socket.SOCK_DGRAM, "0.0.0.0", 53)
    listen(stack, socket.SOCK_STREAM, "127.0.0.1", 15001)
    listener = listen(stack, socket.SOCK_STREAM, "0.0.0.0", 80)
    client = stack.enter_context(socket.socket())
    client.bind(("10.0.0.1", 40000))
    client.connect(("10.0.0.2", 80))
    stack.enter_context(listener.accept()[0])


def socket_net() -> Net:
    client, server = (ip_address("10.0.0.1"), 40000), (ip_address("10.0.0.2"), 80)
    anywhere = ip_address("0.0.0.0")
    return Net(
        sockets=[
            Socket("udp", (ip_address("10.0.0.2"), 5000)),
            Socket("udp", (anywhere, 53)),
            Socket("tcp", (ip_address("127.0.0.1"), 15001)),
            Socket("tcp", (anywhere, 80)),
            Socket("tcp", server, client),
            Socket("tcp", client, server),
        ]
    )


LABS: dict[str, Lab] = {
    "bare": Lab(),
    "routes": Lab(
        commands=(
            f"link add lan index {LAN} address {LAN_MAC.hex(':')} type veth peer name wan index {WAN} "
            f"address {WAN_MAC.hex(':')}",
            "link set wan mtu 1400",
            "link set lan up",
            "link set wan up",
            "addr add 10.0.0.254/24 brd + dev lan",
            "addr add 192.0.2.1/24 brd + dev wan",
            "route add default via 192.0.2.2",
            "route add 172.16.0.0/16 via 192.0.2.2 mtu 600 metric 7",
            "route add blackhole 10.9.0.0/16",
            "route add unreachable 5.6.0.0/16",
            "route add prohibit 10.20.0.0/16",
            "route add 2001::/64 dev lan",
            "route add blackhole 64:ff9b::/96",
            f"neigh add 10.0.0.2 lladdr {NEIGHBOUR.hex(':')} dev lan nud permanent",
            f"neigh add 2001::2 lladdr {NEIGHBOUR.hex(':')} dev lan nud permanent",
            f"neigh add 192.0.2.2 lladdr {GATEWAY.hex(':')} dev wan nud permanent",
        ),
        sysctl=("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"),
        net=route_net,
    ),
    "sockets": Lab(
        commands=("addr add 10.0.0.1/32 dev lo", "addr add 10.0.0.2/32 dev lo"),
        open=open_sockets,
        net=socket_net,
    ),
}
