"""What a packet's link layer is: how long its header is, and where it names the protocol.

A capture says which link type its frames have (LINKTYPE_* of the pcap format); a Linux device says
the same with its ARPHRD_* type.  The kernel's classifier knows a packet's `mac_len` and `protocol`
because the driver told it; here both are read off the frame by the rule of its link type.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

ETH_P_802_3 = 0x0001
ETH_P_802_2 = 0x0004
ETH_P_IP = 0x0800
ETH_P_8021Q = 0x8100
ETH_P_IPV6 = 0x86DD
ETH_P_8021AD = 0x88A8
ETH_P_802_3_MIN = 0x0600
"""A type field below this is a length (802.3)."""
ETH_HLEN = 14
VLAN_HLEN = 4
VLAN_TYPES = (ETH_P_8021Q, ETH_P_8021AD)
"""What the kernel takes out of the data on receive; 0x9100 stays."""

LINKTYPE_ETHERNET = 1


class ProtocolRule(enum.Enum):
    """How a frame names its network protocol."""

    ETHERNET = "ethernet"
    """Big-endian type at `protocol_at`, a length if below 0x600 (`eth_type_trans`)."""
    ETHERTYPE = "ethertype"
    """Big-endian type at `protocol_at`, taken as it is."""
    IP_VERSION = "ip-version"
    """The high nibble of the first byte: 4 or 6."""
    FAMILY = "family"
    """A four-byte address family of the BSDs, in either byte order."""
    NONE = "none"
    """Not known: protocol 0."""


@dataclass(frozen=True, slots=True)
class LinkLayer:
    """One link type: LINKTYPE_ number, tcpdump's name for it, header bytes, ARPHRD_ type, protocol rule."""

    number: int
    name: str
    header_len: int
    hatype: int
    rule: ProtocolRule
    protocol_at: int = 0

    @property
    def is_ethernet(self) -> bool:
        """Are these Ethernet frames, what tc policies are nearly always written for?"""
        return self.number == LINKTYPE_ETHERNET

    def protocol(self, frame: bytes | bytearray | memoryview) -> int:
        """The protocol (ETH_P_*, host order) of a frame; 0 where it cannot be told."""
        match self.rule:
            case ProtocolRule.ETHERNET | ProtocolRule.ETHERTYPE:
                if len(frame) < self.protocol_at + 2:
                    return 0
                protocol = int.from_bytes(frame[self.protocol_at : self.protocol_at + 2], "big")
                if self.rule is ProtocolRule.ETHERTYPE or protocol >= ETH_P_802_3_MIN:
                    return protocol
                return length_field_protocol(frame[self.header_len : self.header_len + 2])
            case ProtocolRule.IP_VERSION:
                return {4: ETH_P_IP, 6: ETH_P_IPV6}.get(frame[0] >> 4, 0) if len(frame) else 0
            case ProtocolRule.FAMILY:
                return family_protocol(frame[:4])
            case ProtocolRule.NONE:
                return 0


def length_field_protocol(payload_start: bytes | bytearray | memoryview) -> int:
    """The protocol of an 802.3 frame, by the first two bytes after its length (`eth_type_trans`)."""
    return ETH_P_802_3 if bytes(payload_start[:2]) == b"\xff\xff" else ETH_P_802_2


BSD_FAMILIES = {2: ETH_P_IP, 24: ETH_P_IPV6, 28: ETH_P_IPV6, 30: ETH_P_IPV6}
"""AF_INET and the values that AF_INET6 has on NetBSD, FreeBSD and macOS."""


def family_protocol(header: bytes | bytearray | memoryview) -> int:
    """The protocol of a BSD loopback header, whichever byte order wrote it."""
    if len(header) < 4:
        return 0
    little = int.from_bytes(header, "little")
    return BSD_FAMILIES.get(little) or BSD_FAMILIES.get(int.from_bytes(header, "big"), 0)


ETHERNET = LinkLayer(LINKTYPE_ETHERNET, "EN10MB", ETH_HLEN, 1, ProtocolRule.ETHERNET, 12)

_ARPHRD_NONE = 0xFFFE
LINK_LAYERS = {
    link.number: link
    for link in (
        ETHERNET,
        LinkLayer(0, "NULL", 4, 772, ProtocolRule.FAMILY),
        LinkLayer(9, "PPP", 4, 512, ProtocolRule.NONE),
        LinkLayer(12, "RAW", 0, _ARPHRD_NONE, ProtocolRule.IP_VERSION),
        LinkLayer(14, "RAW", 0, _ARPHRD_NONE, ProtocolRule.IP_VERSION),
        LinkLayer(101, "RAW", 0, _ARPHRD_NONE, ProtocolRule.IP_VERSION),
        LinkLayer(104, "C_HDLC", 4, 513, ProtocolRule.ETHERTYPE, 2),
        LinkLayer(105, "IEEE802_11", 0, 801, ProtocolRule.NONE),
        LinkLayer(108, "LOOP", 4, 772, ProtocolRule.FAMILY),
        LinkLayer(113, "LINUX_SLL", 16, 1, ProtocolRule.ETHERTYPE, 14),
        LinkLayer(127, "IEEE802_11_RADIO", 0, 803, ProtocolRule.NONE),
        LinkLayer(228, "IPV4", 0, _ARPHRD_NONE, ProtocolRule.IP_VERSION),
        LinkLayer(229, "IPV6", 0, _ARPHRD_NONE, ProtocolRule.IP_VERSION),
        LinkLayer(276, "LINUX_SLL2", 20, 1, ProtocolRule.ETHERTYPE, 0),
    )
}


def link_layer(number: int) -> LinkLayer:
    """The link layer of a LINKTYPE_ number; one not in the table is carried through with no header known."""
    return LINK_LAYERS.get(number) or LinkLayer(number, f"LINKTYPE {number}", 0, 0xFFFF, ProtocolRule.NONE)
