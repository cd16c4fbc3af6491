"""examples/programs: between them they use what tc programs use, and the objects are those of the sources."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from clsbpf.bpf.helpers import BY_NUMBER
from clsbpf.bpf.isa import Class, Jmp
from clsbpf.bpf.maps import MapType
from judges import need_tool
from program_cases import CASES
from program_story import LEVELS, PROGRAMS, SOURCES, object_spec

USUAL_HELPERS = (
    *(1, 2, 3, 5, 6, 7, 9, 10, 11, 12, 13, 14, 18, 20, 21, 23, 25, 26, 28, 31, 32, 33, 34, 38, 39, 41, 43),
    *(46, 50, 69, 85, 86, 93, 94, 95, 99, 113, 124, 125, 130, 131, 132, 133, 152, 155, 177, 181),
)
"""The helpers with which nearly all tc programs out there make do."""
MAP_TYPES = (
    *(MapType.HASH, MapType.ARRAY, MapType.PROG_ARRAY, MapType.PERF_EVENT_ARRAY, MapType.PERCPU_HASH),
    *(MapType.PERCPU_ARRAY, MapType.LRU_HASH, MapType.LRU_PERCPU_HASH, MapType.LPM_TRIE),
    *(MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS, MapType.RINGBUF, MapType.QUEUE, MapType.STACK),
    *(MapType.BLOOM_FILTER, MapType.DEVMAP, MapType.CGROUP_ARRAY, MapType.SK_STORAGE),
)


@pytest.mark.parametrize("level", LEVELS)
def test_every_usual_helper_is_called(level: str) -> None:
    called = {
        insn.imm
        for source in SOURCES
        for program in object_spec(level, source).programs.values()
        for insn in program.insns
        if insn.code == Class.JMP | Jmp.CALL and insn.src == 0
    }
    assert [BY_NUMBER[number].name for number in USUAL_HELPERS if number not in called] == []


@pytest.mark.parametrize("level", LEVELS)
def test_every_map_type_is_there(level: str) -> None:
    there = {each.type for source in SOURCES for each in object_spec(level, source).maps.values()}
    assert [type.name for type in MAP_TYPES if type not in there] == []


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("source", SOURCES)
def test_an_object_reads_without_a_problem(source: str, level: str) -> None:
    spec = object_spec(level, source)
    assert spec.license == "GPL"
    assert spec.programs
    assert {name: program.problem for name, program in spec.programs.items() if program.problem} == {}


def test_every_source_has_a_case() -> None:
    assert {case.object for case in CASES} == set(SOURCES)


COMPILED = ("core", "dispatch", "legacy_tails", "nat", "globals")
"""Compiling all takes too long here."""


def test_the_objects_are_what_the_sources_compile_to(tmp_path: Path) -> None:
    clang = need_tool("clang")
    need_tool("llvm-strip")
    version = subprocess.run([clang, "--version"], capture_output=True, text=True, check=True).stdout
    if "clang version 14." not in version:
        pytest.skip(f"the objects are clang 14's, this is {version.splitlines()[0]}")
    names = [f"{name}.c" for name in COMPILED]
    environment = {**os.environ, "OUT": str(tmp_path)}
    subprocess.run([PROGRAMS / "build.sh", *names], env=environment, check=True)
    for level in LEVELS:
        for name in COMPILED:
            made = (tmp_path / level / f"{name}.o").read_bytes()
            assert made == (PROGRAMS / "build" / level / f"{name}.o").read_bytes(), f"{level}/{name}.o"
