"""How do programs keep Internet checksums right?  One's complement sums, as include/net/checksum.h has them.

A checksum in a packet is the complement of the 16-bit one's complement sum of what it covers.  When a
field changes from `from` to `to` the sum changes by their difference, and the checksum can be patched
without looking at the rest (RFC 1624).  Sums are kept in 32 bits, `csum`, and folded to 16 at the end.
Everything is in the order of the bytes in memory: the sum does not care which that is.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from ..native_skb import At
from ..subset import load_i64, load_u8, load_u16, load_u32, native, store_u16, store_u32, u16, u32
from .room import ensure_writable

ENOTSUPP = 524
"""An errno of the kernel's own, which programs get to see."""

CHECKSUM_NONE = 0
CHECKSUM_UNNECESSARY = 1
CHECKSUM_COMPLETE = 2
CHECKSUM_PARTIAL = 3

BPF_F_HDR_FIELD_MASK = 0xF
BPF_F_PSEUDO_HDR = 1 << 4
BPF_F_MARK_MANGLED_0 = 1 << 5
BPF_F_MARK_ENFORCE = 1 << 6
BPF_F_IPV6 = 1 << 7
L4_FLAGS = BPF_F_HDR_FIELD_MASK | BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0 | BPF_F_MARK_ENFORCE | BPF_F_IPV6
CSUM_MANGLED_0 = 0xFFFF

BPF_CSUM_LEVEL_QUERY = 0
BPF_CSUM_LEVEL_INC = 1
BPF_CSUM_LEVEL_DEC = 2
BPF_CSUM_LEVEL_RESET = 3
SKB_MAX_CSUM_LEVEL = 3


@native(inline=True)
def csum_add(csum: int, addend: int) -> int:
    """The 32-bit sum with its carry added."""
    total = csum + addend
    return u32(total + (total >> 32))


@native(inline=True)
def csum_sub(csum: int, addend: int) -> int:
    """The 32-bit difference."""
    return csum_add(csum, u32(~addend))


@native(inline=True)
def csum_fold16(csum: int) -> int:
    """csum_from32to16(): the sum in 16 bits."""
    total = (csum & 0xFFFF) + (csum >> 16)
    return u16(total + (total >> 16))


@native(inline=True)
def csum_fold(csum: int) -> int:
    """csum_fold(): what goes into the packet."""
    return u16(~csum_fold16(csum))


@native
def csum_partial(data: int, length: int, csum: int) -> int:
    """csum_partial(): `csum` and the sum of `length` bytes; an odd one counts as if a zero followed."""
    total = csum
    at = 0
    while at + 4 <= length:
        total += load_u32(data + at)
        at += 4
    if at + 2 <= length:
        total += load_u16(data + at)
        if at + 2 < length:
            total += load_u8(data + at + 2) << 16
    elif at < length:
        total += load_u8(data + at)
    total = (total & 0xFFFFFFFF) + (total >> 32)
    return u32(total + (total >> 32))


@native
def replace_by_diff(at: int, diff: int) -> None:
    """csum_replace_by_diff(): patch the checksum at an address by a difference."""
    store_u16(at, csum_fold(csum_add(u32(diff), u32(~load_u16(at)))))


@native
def replace4(at: int, old: int, new: int) -> None:
    """csum_replace4(): patch the checksum for a 32-bit field that changed."""
    store_u16(at, csum_fold(csum_add(csum_sub(u32(~load_u16(at)), u32(old)), u32(new))))


@native
def replace2(at: int, old: int, new: int) -> None:
    """csum_replace2(): patch the checksum for a 16-bit field that changed, in 16 bits throughout."""
    total = u16(~load_u16(at)) + u16(~old)
    total = u16(total + (total >> 16)) + u16(new)
    store_u16(at, ~u16(total + (total >> 16)))


@native
def checksum_refusal(skb: int, offset: int) -> int:
    """What both csum_replace helpers check of the offset: 0 or -EFAULT."""
    if offset > 0xFFFF or offset & 1:
        return -errno.EFAULT
    if ensure_writable(skb, offset + 2):
        return -errno.EFAULT
    return 0


@native
def l3_csum_replace(machine: int, skb: int, offset: int, old: int, new: int, flags: int) -> int:
    """bpf_l3_csum_replace: patch the checksum at `offset`, 0 or -errno.

    `flags`: the size of the field, 2 or 4; 0: `new` is a difference that csum_diff gave.
    """
    if flags & ~BPF_F_HDR_FIELD_MASK:
        return -errno.EINVAL
    refusal = checksum_refusal(skb, u32(offset))
    if refusal:
        return refusal
    at = load_i64(skb + At.DATA_PTR) + u32(offset)
    if flags == 0:
        if old:
            return -errno.EINVAL
        replace_by_diff(at, new)
    elif flags == 2:
        replace2(at, old, new)
    elif flags == 4:
        replace4(at, old, new)
    else:
        return -errno.EINVAL
    return 0


@native
def replace_pseudo(skb: int, at: int, old: int, new: int) -> None:
    """inet_proto_csum_replace4() where a device will finish the checksum: only the pseudo header is in it."""
    store_u16(at, ~csum_fold(csum_add(csum_sub(load_u16(at), u32(old)), u32(new))))


@native
def l4_csum_replace(machine: int, skb: int, offset: int, old: int, new: int, flags: int) -> int:
    """bpf_l4_csum_replace: as l3_csum_replace, for TCP and UDP.  0 or -errno.

    BPF_F_PSEUDO_HDR: the field is of the pseudo header; BPF_F_MARK_MANGLED_0: a checksum of 0 stands for
    none (UDP), which stays so, and one that becomes 0 is written as 0xffff.
    """
    if flags & ~L4_FLAGS:
        return -errno.EINVAL
    refusal = checksum_refusal(skb, u32(offset))
    if refusal:
        return refusal
    at = load_i64(skb + At.DATA_PTR) + u32(offset)
    mangled = flags & BPF_F_MARK_MANGLED_0
    if mangled and not flags & BPF_F_MARK_ENFORCE and load_u16(at) == 0:
        return 0
    size = flags & BPF_F_HDR_FIELD_MASK
    if size not in (0, 2, 4) or (size == 0 and old != 0):
        return -errno.EINVAL
    if load_u32(skb + At.IP_SUMMED) == CHECKSUM_PARTIAL:
        if flags & BPF_F_PSEUDO_HDR:
            replace_pseudo(skb, at, u16(old) if size == 2 else old, u16(new) if size == 2 else new)
    elif size == 0:
        replace_by_diff(at, new)
    elif size == 2:
        replace4(at, u16(old), u16(new))
    else:
        replace4(at, old, new)
    if mangled and load_u16(at) == 0:
        store_u16(at, CSUM_MANGLED_0)
    return 0


@native
def csum_diff(machine: int, old: int, old_size: int, new: int, new_size: int, seed: int) -> int:
    """bpf_csum_diff: the sum of `new` less that of `old`, in 16 bits.  (Sizes need not be equal.)"""
    result = u32(seed)
    if not old:  # (the verifier takes what may be 0 with any size; a kernel would fault)
        old_size = 0
    if not new:
        new_size = 0
    if old_size and new_size:
        result = csum_sub(csum_partial(new, new_size, result), csum_partial(old, old_size, 0))
    elif new_size:
        result = csum_partial(new, new_size, result)
    elif old_size:
        result = u32(~csum_partial(old, old_size, u32(~result)))
    return csum_fold16(result)


@native
def csum_update(machine: int, skb: int, csum: int) -> int:
    """bpf_csum_update: add to the checksum that a device computed of the whole packet, if one did."""
    if load_u32(skb + At.IP_SUMMED) != CHECKSUM_COMPLETE:
        return -ENOTSUPP
    total = csum_add(load_u32(skb + At.CSUM), u32(csum))
    store_u32(skb + At.CSUM, total)
    return total


@native
def reset_checksum_unnecessary(skb: int) -> None:
    """__skb_reset_checksum_unnecessary()."""
    if load_u32(skb + At.IP_SUMMED) == CHECKSUM_UNNECESSARY:
        store_u32(skb + At.IP_SUMMED, CHECKSUM_NONE)
        store_u32(skb + At.CSUM_LEVEL, 0)


@native
def csum_level(machine: int, skb: int, level: int) -> int:
    """bpf_csum_level: how many checksums, from the outermost in, a device has found to be right."""
    unnecessary = load_u32(skb + At.IP_SUMMED) == CHECKSUM_UNNECESSARY
    now = load_u32(skb + At.CSUM_LEVEL)
    if level == BPF_CSUM_LEVEL_QUERY:
        return now if unnecessary else -errno.EACCES
    if level == BPF_CSUM_LEVEL_INC:
        if not unnecessary:
            if load_u32(skb + At.IP_SUMMED) == CHECKSUM_NONE:
                store_u32(skb + At.IP_SUMMED, CHECKSUM_UNNECESSARY)
                store_u32(skb + At.CSUM_LEVEL, 0)
        elif now < SKB_MAX_CSUM_LEVEL:
            store_u32(skb + At.CSUM_LEVEL, now + 1)
        return 0
    if level == BPF_CSUM_LEVEL_DEC:
        if unnecessary:
            if now == 0:
                store_u32(skb + At.IP_SUMMED, CHECKSUM_NONE)
            else:
                store_u32(skb + At.CSUM_LEVEL, now - 1)
        return 0
    if level == BPF_CSUM_LEVEL_RESET:
        reset_checksum_unnecessary(skb)
        return 0
    return -errno.EINVAL


BODIES: dict[str, Callable[..., int]] = {
    "l3_csum_replace": l3_csum_replace,
    "l4_csum_replace": l4_csum_replace,
    "csum_diff": csum_diff,
    "csum_update": csum_update,
    "csum_level": csum_level,
}
