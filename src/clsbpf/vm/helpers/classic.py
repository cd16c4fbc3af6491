"""What do the functions do that only classic programs call?  What a classic load computes.

Each takes the address of the NativeSkb first, then A and X (net/core/filter.c: bpf_convert_filter).
"""

from __future__ import annotations

from ..dissect import payload_offset
from ..native_skb import At
from ..subset import load_i64, load_u16, load_u32, native, store_u32, u32
from .clock import get_prandom_u32, get_smp_processor_id

NLA_HDRLEN = 4
NLA_TYPE_MASK = 0x3FFF


@native
def skb_get_pay_offset(skb: int) -> int:
    """bpf_skb_get_pay_offset: where the payload begins, 0 if the headers are not understood."""
    return payload_offset(skb)


@native
def find_attribute(data: int, at: int, room: int, kind: int) -> int:
    """`nla_find`: the offset of the first attribute of type `kind` in `room` bytes from `at` on, or 0."""
    while room >= NLA_HDRLEN:
        length = load_u16(data + at)
        if length < NLA_HDRLEN or length > room:
            return 0
        if load_u16(data + at + 2) & NLA_TYPE_MASK == kind:
            return at
        step = (length + 3) & ~3
        at += step
        room -= step
    return 0


@native
def attribute_room(skb: int, at: int) -> int:
    """The bytes from offset `at` on where an attribute header fits there, else 0.

    The kernel looks only into linear packets; one that was not wholly captured stands for one that is
    not linear, and what was not captured might have mattered.
    """
    length = load_u32(skb + At.LEN)
    if load_i64(skb + At.DATA_END_PTR) - load_i64(skb + At.DATA_PTR) < length:
        store_u32(skb + At.READ_PAST, 1)
        return 0
    if length < NLA_HDRLEN or at > length - NLA_HDRLEN:
        return 0
    return length - at


@native
def skb_get_nlattr(skb: int, a: int, x: int) -> int:
    """bpf_skb_get_nlattr: the offset of attribute `x` among those from offset `a` on, or 0."""
    at = u32(a)
    return find_attribute(load_i64(skb + At.DATA_PTR), at, attribute_room(skb, at), u32(x))


@native
def skb_get_nlattr_nest(skb: int, a: int, x: int) -> int:
    """bpf_skb_get_nlattr_nest: the offset of attribute `x` inside the attribute at offset `a`, or 0."""
    at = u32(a)
    room = attribute_room(skb, at)
    if room == 0:
        return 0
    data = load_i64(skb + At.DATA_PTR)
    length = load_u16(data + at)
    if length > room:
        return 0
    return find_attribute(data, at + NLA_HDRLEN, length - NLA_HDRLEN, u32(x))


@native
def get_raw_smp_processor_id(skb: int) -> int:
    """SKF_AD_CPU."""
    return get_smp_processor_id(load_i64(skb + At.ENVIRONMENT))


@native
def user_rnd_u32(skb: int) -> int:
    """SKF_AD_RANDOM."""
    return get_prandom_u32(load_i64(skb + At.ENVIRONMENT))


@native
def skb_get_hatype(skb: int) -> int:
    """SKF_AD_HATYPE: the ARPHRD_* type of the packet's device."""
    return load_u32(skb + At.HATYPE)
