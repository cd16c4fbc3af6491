"""csum: compute a packet's checksums anew, after pedit has changed what they cover.

Of what the request names, that which fits the packet is done: an IPv4 header's own checksum, and that of
what the header says is inside.  Later fragments have none; a UDP packet over IPv4 with checksum 0 keeps
it.  A packet that is cut short is dropped, one that the capture cut short is left as it is.

Mirrors net/sched/act_csum.c.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ...skb import Skb
from ..act import TcAct
from ..result import ClassifyResult
from . import headers
from .action import Action


class Update(enum.IntFlag):
    """TCA_CSUM_UPDATE_FLAG_*."""

    IPV4HDR = 1
    ICMP = 2
    IGMP = 4
    TCP = 8
    UDP = 16
    UDPLITE = 32
    SCTP = 64


@dataclass(frozen=True, slots=True)
class CsumParams:
    """struct tcf_csum_params."""

    update: Update


ICMP, IGMP, TCP, UDP, ICMPV6, SCTP, UDPLITE = 1, 2, 6, 17, 58, 132, 136


class Csum(Action[CsumParams]):
    """struct tcf_csum."""

    kind = "csum"

    def act(self, skb: Skb, result: ClassifyResult) -> int:
        """tcf_csum_act()."""
        self.used(skb)
        if self.control == TcAct.SHOT:
            self.dropped()
            return TcAct.SHOT
        protocol, network = headers.inner_protocol(skb)
        done = True
        if protocol == headers.ETH_P_IP:
            done = _ipv4(skb, network, self.params.update)
        elif protocol == headers.ETH_P_IPV6:
            done = _ipv6(skb, network, self.params.update)
        if not done:
            self.dropped()
            return TcAct.SHOT
        return self.control


@dataclass(frozen=True, slots=True)
class _Transport:
    """A checksum: which request asks for it, where it is in its header, does a pseudo header belong to it?"""

    update: Update
    header: int
    """The header's least size."""
    at: int
    pseudo: bool


_TRANSPORTS = {
    ICMP: _Transport(Update.ICMP, 8, 2, False),
    IGMP: _Transport(Update.IGMP, 8, 2, False),
    TCP: _Transport(Update.TCP, 20, 16, True),
    UDP: _Transport(Update.UDP, 8, 6, True),
    UDPLITE: _Transport(Update.UDPLITE, 8, 6, True),
    ICMPV6: _Transport(Update.ICMP, 8, 2, True),
    SCTP: _Transport(Update.SCTP, 12, 8, False),
}
_IPV4_HAS = frozenset({ICMP, IGMP, TCP, UDP, UDPLITE, SCTP})
_IPV6_HAS = frozenset({ICMPV6, TCP, UDP, UDPLITE, SCTP})


def _ipv4(skb: Skb, network: int, update: Update) -> bool:
    """tcf_csum_ipv4(): False drops the packet."""
    if network + 20 > skb.len:
        return False
    header = headers.read(skb, network, 20)
    if header is None:
        return True
    size, total = (header[0] & 0x0F) * 4, int.from_bytes(header[2:4], "big")
    protocol = header[9]
    first = not int.from_bytes(header[6:8], "big") & 0x1FFF
    if first and protocol in _IPV4_HAS:
        pseudo = header[12:20] + bytes((0, protocol))
        if not _transport(skb, network + size, total - size, protocol, pseudo, update, 4):
            return False
    if update & Update.IPV4HDR:
        whole = headers.read(skb, network, size)
        if whole is not None and size >= 20:
            value = ~headers.checksum(whole[:10] + b"\0\0" + whole[12:]) & 0xFFFF
            headers.write(skb, network + 10, value.to_bytes(2, "big"))
    return True


def _ipv6(skb: Skb, network: int, update: Update) -> bool:
    """tcf_csum_ipv6(): False drops the packet."""
    if network + 40 > skb.len:
        return False
    header = headers.read(skb, network, 40)
    found = headers.ipv6_transport(skb, network)
    if header is None or found is None or found[0] not in _IPV6_HAS:
        return True
    protocol, offset = found
    length = 40 + int.from_bytes(header[4:6], "big") - (offset - network)
    pseudo = header[8:40] + bytes((0, protocol))
    return _transport(skb, offset, length, protocol, pseudo, update, 6)


def _transport(
    skb: Skb, offset: int, length: int, protocol: int, pseudo: bytes, update: Update, version: int
) -> bool:
    """tcf_csum_ipv4_tcp() and its like."""
    kind = _TRANSPORTS[protocol]
    if not update & kind.update:
        return True
    if length < kind.header or offset + length > skb.len:
        return False
    data = headers.read(skb, offset, length)
    if data is None:
        return True
    if protocol == SCTP:
        _write_crc(skb, offset, data)
        return True
    covered = length
    if protocol in (UDP, UDPLITE):
        told = int.from_bytes(data[4:6], "big")
        if protocol == UDP:
            if version == 4 and data[6:8] == b"\0\0":
                return True
            if not kind.header <= told <= length:
                return True
            covered = length = told
        else:
            if told and not kind.header <= told <= length:
                return True
            covered = told or length
    start = headers.checksum(pseudo) + length if kind.pseudo else 0
    cleared = data[: kind.at] + b"\0\0" + data[kind.at + 2 : covered]
    value = ~headers.checksum(cleared, start) & 0xFFFF
    if protocol in (UDP, UDPLITE) and not value:
        value = 0xFFFF
    headers.write(skb, offset + kind.at, value.to_bytes(2, "big"))
    return True


def _write_crc(skb: Skb, offset: int, data: bytes) -> None:
    """sctp_compute_cksum(): CRC32c, least significant byte first."""
    value = crc32c(data[:8] + bytes(4) + data[12:])
    headers.write(skb, offset + 8, value.to_bytes(4, "little"))


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ 0x82F63B78 if value & 1 else value >> 1
        table.append(value)
    return tuple(table)


_CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """The Castagnoli CRC of RFC 3309."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _CRC_TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF
