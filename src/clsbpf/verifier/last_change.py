"""Where, on the way to a refusal, did the value at fault last change?

The walk is gone back from the instruction at fault, and the value followed: a copy does not change it, nor do
a spill to the stack and the fill from there, nor a call that takes it as an argument.  What else
writes the register did.

    r6 = *(u32 *)(r1 +76)     ◀ here
    r2 = r6
    *(u64 *)(r10 -8) = r2
    call 7
    r3 = *(u64 *)(r10 -8)
    r0 = *(u8 *)(r3 +0)       at fault: r3
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..bpf.insn import Insn
from ..bpf.isa import FP, Alu, Class, Mode, class_of, mode_of, op_of, src_of
from .cfg import CALL, EXIT, is_pseudo_call, uses_and_defines
from .precision import backwards

if TYPE_CHECKING:
    from .walk import Walk

_ARGUMENTS = range(1, 6)


def last_change(insns: Sequence[Insn], walk: Walk, register: int) -> int | None:
    """The instruction; None where the value was there when its function began, or is not to be followed."""
    slot: int | None = None  # where on the stack the value is, while it is in no register
    inside = 0  # calls that returned before the place at fault, and are gone back through now
    later = walk.pc
    for at in backwards(walk):
        insn, after = insns[at], later
        later = at
        if insn.code == EXIT:
            returns = is_pseudo_call(insns[after - 1])  # (and not a callback's end)
            if inside or slot is not None or register or not returns:
                inside += 1
            continue  # (else the value is what this function returns)
        if insn.code == CALL and after != at + 1:
            if inside:
                inside -= 1
                if not inside and slot is None and register <= _ARGUMENTS[-1]:
                    return at
            elif slot is not None or register not in _ARGUMENTS:
                return None
            elif not is_pseudo_call(insn):  # a callback's arguments are the helper's
                return at
        elif inside:
            continue
        elif slot is not None:
            if class_of(insn.code) in (Class.ST, Class.STX) and insn.dst == FP and insn.off == slot:
                if class_of(insn.code) == Class.ST or mode_of(insn.code) != Mode.MEM:
                    return at
                register, slot = insn.src, None
        elif uses_and_defines(insn)[1] >> register & 1:
            if _is_copy(insn):
                register = insn.src
            elif class_of(insn.code) == Class.LDX and mode_of(insn.code) == Mode.MEM and insn.src == FP:
                slot = insn.off
            else:
                return at
    return None


def _is_copy(insn: Insn) -> bool:
    """`rX = rY`, whole."""
    return (
        class_of(insn.code) == Class.ALU64
        and op_of(insn.code) == Alu.MOV
        and bool(src_of(insn.code))
        and (not insn.off)
    )
