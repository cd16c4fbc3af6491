"""What tunnel did a packet come through, or shall it go through?  bpf_skb_get_tunnel_key and its like.

A tunnel device that collects metadata (vxlan, geneve, gre with `external`) keeps the outer header's facts
beside the packet: struct ip_tunnel_info.  On receive the device fills it; a program fills one for the
device to send with.  Programs see it as struct bpf_tunnel_key, with the ends named by who is remote: of
a received packet that is the source.
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Callable

from ..environment import EnvironmentAt
from ..native_skb import At, TunnelAt
from ..subset import (
    copy,
    fill,
    load_be32,
    load_i64,
    load_u8,
    load_u16,
    load_u32,
    native,
    store_i64,
    store_u8,
    store_u16,
    store_u32,
    swap16,
    swap32,
)

EPROTO = 71
BPF_F_TUNINFO_IPV6 = 1 << 0
BPF_F_ZERO_CSUM_TX = 1 << 1
BPF_F_DONT_FRAGMENT = 1 << 2
BPF_F_SEQ_NUMBER = 1 << 3
BPF_F_NO_TUNNEL_KEY = 1 << 4
BPF_F_TUNINFO_FLAGS = 1 << 4
SET_FLAGS = (
    BPF_F_TUNINFO_IPV6 | BPF_F_ZERO_CSUM_TX | BPF_F_DONT_FRAGMENT | BPF_F_SEQ_NUMBER | BPF_F_NO_TUNNEL_KEY
)

INFO_TX = 1
INFO_IPV6 = 2
"""IP_TUNNEL_INFO_*: for sending; with IPv6 ends."""

TUNNEL_CSUM = 1 << 0
TUNNEL_KEY = 1 << 2
TUNNEL_SEQ = 1 << 3
TUNNEL_DONT_FRAGMENT = 1 << 8
TUNNEL_NOCACHE = 1 << 13
TUNNEL_OPTIONS_PRESENT = 1 << 11 | 1 << 12 | 1 << 14 | 1 << 15
"""IP_TUNNEL_*_BIT; the last: Geneve, VXLAN, ERSPAN, GTP options."""
OPTIONS_MAX = 255
FLOW_LABEL = 0xFFFFF


class KeyAt(enum.IntEnum):
    """Offsets in struct bpf_tunnel_key."""

    TUNNEL_ID = 0
    REMOTE = 4
    TOS = 20
    TTL = 21
    EXT = 22
    """u16; with BPF_F_TUNINFO_FLAGS the flags, in network order."""
    LABEL = 24
    LOCAL = 28
    BYTES = 44


OLD_IPV4_BYTES = 8
"""struct bpf_tunnel_key as it was at first: the id and an IPv4 address."""


@native
def known_size(size: int) -> int:
    """Is it the size of a struct bpf_tunnel_key of some kernel?"""
    return size in (KeyAt.BYTES, KeyAt.LOCAL, KeyAt.LABEL, KeyAt.EXT, OLD_IPV4_BYTES)


@native
def fill_key(to: int, info: int, flags: int) -> None:
    """A whole struct bpf_tunnel_key, at `to`, of a struct ip_tunnel_info."""
    fill(to, 0, KeyAt.BYTES)
    store_u32(to + KeyAt.TUNNEL_ID, load_u32(info + TunnelAt.ID))
    store_u8(to + KeyAt.TOS, load_u8(info + TunnelAt.TOS))
    store_u8(to + KeyAt.TTL, load_u8(info + TunnelAt.TTL))
    if flags & BPF_F_TUNINFO_FLAGS:
        store_u16(to + KeyAt.EXT, swap16(load_u32(info + TunnelAt.FLAGS)))
    if flags & BPF_F_TUNINFO_IPV6:
        copy(to + KeyAt.REMOTE, info + TunnelAt.SOURCE, 16)
        copy(to + KeyAt.LOCAL, info + TunnelAt.DESTINATION, 16)
        store_u32(to + KeyAt.LABEL, load_u32(info + TunnelAt.LABEL))
    else:
        store_u32(to + KeyAt.REMOTE, load_be32(info + TunnelAt.SOURCE))
        store_u32(to + KeyAt.LOCAL, load_be32(info + TunnelAt.DESTINATION))


@native
def skb_get_tunnel_key(machine: int, skb: int, to: int, size: int, flags: int) -> int:
    """bpf_skb_get_tunnel_key: the key of the packet's tunnel to `to`; 0 or -errno, and then zeros."""
    info = load_i64(skb + At.TUNNEL)
    result = 0
    if info == 0 or flags & ~(BPF_F_TUNINFO_IPV6 | BPF_F_TUNINFO_FLAGS):
        result = -errno.EINVAL
    elif (load_u32(info + TunnelAt.MODE) & INFO_IPV6 != 0) != (flags & BPF_F_TUNINFO_IPV6 != 0):
        result = -EPROTO
    elif not known_size(size) or (size == OLD_IPV4_BYTES and load_u32(info + TunnelAt.MODE) & INFO_IPV6):
        result = -errno.EINVAL
    if result:
        fill(to, 0, size)
        return result
    scratch = machine + EnvironmentAt.SCRATCH
    fill_key(scratch, info, flags)
    copy(to, scratch, size)
    return 0


@native
def skb_set_tunnel_key(machine: int, skb: int, source: int, size: int, flags: int) -> int:
    """bpf_skb_set_tunnel_key: what a tunnel device shall send the packet with.  0 or -EINVAL."""
    if flags & ~SET_FLAGS or not known_size(size):
        return -errno.EINVAL
    key = machine + EnvironmentAt.SCRATCH
    fill(key, 0, KeyAt.BYTES)
    copy(key, source, size)
    ipv6 = flags & BPF_F_TUNINFO_IPV6
    if load_u16(key + KeyAt.EXT) or (not ipv6 and load_u32(key + KeyAt.LABEL)):
        return -errno.EINVAL
    info = machine + EnvironmentAt.TUNNEL
    fill(info, 0, TunnelAt.BYTES)
    tunnel = TUNNEL_NOCACHE
    if flags & BPF_F_DONT_FRAGMENT:
        tunnel |= TUNNEL_DONT_FRAGMENT
    if not flags & BPF_F_ZERO_CSUM_TX:
        tunnel |= TUNNEL_CSUM
    if flags & BPF_F_SEQ_NUMBER:
        tunnel |= TUNNEL_SEQ
    if not flags & BPF_F_NO_TUNNEL_KEY:
        tunnel |= TUNNEL_KEY
    store_u32(info + TunnelAt.FLAGS, tunnel)
    store_u32(info + TunnelAt.ID, load_u32(key + KeyAt.TUNNEL_ID))
    store_u8(info + TunnelAt.TOS, load_u8(key + KeyAt.TOS))
    store_u8(info + TunnelAt.TTL, load_u8(key + KeyAt.TTL))
    store_u32(info + TunnelAt.MODE, INFO_TX | INFO_IPV6 if ipv6 else INFO_TX)
    if ipv6:
        copy(info + TunnelAt.DESTINATION, key + KeyAt.REMOTE, 16)
        copy(info + TunnelAt.SOURCE, key + KeyAt.LOCAL, 16)
        store_u32(info + TunnelAt.LABEL, load_u32(key + KeyAt.LABEL) & FLOW_LABEL)
    else:
        store_u32(info + TunnelAt.DESTINATION, swap32(load_u32(key + KeyAt.REMOTE)))
        store_u32(info + TunnelAt.SOURCE, swap32(load_u32(key + KeyAt.LOCAL)))
    store_i64(skb + At.TUNNEL, info)
    return 0


@native
def skb_get_tunnel_opt(machine: int, skb: int, to: int, size: int) -> int:
    """bpf_skb_get_tunnel_opt: the options to `to`: how many bytes, or -errno and zeros."""
    info = load_i64(skb + At.TUNNEL)
    fill(to, 0, size)
    if info == 0 or load_u32(info + TunnelAt.FLAGS) & TUNNEL_OPTIONS_PRESENT == 0:
        return -errno.ENOENT
    length = load_u32(info + TunnelAt.OPTIONS_LEN)
    if size < length:
        return -errno.ENOMEM
    copy(to, info + TunnelAt.OPTIONS, length)
    return length


@native
def skb_set_tunnel_opt(machine: int, skb: int, source: int, size: int) -> int:
    """bpf_skb_set_tunnel_opt: options for the tunnel that a program has set.  0 or -errno."""
    info = load_i64(skb + At.TUNNEL)
    if info == 0 or load_u32(info + TunnelAt.MODE) & INFO_TX == 0 or size & 3:
        return -errno.EINVAL
    if size > OPTIONS_MAX:
        return -errno.ENOMEM
    store_u32(info + TunnelAt.FLAGS, load_u32(info + TunnelAt.FLAGS) | TUNNEL_OPTIONS_PRESENT)
    store_u32(info + TunnelAt.OPTIONS_LEN, size)
    copy(info + TunnelAt.OPTIONS, source, size)
    return 0


BODIES: dict[str, Callable[..., int]] = {
    "skb_get_tunnel_key": skb_get_tunnel_key,
    "skb_set_tunnel_key": skb_set_tunnel_key,
    "skb_get_tunnel_opt": skb_get_tunnel_opt,
    "skb_set_tunnel_opt": skb_set_tunnel_opt,
}
