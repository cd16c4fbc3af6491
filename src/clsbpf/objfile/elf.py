"""What of an ELF file matters to BPF: sections, symbols and relocations, as plain values.

pyelftools reads the file.  It trusts what it reads, so what could make it work without end is looked
at first (how many sections, symbols and relocations there are, that sections do not overlap), and
whatever it raises over bad bytes becomes an ObjectError here.
"""

from __future__ import annotations

import io
import mmap
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..errors import ObjectError

MAX_FILE = 64 << 20
"""The largest object that is read, in bytes."""
MAX_SECTIONS = 16384
MAX_SYMBOLS = 200_000
MAX_RELOCATIONS = 500_000
"""Of all sections together; those of debugging information do not count, as nobody reads them."""

MAX_STRING = 8192
MAX_NAMES = 32 << 20
"""Bytes of all symbols' names together."""

_SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
SHT_NULL, SHT_STRTAB, SHT_NOBITS = 0, 3, 8
SHN_UNDEF, SHN_ABS, SHN_COMMON = 0, 0xFFF1, 0xFFF2
_SECTION_NUMBERS = {"SHN_UNDEF": SHN_UNDEF, "SHN_ABS": SHN_ABS, "SHN_COMMON": SHN_COMMON}
SHF_ALLOC, SHF_EXECINSTR, SHF_COMPRESSED = 0x2, 0x4, 0x800


@dataclass(frozen=True, slots=True)
class Section:
    """One section.  `size` is what it takes in memory; the file holds nothing of a NOBITS section."""

    index: int
    name: str
    type: str
    """SHT_*, as the ELF specification has it."""
    flags: int
    size: int
    offset: int

    @property
    def executable(self) -> bool:
        """Does it hold instructions?"""
        return self.type == "SHT_PROGBITS" and bool(self.flags & SHF_EXECINSTR)

    @property
    def in_file(self) -> bool:
        """Does the file hold its bytes?"""
        return self.type not in ("SHT_NOBITS", "SHT_NULL")


@dataclass(frozen=True, slots=True)
class Symbol:
    """One symbol: `section` is a section's index, or one of SHN_*."""

    name: str
    value: int
    size: int
    type: str
    """STT_*."""
    bind: str
    """STB_*."""
    section: int
    is_hidden: bool = False
    """STV_HIDDEN, STV_INTERNAL: global only until the object was linked."""

    @property
    def is_global(self) -> bool:
        """Is it known outside of its file?"""
        return self.bind in ("STB_GLOBAL", "STB_WEAK")

    @property
    def is_weak(self) -> bool:
        """May it be missing?"""
        return self.bind == "STB_WEAK"


@dataclass(frozen=True, slots=True)
class Relocation:
    """At `offset` in its section something refers to `symbol`.  `addend` is None where it stands in place.

    The `type` (R_BPF_*) says no more than the instruction there does, and compilers have renumbered it.
    """

    offset: int
    type: int
    symbol: Symbol
    addend: int | None = None


@dataclass(frozen=True, slots=True)
class Elf:
    """A relocatable object.  `relocations` are by the index of the section that they apply to."""

    name: str
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    relocations: Mapping[int, tuple[Relocation, ...]]
    _raw: bytes | mmap.mmap = field(repr=False)
    _placed: Mapping[int, Sequence[Symbol]] = field(repr=False)

    def section(self, name: str) -> Section | None:
        """The first section of that name."""
        return next((section for section in self.sections if section.name == name), None)

    def data(self, section: Section) -> bytes:
        """What the file holds of a section."""
        if section.flags & SHF_COMPRESSED:
            raise ObjectError(f"{self.name}: section {section.name!r} is compressed; BPF objects are not")
        return self._raw[section.offset : section.offset + section.size] if section.in_file else b""

    def symbols_in(self, section: Section) -> Iterator[Symbol]:
        """The symbols of a section, but not the one that stands for the section itself."""
        return iter(self._placed.get(section.index, ()))


def read_elf(raw: bytes, name: str) -> Elf:
    """The object in `raw`; ObjectError when it is none, not for BPF, or damaged."""
    if len(raw) > MAX_FILE:
        raise ObjectError(f"{name}: {len(raw)} bytes; objects of up to {MAX_FILE} bytes are read")
    with _pyelftools(name):
        file = _open(raw, name)
        machine, kind = file.header["e_machine"], file.header["e_type"]
        if machine not in ("EM_BPF", "EM_NONE"):
            raise ObjectError(f"{name}: an ELF file for {machine}, not for BPF (clang -target bpf)")
        if kind != "ET_REL":
            raise ObjectError(f"{name}: an ELF file of type {kind}; a BPF object is relocatable (ET_REL)")
        sections = tuple(_sections(file))
        symbols = _symbols(file, sections, name)
        relocations = _relocations(file, sections, symbols, name)
    placed: dict[int, list[Symbol]] = {}
    for symbol in symbols:
        if symbol.type != "STT_SECTION":
            placed.setdefault(symbol.section, []).append(symbol)
    return Elf(name, sections, symbols, relocations, raw, placed)


def read_section(raw: bytes | mmap.mmap, section: str, name: str) -> bytes | None:
    """The bytes of one section of any ELF file (a kernel's `vmlinux`, say), None without such a section."""
    with _pyelftools(name):
        file = _open(raw, name)
        for each in _sections(file):
            if each.name == section and each.in_file and not each.flags & SHF_COMPRESSED:
                return raw[each.offset : each.offset + each.size]
    return None


@contextmanager
def _pyelftools(name: str) -> Iterator[None]:
    """What pyelftools raises over bad bytes is of many kinds; here they are one."""
    try:
        yield
    except ObjectError:
        raise
    except Exception as error:
        detail = " ".join(str(error).split()) or type(error).__name__
        raise ObjectError(f"{name}: damaged ELF file: {detail[:200]}") from None


def _open(raw: bytes | mmap.mmap, name: str) -> Any:
    """The file, once its first bytes are those of a 64-bit little-endian ELF file."""
    from elftools.elf.elffile import ELFFile

    start = raw[:64]
    if start[:4] != b"\x7fELF":
        raise ObjectError(f"{name}: not an ELF file (it begins with {start[:4].hex(' ') or 'nothing'})")
    if len(start) < 64:
        raise ObjectError(f"{name}: cut inside of the ELF header, which has 64 bytes; {len(start)} are there")
    if start[5] == 2:
        raise ObjectError(
            f"{name}: a big-endian object; only little-endian ones run here: compile with -target bpfel"
        )
    if start[4] != 2 or start[5] != 1:
        raise ObjectError(f"{name}: not a 64-bit little-endian ELF file, which BPF objects are")
    sections_at = int.from_bytes(start[40:48], "little")
    size, count = int.from_bytes(start[58:60], "little"), int.from_bytes(start[60:62], "little")
    if size != 64 or not 0 < count <= MAX_SECTIONS or sections_at + size * count > len(raw):
        raise ObjectError(
            f"{name}: damaged ELF file: {count} section headers of {size} bytes at offset {sections_at}; "
            f"1 to {MAX_SECTIONS} of 64 bytes must fit the file's {len(raw)} bytes"
        )
    headers = list(_SECTION_HEADER.iter_unpack(raw[sections_at : sections_at + 64 * count]))
    _check_extents(raw, headers, int.from_bytes(start[62:64], "little"), name)
    stream: Any = io.BytesIO(raw) if isinstance(raw, bytes) else raw
    return ELFFile(stream)


def _check_extents(
    raw: bytes | mmap.mmap, headers: list[tuple[int, ...]], names_section: int, name: str
) -> None:
    """Every section must be in the file, none over another, and no string be longer than MAX_STRING."""
    held = 0
    for index, (_, kind, _, _, offset, size, *_) in enumerate(headers):
        if kind in (SHT_NULL, SHT_NOBITS):
            continue
        if offset + size > len(raw):
            raise ObjectError(
                f"{name}: section {index} has {size} bytes at offset {offset}, the file {len(raw)} in all"
            )
        held += size
        if held > len(raw):
            raise ObjectError(f"{name}: damaged ELF file: its sections overlap")
        if kind == SHT_STRTAB or index == names_section:
            for at in range(offset, offset + size - MAX_STRING // 2, MAX_STRING // 2):
                if raw.find(b"\0", at, at + MAX_STRING // 2) < 0:
                    raise ObjectError(f"{name}: a name at offset {at} is longer than {MAX_STRING // 2} bytes")


def _sections(file: Any) -> Iterator[Section]:
    for index, each in enumerate(file.iter_sections()):
        header = each.header
        yield Section(
            *(index, each.name, str(header["sh_type"]), header["sh_flags"]),
            *(header["sh_size"], header["sh_offset"]),
        )


def _symbols(file: Any, sections: tuple[Section, ...], name: str) -> tuple[Symbol, ...]:
    table = next((section for section in sections if section.type == "SHT_SYMTAB"), None)
    if table is None:
        raise ObjectError(f"{name}: no symbol table")
    reader = file.get_section(table.index)
    if reader.num_symbols() > MAX_SYMBOLS:
        raise ObjectError(f"{name}: {reader.num_symbols()} symbols; at most {MAX_SYMBOLS} are read")
    found = []
    names = 0
    for each in reader.iter_symbols():
        entry, place = each.entry, each.entry["st_shndx"]
        names += len(each.name)
        if names > MAX_NAMES:
            raise ObjectError(f"{name}: its symbols' names come to more than {MAX_NAMES} bytes")
        section = _SECTION_NUMBERS.get(place, place)
        if not isinstance(section, int) or len(sections) <= section not in (SHN_ABS, SHN_COMMON):
            raise ObjectError(f"{name}: symbol {each.name!r} is in section {place}, which is not there")
        kind, bind = str(entry["st_info"]["type"]), str(entry["st_info"]["bind"])
        hidden = entry["st_other"]["visibility"] in ("STV_HIDDEN", "STV_INTERNAL")
        found.append(Symbol(each.name, entry["st_value"], entry["st_size"], kind, bind, section, hidden))
    return tuple(found)


def _relocations(
    file: Any, sections: tuple[Section, ...], symbols: tuple[Symbol, ...], name: str
) -> Mapping[int, tuple[Relocation, ...]]:
    found: dict[int, list[Relocation]] = {}
    total = 0
    for section in sections:
        if section.type not in ("SHT_REL", "SHT_RELA"):
            continue
        table = file.get_section(section.index)
        target = table.header["sh_info"]
        if target >= len(sections):
            raise ObjectError(f"{name}: {section.name!r} is for section {target}, which is not there")
        if not sections[target].flags & SHF_ALLOC:
            continue
        total += table.num_relocations()
        if total > MAX_RELOCATIONS:
            raise ObjectError(f"{name}: {total} relocations; at most {MAX_RELOCATIONS} are read")
        found.setdefault(target, []).extend(_entries(table, symbols, section, name))
    return MappingProxyType({target: tuple(entries) for target, entries in found.items()})


def _entries(table: Any, symbols: tuple[Symbol, ...], section: Section, name: str) -> Iterator[Relocation]:
    for each in table.iter_relocations():
        entry = each.entry
        if entry["r_info_sym"] >= len(symbols):
            raise ObjectError(
                f"{name}: a relocation of {section.name!r} is for symbol {entry['r_info_sym']}; "
                f"there are {len(symbols)}"
            )
        addend = entry["r_addend"] if table.is_RELA() else None
        yield Relocation(entry["r_offset"], entry["r_info_type"], symbols[entry["r_info_sym"]], addend)
