"""Writes relocatable ELF files, for tests that must say exactly what is in them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from clsbpf.bpf.insn import Insn, encode

PROGBITS, SYMTAB, STRTAB, NOBITS, REL = 1, 2, 3, 8, 9
WRITE, ALLOC, EXEC = 1, 2, 4
NOTYPE, OBJECT, FUNC, SECTION = 0, 1, 2, 3
LOCAL, GLOBAL, WEAK = 0, 1, 2
COMMON = 0xFFF2


@dataclass
class _Section:
    name: str
    type: int
    flags: int
    data: bytes
    link: int = 0
    info: int = 0
    entry_size: int = 0
    size: int | None = None


@dataclass
class ElfWriter:
    """Sections are numbered from 1 in the order in which they are added."""

    machine: int = 247
    type: int = 1
    sections: list[_Section] = field(default_factory=list)
    symbols: list[tuple[str, int, int, int, int]] = field(default_factory=list)
    relocations: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)

    def section(
        self,
        name: str,
        data: bytes = b"",
        *,
        flags: int = ALLOC,
        type: int = PROGBITS,
        size: int | None = None,
    ) -> int:
        """Add a section: its number."""
        self.sections.append(_Section(name, type, flags, data, size=size))
        return len(self.sections)

    def code(self, name: str, insns: Sequence[Insn]) -> int:
        """Add a section of instructions."""
        return self.section(name, encode(insns), flags=ALLOC | EXEC)

    def symbol(
        self, name: str, section: int, value: int = 0, size: int = 0, *, type: int = FUNC, bind: int = GLOBAL
    ) -> int:
        """Add a symbol: its number.  Section 0 is undefined."""
        self.symbols.append((name, bind << 4 | type, section, value, size))
        return len(self.symbols)

    def relocate(self, section: int, offset: int, symbol: int, type: int = 1) -> None:
        """Add a relocation to a section."""
        self.relocations.setdefault(section, []).append((offset, symbol, type))

    def license(self, text: str = "GPL") -> None:
        """The usual section."""
        self.section("license", text.encode() + b"\0", flags=ALLOC | WRITE)

    def build(self) -> bytes:
        """The file."""
        names = bytearray(b"\0")

        def name(text: str) -> int:
            names.extend(text.encode() + b"\0")
            return len(names) - len(text.encode()) - 1

        strings = len(self.sections) + 1
        table = struct.pack("<IBBHQQ", 0, 0, 0, 0, 0, 0)
        for text, info, section, value, size in self.symbols:
            table += struct.pack("<IBBHQQ", name(text), info, 0, section, value, size)
        sections = [*self.sections, _Section(".strtab", STRTAB, 0, b"")]
        sections.append(_Section(".symtab", SYMTAB, 0, table, strings, 1, 24))
        for target, entries in self.relocations.items():
            data = b"".join(struct.pack("<QQ", at, symbol << 32 | type) for at, symbol, type in entries)
            sections.append(_Section(f".rel{target}", REL, 0, data, strings + 1, target, 16))
        offsets = [name(section.name) for section in sections]
        sections[strings - 1].data = bytes(names)
        body, headers = b"", struct.pack("<IIQQQQIIQQ", *(0,) * 10)
        for section, at in zip(sections, offsets, strict=True):
            size = len(section.data) if section.size is None else section.size
            headers += struct.pack(
                "<IIQQQQIIQQ",
                *(at, section.type, section.flags, 0, 64 + len(body), size),
                *(section.link, section.info, 1, section.entry_size),
            )
            body += section.data
        ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
        header = struct.pack(
            "<HHIQQQIHHHHHH",
            *(self.type, self.machine, 1, 0, 0, 64 + len(body), 0),
            *(64, 0, 0, 64, len(sections) + 1, strings),
        )
        return ident + header + body + headers


def program(*insns: Insn, section: str = "classifier", name: str = "main") -> ElfWriter:
    """An object with one program and a licence."""
    elf = ElfWriter()
    elf.symbol(name, elf.code(section, insns), 0, 8 * len(insns))
    elf.license()
    return elf
