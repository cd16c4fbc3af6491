"""Files: objects and the kernel's BTF, in each of the forms that it comes in."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from btf_writer import BtfWriter
from clsbpf.bpf import insn as e
from clsbpf.errors import ObjectError
from clsbpf.objfile import files, machine_btf, read_btf, read_object
from clsbpf.objfile.core import CoreKind
from elf_writer import ElfWriter, program


def kernel_types() -> bytes:
    types = BtfWriter()
    types.struct("flow", 16, ("mark", types.int(), 64))
    return types.raw()


def needs_types() -> bytes:
    """An object whose program has a CO-RE relocation."""
    types = BtfWriter()
    flow = types.struct("flow", 4, ("mark", types.int(), 0))
    writer = program(e.mov64_imm(0, 0), e.exit_(), section="tc")
    ext = types.ext(core=[("tc", [(0, flow, types.name("0:0"), CoreKind.FIELD_BYTE_OFFSET)])])
    writer.section(".BTF", types.raw(), flags=0)
    writer.section(".BTF.ext", ext, flags=0)
    return writer.build()


def in_elf(section: str) -> bytes:
    writer = ElfWriter(machine=62, type=2)
    writer.section(section, kernel_types(), flags=0)
    return writer.build()


def test_an_object_is_made_to_fit_the_types_in_a_file(tmp_path: Path) -> None:
    object_ = tmp_path / "p.o"
    object_.write_bytes(needs_types())
    for name, raw in (("raw", kernel_types()), ("vmlinux", in_elf(".BTF"))):
        types = tmp_path / name
        types.write_bytes(raw)
        read = read_object(object_, btf=types)
        assert read.name == "p.o"
        assert read.programs["main"].insns[0] == e.mov64_imm(0, 8)


def test_without_types_a_program_that_needs_some_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MACHINE_BTF", str(tmp_path / "nothing"))
    machine_btf.cache_clear()
    object_ = tmp_path / "p.o"
    object_.write_bytes(needs_types())
    problem = read_object(object_).programs["main"].problem
    machine_btf.cache_clear()
    assert "struct flow.mark must be looked up in the kernel's BTF (CO-RE), and there is none" in str(problem)


def test_files_that_are_of_no_use(tmp_path: Path) -> None:
    without = tmp_path / "vmlinux"
    without.write_bytes(in_elf(".other"))
    with pytest.raises(ObjectError, match=r"vmlinux: no section \.BTF"):
        read_btf(without)
    for read in (read_btf, read_object):
        with pytest.raises(ObjectError, match="cannot be read: No such file or directory") as refusal:
            read(tmp_path / "missing")
        assert refusal.value.errno == errno.ENOENT
