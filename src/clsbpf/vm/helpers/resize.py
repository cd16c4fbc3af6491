"""How do programs make packets longer and shorter?  bpf_skb_adjust_room, change_head, change_tail, …

Each does the groundwork only: the bytes that come in are zero, and the program fills them.  Lengths,
header offsets, the protocol and what segmentation needs (gso_*) are kept right.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from ..native_skb import At
from ..subset import fill, load_i32, load_i64, load_u32, move, native, s32, store_i64, store_u32, u32
from .checksum import CHECKSUM_COMPLETE, CHECKSUM_NONE, ENOTSUPP, reset_checksum_unnecessary
from .room import (
    EXTRA_ROOM,
    captured,
    clear_hash,
    compute_data_pointers,
    cow,
    ensure_writable,
    expand_head,
    mac_header_len,
    move_headers,
    pull,
    push,
    reset_mac_len,
)

SKB_MAX_ALLOC = 16384 - 320
"""The longest packet that a program may make: four pages less struct skb_shared_info (x86-64)."""
ADJUST_MAX = 0xFFF

IPV4_NETWORK_ORDER = 0x0008
IPV6_NETWORK_ORDER = 0xDD86
"""As __sk_buff's protocol has them on a little-endian machine."""
IPV4_HLEN = 20
IPV6_HLEN = 40
ETH_HLEN = 14

PACKET_OTHERHOST = 3

SKB_GSO_TCPV4 = 1 << 0
SKB_GSO_DODGY = 1 << 1
SKB_GSO_TCPV6 = 1 << 4
SKB_GSO_GRE = 1 << 6
SKB_GSO_IPXIP4 = 1 << 8
SKB_GSO_IPXIP6 = 1 << 9
SKB_GSO_UDP_TUNNEL = 1 << 10
SKB_GSO_UDP_L4 = 1 << 17

BPF_ADJ_ROOM_NET = 0
BPF_ADJ_ROOM_MAC = 1
FIXED_GSO = 1 << 0
ENCAP_L3_IPV4 = 1 << 1
ENCAP_L3_IPV6 = 1 << 2
ENCAP_L4_GRE = 1 << 3
ENCAP_L4_UDP = 1 << 4
NO_CSUM_RESET = 1 << 5
ENCAP_L2_ETH = 1 << 6
DECAP_L3_IPV4 = 1 << 7
DECAP_L3_IPV6 = 1 << 8
ENCAP_L2_SHIFT = 56
ENCAP_L3 = ENCAP_L3_IPV4 | ENCAP_L3_IPV6
DECAP_L3 = DECAP_L3_IPV4 | DECAP_L3_IPV6
ADJUST_FLAGS = (
    FIXED_GSO | ENCAP_L3 | ENCAP_L4_GRE | ENCAP_L4_UDP | NO_CSUM_RESET | ENCAP_L2_ETH | DECAP_L3 | -1 << 56
)
"""With the eight bits of the inner link-layer header's length, as a signed number."""


@native
def net_header_push(skb: int, at: int, count: int) -> None:
    """bpf_skb_net_hdr_push(): `count` zero bytes at offset `at`, where headroom is; headers move along."""
    same = load_i32(skb + At.TRANS_OFF) == load_i32(skb + At.NET_OFF) and load_u32(skb + At.TRANS_SET)
    push(skb, count)
    data = load_i64(skb + At.DATA_PTR)
    move(data, data + count, at)
    fill(data + at, 0, count)
    move_headers(skb, -count)
    if same:
        store_u32(skb + At.TRANS_OFF, load_i32(skb + At.NET_OFF))


@native
def net_header_pop(skb: int, at: int, count: int) -> int:
    """bpf_skb_net_hdr_pop(): `count` bytes at offset `at` go; headers move along.  0 or -ENOMEM."""
    if ensure_writable(skb, at + count):
        return -errno.ENOMEM
    same = load_i32(skb + At.TRANS_OFF) == load_i32(skb + At.NET_OFF) and load_u32(skb + At.TRANS_SET)
    old = load_i64(skb + At.DATA_PTR)
    pull(skb, count)
    move(old + count, old, at)
    move_headers(skb, count)
    if same:
        store_u32(skb + At.TRANS_OFF, load_i32(skb + At.NET_OFF))
    return 0


@native
def change_gso_type(skb: int, old: int, new: int) -> None:
    """A segmentation type becomes another, and the headers have to be checked again."""
    if load_u32(skb + At.GSO_SIZE):
        type = load_u32(skb + At.GSO_TYPE)
        if type & old:
            type = type & ~old | new
        store_u32(skb + At.GSO_TYPE, type | SKB_GSO_DODGY)


@native
def skb_change_proto(machine: int, skb: int, protocol: int, flags: int) -> int:
    """bpf_skb_change_proto: room for an IPv6 header where an IPv4 one is, or the reverse.  0 or -errno."""
    if flags:
        return -errno.EINVAL
    result = -ENOTSUPP
    old = load_u32(skb + At.PROTOCOL)
    new = protocol & 0xFFFF
    difference = IPV6_HLEN - IPV4_HLEN
    if old == IPV4_NETWORK_ORDER and new == IPV6_NETWORK_ORDER:
        cow(skb, difference)
        net_header_push(skb, mac_header_len(skb), difference)
        change_gso_type(skb, SKB_GSO_TCPV4, SKB_GSO_TCPV6)
        result = 0
    elif old == IPV6_NETWORK_ORDER and new == IPV4_NETWORK_ORDER:
        result = net_header_pop(skb, mac_header_len(skb), difference)
        if result == 0:
            change_gso_type(skb, SKB_GSO_TCPV6, SKB_GSO_TCPV4)
    if result == 0:
        store_u32(skb + At.PROTOCOL, new)
        clear_hash(skb)
    compute_data_pointers(skb)
    return result


@native
def skb_change_type(machine: int, skb: int, type: int) -> int:
    """bpf_skb_change_type: among HOST, BROADCAST, MULTICAST and OTHERHOST.  0 or -EINVAL."""
    if load_u32(skb + At.PKT_TYPE) > PACKET_OTHERHOST or u32(type) > PACKET_OTHERHOST:
        return -errno.EINVAL
    store_u32(skb + At.PKT_TYPE, u32(type))
    return 0


@native
def gso_refusal(skb: int, flags: int) -> int:
    """Other than TCP segments get another room only if the size of segments stays: 0 or -errno."""
    if load_u32(skb + At.GSO_SIZE) == 0:
        return 0
    type = load_u32(skb + At.GSO_TYPE)
    if type & (SKB_GSO_TCPV4 | SKB_GSO_TCPV6):
        return 0
    return 0 if type & SKB_GSO_UDP_L4 and flags & FIXED_GSO else -ENOTSUPP


@native
def encap_refusal(skb: int, count: int, flags: int) -> int:
    """What bpf_skb_net_grow() checks of an encapsulation: 0 or -errno."""
    inner_mac_len = flags >> ENCAP_L2_SHIFT & 0xFF
    if load_u32(skb + At.PROTOCOL) not in (IPV4_NETWORK_ORDER, IPV6_NETWORK_ORDER):
        return -ENOTSUPP
    if flags & ENCAP_L3 == ENCAP_L3:
        return -errno.EINVAL
    if flags & ENCAP_L4_GRE and flags & ENCAP_L4_UDP:
        return -errno.EINVAL
    if flags & ENCAP_L2_ETH and inner_mac_len < ETH_HLEN:
        return -errno.EINVAL
    if load_u32(skb + At.ENCAPSULATION):
        return -errno.EALREADY
    return -errno.EINVAL if inner_mac_len > count else 0


@native
def tunnel_gso_type(flags: int) -> int:
    """The SKB_GSO_* of an encapsulation."""
    if flags & ENCAP_L4_UDP:
        return SKB_GSO_UDP_TUNNEL
    if flags & ENCAP_L4_GRE:
        return SKB_GSO_GRE
    return SKB_GSO_IPXIP6 if flags & ENCAP_L3_IPV6 else SKB_GSO_IPXIP4


@native
def net_grow(skb: int, at: int, count: int, flags: int) -> int:
    """bpf_skb_net_grow(): 0 or -errno."""
    refusal = gso_refusal(skb, flags)
    if refusal:
        return refusal
    cow(skb, count)
    encap = flags & ENCAP_L3
    mac_len = mac_header_len(skb)
    if encap:
        refusal = encap_refusal(skb, count, flags)
        if refusal:
            return refusal
    net_header_push(skb, at, count)
    gso_type = SKB_GSO_DODGY
    if encap:
        store_u32(skb + At.ENCAPSULATION, 1)
        store_u32(skb + At.NET_OFF, mac_len)
        gso_type |= tunnel_gso_type(flags)
        if flags & (ENCAP_L4_GRE | ENCAP_L4_UDP):
            header_len = IPV6_HLEN if flags & ENCAP_L3_IPV6 else IPV4_HLEN
            store_u32(skb + At.TRANS_OFF, mac_len + header_len)
            store_u32(skb + At.TRANS_SET, 1)
        store_u32(skb + At.PROTOCOL, IPV6_NETWORK_ORDER if flags & ENCAP_L3_IPV6 else IPV4_NETWORK_ORDER)
    size = load_u32(skb + At.GSO_SIZE)
    if size:
        store_u32(skb + At.GSO_TYPE, load_u32(skb + At.GSO_TYPE) | gso_type)
        store_u32(skb + At.GSO_SEGS, 0)
        if not flags & FIXED_GSO:
            store_u32(skb + At.GSO_SIZE, size - count & 0xFFFF)
    return 0


@native
def net_shrink(skb: int, at: int, count: int, flags: int) -> int:
    """bpf_skb_net_shrink(): 0 or -errno."""
    if flags & ~(FIXED_GSO | DECAP_L3 | NO_CSUM_RESET):
        return -errno.EINVAL
    refusal = gso_refusal(skb, flags)
    if refusal:
        return refusal
    refusal = net_header_pop(skb, at, count)
    if refusal:
        return refusal
    if flags & DECAP_L3_IPV6:
        store_u32(skb + At.PROTOCOL, IPV6_NETWORK_ORDER)
    elif flags & DECAP_L3_IPV4:
        store_u32(skb + At.PROTOCOL, IPV4_NETWORK_ORDER)
    size = load_u32(skb + At.GSO_SIZE)
    if size:
        if not flags & FIXED_GSO:
            store_u32(skb + At.GSO_SIZE, size + count & 0xFFFF)
        store_u32(skb + At.GSO_TYPE, load_u32(skb + At.GSO_TYPE) | SKB_GSO_DODGY)
        store_u32(skb + At.GSO_SEGS, 0)
    return 0


@native
def adjust_refusal(skb: int, difference: int, flags: int) -> int:
    """Do the lengths and the flags of bpf_skb_adjust_room go?  0 or -errno."""
    least = IPV4_HLEN if load_u32(skb + At.PROTOCOL) == IPV4_NETWORK_ORDER else IPV6_HLEN
    decap = flags & DECAP_L3
    if decap:
        if difference >= 0 or decap == DECAP_L3:
            return -errno.EINVAL
        least = IPV4_HLEN if decap == DECAP_L3_IPV4 else IPV6_HLEN
    length = load_u32(skb + At.LEN)
    network = u32(length - load_i32(skb + At.NET_OFF))
    if difference < 0:
        if -difference >= network or u32(network + difference) < least:
            return -ENOTSUPP
    elif length + difference > SKB_MAX_ALLOC and load_u32(skb + At.GSO_SIZE) == 0:
        return -ENOTSUPP
    return 0


@native
def skb_adjust_room(machine: int, skb: int, difference: int, mode: int, flags: int) -> int:
    """bpf_skb_adjust_room: room between the network header and what follows, or before it.  0 or -errno."""
    if flags & ~ADJUST_FLAGS:
        return -errno.EINVAL
    count = s32(difference)
    if count > ADJUST_MAX or count < -ADJUST_MAX:
        return -errno.EFAULT
    protocol = load_u32(skb + At.PROTOCOL)
    if protocol not in (IPV4_NETWORK_ORDER, IPV6_NETWORK_ORDER):
        return -ENOTSUPP
    at = mac_header_len(skb)
    if u32(mode) == BPF_ADJ_ROOM_NET:
        at += IPV4_HLEN if protocol == IPV4_NETWORK_ORDER else IPV6_HLEN
    elif u32(mode) != BPF_ADJ_ROOM_MAC:
        return -ENOTSUPP
    result = adjust_refusal(skb, count, flags)
    if result:
        return result
    result = net_shrink(skb, at, -count, flags) if count < 0 else net_grow(skb, at, count, flags)
    if result == 0 and not flags & NO_CSUM_RESET:
        reset_checksum_unnecessary(skb)
    compute_data_pointers(skb)
    return result


@native
def least_length(skb: int) -> int:
    """__bpf_skb_min_len(): headers are not cut off."""
    least = 0
    if load_i32(skb + At.NET_OFF) > 0:
        least = load_i32(skb + At.NET_OFF)
    if load_u32(skb + At.TRANS_SET) and load_i32(skb + At.TRANS_OFF) > 0:
        least = load_i32(skb + At.TRANS_OFF)
    return least


@native
def gso_reset(skb: int) -> None:
    """skb_gso_reset()."""
    store_u32(skb + At.GSO_SIZE, 0)
    store_u32(skb + At.GSO_SEGS, 0)
    store_u32(skb + At.GSO_TYPE, 0)


@native
def set_length(skb: int, length: int) -> None:
    """The packet, which is wholly there, ends after `length` bytes; new ones are zero."""
    end = load_i64(skb + At.DATA_END_PTR)
    more = length - captured(skb)
    if more > load_i64(skb + At.END_PTR) - end:
        expand_head(skb, 0, more + EXTRA_ROOM)
        end = load_i64(skb + At.DATA_END_PTR)
    if more > 0:
        fill(end, 0, more)
    store_i64(skb + At.DATA_END_PTR, end + more)
    store_u32(skb + At.LEN, length)
    if load_u32(skb + At.IP_SUMMED) == CHECKSUM_COMPLETE:
        store_u32(skb + At.IP_SUMMED, CHECKSUM_NONE)


@native
def skb_change_tail(machine: int, skb: int, length: int, flags: int) -> int:
    """bpf_skb_change_tail: cut the packet, or let it grow, to `length` bytes.  0 or -errno."""
    count = u32(length)
    result = 0
    if flags or count > SKB_MAX_ALLOC or count < least_length(skb):
        result = -errno.EINVAL
    elif load_u32(skb + At.ENCAPSULATION):
        result = -ENOTSUPP
    else:
        result = ensure_writable(skb, load_u32(skb + At.LEN))
    if result == 0:
        if count != load_u32(skb + At.LEN):
            set_length(skb, count)
        if load_u32(skb + At.GSO_SIZE):
            gso_reset(skb)
    compute_data_pointers(skb)
    return result


@native
def skb_change_head(machine: int, skb: int, headroom: int, flags: int) -> int:
    """bpf_skb_change_head: so many zero bytes before the packet, a new link-layer header.  0 or -errno."""
    count = u32(headroom)
    length = load_u32(skb + At.LEN)
    result = 0
    if flags or s32(count) < 0 or (load_u32(skb + At.GSO_SIZE) == 0 and length + count > SKB_MAX_ALLOC):
        result = -errno.EINVAL
    else:
        cow(skb, count)
        push(skb, count)
        fill(load_i64(skb + At.DATA_PTR), 0, count)
        store_u32(skb + At.MAC_OFF, 0)
        reset_mac_len(skb)
    compute_data_pointers(skb)
    return result


BODIES: dict[str, Callable[..., int]] = {
    "skb_change_proto": skb_change_proto,
    "skb_change_type": skb_change_type,
    "skb_adjust_room": skb_adjust_room,
    "skb_change_tail": skb_change_tail,
    "skb_change_head": skb_change_head,
}
