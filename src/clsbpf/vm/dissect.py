"""Where does a packet's payload begin?  The kernel's flow dissector, as far as that needs it.

`SKF_AD_PAY_OFFSET` loads `skb_get_poff()`: the offset after the transport header, found by walking the
headers from the network header on: VLAN tags, PPPoE, MPLS, IPv4, IPv6 with its extension headers,
IP-in-IP, GRE, batman-adv, HSR.  The kernel's dissector collects keys for many users on its way; with
none of them asked for, this walk is what is left of `__skb_flow_dissect`, in Linux 6.18 (whatever the
profile).

The walk alternates between two kinds of step, as the kernel does between its two labels: at
`proto_again` an Ethernet type says what comes, at `ip_proto_again` an IP protocol number.  A step says
how it ended and where it stands now (`stand`): native functions return one number, so it is packed.
"""

from __future__ import annotations

from .native_skb import At
from .packet import header
from .subset import load_be16, load_i32, load_u8, load_u32, native, u8, u16, u32

ETH_P_IP = 0x0800
ETH_P_ARP = 0x0806
ETH_P_TEB = 0x6558
ETH_P_RARP = 0x8035
ETH_P_8021Q = 0x8100
ETH_P_IPV6 = 0x86DD
ETH_P_MPLS_UC = 0x8847
ETH_P_MPLS_MC = 0x8848
ETH_P_PPP_SES = 0x8864
ETH_P_PRP = 0x88FB
ETH_P_8021AD = 0x88A8
ETH_P_TIPC = 0x88CA
ETH_P_1588 = 0x88F7
ETH_P_CFM = 0x8902
ETH_P_FCOE = 0x8906
ETH_P_HSR = 0x892F
ETH_P_BATMAN = 0x4305

IPPROTO_ICMP = 1
IPPROTO_IGMP = 2
IPPROTO_IPIP = 4
IPPROTO_TCP = 6
IPPROTO_UDP = 17
IPPROTO_DCCP = 33
IPPROTO_IPV6 = 41
IPPROTO_GRE = 47
IPPROTO_ICMPV6 = 58
IPPROTO_SCTP = 132
IPPROTO_UDPLITE = 136
IPPROTO_MPLS = 137
NEXTHDR_HOP = 0
NEXTHDR_ROUTING = 43
NEXTHDR_FRAGMENT = 44
NEXTHDR_DEST = 60

IP_MF = 0x2000
IP_OFFSET = 0x1FFF
IP6_OFFSET = 0xFFF8

PPPOE_VERSION_TYPE_CODE = 0x1100
PPP_IP = 0x21
PPP_IPV6 = 0x57
PPP_MPLS_UC = 0x281
PPP_MPLS_MC = 0x283

GRE_CSUM = 0x8000
GRE_ROUTING = 0x4000
GRE_KEY = 0x2000
GRE_SEQ = 0x1000
GRE_ACK = 0x0080
GRE_VERSION = 0x0007
GRE_PROTO_PPP = 0x880B

BATADV_UNICAST = 0x40
BATADV_COMPAT_VERSION = 15

MAX_FLOW_DISSECT_HDRS = 15

# How a step ended (enum flow_dissect_ret).
BAD = 0
GOOD = 1
LATER_FRAGMENT = 2
"""Good, but what follows is no transport header."""
CONTINUE = 3
PROTO_AGAIN = 4
IPPROTO_AGAIN = 5


@native(inline=True)
def stand(step: int, at: int, proto: int, ip_proto: int) -> int:
    """How a step ended and where: offset, the Ethernet type and IP protocol of what is there."""
    return step << 56 | ip_proto << 48 | proto << 32 | at


@native(inline=True)
def step_of(standing: int) -> int:
    """How it ended."""
    return standing >> 56


@native(inline=True)
def at_of(standing: int) -> int:
    """The offset from data."""
    return u32(standing)


@native(inline=True)
def proto_of(standing: int) -> int:
    """The Ethernet type."""
    return u16(standing >> 32)


@native(inline=True)
def ip_proto_of(standing: int) -> int:
    """The IP protocol."""
    return u8(standing >> 48)


@native
def gre_header_bytes(skb: int, at: int) -> int:
    """The length of the GRE header at `at` if the walk goes on inside it, 0 if it ends there, -1 if bad.

    `__skb_flow_dissect_gre`; of an Ethernet (TEB) or PPP payload the length includes that header too.
    """
    start = header(skb, at, 4)
    if start == 0:
        return -1
    flags = load_be16(start)
    protocol = load_be16(start + 2)
    version = flags & GRE_VERSION
    if flags & GRE_ROUTING or version > 1:
        return 0
    if version == 1 and not (protocol == GRE_PROTO_PPP and flags & GRE_KEY):
        return 0
    length = 4
    if flags & GRE_CSUM:
        length += 4
    if flags & GRE_KEY:
        if header(skb, at + length, 4) == 0:
            return -1
        length += 4
    if flags & GRE_SEQ:
        length += 4
    if version == 0:
        if protocol == ETH_P_TEB:
            if header(skb, at + length, 14) == 0:
                return -1
            length += 14
        return length
    if flags & GRE_ACK:
        length += 4
    if header(skb, at + length, 4) == 0:
        return -1
    return length + 4


@native
def gre_protocol(skb: int, at: int, length: int) -> int:
    """The Ethernet type inside the GRE header at `at`, `length` bytes long by `gre_header_bytes`."""
    start = header(skb, at, 4)
    protocol = load_be16(start + 2)
    if load_be16(start) & GRE_VERSION == 0:
        return load_be16(header(skb, at + length - 2, 2)) if protocol == ETH_P_TEB else protocol
    inner = load_be16(header(skb, at + length - 2, 2))
    if inner == PPP_IP:
        return ETH_P_IP
    if inner == PPP_IPV6:
        return ETH_P_IPV6
    return protocol


@native
def after_ports(skb: int, at: int, ip_proto: int) -> int:
    """`__skb_get_poff`: the offset after the transport header at `at`."""
    if ip_proto == IPPROTO_TCP:
        offset_byte = header(skb, at + 12, 1)
        if offset_byte == 0:
            return at
        length = (load_u8(offset_byte) & 0xF0) >> 2
        return at + (length if length > 20 else 20)
    if ip_proto in (IPPROTO_SCTP, IPPROTO_DCCP):
        return at + 12
    if ip_proto in (IPPROTO_UDP, IPPROTO_UDPLITE, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_IGMP):
        return at + 8
    return at


@native
def ipv4_step(skb: int, at: int) -> int:
    """case ETH_P_IP."""
    start = header(skb, at, 20)
    if start == 0:
        return BAD
    words = load_u8(start) & 0x0F
    if words < 5:
        return BAD
    fragment = load_be16(start + 6)
    step = CONTINUE
    if fragment & IP_OFFSET:
        step = LATER_FRAGMENT
    elif fragment & IP_MF:
        step = GOOD
    return stand(step, at + words * 4, ETH_P_IP, load_u8(start + 9))


@native
def pppoe_step(skb: int, at: int) -> int:
    """case ETH_P_PPP_SES.  A protocol field compressed to one byte looks invalid and is not read."""
    start = header(skb, at, 8)
    if start == 0 or load_be16(start) != PPPOE_VERSION_TYPE_CODE:
        return BAD
    ppp = load_be16(start + 6)
    proto = 0
    if ppp == PPP_IP:
        proto = ETH_P_IP
    elif ppp == PPP_IPV6:
        proto = ETH_P_IPV6
    elif ppp == PPP_MPLS_UC:
        proto = ETH_P_MPLS_UC
    elif ppp == PPP_MPLS_MC:
        proto = ETH_P_MPLS_MC
    if proto:
        return stand(PROTO_AGAIN, at + 8, proto, 0)
    return stand(GOOD, at + 8, 0, 0) if ppp & 0x0101 == 0x0001 else BAD


@native
def batman_step(skb: int, at: int) -> int:
    """`__skb_flow_dissect_batadv`: a unicast packet carries an Ethernet frame."""
    start = header(skb, at, 24)
    if start == 0 or load_u8(start) != BATADV_UNICAST or load_u8(start + 1) != BATADV_COMPAT_VERSION:
        return BAD
    return stand(PROTO_AGAIN, at + 24, load_be16(start + 22), 0)


@native
def tag_step(skb: int, at: int, size: int) -> int:
    """A header of `size` bytes that ends with the Ethernet type of what follows: a VLAN or HSR tag."""
    start = header(skb, at, size)
    return stand(PROTO_AGAIN, at + size, load_be16(start + size - 2), 0) if start else BAD


@native
def ether_step(skb: int, proto: int, at: int) -> int:
    """proto_again: one step by an Ethernet type."""
    if proto == ETH_P_IP:
        return ipv4_step(skb, at)
    if proto == ETH_P_IPV6:
        start = header(skb, at, 40)
        return stand(CONTINUE, at + 40, ETH_P_IPV6, load_u8(start + 6)) if start else BAD
    if proto in (ETH_P_8021Q, ETH_P_8021AD):
        return tag_step(skb, at, 4)
    if proto in (ETH_P_PRP, ETH_P_HSR):
        return tag_step(skb, at, 6)
    if proto == ETH_P_PPP_SES:
        return pppoe_step(skb, at)
    if proto == ETH_P_BATMAN:
        return batman_step(skb, at)
    if proto in (ETH_P_MPLS_UC, ETH_P_MPLS_MC):
        return stand(GOOD, at + 4, proto, 0)
    if proto in (ETH_P_ARP, ETH_P_RARP, ETH_P_CFM):
        return stand(GOOD, at, proto, 0)
    if proto == ETH_P_TIPC:
        return stand(GOOD, at, proto, 0) if header(skb, at, 16) else BAD
    if proto == ETH_P_1588:
        return stand(GOOD, at + 34, proto, 0) if header(skb, at, 34) else BAD
    if proto == ETH_P_FCOE:
        return stand(GOOD, at + 38, proto, 0) if at + 38 <= load_u32(skb + At.LEN) else BAD
    return BAD


@native
def ip_step(skb: int, proto: int, ip_proto: int, at: int) -> int:
    """ip_proto_again: one step by an IP protocol number; extension headers only inside IPv6."""
    if ip_proto == IPPROTO_GRE:
        length = gre_header_bytes(skb, at)
        if length < 0:
            return BAD
        if length == 0:
            return stand(GOOD, at, proto, ip_proto)
        return stand(PROTO_AGAIN, at + length, gre_protocol(skb, at, length), ip_proto)
    if proto == ETH_P_IPV6 and ip_proto in (NEXTHDR_HOP, NEXTHDR_ROUTING, NEXTHDR_DEST):
        start = header(skb, at, 2)
        if start == 0:
            return BAD
        return stand(IPPROTO_AGAIN, at + (load_u8(start + 1) + 1) * 8, proto, load_u8(start))
    if proto == ETH_P_IPV6 and ip_proto == NEXTHDR_FRAGMENT:
        start = header(skb, at, 8)
        if start == 0:
            return BAD
        step = LATER_FRAGMENT if load_be16(start + 2) & IP6_OFFSET else GOOD
        return stand(step, at + 8, proto, load_u8(start))
    if ip_proto == IPPROTO_IPIP:
        return stand(PROTO_AGAIN, at, ETH_P_IP, ip_proto)
    if ip_proto == IPPROTO_IPV6:
        return stand(PROTO_AGAIN, at, ETH_P_IPV6, ip_proto)
    if ip_proto == IPPROTO_MPLS:
        return stand(PROTO_AGAIN, at, ETH_P_MPLS_UC, ip_proto)
    return stand(GOOD, at, proto, ip_proto)


@native
def payload_offset(skb: int) -> int:
    """`skb_get_poff`: the payload's offset, or 0 when the headers cannot be dissected."""
    proto = load_be16(skb + At.PROTOCOL)
    at = load_i32(skb + At.NET_OFF)
    headers = 0
    if load_u32(skb + At.VLAN_PRESENT) and load_be16(skb + At.VLAN_PROTO) in (ETH_P_8021Q, ETH_P_8021AD):
        headers = 1  # the tag in the metadata is a step of its own, without bytes
    elif load_u32(skb + At.VLAN_PRESENT):
        proto = load_be16(skb + At.VLAN_PROTO)
    standing = ether_step(skb, proto, at)
    while step_of(standing) >= CONTINUE:
        if step_of(standing) != CONTINUE:
            headers += 1
            if headers > MAX_FLOW_DISSECT_HDRS:
                break
        proto = proto_of(standing)
        at = at_of(standing)
        if step_of(standing) == PROTO_AGAIN:
            standing = ether_step(skb, proto, at)
        else:
            standing = ip_step(skb, proto, ip_proto_of(standing), at)
    if step_of(standing) == BAD:
        return 0
    at = u16(at_of(standing))
    if step_of(standing) == LATER_FRAGMENT:
        return at
    return after_ports(skb, at, ip_proto_of(standing))
