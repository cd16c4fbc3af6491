"""What do the functions do that a program calls?  Bodies, by helper number.

One definition each, in the subset of Python that also compiles (vm/subset.py): the interpreter calls
it as Python, lowered code calls its machine code.  Every body takes the address of the NativeSkb
first, then the program's arguments that it needs, and returns what becomes r0.

The prototypes (who may call what) are in bpf/helpers.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..bpf import helpers as number
from ..bpf.isa import R2, R3
from .dissect import payload_offset
from .environment import EnvironmentAt
from .native_skb import At
from .subset import load_i64, load_u16, load_u32, native, shift_right, store_i64, store_u32, u32, wrap

NLA_HDRLEN = 4
NLA_TYPE_MASK = 0x3FFF

SPLITMIX_STEP = 0x9E3779B97F4A7C15
SPLITMIX_A = 0xBF58476D1CE4E5B9
SPLITMIX_B = 0x94D049BB133111EB


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
def get_smp_processor_id(skb: int) -> int:
    """bpf_get_smp_processor_id and SKF_AD_CPU."""
    return load_i64(load_i64(skb + At.ENVIRONMENT) + EnvironmentAt.CPU)


@native
def get_prandom_u32(skb: int) -> int:
    """bpf_get_prandom_u32 and SKF_AD_RANDOM: the upper half of SplitMix64's next number."""
    state = load_i64(skb + At.ENVIRONMENT) + EnvironmentAt.RANDOM
    z = wrap(load_i64(state) + SPLITMIX_STEP)
    store_i64(state, z)
    z = wrap((z ^ shift_right(z, 30)) * SPLITMIX_A)
    z = wrap((z ^ shift_right(z, 27)) * SPLITMIX_B)
    return shift_right(z ^ shift_right(z, 31), 32)


@native
def ktime_get_ns(skb: int) -> int:
    """bpf_ktime_get_ns: the run's clock."""
    return load_i64(load_i64(skb + At.ENVIRONMENT) + EnvironmentAt.KTIME_NS)


@native
def skb_get_hatype(skb: int) -> int:
    """SKF_AD_HATYPE: the ARPHRD_* type of the packet's device."""
    return load_u32(skb + At.HATYPE)


@dataclass(frozen=True, slots=True)
class HelperBody:
    """A body and the registers whose values it takes after the NativeSkb's address."""

    function: Callable[..., int]
    registers: tuple[int, ...] = ()


BODIES: dict[int, HelperBody] = {
    number.PAY_OFFSET: HelperBody(skb_get_pay_offset),
    number.NLATTR: HelperBody(skb_get_nlattr, (R2, R3)),
    number.NLATTR_NEST: HelperBody(skb_get_nlattr_nest, (R2, R3)),
    number.CPU: HelperBody(get_smp_processor_id),
    number.RANDOM: HelperBody(get_prandom_u32),
    number.HATYPE: HelperBody(skb_get_hatype),
    number.BY_NAME["ktime_get_ns"].number: HelperBody(ktime_get_ns),
    number.BY_NAME["get_prandom_u32"].number: HelperBody(get_prandom_u32),
    number.BY_NAME["get_smp_processor_id"].number: HelperBody(get_smp_processor_id),
}
"""The helpers that there are, by number."""
