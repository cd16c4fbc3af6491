"""What does arithmetic do to numbers of 32 and 64 bits?  As tables, for the interpreter to read.

Registers are unsigned; each operation gets its operands already narrowed to `bits` bits, or narrows what
it must, and whoever calls it narrows the result.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

from ..bpf.isa import Alu, Atomic, Jmp

U64 = 0xFFFFFFFFFFFFFFFF


def signed(value: int, bits: int) -> int:
    """The low `bits` bits as a signed number."""
    sign = 1 << bits - 1
    return (value & (sign << 1) - 1 ^ sign) - sign


def unsigned(value: int, bits: int) -> int:
    """The low `bits` bits as an unsigned number."""
    return value & (1 << bits) - 1


def byte_swap(value: int, bits: int) -> int:
    """The low `bits` bits with their bytes in the other order."""
    return int.from_bytes(unsigned(value, bits).to_bytes(bits // 8, "little"), "big")


def truncating_divide(dividend: int, divisor: int) -> int:
    """C's signed division: the quotient rounds towards zero."""
    quotient = abs(dividend) // abs(divisor)
    return quotient if (dividend < 0) == (divisor < 0) else -quotient


ARITHMETIC: dict[int, Callable[[int, int, int], int]] = {
    Alu.ADD: lambda dst, src, bits: dst + src,
    Alu.SUB: lambda dst, src, bits: dst - src,
    Alu.MUL: lambda dst, src, bits: dst * src,
    Alu.OR: lambda dst, src, bits: dst | src,
    Alu.AND: lambda dst, src, bits: dst & src,
    Alu.XOR: lambda dst, src, bits: dst ^ src,
    Alu.LSH: lambda dst, src, bits: dst << (src & bits - 1),
    Alu.RSH: lambda dst, src, bits: unsigned(dst, bits) >> (src & bits - 1),
    Alu.ARSH: lambda dst, src, bits: signed(dst, bits) >> (src & bits - 1),
}
"""What each operation does to (dst, src); division is apart."""

COMPARE: dict[int, Callable[[int, int], bool]] = {
    Jmp.JEQ: operator.eq,
    Jmp.JNE: operator.ne,
    Jmp.JGT: operator.gt,
    Jmp.JGE: operator.ge,
    Jmp.JLT: operator.lt,
    Jmp.JLE: operator.le,
    Jmp.JSET: lambda a, b: a & b != 0,
}
SIGNED_COMPARE: dict[int, Callable[[int, int], bool]] = {
    Jmp.JSGT: operator.gt,
    Jmp.JSGE: operator.ge,
    Jmp.JSLT: operator.lt,
    Jmp.JSLE: operator.le,
}
ATOMIC: dict[int, Callable[[int, int], int]] = {
    Atomic.ADD: operator.add,
    Atomic.OR: operator.or_,
    Atomic.AND: operator.and_,
    Atomic.XOR: operator.xor,
}
