# ruff: noqa: E501 - one program a line
"""Variables of the kernel: what is at their addresses, where a kernel has their addresses."""

from __future__ import annotations

import pytest

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.insn import Insn
from clsbpf.bpf.isa import Pseudo
from clsbpf.bpf.spec import ProgramSpec
from clsbpf.errors import VerifierError
from clsbpf.objfile.btf import Kind
from clsbpf.verifier import kernel_variables
from clsbpf.verifier.types import kernel_btf
from clsbpf.verifier.verify import verify

NUMBER, STRUCTURE = "bpf_prog_active", "runqueues"
"""A number and a structure that each processor has of its own."""
THIS, OF_CPU = "call 154\n", "r2 = 0\ncall 153\n"
CHECKED = "if r0 == 0 goto out\n"
END = "out:\nr0 = 0\nexit\n"

CASES: list[tuple[str, str, str, str]] = [
    ("a number is read", NUMBER, THIS + "r0 = *(u32 *)(r0 +0)\n" + END, ""),
    ("… within its size", NUMBER, THIS + "r0 = *(u32 *)(r0 +4)\n" + END, "invalid access to memory"),
    ("… and not written", NUMBER, THIS + "*(u32 *)(r0 +0) = 1\n" + END, "R0 cannot write into rdonly_mem"),
    ("a structure is read", STRUCTURE, THIS + "r0 = *(u32 *)(r0 +0)\n" + END, ""),
    ("… and not written", STRUCTURE, THIS + "*(u32 *)(r0 +0) = 1\n" + END, "only read is supported"),
    ("there may not be such a processor", NUMBER, OF_CPU + "r0 = *(u32 *)(r0 +0)\n" + END, "R0 invalid mem access"),
    ("… which is checked", NUMBER, OF_CPU + CHECKED + "r0 = *(u32 *)(r0 +0)\n" + END, ""),
    ("the variable itself is nowhere", STRUCTURE, "r0 = *(u32 *)(r1 +0)\n" + END, "access percpu memory"),
    ("an address is an address", NUMBER, "if r1 != 0 goto out\n" + END, ""),
]  # fmt: skip


def spec_of(variable: str, text: str) -> ProgramSpec:
    btf = kernel_btf()
    id = btf.find(variable, Kind.VAR) if btf is not None else None
    if id is None:
        pytest.skip(f"no kernel's BTF here, or none with {variable}")
    return ProgramSpec(
        "test", insns=(Insn(0x18, dst=1, src=Pseudo.BTF_ID, imm=id), Insn(0), *assemble(text)), license="GPL"
    )


@pytest.mark.parametrize(("what", "variable", "text", "problem"), CASES, ids=[what for what, *_ in CASES])
def test_rules(what: str, variable: str, text: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_variables, "kernel_symbols", lambda: {variable: 1 << 63})
    spec = spec_of(variable, text)
    if not problem:
        assert verify(spec).reached
        return
    with pytest.raises(VerifierError) as caught:
        verify(spec)
    assert problem in caught.value.report.message


def test_a_variable_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_variables, "kernel_symbols", dict)
    with pytest.raises(VerifierError) as caught:
        verify(spec_of(NUMBER, END))
    assert caught.value.report.message == (
        f"ldimm64 failed to find the address for kernel symbol '{NUMBER}'."
    )
