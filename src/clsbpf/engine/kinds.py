"""Which filters need not be tried on a packet of this kind?

A program that begins with `ip proto 6` is not worth the call for an ARP packet.  Its paths (bpf/paths.py)
say so beforehand: none of them holds where the frame's type is ARP's.  So frames are told apart by the
three fields that most programs begin with, into a few *kinds*, each a bit; every filter has a mask of the
kinds that it may match, and where the packet's bit is not in it, it is passed over.  That costs two
instructions, and saves a wrong guess of the processor.

A packet that is too short for those fields, or so much cut by the capture that a program might have said
so, has all bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..bpf.classic import CheckedClassic
from ..bpf.conditions import Test
from ..bpf.isa import Jmp
from ..bpf.paths import TooMany, paths
from ..bpf.values import Load, Value
from ..link import LinkLayer
from ..profile import KernelProfile
from .planned import PlannedFilter
from .reach import can_wait, reach_of

MIN_FILTERS = 6
"""Fewer are tried as they are."""
MAX_PATHS = 64
TYPE, IPV4_PROTOCOL, IPV6_PROTOCOL = Load(12, 2), Load(23, 1), Load(20, 1)
KIND_FIELDS = {TYPE, IPV4_PROTOCOL, IPV6_PROTOCOL}
NEEDS = 24
"""Bytes that must be there to know the kind."""
IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806
TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58


@dataclass(frozen=True, slots=True)
class Kind:
    """What is known of a packet: fields that are a number, and fields that are none of several."""

    fields: Mapping[Value, int]
    others: Mapping[Value, frozenset[int]]

    def may(self, test: Test) -> bool:
        """May the test come out as a path needs it?"""
        known = self.fields.get(test.value)
        if known is not None:
            return test.accepts(known)
        excluded = self.others.get(test.value)
        return excluded is None or not (test.op is Jmp.JEQ and test.holds and test.constant in excluded)


def _of(kind: int, field: Value, numbers: Sequence[int]) -> Iterator[Kind]:
    for number in numbers:
        yield Kind({TYPE: kind, field: number}, {})
    yield Kind({TYPE: kind}, {field: frozenset(numbers)})


_IPV4 = (TCP, UDP, ICMP)
_IPV6 = (TCP, UDP, ICMPV6)
KINDS = (
    *_of(IPV4, IPV4_PROTOCOL, _IPV4),
    *_of(IPV6, IPV6_PROTOCOL, _IPV6),
    Kind({TYPE: ARP}, {}),
    Kind({}, {TYPE: frozenset((IPV4, IPV6, ARP))}),
)
ALL = (1 << len(KINDS)) - 1


@dataclass(frozen=True, slots=True)
class Kinds:
    """The masks of filters, by number (none: ALL), and how far those look that may be passed over."""

    masks: Mapping[int, int]
    reach: int | None

    def lines(self) -> Iterator[str]:
        """IR inside `classify`: %kind, an i32 with the packet's bit."""
        reach = 0x7FFFFFFF if self.reach is None else self.reach
        yield f"%kind.needed = call i64 @llvm.umin.i64(i64 %length, i64 {reach})"
        yield f"%kind.least = call i64 @llvm.umax.i64(i64 %kind.needed, i64 {NEEDS})"
        yield "%kind.blind = icmp ult i64 %captured, %kind.least"
        for name, offset, bits in (("type", 12, 16), ("four", 23, 8), ("six", 20, 8)):
            yield f"%kind.{name}.int = add i64 %data, {offset}"
            yield f"%kind.{name}.at = inttoptr i64 %kind.{name}.int to ptr"
            yield f"%kind.{name} = load i{bits}, ptr %kind.{name}.at, align 1"
        yield from _select("v4", "i8 %kind.four", _IPV4, first=0)
        yield from _select("v6", "i8 %kind.six", _IPV6, first=len(_IPV4) + 1)
        bit = len(_IPV4) + len(_IPV6) + 2
        result = str(1 << bit + 1)
        for number, value in ((ARP, str(1 << bit)), (IPV6, "%kind.v6"), (IPV4, "%kind.v4")):
            swapped = int.from_bytes(number.to_bytes(2, "big"), "little")
            yield f"%kind.is.{number} = icmp eq i16 %kind.type, {swapped}"
            yield f"%kind.type.{number} = select i1 %kind.is.{number}, i32 {value}, i32 {result}"
            result = f"%kind.type.{number}"
        yield f"%kind = select i1 %kind.blind, i32 {ALL}, i32 {result}"


DECLARES = ("declare i64 @llvm.umin.i64(i64, i64)", "declare i64 @llvm.umax.i64(i64, i64)")


def _select(name: str, value: str, numbers: Sequence[int], *, first: int) -> Iterator[str]:
    """%kind.name: the bit of a protocol, the one after the last where it is none of them."""
    result = str(1 << first + len(numbers))
    for place, number in enumerate(numbers):
        yield f"%kind.{name}.is.{number} = icmp eq {value}, {number}"
        last = place + 1 == len(numbers)
        to = f"%kind.{name}" if last else f"%kind.{name}.{number}"
        yield f"{to} = select i1 %kind.{name}.is.{number}, i32 {1 << first + place}, i32 {result}"
        result = to


def kinds_of(
    filters: Sequence[tuple[int, PlannedFilter]], link: LinkLayer, profile: KernelProfile
) -> Kinds | None:
    """The masks of the filters, by their numbers; None where they would not help."""
    if len(filters) < MIN_FILTERS or not link.is_ethernet:
        return None
    masks: dict[int, int] = {}
    passed_over: list[CheckedClassic] = []
    known: dict[CheckedClassic, int] = {}
    for number, planned in filters:
        program = planned.classic
        if program is None or not can_wait(planned):
            continue
        if program not in known:
            known[program] = mask_of(program, profile)
        if known[program] != ALL:
            masks[number] = known[program]
            passed_over.append(program)
    if len(masks) * 2 < len(filters):
        return None
    return Kinds(masks, reach_of(passed_over))


def mask_of(program: CheckedClassic, profile: KernelProfile) -> int:
    """The kinds of packets that a program may match."""
    found = paths(program, profile, MAX_PATHS)
    if isinstance(found, TooMany):
        return ALL
    return sum(
        1 << bit
        for bit, kind in enumerate(KINDS)
        if any(all(kind.may(test) for test in path.tests) for path in found)
    )
