"""What actions read and write of a packet's headers: places, whole words, checksums.

A capture may hold less of a packet than was on the wire.  What is not there cannot be read (None) or
changed, and that somebody wanted to is remembered (`read_past`).
"""

from __future__ import annotations

from ...skb import HEADROOM, Skb

ETH_P_IP = 0x0800
ETH_P_IPV6 = 0x86DD
VLAN_TYPES = (0x8100, 0x88A8)


def read(skb: Skb, offset: int, size: int) -> bytes | None:
    """skb_header_pointer(): bytes from `data` + offset (which may be negative); None when not there."""
    if skb.data + offset < 0 or offset + size > skb.len:
        return None
    if skb.data + offset + size > skb.tail:
        skb.read_past = True
        return None
    return bytes(skb.buffer[skb.data + offset : skb.data + offset + size])


def write(skb: Skb, offset: int, what: bytes) -> None:
    """skb_store_bits(), where `read` has found as many bytes."""
    start = skb.data + offset
    assert 0 <= start <= skb.tail - len(what)
    skb.buffer[start : start + len(what)] = what


def network_offset(skb: Skb) -> int:
    """skb_network_offset()."""
    return skb.network_header - skb.data


def inner_protocol(skb: Skb) -> tuple[int, int]:
    """The protocol behind any VLAN tags, and where its header is (from `data`)."""
    protocol, offset = skb.protocol, network_offset(skb)
    while protocol in VLAN_TYPES:
        tag = read(skb, offset, 4)
        if tag is None:
            break
        protocol, offset = int.from_bytes(tag[2:], "big"), offset + 4
    return protocol, offset


def dsfield(skb: Skb) -> int | None:
    """ipv4_get_dsfield(), ipv6_get_dsfield(): the eight bits; None for other packets."""
    protocol, offset = inner_protocol(skb)
    start = read(skb, offset, 2)
    if start is None or protocol not in (ETH_P_IP, ETH_P_IPV6):
        return None
    return start[1] if protocol == ETH_P_IP else (start[0] << 4 | start[1] >> 4) & 0xFF


def checksum(data: bytes, start: int = 0) -> int:
    """csum_partial() and csum_fold(), without the final complement: the one's complement sum."""
    if len(data) % 2:
        data += b"\0"
    total = start + sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def make_room(skb: Skb, count: int) -> None:
    """skb_cow_head(): at least `count` bytes before `data`'s link-layer header."""
    if skb.mac_header >= count:
        return
    skb.buffer[0:0] = bytes(HEADROOM)
    skb.data += HEADROOM
    skb.tail += HEADROOM
    skb.mac_header += HEADROOM
    skb.network_header += HEADROOM
    if skb.transport_header is not None:
        skb.transport_header += HEADROOM


_IPV6_EXTENSIONS = (0, 43, 60)
"""Hop-by-hop, routing and destination options."""
_IPV6_FRAGMENT, _IPV6_AUTH = 44, 51


def ipv6_transport(skb: Skb, network: int) -> tuple[int, int] | None:
    """ipv6_find_hdr(): (protocol, offset from `data`) behind the extension headers.

    None for a later fragment, or where a header is not there.
    """
    first = read(skb, network, 40)
    if first is None:
        return None
    protocol, offset = first[6], network + 40
    while protocol in (*_IPV6_EXTENSIONS, _IPV6_FRAGMENT, _IPV6_AUTH):
        header = read(skb, offset, 8)
        if header is None:
            return None
        if protocol == _IPV6_FRAGMENT:
            if int.from_bytes(header[2:4], "big") & 0xFFF8:
                return None
            size = 8
        elif protocol == _IPV6_AUTH:
            size = (header[1] + 2) * 4
        else:
            size = (header[1] + 1) * 8
        protocol, offset = header[0], offset + size
    return protocol, offset
