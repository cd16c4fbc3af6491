"""The kinds of types that BTF knows, each a value.

A type's number (its id) is its place in the list, and types refer to each other by id; 0 is `void`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Kind(enum.IntEnum):
    """BTF_KIND_*."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


class Linkage(enum.IntEnum):
    """BTF_VAR_*, BTF_FUNC_*."""

    STATIC = 0
    GLOBAL = 1
    EXTERN = 2


@dataclass(frozen=True, slots=True)
class Void:
    """No type: id 0."""

    id: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Int:
    """An integer of `bits` bits in `size` bytes.  `bit_offset` is not 0 only in very old bitfields."""

    id: int
    name: str
    size: int
    signed: bool
    is_char: bool
    is_bool: bool
    bit_offset: int
    bits: int


@dataclass(frozen=True, slots=True)
class Float:
    """A floating-point number of `size` bytes."""

    id: int
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Ptr:
    """A pointer to `target`."""

    id: int
    target: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Array:
    """`count` elements of type `element`; 0 also where the length is left open."""

    id: int
    element: int
    index: int
    count: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a struct or union; `bit_size` is 0 but in a bitfield."""

    name: str
    type: int
    bit_offset: int
    bit_size: int


@dataclass(frozen=True, slots=True)
class Composite:
    """A struct or union of `size` bytes."""

    id: int
    name: str
    is_union: bool
    size: int
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Enumerator:
    """One name of an enum."""

    name: str
    value: int


@dataclass(frozen=True, slots=True)
class Enum:
    """An enum of `size` bytes.  `wide`: ENUM64, which has room for values of 64 bits."""

    id: int
    name: str
    size: int
    signed: bool
    wide: bool
    values: tuple[Enumerator, ...]


@dataclass(frozen=True, slots=True)
class Fwd:
    """A struct or union that is only declared."""

    id: int
    name: str
    is_union: bool


@dataclass(frozen=True, slots=True)
class Modifier:
    """A typedef, const, volatile, restrict or type tag of `target`; typedefs and tags have a name."""

    id: int
    kind: Kind
    name: str
    target: int


@dataclass(frozen=True, slots=True)
class Func:
    """A function: its name and its FUNC_PROTO."""

    id: int
    name: str
    proto: int
    linkage: int


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter.  The last may be without name and type: `...`."""

    name: str
    type: int


@dataclass(frozen=True, slots=True)
class FuncProto:
    """The type of a function."""

    id: int
    result: int
    params: tuple[Param, ...]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Var:
    """A global variable of type `target`."""

    id: int
    name: str
    target: int
    linkage: int


@dataclass(frozen=True, slots=True)
class SectionVar:
    """A variable's place in its section: `type` is the id of a VAR (or of a FUNC, in `.ksyms`)."""

    type: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Datasec:
    """An ELF section's variables."""

    id: int
    name: str
    size: int
    variables: tuple[SectionVar, ...]


@dataclass(frozen=True, slots=True)
class DeclTag:
    """An attribute (btf_decl_tag) of `target`, or of its member or parameter `component` (-1: itself)."""

    id: int
    name: str
    target: int
    component: int


Type = (
    Void
    | Int
    | Float
    | Ptr
    | Array
    | Composite
    | Enum
    | Fwd
    | Modifier
    | Func
    | FuncProto
    | Var
    | Datasec
    | DeclTag
)
