"""Questions about the network: tables answer as a look through all of its routes and sockets would."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_network
from random import Random

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.spec import ProgramSpec
from clsbpf.skb import Skb
from clsbpf.verifier.verify import verify
from clsbpf.vm.environment import Environment
from clsbpf.vm.interp import run
from clsbpf.vm.link import link
from clsbpf.vm.native_program import native_of
from clsbpf.vm.net import LOOPBACK_ROUTES, Address, Net, NetDevice, Route, Socket, to_nobody

FIB = struct.Struct("=BB2s2sHII16s16s4s12s")
OUTPUT, SKIP_NEIGH = 2, 4
KINDS = ("unicast", "unicast", "unicast", "blackhole", "unreachable", "prohibit", "local", "broadcast")
CODES = {"blackhole": 1, "unreachable": 2, "prohibit": 3}
NO_ROUTE = 4

ROUTE = """
    r6 = r1
    r2 = 0
    r3 = r10
    r3 += -64
    r4 = 64
    call bpf_skb_load_bytes
    r1 = r6
    r2 = 0
    r2 = r10
    r2 += -64
    r3 = 64
    r4 = *(u32 *)(r6 + 8)
    call bpf_fib_lookup
    r7 = r0
    r1 = r6
    r2 = 0
    r3 = r10
    r3 += -64
    r4 = 64
    r5 = 0
    call bpf_skb_store_bytes
    r0 = r7
    exit
"""
LOOKUP = """
    r6 = r1
    r2 = 0
    r3 = r10
    r3 += -40
    r4 = 36
    call bpf_skb_load_bytes
    r1 = r6
    r2 = r10
    r2 += -40
    r3 = {size}
    r4 = -1
    r5 = 0
    call bpf_{name}
    if r0 != 0 goto found
    exit
    found: r1 = r0
    r7 = *(u32 *)(r0 + 16)
    call bpf_sk_release
    r0 = r7
    exit
"""


def program(text: str) -> ProgramSpec:
    return ProgramSpec("asks", insns=assemble(text), license="GPL")


def addresses(random: Random) -> Address:
    """Few, so that they meet."""
    if random.random() < 0.5:
        return IPv4Address(random.choice((0, 0x0A000001, 0x0A000081, 0x0A010001, 0x0B000001, 0x7F000001)))
    return IPv6Address(random.choice((0, 1, 0x20010DB8 << 96, 0x20010DB8 << 96 | 1, 0x20010DB9 << 96 | 7)))


def networks(random: Random) -> Net:
    def route() -> Route:
        address = addresses(random)
        most = 32 if address.version == 4 else 128
        length = random.choice((0, 1, 7, 8, 9, 16, 23, 25, 31, 32, most - 1, most))
        return Route(
            ip_network((int(address), length) if address.version == 4 else (address, length), strict=False),
            random.choice((0, 2, 3, 4, 9)),
            kind=random.choice(KINDS),
            mtu=random.choice((0, 600, 1280)),
            table=random.choice((254, 254, 7)),
            metric=random.choice((0, 0, 5, 10)),
        )

    devices = {n: NetDevice(n, f"d{n}", mtu=1500 - n, master=9 if n == 4 else 0) for n in (2, 3, 4)}
    devices[9] = NetDevice(9, "vrf", vrf_table=7, forwarding=False)
    return Net(devices, [route() for _ in range(random.randint(0, 12))])


def routed(net: Net, destination: Address, ifindex: int, flags: int) -> tuple[int, int, int]:
    """The answer, the device and the metric, by looking through all routes."""
    device = net.devices[ifindex]
    if not device.forwarding:
        return 5, ifindex, 0
    table = 7 if device.master else 254
    found = [
        route
        for route in (*net.routes, *LOOPBACK_ROUTES)
        if route.network.version == destination.version and destination in route.network
        if route.table == table and (not flags & OUTPUT or route.ifindex == ifindex)
    ]
    best = max(found, key=lambda route: (route.network.prefixlen, -route.metric), default=None)
    if best is None:
        return NO_ROUTE, ifindex, 0
    if best.kind != "unicast" or net.device(best.ifindex) is None:
        return CODES.get(best.kind, NO_ROUTE), ifindex, 0
    return 0, best.ifindex, best.metric


def test_routes() -> None:
    """The route is the longest prefix, of these the least metric, of these the first given."""
    random = Random(3)
    linked = link(program(ROUTE), {}, verify(program(ROUTE)))
    native = native_of(linked)
    environment = Environment()
    answers = set()
    for at in range(60):
        net = environment.net = networks(random)
        for question in range(20):
            if question == 10 and net.routes:  # what is changed between two runs is seen
                net.routes.pop(0)
            destination, ifindex = addresses(random), random.choice((2, 3, 4, 9))
            flags = SKIP_NEIGH | random.choice((0, OUTPUT))
            family = 2 if destination.version == 4 else 10
            asked = FIB.pack(family, 6, b"", b"", 0, ifindex, 0, b"", destination.packed, b"", b"")
            skb = Skb.from_frame(asked.ljust(80, b"\0"))
            skb.mark = flags
            answer = native.run(skb, environment)
            fields = FIB.unpack(skb.packet[:64])
            found = answer, fields[5], fields[6]
            assert found == routed(net, destination, ifindex, flags)
            answers.add(answer)
            if at % 10 == 0:
                again = Skb.from_frame(asked.ljust(80, b"\0"))
                again.mark = flags
                assert run(linked, again, environment=environment) == answer
                assert again.packet == skb.packet
    assert answers == {0, 1, 2, 3, 4, 5}


def listening(random: Random, number: int) -> Socket:
    address = addresses(random)
    remote = (addresses(random), random.choice((5000, 5001))) if random.random() < 0.4 else None
    return Socket(random.choice(("tcp", "udp")), (address, random.choice((53, 80))), remote, mark=number)


def found_socket(net: Net, protocol: str, local: tuple[Address, int], remote: tuple[Address, int]) -> int:
    """The mark of the socket, by looking through all: a connected one first, then the exact address."""
    scores = [
        (4 * (each.remote is not None) + 2 * (each.local[0] == local[0]), -at, each.mark)
        for at, each in enumerate(net.sockets)
        if each.protocol == protocol and each.local[1] == local[1]
        if each.local[0] == local[0] or each.local[0].is_unspecified
        if each.local[0].version == local[0].version or each.local[0].version == 6
        if each.remote in (None, remote)
    ]
    return max(scores)[2] if scores else 0


def test_sockets() -> None:
    """The socket is a connected one, else one that listens, and the more exact first."""
    random = Random(4)
    texts = {
        (name, size): program(LOOKUP.format(name=f"sk_lookup_{name}", size=size))
        for name in ("tcp", "udp")
        for size in (12, 36)
    }
    natives = {key: native_of(link(spec, {}, verify(spec))) for key, spec in texts.items()}
    environment = Environment()
    found = 0
    for _ in range(50):
        net = environment.net = Net(
            sockets=[listening(random, at + 1) for at in range(random.randint(0, 12))]
        )
        for _ in range(20):
            local, other = addresses(random), addresses(random)
            if local.version != other.version:
                continue
            ports = random.choice((5000, 5001)), random.choice((53, 80))
            name, size = random.choice(("tcp", "udp")), 12 if local.version == 4 else 36
            asked = other.packed + local.packed + struct.pack(">HH", *ports)
            mark = natives[name, size].run(Skb.from_frame(asked.ljust(64, b"\0")), environment)
            assert mark == found_socket(net, name, (local, ports[1]), (other, ports[0]))
            found += mark > 0
    assert found > 50


def test_a_socket_found_twice_is_given_back_twice() -> None:
    twice = program(
        LOOKUP.format(name="sk_lookup_tcp", size=12).replace(
            "found: r1 = r0",
            """found: r8 = r0
            r1 = r6
            r2 = r10
            r2 += -40
            r3 = 12
            r4 = -1
            r5 = 0
            call bpf_sk_lookup_tcp
            if r0 == 0 goto +2
            r1 = r0
            call bpf_sk_release
            r0 = r8
            r1 = r0""",
        )
    )
    ends = (IPv4Address("192.0.2.1"), 80)
    asked = bytes(4) + ends[0].packed + struct.pack(">HH", 5000, 80)
    environment = Environment(net=Net(sockets=[Socket("tcp", ends, mark=7)]))
    linked = link(twice, {}, verify(twice))
    for execute in (native_of(linked).run, lambda skb, env: run(linked, skb, environment=env)):
        assert execute(Skb.from_frame(asked.ljust(64, b"\0")), environment) == 7


def test_clones_that_nobody_looks_at_are_no_miss() -> None:
    spec = program("r2 = 1\nr3 = 0\ncall bpf_clone_redirect\nexit")
    native = native_of(link(spec, {}, verify(spec)))
    environment = Environment(net=Net(deliver=to_nobody))
    assert native.run(Skb.from_frame(bytes(64)), environment) == 0
    assert not environment.asked
    environment.net.deliver = None
    assert native.run(Skb.from_frame(bytes(64)), environment) == 0
    assert environment.asked == {"the way out of device 1 (bpf_clone_redirect)": 1}
    environment.net.deliver = lambda skb, ifindex, flags: -5
    assert native.run(Skb.from_frame(bytes(64)), environment) == 2**32 - 5
