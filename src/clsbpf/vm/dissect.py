"""Where does a packet's payload begin?  The kernel's flow dissector, as far as that needs it.

`SKF_AD_PAY_OFFSET` loads `skb_get_poff()`: the offset after the transport header, found by walking the
headers from the network header on: VLAN tags, PPPoE, MPLS, IPv4, IPv6 with its extension headers,
IP-in-IP, GRE, batman-adv, HSR.  The kernel's dissector collects keys for many users on its way; with
none of them asked for, this walk is what is left of `__skb_flow_dissect` (Linux 6.18).

The walk alternates between two kinds of step, as the kernel's two labels do: `proto_again` (an
Ethernet type says what comes) and `ip_proto_again` (an IP protocol number does).  Each outcome is one
of the constants below.
"""

# ruff: noqa: SIM109  (the subset has no `in`)
from __future__ import annotations

from .native_skb import At
from .packet import header
from .subset import load_be16, load_i32, load_u8, load_u32, native, u16

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

# What a step came to (enum flow_dissect_ret).
BAD = 0
GOOD = 1
CONTINUE = 2
PROTO_AGAIN = 3
IPPROTO_AGAIN = 4


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
    if ip_proto == IPPROTO_SCTP or ip_proto == IPPROTO_DCCP:
        return at + 12
    if (
        ip_proto == IPPROTO_UDP
        or ip_proto == IPPROTO_UDPLITE
        or ip_proto == IPPROTO_ICMP
        or ip_proto == IPPROTO_ICMPV6
        or ip_proto == IPPROTO_IGMP
    ):
        return at + 8
    return at


@native
def payload_offset(skb: int) -> int:
    """`skb_get_poff`: the payload's offset, or 0 when the headers cannot be dissected."""
    tagged = load_u32(skb + At.VLAN_PRESENT)
    inner_protocol = load_be16(skb + At.PROTOCOL)
    proto = load_be16(skb + At.VLAN_PROTO) if tagged else inner_protocol
    at = load_i32(skb + At.NET_OFF)
    ip_proto = 0
    vlans = 0
    headers = 0
    later_fragment = 0
    while True:
        # proto_again
        step = BAD
        if proto == ETH_P_IP:
            start = header(skb, at, 20)
            if start and load_u8(start) & 0x0F >= 5:
                at += (load_u8(start) & 0x0F) * 4
                ip_proto = load_u8(start + 9)
                fragment = load_be16(start + 6)
                step = GOOD if fragment & (IP_MF | IP_OFFSET) else CONTINUE
                later_fragment = fragment & IP_OFFSET
        elif proto == ETH_P_IPV6:
            start = header(skb, at, 40)
            if start:
                ip_proto = load_u8(start + 6)
                at += 40
                step = CONTINUE
        elif proto == ETH_P_8021Q or proto == ETH_P_8021AD:
            if vlans == 0 and tagged:
                proto = inner_protocol
                step = PROTO_AGAIN
            else:
                start = header(skb, at, 4)
                if start:
                    proto = load_be16(start + 2)
                    at += 4
                    step = PROTO_AGAIN
            vlans += 1
        elif proto == ETH_P_PPP_SES:
            start = header(skb, at, 8)
            if start and load_be16(start) == 0x1100:
                ppp = load_be16(start + 6)
                at += 8
                step = PROTO_AGAIN
                if ppp == PPP_IP:
                    proto = ETH_P_IP
                elif ppp == PPP_IPV6:
                    proto = ETH_P_IPV6
                elif ppp == PPP_MPLS_UC:
                    proto = ETH_P_MPLS_UC
                elif ppp == PPP_MPLS_MC:
                    proto = ETH_P_MPLS_MC
                else:
                    # Valid (RFC 1661) but unknown; a compressed one-byte field looks invalid and is not read.
                    step = GOOD if ppp & 0x0101 == 0x0001 else BAD
        elif proto == ETH_P_TIPC:
            if header(skb, at, 16):
                step = GOOD
        elif proto == ETH_P_MPLS_UC or proto == ETH_P_MPLS_MC:
            at += 4
            step = GOOD
        elif proto == ETH_P_FCOE:
            if at + 38 <= load_u32(skb + At.LEN):
                at += 38
                step = GOOD
        elif proto == ETH_P_ARP or proto == ETH_P_RARP or proto == ETH_P_CFM:
            step = GOOD
        elif proto == ETH_P_BATMAN:
            start = header(skb, at, 24)
            if start and load_u8(start) == BATADV_UNICAST and load_u8(start + 1) == BATADV_COMPAT_VERSION:
                proto = load_be16(start + 22)
                at += 24
                step = PROTO_AGAIN
        elif proto == ETH_P_1588:
            if header(skb, at, 34):
                at += 34
                step = GOOD
        elif proto == ETH_P_PRP or proto == ETH_P_HSR:
            start = header(skb, at, 6)
            if start:
                proto = load_be16(start + 4)
                at += 6
                step = PROTO_AGAIN

        if step == CONTINUE:
            step = IPPROTO_AGAIN
            while step == IPPROTO_AGAIN:
                # ip_proto_again
                step = CONTINUE
                if ip_proto == IPPROTO_GRE:
                    length = gre_header_bytes(skb, at)
                    if length < 0:
                        step = BAD
                    elif length == 0:
                        step = GOOD
                    else:
                        proto = gre_protocol(skb, at, length)
                        at += length
                        step = PROTO_AGAIN
                elif proto == ETH_P_IPV6 and (
                    ip_proto == NEXTHDR_HOP or ip_proto == NEXTHDR_ROUTING or ip_proto == NEXTHDR_DEST
                ):
                    start = header(skb, at, 2)
                    if start:
                        ip_proto = load_u8(start)
                        at += (load_u8(start + 1) + 1) << 3
                        step = IPPROTO_AGAIN
                    else:
                        step = BAD
                elif proto == ETH_P_IPV6 and ip_proto == NEXTHDR_FRAGMENT:
                    start = header(skb, at, 8)
                    if start:
                        ip_proto = load_u8(start)
                        later_fragment = load_be16(start + 2) & IP6_OFFSET
                        at += 8
                        step = GOOD
                    else:
                        step = BAD
                elif ip_proto == IPPROTO_IPIP:
                    proto = ETH_P_IP
                    step = PROTO_AGAIN
                elif ip_proto == IPPROTO_IPV6:
                    proto = ETH_P_IPV6
                    step = PROTO_AGAIN
                elif ip_proto == IPPROTO_MPLS:
                    proto = ETH_P_MPLS_UC
                    step = PROTO_AGAIN
                if step == IPPROTO_AGAIN:
                    headers += 1
                    if headers > MAX_FLOW_DISSECT_HDRS:
                        step = GOOD

        if step == BAD:
            return 0
        if step != PROTO_AGAIN:
            break
        headers += 1
        if headers > MAX_FLOW_DISSECT_HDRS:
            break
    at = u16(at)
    return at if later_fragment else after_ports(skb, at, ip_proto)
