"""Reading ELF: what is refused, with what words; nothing but an ObjectError, and soon."""

from __future__ import annotations

import struct

import pytest

import elf_writer as elf
from clsbpf.bpf import insn as e
from clsbpf.errors import ObjectError
from clsbpf.objfile import load_object
from clsbpf.objfile.elf import MAX_FILE, read_elf, read_section
from elf_writer import ElfWriter, program

CODE = (e.mov64_imm(0, 2), e.exit_())
SOUND = program(*CODE).build()


def changed(offset: int, form: str, value: int, raw: bytes = SOUND) -> bytes:
    """The object with one number changed."""
    edited = bytearray(raw)
    struct.pack_into(form, edited, offset, value)
    return bytes(edited)


def header_of(index: int, raw: bytes = SOUND) -> int:
    """Where a section's header is."""
    return struct.unpack_from("<Q", raw, 40)[0] + 64 * index


def test_sections_symbols_and_relocations_are_read() -> None:
    writer = program(*e.ld_imm64(1, 0), *CODE)
    maps = writer.section("maps", bytes(20), flags=elf.ALLOC | elf.WRITE)
    symbol = writer.symbol("counts", maps, 0, 20, type=elf.OBJECT)
    writer.relocate(1, 0, symbol)
    read = read_elf(writer.build(), "p.o")
    assert [section.name for section in read.sections][:4] == ["", "classifier", "license", "maps"]
    assert [section.executable for section in read.sections][:4] == [False, True, False, False]
    found = {each.name: each for each in read.symbols}
    assert (found["main"].section, found["main"].type, found["main"].bind) == (1, "STT_FUNC", "STB_GLOBAL")
    assert (found["counts"].section, found["counts"].size) == (3, 20)
    (relocation,) = read.relocations[1]
    assert (relocation.offset, relocation.type, relocation.symbol.name) == (0, 1, "counts")
    assert read.data(read.sections[2]) == b"GPL\0"


REFUSED = [
    (b"", "p.o: not an ELF file (it begins with nothing)"),
    (b"#!/bin/sh\n", "p.o: not an ELF file (it begins with 23 21 2f 62)"),
    (SOUND[:40], "p.o: cut inside of the ELF header, which has 64 bytes; 40 are there"),
    (
        changed(5, "B", 2),
        "p.o: a big-endian object; only little-endian ones run here: compile with -target bpfel",
    ),
    (changed(4, "B", 1), "p.o: not a 64-bit little-endian ELF file, which BPF objects are"),
    (changed(18, "<H", 62), "p.o: an ELF file for EM_X86_64, not for BPF (clang -target bpf)"),
    (changed(16, "<H", 3), "p.o: an ELF file of type ET_DYN; a BPF object is relocatable (ET_REL)"),
    (SOUND[:-1], "section headers of 64 bytes at offset"),
    (changed(60, "<H", 0xFFFF), "damaged ELF file: 65535 section headers of 64 bytes"),
    (changed(58, "<H", 1), "damaged ELF file: 5 section headers of 1 bytes"),
    (
        changed(header_of(1) + 32, "<Q", 1 << 40),
        "p.o: section 1 has 1099511627776 bytes at offset 64, the file",
    ),
    (changed(header_of(1) + 32, "<Q", len(SOUND) - 64), "p.o: damaged ELF file: its sections overlap"),
    (changed(header_of(4) + 4, "<I", 7), "p.o: no symbol table"),
    (changed(header_of(4) + 56, "<Q", 0), "p.o: damaged ELF file"),
    (changed(header_of(4) + 40, "<I", 77), "p.o: damaged ELF file"),
]


@pytest.mark.parametrize(("raw", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused(raw: bytes, message: str) -> None:
    with pytest.raises(ObjectError) as refusal:
        load_object(raw, "p.o")
    assert message in str(refusal.value)


def test_names_need_not_be_text() -> None:
    (program,) = load_object(SOUND.replace(b"classifier", b"class\xff\xfeier"), "p.o").programs.values()
    assert program.section.startswith("class")


def test_a_cut_object_is_refused_wherever_it_is_cut() -> None:
    for end in range(len(SOUND)):
        with pytest.raises(ObjectError):
            load_object(SOUND[:end], "p.o")


def test_more_than_can_be_read() -> None:
    with pytest.raises(
        ObjectError, match=f"{MAX_FILE + 1} bytes; objects of up to {MAX_FILE} bytes are read"
    ):
        read_elf(bytes(MAX_FILE + 1), "p.o")
    long = ElfWriter()
    long.symbol("x" * 20000, long.code("tc", CODE))
    with pytest.raises(ObjectError, match="is longer than 4096 bytes"):
        read_elf(long.build(), "p.o")


@pytest.mark.parametrize(
    ("symbol", "message"),
    [
        ((0, 500), "a relocation of '.rel1' is for symbol 500; there are 2"),
        (None, "symbol 'lost' is in section 99, which is not there"),
    ],
)
def test_numbers_that_lead_nowhere(symbol: tuple[int, int] | None, message: str) -> None:
    writer = program(*CODE)
    if symbol:
        writer.relocate(1, *symbol)
    else:
        writer.symbol("lost", 99)
    with pytest.raises(ObjectError) as refusal:
        read_elf(writer.build(), "p.o")
    assert message in str(refusal.value)


def test_a_section_of_any_elf_file() -> None:
    writer = ElfWriter(machine=62, type=2)
    writer.section(".BTF", b"types", flags=0)
    writer.symbol("main", 1)
    assert read_section(writer.build(), ".BTF", "vmlinux") == b"types"
    assert read_section(writer.build(), ".other", "vmlinux") is None
