"""The log in the kernel's form: numbers, states, paths.  (differential/ has it line by line.)"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from random import Random

import pytest

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.insn import Insn
from clsbpf.bpf.spec import MapSpec, ProgramSpec
from clsbpf.errors import VerifierError
from clsbpf.verifier.log import range_fields
from clsbpf.verifier.program import VerifiedProgram, Work
from clsbpf.verifier.ranges import Range, between, const, unsigned
from clsbpf.verifier.verify import verify
from verifier_programs import MAPS, grammar_program
from verifier_soup import bounds

RANGES = [
    (unsigned(64), ""),
    (unsigned(8), "smin=smin32=0,smax=umax=smax32=umax32=255,var_off=(0x0; 0xff)"),
    (unsigned(32), "smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff)"),
    (between(-1, 0), "smin=smin32=-1,smax=smax32=0"),
    (between(-65535, 0), "smin=0xffffffffffff0001,smax=smax32=0,smin32=0xffff0001"),
]


@pytest.mark.parametrize(("range_", "text"), RANGES, ids=[text or "anything" for _, text in RANGES])
def test_what_is_said_of_a_number(range_: Range, text: str) -> None:
    assert ",".join(range_fields(range_)) == text


def test_a_number_that_is_known_needs_no_range() -> None:
    assert not [field for field in range_fields(const(5)) if "var_off" in field]


def log_of(insns: tuple[Insn, ...], maps: dict[int, MapSpec]) -> str:
    try:
        return verify(ProgramSpec("test", insns=insns, license="GPL", maps=maps), verbose=True).log
    except VerifierError as error:
        return error.log


def test_paths_and_states() -> None:
    text = "r2 = *(u32 *)(r1 +0)\nr0 = 0\nif r2 > 4 goto +1\nr0 = r2\nexit"
    lines = log_of(tuple(assemble(text)), {}).splitlines()
    assert lines[lines.index("0: R1=ctx() R10=fp0") :] == [
        "0: R1=ctx() R10=fp0",
        "0: (61) r2 = *(u32 *)(r1 +0)          ; R1=ctx()"
        " R2=scalar(smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff))",
        "1: (b7) r0 = 0                        ; R0=0",
        "2: (25) if r2 > 0x4 goto pc+1         ; R2=scalar(smin=smin32=0,smax=umax=smax32=umax32=4,"
        "var_off=(0x0; 0x7))",
        "3: (bf) r0 = r2                       ; R0=scalar(id=1,smin=smin32=0,smax=umax=smax32=umax32=4,"
        "var_off=(0x0; 0x7)) R2=scalar(id=1,smin=smin32=0,smax=umax=smax32=umax32=4,var_off=(0x0; 0x7))",
        "4: (95) exit",
        "",
        "from 2 to 4: R0=0 R1=ctx() R2=scalar(smin=umin=umin32=5,smax=umax=0xffffffff,"
        "var_off=(0x0; 0xffffffff)) R10=fp0",
        "4: R0=0 R1=ctx() R2=scalar(smin=umin=umin32=5,smax=umax=0xffffffff,"
        "var_off=(0x0; 0xffffffff)) R10=fp0",
        "4: (95) exit",
        lines[-1],
    ]
    assert lines[-1].startswith("processed 6 insns (limit 1000000) max_states_per_insn")


@pytest.mark.parametrize(
    "made", [grammar_program, lambda random: bounds(random, MAPS)], ids=["grammar", "bounds"]
)
def test_who_looks_on_changes_nothing(made: Callable[[Random], tuple[Insn, ...]]) -> None:
    """Without -v the search for what matters takes short cuts: the walk is the same."""
    random = Random(3)
    for _ in range(60):
        spec = ProgramSpec("test", insns=made(random), license="GPL", maps=MAPS)
        judged = []
        for verbose in (False, True):
            try:
                judged.append(str(dataclasses.replace(worked(verify(spec, verbose=verbose)), seconds=0)))
            except VerifierError as error:
                judged.append(str(error))
        assert judged[0] == judged[1]


def worked(program: VerifiedProgram) -> Work:
    assert program.work is not None
    return program.work


def test_a_store_far_off_the_stack_is_told() -> None:
    """(Its log once counted every slot between here and there.)"""
    text = "r1 = *(u32 *)(r1 +0)\nr2 = r10\nr2 += r1\n*(u8 *)(r2 +0) = 0\nr0 = 0\nexit"
    assert "invalid unbounded variable-offset write to stack R2" in log_of(tuple(assemble(text)), {})
