"""What does a program do?  This interpreter is the definition; machine code must agree with it.

It runs any instruction list, verified or not, and trusts none: a register is read only after it was
written, memory is touched only within the regions of `vm/memory.py`, the context only field by field,
and every run ends (`step_limit`).  Whatever breaks a rule is a `ProgramFault` that names the
instruction, its source line and the reason.

The state of a run (registers, frames, memory) is in vm/machine.py.  An address is a real one; helper
bodies, which are shared with machine code, read the same memory.  Calls of helpers are checked against
their prototypes (vm/arguments.py), then their bodies run (vm/helpers); those that are about the run
itself are in vm/control.py.

The methods are in the order of the instruction classes and mirror those of `vm/lower.py`, which says the
same in LLVM IR.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..bpf.context import field_at
from ..bpf.helpers import BY_NUMBER
from ..bpf.insn import Insn, s32
from ..bpf.isa import (
    PSEUDO_CALL,
    PSEUDO_KFUNC_CALL,
    R0,
    R6,
    SIZE_BYTES,
    Alu,
    Atomic,
    Jmp,
    Mode,
    Pseudo,
    Size,
    X,
    mode_of,
    op_of,
    size_of,
    src_of,
)
from ..bpf.prototypes import KFUNC_PROTOTYPES, Prototype, prototype_of
from ..errors import ProgramFault
from ..profile import CURRENT, KernelProfile
from ..skb import Skb
from ..verifier.program import KERNEL_STRUCTURE
from .arguments import check_arguments, learn_result
from .arithmetic import (
    ARITHMETIC,
    ATOMIC,
    COMPARE,
    SIGNED_COMPARE,
    U64,
    byte_swap,
    signed,
    truncating_divide,
    unsigned,
)
from .control import CONTROL
from .environment import Environment
from .helpers import BODIES, KFUNCS, HelperBody
from .helpers.memory import load_behind
from .link import LinkedProgram, call_refusal
from .machine import FUNCTION, Machine, Returned
from .memory import count, load, store
from .native_skb import NARROWED, NO_QUEUE_MAPPING, POINTERS, At, Narrowing, NativeSkb, fill, take_back
from .packet import OUTSIDE, load_packet
from .subset import wrap

STEP_LIMIT = 1 << 24
"""Instructions of one run, by default; a verified program stays far below."""

BYTES: dict[int, int] = {int(size): width for size, width in SIZE_BYTES.items()}
"""Bytes of an access, by the size bits of its opcode."""


def run(
    program: LinkedProgram | Sequence[Insn],
    skb: Skb,
    *,
    profile: KernelProfile = CURRENT,
    environment: Environment | None = None,
    step_limit: int = STEP_LIMIT,
) -> int:
    """r0, its low 32 bits unsigned, of a run on `skb`, which keeps what the program wrote.

    Raises ProgramFault when the program calls what is not there (before it runs), and when it does what
    no verified program does; the skb then keeps what was written before.
    """
    environment = environment or Environment()
    if not isinstance(program, LinkedProgram):
        program = LinkedProgram(tuple(program))
    else:
        program.require_helpers()
    native = NativeSkb()
    fill(skb, native, environment.address)
    before = environment.start(program.name, native)
    try:
        return Interpreter(program, native, environment, profile, step_limit).run()
    finally:
        environment.end(before)
        take_back(native, skb)


def context_refusal(offset: int, size: int, *, write: bool) -> str | None:
    """Why a program may not access struct __sk_buff so, in words; None when it may.

    tc_cls_act_is_valid_access: a field at a time, aligned; written whole, but for cb; pointers and the
    64-bit times read whole.
    """
    field = field_at(offset)
    if field is None:
        return f"there is no context field at {offset}"
    what = f"{count(size)} of context field {field.name} at {offset - field.offset}"
    if not field.readable or (write and not field.writable):
        return f"context field {field.name} may not be {'written' if write else 'read'}"
    if offset % size or offset + size > field.end:
        return f"{what}: not one aligned access within the field"
    whole = size == field.size
    if not whole and field.name != "cb" and (write or field.pointer or field.size == 8):
        return f"{what}: this field is accessed whole ({field.size} bytes)"
    return None


class Interpreter(Machine):
    """The instructions, by class."""

    def run(self) -> int:
        self.execute()
        self.pc = min(self.pc, len(self.insns) - 1)
        if self.lock is not None:
            raise self.fault("the program ends and holds a lock")
        if self.held:
            raise self.fault(f"the program ends and has not given back {next(iter(self.held.values()))}")
        return self.read(R0) & 0xFFFFFFFF

    def execute(self) -> None:
        """Run until the frame that is now on top returns."""
        for _ in self.ticks:
            if not 0 <= self.pc < len(self.insns):
                raise self.fault(f"control leaves the program: there is no instruction {self.pc}")
            insn = self.insns[self.pc]
            try:
                _STEPS[insn.code & 7](self, insn)
            except Returned:
                return
            self.pc += 1
        raise self.fault(f"still running after {self.step_limit} instructions")

    def operand(self, insn: Insn) -> int:
        """The source: a register, or the immediate sign-extended to 64 bits."""
        return self.read(insn.src) if src_of(insn.code) == X else insn.imm & U64

    # instructions

    def alu32(self, insn: Insn) -> None:
        self.arithmetic(insn, 32)

    def alu64(self, insn: Insn) -> None:
        self.arithmetic(insn, 64)

    def jump64(self, insn: Insn) -> None:
        self.jump(insn, 64)

    def jump32(self, insn: Insn) -> None:
        self.jump(insn, 32)

    def store_immediate(self, insn: Insn) -> None:
        self.store(insn, insn.imm & U64)

    def store_register(self, insn: Insn) -> None:
        if mode_of(insn.code) == Mode.ATOMIC:
            self.atomic(insn)
        else:
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
        elif op in ARITHMETIC:
            result = ARITHMETIC[op](self.read(insn.dst), self.operand(insn), bits)
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
            self.leave()
            return
        else:
            result = dividend if remainder else 0
        self.write(insn.dst, unsigned(result, bits))

    # jumps

    def jump(self, insn: Insn, bits: int) -> None:
        op = op_of(insn.code)
        if op in COMPARE:
            if COMPARE[op](unsigned(self.read(insn.dst), bits), unsigned(self.operand(insn), bits)):
                self.pc += insn.off
        elif op == Jmp.JA:
            self.pc += insn.off if bits == 64 else insn.imm
        elif op == Jmp.EXIT and bits == 64:
            self.leave()
        elif op == Jmp.CALL and bits == 64:
            self.call(insn)
        elif op in SIGNED_COMPARE:
            if SIGNED_COMPARE[op](signed(self.read(insn.dst), bits), signed(self.operand(insn), bits)):
                self.pc += insn.off
        elif op == Jmp.JCOND and bits == 64 and insn.src == 0 and insn.dst == 0:
            self.may_goto(insn)
        else:
            raise self.unknown(insn)

    def may_goto(self, insn: Insn) -> None:
        """BPF_MAY_GOTO: go on, but not for ever: after BPF_MAX_LOOPS times in one function, jump."""
        frame = self.frames[-1]
        if frame.may_goto == 0:
            self.pc += insn.off
        else:
            frame.may_goto -= 1

    def call(self, insn: Insn) -> None:
        if insn.src == PSEUDO_CALL:
            target = self.pc + insn.imm
            if not 0 <= target + 1 < len(self.insns):
                raise self.fault(f"calls instruction {target + 1}, which there is not")
            self.push(target, barrier=False)
            return
        poison = self.program.poison.get(self.pc)
        if poison is not None:
            raise self.fault(poison)
        refusal = call_refusal(insn, self.program.kfuncs)
        if refusal is not None:
            raise self.fault(refusal)
        if insn.src == PSEUDO_KFUNC_CALL:
            name = self.program.kfuncs[insn.imm]
            self.call_body(name, KFUNC_PROTOTYPES[name], KFUNCS[name])
            return
        control = CONTROL.get(insn.imm)
        prototype = prototype_of(insn.imm, self.program.type)
        name = BY_NUMBER[insn.imm].symbol
        if control is None:
            self.call_body(name, prototype, BODIES[insn.imm])
            return
        assert prototype is not None
        arguments = check_arguments(self, name, prototype)
        before = self.tail_calls
        result = control(self, *arguments)
        if self.tail_calls != before:
            return  # the program that was called begins, perhaps the same once more
        self.forget_arguments()
        self.registers[R0] = None if result is None else result & U64

    def call_body(self, name: str, prototype: Prototype | None, body: HelperBody) -> None:
        """Check the arguments, run the body, and let the program have what it gives."""
        if prototype is None:  # a helper of classic programs: any numbers
            arguments = [wrap(self.read(register)) for register in body.registers]
        else:
            arguments = check_arguments(self, name, prototype)
        first = self.context if body.takes_skb else self.environment.address
        result = body.function(first, *arguments[: len(body.registers)])
        self.forget_arguments()
        self.registers[R0] = result & U64
        if prototype is not None:
            if prototype.changes_packet:
                self.move_packet(name)
            learn_result(self, name, prototype, arguments, result)

    # memory

    def load_immediate_or_packet(self, insn: Insn) -> None:
        mode = mode_of(insn.code)
        if insn.is_ld_imm64:
            if self.pc + 1 == len(self.insns):
                raise self.fault("the second half of a 64-bit immediate is missing")
            if insn.src == Pseudo.FUNC:
                self.write(insn.dst, FUNCTION + self.pc + 1 + insn.imm)
            elif insn.src:
                raise self.fault("a reference to a map that the program was not linked with")
            else:
                self.write(insn.dst, self.insns[self.pc + 1].imm << 32 | insn.imm_u32)
            self.pc += 1
        elif mode in (Mode.ABS, Mode.IND) and size_of(insn.code) != Size.DW:
            if self.read(R6) != self.context:
                raise self.fault("LD_ABS and LD_IND need the context in r6")
            offset = insn.imm + (self.read(insn.src) if mode == Mode.IND else 0)
            value = load_packet(self.context, s32(offset), BYTES[insn.code & 0x18])
            self.forget_arguments()
            self.write(R0, max(value, 0))
            if value == OUTSIDE:
                self.leave()
        else:
            raise self.unknown(insn)

    def load(self, insn: Insn) -> None:
        mode = mode_of(insn.code)
        size = BYTES[insn.code & 0x18]
        if mode not in (Mode.MEM, Mode.MEMSX) or (mode == Mode.MEMSX and size == 8):
            raise self.unknown(insn)
        value = self.loaded(insn, size)
        self.write(insn.dst, signed(value, size * 8) if mode == Mode.MEMSX else value)

    def loaded(self, insn: Insn, size: int) -> int:
        """What is at src + off."""
        address = self.read(insn.src) + insn.off & U64
        if self.is_probed():
            return load_behind(self.environment.address, address, size)
        if self.in_context(address):
            return self.context_load(insn, address - self.context, size)
        self.check(insn.src, address, size, write=False)
        if self.environment.native.kernel:  # the structure behind the context is not kept, but computed
            return load_behind(self.environment.address, address, size)
        return load(address, size)

    def is_probed(self) -> bool:
        """BPF_PROBE_MEM: does the load go through a structure of the kernel?  Where nothing is it is 0."""
        verified = self.program.verified
        return verified is not None and verified.pointer_kinds.get(self.pc) == KERNEL_STRUCTURE

    def store(self, insn: Insn, value: int) -> None:
        if mode_of(insn.code) != Mode.MEM:
            raise self.unknown(insn)
        size = BYTES[insn.code & 0x18]
        address = self.read(insn.dst) + insn.off & U64
        if self.in_context(address):
            self.context_store(insn, address - self.context, size, value)
        else:
            self.check(insn.dst, address, size, write=True)
            store(address, size, value)

    def check(self, register: int, address: int, size: int, *, write: bool) -> None:
        refusal = self.memory.refusal(address, size, register, write=write)
        if refusal is not None:
            raise self.fault(refusal, register)

    def context_load(self, insn: Insn, offset: int, size: int) -> int:
        """bpf_convert_ctx_access, reading: `data` and its like are addresses."""
        refusal = context_refusal(offset, size, write=False)
        if refusal is not None:
            raise self.fault(f"reads through r{insn.src}: {refusal}", insn.src)
        if offset in POINTERS:
            return load(self.context + POINTERS[offset], 8)
        return load(self.context + offset, size)

    def context_store(self, insn: Insn, offset: int, size: int, value: int) -> None:
        """bpf_convert_ctx_access, writing: some fields are narrower than they look."""
        refusal = context_refusal(offset, size, write=True)
        if refusal is not None:
            raise self.fault(f"writes through r{insn.dst}: {refusal}", insn.dst)
        match NARROWED.get(offset):
            case Narrowing.LOW_16:
                value = unsigned(value, 16)
            case Narrowing.QUEUE if unsigned(value, 32) >= NO_QUEUE_MAPPING:
                value = load(self.context + At.QUEUE_MAPPING, 4)
        store(self.context + offset, size, value)

    def atomic(self, insn: Insn) -> None:
        """BPFATOMIC.  One thread sees no difference from the same operation in steps."""
        size = BYTES[insn.code & 0x18]
        if insn.imm == Atomic.LOAD_ACQ:
            self.write(insn.dst, self.loaded(insn, size))
            return
        address = self.read(insn.dst) + insn.off & U64
        if self.in_context(address):
            raise self.fault("the context cannot be accessed atomically")
        if address % size:
            raise self.fault(f"atomic access through r{insn.dst}: {address:#x} is not a multiple of {size}")
        self.check(insn.dst, address, size, write=True)
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
        elif (operation := ATOMIC.get(insn.imm & ~Atomic.FETCH)) is not None:
            store(address, size, operation(old, source))
            if insn.imm & Atomic.FETCH:
                self.write(insn.src, old)
        else:
            raise self.unknown(insn)


_STEPS = (
    Interpreter.load_immediate_or_packet,
    Interpreter.load,
    Interpreter.store_immediate,
    Interpreter.store_register,
    Interpreter.alu32,
    Interpreter.jump64,
    Interpreter.jump32,
    Interpreter.alu64,
)
"""What runs an instruction, by its class."""
