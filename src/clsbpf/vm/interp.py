"""What does a program do?  This interpreter is the definition; machine code must agree with it.

It runs any instruction list, verified or not, and trusts none: a register is read only after it was
written, memory is touched only within the regions of `vm/memory.py`, the context only field by field,
and every run ends (`step_limit`).  Whatever breaks a rule is a `ProgramFault` that names the
instruction and the reason.

Registers are unsigned 64-bit integers, None before they are written.  An address is a real one; helper
bodies, which are shared with machine code, read the same memory.  The methods are in the order of the
instruction classes and mirror those of `vm/lower.py`, which says the same in LLVM IR.
"""

from __future__ import annotations

import ctypes
import operator
from collections.abc import Callable, Sequence

from ..bpf.context import field_at
from ..bpf.insn import Insn, s32
from ..bpf.isa import (
    FP,
    PSEUDO_CALL,
    R0,
    R1,
    R5,
    R6,
    REGISTERS,
    SIZE_BYTES,
    STACK_BYTES,
    Alu,
    Atomic,
    Class,
    Jmp,
    Mode,
    Size,
    X,
    class_of,
    mode_of,
    op_of,
    size_of,
    src_of,
)
from ..errors import ProgramFault
from ..profile import CURRENT, KernelProfile
from ..skb import Skb
from .environment import Environment
from .helpers import BODIES
from .memory import Memory, Region, load, store
from .native_skb import (
    NARROWED,
    NO_QUEUE_MAPPING,
    POINTERS,
    SK_BUFF_BYTES,
    At,
    Narrowing,
    NativeSkb,
    fill,
    take_back,
)
from .packet import OUTSIDE, load_packet
from .subset import wrap

STEP_LIMIT = 1 << 24
"""Instructions of one run, by default; a verified program stays far below."""

U64 = 0xFFFFFFFFFFFFFFFF


def run(
    insns: Sequence[Insn],
    skb: Skb,
    *,
    profile: KernelProfile = CURRENT,
    environment: Environment | None = None,
    step_limit: int = STEP_LIMIT,
) -> int:
    """r0, its low 32 bits unsigned, of a run on `skb`, which keeps what the program wrote.

    Raises ProgramFault when the program does what no verified program does; the skb then keeps what was
    written before.
    """
    environment = environment or Environment()
    native = NativeSkb()
    fill(skb, native, environment.address)
    try:
        return _Machine(insns, native, profile, step_limit).run()
    finally:
        take_back(native, skb)


# Arithmetic on unsigned numbers of `bits` bits: what each operation does to (dst, src). ------------


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


_ARITHMETIC: dict[int, Callable[[int, int, int], int]] = {
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


def truncating_divide(dividend: int, divisor: int) -> int:
    """C's signed division: the quotient rounds towards zero."""
    quotient = abs(dividend) // abs(divisor)
    return quotient if (dividend < 0) == (divisor < 0) else -quotient


_COMPARE: dict[int, Callable[[int, int], bool]] = {
    Jmp.JEQ: operator.eq,
    Jmp.JNE: operator.ne,
    Jmp.JGT: operator.gt,
    Jmp.JGE: operator.ge,
    Jmp.JLT: operator.lt,
    Jmp.JLE: operator.le,
    Jmp.JSET: lambda a, b: a & b != 0,
}
_SIGNED_COMPARE: dict[int, Callable[[int, int], bool]] = {
    Jmp.JSGT: operator.gt,
    Jmp.JSGE: operator.ge,
    Jmp.JSLT: operator.lt,
    Jmp.JSLE: operator.le,
}
_ATOMIC: dict[int, Callable[[int, int], int]] = {
    Atomic.ADD: operator.add,
    Atomic.OR: operator.or_,
    Atomic.AND: operator.and_,
    Atomic.XOR: operator.xor,
}


def context_refusal(offset: int, size: int, *, write: bool) -> str | None:
    """Why a program may not access struct __sk_buff so, in words; None when it may.

    tc_cls_act_is_valid_access: a field at a time, aligned; written whole, but for cb; pointers and the
    64-bit times read whole.
    """
    field = field_at(offset)
    if field is None:
        return f"there is no context field at {offset}"
    what = f"{size} bytes of context field {field.name} at {offset - field.offset}"
    if not field.readable or (write and not field.writable):
        return f"context field {field.name} may not be {'written' if write else 'read'}"
    if offset % size or offset + size > field.end:
        return f"{what}: not one aligned access within the field"
    whole = size == field.size
    if not whole and field.name != "cb" and (write or field.pointer or field.size == 8):
        return f"{what}: this field is accessed whole ({field.size} bytes)"
    return None


class _Exit(Exception):
    """The program ended."""


class _Machine:
    """One run: registers, memory, and where it is."""

    def __init__(
        self, insns: Sequence[Insn], native: NativeSkb, profile: KernelProfile, step_limit: int
    ) -> None:
        self.insns = insns
        self.profile = profile
        self.step_limit = step_limit
        self.context = ctypes.addressof(native)
        self.stack = ctypes.create_string_buffer(STACK_BYTES)
        stack = ctypes.addressof(self.stack)
        self.memory = Memory(
            (
                Region("stack", stack, STACK_BYTES),
                Region("packet", native.data_ptr, native.data_end_ptr - native.data_ptr),
            )
        )
        self.registers: list[int | None] = [None] * REGISTERS
        self.registers[R1] = self.context
        self.registers[FP] = stack + STACK_BYTES
        self.pc = 0

    def run(self) -> int:
        insns = self.insns
        for _ in range(self.step_limit):
            if not 0 <= self.pc < len(insns):
                raise ProgramFault(f"control leaves the program: there is no instruction {self.pc}", self.pc)
            insn = insns[self.pc]
            try:
                self.step(insn)
            except _Exit:
                return self.read(R0) & 0xFFFFFFFF
            self.pc += 1
        raise self.fault(f"still running after {self.step_limit} instructions")

    def fault(self, reason: str) -> ProgramFault:
        return ProgramFault(f"instruction {self.pc}: {reason}", self.pc)

    # registers

    def read(self, register: int) -> int:
        if register >= REGISTERS:
            raise self.fault(f"there is no r{register}")
        value = self.registers[register]
        if value is None:
            raise self.fault(f"r{register} is read before it is written")
        return value

    def write(self, register: int, value: int) -> None:
        if register >= FP:
            raise self.fault("r10 is read-only" if register == FP else f"there is no r{register}")
        self.registers[register] = value & U64

    def forget_arguments(self) -> None:
        """A call, and LD_ABS, leave r1 to r5 unreadable."""
        self.registers[R1 : R5 + 1] = [None] * 5

    def operand(self, insn: Insn) -> int:
        """The source: a register, or the immediate sign-extended to 64 bits."""
        return self.read(insn.src) if src_of(insn.code) == X else insn.imm & U64

    # instructions

    def step(self, insn: Insn) -> None:
        match class_of(insn.code):
            case Class.ALU:
                self.arithmetic(insn, 32)
            case Class.ALU64:
                self.arithmetic(insn, 64)
            case Class.JMP:
                self.jump(insn, 64)
            case Class.JMP32:
                self.jump(insn, 32)
            case Class.LD:
                self.load_immediate_or_packet(insn)
            case Class.LDX:
                self.load(insn)
            case Class.ST:
                self.store(insn, insn.imm & U64)
            case Class.STX if mode_of(insn.code) == Mode.ATOMIC:
                self.atomic(insn)
            case _:
                self.store(insn, self.read(insn.src))

    def unknown(self, insn: Insn) -> ProgramFault:
        return self.fault(f"unknown instruction {insn.code:#04x} (off {insn.off}, imm {insn.imm:#x})")

    # arithmetic

    def arithmetic(self, insn: Insn, bits: int) -> None:
        op = op_of(insn.code)
        if op == Alu.MOV:
            self.move(insn, bits)
        elif op == Alu.NEG:
            self.write(insn.dst, unsigned(-self.read(insn.dst), bits))
        elif op == Alu.END:
            self.swap(insn, bits)
        elif op in (Alu.DIV, Alu.MOD):
            self.divide(insn, bits)
        elif op == Alu.XOR and src_of(insn.code) == X and insn.dst == insn.src:
            self.write(insn.dst, 0)  # what classic programs begin with; also of a register never written
        elif op in _ARITHMETIC:
            result = _ARITHMETIC[op](self.read(insn.dst), self.operand(insn), bits)
            self.write(insn.dst, unsigned(result, bits))
        else:
            raise self.unknown(insn)

    def move(self, insn: Insn, bits: int) -> None:
        value = self.operand(insn)
        if insn.off:
            if src_of(insn.code) != X or insn.off not in (8, 16, 32) or insn.off >= bits:
                raise self.unknown(insn)
            value = signed(value, insn.off)
        self.write(insn.dst, unsigned(value, bits))

    def swap(self, insn: Insn, bits: int) -> None:
        """BPF_END: truncate to `imm` bits, and swap their bytes unless they are little-endian already."""
        if insn.imm not in (16, 32, 64):
            raise self.unknown(insn)
        value = unsigned(self.read(insn.dst), insn.imm)
        to_little = bits == 32 and src_of(insn.code) != X
        self.write(insn.dst, value if to_little else byte_swap(value, insn.imm))

    def divide(self, insn: Insn, bits: int) -> None:
        """By zero: 0, the remainder is the dividend; or (4.13) the program returns 0."""
        if insn.off not in (0, 1):
            raise self.unknown(insn)
        remainder = op_of(insn.code) == Alu.MOD
        convert = signed if insn.off else unsigned
        dividend, divisor = convert(self.read(insn.dst), bits), convert(self.operand(insn), bits)
        if divisor:
            quotient = truncating_divide(dividend, divisor)
            result = dividend - quotient * divisor if remainder else quotient
        elif self.profile.div_by_zero_exits:
            self.write(R0, 0)
            raise _Exit
        else:
            result = dividend if remainder else 0
        self.write(insn.dst, unsigned(result, bits))

    # jumps

    def jump(self, insn: Insn, bits: int) -> None:
        op = op_of(insn.code)
        if op == Jmp.JA:
            self.pc += insn.off if bits == 64 else insn.imm
        elif op == Jmp.EXIT and bits == 64:
            raise _Exit
        elif op == Jmp.CALL and bits == 64:
            self.call(insn)
        elif op in _COMPARE:
            if _COMPARE[op](unsigned(self.read(insn.dst), bits), unsigned(self.operand(insn), bits)):
                self.pc += insn.off
        elif op in _SIGNED_COMPARE:
            if _SIGNED_COMPARE[op](signed(self.read(insn.dst), bits), signed(self.operand(insn), bits)):
                self.pc += insn.off
        else:
            raise self.unknown(insn)

    def call(self, insn: Insn) -> None:
        if insn.src == PSEUDO_CALL:
            raise self.fault("calls between functions of a program cannot be run yet")
        body = BODIES.get(insn.imm)
        if insn.src or body is None:
            raise self.fault(f"there is no body for helper {insn.imm}")
        arguments = [wrap(self.read(register)) for register in body.registers]
        result = body.function(self.context, *arguments)
        self.forget_arguments()
        self.write(R0, result)

    # memory

    def load_immediate_or_packet(self, insn: Insn) -> None:
        mode = mode_of(insn.code)
        if insn.is_ld_imm64:
            if insn.src:
                raise self.fault("references to maps and functions cannot be run yet")
            if self.pc + 1 == len(self.insns):
                raise self.fault("the second half of a 64-bit immediate is missing")
            self.write(insn.dst, self.insns[self.pc + 1].imm << 32 | insn.imm_u32)
            self.pc += 1
        elif mode in (Mode.ABS, Mode.IND) and size_of(insn.code) != Size.DW:
            if self.read(R6) != self.context:
                raise self.fault("LD_ABS and LD_IND need the context in r6")
            offset = insn.imm + (self.read(insn.src) if mode == Mode.IND else 0)
            value = load_packet(self.context, s32(offset), SIZE_BYTES[Size(size_of(insn.code))])
            self.forget_arguments()
            self.write(R0, max(value, 0))
            if value == OUTSIDE:
                raise _Exit
        else:
            raise self.unknown(insn)

    def load(self, insn: Insn) -> None:
        mode = mode_of(insn.code)
        size = SIZE_BYTES[Size(size_of(insn.code))]
        if mode not in (Mode.MEM, Mode.MEMSX) or (mode == Mode.MEMSX and size == 8):
            raise self.unknown(insn)
        address = self.read(insn.src) + insn.off & U64
        if self.in_context(address):
            value = self.context_load(insn, address - self.context, size)
        else:
            self.check(insn.src, address, size, write=False)
            value = load(address, size)
        self.write(insn.dst, signed(value, size * 8) if mode == Mode.MEMSX else value)

    def store(self, insn: Insn, value: int) -> None:
        if mode_of(insn.code) != Mode.MEM:
            raise self.unknown(insn)
        size = SIZE_BYTES[Size(size_of(insn.code))]
        address = self.read(insn.dst) + insn.off & U64
        if self.in_context(address):
            self.context_store(insn, address - self.context, size, value)
        else:
            self.check(insn.dst, address, size, write=True)
            store(address, size, value)

    def check(self, register: int, address: int, size: int, *, write: bool) -> None:
        refusal = self.memory.refusal(address, size, write=write)
        if refusal is not None:
            raise self.fault(f"{'write' if write else 'read'} through r{register}: {refusal}")

    def in_context(self, address: int) -> bool:
        return self.context <= address < self.context + SK_BUFF_BYTES

    def context_load(self, insn: Insn, offset: int, size: int) -> int:
        """bpf_convert_ctx_access, reading: `data` and its like are addresses."""
        refusal = context_refusal(offset, size, write=False)
        if refusal is not None:
            raise self.fault(f"read through r{insn.src}: {refusal}")
        if offset in POINTERS:
            return load(self.context + POINTERS[offset], 8)
        return load(self.context + offset, size)

    def context_store(self, insn: Insn, offset: int, size: int, value: int) -> None:
        """bpf_convert_ctx_access, writing: some fields are narrower than they look."""
        refusal = context_refusal(offset, size, write=True)
        if refusal is not None:
            raise self.fault(f"write through r{insn.dst}: {refusal}")
        match NARROWED.get(offset):
            case Narrowing.LOW_16:
                value = unsigned(value, 16)
            case Narrowing.QUEUE if unsigned(value, 32) >= NO_QUEUE_MAPPING:
                value = load(self.context + At.QUEUE_MAPPING, 4)
        store(self.context + offset, size, value)

    def atomic(self, insn: Insn) -> None:
        """BPF_ATOMIC.  One thread sees no difference from the same operation in steps."""
        size = SIZE_BYTES[Size(size_of(insn.code))]
        base = insn.src if insn.imm == Atomic.LOAD_ACQ else insn.dst
        address = self.read(base) + insn.off & U64
        if self.in_context(address):
            raise self.fault("the context cannot be accessed atomically")
        if address % size:
            raise self.fault(f"atomic access through r{base}: {address:#x} is not a multiple of {size}")
        self.check(base, address, size, write=insn.imm != Atomic.LOAD_ACQ)
        if insn.imm == Atomic.LOAD_ACQ:
            self.write(insn.dst, load(address, size))
            return
        source = unsigned(self.read(insn.src), size * 8)
        if insn.imm == Atomic.STORE_REL:
            store(address, size, source)
            return
        if size < 4:
            raise self.unknown(insn)
        old = load(address, size)
        if insn.imm == Atomic.CMPXCHG:
            if old == unsigned(self.read(R0), size * 8):
                store(address, size, source)
            self.write(R0, old)
        elif insn.imm == Atomic.XCHG:
            store(address, size, source)
            self.write(insn.src, old)
        elif (operation := _ATOMIC.get(insn.imm & ~Atomic.FETCH)) is not None:
            store(address, size, operation(old, source))
            if insn.imm & Atomic.FETCH:
                self.write(insn.src, old)
        else:
            raise self.unknown(insn)
