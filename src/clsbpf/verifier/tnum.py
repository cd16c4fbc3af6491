"""Which bits of a number are known?  struct tnum of kernel/bpf/tnum.c: a pair (value, mask).

A bit set in `mask` is unknown; a bit clear there is as in `value`.  The two never share a bit.  So
(0, 0) is the number 0, (0, 2**64 - 1) is any number, and (4, 3) is one of 4, 5, 6, 7.  Every function
here is sound (the result admits all that the operation can give) and mirrors the kernel's of the same
name, bit for bit: what a program may do with a number depends on what the verifier knows of it.
"""

from __future__ import annotations

Tnum = tuple[int, int]

U64 = 0xFFFFFFFFFFFFFFFF
U32 = 0xFFFFFFFF
UNKNOWN: Tnum = (0, U64)


def const(value: int) -> Tnum:
    """TNUM(value, 0)."""
    return value & U64, 0


def between(low: int, high: int) -> Tnum:
    """tnum_range: what all numbers from `low` to `high` (unsigned) have in common."""
    bits = (low ^ high).bit_length()
    if bits > 63:
        return UNKNOWN
    delta = (1 << bits) - 1
    return low & ~delta, delta


def add(a: Tnum, b: Tnum) -> Tnum:
    """tnum_add."""
    sm = a[1] + b[1]
    sv = a[0] + b[0]
    chi = (sm + sv) ^ sv
    mu = (chi | a[1] | b[1]) & U64
    return sv & ~mu & U64, mu


def sub(a: Tnum, b: Tnum) -> Tnum:
    """tnum_sub."""
    dv = a[0] - b[0]
    alpha = dv + a[1]
    beta = dv - b[1]
    mu = ((alpha ^ beta) | a[1] | b[1]) & U64
    return dv & ~mu & U64, mu


def and_(a: Tnum, b: Tnum) -> Tnum:
    """tnum_and."""
    v = a[0] & b[0]
    return v, (a[0] | a[1]) & (b[0] | b[1]) & ~v


def or_(a: Tnum, b: Tnum) -> Tnum:
    """tnum_or."""
    v = a[0] | b[0]
    return v, (a[1] | b[1]) & ~v


def xor(a: Tnum, b: Tnum) -> Tnum:
    """tnum_xor."""
    mu = a[1] | b[1]
    return (a[0] ^ b[0]) & ~mu, mu


def union(a: Tnum, b: Tnum) -> Tnum:
    """tnum_union: admits what either admits."""
    mu = (a[0] ^ b[0]) | a[1] | b[1]
    return a[0] & b[0] & ~mu, mu


def mul(a: Tnum, b: Tnum) -> Tnum:
    """tnum_mul: long multiplication; an unknown bit of `a` may or may not add its partial product."""
    acc = (0, 0)
    av, am = a
    while av or am:
        if av & 1:
            acc = add(acc, b)
        elif am & 1:
            acc = union(acc, add(acc, b))
        av >>= 1
        am >>= 1
        b = (b[0] << 1 & U64, b[1] << 1 & U64)
    return acc


def step(t: Tnum, number: int) -> int:
    """tnum_step: the least number above `number` that `t` admits; its greatest, where there is none."""
    value, mask = t
    if number >= value | mask:
        return value | mask
    if number < value:
        return value
    wrong = (number ^ value) & ~mask & U64
    if not wrong:
        return value | (((number | ~mask) + 1) & mask)
    top = 1 << wrong.bit_length() - 1
    if value & top:
        return value | number & mask & ~(top - 1)
    low = (top << 1) - 1
    return value | (((number & mask | ~mask | low) + 1) & mask)


def lshift(a: Tnum, shift: int) -> Tnum:
    """tnum_lshift."""
    return a[0] << shift & U64, a[1] << shift & U64


def rshift(a: Tnum, shift: int) -> Tnum:
    """tnum_rshift."""
    return a[0] >> shift, a[1] >> shift


def arshift(a: Tnum, shift: int, bits: int) -> Tnum:
    """tnum_arshift, of a number of `bits` bits (32 or 64)."""
    sign = 1 << bits - 1
    full = (sign << 1) - 1
    value = ((a[0] & full ^ sign) - sign) >> shift
    mask = ((a[1] & full ^ sign) - sign) >> shift
    return value & full, mask & full


def intersect(a: Tnum, b: Tnum) -> Tnum:
    """tnum_intersect: both are known to hold of the same number."""
    v = a[0] | b[0]
    mu = a[1] & b[1]
    return v & ~mu, mu


def overlap(a: Tnum, b: Tnum) -> bool:
    """tnum_overlap: is there a number that both admit?"""
    known = ~a[1] & ~b[1]
    return not (a[0] ^ b[0]) & known


def subreg(a: Tnum) -> Tnum:
    """tnum_subreg: the lower half, the upper being 0."""
    return a[0] & U32, a[1] & U32


def with_subreg(a: Tnum, low: Tnum) -> Tnum:
    """tnum_with_subreg: the upper half of `a`, the lower of `low`."""
    return a[0] & ~U32 | low[0] & U32, a[1] & ~U32 | low[1] & U32


def within(a: Tnum, b: Tnum) -> bool:
    """tnum_in: does `a` admit all that `b` admits?"""
    if b[1] & ~a[1]:
        return False
    return a[0] == b[0] & ~a[1]


def aligned(a: Tnum, size: int) -> bool:
    """tnum_is_aligned: is it surely a multiple of `size`?"""
    return not (a[0] | a[1]) & (size - 1)


def text(a: Tnum) -> str:
    """tnum_strn: `(0x0; 0xff)`, or the number where it is one."""
    if not a[1]:
        return str(a[0]) if a[0] <= 0xFFFF else f"{a[0]:#x}"
    return f"({a[0]:#x}; {a[1]:#x})"
