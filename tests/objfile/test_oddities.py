"""Objects and paths that once got through to a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from clsbpf.errors import ObjectError
from clsbpf.objfile import load_object, read_btf, read_object

OBJECTS = Path(__file__).parents[2] / "examples" / "programs" / "build" / "O2"
SH_SIZE = 32
"""Where sh_size is in an Elf64_Shdr."""


def test_a_data_section_that_is_used_and_empty() -> None:
    path = OBJECTS / "globals.o"
    raw = bytearray(path.read_bytes())
    with path.open("rb") as file:
        elf = ELFFile(file)
        for number, section in enumerate(elf.iter_sections()):
            if section.name == ".data.tuning":
                at = elf["e_shoff"] + number * elf["e_shentsize"] + SH_SIZE
                raw[at : at + 8] = bytes(8)
    spec = load_object(bytes(raw), "globals.o")
    problems = [each.problem for each in spec.programs.values()]
    assert any(problem and ".data.tuning" in problem for problem in problems)


@pytest.mark.parametrize("read", [read_object, read_btf])
def test_a_path_with_a_zero_byte(read: object) -> None:
    with pytest.raises(ObjectError, match="null byte"):
        read("a\0b")  # type: ignore[operator]
