"""Packets that mean something: whole, with right checksums, one of each kind that programs look for."""

from __future__ import annotations

import struct
from pathlib import Path
from random import Random

from clsbpf.capture import open_capture
from frames import frame

HERE = bytes.fromhex("020000000001")
THERE = bytes.fromhex("020000000002")
BROADCAST = b"\xff" * 6
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def address(text: str) -> bytes:
    """A dotted IPv4 address."""
    return bytes(int(part) for part in text.split("."))


def ethernet(
    kind: int, body: bytes, *, dst: bytes = HERE, src: bytes = THERE, vlan: int | None = None
) -> bytes:
    tag = b"" if vlan is None else struct.pack(">HH", 0x8100, vlan)
    return dst + src + tag + struct.pack(">H", kind) + body


def ip4(
    protocol: int,
    body: bytes,
    src: str = "10.0.0.1",
    dst: str = "10.0.0.2",
    *,
    ttl: int = 64,
    tos: int = 0,
    fragment: int = 0x4000,
    options: bytes = b"",
) -> bytes:
    words = 5 + len(options) // 4
    size = words * 4 + len(body)
    head = struct.pack(
        *(">BBHHHBBH4s4s", 0x40 | words, tos, size, 7, fragment, ttl, protocol, 0),
        *(address(src), address(dst)),
    )
    head += options
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + body


def ip6(
    following: int, body: bytes, src: bytes = b"\x20\x01" + bytes(13) + b"\x01", dst: bytes | None = None
) -> bytes:
    dst = dst or b"\x20\x01" + bytes(13) + b"\x02"
    return struct.pack(">IHBB16s16s", 6 << 28, len(body), following, 64, src, dst) + body


def _transport(protocol: int, body: bytes, at: int, src: bytes, dst: bytes) -> bytes:
    """The body with its checksum at `at`, over the pseudo header too."""
    pseudo = src + dst + struct.pack(">II", len(body), protocol)
    sum = checksum(pseudo + body)
    return body[:at] + struct.pack(">H", sum or (0xFFFF if protocol == 17 else 0)) + body[at + 2 :]


def tcp4(
    sport: int,
    dport: int,
    flags: int,
    payload: bytes = b"",
    *,
    src: str = "10.0.0.1",
    dst: str = "10.0.0.2",
    options: bytes = b"",
    seq: int = 1000,
    ack: int = 0,
) -> bytes:
    body = struct.pack(
        *(">HHIIBBHHH", sport, dport, seq, ack, (5 + len(options) // 4) << 4, flags, 8192, 0, 0)
    )
    body = _transport(6, body + options + payload, 16, address(src), address(dst))
    return ethernet(0x0800, ip4(6, body, src, dst))


def udp4(
    sport: int,
    dport: int,
    payload: bytes = b"",
    *,
    src: str = "10.0.0.1",
    dst: str = "10.0.0.2",
    sum: bool = True,
) -> bytes:
    body = struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload
    if sum:
        body = _transport(17, body, 6, address(src), address(dst))
    return ethernet(0x0800, ip4(17, body, src, dst))


def tcp6(sport: int, dport: int, flags: int, payload: bytes = b"", *, dst: bytes | None = None) -> bytes:
    src = b"\x20\x01" + bytes(13) + b"\x01"
    dst = dst or b"\x20\x01" + bytes(13) + b"\x02"
    body = struct.pack(">HHIIBBHHH", sport, dport, 1, 2, 5 << 4, flags, 8192, 0, 0) + payload
    return ethernet(0x86DD, ip6(6, _transport(6, body, 16, src, dst), src, dst))


def udp6(sport: int, dport: int, payload: bytes = b"", *, dst: bytes | None = None) -> bytes:
    src = b"\x20\x01" + bytes(13) + b"\x01"
    dst = dst or b"\x20\x01" + bytes(13) + b"\x02"
    body = struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload
    return ethernet(0x86DD, ip6(17, _transport(17, body, 6, src, dst), src, dst))


def echo(kind: int = 8, payload: bytes = b"abcdefgh" * 4, *, dst: str = "10.0.0.2") -> bytes:
    body = struct.pack(">BBHHH", kind, 0, 0, 5, 1) + payload
    body = body[:2] + struct.pack(">H", checksum(body)) + body[4:]
    return ethernet(0x0800, ip4(1, body, dst=dst))


def arp(operation: int = 1, target: str = "10.0.0.2") -> bytes:
    body = struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation)
    return ethernet(
        0x0806, body + THERE + address("10.0.0.1") + bytes(6) + address(target) + bytes(18), dst=BROADCAST
    )


def dns(name: str, *, id: int = 0x77, kind: int = 1) -> bytes:
    question = b"".join(bytes((len(label),)) + label.encode() for label in name.split(".")) + b"\0"
    return udp4(
        5353, 53, struct.pack(">HHHHHH", id, 0x0100, 1, 0, 0, 0) + question + struct.pack(">HH", kind, 1)
    )


def client_hello(name: str, *, sport: int = 40010, longer: int = 0) -> bytes:
    """The beginning of TLS: ciphers, two extensions, the name of the server, which may be said `longer`."""
    text = name.encode()
    named = struct.pack(">HBH", len(text) + 3, 0, len(text) + longer) + text
    extensions = struct.pack(">HHB", 0xFF01, 1, 0) + struct.pack(">HHHH", 0x000A, 4, 2, 29)
    extensions += struct.pack(">HH", 0, len(named)) + named
    hello = b"\x03\x03" + bytes(range(32)) + b"\x20" + bytes(32) + struct.pack(">HHH", 4, 0x1301, 0x1302)
    hello += b"\x01\0" + struct.pack(">H", len(extensions)) + extensions
    record = b"\x01" + len(hello).to_bytes(3, "big") + hello
    return tcp4(sport, 443, ACK | PSH, b"\x16\x03\x01" + struct.pack(">H", len(record)) + record)


NAT64 = bytes.fromhex("0064ff9b0000000000000000c0000221")
MSS = bytes.fromhex("020405b40402080a000000010000000001030307")
LATE_MSS = bytes.fromhex("01010402020405b4")
ODD_MSS = bytes.fromhex("01020405b4000000")
HTTP = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"

TRAFFIC: dict[str, bytes] = {
    "syn": tcp4(40000, 80, SYN, options=MSS),
    "syn, MSS after padding": tcp4(40001, 443, SYN, options=LATE_MSS),
    "syn, MSS at an odd place": tcp4(40001, 443, SYN, options=ODD_MSS),
    "syn without options": tcp4(40002, 22, SYN),
    "syn-ack": tcp4(80, 40000, SYN | ACK, src="10.0.0.2", dst="10.0.0.1", options=MSS),
    "http": tcp4(40000, 80, ACK | PSH, HTTP),
    "ack": tcp4(40000, 80, ACK, seq=1036, ack=1),
    "fin": tcp4(40000, 80, FIN | ACK),
    "rst": tcp4(80, 40000, RST, src="10.0.0.2", dst="10.0.0.1"),
    "ssh banner": tcp4(22, 40002, ACK | PSH, b"SSH-2.0-OpenSSH_9.2\r\n", src="10.0.0.2", dst="10.0.0.1"),
    "tls hello": client_hello("www.Example.org"),
    "tls hello to a listed name": client_hello("Ads.example.NET", sport=40011),
    "tls hello with a name past its end": client_hello("www.example.org", longer=40),
    "full size": tcp4(40000, 80, ACK, bytes(range(256)) * 5 + bytes(180)),
    "udp": udp4(4000, 5000, b"hello world"),
    "udp without checksum": udp4(4000, 5000, b"hello world", sum=False),
    "udp, a number as text": udp4(4000, 5001, b"  -123456 and more"),
    "udp, a hex number": udp4(4000, 5001, b"0xdeadBEEFfoo bar"),
    "udp to a service": udp4(4000, 53, b"x" * 30, dst="10.0.0.10"),
    "udp, odd length": udp4(4001, 5000, b"odd"),
    "udp, empty": udp4(4001, 5000),
    "tcp from elsewhere": tcp4(1234, 8080, SYN, src="192.168.7.9", dst="172.16.0.1"),
    "tcp from a blocked net": tcp4(1234, 25, SYN, src="192.168.66.9", dst="172.16.0.1"),
    "dns": dns("www.Example.org"),
    "dns again": dns("WWW.example.org", id=0x78, kind=28),
    "dns, blocked": dns("ads.example.net"),
    "dns, too long": dns(".".join(["a" * 20] * 4)),
    "dns, many labels": dns("a.b.c.d.e.f.g.h.i"),
    "echo request": echo(),
    "echo reply": echo(0),
    "echo request, not for us": echo(dst="10.9.9.9"),
    "arp request": arp(),
    "arp request, not for us": arp(target="10.9.9.9"),
    "arp reply": arp(2),
    "ipip": ethernet(0x0800, ip4(4, ip4(17, udp4(1, 2, b"in")[34:], "1.2.3.4", "5.6.7.8"))),
    "igmp with an option": ethernet(0x0800, ip4(2, b"\x16" + bytes(7), options=b"\x94\x04\0\0", ttl=1)),
    "udp behind options": ethernet(
        0x0800, ip4(17, struct.pack(">HHHH", 7, 9, 12, 0) + b"four", options=b"\x01" * 8)
    ),
    "first fragment": ethernet(0x0800, ip4(17, udp4(1, 2, b"x" * 40)[34:], fragment=0x2000)),
    "later fragment": ethernet(0x0800, ip4(17, b"y" * 40, fragment=0x0003)),
    "expiring, congestion-capable": ethernet(0x0800, ip4(17, udp4(1, 2)[34:], ttl=1, tos=0x02)),
    "congestion experienced": ethernet(0x0800, ip4(17, udp4(1, 2)[34:], tos=0x03)),
    "tcp over v6": tcp6(40000, 443, SYN),
    "udp over v6": udp6(4000, 53, b"query"),
    "tcp over v6 to NAT64": tcp6(40000, 80, ACK, b"data", dst=NAT64),
    "udp over v6 to NAT64": udp6(4000, 53, b"data!", dst=NAT64),
    "icmp over v6": ethernet(0x86DD, ip6(58, b"\x87\0\0\0" + bytes(20)), dst=b"\x33\x33\0\0\0\1"),
    "tagged": ethernet(0x0800, tcp4(1, 2, SYN)[14:], vlan=0x6064),
    "tagged, to translate": ethernet(0x0800, udp4(1, 2, b"in a vlan")[14:], vlan=0x2007),
    "broadcast": ethernet(0x0800, udp4(68, 67, bytes(60))[14:], dst=BROADCAST),
    "multicast": ethernet(0x0800, udp4(5353, 5353, b"m")[14:], dst=b"\x01\0\x5e\0\0\xfb"),
    "unknown type": ethernet(0x88B5, b"anything at all, for a lab"),
    "length, not type": ethernet(38, b"\x42\x42\x03" + bytes(35)),
    "cut behind the IP header": tcp4(1, 2, SYN)[:34],
    "cut in the TCP header": tcp4(1, 2, SYN)[:40],
    "hardly more than a link layer": ethernet(0x88B5, b"!"),
    "text with a newline": udp4(4000, 5002, b"first line\nsecond line\n"),
}
"""By what they are.  In this order one connection is opened, used and closed.

The kernel's test run refuses frames of IP that do not hold a whole IP header.
"""

OFFICE = Path(__file__).parents[1] / "examples" / "office.pcap"
IP_HEADERS = {b"\x08\x00": 34, b"\x86\xdd": 54}


def is_taken(packet: bytes) -> bool:
    """Does the kernel's test run take it?"""
    return len(packet) > max(14, IP_HEADERS.get(packet[12:14], 15) - 1)


def random_frames(count: int, seed: int) -> list[bytes]:
    """Headers of all kinds in all orders, some of them cut or damaged."""
    random = Random(seed)
    found: list[bytes] = []
    while len(found) < count:
        made = frame(random, HERE)
        if is_taken(made):
            found.append(made)
    return found


def recorded_frames(count: int) -> list[bytes]:
    """Real traffic: every so manieth packet of examples/office.pcap."""
    with open_capture(OFFICE) as capture:
        packets = [bytes(data) for _, data in capture]
    return [packet for packet in packets[:: max(len(packets) // count, 1)] if is_taken(packet)]
