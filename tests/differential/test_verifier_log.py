"""The verifier's log of level 2 is the kernel's, line by line: paths, states, marks, loops, live slots, sums.

Left out are source lines (the kernel is not told them here), the names of maps, their addresses, and
what the kernel says of the arguments of static functions.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from clsbpf.bpf.insn import Insn
from clsbpf.bpf.spec import ObjectSpec, ProgramSpec
from clsbpf.errors import VerifierError
from clsbpf.kernel import loader
from clsbpf.kernel.maps import possible_cpus
from clsbpf.objfile import read_object
from clsbpf.verifier.verify import verify
from kernel_verifier import log_of, need_current_kernel
from verifier_programs import MAPS, grammar_program
from verifier_soup import bounds

EXAMPLES = Path(__file__).parents[2] / "examples" / "programs" / "build"
OBJECTS = sorted(path.stem for path in (EXAMPLES / "O2").glob("*.o"))
LARGE = {"mss", "direct", "dns", "sni"}
"""Of these the log is megabytes; the benchmark has them."""

_LEFT_OUT = re.compile(r"; |verification time|stack depth|R\d is not a scalar$")


def lines(log: str) -> list[str]:
    kept = (line for line in log.splitlines() if not _LEFT_OUT.match(line))
    return [_without_addresses(line).rstrip() for line in kept]


def _without_addresses(line: str) -> str:
    line = re.sub(r"= (map\[.*\]|0xffff[0-9a-f]{12})(\+\d+)?", "= MAP", re.sub(r"map=[\w.]+,", "", line))
    return re.sub(r"#\d{4,}", "", re.sub(r"\s+;", " ;", line))  # (a kernel function's number)


def ours(spec: ProgramSpec, btf: object = None) -> str:
    try:
        return verify(spec, btf=btf, cpus=possible_cpus(), verbose=True).log
    except VerifierError as error:
        return error.log


@pytest.mark.parametrize("name", [name for name in OBJECTS if name not in LARGE])
def test_examples(name: str) -> None:
    need_current_kernel()
    spec = read_object(EXAMPLES / "O2" / f"{name}.o")
    with loader.load(spec, []) as loaded:
        for program in spec.programs.values():
            if program.type in ("sched_cls", "sched_act"):
                told = ours(dataclasses.replace(program, line_info=()), spec.btf)
                assert lines(told) == lines(log_of(program, loaded))


@pytest.mark.parametrize(
    "made", [grammar_program, lambda random: bounds(random, MAPS)], ids=["grammar", "bounds"]
)
def test_programs_that_are_made(made: Callable[[Random], tuple[Insn, ...]]) -> None:
    """Accepted or refused, the whole log is the same."""
    need_current_kernel()
    random = Random(22)
    with loader.load(ObjectSpec("made", {}, {m.name: m for m in MAPS.values()}), []) as loaded:
        for _ in range(120):
            spec = ProgramSpec("made", insns=made(random), license="GPL", maps=MAPS)
            assert lines(ours(spec)) == lines(log_of(spec, loaded)), spec.insns
