"""struct sock_filter: its bytes, its limits, its constructors."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import clsbpf
from clsbpf.bpf import classic as c
from clsbpf.bpf.classic import Ancillary, SockFilter, decode_ops, encode_ops
from clsbpf.bpf.isa import Alu, Jmp, Size
from clsbpf.errors import BytecodeError

ON_THE_WIRE = [
    (c.ld_abs(Size.H, 12), "2800 00 00 0c000000"),
    (c.jmp_k(Jmp.JEQ, 0x800, 1, 2), "1500 01 02 00080000"),
    (c.ret_k(0xFFFFFFFF), "0600 00 00 ffffffff"),
    (SockFilter(0x1234, 255, 254, 0x89ABCDEF), "3412 ff fe efcdab89"),
]


@pytest.mark.skipif(
    sys.byteorder == "big", reason="the bytes are in host order, and written here little endian"
)
@pytest.mark.parametrize(("insn", "wire"), ON_THE_WIRE)
def test_eight_bytes_each_way(insn: SockFilter, wire: str) -> None:
    assert encode_ops([insn]) == bytes.fromhex(wire)
    assert decode_ops(bytes.fromhex(wire)) == (insn,)


def test_a_list_is_its_instructions_one_after_another() -> None:
    insns = tuple(insn for insn, _ in ON_THE_WIRE)
    assert decode_ops(encode_ops(insns)) == insns
    assert decode_ops(b"") == ()


@pytest.mark.parametrize("length", [1, 7, 9, 15])
def test_part_of_an_instruction_is_an_error(length: int) -> None:
    with pytest.raises(BytecodeError, match=f"{length} bytes are not a whole number of 8-byte instructions"):
        decode_ops(bytes(length))


@pytest.mark.parametrize(
    "fields", [(0x10000,), (-1,), (0, 256), (0, -1), (0, 0, 256), (0, 0, 0, 1 << 32), (0, 0, 0, -1)]
)
def test_a_field_that_does_not_fit_is_an_error(fields: tuple[int, ...]) -> None:
    with pytest.raises(BytecodeError, match="does not fit struct sock_filter"):
        SockFilter(*fields)


@pytest.mark.parametrize(
    ("insn", "code", "k"),
    [
        (c.ld_abs(Size.W, 4), 0x20, 4),
        (c.ld_abs(Size.B, -1), 0x30, 0xFFFFFFFF),
        (c.ld_ind(Size.H, 2), 0x48, 2),
        (c.ld_ad(Ancillary.VLAN_TAG), 0x20, 0xFFFFF02C),
        (c.ld_imm(7), 0x00, 7),
        (c.ld_mem(3), 0x60, 3),
        (c.ld_len(), 0x80, 0),
        (c.ldx_imm(7), 0x01, 7),
        (c.ldx_mem(3), 0x61, 3),
        (c.ldx_len(), 0x81, 0),
        (c.ldx_msh(14), 0xB1, 14),
        (c.st(2), 0x02, 2),
        (c.stx(2), 0x03, 2),
        (c.alu_k(Alu.ADD, -1), 0x04, 0xFFFFFFFF),
        (c.alu_x(Alu.XOR), 0xAC, 0),
        (c.neg(), 0x84, 0),
        (c.ja(5), 0x05, 5),
        (c.jmp_x(Jmp.JSET, 1, 2), 0x4D, 0),
        (c.ret_a(), 0x16, 0),
        (c.tax(), 0x07, 0),
        (c.txa(), 0x87, 0),
    ],
)
def test_constructors(insn: SockFilter, code: int, k: int) -> None:
    assert (insn.code, insn.k) == (code, k)


def test_only_check_makes_a_checked_program() -> None:
    """CheckedClassic may run natively: the one place that calls it is the one that checked."""
    makers = {
        path.name
        for path in Path(clsbpf.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("CheckedClassic")
    }
    assert makers == {"check.py"}
