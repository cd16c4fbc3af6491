"""The programs of examples/programs: what the kernel does with them, the interpreter and machine code do.

Each program gets the same packets, one after the other, in the kernel (BPF_PROG_TEST_RUN) and here.  After
each packet the return value, the packet and the metadata must be equal, after the last one what is in the
maps: hashes as sets of pairs, queues and stacks in their order, ring buffers and perf buffers as their
records.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator

import pytest

from clsbpf.bpf.insn import Insn
from clsbpf.bpf.isa import PSEUDO_KFUNC_CALL, Class, Jmp
from clsbpf.bpf.spec import ProgramSpec
from clsbpf.bpf.tag import program_tag
from clsbpf.engine.programs import Backend
from clsbpf.kernel.bpf import prog_info
from clsbpf.kernel.loader import kernel_function, kernel_name, load
from judges import inside, need_kernel
from kernel_story import kernel_story
from our_story import our_story
from program_cases import CASES, Case
from program_labs import LABS, built
from program_story import LEVELS, SOURCES, object_spec
from program_traffic import TRAFFIC, random_frames, recorded_frames


@functools.cache
def packets(level: str) -> list[bytes]:
    """One object of each program gets what is known to matter, the other what comes as well."""
    known = [*TRAFFIC.values()]
    return known if level == "O1" else [*known, *random_frames(40, seed=1), *recorded_frames(60)]


@pytest.fixture(scope="module")
def lab() -> Iterator[Callable[[str], str]]:
    """The namespace of a lab, built when it is first asked for."""
    need_kernel()
    with contextlib.ExitStack() as stack:
        names: dict[str, str] = {}

        def namespace(lab: str) -> str:
            if lab not in names:
                names[lab] = stack.enter_context(built(LABS[lab]))
            return names[lab]

        yield namespace


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_a_program_does_what_it_does_in_the_kernel(case: Case, level: str, lab: Callable[[str], str]) -> None:
    spec = object_spec(level, case.object)
    frames = packets(level) * case.times
    with inside(lab(case.lab)):
        expected = kernel_story(case, spec, frames)
    for backend in Backend:
        found = our_story(case, spec, frames, backend)
        for number, (theirs, ours) in enumerate(zip(expected.steps, found.steps, strict=True)):
            assert ours == theirs, f"{backend.value}, packet {number}"
        assert found.maps == expected.maps, backend.value


def with_kernel_numbers(program: ProgramSpec) -> list[Insn]:
    """Kernel functions are called by the number that they have in this kernel; it is part of the tag."""
    return [
        dataclasses.replace(insn, imm=kernel_function(program.kfuncs[insn.imm]))
        if insn.code == Class.JMP | Jmp.CALL and insn.src == PSEUDO_KFUNC_CALL
        else insn
        for insn in program.insns
    ]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("source", SOURCES)
def test_the_kernel_takes_every_program_and_gives_it_our_tag(source: str, level: str) -> None:
    need_kernel()
    spec = object_spec(level, source)
    with load(spec) as loaded:
        assert loaded.programs.keys() == spec.programs.keys()
        for name, fd in loaded.programs.items():
            info = prog_info(fd)
            assert info.name == kernel_name(name)
            assert info.tag == program_tag(with_kernel_numbers(spec.programs[name]))
