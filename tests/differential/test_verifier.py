"""The verifier and the kernel's, on the same programs: whoever is accepted here is accepted there."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.disasm import disassemble
from clsbpf.bpf.insn import Insn
from clsbpf.bpf.spec import ObjectSpec, ProgramSpec
from clsbpf.errors import VerifierError
from clsbpf.kernel import loader
from clsbpf.kernel.loader import LoadedObject
from clsbpf.kernel.maps import possible_cpus
from clsbpf.objfile import load_object, read_object
from clsbpf.verifier.verdict import NOT_COVERED
from clsbpf.verifier.verify import verify
from compiled import compiled
from kernel_verifier import need_current_kernel, visited
from verifier_programs import MAPS, grammar_program, mutated
from verifier_small import SMALL, WHOLE_BUDGET
from verifier_soup import bounds, soup

EXAMPLES = Path(__file__).parents[2] / "examples" / "programs" / "build"
OBJECTS = sorted(path.stem for path in (EXAMPLES / "O2").glob("*.o"))


ABOVE_THE_STACK = "object-place"
"""The kernel takes an iterator right above the stack for one in its topmost slot."""


def ours(spec: ProgramSpec, btf: object = None) -> str:
    """The kind of our refusal; empty where we accept."""
    try:
        verify(spec, btf=btf, cpus=possible_cpus())
    except VerifierError as error:
        return str(error.report.kind)
    return ""


def kernels(spec: ProgramSpec, loaded: LoadedObject) -> str:
    """The kernel's log where it refuses; empty where it accepts."""
    try:
        os.close(
            loader._load_program(spec, loaded.maps, loaded._others[0] if loaded._others else 0, loaded.calls)
        )
    except VerifierError as error:
        return error.log or f"errno {error.errno}"
    return ""


def test_programs_of_a_grammar() -> None:
    """Both accept, or both refuse."""
    need_current_kernel()
    random = Random(5)
    accepted = 0
    with loader.load(ObjectSpec("grammar", {}, {m.name: m for m in MAPS.values()}), []) as loaded:
        for _ in range(600):
            spec = ProgramSpec("grammar", insns=grammar_program(random), license="GPL", maps=MAPS)
            here, there = ours(spec), kernels(spec, loaded)
            assert bool(here) == bool(there), (here, there, spec.insns)
            accepted += not here
    assert accepted > 100


def test_small_programs() -> None:
    """At each rule of control flow, calls, stacks and loops: both accept, or both refuse."""
    need_current_kernel()
    programs = {**SMALL, **WHOLE_BUDGET} if "CLSBPF_SWEEP_EVERY" in os.environ else SMALL
    with loader.load(ObjectSpec("small", {}, {m.name: m for m in MAPS.values()}), []) as loaded:
        for what, text in programs.items():
            spec = ProgramSpec("small", insns=tuple(assemble(text)), license="GPL", maps=MAPS)
            here, there = ours(spec), kernels(spec, loaded)
            assert bool(here) == bool(there), (what, here, there)


def test_loops_are_walked_as_often_as_in_the_kernel() -> None:
    need_current_kernel()
    spec = load_object(compiled("walks.c", "-O2", "-g"), "walks.o")
    with loader.load(spec) as loaded:
        theirs = {name: visited(fd) for name, fd in loaded.programs.items()}
    assert {name: verify(each, btf=spec.btf).work.insns for name, each in spec.programs.items()} == theirs


@pytest.mark.parametrize("made", [soup, bounds])
def test_programs_that_nobody_would_write(made: Callable[..., tuple[Insn, ...]]) -> None:
    """Any instructions on any kinds of values: both accept, or both refuse."""
    need_current_kernel()
    random = Random(11)
    accepted = 0
    with loader.load(ObjectSpec("soup", {}, {m.name: m for m in MAPS.values()}), []) as loaded:
        for _ in range(100):
            spec = ProgramSpec("soup", insns=made(random, MAPS), license="GPL", maps=MAPS)
            here, there = ours(spec), kernels(spec, loaded)
            assert bool(here) == bool(there), (here, there, disassemble(spec.insns))
            accepted += not here
    assert accepted > 15


@pytest.mark.parametrize("name", OBJECTS)
def test_examples_and_what_a_slip_makes_of_them(name: str) -> None:
    """An example is accepted by both; changed at random, it is never accepted here and refused there."""
    need_current_kernel()
    random = Random(name)
    spec = read_object(EXAMPLES / "O2" / f"{name}.o")
    with loader.load(spec, []) as loaded:
        for program in spec.programs.values():
            if program.type not in ("sched_cls", "sched_act") or name == "mss":
                continue  # (mss: 300,000 instructions are visited; the benchmark has it)
            assert ours(program, spec.btf) in ("", NOT_COVERED)
            for _ in range(4):
                changed = dataclasses.replace(program, insns=mutated(program.insns, random))
                here, there = ours(changed, spec.btf), kernels(changed, loaded)
                if here not in (NOT_COVERED, ABOVE_THE_STACK):
                    assert bool(here) == bool(there), (here, there)
