"""How do jumps become IR?  Comparisons, exits, and may_goto.

Comparisons of 64 bits are made in 32 where both sides are known to be zero-extended, as nearly all are in
classic programs.
"""

from __future__ import annotations

from ..bpf.insn import Insn
from ..bpf.isa import R0, Class, Jmp, X, class_of, op_of, src_of
from .lower_calls import CallText
from .lower_unit import jump_target

_COMPARE = {
    Jmp.JEQ: "eq",
    Jmp.JNE: "ne",
    Jmp.JGT: "ugt",
    Jmp.JGE: "uge",
    Jmp.JLT: "ult",
    Jmp.JLE: "ule",
    Jmp.JSGT: "sgt",
    Jmp.JSGE: "sge",
    Jmp.JSLT: "slt",
    Jmp.JSLE: "sle",
}
_SIGNED_COMPARE = frozenset({Jmp.JSGT, Jmp.JSGE, Jmp.JSLT, Jmp.JSLE})


class JumpText(CallText):
    """Instructions that decide what runs next."""

    def jump(self, index: int, insn: Insn) -> bool:
        """Does control go on to the next instruction?"""
        op = Jmp(op_of(insn.code))
        if op is Jmp.EXIT:
            self.emit(f"ret i32 {self.low(R0)}" if self.result == "i32" else f"ret i64 {self.wide(R0)}")
            return False
        if op is Jmp.CALL:
            self.call(index, insn)
            return True
        target = jump_target(index, insn)
        assert target is not None
        if op is Jmp.JA:
            self.save()
            self.emit(f"br label %i{target}")
            return False
        condition = (
            self.may_goto_ends() if op is Jmp.JCOND else self.condition(op, insn, self.parameter(index))
        )
        self.save()
        following = self.fresh_label("n")
        self.emit(f"br i1 {condition}, label %i{target}, label %{following}")
        self.start(following)
        return True

    def may_goto_ends(self) -> str:
        """An i1: has may_goto gone on BPF_MAX_LOOPS times in this function?"""
        self.uses_may_goto = True
        left = self.assign("load i64, ptr %may_goto, align 8")
        ends = self.assign(f"icmp eq i64 {left}, 0")
        fewer = self.assign(f"sub i64 {left}, 1")
        kept = self.assign(f"select i1 {ends}, i64 0, i64 {fewer}")
        self.emit(f"store i64 {kept}, ptr %may_goto, align 8")
        return ends

    def condition(self, op: Jmp, insn: Insn, parameter: str | None) -> str:
        """An i1: is the jump taken?  64-bit comparisons of zero-extended values are made in 32 bits."""
        from_register = src_of(insn.code) == X
        if parameter is not None:
            # Only classic programs have parameters, and theirs are all 32-bit numbers, zero-extended.
            return self.comparison(op, 32, self.low(insn.dst), parameter)
        narrow = class_of(insn.code) == Class.JMP32 or (
            op not in _SIGNED_COMPARE
            and self.value(insn.dst).zero_extended
            and (self.value(insn.src).zero_extended if from_register else insn.imm >= 0)
        )
        bits = 32 if narrow else 64
        read = self.low if narrow else self.wide
        left = read(insn.dst)
        return self.comparison(op, bits, left, read(insn.src) if from_register else str(insn.imm))

    def comparison(self, op: Jmp, bits: int, left: str, right: str) -> str:
        if op is Jmp.JSET:
            both = self.assign(f"and i{bits} {left}, {right}")
            return self.assign(f"icmp ne i{bits} {both}, 0")
        return self.assign(f"icmp {_COMPARE[op]} i{bits} {left}, {right}")
