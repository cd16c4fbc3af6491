"""Writes BTF and .BTF.ext byte by byte, for tests that must say exactly what is in it.

Every method adds a type and returns its id.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

from clsbpf.objfile.btf import MAGIC, Btf, Kind

Field = tuple[str, int, int] | tuple[str, int, int, int]
"""A member: name, type, offset in bits, and for a bitfield its width."""


class BtfWriter:
    """Collects types and strings."""

    def __init__(self) -> None:
        self.types = b""
        self.strings = bytearray(b"\0")
        self.count = 0

    def name(self, text: str) -> int:
        """The offset of a string."""
        if not text:
            return 0
        self.strings += text.encode() + b"\0"
        return len(self.strings) - len(text.encode()) - 1

    def add(
        self,
        kind: int,
        name: str = "",
        *,
        vlen: int = 0,
        flag: bool = False,
        size: int = 0,
        rest: bytes = b"",
    ) -> int:
        """A type by its fields; `size` is the third word, whatever it means."""
        info = kind << 24 | flag << 31 | vlen
        self.types += struct.pack("<III", self.name(name), info, size) + rest
        self.count += 1
        return self.count

    def int(self, name: str = "int", size: int = 4, *, signed: bool = True, bit_offset: int = 0) -> int:
        rest = struct.pack("<I", signed << 24 | bit_offset << 16 | size * 8)
        return self.add(Kind.INT, name, size=size, rest=rest)

    def ptr(self, target: int) -> int:
        return self.add(Kind.PTR, size=target)

    def array(self, element: int, count: int) -> int:
        return self.add(Kind.ARRAY, rest=struct.pack("<III", element, element, count))

    def struct(self, name: str, size: int, *fields: Field, kind: Kind = Kind.STRUCT) -> int:
        flag = any(len(field) == 4 for field in fields)
        rest = b""
        for field in fields:
            width = field[3] if len(field) == 4 else 0
            rest += struct.pack("<III", self.name(field[0]), field[1], width << 24 | field[2])
        return self.add(kind, name, vlen=len(fields), flag=flag, size=size, rest=rest)

    def union(self, name: str, size: int, *fields: Field) -> int:
        return self.struct(name, size, *fields, kind=Kind.UNION)

    def enum(self, name: str, values: Mapping[str, int], *, signed: bool = False, size: int = 4) -> int:
        rest = b"".join(struct.pack("<II", self.name(n), v & 0xFFFFFFFF) for n, v in values.items())
        return self.add(Kind.ENUM, name, vlen=len(values), flag=signed, size=size, rest=rest)

    def enum64(self, name: str, values: Mapping[str, int], *, signed: bool = False) -> int:
        rest = b"".join(
            struct.pack("<III", self.name(n), v & 0xFFFFFFFF, v >> 32 & 0xFFFFFFFF) for n, v in values.items()
        )
        return self.add(Kind.ENUM64, name, vlen=len(values), flag=signed, size=8, rest=rest)

    def fwd(self, name: str, *, union: bool = False) -> int:
        return self.add(Kind.FWD, name, flag=union)

    def modifier(self, kind: Kind, target: int, name: str = "") -> int:
        return self.add(kind, name, size=target)

    def typedef(self, name: str, target: int) -> int:
        return self.modifier(Kind.TYPEDEF, target, name)

    def proto(self, result: int, *params: tuple[str, int]) -> int:
        rest = b"".join(struct.pack("<II", self.name(name), type) for name, type in params)
        return self.add(Kind.FUNC_PROTO, vlen=len(params), size=result, rest=rest)

    def func(self, name: str, proto: int, linkage: int = 1) -> int:
        return self.add(Kind.FUNC, name, vlen=linkage, size=proto)

    def var(self, name: str, target: int, linkage: int = 1) -> int:
        return self.add(Kind.VAR, name, size=target, rest=struct.pack("<I", linkage))

    def datasec(self, name: str, *variables: tuple[int, int, int], size: int = 0) -> int:
        rest = b"".join(struct.pack("<III", *variable) for variable in variables)
        return self.add(Kind.DATASEC, name, vlen=len(variables), size=size, rest=rest)

    def map_definition(self, name: str, numbers: Mapping[str, int], types: Mapping[str, int]) -> int:
        """The struct behind a variable in .maps: `__uint` for numbers, `__type` for types."""
        number = self.int()
        fields: list[Field] = []
        for each, value in numbers.items():
            fields.append((each, self.ptr(self.array(number, value)), 64 * len(fields)))
        for each, type in types.items():
            fields.append((each, self.ptr(type), 64 * len(fields)))
        return self.struct(name, 8 * len(fields), *fields)

    def raw(self) -> bytes:
        """The section .BTF."""
        header = struct.pack(
            "<HBBIIIII", MAGIC, 1, 0, 24, 0, len(self.types), len(self.types), len(self.strings)
        )
        return header + self.types + bytes(self.strings)

    def btf(self, where: str = "BTF") -> Btf:
        """The same, read back."""
        return Btf(self.raw(), where)

    def ext(
        self,
        *,
        lines: Iterable[tuple[str, Sequence[tuple[int, int, int, int]]]] = (),
        core: Iterable[tuple[str, Sequence[tuple[int, int, int, int]]]] = (),
    ) -> bytes:
        """The section .BTF.ext; records by section name, as the four words that they are."""

        def block(sections: Iterable[tuple[str, Sequence[tuple[int, int, int, int]]]]) -> bytes:
            body = b""
            for section, records in sections:
                body += struct.pack("<II", self.name(section), len(records))
                body += b"".join(struct.pack("<IIII", *record) for record in records)
            return struct.pack("<I", 16) + body if body else b""

        line, relocations = block(lines), block(core)
        header = struct.pack("<HBBI", MAGIC, 1, 0, 32)
        header += struct.pack("<IIII", 0, 0, 0, len(line))
        return header + struct.pack("<II", len(line), len(relocations)) + line + relocations
