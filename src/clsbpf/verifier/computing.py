"""What does an arithmetic instruction change?  Numbers, and pointers that numbers are added to.

A move gives both registers what one held, and one name (id) for it, so that what is learned of one is
known of the other.  Arithmetic on numbers is `arithmetic`'s; a pointer plus a number is a pointer further
on, where that is allowed at all: rule and effect are one table there (adjust_ptr_min_max_vals).
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..bpf.insn import Insn
from ..bpf.isa import (
    Alu,
    Class,
    X,
    class_of,
    op_of,
    src_of,
)
from . import arithmetic, memory
from .access import MAX_VAR_OFF, kind_name
from .precision import mark_register
from .ranges import S32_MAX, S32_MIN, S64_MIN, UNKNOWN, WIDTH_32, ZERO, Range, const
from .refusal import Refused
from .tnum import U32, U64
from .values import (
    ADD_CONST,
    ADD_CONST32,
    ADD_CONST64,
    BTF,
    CTX,
    DYNPTR,
    FUNC,
    MAP_KEY,
    MAP_PTR,
    MAP_VALUE,
    MAYBE_NULL,
    MEM,
    PACKET,
    PACKET_META,
    PACKETS,
    SCALAR,
    STACK,
    Reg,
    clone,
    known_width,
    unknown,
)

if TYPE_CHECKING:
    from .walk import Walk

Step = Callable[[], int]


def move_step(v: Walk, at: int, insn: Insn) -> Step:
    dst, src, after = insn.dst, insn.src, at + 1
    is32 = class_of(insn.code) == Class.ALU
    if src_of(insn.code) != X:
        constant = Reg(SCALAR, const(insn.imm_u32 if is32 else insn.imm))

        def set_constant() -> int:
            v.regs[dst] = constant
            return after

        return set_constant

    size = insn.off // 8

    def copy() -> int:
        regs = v.regs
        reg = regs[src]
        if reg.kind == SCALAR and ((not reg.id and reg.var.const is None) or reg.id & ADD_CONST):
            reg = regs[src] = memory.with_id(v, reg)
        regs[dst] = reg
        return after

    def narrow() -> int:
        regs = v.regs
        reg = regs[src]
        if reg.kind != SCALAR:
            regs[dst] = Reg(SCALAR, WIDTH_32 if is32 else UNKNOWN)
            return after
        var = reg.var
        if size:
            wide = var.umax < 1 << insn.off - 1
            new = arithmetic.sign_extended(var, size, is32)
        else:
            wide = known_width(var) <= 32
            new = arithmetic.zero_extended(var)
        if wide:
            reg = regs[src] = memory.with_id(v, reg)
        if new is var and wide:
            regs[dst] = reg
        else:
            regs[dst] = Reg(SCALAR, new, 0, reg.id if wide else 0)
        return after

    return narrow if is32 or size else copy


def alu_step(v: Walk, at: int, insn: Insn) -> Step:
    op, dst, src, after = op_of(insn.code), insn.dst, insn.src, at + 1
    is32 = class_of(insn.code) == Class.ALU
    compute = arithmetic.alu

    def byte_order() -> int:
        reg = v.regs[dst]
        if reg.kind == SCALAR:
            id, off = (reg.id, reg.off) if keeps else (0, 0)
            v.regs[dst] = Reg(SCALAR, arithmetic.byte_order(reg.var, insn.imm, swaps), off, id)
        else:
            v.regs[dst] = unknown()
        return after

    def negate() -> int:
        reg = v.regs[dst]
        if reg.kind == SCALAR:
            v.regs[dst] = Reg(SCALAR, compute(Alu.NEG, reg.var, ZERO, is32))
        else:
            v.regs[dst] = unknown()
        return after

    swaps = not is32 or (src_of(insn.code) == X) == (sys.byteorder == "little")
    keeps = not swaps and insn.imm == 64
    if op == Alu.END:
        return byte_order
    if op == Alu.NEG:
        return negate

    linkable = op in (Alu.ADD, Alu.SUB)
    forks = op in (Alu.AND, Alu.OR)
    link = ADD_CONST32 if is32 else ADD_CONST64
    constant = Reg(SCALAR, const(insn.imm))
    from_register = src_of(insn.code) == X

    def apply() -> int:
        regs = v.regs
        a = regs[dst]
        b = regs[src] if from_register else constant
        if a.kind != SCALAR or b.kind != SCALAR:
            regs[dst] = _pointer_arithmetic(v, op, dst, a, src if from_register else None, b, is32)
            return after
        if forks and b.var.const is not None and a.var.s32_min == -1 and a.var.s32_max == 0:
            a = _forked(v, at, dst, a)
        var = compute(op, a.var, b.var, is32)
        id = off = 0
        by = b.var.const
        if linkable and a.id and by is not None and not a.id & ADD_CONST and (not is32 or a.var.umax <= U32):
            more = b.var.smin if op == Alu.ADD else -b.var.smin
            if S32_MIN <= more <= S32_MAX:
                id, off = a.id | link, more
        regs[dst] = Reg(SCALAR, var, off, id)
        return after

    return apply


def _forked(v: Walk, at: int, dst: int, a: Reg) -> Reg:
    """maybe_fork_scalars: of 0 and -1, which is where code without branches comes from, each alone."""
    other = v.push(at)
    whole = a.var.smin == -1 and a.var.smax == 0
    make = const if whole else functools.partial(arithmetic.with_low_half, a.var)
    other.frames[-1].regs[dst] = Reg(SCALAR, make(0))
    return Reg(SCALAR, make(U64 if whole else U32))


_ARITHMETIC_KINDS = frozenset({CTX, MAP_VALUE, MAP_KEY, STACK, PACKET_META, PACKET, BTF, MEM, FUNC, DYNPTR})


def _sane(reg: Reg, off: int, var: Range, regno: int) -> None:
    """check_reg_sane_offset."""
    name = kind_name(reg)
    if not var.mask and not -MAX_VAR_OFF < var.smin < MAX_VAR_OFF:
        raise Refused(
            "pointer-offset", f"math between {name} pointer and {var.smin} is not allowed", regno, errno=22
        )
    if not -MAX_VAR_OFF < off < MAX_VAR_OFF:
        raise Refused("pointer-offset", f"{name} pointer offset {off} is not allowed", regno, errno=22)
    if var.smin == S64_MIN:
        raise Refused(
            "unbounded-math",
            f"math between {name} pointer and register with unbounded min value is not allowed",
            regno,
            errno=22,
            of=name,
        )
    if not -MAX_VAR_OFF < var.smin < MAX_VAR_OFF:
        raise Refused(
            "pointer-offset", f"value {var.smin} makes {name} pointer be out of bounds", regno, errno=22
        )


def _impossible(var: Range) -> bool:
    """Bounds out of a branch that cannot be: what is computed with them may be anything."""
    return (
        (not var.mask and (var.smin != var.smax or var.umin != var.umax))
        or var.smin > var.smax
        or var.umin > var.umax
    )


def _pointer_arithmetic(v: Walk, op: int, dst: int, a: Reg, src: int | None, b: Reg, is32: bool) -> Reg:
    """adjust_ptr_min_max_vals, after adjust_reg_min_max_vals sorted out which is the pointer."""
    if a.kind != SCALAR and b.kind != SCALAR:
        if op == Alu.SUB:
            return unknown()
        symbol = _SYMBOLS.get(op, "?")
        raise Refused("pointer-math", f"R{dst} pointer {symbol} pointer prohibited", dst, operator=symbol)
    pointer, number, regno = (a, b, dst) if a.kind != SCALAR or src is None else (b, a, src)
    if src is not None:
        mark_register(v, src if pointer is a else dst)
    var = number.var
    if _impossible(var):
        return unknown()
    symbol = _SYMBOLS.get(op, "?")
    if is32:
        if op == Alu.SUB:
            return unknown()
        raise Refused("pointer-math", f"R{dst} 32-bit pointer arithmetic prohibited", dst, operator=symbol)
    if pointer.flags & MAYBE_NULL:
        raise Refused(
            "null-check",
            f"R{dst} pointer arithmetic on {kind_name(pointer)} prohibited, null-check it first",
            dst,
            of=kind_name(pointer),
        )
    kind = pointer.kind
    if kind not in _ARITHMETIC_KINDS and not (kind == MAP_PTR and var is ZERO and op == Alu.ADD):
        raise Refused(
            "pointer-math",
            f"R{dst} pointer arithmetic on {kind_name(pointer)} prohibited",
            dst,
            operator=symbol,
        )
    _sane(pointer, number.off if number.id & ADD_CONST else 0, var, regno)
    _sane(pointer, pointer.off, pointer.var, regno)
    if op == Alu.ADD:
        sign = 1
    elif op == Alu.SUB:
        sign = -1
        if pointer is b:
            raise Refused(
                "pointer-math", f"R{dst} tried to subtract pointer from scalar", dst, operator=symbol
            )
        if kind == STACK:
            raise Refused(
                "pointer-math", f"R{dst} subtraction from stack pointer prohibited", dst, operator=symbol
            )
    elif op in (Alu.AND, Alu.OR, Alu.XOR):
        raise Refused(
            "pointer-math", f"R{dst} bitwise operator {symbol} on pointer prohibited", dst, operator=symbol
        )
    else:
        raise Refused(
            "pointer-math",
            f"R{dst} pointer arithmetic with {symbol} operator prohibited",
            dst,
            operator=symbol,
        )
    result = clone(pointer)
    off = pointer.off + sign * var.smin
    if var.const is not None and -(1 << 31) <= off < 1 << 31:
        result.off = off
    else:
        result.var = arithmetic.pointer_offset(op, pointer.var, var)
        if kind in PACKETS:
            v.ids += 1
            result.id = v.ids
            if op == Alu.ADD or var.smin < 0:
                result.size = 0
    _sane(result, result.off, result.var, dst)
    return result


_SYMBOLS: dict[int, str] = {
    Alu.ADD: "+=", Alu.SUB: "-=", Alu.MUL: "*=", Alu.DIV: "/=", Alu.OR: "|=", Alu.AND: "&=", Alu.LSH: "<<=",
    Alu.RSH: ">>=", Alu.MOD: "%=", Alu.XOR: "^=", Alu.ARSH: "s>>=",
}  # fmt: skip
