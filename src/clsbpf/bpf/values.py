"""What does a register of a classic program hold, as a function of the packet?

A classic program only ever computes with what it loaded.  So the content of A, X or a word of M[] at
some instruction of some path can be written down: bytes of the packet, a field of its metadata, its
length, or arithmetic on these.  That is a `Value`, a small tree; equal trees are equal numbers, for
every packet, in one run of the program.

    ldh [12]                      Load(12, 2)
    ldxb 4*([14]&0xf)             Binary(LSH, Binary(AND, Load(14, 1), 15), 2)          call it X
    ldh [x + 16]                  Load(16, 2, index=X)
    ld #pkttype; and #7           Binary(AND, Metadata(PKTTYPE), 7)

`binary` makes arithmetic nodes and folds what is constant, so that one meaning mostly has one tree.  All
numbers are 32 bits and unsigned, as the registers are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .classic import U32, Ancillary
from .isa import Alu


@dataclass(frozen=True, slots=True)
class Constant:
    """The same number for every packet."""

    value: int
    weight: int = field(default=1, init=False, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Load:
    """`size` (1, 2, 4) bytes of the packet, big endian, at `offset` plus `index`, modulo 2**32.

    Offsets from 2**31 on count from a header (SKF_NET_OFF, SKF_LL_OFF), as
    bpf_skb_load_helper_convert_offset has it.  The bytes may not be there: then the program ended with 0
    when it loaded them, so the value is only spoken of where they are.
    """

    offset: int
    size: int
    index: Value | None = None
    weight: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", 1 + (self.index.weight if self.index else 0))

    @property
    def end(self) -> int | None:
        """How many bytes from `data` on must be there, if that is the same for every packet."""
        return self.offset + self.size if self.index is None and self.offset <= U32 >> 1 else None


@dataclass(frozen=True, slots=True)
class Metadata:
    """An ancillary load: a field of the skb, or what a helper finds.

    `a` and `x` are what the registers held, where the value depends on them (NLATTR, NLATTR_NEST).
    `nth` tells random numbers apart: it is how many a run drew before this one.
    """

    what: Ancillary
    a: Value | None = None
    x: Value | None = None
    nth: int = 0
    weight: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        below = sum(each.weight for each in (self.a, self.x) if each is not None)
        object.__setattr__(self, "weight", 1 + below)


@dataclass(frozen=True, slots=True)
class Length:
    """`ld #len`: the packet's length on the wire."""

    weight: int = field(default=1, init=False, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Binary:
    """`left op right`.

    Where a divisor is 0 the program ended with 0, so its path says that it is not.  Whoever evaluates the
    parts of a path in any order must be ready for it all the same: any result will do (here: 0).
    """

    op: Alu
    left: Value
    right: Value
    weight: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", 1 + self.left.weight + self.right.weight)


@dataclass(frozen=True, slots=True)
class Greater:
    """1 where `left` is greater than `right`, else 0: a comparison of two unknowns."""

    left: Value
    right: Value
    weight: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", 1 + self.left.weight + self.right.weight)


Value = Constant | Load | Metadata | Length | Binary | Greater

ZERO = Constant(0)

OPERATIONS: dict[Alu, Callable[[int, int], int]] = {
    Alu.ADD: lambda left, right: left + right & U32,
    Alu.SUB: lambda left, right: left - right & U32,
    Alu.MUL: lambda left, right: left * right & U32,
    Alu.DIV: lambda left, right: left // right if right else 0,
    Alu.MOD: lambda left, right: left % right if right else 0,
    Alu.OR: lambda left, right: left | right,
    Alu.AND: lambda left, right: left & right,
    Alu.XOR: lambda left, right: left ^ right,
    Alu.LSH: lambda left, right: left << (right & 31) & U32,
    Alu.RSH: lambda left, right: left >> (right & 31),
}
"""What `Binary.op` computes: two 32-bit numbers to one."""

_NEUTRAL_RIGHT = {
    **dict.fromkeys((Alu.ADD, Alu.SUB, Alu.OR, Alu.XOR, Alu.LSH, Alu.RSH), 0),
    **dict.fromkeys((Alu.MUL, Alu.DIV), 1),
}
_COMMUTE = (Alu.ADD, Alu.MUL, Alu.OR, Alu.AND, Alu.XOR)
_ASSOCIATIVE: dict[Alu, Alu] = {op: op for op in (Alu.ADD, Alu.MUL, Alu.OR, Alu.AND, Alu.XOR)}
"""(v op a) op b is v op (a op b)."""


def binary(op: Alu, left: Value, right: Value) -> Value:
    """`left op right`, folded."""
    if isinstance(left, Constant) and isinstance(right, Constant):
        return Constant(OPERATIONS[op](left.value, right.value))
    if op in _COMMUTE and isinstance(left, Constant):
        left, right = right, left
    if not isinstance(right, Constant):
        return Binary(op, left, right)
    if op is Alu.SUB:
        op, right = Alu.ADD, Constant(-right.value & U32)
    number = right.value
    if _NEUTRAL_RIGHT.get(op) == number:
        return left
    if op is Alu.AND:
        covered = _bits(maximum(left))
        if number & covered == covered:
            return left
        if number & covered == 0:
            return ZERO
    if op in _ASSOCIATIVE and isinstance(left, Binary) and left.op == op and isinstance(left.right, Constant):
        return binary(op, left.left, Constant(OPERATIONS[op](left.right.value, number)))
    return Binary(op, left, right)


def load(offset: int, size: int, index: Value | None = None) -> Load:
    """The packet's bytes at `index` + `offset`; what of the index is constant goes into the offset."""
    if isinstance(index, Constant):
        return Load(offset + index.value & U32, size)
    if isinstance(index, Binary) and index.op is Alu.ADD and isinstance(index.right, Constant):
        return Load(offset + index.right.value & U32, size, index.left)
    return Load(offset, size, index)


def header_length(offset: int) -> Value:
    """`ldxb 4*([k]&0xf)`: the length of the IPv4 header at `offset`."""
    return binary(Alu.LSH, binary(Alu.AND, Load(offset, 1), Constant(0xF)), Constant(2))


_SIXTEEN_BITS = (Ancillary.PROTOCOL, Ancillary.VLAN_TPID)
"""Metadata that is swapped as 16 bits.  Nothing else is known of metadata: a caller may set it freely."""


def maximum(value: Value) -> int:
    """A number that the value never exceeds."""
    match value:
        case Constant(number):
            return number
        case Load():
            return (1 << 8 * value.size) - 1
        case Metadata():
            return 0xFFFF if value.what in _SIXTEEN_BITS else U32
        case Greater():
            return 1
        case Binary(Alu.AND, left, right):
            return min(maximum(left), maximum(right))
        case Binary(Alu.OR | Alu.XOR, left, right):
            return _bits(maximum(left) | maximum(right))
        case Binary(Alu.ADD, left, right):
            return _unless_over(maximum(left) + maximum(right))
        case Binary(Alu.MUL, left, right):
            return _unless_over(maximum(left) * maximum(right))
        case Binary(Alu.LSH, left, Constant(number)):
            return _unless_over(maximum(left) << (number & 31))
        case Binary(Alu.RSH, left, Constant(number)):
            return maximum(left) >> (number & 31)
        case Binary(Alu.DIV, left, Constant(number)):
            return maximum(left) // number
        case Binary(Alu.MOD, left, Constant(number)):
            return min(maximum(left), number - 1)
        case Binary(Alu.DIV | Alu.MOD | Alu.RSH, left, _):
            return maximum(left)
        case _:
            return U32


def loads_in(value: Value) -> list[Load]:
    """The loads that the value is made of, the ones in indexes too."""
    match value:
        case Load():
            return [value] if value.index is None else [value, *loads_in(value.index)]
        case Metadata(a=a, x=x):
            return [each for part in (a, x) if part is not None for each in loads_in(part)]
        case Binary(_, left, right) | Greater(left, right):
            return [*loads_in(left), *loads_in(right)]
        case _:
            return []


def _bits(number: int) -> int:
    """All ones, as many as the number has digits."""
    return (1 << number.bit_length()) - 1


def _unless_over(number: int) -> int:
    return number if number <= U32 else U32
