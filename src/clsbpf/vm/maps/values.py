"""What do a map's bytes mean?  Values of BTF types as Python values, both ways.

    int, enum, pointer       int (bool for _Bool)
    float                    float
    struct                   dict by field name; the fields of what has no name are its own fields
    union                    dict by field name: each reads the same bytes
    array                    list; of `char`, bytes
    data section             dict by the name of the variable
    anything                 bytes of its size are taken, too

Writing, fields that are not given are 0, and a union's given ones have to agree.  What does not fit is a
MapError that names the field.

A value may also have fields that are the kernel's own: a spin lock, a timer, pointers to kernel objects.
`special_fields` finds them; operations leave them alone (struct btf_record).
"""

from __future__ import annotations

import errno
import struct
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from ...errors import MapError
from ...objfile.btf import Array, Composite, Datasec, Enum, Float, Int, Kind, Modifier, Ptr, TypeRef, Var

MAX_DEPTH: Final = 32
"""Of structs in structs; BTF that goes deeper is hostile."""
MAX_ELEMENTS: Final = 1 << 22
"""Of an array; more than the largest value has bytes."""
MAX_FIELDS: Final = 1 << 14
"""Of all structs in a type together; hostile BTF doubles them at every level."""


@dataclass(frozen=True, slots=True)
class Codec:
    """How values of a type of `size` bytes are read and written.

    `encode` takes the value and what it is called in errors.
    """

    size: int
    decode: Callable[[bytes], Any]
    encode: Callable[[Any, str], bytes]


def raw_codec(size: int) -> Codec:
    """Bytes as they are."""

    def encode(value: Any, name: str) -> bytes:
        if not isinstance(value, bytes | bytearray | memoryview):
            _wrong(f"{name} is {value!r}; without a type it must be {size} bytes")
        return _sized(bytes(value), size, name)

    return Codec(size, bytes, encode)


class _Work:
    """What making one codec cost so far: hostile BTF must come to an end."""

    def __init__(self) -> None:
        self.fields = 0

    def field(self, depth: int) -> None:
        self.fields += 1
        if depth > MAX_DEPTH:
            _wrong(f"types nested deeper than {MAX_DEPTH}, or in a circle")
        if self.fields > MAX_FIELDS:
            _wrong(f"a type of more than {MAX_FIELDS} fields")


def codec(type: TypeRef) -> Codec:
    """How values of a BTF type are read and written.

    Raises ObjectError for a type without a size, MapError for one that is too much to read.
    """
    return _codec(type, 0, _Work())


def _codec(type: TypeRef, depth: int, work: _Work) -> Codec:
    work.field(depth)
    match found := type.type:
        case Int() if found.is_bool:
            return _with_bytes(Codec(1, lambda data: data != b"\0", _encode_bool))
        case Int():
            return _with_bytes(_int_codec(found.size, found.signed))
        case Enum():
            return _with_bytes(_int_codec(found.size, found.signed))
        case Ptr():
            return _with_bytes(_int_codec(8, False))
        case Float() if found.size in (4, 8):
            return _with_bytes(_float_codec(found.size))
        case Array():
            return _with_bytes(_array_codec(type, found, depth, work))
        case Composite():
            return _with_bytes(_composite_codec(found.size, _fields(type, found, 0, depth, work)))
        case Datasec():
            return _with_bytes(_composite_codec(found.size, _variables(type, found, depth, work)))
        case _:
            return raw_codec(type.size)


def _wrong(what: str) -> NoReturn:
    raise MapError(errno.EINVAL, what)


def _sized(value: bytes, size: int, name: str) -> bytes:
    if len(value) != size:
        _wrong(f"{name} has {len(value)} bytes, must have {size}")
    return value


def _with_bytes(inner: Codec) -> Codec:
    """The codec, that takes bytes as well."""

    def encode(value: Any, name: str) -> bytes:
        if isinstance(value, bytes | bytearray | memoryview):
            return _sized(bytes(value), inner.size, name)
        return inner.encode(value, name)

    return Codec(inner.size, inner.decode, encode)


def _encode_bool(value: Any, name: str) -> bytes:
    if value not in (False, True):
        _wrong(f"{name} is {value!r}, must be True or False")
    return bytes([value])


def _in_range(value: Any, bits: int, signed: bool, name: str) -> int:
    """An integer that fits."""
    low, high = (-1 << bits - 1, 1 << bits - 1) if signed else (0, 1 << bits)
    if not isinstance(value, int):
        _wrong(f"{name} is {value!r}, must be an integer")
    if not low <= value < high:
        _wrong(f"{name} is {value}, must be {low} to {high - 1}")
    return value


def _int_codec(size: int, signed: bool) -> Codec:
    return Codec(
        size,
        lambda data: int.from_bytes(data, sys.byteorder, signed=signed),
        lambda value, name: _in_range(value, 8 * size, signed, name).to_bytes(
            size, sys.byteorder, signed=signed
        ),
    )


INDEX_CODEC: Final = _with_bytes(_int_codec(4, False))
"""An array's index."""


def _float_codec(size: int) -> Codec:
    form = struct.Struct("=f" if size == 4 else "=d")

    def encode(value: Any, name: str) -> bytes:
        if not isinstance(value, int | float):
            _wrong(f"{name} is {value!r}, must be a number")
        try:
            return form.pack(value)
        except OverflowError:
            _wrong(f"{name} is {value}, too large for {size} bytes")

    return Codec(size, lambda data: form.unpack(data)[0], encode)


def _array_codec(type: TypeRef, array: Array, depth: int, work: _Work) -> Codec:
    element = type.to(array.element)
    each = _codec(element, depth + 1, work)
    count, size = array.count, each.size
    if not size or count * size > MAX_ELEMENTS:
        return raw_codec(count * size)
    kind = element.type
    if isinstance(kind, Int) and kind.size == 1 and (kind.is_char or kind.name == "char"):
        return Codec(count, bytes, _encode_text(count))

    def decode(data: bytes) -> list[Any]:
        return [each.decode(data[at : at + size]) for at in range(0, count * size, size)]

    def encode(value: Any, name: str) -> bytes:
        if not isinstance(value, Sequence) or isinstance(value, str):
            _wrong(f"{name} is {value!r}, must be a list of {count}")
        if len(value) != count:
            _wrong(f"{name} has {len(value)} elements, must have {count}")
        return b"".join(each.encode(one, f"{name}[{at}]") for at, one in enumerate(value))

    return Codec(count * size, decode, encode)


def _encode_text(count: int) -> Callable[[Any, str], bytes]:
    def encode(value: Any, name: str) -> bytes:
        if not isinstance(value, str):
            _wrong(f"{name} is {value!r}, must be {count} bytes, or text")
        text = value.encode()
        if len(text) > count:
            _wrong(f"{name} is text of {len(text)} bytes, may have {count}")
        return text.ljust(count, b"\0")

    return encode


@dataclass(frozen=True, slots=True)
class _Field:
    """A field: where it is, and how it is read and written.  Bit fields have `bits`."""

    name: str
    offset: int
    codec: Codec
    bits: int = 0
    shift: int = 0
    signed: bool = False

    def read(self, data: bytes) -> Any:
        if not self.bits:
            return self.codec.decode(data[self.offset : self.offset + self.codec.size])
        word = int.from_bytes(data[self.offset : self.offset + self.codec.size], sys.byteorder)
        value = word >> self.shift & (1 << self.bits) - 1
        return value - (1 << self.bits) if self.signed and value >> self.bits - 1 else value

    def write(self, value: Any, name: str) -> tuple[bytes, bytes]:
        """The field's bytes, and which of their bits it has."""
        if not self.bits:
            return self.codec.encode(value, name), b"\xff" * self.codec.size
        mask = (1 << self.bits) - 1
        word = (_in_range(value, self.bits, self.signed, name) & mask) << self.shift
        return (
            word.to_bytes(self.codec.size, sys.byteorder),
            (mask << self.shift).to_bytes(self.codec.size, sys.byteorder),
        )


def _fields(type: TypeRef, composite: Composite, base: int, depth: int, work: _Work) -> Iterator[_Field]:
    """The fields of a struct or union, those of nameless members among them."""
    work.field(depth)
    for member in composite.members:
        of = type.to(member.type)
        kind = of.type
        if member.bit_size:
            start = base * 8 + member.bit_offset
            offset, shift = divmod(start, 8)
            size = (shift + member.bit_size + 7) // 8
            signed = isinstance(kind, Int | Enum) and kind.signed
            yield _Field(member.name, offset, raw_codec(size), member.bit_size, shift, signed)
        elif not member.name and isinstance(kind, Composite):
            yield from _fields(of, kind, base + member.bit_offset // 8, depth + 1, work)
        else:
            yield _Field(member.name, base + member.bit_offset // 8, _codec(of, depth + 1, work))


def _variables(type: TypeRef, section: Datasec, depth: int, work: _Work) -> Iterator[_Field]:
    """The variables of a data section, which is the only value of its map.

    The compiler lists some that it put into another section after all, which do not fit, and some of
    which it kept a part only, which is no value of their type any more: those are bytes.
    """
    for each in section.variables:
        variable = type.btf[each.type]
        if not isinstance(variable, Var) or each.offset + each.size > section.size:
            continue
        of = type.to(variable.target)
        inner = _codec(of, depth + 1, work) if of.size == each.size else raw_codec(each.size)
        yield _Field(variable.name, each.offset, inner)


def _composite_codec(size: int, found: Iterator[_Field]) -> Codec:
    fields = {field.name: field for field in found}
    for field in fields.values():
        if field.offset + field.codec.size > size:
            _wrong(f"field {field.name!r} ends at {field.offset + field.codec.size}, its struct at {size}")

    def decode(data: bytes) -> dict[str, Any]:
        return {name: field.read(data) for name, field in fields.items()}

    def encode(value: Any, name: str) -> bytes:
        if not isinstance(value, Mapping):
            _wrong(f"{name} is {value!r}, must be a dict of {', '.join(fields)}")
        data, written = bytearray(size), bytearray(size)
        for key, one in value.items():
            field = fields.get(key)
            if field is None:
                _wrong(f"{name} has no field {key!r}; there are: {', '.join(fields)}")
            part, mask = field.write(one, f"{name}.{key}")
            for at, (byte, bits) in enumerate(zip(part, mask, strict=True), field.offset):
                if written[at] & bits & (data[at] ^ byte):
                    _wrong(f"{name}.{key} says other than a field before it, of the same place in a union")
                data[at] |= byte
                written[at] |= bits
        return bytes(data)

    return Codec(size, decode, encode)


# The kernel's own fields --------------------------------------------------------------------------

SPIN_LOCK: Final = "bpf_spin_lock"

_SPECIAL: Final[Mapping[str, int]] = {
    SPIN_LOCK: 4,
    "bpf_res_spin_lock": 4,
    "bpf_timer": 16,
    "bpf_wq": 16,
    "bpf_task_work": 8,
    "bpf_list_head": 16,
    "bpf_list_node": 24,
    "bpf_rb_root": 16,
    "bpf_rb_node": 32,
    "bpf_refcount": 4,
}
"""By name, with their sizes (btf_get_field_type)."""
_POINTER_TAGS: Final = frozenset({"kptr", "kptr_untrusted", "percpu_kptr", "uptr"})


@dataclass(frozen=True, slots=True)
class Special:
    """A field of a value that is the kernel's own: its name is the struct's, or `kptr`."""

    name: str
    offset: int
    size: int


def special_fields(type: TypeRef) -> tuple[Special, ...]:
    """The kernel's own fields of a value, in order of offset (btf_parse_fields)."""
    return tuple(sorted(set(_specials(type, 0, 0, _Work())), key=lambda field: field.offset))


def _specials(type: TypeRef, base: int, depth: int, work: _Work) -> Iterator[Special]:
    work.field(depth)
    match found := type.type:
        case Composite() if _SPECIAL.get(found.name) == found.size and not found.is_union:
            yield Special(found.name, base, found.size)
        case Composite():
            for member in found.members:
                if not member.bit_size:
                    yield from _specials(type.to(member.type), base + member.bit_offset // 8, depth + 1, work)
        case Array() if 0 < found.count <= 64:
            element = type.to(found.element)
            for at in range(found.count):
                yield from _specials(element, base + at * element.size, depth + 1, work)
        case Ptr():
            target = type.btf[found.target]
            if isinstance(target, Modifier) and target.kind is Kind.TYPE_TAG and target.name in _POINTER_TAGS:
                yield Special("kptr", base, 8)
        case _:
            pass
