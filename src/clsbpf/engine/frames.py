"""What does native code read off a frame before any filter runs?  Its protocol, and whom it is for.

The definitions are in `link.py` and `skb.py`; these are their native equals, over a frame at an address.
`captured` bytes of it are there.  Protocols are in host order.
"""

from __future__ import annotations

from collections.abc import Callable

from ..link import (
    BSD_FAMILIES,
    ETH_HLEN,
    ETH_P_802_2,
    ETH_P_802_3,
    ETH_P_802_3_MIN,
    ETH_P_IP,
    ETH_P_IPV6,
    LinkLayer,
    ProtocolRule,
)
from ..skb import PACKET_BROADCAST, PACKET_HOST, PACKET_MULTICAST
from ..vm.subset import load_be16, load_be32, load_u8, load_u16, load_u32, native

AT_PROTOCOL = 12


@native
def received_ethernet(frame: int, captured: int) -> int:
    """`LinkLayer.protocol` of Ethernet: eth_type_trans()."""
    if captured < ETH_HLEN:
        return 0
    protocol = load_be16(frame + AT_PROTOCOL)
    if protocol >= ETH_P_802_3_MIN:
        return protocol
    if captured >= ETH_HLEN + 2 and load_u16(frame + ETH_HLEN) == 0xFFFF:
        return ETH_P_802_3
    return ETH_P_802_2


@native
def sent_ethernet(frame: int, captured: int) -> int:
    """`skb.egress_protocol` of Ethernet: the type field as it is."""
    return load_be16(frame + AT_PROTOCOL) if captured >= ETH_HLEN else 0


@native
def ip_version(frame: int, captured: int) -> int:
    """ProtocolRule.IP_VERSION."""
    version = load_u8(frame) >> 4 if captured > 0 else 0
    return ETH_P_IP if version == 4 else ETH_P_IPV6 if version == 6 else 0


@native
def family(frame: int, captured: int) -> int:
    """ProtocolRule.FAMILY."""
    if captured < 4:
        return 0
    little = load_u32(frame)
    if little in (INET, INET6_NETBSD, INET6_FREEBSD, INET6_DARWIN):
        return ETH_P_IP if little == INET else ETH_P_IPV6
    big = load_be32(frame)
    if big in (INET, INET6_NETBSD, INET6_FREEBSD, INET6_DARWIN):
        return ETH_P_IP if big == INET else ETH_P_IPV6
    return 0


INET, INET6_NETBSD, INET6_FREEBSD, INET6_DARWIN = BSD_FAMILIES


@native
def type_at_0(frame: int, captured: int) -> int:
    """ProtocolRule.ETHERTYPE of LINUX_SLL2."""
    return load_be16(frame) if captured >= 2 else 0


@native
def type_at_2(frame: int, captured: int) -> int:
    """ProtocolRule.ETHERTYPE of C_HDLC."""
    return load_be16(frame + 2) if captured >= 4 else 0


@native
def type_at_14(frame: int, captured: int) -> int:
    """ProtocolRule.ETHERTYPE of LINUX_SLL."""
    return load_be16(frame + 14) if captured >= 16 else 0


@native
def unknown(frame: int, captured: int) -> int:
    """ProtocolRule.NONE."""
    return 0


_ETHERTYPE = {0: type_at_0, 2: type_at_2, 14: type_at_14}


def protocol_function(link: LinkLayer, *, at_ingress: bool) -> Callable[[int, int], int]:
    """The native function that reads the protocol of this link layer's frames."""
    match link.rule:
        case ProtocolRule.ETHERNET:
            return received_ethernet if at_ingress else sent_ethernet
        case ProtocolRule.ETHERTYPE:
            return _ETHERTYPE[link.protocol_at]
        case ProtocolRule.IP_VERSION:
            return ip_version
        case ProtocolRule.FAMILY:
            return family
        case ProtocolRule.NONE:
            return unknown


@native
def ethernet_pkt_type(frame: int, captured: int) -> int:
    """`skb.ethernet_pkt_type`."""
    if captured == 0 or load_u8(frame) & 1 == 0:
        return PACKET_HOST
    if captured >= 6 and load_u32(frame) == 0xFFFFFFFF and load_u16(frame + 4) == 0xFFFF:
        return PACKET_BROADCAST
    return PACKET_MULTICAST


@native
def host_pkt_type(frame: int, captured: int) -> int:
    """PACKET_HOST: what is sent, and what has no addresses of its own."""
    return PACKET_HOST


def pkt_type_function(link: LinkLayer, *, at_ingress: bool) -> Callable[[int, int], int]:
    """The native function that reads PACKET_* of this link layer's frames."""
    return ethernet_pkt_type if at_ingress and link.is_ethernet else host_pkt_type
