"""How do programs read and write packet bytes through helpers?  net/core/filter.c: bpf_skb_load_bytes, …

Offsets count from `data`; what is not in the packet is -EFAULT, and a load then gives zeros.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from ..native_skb import At
from ..packet import header
from ..subset import copy, fill, load_i32, load_i64, load_u32, move, native, store_u32, u32
from .room import captured, clear_hash, compute_data_pointers, ensure_writable

BPF_F_RECOMPUTE_CSUM = 1 << 0
BPF_F_INVALIDATE_HASH = 1 << 1
BPF_HDR_START_MAC = 0
BPF_HDR_START_NET = 1
INT_MAX = 0x7FFFFFFF


@native
def skb_load_bytes(machine: int, skb: int, offset: int, to: int, length: int) -> int:
    """bpf_skb_load_bytes: `length` bytes at `offset` to `to`; 0 or -EFAULT."""
    at = u32(offset)
    start = header(skb, at, length) if at <= INT_MAX else 0
    if start == 0:
        fill(to, 0, length)
        return -errno.EFAULT
    copy(to, start, length)
    return 0


@native
def skb_load_bytes_relative(machine: int, skb: int, offset: int, to: int, length: int, start: int) -> int:
    """bpf_skb_load_bytes_relative: from the link-layer or network header on; 0 or -EFAULT."""
    at = u32(offset)
    base = u32(start)
    if at <= 0xFFFF and base in (BPF_HDR_START_MAC, BPF_HDR_START_NET):
        at += load_i32(skb + At.MAC_OFF) if base == BPF_HDR_START_MAC else load_i32(skb + At.NET_OFF)
        if at + length <= captured(skb):
            copy(to, load_i64(skb + At.DATA_PTR) + at, length)
            return 0
        if at + length <= load_u32(skb + At.LEN):
            store_u32(skb + At.READ_PAST, 1)
    fill(to, 0, length)
    return -errno.EFAULT


@native
def skb_store_bytes(machine: int, skb: int, offset: int, source: int, length: int, flags: int) -> int:
    """bpf_skb_store_bytes: `length` bytes to `offset`; 0, -EINVAL or -EFAULT.

    BPF_F_RECOMPUTE_CSUM keeps a checksum that a device computed; packets here have none.
    """
    if flags & ~(BPF_F_RECOMPUTE_CSUM | BPF_F_INVALIDATE_HASH):
        return -errno.EINVAL
    at = u32(offset)
    if at > INT_MAX or ensure_writable(skb, u32(at + length)):
        return -errno.EFAULT
    move(load_i64(skb + At.DATA_PTR) + at, source, length)
    if flags & BPF_F_INVALIDATE_HASH:
        clear_hash(skb)
    return 0


@native
def skb_pull_data(machine: int, skb: int, length: int) -> int:
    """bpf_skb_pull_data: are the first `length` bytes there to be read directly?  0 or -ENOMEM."""
    count = u32(length)
    result = ensure_writable(skb, count if count else captured(skb))
    compute_data_pointers(skb)
    return result


BODIES: dict[str, Callable[..., int]] = {
    "skb_load_bytes": skb_load_bytes,
    "skb_load_bytes_relative": skb_load_bytes_relative,
    "skb_store_bytes": skb_store_bytes,
    "skb_pull_data": skb_pull_data,
}
