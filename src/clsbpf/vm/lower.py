"""How does a verified program become machine code?  As LLVM IR text, one function a function of the program.

    define internal i32 @"name"(ptr %skb)        %skb: the NativeSkb; the result: r0

Only what is known to be safe gets here, so nothing is checked but what the instruction set itself
checks: LD_ABS and LD_IND against the packet's end, divisors against zero.  What no path leads to becomes a
call that says so (`not_reached`).

A classic program, or any other that refers to nothing outside itself, is `lower`ed as it is.  A program
linked with maps (`lower_linked`) is its functions, and an entry:

    name                  what a filter calls: begins a run (no tail calls yet), then NAME.main
    name.main             the program itself, all of r0 (i64): also what a tail call jumps to
    name.f17              its function at instruction 17: (ptr %skb, i64 r1, …, i64 r5), i64
    name.callback, .loop  what lower_callbacks.py adds

The text is made to be placed in a larger module (engine/plan.py) and inlined there.  How instructions are
written: lower_arithmetic.py, lower_memory.py, lower_calls.py, lower_jumps.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..bpf.helpers import BY_NAME
from ..bpf.insn import Insn
from ..bpf.isa import R1, R5, STACK_BYTES, Class, Jmp, Mode, class_of, mode_of
from ..profile import CURRENT, KernelProfile
from ..verifier.program import VerifiedProgram
from .control import MAX_LOOPS
from .environment import EnvironmentAt
from .function_text import Value
from .link import LinkedProgram
from .lower_callbacks import CALLBACKS, callback_definition
from .lower_jumps import JumpText
from .lower_unit import Unit, function_starts, jump_target
from .native_calls import calls_python, not_reached
from .native_skb import At
from .native_symbols import Symbols
from .subset import Lowered, Subset, record_of

_CALL = Class.JMP | Jmp.CALL
_TAIL_CALL = BY_NAME["tail_call"].number


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
    return _lower_unit(Unit(program, name, profile, parameters))


def lower_linked(
    linked: LinkedProgram, name: str, symbols: Symbols, *, profile: KernelProfile = CURRENT
) -> Lowered:
    """A linked program that the verifier accepted, as `define internal i32 @"name"(ptr %skb)`.

    `symbols` gets what the module must be given when it is loaded; it and `linked` keep what the code
    points to, and must live as long as the code.
    """
    assert linked.verified is not None, "only what is proved safe becomes machine code"
    linked.require_helpers()
    lowered = _lower_unit(Unit(linked.verified, name, profile, None, linked, symbols))
    symbols.add_external(lowered.calls)
    return lowered


def main_symbol(name: str) -> str:
    """The function that a tail call jumps to, of the program lowered as `name`."""
    return f"{name}.main"


def _lower_unit(unit: Unit) -> Lowered:
    insns = unit.insns
    starts, callbacks = function_starts(insns)
    wrapped = unit.linked is not None
    names = {start: f"{unit.name}.f{start}" for start in starts}
    names[0] = main_symbol(unit.name) if wrapped else unit.name
    unit = replace(unit, functions=names, callbacks=callbacks)
    functions = [
        _Lowering(unit, start, end, names[start], "i64" if start or wrapped else "i32")
        for start, end in zip(starts, [*starts[1:], len(insns)], strict=True)
    ]
    parts: list[str] = []
    declares: set[str] = set()
    calls: dict[Subset, None] = {}
    wanted: dict[str, None] = {}
    for function in functions:
        function.run()
        parts += function.text()
        declares |= function.declares
        calls |= function.calls
        wanted |= function.callbacks
    for name in wanted:
        definition, called = CALLBACKS[name]
        parts.append(definition(unit))
        calls |= dict.fromkeys(called)
    if wanted:
        parts.append(callback_definition(unit))
    if wrapped:
        declares.add("declare ptr @llvm.frameaddress.p0(i32 immarg)")
        parts.insert(0, _entry(unit, any(calls_python(called) for called in calls)))
    return Lowered("\n".join(parts), frozenset(declares), tuple(calls))


def _entry(unit: Unit, python: bool) -> str:
    """`name`: a run begins."""
    lines = [
        f'define internal i32 @"{unit.name}"(ptr noundef nonnull %skb) nounwind {{',
        f"%at = getelementptr i8, ptr %skb, i64 {At.ENVIRONMENT:d}",
        "%environment = load ptr, ptr %at, align 8",
    ]
    tail = any(insn.imm == _TAIL_CALL for insn in unit.insns if insn.code == _CALL and insn.src == 0)
    if tail:
        lines += [
            f"%calls.at = getelementptr i8, ptr %environment, i64 {EnvironmentAt.TAIL_CALLS:d}",
            "store i64 0, ptr %calls.at, align 8",
        ]
    if tail or python:
        lines += [
            f"%high.at = getelementptr i8, ptr %environment, i64 {EnvironmentAt.STACK_HIGH:d}",
            "%frame = call ptr @llvm.frameaddress.p0(i32 0)",
            "store ptr %frame, ptr %high.at, align 8",
        ]
    lines += [
        f'%result = call i64 @"{main_symbol(unit.name)}"(ptr noundef nonnull %skb)',
        "%verdict = trunc i64 %result to i32",
        "ret i32 %verdict",
        "}",
    ]
    return "\n".join(lines)


class _Lowering(JumpText):
    """One function's way to IR text."""

    def run(self) -> None:
        """Lower its instructions."""
        insns = self.unit.insns
        targets = {
            jump_target(index, insns[index])
            for index in range(self.first, self.end)
            if self.unit.is_reached(index)
        }
        self.registers = {R1: Value(wide="%skb.int")}
        if not self.is_entry:
            self.registers = {register: Value(wide=f"%a{register}") for register in range(R1, R5 + 1)}
        self.unsaved = set(self.registers)
        falls_through = True
        index = self.first
        while index < self.end:
            if index in targets or (not falls_through and self.unit.is_reached(index)):
                if falls_through:
                    self.save()
                    self.emit(f"br label %i{index}")
                self.start(f"i{index}")
                self.registers = {}
                self.unsaved = set()
                falls_through = True
            insn = insns[index]
            if falls_through:
                falls_through = self.instruction(index, insn)
            index += 2 if insn.is_ld_imm64 else 1
        assert not falls_through, "the last instruction is an exit or a jump"

    def text(self) -> list[str]:
        """The whole definition, the parts that only some programs need included where they are."""
        arguments = "ptr noundef nonnull %skb"
        if self.unit.parameters is not None:
            arguments += ", ptr noundef nonnull %constants"
        if not self.is_entry:
            arguments += "".join(f", i64 %a{register}" for register in range(R1, R5 + 1))
        text = [f'define internal {self.result} @"{self.name}"({arguments}) nounwind {{', "entry:"]
        text += [f"%r{register} = alloca i64" for register in sorted(self.slots)]
        text.append("%skb.int = ptrtoint ptr %skb to i64")
        if self.uses_stack:
            text.append(f"%stack = alloca [{STACK_BYTES} x i8], align 16")
            if self.unit.program.classic is None:
                # Programs may see stack that they did not write, if they come there; classic ones never do.
                touched = min((self.unit.program.stacks.get(self.first, STACK_BYTES) + 7) & ~7, STACK_BYTES)
                text += [
                    f"%touched = getelementptr i8, ptr %stack, i64 {STACK_BYTES - touched}",
                    f"call void @llvm.memset.p0.i64(ptr %touched, i8 0, i64 {touched}, i1 false)",
                ]
            text.append(f"%fp = getelementptr i8, ptr %stack, i64 {STACK_BYTES}")
        if self.uses_may_goto:
            text += ["%may_goto = alloca i64", f"store i64 {MAX_LOOPS}, ptr %may_goto, align 8"]
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
            text += ["zero:", f"ret {self.result} 0"]
        text.append("}")
        return text

    def instruction(self, index: int, insn: Insn) -> bool:
        """Lower one instruction; does control go on to the next?"""
        if not self.unit.is_reached(index):
            self.emit(f"call i64 {self.symbol(record_of(not_reached))}(i64 {index})")
            self.emit(f"ret {self.result} 0")
            return False
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
