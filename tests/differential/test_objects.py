"""Objects as the tools of others read them: readelf, llvm-objdump, bpftool and libbpf with the kernel.

The strongest of these is the tag: a hash of all instructions of a program as libbpf gave them to the
kernel, linked, with every CO-RE relocation done for the kernel's own types.  Ours must be the same.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import pytest

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.insn import encode
from clsbpf.bpf.spec import ObjectSpec
from clsbpf.bpf.tag import program_tag
from clsbpf.cli.objects import dump_programs
from clsbpf.objfile import Btf, load_object, machine_btf
from clsbpf.objfile.btf_text import dump
from clsbpf.objfile.elf import read_elf, read_section
from clsbpf.objfile.functions import find_functions
from compiled import compiled
from judges import need_tool
from kernel_verifier import need_current_kernel

VARIANTS = [
    ("parts.c", "-O2"),
    ("parts.c", "-O1"),
    ("parts.c", "-O3", "-mcpu=v1"),
    ("parts.c", "-O2", "-mcpu=v3"),
    ("core.c", "-O2"),
    ("core.c", "-O1"),
    ("core.c", "-O2", "-mcpu=v3"),
]
ALL = [*VARIANTS, ("legacy.c", "-O2"), ("legacy.c", "-O1", "-mcpu=v3")]


def name_of(variant: tuple[str, ...]) -> str:
    return "".join(variant)


@pytest.fixture
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file with the object of a variant."""
    path = tmp_path / "made.o"
    path.write_bytes(compiled(*request.param, "-g"))
    return path


def said(*command: str) -> str:
    return subprocess.run(
        [need_tool(command[0]), *command[1:]], capture_output=True, text=True, check=True
    ).stdout


def tags_in_kernel(path: Path) -> Mapping[str, str]:
    """What libbpf loads of an object, by program: its tag in the kernel.  In a mount space of its own."""
    bpftool, unshare = need_tool("bpftool"), need_tool("unshare")
    script = """
        mount -t bpf bpf /sys/fs/bpf && "$0" prog loadall "$1" /sys/fs/bpf/p type classifier >&2 &&
        for pin in /sys/fs/bpf/p/*; do "$0" -j prog show pinned "$pin"; echo; done
    """
    done = subprocess.run(
        [unshare, "-m", "sh", "-c", script, bpftool, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    programs = [json.loads(line) for line in done.stdout.splitlines() if line]
    return {program["name"]: program["tag"] for program in programs}


@pytest.mark.parametrize("made", VARIANTS, ids=name_of, indirect=True)
def test_programs_are_linked_and_relocated_as_libbpf_does(made: Path) -> None:
    need_current_kernel()
    read = load_object(made.read_bytes(), made.name, kernel_btf=machine_btf)
    ours = {program.name: program_tag(program.insns).hex() for program in read.programs.values()}
    assert len(ours) >= 3
    assert ours == tags_in_kernel(made)


@pytest.mark.parametrize("made", ALL, ids=name_of, indirect=True)
def test_types_are_those_that_bpftool_reads(made: Path) -> None:
    raw = read_section(made.read_bytes(), ".BTF", made.name)
    assert raw is not None
    ours = list(dump(Btf(raw)))
    assert len(ours) > 50
    assert ours == said("bpftool", "btf", "dump", "file", str(made), "format", "raw").splitlines()


def test_the_kernels_types_are_those_that_bpftool_reads() -> None:
    need_current_kernel()
    kernel = machine_btf()
    assert kernel is not None
    theirs = said("bpftool", "btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "raw").splitlines()
    ours = list(islice(dump(kernel), 40_000))
    assert ours == theirs[:40_000]
    assert sum(line.startswith("[") for line in theirs) == len(kernel) - 1


@pytest.mark.parametrize("made", ALL, ids=name_of, indirect=True)
def test_symbols_and_relocations_are_those_that_readelf_reads(made: Path) -> None:
    ours = read_elf(made.read_bytes(), made.name)
    row = re.compile(r"^\s*\d+: ([0-9a-f]{16})\s+(\d+) (\S+)\s+(\S+)\s+\S+\s+(\d+|UND|ABS|COM)(?: (\S*))?$")
    theirs = [m.groups() for line in said("readelf", "-sW", str(made)).splitlines() if (m := row.match(line))]
    special = {0: "UND", 0xFFF1: "ABS", 0xFFF2: "COM"}
    mine = [
        (
            *(f"{s.value:016x}", str(s.size), s.type.removeprefix("STT_"), s.bind.removeprefix("STB_")),
            *(special.get(s.section, str(s.section)), s.name or None),
        )
        for s in ours.symbols
    ]
    named = [(*row[:5], (row[5] or None) if row[2] != "SECTION" else None) for row in theirs]
    assert mine == named
    count = sum(len(each) for each in ours.relocations.values())
    assert count == len(re.findall(r"^[0-9a-f]{16}  ", _of_loaded(said("readelf", "-rW", str(made))), re.M))


def _of_loaded(text: str) -> str:
    """readelf's relocations without those of sections that nobody loads (.BTF, .debug_*)."""
    parts = re.split(r"(?m)^Relocation section ", text)
    return "".join(part for part in parts if not re.match(r"'\.rel\.(?:debug|BTF|eh_frame)", part))


@pytest.mark.parametrize("made", ALL, ids=name_of, indirect=True)
def test_functions_hold_the_instructions_that_llvm_shows(made: Path) -> None:
    listing = said("llvm-objdump", "-d", "--no-show-raw-insn", "--mattr=+alu32", str(made))
    shown: dict[str, int] = {}
    for section in re.split(r"Disassembly of section ", listing)[1:]:
        name = section.split(":\n")[0]
        shown[name] = len(re.findall(r"(?m)^\s+\d+:\s", section))
    elf = read_elf(made.read_bytes(), made.name)
    functions = find_functions(elf)
    ours = {
        elf.sections[index].name: sum(
            len(each.insns) - sum(insn.is_ld_imm64 for insn in each.insns) for each in found
        )
        for index, found in functions.by_section.items()
    }
    assert ours == shown


@pytest.mark.parametrize("made", ALL, ids=name_of, indirect=True)
def test_a_dump_can_be_assembled_again(made: Path) -> None:
    read: ObjectSpec = load_object(made.read_bytes(), made.name, kernel_btf=machine_btf)
    for program in read.programs.values():
        lines = dump_programs(read, program.name, source=True)
        assert encode(assemble("\n".join(lines))) == encode(program.insns)
