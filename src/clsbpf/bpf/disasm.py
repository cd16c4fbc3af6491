"""eBPF instructions → text, in the form that `forms` describes and `asm` reads back exactly."""

from __future__ import annotations

from collections.abc import Sequence

from .forms import FORMS, WIDE_FORMS, Form
from .helpers import BY_NUMBER
from .insn import Insn, encode
from .isa import REGISTERS, Class, Jmp

_BY_CODE: dict[int, list[Form]] = {}
for _form in FORMS:
    _BY_CODE.setdefault(_form.code, []).append(_form)

_WIDE_BY_SRC = {form.src: form for form in WIDE_FORMS}

_CALL = Class.JMP | Jmp.CALL


def disassemble(insns: Sequence[Insn], *, helper_names: bool = False, numbered: bool = False) -> str:
    """The program, a line an instruction (one for the two of a 64-bit immediate load).

    With `helper_names` calls are written as the kernel's verifier logs them (`call bpf_redirect#23`),
    with `numbered` each line begins with its instruction's index.  `asm.assemble` reads all of these.
    """
    lines = []
    pc = 0
    while pc < len(insns):
        text, slots = _line(insns, pc, helper_names)
        lines.append(f"{pc:4}: {text}" if numbered else text)
        pc += slots
    return "\n".join(lines)


def format_insn(insns: Sequence[Insn], pc: int) -> str:
    """The text of the instruction at `pc`, which for a 64-bit immediate load includes the next one's half."""
    return _line(insns, pc, helper_names=True)[0]


def _line(insns: Sequence[Insn], pc: int, helper_names: bool) -> tuple[str, int]:
    """The text at `pc` and how many instructions it covers."""
    insn = insns[pc]
    if insn.is_ld_imm64 and pc + 1 < len(insns):
        wide = _wide(insn, insns[pc + 1])
        if wide is not None:
            return wide, 2
    for form in _BY_CODE.get(insn.code, ()):
        if form.covers(insn):
            if helper_names and insn.code == _CALL and not insn.src and insn.imm in BY_NUMBER:
                return f"call {BY_NUMBER[insn.imm].symbol}#{insn.imm}", 1
            return form.write(insn), 1
    return f".quad 0x{int.from_bytes(encode([insn]), 'little'):016x}", 1


def _wide(first: Insn, second: Insn) -> str | None:
    """A 64-bit immediate load, or None when its fields hold something that its text would not say."""
    form = _WIDE_BY_SRC.get(first.src)
    if form is None or first.dst >= REGISTERS or first.off or second != Insn(0, imm=second.imm):
        return None
    if "FULL" not in form.fields and "HIGH" not in form.fields and second.imm:
        return None
    text = (
        form.template.replace("FULL", f"{second.imm_u32 << 32 | first.imm_u32:#x}")
        .replace("LOW", f"{first.imm:+d}" if form.template.startswith("subprog") else f"{first.imm}")
        .replace("HIGH", f"{second.imm:+d}")
    )
    return f"r{first.dst} = {text}"
