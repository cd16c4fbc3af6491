"""How do programs push and pop VLAN tags?  bpf_skb_vlan_push and bpf_skb_vlan_pop.

The outermost tag is in the metadata (skb.py).  A push puts the one that is there into the bytes and the
new one into the metadata; a pop takes the metadata's away, or the bytes' where the metadata has none, and
moves the next from the bytes to the metadata.  `data` must be at the link-layer header.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from ..native_skb import At
from ..subset import (
    load_be16,
    load_i32,
    load_i64,
    load_u16,
    load_u32,
    move,
    native,
    store_u16,
    store_u32,
    swap16,
    u16,
)
from .room import compute_data_pointers, cow, ensure_writable, move_headers, pull, push, reset_mac_len

VLAN_HLEN = 4
ETH_HLEN = 14
ETH_ADDRESSES = 12
VLAN_ETH_HLEN = 18
ETH_P_802_3_MIN = 0x600
ETH_P_802_3 = 0x0001
ETH_P_802_2 = 0x0004
ETH_P_8021Q_BE = 0x0081
ETH_P_8021AD_BE = 0xA888
"""As in memory, read by a little-endian machine."""


@native
def put_tag(skb: int, protocol: int, tci: int) -> None:
    """__vlan_hwaccel_put_tag(): `protocol` in network order."""
    store_u32(skb + At.VLAN_PROTO, protocol)
    store_u32(skb + At.VLAN_TCI, tci)
    store_u32(skb + At.VLAN_PRESENT, 1)


@native
def clear_tag(skb: int) -> None:
    """__vlan_hwaccel_clear_tag(): vlan_present goes; the type stays where it was."""
    store_u32(skb + At.VLAN_TCI, 0)
    store_u32(skb + At.VLAN_PRESENT, 0)


@native
def insert_tag(skb: int) -> int:
    """skb_vlan_flush(): the tag of the metadata goes into the bytes.  0 or -EINVAL."""
    if load_i32(skb + At.MAC_OFF):
        return -errno.EINVAL
    cow(skb, VLAN_HLEN)
    push(skb, VLAN_HLEN)
    data = load_i64(skb + At.DATA_PTR)
    move(data, data + VLAN_HLEN, ETH_ADDRESSES)
    store_u16(data + ETH_ADDRESSES, load_u32(skb + At.VLAN_PROTO))
    store_u16(data + ETH_ADDRESSES + 2, swap16(load_u32(skb + At.VLAN_TCI)))
    store_u32(skb + At.PROTOCOL, load_u32(skb + At.VLAN_PROTO))
    move_headers(skb, -VLAN_HLEN)
    return 0


@native
def skb_vlan_push(machine: int, skb: int, protocol: int, tci: int) -> int:
    """bpf_skb_vlan_push: a tag before those that are there; 0x8100 unless it is 0x88a8.  0 or -errno."""
    type = u16(protocol)
    if type not in (ETH_P_8021Q_BE, ETH_P_8021AD_BE):
        type = ETH_P_8021Q_BE
    result = insert_tag(skb) if load_u32(skb + At.VLAN_PRESENT) else 0
    if result == 0:
        put_tag(skb, type, u16(tci))
    reset_mac_len(skb)
    compute_data_pointers(skb)
    return result


@native
def encapsulated_protocol(at: int) -> int:
    """vlan_set_encap_proto(): the protocol after the tag at `at`, in network order."""
    type = load_be16(at + 2)
    if type >= ETH_P_802_3_MIN:
        return load_u16(at + 2)
    return swap16(ETH_P_802_3 if load_u16(at + 4) == 0xFFFF else ETH_P_802_2)


@native
def remove_tag(skb: int) -> int:
    """__skb_vlan_pop(): the tag goes out of the bytes.  Its tci, or -errno."""
    if load_i32(skb + At.MAC_OFF):
        return -errno.EINVAL
    if ensure_writable(skb, VLAN_ETH_HLEN):
        return -errno.ENOMEM
    data = load_i64(skb + At.DATA_PTR)
    tci = load_be16(data + ETH_HLEN)
    store_u32(skb + At.PROTOCOL, encapsulated_protocol(data + ETH_HLEN))
    move(data + VLAN_HLEN, data, ETH_ADDRESSES)
    pull(skb, VLAN_HLEN)
    store_u32(skb + At.MAC_OFF, 0)
    if load_i32(skb + At.NET_OFF) < ETH_HLEN:
        store_u32(skb + At.NET_OFF, ETH_HLEN)
    reset_mac_len(skb)
    return tci


@native
def pop_tag(skb: int) -> int:
    """skb_vlan_pop(): 0 or -errno."""
    if load_u32(skb + At.VLAN_PRESENT):
        clear_tag(skb)
    else:
        if load_u32(skb + At.PROTOCOL) not in (ETH_P_8021Q_BE, ETH_P_8021AD_BE):
            return 0
        tci = remove_tag(skb)
        if tci < 0:
            return tci
    type = load_u32(skb + At.PROTOCOL)
    if type not in (ETH_P_8021Q_BE, ETH_P_8021AD_BE):
        return 0
    tci = remove_tag(skb)
    if tci < 0:
        return tci
    put_tag(skb, type, tci)
    return 0


@native
def skb_vlan_pop(machine: int, skb: int) -> int:
    """bpf_skb_vlan_pop: the outermost tag, if there is one, goes.  0 or -errno."""
    result = pop_tag(skb)
    compute_data_pointers(skb)
    return result


BODIES: dict[str, Callable[..., int]] = {
    "skb_vlan_push": skb_vlan_push,
    "skb_vlan_pop": skb_vlan_pop,
}
