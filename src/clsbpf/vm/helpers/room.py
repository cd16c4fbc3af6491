"""How does a packet get room to grow, and how do its ends move?  What every packet-changing helper builds on.

The packet lies between headroom and tailroom (skb.py).  `push` and `pull` move its beginning, `put` and
`trim` its end; headers that are told by their distance from `data` keep their place in memory.  Where the
room does not suffice the packet moves to a larger buffer.

A packet that was not wholly captured stands for one that is not linear and cannot be made so: what needs
bytes that are not there fails, and `read_past` remembers it.
"""

from __future__ import annotations

import errno

from ..environment import Environment
from ..native_skb import At, relocate
from ..subset import external, load_i32, load_i64, load_u32, native, store_i64, store_u32, u32

EXTRA_ROOM = 128
"""How much more than asked for a packet gets that has to move."""


@external
def expand_head(skb: int, headroom: int, tailroom: int) -> int:
    """pskb_expand_head(): move the packet to a buffer with so much more room at each end.  0."""
    running = Environment.at(load_i64(skb + At.ENVIRONMENT)).running
    assert running.skb is not None
    running.kept.append(relocate(running.skb, headroom, tailroom))
    return 0


@native
def captured(skb: int) -> int:
    """skb_headlen(): the bytes from `data` on that are there."""
    return load_i64(skb + At.DATA_END_PTR) - load_i64(skb + At.DATA_PTR)


@native
def ensure_writable(skb: int, length: int) -> int:
    """skb_ensure_writable(): are the first `length` bytes there?  0 or -ENOMEM."""
    if length <= captured(skb):
        return 0
    if length <= load_u32(skb + At.LEN):
        store_u32(skb + At.READ_PAST, 1)
    return -errno.ENOMEM


@native
def cow(skb: int, headroom: int) -> int:
    """skb_cow(): see to it that there is so much headroom.  0."""
    if load_i64(skb + At.DATA_PTR) - load_i64(skb + At.HEAD_PTR) < headroom:
        expand_head(skb, headroom + EXTRA_ROOM, 0)
    return 0


@native
def add_i32(address: int, value: int) -> None:
    """Add to a signed 32-bit number in memory."""
    store_u32(address, load_i32(address) + value)


@native
def compute_data_pointers(skb: int) -> None:
    """bpf_compute_data_pointers(): there is no metadata before the packet any more."""
    store_i64(skb + At.DATA_META_PTR, load_i64(skb + At.DATA_PTR))


@native
def push(skb: int, count: int) -> None:
    """__skb_push(): `data` moves back over headroom that is there; headers stay where they are."""
    store_i64(skb + At.DATA_PTR, load_i64(skb + At.DATA_PTR) - count)
    store_u32(skb + At.LEN, load_u32(skb + At.LEN) + count)
    add_i32(skb + At.NET_OFF, count)
    add_i32(skb + At.MAC_OFF, count)
    add_i32(skb + At.TRANS_OFF, count)


@native
def pull(skb: int, count: int) -> None:
    """__skb_pull(): `data` moves on over bytes that are there; headers stay where they are."""
    push(skb, -count)


@native
def move_headers(skb: int, count: int) -> None:
    """The link-layer and network headers begin `count` bytes later in memory."""
    add_i32(skb + At.MAC_OFF, count)
    add_i32(skb + At.NET_OFF, count)


@native
def reset_mac_len(skb: int) -> None:
    """skb_reset_mac_len(), a 16-bit number."""
    store_u32(skb + At.MAC_LEN, load_i32(skb + At.NET_OFF) - load_i32(skb + At.MAC_OFF) & 0xFFFF)


@native
def mac_header_len(skb: int) -> int:
    """skb_mac_header_len(), as the u32 that helpers keep it in."""
    return u32(load_i32(skb + At.NET_OFF) - load_i32(skb + At.MAC_OFF))


@native
def clear_hash(skb: int) -> None:
    """skb_clear_hash()."""
    store_u32(skb + At.HASH, 0)
    store_u32(skb + At.HASH_KIND, 0)
