"""What programs ask of the world: routes, sockets, devices, the log; and what is not here."""

from __future__ import annotations

import struct
from ipaddress import ip_address, ip_network

import pytest

from clsbpf.bpf.asm import assemble
from clsbpf.skb import Skb
from clsbpf.vm.environment import Environment, Redirect
from clsbpf.vm.interp import run
from clsbpf.vm.net import Net, NetDevice, Route, Socket

FRAME = bytes(12) + b"\x08\x00\x45" + bytes(63)
LOCAL, REMOTE = ip_address("192.0.2.1"), ip_address("198.51.100.7")
NET = Net(
    devices={
        2: NetDevice(2, "eth0", mtu=1500, address=b"\x02\0\0\0\0\x02"),
        3: NetDevice(3, "eth1", mtu=1400, address=b"\x02\0\0\0\0\x03"),
        4: NetDevice(4, "eth2", forwarding=False),
    },
    routes=[
        Route(ip_network("198.51.100.0/24"), 3, gateway=ip_address("203.0.113.1"), source=LOCAL, metric=20),
        Route(ip_network("198.51.100.128/25"), kind="blackhole"),
        Route(ip_network("198.51.100.64/26"), 2),
        Route(ip_network("2001:db8::/32"), 3),
    ],
    neighbours={(3, ip_address("203.0.113.1")): b"\x0a\0\0\0\0\x01"},
    sockets=[
        Socket("tcp", (LOCAL, 80)),
        Socket("tcp", (LOCAL, 80), (REMOTE, 5000), mark=7, fields=(("snd_cwnd", 10),)),
        Socket("udp", (ip_address("0.0.0.0"), 53), cookie=9),
    ],
)


def stack(content: bytes, size: int) -> str:
    """Store bytes at r10 - size."""
    padded = content.ljust(size, b"\0")
    words = (int.from_bytes(padded[at : at + 8], "little") for at in range(0, size, 8))
    return "".join(
        f"r1 = {word:#x} ll\n*(u64 *)(r10 - {size - at * 8}) = r1\n" for at, word in enumerate(words)
    )


def fib(
    destination: str, *, ifindex: int = 2, length: int = 0, flags: int = 0
) -> tuple[int, tuple[object, ...]]:
    """bpf_fib_lookup: the answer and struct bpf_fib_lookup after it, as the packet brings it out."""
    address = ip_address(destination)
    family = 2 if address.version == 4 else 10
    raw = struct.pack(
        "=BB2s2sHII16s16s4s12s", family, 6, b"", b"", length, ifindex, 0, b"", address.packed, b"", b""
    )
    text = "r6 = r1\n" + stack(raw, 64)
    text += f"r1 = r6\nr2 = r10\nr2 += -64\nr3 = 64\nr4 = {flags}\ncall bpf_fib_lookup\nr7 = r0\n"
    text += "r1 = r6\nr2 = 0\nr3 = r10\nr3 += -64\nr4 = 64\nr5 = 0\ncall bpf_skb_store_bytes\nr0 = r7\nexit"
    skb = Skb.from_frame(FRAME)
    result = run(assemble(text), skb, environment=Environment(net=NET))
    fields = struct.unpack("=BB2s2sHII16s16s4s12s", skb.packet[:64])
    return result, (fields[4], fields[5], fields[8][:4], fields[10])


def test_a_route_by_way_of_a_neighbour() -> None:
    answer, (mtu, ifindex, next_hop, addresses) = fib("198.51.100.7")
    assert (answer, mtu, ifindex) == (0, 1400, 3)
    assert next_hop == ip_address("203.0.113.1").packed
    assert addresses == b"\x02\0\0\0\0\x03" + b"\x0a\0\0\0\0\x01"


FIB_ANSWERS = [
    ("no route", "10.0.0.1", {}, 4),
    ("a black hole", "198.51.100.200", {}, 1),
    ("no neighbour", "198.51.100.70", {}, 7),
    ("no neighbour wanted", "198.51.100.70", {"flags": 4}, 0),
    ("too long for the device", "198.51.100.7", {"length": 1401}, 8),
    ("no forwarding", "198.51.100.7", {"ifindex": 4}, 5),
    ("no such device", "198.51.100.7", {"ifindex": 9}, 2**32 - 19),
    ("no source address", "198.51.100.70", {"flags": 16}, 9),
    ("flags that there are not", "198.51.100.7", {"flags": 0x1000}, 2**32 - 22),
    ("IPv6", "2001:db8::1", {"flags": 4}, 0),
]


@pytest.mark.parametrize(
    ("destination", "options", "answer"), [case[1:] for case in FIB_ANSWERS], ids=[c[0] for c in FIB_ANSWERS]
)
def test_what_a_lookup_answers(destination: str, options: dict[str, int], answer: int) -> None:
    assert fib(destination, **options)[0] == answer


def sock_tuple(source: str, sport: int, destination: str, dport: int) -> bytes:
    ends = ip_address(source).packed + ip_address(destination).packed
    return ends + sport.to_bytes(2, "big") + dport.to_bytes(2, "big")


def lookup(name: str, ends: bytes, then: str) -> int:
    """r0 of a program that looks a socket up and does `then` with it, in r7; 99 where there is none."""
    text = "r6 = r1\n" + stack(ends, 16)
    text += f"r1 = r6\nr2 = r10\nr2 += -16\nr3 = 12\nr4 = -1\nr5 = 0\ncall bpf_{name}\nr7 = r0\n"
    text += f"if r7 != 0 goto found\nr0 = 99\nexit\nfound: {then}\n"
    text += "r1 = r7\nr8 = r0\ncall bpf_sk_release\nr0 = r8\nexit"
    return run(assemble(text), Skb.from_frame(FRAME), environment=Environment(net=NET))


SOCKETS = [
    (
        "a connected one",
        "sk_lookup_tcp",
        ("198.51.100.7", 5000, "192.0.2.1", 80),
        "r0 = *(u32 *)(r7 + 16)",
        7,
    ),
    (
        "one that listens",
        "sk_lookup_tcp",
        ("198.51.100.7", 5001, "192.0.2.1", 80),
        "r0 = *(u32 *)(r7 + 72)",
        10,
    ),
    ("its port", "sk_lookup_udp", ("198.51.100.7", 5001, "192.0.2.9", 53), "r0 = *(u32 *)(r7 + 44)", 53),
    ("none", "sk_lookup_udp", ("198.51.100.7", 5001, "192.0.2.9", 54), "r0 = 0", 99),
    (
        "what TCP knows",
        "skc_lookup_tcp",
        ("198.51.100.7", 5000, "192.0.2.1", 80),
        "r1 = r7\ncall bpf_tcp_sock\nr0 = *(u32 *)(r0 + 0)",
        10,
    ),
    (
        "not the listener",
        "sk_lookup_tcp",
        ("198.51.100.7", 5000, "192.0.2.1", 80),
        "r1 = r7\ncall bpf_get_listener_sock",
        0,
    ),
]


@pytest.mark.parametrize(
    ("name", "ends", "then", "expected"), [case[1:] for case in SOCKETS], ids=[case[0] for case in SOCKETS]
)
def test_sockets(name: str, ends: tuple[str, int, str, int], then: str, expected: int) -> None:
    assert lookup(name, sock_tuple(*ends), then) == expected


def test_where_a_packet_is_redirected_to_is_told_once() -> None:
    environment = Environment()
    assert (
        run(
            assemble("r1 = 5\nr2 = 1\ncall bpf_redirect\nexit"),
            Skb.from_frame(FRAME),
            environment=environment,
        )
        == 7
    )
    assert environment.take_redirect() == Redirect(5, 1, bytes(20))
    assert environment.take_redirect() is None


def test_a_clone_is_delivered_as_the_packet_was_then() -> None:
    taken: list[tuple[bytes, int, int, int]] = []

    def deliver(skb: Skb, ifindex: int, flags: int) -> int:
        taken.append((skb.packet, skb.mark, ifindex, flags))
        return 0

    net = Net(devices={2: NetDevice(2)}, deliver=deliver)
    text = (
        "*(u32 *)(r1 + 8) = 3\nr6 = r1\nr2 = 2\nr3 = 1\ncall bpf_clone_redirect\n*(u32 *)(r6 + 8) = 4\nexit"
    )
    skb = Skb.from_frame(FRAME)
    assert run(assemble(text), skb, environment=Environment(net=net)) == 0
    assert taken == [(FRAME, 3, 2, 1)]
    assert skb.mark == 4


def test_what_is_printed_is_logged_with_its_packet() -> None:
    environment = Environment()
    environment.packet = 12
    text = stack(b"mark %d of %s", 16) + "r6 = r1\nr1 = r10\nr1 += -16\nr2 = 14\nr3 = -5\nr4 = 0\nr5 = 0\n"
    assert (
        run(assemble(text + "call bpf_trace_printk\nexit"), Skb.from_frame(FRAME), environment=environment)
        == 11
    )
    assert [(line.packet, line.text) for line in environment.trace] == [(12, "mark -5 of ")]


def test_what_is_not_here_is_counted() -> None:
    environment = Environment()
    text = "r6 = r1\nr2 = 77\nr3 = 0\ncall bpf_clone_redirect\nexit"
    assert run(assemble(text), Skb.from_frame(FRAME), environment=environment) == 2**32 - 22
    assert environment.asked == {"device 77 (bpf_clone_redirect)": 1}


def test_a_tunnel_key_goes_with_the_packet_to_the_next_program() -> None:
    skb = Skb.from_frame(FRAME)
    key = struct.pack("=II12xBBHI16x", 42, 0x0A000001, 0, 64, 0, 0)
    put = (
        "r6 = r1\n"
        + stack(key, 48)
        + "r1 = r6\nr2 = r10\nr2 += -48\nr3 = 44\nr4 = 0\ncall bpf_skb_set_tunnel_key\nexit"
    )
    get = "r2 = r10\nr2 += -48\nr3 = 44\nr4 = 0\ncall bpf_skb_get_tunnel_key\nr0 = *(u32 *)(r10 - 48)\nexit"
    assert run(assemble(put), skb) == 0
    assert run(assemble(get), skb) == 42


def test_lines_that_nobody_wants_are_not_kept() -> None:
    text = stack(b"%d", 8) + "r1 = r10\nr1 += -8\nr2 = 3\nr3 = 7\nr4 = 0\nr5 = 0\ncall bpf_trace_printk\nexit"
    environment = Environment()
    for keeps, expected in ((True, ["7", "7"]), (False, ["7", "7"])):
        environment.keeps_trace = keeps
        for _ in range(2):
            assert run(assemble(text), Skb.from_frame(FRAME), environment=environment) == 1
        assert [line.text for line in environment.trace] == expected


def test_a_device_of_a_high_number_is_missed_in_one_place() -> None:
    environment = Environment()
    text = "r2 = -2\nr3 = 0\ncall bpf_clone_redirect\nexit"
    for _ in range(20):
        run(assemble(text), Skb.from_frame(FRAME), environment=environment)
    assert list(environment.native.missing)[1:] == [0] * 15
    assert environment.asked == {"device 4294967294 (bpf_clone_redirect)": 20}
