"""What a comparison says: is its outcome known, and what is known of the numbers on either side of it?

`taken` is is_scalar_branch_taken: 1 (jumps), 0 (falls through) or -1 (either).  `refined` is
reg_set_min_max: from what was known of two numbers, what is known where the branch is taken and where it
is not.  A comparison that is not there (`>`, `>=` and their signed kin) is the other one the other way
round.
"""

from __future__ import annotations

from functools import lru_cache

from ..bpf.isa import Jmp
from . import tnum
from .ranges import Range, consistent, synced, unbounded
from .tnum import U32, U64

FLIPPED = {
    Jmp.JEQ: Jmp.JEQ,
    Jmp.JNE: Jmp.JNE,
    Jmp.JSET: Jmp.JSET,
    Jmp.JGE: Jmp.JLE,
    Jmp.JGT: Jmp.JLT,
    Jmp.JLE: Jmp.JGE,
    Jmp.JLT: Jmp.JGT,
    Jmp.JSGE: Jmp.JSLE,
    Jmp.JSGT: Jmp.JSLT,
    Jmp.JSLE: Jmp.JSGE,
    Jmp.JSLT: Jmp.JSGT,
}
"""flip_opcode: the same comparison with its operands exchanged."""
NOT_SET = 0x48
"""The opposite of JSET, which no instruction has."""
_OPPOSITE: dict[int, int] = {
    Jmp.JEQ: Jmp.JNE,
    Jmp.JNE: Jmp.JEQ,
    Jmp.JGE: Jmp.JLT,
    Jmp.JLT: Jmp.JGE,
    Jmp.JGT: Jmp.JLE,
    Jmp.JLE: Jmp.JGT,
    Jmp.JSGE: Jmp.JSLT,
    Jmp.JSLT: Jmp.JSGE,
    Jmp.JSGT: Jmp.JSLE,
    Jmp.JSLE: Jmp.JSGT,
    Jmp.JSET: NOT_SET,
}


@lru_cache(1 << 15)
def taken(op: int, a: Range, b: Range, is32: bool) -> int:
    """Does `if a op b` jump?  1, 0, or -1 where it may do either."""
    if is32:
        t1, t2 = tnum.subreg(a.tnum), tnum.subreg(b.tnum)
        umin1, umax1, smin1, smax1 = a.u32_min, a.u32_max, a.s32_min, a.s32_max
        umin2, umax2, smin2, smax2 = b.u32_min, b.u32_max, b.s32_min, b.s32_max
    else:
        t1, t2 = a.tnum, b.tnum
        umin1, umax1, smin1, smax1 = a.umin, a.umax, a.smin, a.smax
        umin2, umax2, smin2, smax2 = b.umin, b.umax, b.smin, b.smax
    match op:
        case Jmp.JEQ | Jmp.JNE:
            equal = -1
            if not t1[1] and not t2[1]:
                equal = int(t1[0] == t2[0])
            elif (
                not tnum.overlap(t1, t2)
                or umin1 > umax2
                or umax1 < umin2
                or smin1 > smax2
                or smax1 < smin2
                or (
                    not is32
                    and (
                        a.u32_min > b.u32_max
                        or a.u32_max < b.u32_min
                        or a.s32_min > b.s32_max
                        or a.s32_max < b.s32_min
                    )
                )
            ):
                equal = 0
            return equal if op == Jmp.JEQ or equal < 0 else 1 - equal
        case Jmp.JSET:
            if t2[1]:
                t1, t2 = t2, t1
            if t2[1]:
                return -1
            if t1[0] & t2[0]:
                return 1
            return -1 if (t1[0] | t1[1]) & t2[0] else 0
        case Jmp.JGT:
            return 1 if umin1 > umax2 else 0 if umax1 <= umin2 else -1
        case Jmp.JSGT:
            return 1 if smin1 > smax2 else 0 if smax1 <= smin2 else -1
        case Jmp.JLT:
            return 1 if umax1 < umin2 else 0 if umin1 >= umax2 else -1
        case Jmp.JSLT:
            return 1 if smax1 < smin2 else 0 if smin1 >= smax2 else -1
        case Jmp.JGE:
            return 1 if umin1 >= umax2 else 0 if umax1 < umin2 else -1
        case Jmp.JSGE:
            return 1 if smin1 >= smax2 else 0 if smax1 < smin2 else -1
        case Jmp.JLE:
            return 1 if umax1 <= umin2 else 0 if umin1 > umax2 else -1
        case _:
            return 1 if smax1 <= smin2 else 0 if smin1 > smax2 else -1


@lru_cache(1 << 15)
def refined(op: int, a: Range, b: Range, is32: bool) -> tuple[Range, Range, Range, Range]:
    """(a, b) where the branch is taken, then (a, b) where it is not."""
    return (*_given(op, a, b, is32), *_given(_OPPOSITE[op], a, b, is32))


@lru_cache(1 << 12)
def refined_alone(op: int, a: Range, is32: bool) -> tuple[Range, Range]:
    """The same of a register that is compared with itself: as the kernel has it, both sides are one."""
    return _given_alone(op, a, is32), _given_alone(_OPPOSITE[op], a, is32)


def _given_alone(op: int, a: Range, is32: bool) -> Range:
    if op in (Jmp.JGE, Jmp.JGT, Jmp.JSGE, Jmp.JSGT):
        op = FLIPPED[Jmp(op)]
    if op not in (Jmp.JLT, Jmp.JSLT):
        return _sound(synced(a.bounds))
    x = list(a.bounds)
    at = (6 if is32 else 2) + (0 if op == Jmp.JSLT else 2)
    x[at + 1] -= 1
    x[at] += 1
    return _sound(synced(tuple(x)))  # type: ignore[arg-type]


def _given(op: int, a: Range, b: Range, is32: bool) -> tuple[Range, Range]:
    """regs_refine_cond_op, synced: what is known of both when `a op b` holds."""
    if op in (Jmp.JGE, Jmp.JGT, Jmp.JSGE, Jmp.JSGT):
        second, first = _given(FLIPPED[Jmp(op)], b, a, is32)
        return first, second
    if op in (Jmp.JNE, Jmp.JSET, NOT_SET):
        one = b.const32 if is32 else b.const
        if one is None:
            other = a.const32 if is32 else a.const
            return (a, b) if other is None else (_sound(a), _sound(_unlike(op, b, other, is32)))
        return _sound(_unlike(op, a, one, is32)), _sound(b)
    x, y = list(a.bounds), list(b.bounds)
    at = 6 if is32 else 2  # smin, smax, umin, umax of the half or the whole
    if op == Jmp.JEQ:
        for i in (at, at + 2):
            x[i] = y[i] = max(x[i], y[i])
        for i in (at + 1, at + 3):
            x[i] = y[i] = min(x[i], y[i])
        if is32:
            low = tnum.intersect(tnum.subreg(a.tnum), tnum.subreg(b.tnum))
            x[:2] = tnum.with_subreg(a.tnum, low)
            y[:2] = tnum.with_subreg(b.tnum, low)
        else:
            x[:2] = y[:2] = tnum.intersect(a.tnum, b.tnum)
    else:
        step = 1 if op in (Jmp.JLT, Jmp.JSLT) else 0
        low_at = at if op in (Jmp.JSLT, Jmp.JSLE) else at + 2
        high, low_bound = min(x[low_at + 1], y[low_at + 1] - step), max(x[low_at] + step, y[low_at])
        x[low_at + 1], y[low_at] = high, low_bound
    return _sound(synced(tuple(x))), _sound(synced(tuple(y)))  # type: ignore[arg-type]


def _unlike(op: int, r: Range, number: int, is32: bool) -> Range:
    """`r` when it is not `number` (JNE), has a bit of it (JSET) or none (NOT_SET)."""
    x = list(r.bounds)
    full = U32 if is32 else U64
    if op == Jmp.JNE:
        at = 6 if is32 else 2
        sign = full + 1 >> 1
        signed = (number ^ sign) - sign
        for i, n in ((at, signed), (at + 2, number)):
            if x[i] == n:
                x[i] += 1
            if x[i + 1] == n:
                x[i + 1] -= 1
    else:
        if op == Jmp.JSET:
            if number & number - 1 or not number:
                return synced(tuple(x))  # type: ignore[arg-type]
            bits = tnum.or_(r.tnum, (number, 0))
        else:
            x = list(unbounded(r).bounds)  # the kernel forgets the ranges: the branch may be a dead one
            bits = tnum.and_(r.tnum, (U64 & ~number, 0))
        x[0], x[1] = bits
    return synced(tuple(x))  # type: ignore[arg-type]


def _sound(r: Range) -> Range:
    """A Range that admits nothing (a branch that cannot be) is forgotten, as the kernel does."""
    return r if consistent(r) else unbounded(r)
