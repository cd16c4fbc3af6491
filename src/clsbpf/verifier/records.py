"""Which parts of a type are not plain bytes?  btf_parse_fields: struct btf_record.

A map's value, or an object that the program allocates, may have members that only calls may touch:
`struct bpf_spin_lock`, `struct bpf_timer`, `struct bpf_list_head`; or pointers that the kernel keeps
(`__kptr`).  They are found by the names of their types and by tags.  A type in which one is not as it
should be has no record: `NoRecord` says why.
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from ..objfile.btf import Array, Btf, Composite, Datasec, Kind, Modifier, Ptr, Type, Var
from ..objfile.decl_tags import tags_of
from .types import Struct, kernel_struct

MAX_FIELDS = 11
"""BTF_FIELDS_MAX."""
MAX_DEPTH = 32


class Field(enum.Flag):
    """enum btf_field_type."""

    SPIN_LOCK = enum.auto()
    RES_SPIN_LOCK = enum.auto()
    TIMER = enum.auto()
    WORKQUEUE = enum.auto()
    TASK_WORK = enum.auto()
    REFCOUNT = enum.auto()
    LIST_HEAD = enum.auto()
    LIST_NODE = enum.auto()
    RB_ROOT = enum.auto()
    RB_NODE = enum.auto()
    KPTR = enum.auto()
    UPTR = enum.auto()


@dataclass(frozen=True, slots=True)
class SpecialField:
    """struct btf_field: `name` is its struct's, `offset` and `size` are in bytes of the value.

    `target`: of a kernel pointer what it points to, of a list's head or a tree's root its elements;
    `node` is where in such an element the node is.
    """

    name: str
    offset: int
    size: int
    target: Struct | None = None
    node: int = 0


class NoRecord(Exception):
    """A field that is not as it should be; `errno` is the kernel's."""

    def __init__(self, errno: int) -> None:
        super().__init__(errno)
        self.errno = errno


_STRUCTS: dict[str, tuple[Field, int, int]] = {
    "bpf_spin_lock": (Field.SPIN_LOCK, 4, 4),
    "bpf_res_spin_lock": (Field.RES_SPIN_LOCK, 4, 4),
    "bpf_timer": (Field.TIMER, 16, 8),
    "bpf_wq": (Field.WORKQUEUE, 16, 8),
    "bpf_task_work": (Field.TASK_WORK, 8, 8),
    "bpf_refcount": (Field.REFCOUNT, 4, 4),
    "bpf_list_head": (Field.LIST_HEAD, 16, 8),
    "bpf_list_node": (Field.LIST_NODE, 24, 8),
    "bpf_rb_root": (Field.RB_ROOT, 16, 8),
    "bpf_rb_node": (Field.RB_NODE, 32, 8),
}
"""By the name of the structure: the field, its size and alignment."""
_ONCE = Field.SPIN_LOCK | Field.RES_SPIN_LOCK | Field.TIMER | Field.WORKQUEUE | Field.TASK_WORK
_REPEATED = frozenset({"kptr_unref", "kptr_ref", "kptr_percpu", "uptr", "bpf_list_head", "bpf_rb_root"})
_POINTERS: Mapping[str, tuple[str, Field]] = {
    "kptr_untrusted": ("kptr_unref", Field.KPTR),
    "kptr": ("kptr_ref", Field.KPTR),
    "percpu_kptr": ("kptr_percpu", Field.KPTR),
    "uptr": ("uptr", Field.UPTR),
}
"""By the tag of what a pointer points to."""
_NODES = {"bpf_list_head": "bpf_list_node", "bpf_rb_root": "bpf_rb_node"}
_DESTROYED = frozenset({"task_struct", "cgroup", "bpf_cpumask", "bpf_crypto_ctx", "nf_conn"})
"""What the kernel can give back itself (btf_find_dtor_kfunc): structures that a map may own."""

OF_MAPS = ~(Field.LIST_NODE | Field.RB_NODE)
OF_OBJECTS = ~(Field.TIMER | Field.WORKQUEUE | Field.TASK_WORK | Field.UPTR)


def parse_fields(btf: Btf, id: int, wanted: Field) -> tuple[SpecialField, ...]:
    """btf_parse_fields: the special fields of a structure or data section, by offset."""
    type = btf[id]
    if isinstance(type, Datasec):
        found = list(_in_section(btf, type, wanted))
    elif isinstance(type, Composite) and not type.is_union:
        found = _in_struct(btf, type, wanted, 0)
    else:
        return ()
    if len(found) > MAX_FIELDS:
        raise NoRecord(errno.E2BIG)
    found.sort(key=lambda field: field.offset)
    end = 0
    for field in found:
        if field.offset < end:
            raise NoRecord(errno.EEXIST)
        end = field.offset + field.size
    parsed = tuple(_completed(btf, field) for field in found)
    names = {field.name for field in parsed}
    locks = names & {"bpf_spin_lock", "bpf_res_spin_lock"}
    if len(locks) == 2 or (names & set(_NODES) and not locks):
        raise NoRecord(errno.EINVAL)
    if names >= {"bpf_list_node", "bpf_rb_node"} and "bpf_refcount" not in names:
        raise NoRecord(errno.EINVAL)
    return parsed


def _in_section(btf: Btf, section: Datasec, wanted: Field) -> Iterator[SpecialField]:
    """btf_find_datasec_var."""
    seen: set[Field] = set()
    for each in section.variables:
        variable = btf[each.type]
        if isinstance(variable, Var):
            yield from _field(
                btf, wanted, seen, 0, (variable, -1), btf[variable.target], each.offset, each.size
            )


def _in_struct(btf: Btf, struct: Composite, wanted: Field, level: int) -> list[SpecialField]:
    """btf_find_struct_field."""
    seen: set[Field] = set()
    found: list[SpecialField] = []
    for number, member in enumerate(struct.members):
        if member.bit_offset % 8:
            raise NoRecord(errno.EINVAL)
        found += _field(
            btf, wanted, seen, level, (struct, number), btf[member.type], member.bit_offset // 8, 0
        )
    return found


def _field(
    btf: Btf,
    wanted: Field,
    seen: set[Field],
    level: int,
    owner: tuple[Type, int],
    type: Type,
    at: int,
    whole: int,
) -> list[SpecialField]:
    """btf_find_field_one: what a member or variable is, or has in it, as often as it is an array of such."""
    count = 1
    for _ in range(MAX_DEPTH):
        if not isinstance(type, Array):
            break
        count *= type.count
        type = btf[type.element]
    else:
        raise NoRecord(errno.E2BIG)
    if not count:
        return []
    special = _STRUCTS.get(getattr(type, "name", ""))
    if special is not None and special[0] in wanted:
        kind, size, alignment = special
        if kind in _ONCE and kind in seen:
            raise NoRecord(errno.E2BIG)
        if kind in _ONCE:
            seen.add(kind)
        if (whole and whole != size * count) or at % alignment:
            return []
        if not _is_struct(type) or btf.size_of(type.id) != size:
            return []
        field = SpecialField(type.name, at, size)
        if type.name in _NODES:
            field = replace(field, target=_contained(btf, owner))
        return _repeated([field], count, size)
    if isinstance(type, Composite) and not type.is_union:
        if (whole and whole != type.size * count) or level + 1 >= MAX_DEPTH:
            if whole and whole != type.size * count:
                return []
            raise NoRecord(errno.E2BIG)
        inside = _in_struct(btf, type, wanted, level + 1)
        return _repeated([replace(f, offset=f.offset + at) for f in inside], count, type.size)
    if not wanted & (Field.KPTR | Field.UPTR) or (whole and whole != 8 * count) or at % 8:
        return []
    pointer = _kernel_pointer(btf, type, wanted)
    return _repeated([replace(pointer, offset=at)], count, 8) if pointer is not None else []


def _is_struct(type: Type) -> bool:
    return isinstance(type, Composite) and not type.is_union


def _repeated(fields: list[SpecialField], count: int, step: int) -> list[SpecialField]:
    """btf_repeat_fields."""
    if count == 1 or not fields:
        return fields
    if any(field.name not in _REPEATED for field in fields):
        raise NoRecord(errno.EINVAL)
    if len(fields) * count > MAX_FIELDS:
        raise NoRecord(errno.E2BIG)
    return [replace(f, offset=f.offset + n * step) for n in range(count) for f in fields]


def _kernel_pointer(btf: Btf, type: Type, wanted: Field) -> SpecialField | None:
    """btf_find_kptr: a pointer with one tag, and that one known, comes first behind it."""
    if isinstance(type, Modifier) and btf.kind(type.id) is Kind.VOLATILE:
        type = btf[type.target]
    if not isinstance(type, Ptr) or btf.kind(type.target) is not Kind.TYPE_TAG:
        return None
    tag = btf[type.target]
    assert isinstance(tag, Modifier)
    if btf.kind(tag.target) is Kind.TYPE_TAG or tag.name not in _POINTERS:
        raise NoRecord(errno.EINVAL)
    name, kind = _POINTERS[tag.name]
    if kind not in wanted:
        return None
    target = btf.resolve(tag.target)
    if not _is_struct(target):
        raise NoRecord(errno.EINVAL)
    return SpecialField(name, 0, 8, Struct(target.name, target.id, True))


def _contained(btf: Btf, owner: tuple[Type, int]) -> Struct:
    """btf_find_graph_root: `contains:STRUCT:MEMBER`, a tag of the member or variable."""
    tags = [tag for tag in tags_of(btf, owner[0].id, owner[1]) if tag.startswith("contains:")]
    if len(tags) != 1:
        raise NoRecord(errno.EINVAL)
    name, colon, member = tags[0].removeprefix("contains:").partition(":")
    if not colon:
        raise NoRecord(errno.EINVAL)
    found = btf.find(name, Kind.STRUCT)
    if found is None:
        raise NoRecord(errno.ENOENT)
    if not member:
        raise NoRecord(errno.EINVAL)
    return Struct(f"{name}:{member}", found, True)


def _completed(btf: Btf, field: SpecialField) -> SpecialField:
    """btf_parse_graph_root, btf_parse_kptr: where the node is, whose structure it is."""
    target = field.target
    if target is None:
        return field
    if field.name not in _NODES:
        known = kernel_struct(target.name)
        if not known.id and target.name not in _DESTROYED:
            return field  # the program's own
        if field.name == "kptr_ref" and target.name not in _DESTROYED:
            raise NoRecord(errno.ENOENT)
        return replace(field, target=known)
    name, _, member = target.name.partition(":")
    struct = btf[target.id]
    assert isinstance(struct, Composite)
    places = [each for each in struct.members if each.name == member]
    if not places:
        raise NoRecord(errno.ENOENT)
    node, at = btf[places[0].type], places[0].bit_offset
    if len(places) > 1 or not _is_struct(node) or node.name != _NODES[field.name] or at % 64:
        raise NoRecord(errno.EINVAL)
    return replace(field, target=Struct(name, target.id, True), node=at // 8)


# The objects of a program ----------------------------------------------------------------------------


def struct_records(btf: Btf) -> dict[int, tuple[SpecialField, ...]]:
    """btf_parse_struct_metas: the records of structures that have special members, by id.

    NoRecord where one is wrong, or owns a structure that owns others: then the types are refused.
    """
    special = {btf.find(name, Kind.STRUCT) for name, (kind, *_) in _STRUCTS.items() if kind in _OF_RECORDS}
    special |= {id for id in range(1, len(btf)) if _is_kernel_pointer(btf, id)}
    special.discard(None)
    if not special:
        return {}
    found: dict[int, tuple[SpecialField, ...]] = {}
    for id in range(1, len(btf)):
        if btf.kind(id) is not Kind.STRUCT:
            continue
        struct = btf[id]
        assert isinstance(struct, Composite)
        if any(member.type in special for member in struct.members):
            fields = parse_fields(btf, id, OF_OBJECTS)
            if not fields:
                raise NoRecord(errno.EFAULT)
            found[id] = fields
    for fields in found.values():
        _check_ownership(fields, found)
    return found


_OF_RECORDS = ~(Field.RES_SPIN_LOCK | Field.TIMER | Field.WORKQUEUE | Field.TASK_WORK)
"""What makes a structure one to look into (alloc_obj_fields): resilient locks alone do not."""


def _is_kernel_pointer(btf: Btf, id: int) -> bool:
    if btf.kind(id) not in (Kind.PTR, Kind.VOLATILE):
        return False
    try:
        return _kernel_pointer(btf, btf[id], Field.KPTR) is not None
    except NoRecord:
        return False


def _check_ownership(fields: tuple[SpecialField, ...], all: Mapping[int, tuple[SpecialField, ...]]) -> None:
    """btf_check_and_fixup_fields: what is in a list may not own what has lists."""
    is_node = any(field.name in _NODES.values() for field in fields)
    for field in fields:
        if field.name not in _NODES or field.target is None:
            continue
        owned = all.get(field.target.id)
        if owned is None:
            raise NoRecord(errno.EFAULT)
        if is_node and any(each.name in _NODES for each in owned):
            raise NoRecord(errno.ELOOP)
