"""What do the functions of one program share while they become IR, and what does each begin with?

A `Unit` is the program: its instructions as the verifier saw them, where its functions begin and what they
are called in IR.  `ProgramText` is one function's text with what all parts of the lowering ask it for: the
address of a context field, the environment, and an error that names the instruction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..bpf.insn import Insn
from ..bpf.isa import PSEUDO_CALL, Class, Jmp, Pseudo, class_of, op_of
from ..errors import BytecodeError
from ..profile import KernelProfile
from ..verifier.program import VerifiedProgram
from .function_text import FunctionText
from .link import LinkedProgram
from .native_skb import At
from .native_symbols import Symbols


@dataclass(frozen=True)
class Unit:
    """One program under way to IR.

    `linked` and `symbols` are None of a program that refers to nothing outside itself.  `functions` are the
    IR names of its functions by their first instruction, `callbacks` those whose address it takes.
    """

    program: VerifiedProgram
    name: str
    profile: KernelProfile
    parameters: Mapping[int, int] | None = None
    linked: LinkedProgram | None = None
    symbols: Symbols | None = None
    functions: Mapping[int, str] = field(default_factory=dict)
    callbacks: frozenset[int] = frozenset()

    @property
    def insns(self) -> tuple[Insn, ...]:
        return self.program.insns

    def is_reached(self, index: int) -> bool:
        """Does some path lead to the instruction?  The verifier knows of extended programs."""
        return self.program.spec is None or index in self.program.reached


def function_starts(insns: tuple[Insn, ...]) -> tuple[list[int], frozenset[int]]:
    """Where the functions of a program begin, in order; and those whose address its code takes."""
    called = {
        at + 1 + insn.imm
        for at, insn in enumerate(insns)
        if insn.code == Class.JMP | Jmp.CALL and insn.src == PSEUDO_CALL
    }
    taken = {
        at + 1 + insn.imm for at, insn in enumerate(insns) if insn.is_ld_imm64 and insn.src == Pseudo.FUNC
    }
    return sorted({0} | called | taken), frozenset(taken)


def jump_target(index: int, insn: Insn) -> int | None:
    """The instruction that a jump may go to; None of what is not a jump (exit and call included)."""
    kind = class_of(insn.code)
    if kind not in (Class.JMP, Class.JMP32):
        return None
    op = op_of(insn.code)
    if op in (Jmp.CALL, Jmp.EXIT):
        return None
    if op == Jmp.JA and kind == Class.JMP32:
        return index + 1 + insn.imm
    return index + 1 + insn.off


class ProgramText(FunctionText):
    """One function of a program: the instructions from `start` to `end`.

    The entry returns `result`, i32 (the verdict) or i64 (all of r0); other functions i64.
    """

    def __init__(self, unit: Unit, start: int, end: int, symbol: str, result: str) -> None:
        super().__init__()
        self.unit = unit
        self.first, self.end = start, end
        self.name = symbol
        self.result = result
        self.callbacks: dict[str, None] = {}
        self.past: list[tuple[str, int]] = []
        self.uses_packet = self.uses_zero = self.uses_locate = self.uses_may_goto = False

    @property
    def is_entry(self) -> bool:
        """Does a run (or a tail call) begin here?"""
        return self.first == 0

    def wrong(self, index: int, what: str) -> BytecodeError:
        return BytecodeError(f"instruction {index}: {what}", index)

    def context_address(self, offset: int) -> str:
        """A pointer: into the NativeSkb."""
        return self.assign(f"getelementptr i8, ptr %skb, i64 {offset}")

    def environment(self) -> str:
        """An i64: the address of the NativeEnvironment."""
        return self.assign(f"load i64, ptr {self.context_address(At.ENVIRONMENT)}, align 8")

    def parameter(self, index: int) -> str | None:
        """An i32: what stands for the instruction's immediate, unsigned; None where it is its own."""
        parameters = self.unit.parameters
        slot = parameters.get(index) if parameters is not None else None
        if slot is None:
            return None
        address = self.assign(f"getelementptr i32, ptr %constants, i64 {slot}")
        return self.assign(f"load i32, ptr {address}, align 4")
