"""How does arithmetic become IR?  ALU and ALU64, of 32 and 64 bits, and division as BPF has it.

LLVM leaves a division by zero, a shift by too much and the least number divided by -1 undefined; BPF does
not.  The IR asks first, and costs nothing where the operand is a constant.
"""

from __future__ import annotations

from ..bpf.insn import Insn
from ..bpf.isa import Alu, X, op_of, src_of
from .function_text import Value, is_constant
from .lower_unit import ProgramText

_BINARY = {
    Alu.ADD: "add",
    Alu.SUB: "sub",
    Alu.MUL: "mul",
    Alu.OR: "or",
    Alu.AND: "and",
    Alu.XOR: "xor",
}
_SHIFT = {Alu.LSH: "shl", Alu.RSH: "lshr", Alu.ARSH: "ashr"}


class ArithmeticText(ProgramText):
    """Instructions that compute."""

    def alu64(self, index: int, insn: Insn) -> None:
        op = Alu(op_of(insn.code))
        dst = insn.dst
        if op is Alu.END:
            self.swap(index, insn, always=True)
            return
        if op is Alu.NEG:
            self.set_wide(dst, self.assign(f"sub i64 0, {self.wide(dst)}"))
            return
        from_register = src_of(insn.code) == X
        if op is Alu.MOV:
            if not from_register:
                self.set_wide(dst, str(insn.imm))
            elif insn.off:
                narrow = self.assign(f"trunc i64 {self.wide(insn.src)} to i{insn.off}")
                self.set_wide(dst, self.assign(f"sext i{insn.off} {narrow} to i64"))
            else:
                source = self.value(insn.src)
                self.registers[dst] = Value(source.wide, source.low, source.zero_extended, source.known)
                self.unsaved.add(dst)
            return
        if op is Alu.XOR and from_register and dst == insn.src:
            self.set_wide(dst, "0")  # also of a register that was never written (undef ^ undef is undef)
            return
        source64 = self.wide(insn.src) if from_register else str(insn.imm)
        self.set_wide(dst, self.arithmetic(op, 64, self.wide(dst), source64, insn.off == 1))

    def alu32(self, index: int, insn: Insn) -> None:
        op = Alu(op_of(insn.code))
        dst = insn.dst
        if op is Alu.END:
            self.swap(index, insn, always=False)
            return
        if op is Alu.NEG:
            self.set_low(dst, self.assign(f"sub i32 0, {self.low(dst)}"))
            return
        from_register = src_of(insn.code) == X
        if op is Alu.MOV:
            if not from_register:
                self.set_low(dst, self.parameter(index) or str(insn.imm))
            elif insn.off:
                narrow = self.assign(f"trunc i32 {self.low(insn.src)} to i{insn.off}")
                self.set_low(dst, self.assign(f"sext i{insn.off} {narrow} to i32"))
            else:
                self.set_low(dst, self.low(insn.src))
            return
        if op is Alu.XOR and from_register and dst == insn.src:
            self.set_low(dst, "0")
            return
        source32 = self.low(insn.src) if from_register else str(insn.imm)
        self.set_low(dst, self.arithmetic(op, 32, self.low(dst), source32, insn.off == 1))

    def arithmetic(self, op: Alu, bits: int, left: str, right: str, signed: bool) -> str:
        if op in _BINARY:
            return self.assign(f"{_BINARY[op]} i{bits} {left}, {right}")
        if op in _SHIFT:
            if is_constant(right):
                count = str(int(right) & bits - 1)
            else:
                count = self.assign(f"and i{bits} {right}, {bits - 1}")
            return self.assign(f"{_SHIFT[op]} i{bits} {left}, {count}")
        return self.divide(op is Alu.MOD, bits, left, right, signed)

    def divide(self, remainder: bool, bits: int, left: str, right: str, signed: bool) -> str:
        """Division by zero: 0, the remainder is the dividend; or (4.13) the program returns 0."""
        zero = self.assign(f"icmp eq i{bits} {right}, 0")
        divisor = right
        if self.unit.profile.div_by_zero_exits:
            following = self.fresh_label("div")
            self.uses_zero = True
            self.emit(f"br i1 {zero}, label %zero, label %{following}")
            self.start(following)
        unsafe = zero
        if signed:
            # The least number divided by -1 is itself, remainder 0; to LLVM it is undefined.
            minus_one = self.assign(f"icmp eq i{bits} {right}, -1")
            unsafe = self.assign(f"or i1 {zero}, {minus_one}")
        divisor = self.assign(f"select i1 {unsafe}, i{bits} 1, i{bits} {right}")
        operation = ("s" if signed else "u") + ("rem" if remainder else "div")
        result = self.assign(f"{operation} i{bits} {left}, {divisor}")
        if signed and not remainder:
            negated = self.assign(f"sub i{bits} 0, {left}")
            result = self.assign(f"select i1 {minus_one}, i{bits} {negated}, i{bits} {result}")
        by_zero = left if remainder else "0"
        return self.assign(f"select i1 {zero}, i{bits} {by_zero}, i{bits} {result}")

    def swap(self, index: int, insn: Insn, *, always: bool) -> None:
        """BPF_END: truncate to `imm` bits, and swap their bytes unless they are little-endian already."""
        bits = insn.imm
        if bits not in (16, 32, 64):
            raise self.wrong(index, f"byte swap of {bits} bits")
        if not always and src_of(insn.code) != X:  # to little endian
            if bits == 16:
                self.set_low(insn.dst, self.assign(f"and i32 {self.low(insn.dst)}, 65535"))
            elif bits == 32:
                self.set_low(insn.dst, self.low(insn.dst))
            return
        if bits == 64:
            self.set_wide(insn.dst, self.byte_swap(64, self.wide(insn.dst)))
        elif bits == 32:
            self.set_low(insn.dst, self.byte_swap(32, self.low(insn.dst)))
        else:
            half = self.byte_swap(16, self.assign(f"trunc i32 {self.low(insn.dst)} to i16"))
            self.set_low(insn.dst, self.assign(f"zext i16 {half} to i32"))

    def byte_swap(self, bits: int, value: str) -> str:
        self.declares.add(f"declare i{bits} @llvm.bswap.i{bits}(i{bits})")
        return self.assign(f"call i{bits} @llvm.bswap.i{bits}(i{bits} {value})")
