"""What is known of a number: its bits and, seen four ways, its least and greatest value.

A register holds 64 bits.  Taken as unsigned or signed, whole or the lower half alone, they lie between
two bounds each; and some bits are known (`tnum`).  Each view can sharpen the others: a number from 0 to
255 has 56 known bits; a number whose top bit is known to be 0 is the same signed and unsigned.
`synced` lets them sharpen each other, as `reg_bounds_sync` does.

A `Range` is a value and is interned: the same knowledge is the same object.  So comparing is comparing
identities, and the results of arithmetic on ranges are remembered by their operands (`arithmetic`).
"""

from __future__ import annotations

from weakref import WeakValueDictionary

from . import tnum
from .tnum import U32, U64, Tnum

S64_MIN, S64_MAX = -(1 << 63), (1 << 63) - 1
S32_MIN, S32_MAX = -(1 << 31), (1 << 31) - 1


def s64(value: int) -> int:
    """The low 64 bits as a signed number."""
    return (value & U64 ^ 1 << 63) - (1 << 63)


def s32(value: int) -> int:
    """The low 32 bits as a signed number."""
    return (value & U32 ^ 1 << 31) - (1 << 31)


Bounds = tuple[int, int, int, int, int, int, int, int, int, int]
"""value, mask, smin, smax, umin, umax, s32_min, s32_max, u32_min, u32_max"""


class Range:
    """The numeric part of struct bpf_reg_state: `value` and `mask` (var_off), and the eight bounds.

    `const` is the number (unsigned) when there is only one, else None.  Never changed once made.
    """

    __slots__ = (
        "__weakref__",
        "const",
        "mask",
        "s32_max",
        "s32_min",
        "smax",
        "smin",
        "u32_max",
        "u32_min",
        "umax",
        "umin",
        "value",
    )

    value: int
    mask: int
    smin: int
    smax: int
    umin: int
    umax: int
    s32_min: int
    s32_max: int
    u32_min: int
    u32_max: int
    const: int | None

    @property
    def bounds(self) -> Bounds:
        """All ten numbers, in the order of `Bounds`."""
        return (
            self.value,
            self.mask,
            self.smin,
            self.smax,
            self.umin,
            self.umax,
            self.s32_min,
            self.s32_max,
            self.u32_min,
            self.u32_max,
        )

    @property
    def tnum(self) -> Tnum:
        """The known bits."""
        return self.value, self.mask

    @property
    def const32(self) -> int | None:
        """The lower half (unsigned), when it is known."""
        return self.value & U32 if not self.mask & U32 else None

    def __repr__(self) -> str:
        return f"Range{self.bounds}"

    def admits(self, number: int) -> bool:
        """May the register hold this (unsigned 64-bit) number?"""
        low = number & U32
        return (
            not (number ^ self.value) & ~self.mask & U64
            and self.umin <= number <= self.umax
            and self.smin <= s64(number) <= self.smax
            and self.u32_min <= low <= self.u32_max
            and self.s32_min <= s32(low) <= self.s32_max
        )

    def includes(self, other: Range) -> bool:
        """range_within and tnum_in: is all that `other` admits admitted here?"""
        return self is other or (
            self.umin <= other.umin
            and other.umax <= self.umax
            and self.smin <= other.smin
            and other.smax <= self.smax
            and self.u32_min <= other.u32_min
            and other.u32_max <= self.u32_max
            and self.s32_min <= other.s32_min
            and other.s32_max <= self.s32_max
            and tnum.within((self.value, self.mask), (other.value, other.mask))
        )


_interned: WeakValueDictionary[Bounds, Range] = WeakValueDictionary()


def make(bounds: Bounds) -> Range:
    """The Range with these bounds, taken as they are."""
    found = _interned.get(bounds)
    if found is not None:
        return found
    new = Range()
    (
        new.value,
        new.mask,
        new.smin,
        new.smax,
        new.umin,
        new.umax,
        new.s32_min,
        new.s32_max,
        new.u32_min,
        new.u32_max,
    ) = bounds
    new.const = None if new.mask else new.value
    _interned[bounds] = new
    return new


def const(number: int) -> Range:
    """__mark_reg_known: this number (taken modulo 2**64)."""
    number &= U64
    signed = (number ^ 1 << 63) - (1 << 63)
    low = number & U32
    low_signed = (low ^ 1 << 31) - (1 << 31)
    return make((number, 0, signed, signed, number, number, low_signed, low_signed, low, low))


UNKNOWN = make((0, U64, S64_MIN, S64_MAX, 0, U64, S32_MIN, S32_MAX, 0, U32))
ZERO = const(0)


def synced(bounds: Bounds) -> Range:
    """reg_bounds_sync: the Range after each part has sharpened the others."""
    v, m, smin, smax, umin, umax, s32_min, s32_max, u32_min, u32_max = bounds
    if not m:
        low = v & U32
        if (
            umin <= v <= umax
            and smin <= s64(v) <= smax
            and u32_min <= low <= u32_max
            and s32_min <= s32(low) <= s32_max
        ):
            return const(v)

    def from_bits() -> None:
        """__update_reg_bounds."""
        nonlocal v, m, smin, smax, umin, umax, s32_min, s32_max, u32_min, u32_max
        low_v, low_m = v & U32, m & U32
        s32_min = max(s32_min, s32(low_v | low_m & 1 << 31))
        s32_max = min(s32_max, s32(low_v | low_m & S32_MAX))
        u32_min = max(u32_min, low_v)
        u32_max = min(u32_max, low_v | low_m)
        smin = max(smin, s64(v | m & 1 << 63))
        smax = min(smax, s64(v | m & S64_MAX))
        umin = max(umin, v)
        umax = min(umax, v | m)
        if v & U64 == 0 and m == U64:
            return
        # do the range and the bits have only one number in common?
        following = tnum.step((v, m), umin)
        there = umin & ~m & U64 == v
        if there and following > umax:
            known = umin
        elif not there and (following == v | m or following <= umax < tnum.step((v, m), following)):
            known = following
        else:
            return
        v, m = known, 0
        umin = umax = known
        smin = smax = s64(known)
        u32_min = u32_max = known & U32
        s32_min = s32_max = s32(known)

    from_bits()
    for _ in range(3):
        before = (smin, smax, umin, umax, s32_min, s32_max, u32_min, u32_max)
        # __reg32_deduce_bounds
        if umin >> 32 == umax >> 32:
            u32_min = max(u32_min, umin & U32)
            u32_max = min(u32_max, umax & U32)
            if s32(umin) <= s32(umax):
                s32_min = max(s32_min, s32(umin))
                s32_max = min(s32_max, s32(umax))
        if smin >> 32 == smax >> 32:
            if smin & U32 <= smax & U32:
                u32_min = max(u32_min, smin & U32)
                u32_max = min(u32_max, smax & U32)
            if s32(smin) <= s32(smax):
                s32_min = max(s32_min, s32(smin))
                s32_max = min(s32_max, s32(smax))
        if (umin >> 32) + 1 & U32 == umax >> 32 and s32(umin) < 0 <= s32(umax):
            s32_min = max(s32_min, s32(umin))
            s32_max = min(s32_max, s32(umax))
        if (smin >> 32) + 1 & U32 == smax >> 32 & U32 and s32(smin) < 0 <= s32(smax):
            s32_min = max(s32_min, s32(smin))
            s32_max = min(s32_max, s32(smax))
        if s32(u32_min) <= s32(u32_max):
            s32_min = max(s32(u32_min), s32_min)
            s32_max = min(s32(u32_max), s32_max)
        if s32_min & U32 <= s32_max & U32:
            u32_min = max(s32_min & U32, u32_min)
            u32_max = min(s32_max & U32, u32_max)
        elif u32_max < s32_min & U32:
            s32_min = s32(u32_min)
            u32_max = min(u32_max, s32_max & U32)
        elif s32_max & U32 < u32_min:
            s32_max = s32(u32_max)
            u32_min = max(u32_min, s32_min & U32)
        # __reg64_deduce_bounds
        if s64(umin) <= s64(umax):
            smin = max(s64(umin), smin)
            smax = min(s64(umax), smax)
        if smin & U64 <= smax & U64:
            umin = max(smin & U64, umin)
            umax = min(smax & U64, umax)
        elif umax < smin & U64:
            smin = s64(umin)
            umax = min(umax, smax & U64)
        elif smax & U64 < umin:
            smax = s64(umax)
            umin = max(umin, smin & U64)
        # __reg_deduce_mixed_bounds
        umin = max(umin, umin & ~U32 | u32_min)
        umax = min(umax, umax & ~U32 | u32_max)
        smin = max(smin, smin & ~U32 | u32_min)
        smax = min(smax, smax & ~U32 | u32_max)
        if s32_min >= 0 and smin >= S32_MIN and smax <= S32_MAX:
            smin = umin = s32_min
            smax = umax = s32_max
            v, m = tnum.intersect((v, m), tnum.between(smin, smax))
        if before == (smin, smax, umin, umax, s32_min, s32_max, u32_min, u32_max):
            break
    # __reg_bound_offset
    wide = tnum.intersect((v, m), tnum.between(umin, umax))
    low = tnum.intersect(tnum.subreg(wide), tnum.between(u32_min, u32_max))  # type: ignore[assignment]
    v, m = tnum.with_subreg(wide, low)  # type: ignore[arg-type]
    from_bits()
    return make((v, m, smin, smax, umin, umax, s32_min, s32_max, u32_min, u32_max))


def from_tnum(bits: Tnum) -> Range:
    """All that the known bits say."""
    return synced((bits[0], bits[1], S64_MIN, S64_MAX, 0, U64, S32_MIN, S32_MAX, 0, U32))


def unsigned(bits: int) -> Range:
    """Any number of so many bits (1 to 64)."""
    return from_tnum((0, (1 << bits) - 1))


def between(low: int, high: int) -> Range:
    """Any number from `low` to `high`, signed 64-bit; both of the same sign or not."""
    return synced((0, U64, low, high, 0, U64, S32_MIN, S32_MAX, 0, U32))


def consistent(r: Range) -> bool:
    """reg_bounds_sanity_check: is there possibly a number that all parts admit?"""
    if r.umin > r.umax or r.smin > r.smax or r.u32_min > r.u32_max or r.s32_min > r.s32_max:
        return False
    if not r.mask and not (r.umin == r.umax == r.value and r.smin == r.smax == s64(r.value)):
        return False
    low = r.const32
    return low is None or (r.u32_min == r.u32_max == low and r.s32_min == r.s32_max == s32(low))


def unbounded(r: Range) -> Range:
    """__mark_reg_unbounded: only the known bits are kept."""
    return make((r.value, r.mask, S64_MIN, S64_MAX, 0, U64, S32_MIN, S32_MAX, 0, U32))


WIDTH_8, WIDTH_16, WIDTH_32 = unsigned(8), unsigned(16), unsigned(32)
LOADED = {1: WIDTH_8, 2: WIDTH_16, 4: WIDTH_32, 8: UNKNOWN}
"""What an unknown load of so many bytes gives."""
