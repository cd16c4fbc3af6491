"""Random Ethernet frames with the headers that the flow dissector knows, whole, cut and damaged."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

ETHERTYPES = (
    *(0x0800, 0x86DD, 0x8100, 0x88A8, 0x8864, 0x8847, 0x88CA, 0x8906, 0x0806, 0x4305, 0x88F7, 0x892F),
    *(0x88FB, 0x8902, 0x8848, 0x9100, 0x1234, 0x0005),
)
LIKELY = (0x0800, 0x0800, 0x0800, 0x86DD, 0x86DD, 0x8100)
TRANSPORT = (6, 17, 1, 58, 2, 132, 33, 136, 50, 255)
TUNNELS = (4, 41, 47, 137)
PPP = (
    *((b"\x00\x21", 0x0800), (b"\x00\x57", 0x86DD), (b"\x21", 0x0800), (b"\x57", 0x86DD)),
    *((b"\x02\x81", 0x8847), (b"\x02\x83", 0x8848), (b"\xc0\x21", 0), (b"\x00\x20", 0)),
)
"""The protocol field, also compressed to one byte, and the Ethernet type that it stands for."""
EXTENSIONS = (0, 43, 44, 60)


def frame(random: Random, destination: bytes) -> bytes:
    """A frame to `destination`, 20 bytes or more; mostly well formed, then perhaps cut or damaged.

    The kernel drops a tagged frame of fewer bytes before anybody sees it.
    """
    ethertype = random.choice(LIKELY) if random.random() < 0.75 else random.choice(ETHERTYPES)
    source = bytes((2, 0, 0, 0, 0, 9))
    body = layer3(random, ethertype, 0) + random.randbytes(random.randrange(40))
    whole = bytearray(destination + source + struct.pack(">H", ethertype) + body).ljust(20, b"\0")
    if random.random() < 0.15:
        del whole[random.randrange(20, max(len(whole), 20) + 1) :]
    if random.random() < 0.2 and len(whole) > 14:
        whole[random.randrange(14, len(whole))] = random.randrange(256)
    return bytes(whole)


def next_type(random: Random) -> int:
    return random.choice(LIKELY) if random.random() < 0.7 else random.choice(ETHERTYPES)


def layer3(random: Random, ethertype: int, depth: int) -> bytes:
    """What follows an Ethernet type."""
    make = LAYER3.get(ethertype)
    return b"" if make is None or depth > 20 else make(random, depth)


def ipv4(random: Random, depth: int) -> bytes:
    words = random.choice((5, 5, 5, 6, 15, 4))
    protocol = random.choice(TUNNELS) if random.random() < 0.3 else random.choice(TRANSPORT)
    fragment = random.choice((0, 0, 0, 0x4000, 0x2000, 0x2005, 0x0005))
    header = struct.pack(
        ">BBHHHBBH8s", 0x40 | words, 0, 60, 1, fragment, 64, protocol, 0, random.randbytes(8)
    )
    return header + bytes(max(words - 5, 0) * 4) + layer4(random, protocol, depth + 1)


def ipv6(random: Random, depth: int) -> bytes:
    protocol = random.choice(EXTENSIONS + TUNNELS) if random.random() < 0.5 else random.choice(TRANSPORT)
    return struct.pack(">IHBB32s", 6 << 28, 60, protocol, 64, random.randbytes(32)) + extensions(
        random, protocol, depth
    )


def extensions(random: Random, protocol: int, depth: int) -> bytes:
    """The chain of IPv6 extension headers that begins with `protocol`, and what follows it."""
    chain = b""
    while protocol in EXTENSIONS and len(chain) < 400:
        following = random.choice(EXTENSIONS) if random.random() < 0.6 else random.choice(TRANSPORT + TUNNELS)
        if protocol == 44:
            chain += struct.pack(">BBHI", following, 0, random.choice((0, 1, 8, 0x100)), 5)
        else:
            length = random.randrange(3)
            chain += bytes((following, length)) + bytes(6 + 8 * length)
        protocol = following
    return chain + layer4(random, protocol, depth + 1)


def vlan(random: Random, depth: int) -> bytes:
    inner = next_type(random)
    return struct.pack(">HH", random.randrange(0x10000), inner) + layer3(random, inner, depth + 1)


def pppoe(random: Random, depth: int) -> bytes:
    start = random.choice((b"\x11\x00", b"\x11\x00", b"\x11\x09", b"\x21\x00"))
    protocol, inner = random.choice(PPP)
    return start + bytes(4) + protocol + layer3(random, inner, depth + 1)


def batman(random: Random, depth: int) -> bytes:
    inner = next_type(random)
    kind, version = random.choice(((0x40, 15), (0x40, 15), (0x41, 15), (0x40, 14)))
    return bytes((kind, version)) + bytes(20) + struct.pack(">H", inner) + layer3(random, inner, depth + 1)


def hsr(random: Random, depth: int) -> bytes:
    inner = next_type(random)
    return bytes(4) + struct.pack(">H", inner) + layer3(random, inner, depth + 1)


def filler(random: Random, depth: int) -> bytes:
    return random.randbytes(random.randrange(60))


def layer4(random: Random, protocol: int, depth: int) -> bytes:
    """What follows an IP protocol number."""
    if depth > 20:
        return b""
    match protocol:
        case 4:
            return ipv4(random, depth)
        case 41:
            return ipv6(random, depth)
        case 47:
            return gre(random, depth)
        case 6:
            return bytes(12) + bytes((random.randrange(256), 0)) + bytes(random.randrange(60))
        case _:
            return random.randbytes(random.randrange(30))


def gre(random: Random, depth: int) -> bytes:
    version = random.choice((0, 0, 0, 1, 1, 2))
    flags = random.choice((0, 0x8000, 0x2000, 0xB000, 0x1000, 0x4000, 0x2080, 0x2000)) | version
    inner = (
        0x880B if version == 1 and random.random() < 0.8 else random.choice((0x0800, 0x86DD, 0x6558, 0x8847))
    )
    options = sum(4 for bit in (0x8000, 0x2000, 0x1000) if flags & bit)
    header = struct.pack(">HH", flags, inner) + bytes(options)
    if version == 1:
        acknowledged = bytes(4) if flags & 0x80 else b""
        ppp = random.choice((0x21, 0x57, 0xC021))
        following = layer3(random, {0x21: 0x0800, 0x57: 0x86DD}.get(ppp, 0), depth + 1)
        return header + acknowledged + struct.pack(">HH", 0xFF03, ppp) + following
    if inner == 0x6558:
        ethertype = next_type(random)
        return header + bytes(12) + struct.pack(">H", ethertype) + layer3(random, ethertype, depth + 1)
    return header + layer3(random, inner, depth + 1)


LAYER3: dict[int, Callable[[Random, int], bytes]] = {
    0x0800: ipv4,
    0x86DD: ipv6,
    0x8100: vlan,
    0x88A8: vlan,
    0x8864: pppoe,
    0x4305: batman,
    0x892F: hsr,
    0x88FB: hsr,
    0x8847: filler,
    0x8848: filler,
    0x88CA: filler,
    0x8906: filler,
    0x88F7: filler,
    0x0806: filler,
    0x8902: filler,
}
