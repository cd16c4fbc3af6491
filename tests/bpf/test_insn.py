"""struct bpf_insn: its bytes, its limits, its constructors.  (`test_asm.py` says how each is written.)"""

from __future__ import annotations

import pytest

from clsbpf.bpf import insn as e
from clsbpf.bpf.insn import Insn, decode, encode, s32
from clsbpf.bpf.isa import (
    Alu,
    Class,
    Jmp,
    Mode,
    Pseudo,
    Size,
    class_of,
    mode_of,
    op_of,
    size_of,
    src_of,
)
from clsbpf.errors import BytecodeError

ON_THE_WIRE = [
    ((e.mov64_reg(6, 1),), "bf16000000000000"),
    ((e.mov64_imm(0, -1),), "b7000000ffffffff"),
    ((e.ldx(Size.W, 2, 1, 76),), "61124c0000000000"),
    ((e.stx(Size.DW, 10, -8, 1),), "7b1af8ff00000000"),
    ((e.jmp_imm(Jmp.JNE, 2, 0x86DD, 5),), "55020500dd860000"),
    (e.ld_imm64(1, 0x1122334455667788, Pseudo.MAP_FD), "18110000887766550000000044332211"),
    ((e.exit_(),), "9500000000000000"),
]


@pytest.mark.parametrize(("insns", "wire"), ON_THE_WIRE)
def test_eight_bytes_each_way(insns: tuple[Insn, ...], wire: str) -> None:
    assert encode(insns) == bytes.fromhex(wire)
    assert decode(bytes.fromhex(wire)) == insns


@pytest.mark.parametrize("length", [1, 7, 9])
def test_part_of_an_instruction_is_an_error(length: int) -> None:
    with pytest.raises(BytecodeError, match=f"{length} bytes are not a whole number of 8-byte instructions"):
        decode(bytes(length))


@pytest.mark.parametrize(
    "fields",
    [
        (256,),
        (-1,),
        (0, 16),
        (0, -1),
        (0, 0, 16),
        (0, 0, 0, 0x8000),
        (0, 0, 0, -0x8001),
        (0, 0, 0, 0, 1 << 31),
    ],
)
def test_a_field_that_does_not_fit_is_an_error(fields: tuple[int, ...]) -> None:
    with pytest.raises(BytecodeError, match="does not fit struct bpf_insn"):
        Insn(*fields)


def test_a_code_comes_apart_as_it_was_put_together() -> None:
    code = e.atomic(Size.DW, 0, 1, 0, 2).code
    assert (class_of(code), mode_of(code), size_of(code)) == (Class.STX, Mode.ATOMIC, Size.DW)
    code = e.alu32_reg(Alu.ARSH, 1, 2).code
    assert (class_of(code), op_of(code), src_of(code)) == (Class.ALU, Alu.ARSH, 0x08)


@pytest.mark.parametrize(
    ("value", "signed"),
    [(0, 0), (0x7FFFFFFF, 0x7FFFFFFF), (0x80000000, -0x80000000), (0xFFFFFFFF, -1), (1 << 32, 0), (-1, -1)],
)
def test_s32(value: int, signed: int) -> None:
    assert s32(value) == signed
    assert Insn(0, imm=signed).imm_u32 == value & 0xFFFFFFFF


def test_a_program_is_laid_flat() -> None:
    assert e.program(e.exit_(), e.ld_imm64(1, 5), [e.ja(1)]) == (e.exit_(), *e.ld_imm64(1, 5), e.ja(1))
