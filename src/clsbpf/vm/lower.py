"""How does a verified program become machine code?  As LLVM IR text, one function a program.

    define internal i32 @"name"(ptr %skb)        %skb: the NativeSkb; the result: r0

Only what is known to be safe gets here, so nothing is checked but what the instruction set itself
checks: LD_ABS and LD_IND against the packet's end, divisors against zero.

Loads from the packet.  `ld [k]` is one comparison of the captured length with k + size, then an
unaligned load and a byte swap.  A load past that end goes to one block that the whole function shares
and that returns 0.  Negative offsets, which count from a header, are looked up by a cold function.

The text is made to be placed in a larger module (engine/plan.py) and inlined there.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..bpf.insn import Insn
from ..bpf.isa import (
    FP,
    PSEUDO_CALL,
    R0,
    R1,
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
from ..errors import BytecodeError
from ..profile import CURRENT, KernelProfile
from ..verifier.program import VerifiedProgram
from .function_text import FunctionText, Value, is_constant
from .helpers import BODIES
from .native_skb import NARROWED, NO_QUEUE_MAPPING, POINTERS, At, Narrowing
from .packet import NOT_CAPTURED, locate
from .subset import Lowered, record_of

_BINARY = {
    Alu.ADD: "add",
    Alu.SUB: "sub",
    Alu.MUL: "mul",
    Alu.OR: "or",
    Alu.AND: "and",
    Alu.XOR: "xor",
}
_SHIFT = {Alu.LSH: "shl", Alu.RSH: "lshr", Alu.ARSH: "ashr"}
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
_ATOMIC: dict[int, str] = {Atomic.ADD: "add", Atomic.OR: "or", Atomic.AND: "and", Atomic.XOR: "xor"}


def lower(
    program: VerifiedProgram,
    name: str,
    *,
    profile: KernelProfile = CURRENT,
    parameters: Mapping[int, int] | None = None,
) -> Lowered:
    """The program as `define internal i32 @"name"(ptr %skb)`, and what must be in a module beside it.

    `data_end_ptr` of the NativeSkb must not be below `data_ptr`.

    With `parameters` it stands for all programs that differ only in some constants: the function takes
    a second pointer, to an array of u32, and the immediate of instruction i is element parameters[i].
    """
    return _Lowering(program, name, profile, parameters).run()


class _Lowering(FunctionText):
    """One program's way to IR text."""

    def __init__(
        self,
        program: VerifiedProgram,
        name: str,
        profile: KernelProfile,
        parameters: Mapping[int, int] | None,
    ) -> None:
        super().__init__()
        self.parameters = parameters
        self.insns = program.insns
        self.program = program
        self.name = name
        self.profile = profile
        self.past: list[tuple[str, int]] = []
        self.uses_packet = self.uses_zero = self.uses_locate = False

    # the function

    def run(self) -> Lowered:
        targets = {jump_target(index, insn) for index, insn in enumerate(self.insns)}
        self.registers = {R1: Value(wide="%skb.int")}
        self.unsaved = {R1}
        falls_through = True
        index = 0
        while index < len(self.insns):
            if index in targets or not falls_through:
                if falls_through:
                    self.save()
                    self.emit(f"br label %i{index}")
                self.start(f"i{index}")
                self.registers = {}
                self.unsaved = set()
            insn = self.insns[index]
            falls_through = self.instruction(index, insn)
            index += 2 if insn.is_ld_imm64 else 1
        assert not falls_through, "the last instruction is an exit or a jump"
        return Lowered("\n".join(self.text()), frozenset(self.declares), tuple(self.calls))

    def text(self) -> list[str]:
        """The whole definition, the parts that only some programs need included where they are."""
        arguments = "ptr noundef nonnull %skb"
        if self.parameters is not None:
            arguments += ", ptr noundef nonnull %constants"
        text = [f'define internal i32 @"{self.name}"({arguments}) nounwind {{', "entry:"]
        text += [f"%r{register} = alloca i64" for register in sorted(self.slots)]
        text.append("%skb.int = ptrtoint ptr %skb to i64")
        if self.uses_stack:
            text.append(f"%stack = alloca [{STACK_BYTES} x i8], align 16")
            if self.program.classic is None:
                # Programs may see stack that they did not write; classic ones never do.
                text.append(f"store [{STACK_BYTES} x i8] zeroinitializer, ptr %stack, align 16")
            text.append(f"%fp = getelementptr i8, ptr %stack, i64 {STACK_BYTES}")
        if self.uses_packet:
            text += [
                f"%data.at = getelementptr i8, ptr %skb, i64 {At.DATA_PTR:d}",
                "%data = load ptr, ptr %data.at, align 8",
                f"%end.at = getelementptr i8, ptr %skb, i64 {At.DATA_END_PTR:d}",
                "%end = load i64, ptr %end.at, align 8",
                "%data.int = ptrtoint ptr %data to i64",
                "%captured = sub nuw nsw i64 %end, %data.int",
            ]
        text += self.lines
        if self.past:
            origins = ", ".join(f"[ {end}, %{label} ]" for label, end in self.past)
            text += [
                "past:",
                f"%past.end = phi i64 {origins}",
                f"%length.at = getelementptr i8, ptr %skb, i64 {At.LEN:d}",
                "%length.32 = load i32, ptr %length.at, align 4",
                "%length = zext i32 %length.32 to i64",
                "%past.wire = icmp ule i64 %past.end, %length",
                "br i1 %past.wire, label %uncaptured, label %zero",
            ]
        if self.past or self.uses_locate:
            self.uses_zero = True
            text += [
                "uncaptured:",
                f"%past.at = getelementptr i8, ptr %skb, i64 {At.READ_PAST:d}",
                "store i32 1, ptr %past.at, align 4",
                "br label %zero",
            ]
        if self.uses_zero:
            text += ["zero:", "ret i32 0"]
        text.append("}")
        return text

    # instructions

    def instruction(self, index: int, insn: Insn) -> bool:
        """Lower one instruction; does control go on to the next?"""
        match class_of(insn.code):
            case Class.ALU:
                self.alu32(index, insn)
            case Class.ALU64:
                self.alu64(index, insn)
            case Class.JMP | Class.JMP32:
                return self.jump(index, insn)
            case Class.LD:
                self.load_immediate_or_packet(index, insn)
            case Class.LDX:
                self.load(index, insn)
            case Class.ST:
                self.store(index, insn, str(insn.imm), str(insn.imm))
            case Class.STX if mode_of(insn.code) == Mode.ATOMIC:
                self.atomic(index, insn)
            case Class.STX:
                self.store(index, insn, None, None)
        return True

    def wrong(self, index: int, what: str) -> BytecodeError:
        return BytecodeError(f"instruction {index}: {what}", index)

    # arithmetic

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
                self.registers[dst] = Value(source.wide, source.low, source.zero_extended)
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
        if self.profile.div_by_zero_exits:
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

    # jumps

    def jump(self, index: int, insn: Insn) -> bool:
        op = Jmp(op_of(insn.code))
        if op is Jmp.EXIT:
            self.emit(f"ret i32 {self.low(R0)}")
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
        condition = self.condition(op, insn, self.parameter(index))
        self.save()
        following = self.fresh_label("n")
        self.emit(f"br i1 {condition}, label %i{target}, label %{following}")
        self.start(following)
        return True

    def parameter(self, index: int) -> str | None:
        """An i32: what stands for the instruction's immediate, unsigned; None where it is its own."""
        slot = self.parameters.get(index) if self.parameters is not None else None
        if slot is None:
            return None
        address = self.assign(f"getelementptr i32, ptr %constants, i64 {slot}")
        return self.assign(f"load i32, ptr {address}, align 4")

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

    def call(self, index: int, insn: Insn) -> None:
        if insn.src == PSEUDO_CALL:
            raise self.wrong(index, "calls between functions of a program cannot be compiled yet")
        body = BODIES.get(insn.imm)
        if insn.src or body is None:
            raise self.wrong(index, f"there is no body for helper {insn.imm}")
        first = "%skb.int"
        if not body.takes_skb:
            first = self.assign(f"load i64, ptr {self.context_address(At.ENVIRONMENT)}, align 8")
        arguments = [f"i64 {first}", *(f"i64 {self.wide(register)}" for register in body.registers)]
        symbol = self.symbol(record_of(body.function))
        self.set_wide(R0, self.assign(f"call i64 {symbol}({', '.join(arguments)})"))

    # memory

    def load_immediate_or_packet(self, index: int, insn: Insn) -> None:
        size = SIZE_BYTES[Size(size_of(insn.code))]
        match mode_of(insn.code):
            case Mode.IMM if insn.is_ld_imm64:
                if insn.src:
                    raise self.wrong(index, "references to maps and functions cannot be compiled yet")
                high = self.insns[index + 1].imm
                self.set_wide(insn.dst, str(high << 32 | insn.imm_u32))
            case Mode.ABS if insn.imm >= 0:
                self.load_absolute(insn.imm, size)
            case Mode.ABS:
                self.set_low(R0, self.load_big_endian(self.locate(str(insn.imm), size), size))
            case Mode.IND:
                self.load_indirect(insn, size)
            case _:
                raise self.wrong(index, f"unknown opcode {insn.code:#04x}")

    def load_absolute(self, offset: int, size: int) -> None:
        self.uses_packet = True
        short = self.assign(f"icmp ult i64 %captured, {offset + size}")
        self.past.append((self.current, offset + size))
        inside = self.fresh_label("in")
        self.emit(f"br i1 {short}, label %past, label %{inside}")
        self.start(inside)
        self.set_low(R0, self.load_big_endian(str(offset), size))

    def load_indirect(self, insn: Insn, size: int) -> None:
        self.uses_packet = True
        offset = self.low(insn.src)
        if insn.imm:
            offset = self.assign(f"add i32 {offset}, {insn.imm}")
        wide = self.zero_extend(offset)
        last = self.assign(f"sub i64 %captured, {size}")
        fits = self.assign(f"icmp sle i64 {wide}, {last}")  # an offset below 0 is huge here
        inside, outside, joined = (self.fresh_label(kind) for kind in ("in", "out", "ld"))
        self.emit(f"br i1 {fits}, label %{inside}, label %{outside}")
        self.start(outside)
        at = self.locate(self.assign(f"sext i32 {offset} to i64"), size)
        slow = self.load_big_endian(at, size)
        slow_end = self.current
        self.emit(f"br label %{joined}")
        self.start(inside)
        fast = self.load_big_endian(wide, size)
        self.emit(f"br label %{joined}")
        self.start(joined)
        self.set_low(R0, self.assign(f"phi i32 [ {fast}, %{inside} ], [ {slow}, %{slow_end} ]"))

    def load_big_endian(self, offset: str, size: int) -> str:
        """An i32: `size` bytes at `offset` of the packet, which are there."""
        bits = size * 8
        address = self.assign(f"getelementptr i8, ptr %data, i64 {offset}")
        loaded = self.assign(f"load i{bits}, ptr {address}, align 1")
        if size > 1:
            loaded = self.byte_swap(bits, loaded)
        return loaded if size == 4 else self.assign(f"zext i{bits} {loaded} to i32")

    def locate(self, offset: str, size: int) -> str:
        """An i64: where `locate` finds the bytes; the program returns 0 when they are not there."""
        self.uses_packet = self.uses_locate = True
        fields = [
            self.skb_field(at, bits)
            for at, bits in ((At.LEN, "u32"), (At.NET_OFF, "s32"), (At.MAC_OFF, "s32"))
        ]
        arguments = ", ".join(f"i64 {each}" for each in ("%captured", *fields, offset, str(size)))
        at = self.assign(f"call i64 {self.symbol(record_of(locate))}({arguments})")
        missing = self.assign(f"icmp sle i64 {at}, {NOT_CAPTURED}")
        lost, following = self.fresh_label("lost"), self.fresh_label("ld")
        self.emit(f"br i1 {missing}, label %{lost}, label %{following}")
        self.start(lost)
        uncaptured = self.assign(f"icmp eq i64 {at}, {NOT_CAPTURED}")
        self.emit(f"br i1 {uncaptured}, label %uncaptured, label %zero")
        self.start(following)
        return at

    def skb_field(self, at: At, kind: str) -> str:
        """An i64: a 32-bit field of the NativeSkb."""
        address = self.context_address(at)
        loaded = self.assign(f"load i32, ptr {address}, align 4")
        return self.assign(f"{'zext' if kind == 'u32' else 'sext'} i32 {loaded} to i64")

    def address(self, register: int, offset: int) -> str:
        """A pointer: register + offset."""
        if register == FP:
            self.uses_stack = True
            return self.assign(f"getelementptr i8, ptr %stack, i64 {STACK_BYTES + offset}")
        base = self.assign(f"inttoptr i64 {self.wide(register)} to ptr")
        return self.assign(f"getelementptr i8, ptr {base}, i64 {offset}") if offset else base

    def context_address(self, offset: int) -> str:
        return self.assign(f"getelementptr i8, ptr %skb, i64 {offset}")

    def load(self, index: int, insn: Insn) -> None:
        size = SIZE_BYTES[Size(size_of(insn.code))]
        bits = size * 8
        signed = mode_of(insn.code) == Mode.MEMSX
        if index in self.program.ctx_accesses:
            pointer = POINTERS.get(insn.off)
            if pointer is not None:
                address = self.context_address(pointer)
                self.set_wide(insn.dst, self.assign(f"load i64, ptr {address}, align 8"))
                return
            address = self.context_address(insn.off)
        else:
            address = self.address(insn.src, insn.off)
        loaded = self.assign(f"load i{bits}, ptr {address}, align 1")
        if size == 8:
            self.set_wide(insn.dst, loaded)
        elif signed:
            self.set_wide(insn.dst, self.assign(f"sext i{bits} {loaded} to i64"))
        elif size == 4:
            self.set_low(insn.dst, loaded)
        else:
            self.set_low(insn.dst, self.assign(f"zext i{bits} {loaded} to i32"))

    def store(self, index: int, insn: Insn, wide: str | None, low: str | None) -> None:
        """ST (the constant is given) or STX (None: the source register)."""
        size = SIZE_BYTES[Size(size_of(insn.code))]
        bits = size * 8
        if size == 8:
            value = wide if wide is not None else self.wide(insn.src)
        else:
            value = low if low is not None else self.low(insn.src)
            if size < 4:
                value = self.assign(f"trunc i32 {value} to i{bits}")
        if index not in self.program.ctx_accesses:
            address = self.address(insn.dst, insn.off)
        else:
            address = self.context_address(insn.off)
            narrowing = NARROWED.get(insn.off)
            if narrowing is not None and size == 4:
                value = self.narrowed(narrowing, value, address)
        self.emit(f"store i{bits} {value}, ptr {address}, align 1")

    def narrowed(self, narrowing: Narrowing, value: str, address: str) -> str:
        """What a context field of 16 bits becomes when 32 are stored."""
        if narrowing is Narrowing.LOW_16:
            return self.assign(f"and i32 {value}, 65535")
        old = self.assign(f"load i32, ptr {address}, align 1")
        fits = self.assign(f"icmp ult i32 {value}, {NO_QUEUE_MAPPING}")
        return self.assign(f"select i1 {fits}, i32 {value}, i32 {old}")

    def atomic(self, index: int, insn: Insn) -> None:
        size = SIZE_BYTES[Size(size_of(insn.code))]
        bits = size * 8
        if insn.imm == Atomic.LOAD_ACQ:
            address = self.address(insn.src, insn.off)
            loaded = self.assign(f"load atomic i{bits}, ptr {address} acquire, align {size}")
            self.set_from(insn.dst, bits, loaded)
            return
        address = self.address(insn.dst, insn.off)
        if insn.imm == Atomic.STORE_REL:
            value = self.wide(insn.src) if bits == 64 else self.low(insn.src)
            if bits < 32:
                value = self.assign(f"trunc i32 {value} to i{bits}")
            self.emit(f"store atomic i{bits} {value}, ptr {address} release, align {size}")
            return
        if size < 4:
            raise self.wrong(index, f"atomic operation on {size} bytes")
        read = self.wide if bits == 64 else self.low
        source = read(insn.src)
        if insn.imm == Atomic.CMPXCHG:
            pair = self.assign(f"cmpxchg ptr {address}, i{bits} {read(R0)}, i{bits} {source} seq_cst seq_cst")
            self.set_from(R0, bits, self.assign(f"extractvalue {{ i{bits}, i1 }} {pair}, 0"))
        elif insn.imm == Atomic.XCHG:
            self.set_from(
                insn.src, bits, self.assign(f"atomicrmw xchg ptr {address}, i{bits} {source} seq_cst")
            )
        else:
            operation = _ATOMIC.get(insn.imm & ~Atomic.FETCH)
            if operation is None:
                raise self.wrong(index, f"unknown atomic operation {insn.imm:#x}")
            fetch = insn.imm & Atomic.FETCH
            order = "seq_cst" if fetch else "monotonic"
            old = self.assign(f"atomicrmw {operation} ptr {address}, i{bits} {source} {order}")
            if fetch:
                self.set_from(insn.src, bits, old)

    def set_from(self, register: int, bits: int, value: str) -> None:
        """The register becomes the zero extension of a value of `bits` bits."""
        if bits == 64:
            self.set_wide(register, value)
        elif bits == 32:
            self.set_low(register, value)
        else:
            self.set_low(register, self.assign(f"zext i{bits} {value} to i32"))


def jump_target(index: int, insn: Insn) -> int | None:
    """The instruction that a jump may go to; None of what is not a jump (exit and call included)."""
    kind = class_of(insn.code)
    if kind not in (Class.JMP, Class.JMP32):
        return None
    op = op_of(insn.code)
    if op in (Jmp.CALL, Jmp.EXIT):
        return None
    if op == Jmp.JCOND:
        raise BytecodeError(f"instruction {index}: may_goto cannot be run yet", index)
    if op == Jmp.JA and kind == Class.JMP32:
        return index + 1 + insn.imm
    return index + 1 + insn.off
