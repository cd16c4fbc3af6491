"""What an ALU instruction does to what is known of numbers: adjust_scalar_min_max_vals and below.

`alu(op, a, b, is32)` maps two Ranges to the Range of the result.  Every bound is kept apart and only
`synced` at the end, as in the kernel, so the same programs are accepted; the known bits go through
`tnum`.  What the kernel does not follow (division, shifts by unknown amounts) is any number at all.

Results are remembered: Ranges are interned, and a program's paths meet the same operands again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from ..bpf.isa import Alu
from . import tnum
from .ranges import (
    S32_MAX,
    S32_MIN,
    S64_MAX,
    S64_MIN,
    UNKNOWN,
    ZERO,
    Range,
    const,
    from_tnum,
    s32,
    synced,
)
from .tnum import U32, U64

Part64 = tuple[int, int, int, int]
"""smin, smax, umin, umax"""
_OPEN64: Part64 = (S64_MIN, S64_MAX, 0, U64)
_OPEN32: Part64 = (S32_MIN, S32_MAX, 0, U32)


def _wide(r: Range) -> Part64:
    return r.smin, r.smax, r.umin, r.umax


def _low(r: Range) -> Part64:
    return r.s32_min, r.s32_max, r.u32_min, r.u32_max


_VIEWS = ((_wide, S64_MIN, S64_MAX, U64), (_low, S32_MIN, S32_MAX, U32))


def _add(a: Part64, b: Part64, least: int, most: int, full: int) -> Part64:
    smin, smax = a[0] + b[0], a[1] + b[1]
    if smin < least or smax > most or smin > most or smax < least:
        smin, smax = least, most
    umin, umax = a[2] + b[2], a[3] + b[3]
    if umin <= full < umax:
        umin, umax = 0, full
    return smin, smax, umin & full, umax & full


def _sub(a: Part64, b: Part64, least: int, most: int, full: int) -> Part64:
    smin, smax = a[0] - b[1], a[1] - b[0]
    if smin < least or smax > most or smin > most or smax < least:
        smin, smax = least, most
    umin, umax = a[2] - b[3], a[3] - b[2]
    if umin < 0 <= umax:
        umin, umax = 0, full
    return smin, smax, umin & full, umax & full


def _mul(a: Part64, b: Part64, least: int, most: int, full: int) -> Part64:
    umin, umax = a[2] * b[2], a[3] * b[3]
    if umax > full or umin > full:
        umin, umax = 0, full
    products = (a[0] * b[0], a[0] * b[1], a[1] * b[0], a[1] * b[1])
    smin, smax = min(products), max(products)
    if smin < least or smax > most:
        smin, smax = least, most
    return smin, smax, umin, umax


def _signed_of(umin: int, umax: int, least: int, most: int, full: int) -> tuple[int, int]:
    """The unsigned bounds, signed, where they do not cross the sign."""
    sign = -least
    low, high = (umin ^ sign) - sign, (umax ^ sign) - sign
    return (low, high) if low <= high else (least, most)


def _bitwise(op: int) -> Callable[[Range, Range], tuple[tnum.Tnum, Part64, Part64]]:
    def apply(a: Range, b: Range) -> tuple[tnum.Tnum, Part64, Part64]:
        bits = {Alu.AND: tnum.and_, Alu.OR: tnum.or_, Alu.XOR: tnum.xor}[Alu(op)](a.tnum, b.tnum)
        parts = []
        for view, least, most, full in _VIEWS:
            value, mask = bits[0] & full, bits[1] & full
            if not (a.mask | b.mask) & full:
                umin = umax = value
            elif op == Alu.AND:
                umin, umax = value, min(view(a)[3], view(b)[3])
            elif op == Alu.OR:
                umin, umax = max(view(a)[2], view(b)[2]), value | mask
            else:
                umin, umax = value, value | mask
            parts.append((*_signed_of(umin, umax, least, most, full), umin, umax))
        return bits, parts[0], parts[1]

    return apply


def _linear(
    bits: Callable[[tnum.Tnum, tnum.Tnum], tnum.Tnum],
    bounds: Callable[[Part64, Part64, int, int, int], Part64],
) -> Callable[[Range, Range], tuple[tnum.Tnum, Part64, Part64]]:
    def apply(a: Range, b: Range) -> tuple[tnum.Tnum, Part64, Part64]:
        return (
            bits(a.tnum, b.tnum),
            bounds(_wide(a), _wide(b), S64_MIN, S64_MAX, U64),
            bounds(_low(a), _low(b), S32_MIN, S32_MAX, U32),
        )

    return apply


_OPERATIONS: dict[int, Callable[[Range, Range], tuple[tnum.Tnum, Part64, Part64]]] = {
    Alu.ADD: _linear(tnum.add, _add),
    Alu.SUB: _linear(tnum.sub, _sub),
    Alu.MUL: _linear(tnum.mul, _mul),
    Alu.AND: _bitwise(Alu.AND),
    Alu.OR: _bitwise(Alu.OR),
    Alu.XOR: _bitwise(Alu.XOR),
}


def _from_low(bits: tnum.Tnum, low: Part64) -> Range:
    """zext_32_to_64: the upper half is 0, the lower as known."""
    smin32, smax32, umin32, umax32 = low
    wide = (smin32, smax32) if smin32 >= 0 and smax32 >= 0 else (0, U32)
    return synced((*tnum.subreg(bits), *wide, umin32, umax32, *low))


def _shifted64(op: int, a: Range, by: int) -> Range:
    bits: tnum.Tnum
    if op == Alu.LSH:
        smin, smax, umin, umax = _OPEN64
        if by == 32:
            smin, smax = a.s32_min << 32, a.s32_max << 32
        if a.umax <= 1 << 63 - by:
            umin, umax = a.umin << by, a.umax << by
        low = _shifted_low(a, by)
        bits = tnum.lshift(a.tnum, by)
        return synced((*bits, smin, smax, umin, min(umax, U64), *low))
    if op == Alu.RSH:
        bits = tnum.rshift(a.tnum, by)
        return synced((*bits, S64_MIN, S64_MAX, a.umin >> by, a.umax >> by, *_OPEN32))
    bits = tnum.arshift(a.tnum, by, 64)
    return synced((*bits, a.smin >> by, a.smax >> by, 0, U64, *_OPEN32))


def _shifted_low(a: Range, by: int) -> Part64:
    """__scalar32_min_max_lsh."""
    if by > 31 or a.u32_max > 1 << 31 - by:
        return _OPEN32
    return S32_MIN, S32_MAX, a.u32_min << by & U32, a.u32_max << by & U32


def _shifted32(op: int, a: Range, by: int) -> Range:
    sub = tnum.subreg(a.tnum)
    if op == Alu.LSH:
        return _from_low(tnum.lshift(sub, by), _refined_low(tnum.lshift(sub, by), _shifted_low(a, by)))
    if op == Alu.RSH:
        bits = tnum.rshift(sub, by)
        return _from_low(bits, _refined_low(bits, (S32_MIN, S32_MAX, a.u32_min >> by, a.u32_max >> by)))
    bits = tnum.arshift(sub, by, 32)
    return _from_low(bits, _refined_low(bits, (a.s32_min >> by, a.s32_max >> by, 0, U32)))


def _refined_low(bits: tnum.Tnum, low: Part64) -> Part64:
    """__update_reg32_bounds."""
    v, m = bits[0] & U32, bits[1] & U32
    return (
        max(low[0], s32(v | m & 1 << 31)),
        min(low[1], s32(v | m & S32_MAX)),
        max(low[2], v),
        min(low[3], v | m),
    )


@lru_cache(1 << 16)
def alu(op: int, a: Range, b: Range, is32: bool) -> Range:
    """The Range of `a op b`; of the lower halves, zero-extended, if `is32`."""
    operation = _OPERATIONS.get(op)
    if operation is not None:
        bits, wide, low = operation(a, b)
        if is32:
            return _from_low(bits, low)
        return synced((*bits, *wide, *low))
    if op in (Alu.LSH, Alu.RSH, Alu.ARSH):
        known = b.const32 if is32 else b.const
        if known is None or b.umax >= (32 if is32 else 64):
            return UNKNOWN
        return (_shifted32 if is32 else _shifted64)(op, a, known)
    if op == Alu.NEG:
        wide = _sub(_wide(ZERO), _wide(a), S64_MIN, S64_MAX, U64)
        low = _sub(_low(ZERO), _low(a), S32_MIN, S32_MAX, U32)
        bits = tnum.sub((0, 0), a.tnum)
        return _from_low(bits, low) if is32 else synced((*bits, *wide, *low))
    return UNKNOWN  # division, modulo, byte order


@lru_cache(1 << 14)
def byte_order(a: Range, bits: int, swaps: bool) -> Range:
    """scalar_byte_swap: the low 16, 32 or 64 bits, in the other order if it `swaps`; 0 above."""
    if bits < 64:
        a = truncated(a, bits // 8)
    if not swaps:
        return a
    size = bits // 8
    value, mask = (int.from_bytes(n.to_bytes(size, "little"), "big") for n in a.tnum)
    return from_tnum((value, mask))


@lru_cache(1 << 12)
def with_low_half(a: Range, low: int) -> Range:
    """__mark_reg32_known: the lower half is this number, the upper as it was."""
    bits = tnum.with_subreg(a.tnum, (low, 0))
    return synced((*bits, a.smin, a.smax, a.umin, a.umax, s32(low), s32(low), low, low))


@lru_cache(1 << 14)
def zero_extended(a: Range) -> Range:
    """The lower half alone: zext_32_to_64 and reg_bounds_sync."""
    return _from_low(a.tnum, _low(a))


@lru_cache(1 << 14)
def truncated(a: Range, size: int) -> Range:
    """coerce_reg_to_size: the low `size` bytes (1, 2, 4), zero-extended."""
    bits = size * 8
    keep = (1 << bits) - 1
    value, mask = a.value & keep, a.mask & keep
    if a.umin & ~keep == a.umax & ~keep:
        umin, umax = a.umin & keep, a.umax & keep
    else:
        umin, umax = 0, keep
    low = _low(a)
    if size < 4:  # the lower half is what the 64 bits say
        low = _OPEN32
    return synced((value, mask, umin, umax, umin, umax, *low))


@lru_cache(1 << 14)
def sign_extended(a: Range, size: int, is32: bool = False) -> Range:
    """coerce_reg_to_size_sx, coerce_subreg_to_size_sx: the low `size` bytes, sign-extended."""
    bits = size * 8
    if a.const is not None:
        sign = 1 << bits - 1
        number = (a.const & (sign << 1) - 1 ^ sign) - sign
        return const(number & U32 if is32 else number)
    least, most = -(1 << bits - 1), (1 << bits - 1) - 1
    if is32:
        top_max, top_min = a.u32_max >> bits, a.u32_min >> bits
        if top_max == top_min:
            one, other = _signed(a.u32_min, bits), _signed(a.u32_max, bits)
            if one <= other:
                bits_of = tnum.between(one & U32, other & U32)
                return _from_low(bits_of, (one, other, one & U32, other & U32))
        low = (least, most, 0, U32)
        return _from_low(tnum.UNKNOWN, low)
    if size < 8 and a.umin >> bits == a.umax >> bits:
        one, other = _signed(a.smin, bits), _signed(a.smax, bits)
        if one <= other and (one < 0) == (other < 0):
            bits_of = tnum.between(one & U64, other & U64)
            return synced((*bits_of, one, other, one & U64, other & U64, *_OPEN32))
    return synced((*tnum.UNKNOWN, least, most, 0, U64, max(least, S32_MIN), min(most, S32_MAX), 0, U32))


def _signed(number: int, bits: int) -> int:
    sign = 1 << bits - 1
    return (number & (sign << 1) - 1 ^ sign) - sign


@lru_cache(1 << 14)
def pointer_offset(op: int, a: Range, b: Range) -> Range:
    """The variable part of a pointer after `+=` or `-=`: as `alu`, but 64 bits only."""
    if op == Alu.ADD and a is ZERO:
        return from_pointer(b)
    bits = (tnum.add if op == Alu.ADD else tnum.sub)(a.tnum, b.tnum)
    wide = (_add if op == Alu.ADD else _sub)(_wide(a), _wide(b), S64_MIN, S64_MAX, U64)
    return synced((*bits, *wide, *_OPEN32))


def from_pointer(b: Range) -> Range:
    """0 + b."""
    return synced((b.value, b.mask, b.smin, b.smax, b.umin, b.umax, *_OPEN32))
