"""Would a kernel take these types?  BPF_BTF_LOAD: btf_parse_hdr, btf_check_all_metas.

What a kernel gets from an object may be damaged or hostile, so it looks at all of it once: the header and
where its sections lie; each type by itself (its *meta*: names, flags, numbers that must fit); and then what
types say of each other (`btf_resolve`), which is in a file of its own.  `check_types` gives the kernel's
errno and the reason, or None.

Only BTF that stands alone is looked at, not a module's, which goes on where a kernel's ends.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from .btf import MAGIC, MAX_TYPES, Kind

MAX_STRINGS = 0xFFFFFF
"""BTF_MAX_NAME_OFFSET."""
MAX_NAME = 512
"""KSYM_NAME_LEN: a name of more bytes is none."""
MAX_BYTES = 16 << 20
_HEADER = struct.Struct("<HBBIIIII")
_INFO_BITS = 0x9F00FFFF
_INT_BITS = 0x0FFFFFFF


@dataclass(frozen=True, slots=True)
class BtfProblem:
    """Why a kernel refuses types: its errno, its words, and the type at fault (0: the header)."""

    errno: int
    reason: str
    id: int = 0

    def __str__(self) -> str:
        return f"type [{self.id}]: {self.reason}" if self.id else self.reason


class BtfRefused(Exception):
    """A problem, on its way up."""

    def __init__(self, reason: str, errno: int = errno.EINVAL, id: int = 0) -> None:
        super().__init__(reason)
        self.problem = BtfProblem(errno, reason, id)


@dataclass(slots=True)
class Types:
    """The types as they are in memory, by id; 0 is void.

    `parts`: members, values, parameters, variables of a section, or of an array, integer, variable or tag
    the one record that follows; each as its words.
    """

    kinds: list[int] = field(default_factory=lambda: [0])
    names: list[int] = field(default_factory=lambda: [0])
    vlens: list[int] = field(default_factory=lambda: [0])
    flags: list[bool] = field(default_factory=lambda: [False])
    words: list[int] = field(default_factory=lambda: [0])
    """The third word: a size, or another type."""
    parts: list[tuple[tuple[int, ...], ...]] = field(default_factory=lambda: [()])


def check_types(raw: bytes) -> BtfProblem | None:
    """Why a kernel would not take these bytes as BTF; None where it would."""
    from .btf_resolve import check_relations

    try:
        strings, types = _sections(raw)
        check_relations(_read(types, strings), strings)
    except BtfRefused as refused:
        return refused.problem
    return None


# The header and the sections -------------------------------------------------------------------------


def _sections(raw: bytes) -> tuple[Strings, bytes]:
    """btf_parse_hdr, btf_check_sec_info, btf_parse_str_sec: the strings, and the bytes of the types."""
    if len(raw) > MAX_BYTES:
        raise BtfRefused("more bytes than a kernel takes", errno.E2BIG)
    if len(raw) < 8:
        raise BtfRefused("hdr_len not found")
    length = int.from_bytes(raw[4:8], "little")
    if len(raw) < length:
        raise BtfRefused("btf_header not found")
    if any(raw[_HEADER.size : length]):
        raise BtfRefused("Unsupported btf_header", errno.E2BIG)
    header = raw[: min(length, _HEADER.size)].ljust(_HEADER.size, b"\0")
    magic, version, flags, _, type_off, type_len, str_off, str_len = _HEADER.unpack(header)
    if magic != MAGIC:
        raise BtfRefused("Invalid magic")
    if version != 1:
        raise BtfRefused("Unsupported version", 524)
    if flags:
        raise BtfRefused("Unsupported flags", 524)
    if len(raw) == length:
        raise BtfRefused("No data")
    body, total = len(raw) - length, 0
    for off, size in sorted(((type_off, type_len), (str_off, str_len))):
        if body < off:
            raise BtfRefused("Invalid section offset")
        if total < off:
            raise BtfRefused("Unsupported section found")
        if total > off:
            raise BtfRefused("Section overlap found")
        if body - total < size:
            raise BtfRefused("Total section length too long")
        total += size
    if body != total:
        raise BtfRefused("Unsupported section found")
    if str_off + str_len != body:
        raise BtfRefused("String section is not at the end")
    text = raw[length + str_off :]
    if not text or len(text) - 1 > MAX_STRINGS or text[-1] or text[0]:
        raise BtfRefused("Invalid string section")
    if type_off % 4:
        raise BtfRefused("Unaligned type_off")
    if not type_len:
        raise BtfRefused("No type found")
    return Strings(text), raw[length + type_off : length + type_off + type_len]


_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") | (
    frozenset(range(0xC0, 0x100)) - {0xD7, 0xF7}
)
"""isalpha: the kernel's letters are those of Latin-1."""
_FIRST = bytes(sorted(_LETTERS | frozenset(b"_.")))
_REST = bytes(sorted(_LETTERS | frozenset(b"_.0123456789")))
_PRINTABLE = bytes(range(0x20, 0x7F)) + bytes(range(0xA0, 0x100))


class Strings:
    """The section of strings, and which of them are names."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self._identifiers: dict[int, bool] = {0: False}

    def there(self, offset: int) -> bool:
        """btf_name_offset_valid."""
        return offset < len(self.text)

    def at(self, offset: int) -> bytes:
        """The string that begins at an offset."""
        return self.text[offset : self.text.index(b"\0", offset)]

    def identifier(self, offset: int) -> bool:
        """btf_name_valid_identifier: letters, digits, `_` and `.`, no digit first."""
        found = self._identifiers.get(offset)
        if found is None:
            name = self.at(offset)
            found = 0 < len(name) <= MAX_NAME and name[0] in _FIRST and not name.translate(None, _REST)
            self._identifiers[offset] = found
        return found

    def section(self, offset: int) -> bool:
        """btf_name_valid_section."""
        name = self.at(offset)
        return 0 < len(name) <= MAX_NAME and not name.translate(None, _PRINTABLE)


# Each type by itself ---------------------------------------------------------------------------------

_RECORD = {
    Kind.STRUCT: 3,
    Kind.UNION: 3,
    Kind.ENUM: 2,
    Kind.ENUM64: 3,
    Kind.FUNC_PROTO: 2,
    Kind.DATASEC: 3,
}
"""Words of each of `vlen` records."""
_SINGLE = {Kind.INT: 1, Kind.ARRAY: 3, Kind.VAR: 1, Kind.DECL_TAG: 1}
"""Words of the one record that follows."""
_WORDS = {words: struct.Struct(f"<{words}I") for words in (1, 2, 3)}


def _read(raw: bytes, strings: Strings) -> Types:
    """btf_check_all_metas."""
    types = Types()
    at, end, id = 0, len(raw), 0
    head = _WORDS[3]
    while at < end:
        id += 1
        if end - at < 12:
            raise BtfRefused(f"meta_left:{end - at} meta_needed:12", id=id)
        name, info, word = head.unpack_from(raw, at)
        at += 12
        kind, vlen, flag = info >> 24 & 0x1F, info & 0xFFFF, bool(info >> 31)
        if info & ~_INFO_BITS:
            raise BtfRefused(f"Invalid btf_info:{info:x}", id=id)
        if not 0 < kind <= max(Kind):
            raise BtfRefused(f"Invalid kind:{kind}", id=id)
        if not strings.there(name):
            raise BtfRefused(f"Invalid name_offset:{name}", id=id)
        words = _RECORD.get(Kind(kind), 0)
        count = vlen if words else 1
        words = words or _SINGLE.get(Kind(kind), 0)
        needed = 4 * words * count
        if end - at < needed:
            raise BtfRefused(f"meta_left:{end - at} meta_needed:{needed}", id=id)
        parts = tuple(_WORDS[words].iter_unpack(raw[at : at + needed])) if needed else ()
        at += needed
        problem = _METAS[Kind(kind)](strings, Kind(kind), name, vlen, flag, word, parts)
        if problem:
            raise BtfRefused(problem, 524 if problem == _ENCODING else errno.EINVAL, id)
        if id > MAX_TYPES:
            raise BtfRefused(f"Too many types: at most {MAX_TYPES}", errno.E2BIG, id)
        types.kinds.append(kind)
        types.names.append(name)
        types.vlens.append(vlen)
        types.flags.append(flag)
        types.words.append(word)
        types.parts.append(parts)
    return types


Meta = Callable[[Strings, Kind, int, int, bool, int, tuple[tuple[int, ...], ...]], str]
_FLAG, _VLEN, _NAME, _ID = "Invalid btf_info kind_flag", "vlen != 0", "Invalid name", "Invalid type_id"
_ENCODING = "Unsupported encoding"


def _int(s: Strings, kind: Kind, name: int, vlen: int, flag: bool, size: int, parts: Parts) -> str:
    data = parts[0][0]
    bits = (data & 0xFF) + (data >> 16 & 0xFF)
    if vlen:
        return _VLEN
    if flag:
        return _FLAG
    if data & ~_INT_BITS:
        return f"Invalid int_data:{data:x}"
    if bits > 128:
        return "nr_bits exceeds 128"
    if (bits + 7) // 8 > size:
        return "nr_bits exceeds type_size"
    return "" if data >> 24 in (0, 1, 2, 4) else _ENCODING


def _reference(s: Strings, kind: Kind, name: int, vlen: int, flag: bool, to: int, parts: Parts) -> str:
    if vlen:
        return _VLEN
    if flag and kind != Kind.TYPE_TAG:
        return _FLAG
    if to > MAX_TYPES:
        return _ID
    if kind == Kind.TYPEDEF:
        return "" if s.identifier(name) else _NAME
    if kind == Kind.TYPE_TAG:
        return "" if s.at(name) else _NAME
    return _NAME if name else ""


def _fwd(s: Strings, kind: Kind, name: int, vlen: int, flag: bool, word: int, parts: Parts) -> str:
    if vlen:
        return _VLEN
    if word:
        return "type != 0"
    return "" if s.identifier(name) else _NAME


def _array(s: Strings, kind: Kind, name: int, vlen: int, flag: bool, size: int, parts: Parts) -> str:
    element, index, _ = parts[0]
    if name:
        return _NAME
    if vlen:
        return _VLEN
    if flag:
        return _FLAG
    if size:
        return "size != 0"
    if not 0 < element <= MAX_TYPES:
        return "Invalid elem"
    return "" if 0 < index <= MAX_TYPES else "Invalid index"


def _struct(s: Strings, kind: Kind, name: int, vlen: int, flag: bool, size: int, parts: Parts) -> str:
    if name and not s.identifier(name):
        return _NAME
    last = 0
    for member, type, offset in parts:
        if not s.there(member):
            return f"Invalid member name_offset:{member}"
        if member and not s.identifier(member):
            return _NAME
        if not 0 < type <= MAX_TYPES:
            return _ID
        if flag:
            offset &= 0xFFFFFF
        if (kind == Kind.UNION and offset) or last > offset:
            return "Invalid member bits_offset"
        if (offset + 7) // 8 > size:
            return "Member bits_offset exceeds its struct size"
        last = offset
    return ""


def _enum(s: Strings, kind: Kind, name: int, vlen: int, flag: bool, size: int, parts: Parts) -> str:
    if size not in (1, 2, 4, 8):
        return "Unexpected size"
    if name and not s.identifier(name):
        return _NAME
    for value, *_ in parts:
        if not s.there(value):
            return f"Invalid name_offset:{value}"
        if not s.identifier(value):
            return _NAME
    return ""


def _proto(s: Strings, kind: Kind, name: int, vlen: int, flag: bool, word: int, parts: Parts) -> str:
    return _NAME if name else _FLAG if flag else ""


def _func(s: Strings, kind: Kind, name: int, linkage: int, flag: bool, word: int, parts: Parts) -> str:
    if not s.identifier(name):
        return _NAME
    if linkage > 1:
        return "Invalid func linkage"
    return _FLAG if flag else ""


def _var(s: Strings, kind: Kind, name: int, vlen: int, flag: bool, type: int, parts: Parts) -> str:
    if vlen:
        return _VLEN
    if flag:
        return _FLAG
    if not s.identifier(name):
        return _NAME
    if not 0 < type <= MAX_TYPES:
        return _ID
    return "" if parts[0][0] <= 1 else "Linkage not supported"


def _datasec(s: Strings, kind: Kind, name: int, vlen: int, flag: bool, size: int, parts: Parts) -> str:
    if not size:
        return "size == 0"
    if flag:
        return _FLAG
    if not name or not s.section(name):
        return _NAME
    end = total = 0
    for type, offset, width in parts:
        if not 0 < type <= MAX_TYPES:
            return _ID
        if offset < end or offset >= size:
            return "Invalid offset"
        if not 0 < width <= size:
            return "Invalid size"
        end = offset + width
        if end > size:
            return "Invalid offset+size"
        total += width
    return "Invalid btf_info size" if size < total else ""


def _float(s: Strings, kind: Kind, name: int, vlen: int, flag: bool, size: int, parts: Parts) -> str:
    if vlen:
        return _VLEN
    if flag:
        return _FLAG
    return "" if size in (2, 4, 8, 12, 16) else "Invalid type_size"


def _tag(s: Strings, kind: Kind, name: int, vlen: int, flag: bool, word: int, parts: Parts) -> str:
    if not s.at(name):
        return "Invalid value"
    if vlen:
        return _VLEN
    return "Invalid component_idx" if 0x80000000 <= parts[0][0] < 0xFFFFFFFF else ""


Parts = tuple[tuple[int, ...], ...]
_METAS: dict[Kind, Meta] = {
    Kind.INT: _int,
    **dict.fromkeys(
        (Kind.PTR, Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG), _reference
    ),
    Kind.FWD: _fwd,
    Kind.ARRAY: _array,
    Kind.STRUCT: _struct,
    Kind.UNION: _struct,
    Kind.ENUM: _enum,
    Kind.ENUM64: _enum,
    Kind.FUNC_PROTO: _proto,
    Kind.FUNC: _func,
    Kind.VAR: _var,
    Kind.DATASEC: _datasec,
    Kind.FLOAT: _float,
    Kind.DECL_TAG: _tag,
}
