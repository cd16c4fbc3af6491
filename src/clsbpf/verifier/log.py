"""The log, in the kernel's own form: instructions, and what is known where.

A line an instruction, as `disasm` writes it, with the state behind it: `R1=pkt(r=14)`, `fp-8=scalar()`.
What is not known is not printed, and bounds that say nothing are left out (print_verifier_state).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..bpf.disasm import format_insn
from .ranges import S32_MAX, S32_MIN, S64_MAX, S64_MIN, Range
from .state import DYNPTR_BYTES, INVALID, IRQ_BYTES, ITER_BYTES, MISC, SPILL, Frame, State
from .state import ZERO as ZERO_BYTE
from .tnum import U32, U64
from .values import (
    ADD_CONST,
    MAP_KEY,
    MAP_PTR,
    MAP_VALUE,
    MEM,
    NOT_INIT,
    PACKETS,
    SCALAR,
    STACK,
    Reg,
)

if TYPE_CHECKING:
    from .walk import Walk

_SMALL_MAX, _SMALL_MIN = 9999, -9999


def _number(value: int, bits: int, *, signed: bool) -> str:
    """verbose_unum, verbose_snum: small ones in decimal, the others in hexadecimal."""
    if _SMALL_MIN <= value <= _SMALL_MAX if signed else value <= _SMALL_MAX:
        return str(value)
    return f"{value & (1 << bits) - 1:#x}"


def range_fields(var: Range) -> Iterator[str]:
    """print_reg_state's bounds: those that say something, equal ones joined by `=`."""
    fields = [
        ("smin", var.smin, var.smin == S64_MIN, True, 64),
        ("smax", var.smax, var.smax == S64_MAX, True, 64),
        ("umin", var.umin, var.umin == 0, False, 64),
        ("umax", var.umax, var.umax == U64, False, 64),
        ("smin32", var.s32_min, var.s32_min == S32_MIN, True, 32),
        ("smax32", var.s32_max, var.s32_max == S32_MAX, True, 32),
        ("umin32", var.u32_min, var.u32_min == 0, False, 32),
        ("umax32", var.u32_max, var.u32_max == U32, False, 32),
    ]
    done: set[int] = set()
    for i, (name, value, nothing, signed, bits) in enumerate(fields):
        if nothing or i in done:
            continue
        names = [name]
        for j in range(i + 1, len(fields)):
            if j not in done and not fields[j][2] and fields[j][1] == value:
                names.append(fields[j][0])
                done.add(j)
        yield "=".join(names) + "=" + _number(value, bits, signed=signed)
    if var.mask not in (0, U64):
        yield f"var_off=({var.value:#x}; {var.mask:#x})"


def register_text(reg: Reg) -> str:
    """One register: `scalar(id=1,umax=255,var_off=(0x0; 0xff))`."""
    from .access import kind_name

    if reg.kind == NOT_INIT:
        return "?"
    if reg.kind == SCALAR and reg.var.const is not None:
        signed = reg.var.smin
        return ("P" if reg.precise else "") + _number(signed, 64, signed=True)
    parts: list[str] = []
    name = kind_name(reg)
    if reg.kind == STACK and not reg.var.mask:
        return f"fp{reg.off + reg.var.smin}" if reg.off or reg.var.value else f"fp{0}"
    if reg.id:
        parts.append(
            f"id={reg.id & ~ADD_CONST}" + (f"+{reg.off}" if reg.kind == SCALAR and reg.id & ADD_CONST else "")
        )
    if reg.ref:
        parts.append(f"ref_obj_id={reg.ref}")
    if reg.kind != SCALAR and reg.off:
        parts.append(f"off={reg.off}")
    if reg.kind in PACKETS:
        parts.append(f"r={reg.size}")
    if reg.kind in (MAP_PTR, MAP_VALUE, MAP_KEY) and reg.obj is not None:
        if reg.obj.name:
            parts.append(f"map={reg.obj.name}")
        parts.append(f"ks={reg.obj.key_size},vs={reg.obj.value_size}")
    if reg.kind == MEM:
        parts.append(f"sz={reg.size}")
    if reg.kind == SCALAR or reg.var.mask:
        parts.extend(range_fields(reg.var))
    elif reg.var.value:
        parts.append(f"imm={reg.var.smin:#x}")
    text = name + "(" + ",".join(parts) + ")"
    return ("P" if reg.precise and reg.kind == SCALAR else "") + text


def state_text(v: Walk, state: State) -> str:
    """print_verifier_state of the innermost frame."""
    frame = state.frames[-1]
    parts = [f"frame{frame.number}:"] if frame.number else []
    parts += [f"R{n}={register_text(reg)}" for n, reg in enumerate(frame.regs) if reg.kind != NOT_INIT]
    parts += list(_stack_text(frame))
    if state.refs:
        parts.append("refs=" + ",".join(str(ref.id) for ref in state.refs))
    return " ".join(parts)


_BYTES = {
    INVALID: "?",
    MISC: "m",
    ZERO_BYTE: "0",
    SPILL: "r",
    DYNPTR_BYTES: "d",
    ITER_BYTES: "i",
    IRQ_BYTES: "f",
}


def _stack_text(frame: Frame) -> Iterator[str]:
    for number, slot in sorted(frame.stack.items()):
        at = -8 * (number + 1)
        if slot.kinds[0] == SPILL:
            rest = "".join(_BYTES[k] for k in reversed(slot.kinds) if k != SPILL)
            yield f"fp{at}={rest}{register_text(slot.reg)}"
        elif any(slot.kinds):
            yield f"fp{at}=" + "".join(_BYTES[k] for k in reversed(slot.kinds))


class Log:
    """What was said, line by line; nothing is kept unless it is wanted."""

    def __init__(self, v: Walk, *, verbose: bool) -> None:
        self.v = v
        self.verbose = verbose
        self.lines: list[str] = []
        self._line_said: object = None

    def instruction(self, at: int) -> None:
        """The source line (when it is another one) and the instruction."""
        source = self.v.spec.line_at(at)
        if source is not None and source is not self._line_said:
            self._line_said = source
            self.lines.append(f"; {source.text} @ {source.file.rpartition('/')[2]}:{source.line}")
        insn = self.v.insns[at]
        self.lines.append(f"{at}: ({insn.code:02x}) {format_insn(self.v.insns, at)}")

    def state(self) -> None:
        """What is known now, behind the last instruction."""
        text = state_text(self.v, self.v.state)
        if self.lines:
            self.lines[-1] = f"{self.lines[-1]:<40} ; {text}"

    def say(self, line: str) -> None:
        """A line of its own."""
        self.lines.append(line)

    @property
    def text(self) -> str:
        """The whole log."""
        return "\n".join(self.lines) + "\n" if self.lines else ""
