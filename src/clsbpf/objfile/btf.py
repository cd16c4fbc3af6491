"""BTF, the BPF Type Format: the types of an object or of a kernel, as a list that refers to itself.

    header │ types: name, info (kind, how many parts), size or type, then what the kind adds │ strings

A type's number (its id) is its place in the list, from 1 on; 0 is void.  Types refer to each other by
id, names are offsets into the strings.  A kernel has some 150,000 types, of which a program needs a
few: so reading BTF only finds out where each type begins, and a type is decoded when it is asked for.

Whatever the bytes are, reading them ends soon: the list is walked once, strings have a length and a
sum, and chains of types (a typedef of a const of …) a depth, as the kernel's own reader has them.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..errors import ObjectError
from .btf_types import (
    Array,
    Composite,
    Datasec,
    DeclTag,
    Enum,
    Enumerator,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Kind,
    Linkage,
    Member,
    Modifier,
    Param,
    Ptr,
    SectionVar,
    Type,
    Var,
    Void,
)

__all__ = [
    "MAGIC",
    "MAX_DEPTH",
    "Array",
    "Btf",
    "Composite",
    "Datasec",
    "DeclTag",
    "Enum",
    "Enumerator",
    "Float",
    "Func",
    "FuncProto",
    "Fwd",
    "Int",
    "Kind",
    "Linkage",
    "Member",
    "Modifier",
    "Param",
    "Ptr",
    "SectionVar",
    "Type",
    "TypeRef",
    "Var",
    "Void",
    "essential_name",
]

MAGIC = 0xEB9F
MAX_TYPES = 0xFFFFF
"""BTF_MAX_TYPE."""
MAX_DEPTH = 32
"""MAX_RESOLVE_DEPTH: how many types may stand between a type and its size."""
MAX_NAME = 0xFFFF
MAX_STRINGS = 64 << 20
"""Bytes of strings that are read from one BTF in all; a kernel's are some 5 million."""
MAX_SIZE = 0xFFFFFFFF
MAX_FLAVOUR = 1024
"""Names of more bytes have no flavours; a kernel's have at most 512."""


_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_WORD = struct.Struct("<I")

_ADDED = {Kind.INT: 4, Kind.ARRAY: 12, Kind.VAR: 4, Kind.DECL_TAG: 4}
_EACH = {
    Kind.STRUCT: 12,
    Kind.UNION: 12,
    Kind.ENUM: 8,
    Kind.FUNC_PROTO: 8,
    Kind.DATASEC: 12,
    Kind.ENUM64: 12,
}
_KNOWN = range(1, max(Kind) + 1)


class Btf:
    """The types of one object or kernel.  Sizes and offsets are in bytes, bit offsets in bits.

    With a `base` this is *split* BTF (a kernel module's), whose ids and strings go on where the base's end.
    """

    def __init__(self, raw: bytes, where: str = "BTF", base: Btf | None = None) -> None:
        self.raw = raw
        self.where = where
        self.base = base
        self._first = len(base) if base else 1
        self._first_string = base.string_bytes if base else 0
        self._types, self._strings = self._split(raw)
        self._starts, self._names = self._find_types()
        self._decoded: dict[int, Type] = {0: Void()}
        self._text: dict[int, str] = {}
        self._found: dict[tuple[str, Kind], int | None] = {}
        self._variables: dict[str, dict[str, int]] = {}
        self._text_bytes = 0

    def _wrong(self, what: str) -> ObjectError:
        return ObjectError(f"{self.where}: {what}")

    def _split(self, raw: bytes) -> tuple[bytes, bytes]:
        """btf_parse_hdr(): the bytes of the types and of the strings."""
        if len(raw) < _HEADER.size:
            raise self._wrong(f"{len(raw)} bytes are too few for a BTF header, which has {_HEADER.size}")
        magic, version, _, header, type_at, type_bytes, string_at, string_bytes = _HEADER.unpack_from(raw)
        if magic == int.from_bytes(MAGIC.to_bytes(2, "little"), "big"):
            raise self._wrong("the BTF is big-endian; only little-endian BTF is read here")
        if magic != MAGIC:
            raise self._wrong(f"not BTF: it begins with {magic:#06x}, not {MAGIC:#06x}")
        if version != 1:
            raise self._wrong(f"BTF version {version}; only version 1 is known")
        if header < _HEADER.size or header > len(raw):
            raise self._wrong(f"a BTF header of {header} bytes in {len(raw)}")
        body = len(raw) - header
        for name, at, size in (("types", type_at, type_bytes), ("strings", string_at, string_bytes)):
            if at + size > body:
                raise self._wrong(f"{size} bytes of {name} at {at} do not fit the {body} bytes of BTF")
        types = raw[header + type_at : header + type_at + type_bytes]
        strings = raw[header + string_at : header + string_at + string_bytes]
        if strings[-1:] != b"\0" or (self.base is None and strings[:1] != b"\0"):
            raise self._wrong("the strings do not begin and end with a zero byte")
        return types, strings

    def _find_types(self) -> tuple[array[int], array[int]]:
        """Where each type begins, and the offset of its name."""
        types, end, at = self._types, len(self._types), 0
        added = [_ADDED.get(Kind(kind), 0) if kind in _KNOWN else 0 for kind in range(32)]
        each = [_EACH.get(Kind(kind), 0) if kind in _KNOWN else 0 for kind in range(32)]
        starts, names = array("I"), array("I")
        unpack = _TYPE.unpack_from
        while at + _TYPE.size <= end:
            name, info, _ = unpack(types, at)
            kind = info >> 24 & 0x1F
            if kind not in _KNOWN:
                raise self._wrong(f"type {self._first + len(starts)} is of the unknown kind {kind}")
            starts.append(at)
            names.append(name)
            at += _TYPE.size + added[kind] + each[kind] * (info & 0xFFFF)
        if at != end:
            raise self._wrong(f"type {self._first + len(starts) - 1} goes beyond the end of the types")
        if len(starts) > MAX_TYPES:
            raise self._wrong(f"{len(starts)} types; at most {MAX_TYPES} are allowed")
        return starts, names

    @property
    def string_bytes(self) -> int:
        """The bytes of strings, the base's included."""
        return self._first_string + len(self._strings)

    def __repr__(self) -> str:
        return f"<Btf {self.where}: {len(self) - 1} types>"

    def __len__(self) -> int:
        """How many ids there are: void, the base's and its own."""
        return self._first + len(self._starts)

    def __iter__(self) -> Iterator[Type]:
        """Its own types, in order (without void and without the base's)."""
        return (self[id] for id in range(self._first, len(self)))

    def string(self, offset: int) -> str:
        """The string at an offset."""
        if offset < self._first_string and self.base:
            return self.base.string(offset)
        text = self._text.get(offset)
        if text is None:
            at = offset - self._first_string
            if at >= len(self._strings):
                raise self._wrong(f"a name at {offset}; the strings end at {self.string_bytes}")
            end = self._strings.find(b"\0", at, at + MAX_NAME + 1)
            if end < 0:
                raise self._wrong(f"the name at {offset} is longer than {MAX_NAME} bytes")
            self._text_bytes += end - at
            if self._text_bytes > MAX_STRINGS:
                raise self._wrong(f"its names come to more than {MAX_STRINGS} bytes")
            text = self._text[offset] = self._strings[at:end].decode("utf-8", "replace")
        return text

    def __getitem__(self, id: int) -> Type:
        """The type with that id; ObjectError when there is none."""
        found = self._decoded.get(id)
        if found is not None:
            return found
        if id < self._first and self.base:
            return self.base[id]
        self._check(id)
        found = self._decoded[id] = self._decode(id)
        return found

    def _check(self, id: int) -> None:
        if not 0 < id < len(self):
            raise self._wrong(f"there is no type {id}; there are {len(self) - 1}")

    def start(self, id: int) -> int:
        """Where the type begins in `raw`."""
        header: int = _HEADER.unpack_from(self.raw)[3]
        types_at: int = _HEADER.unpack_from(self.raw)[4]
        return header + types_at + self._starts[id - self._first]

    def kind(self, id: int) -> Kind:
        """The kind of a type, without decoding it."""
        if id < self._first and self.base:
            return self.base.kind(id)
        if id == 0:
            return Kind.VOID
        self._check(id)
        at = self._starts[id - self._first]
        return Kind(_WORD.unpack_from(self._types, at + 4)[0] >> 24 & 0x1F)

    def name(self, id: int) -> str:
        """The name of a type, without decoding it."""
        if id < self._first:
            return self.base.name(id) if self.base else ""
        self._check(id)
        return self.string(self._names[id - self._first])

    def _decode(self, id: int) -> Type:
        at = self._starts[id - self._first]
        name_at, info, size = _TYPE.unpack_from(self._types, at)
        kind, flag, count = Kind(info >> 24 & 0x1F), bool(info >> 31), info & 0xFFFF
        name = self.string(name_at)
        at += _TYPE.size
        rows: Sequence[tuple[int, ...]] = ()
        if kind in _EACH:
            form = {8: "<Ii" if kind is Kind.ENUM and flag else "<II", 12: "<III"}[_EACH[kind]]
            rows = list(struct.iter_unpack(form, self._types[at : at + count * _EACH[kind]]))
        word = _WORD.unpack_from(self._types, at)[0] if kind in _ADDED else 0
        match kind:
            case Kind.INT:
                encoding = word >> 24 & 0xF
                return Int(
                    *(id, name, size, bool(encoding & 1), bool(encoding & 2), bool(encoding & 4)),
                    *(word >> 16 & 0xFF, word & 0xFF),
                )
            case Kind.FLOAT:
                return Float(id, name, size)
            case Kind.PTR:
                return Ptr(id, size)
            case Kind.ARRAY:
                element, index, length = _TYPE.unpack_from(self._types, at)
                return Array(id, element, index, length)
            case Kind.STRUCT | Kind.UNION:
                mask, shift = (0xFFFFFF, 24) if flag else (MAX_SIZE, 32)
                return Composite(
                    *(id, name, kind is Kind.UNION, size),
                    tuple(Member(self.string(m), type, at & mask, at >> shift) for m, type, at in rows),
                )
            case Kind.ENUM:
                return Enum(
                    id, name, size, flag, False, tuple(Enumerator(self.string(e), value) for e, value in rows)
                )
            case Kind.ENUM64:
                values = tuple(
                    Enumerator(self.string(e), _signed(high << 32 | low) if flag else high << 32 | low)
                    for e, low, high in rows
                )
                return Enum(id, name, size, flag, True, values)
            case Kind.FWD:
                return Fwd(id, name, flag)
            case Kind.FUNC:
                return Func(id, name, size, count)
            case Kind.FUNC_PROTO:
                return FuncProto(id, size, tuple(Param(self.string(p), type) for p, type in rows))
            case Kind.VAR:
                return Var(id, name, size, word)
            case Kind.DATASEC:
                return Datasec(id, name, size, tuple(SectionVar(*row) for row in rows))
            case Kind.DECL_TAG:
                return DeclTag(id, name, size, word - (word >> 31 << 32))
            case _:
                return Modifier(id, kind, name, size)

    def resolve(self, id: int) -> Type:
        """btf_type_skip_modifiers(): the type behind typedefs, qualifiers and tags."""
        for _ in range(MAX_DEPTH):
            found = self[id]
            if not isinstance(found, Modifier):
                return found
            id = found.target
        raise self._wrong(f"more than {MAX_DEPTH} typedefs and qualifiers, or a circle of them, at type {id}")

    def size_of(self, id: int) -> int:
        """btf_resolve_size(): the bytes that a value takes; ObjectError for what has no size."""
        count = 1
        for _ in range(MAX_DEPTH):
            match found := self.resolve(id):
                case Int() | Float() | Composite() | Enum() | Datasec():
                    count *= found.size
                case Ptr():
                    count *= 8
                case Array():
                    count *= found.count
                    id = found.element
                    continue
                case Var():
                    id = found.target
                    continue
                case _:
                    raise self._wrong(f"type {id} ({type(found).__name__.lower()}) has no size")
            if count > MAX_SIZE:
                raise self._wrong(f"type {id} would take {count} bytes")
            return count
        raise self._wrong(f"arrays nested deeper than {MAX_DEPTH}, or in a circle, at type {id}")

    def align_of(self, id: int) -> int:
        """btf__align_of(): the alignment of a value; 0 for what has none."""
        return self._align_of(id, 0)

    def _align_of(self, id: int, depth: int) -> int:
        if depth > MAX_DEPTH:
            raise self._wrong(f"types nested deeper than {MAX_DEPTH}, or in a circle, at type {id}")
        match found := self.resolve(id):
            case Int() | Float() | Enum():
                return min(8, found.size)
            case Ptr():
                return 8
            case Array():
                return self._align_of(found.element, depth + 1)
            case Composite():
                return max((self._align_of(m.type, depth + 1) for m in found.members), default=1)
            case _:
                return 0

    @cached_property
    def _by_name(self) -> dict[str, tuple[int, ...]]:
        found: dict[str, list[int]] = {}
        for id in range(self._first, len(self)):
            if name := self.name(id):
                found.setdefault(name, []).append(id)
        return {name: tuple(ids) for name, ids in found.items()}

    def named(self, name: str) -> tuple[int, ...]:
        """The ids of the types of that name, of any kind, in order."""
        return (self.base.named(name) if self.base else ()) + self._by_name.get(name, ())

    def find(self, name: str, kind: Kind) -> int | None:
        """The first type of a name and kind."""
        key = name, kind
        if key not in self._found:
            self._found[key] = next((id for id in self.named(name) if self.kind(id) is kind), None)
        return self._found[key]

    def variables_of(self, section: str) -> dict[str, int]:
        """The types of a section's variables by name, but not where a name comes twice (static ones)."""
        found = self._variables.get(section)
        if found is None:
            found = self._variables[section] = {}
            datasec = self[self.find(section, Kind.DATASEC) or 0]
            often: set[str] = set()
            for each in datasec.variables if isinstance(datasec, Datasec) else ():
                variable = self[each.type]
                if isinstance(variable, Var):
                    if variable.name in found:
                        often.add(variable.name)
                    found[variable.name] = variable.target
            for name in often:
                del found[name]
        return found

    @cached_property
    def _by_essence(self) -> dict[str, tuple[int, ...]]:
        found: dict[str, list[int]] = {}
        for name, ids in self._by_name.items():
            found.setdefault(essential_name(name), []).extend(ids)
        return {name: tuple(sorted(ids)) for name, ids in found.items()}

    def flavours(self, name: str) -> tuple[int, ...]:
        """The types whose essential name is `name`, in order of their ids."""
        return (self.base.flavours(name) if self.base else ()) + self._by_essence.get(name, ())

    def ref(self, id: int) -> TypeRef:
        """The type, together with the BTF that it belongs to."""
        return TypeRef(self, id)


@dataclass(frozen=True, slots=True, eq=False)
class TypeRef:
    """A type and the BTF that it belongs to: enough to read a value of it."""

    btf: Btf
    id: int

    @property
    def size(self) -> int:
        """Bytes of a value."""
        return self.btf.size_of(self.id)

    @property
    def type(self) -> Type:
        """The type itself, behind typedefs and qualifiers."""
        return self.btf.resolve(self.id)

    def to(self, id: int) -> TypeRef:
        """Another type of the same BTF."""
        return TypeRef(self.btf, id)


def essential_name(name: str) -> str:
    """bpf_core_essential_name_len(): a name without its *flavour*, what follows the last `___`.

    libbpf wants something before it and something other than `_` on both sides.
    """
    if "___" not in name or len(name) > MAX_FLAVOUR:
        return name
    for at in range(len(name) - 5, -1, -1):
        if name[at] != "_" and name[at + 1 : at + 4] == "___" and name[at + 4] != "_":
            return name[: at + 1]
    return name


def _signed(value: int) -> int:
    return value - (value >> 63 << 64)
