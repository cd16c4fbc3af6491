"""How is the text of one function put together, and what is known of a register at a point in it?

A program's registers are assigned again and again; LLVM wants each value named once.  Through
straight-line code a register's value is tracked here as a `Value`: an SSA name or a constant, 64 bits
wide, or 32 bits, or both.  Where control flow joins it goes through a stack slot (`%r3`), which LLVM
turns back into an SSA value.

Nearly all of classic BPF is 32-bit arithmetic on zero-extended values, so keeping both widths saves most
of the conversions.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..bpf.insn import s32
from ..bpf.isa import FP
from .maps.map import Map
from .subset import Subset


@dataclass(slots=True)
class Value:
    """What a register holds: its 64 bits, or the 32 bits that they are the zero extension of, or both.

    `low` without `wide` means that the upper half is zero.  Each is an SSA name or a decimal constant.
    """

    wide: str | None = None
    low: str | None = None
    zero_extended: bool = False
    """Is the upper half known to be zero?"""
    known: Map | None = None
    """The map that it is the address of, where that is known."""


class FunctionText:
    """The body of a function under construction, and its registers' values where it has got to."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.declares: set[str] = set()
        self.calls: dict[Subset, None] = {}
        self.registers: dict[int, Value] = {}
        self.unsaved: set[int] = set()
        self.slots: set[int] = set()
        self.current = "entry"
        self.uses_stack = False
        self._count = 0

    # text

    def emit(self, line: str) -> None:
        self.lines.append(line)

    def assign(self, expression: str) -> str:
        """A new SSA name for an expression."""
        self._count += 1
        name = f"%t{self._count}"
        self.lines.append(f"{name} = {expression}")
        return name

    def start(self, label: str) -> None:
        """Begin the basic block `label`."""
        self.lines.append(f"{label}:")
        self.current = label

    def fresh_label(self, kind: str) -> str:
        self._count += 1
        return f"{kind}.{self._count}"

    def symbol(self, record: Subset) -> str:
        """The symbol of a native function, which the module then needs."""
        self.calls[record] = None
        return f'@"{record.symbol}"'

    # registers

    def value(self, register: int) -> Value:
        """The register's value in this block."""
        found = self.registers.get(register)
        if found is None:
            if register == FP:
                self.uses_stack = True
                found = Value(wide=self.assign("ptrtoint ptr %fp to i64"))
            else:
                self.slots.add(register)
                found = Value(wide=self.assign(f"load i64, ptr %r{register}"))
            self.registers[register] = found
        return found

    def wide(self, register: int) -> str:
        """The 64 bits of a register."""
        value = self.value(register)
        if value.wide is None:
            assert value.low is not None
            value.wide = self.zero_extend(value.low)
        return value.wide

    def low(self, register: int) -> str:
        """The low 32 bits of a register."""
        value = self.value(register)
        if value.low is None:
            assert value.wide is not None
            value.low = (
                str(s32(int(value.wide)))
                if is_constant(value.wide)
                else self.assign(f"trunc i64 {value.wide} to i32")
            )
        return value.low

    def zero_extend(self, low: str) -> str:
        if is_constant(low):
            return str(int(low) & 0xFFFFFFFF)
        return self.assign(f"zext i32 {low} to i64")

    def set_wide(self, register: int, wide: str) -> None:
        small = is_constant(wide) and 0 <= int(wide) <= 0xFFFFFFFF
        self.registers[register] = Value(wide=wide, zero_extended=small)
        self.unsaved.add(register)

    def set_low(self, register: int, low: str) -> None:
        """The register becomes the zero extension of 32 bits."""
        self.registers[register] = Value(low=low, zero_extended=True)
        self.unsaved.add(register)

    def save(self) -> None:
        """Put what this block assigned into the slots, where other blocks look for it."""
        for register in sorted(self.unsaved):
            self.slots.add(register)
            self.emit(f"store i64 {self.wide(register)}, ptr %r{register}")
        self.unsaved = set()


def is_constant(value: str) -> bool:
    """Is an operand a constant, not an SSA name?"""
    return value[0] != "%"
