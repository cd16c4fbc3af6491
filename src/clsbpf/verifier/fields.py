"""Which parts of a value are not plain bytes?  struct btf_record: locks, timers, lists, kernel pointers.

A map's value, or an object that the program allocates, may have members that only calls may touch:
`struct bpf_spin_lock`, `struct bpf_timer`, `struct bpf_list_head`; or pointers that the kernel keeps
(`__kptr`).  BTF says which; a map without a type for its value has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..bpf.spec import MapSpec
from .types import Struct, kernel_struct
from .values import BTF, MAP_PTR, MAP_VALUE, Reg

if TYPE_CHECKING:
    from .walk import Walk

_SPECIAL = {
    "bpf_spin_lock": 4,
    "bpf_res_spin_lock": 4,
    "bpf_timer": 16,
    "bpf_wq": 16,
    "bpf_list_head": 16,
    "bpf_list_node": 24,
    "bpf_rb_root": 16,
    "bpf_rb_node": 32,
    "bpf_refcount": 4,
    "bpf_task_work": 8,
}
_KPTR_TAGS = {
    "kptr_untrusted": "kptr_unref",
    "kptr": "kptr_ref",
    "percpu_kptr": "kptr_percpu",
    "uptr": "uptr",
}
KPTRS = frozenset(_KPTR_TAGS.values())
"""Names of fields that are pointers: a program may load them."""
_DEPTH = 8


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


class _NoRecord(Exception):
    """A field that is not as it should be.  The kernel then takes the whole value for plain bytes."""


def _fields(btf: Any, id: int) -> tuple[SpecialField, ...]:
    try:
        found = _in_type(btf, id, 0, _DEPTH)
    except _NoRecord:
        return ()
    names = [field.name for field in found]
    if any(names.count(name) > 1 for name in _ONCE) or len(found) > _MOST:
        return ()
    return tuple(sorted(found, key=lambda f: f.offset))


_ONCE = ("bpf_spin_lock", "bpf_res_spin_lock", "bpf_timer", "bpf_wq", "bpf_refcount", "bpf_task_work")
_MOST = 11
"""BTF_FIELDS_MAX."""


_known: dict[int, tuple[Any, tuple[SpecialField, ...]]] = {}


def special_fields(spec: MapSpec) -> tuple[SpecialField, ...]:
    """btf_parse_fields: those of a map's value, by offset."""
    ref: Any = spec.value_type
    if ref is None:
        return ()
    found = _known.get(id(spec))
    if found is None or found[0] is not spec:
        if len(_known) > 512:
            _known.clear()
        found = spec, _fields(ref.btf, ref.id) if hasattr(ref, "btf") else ()
        _known[id(spec)] = found
    return found[1]


def struct_fields(btf: Any, id: int) -> tuple[SpecialField, ...]:
    """The same of a structure that the program allocates."""
    return _fields(btf, id)


def fields_of(v: Walk, reg: Reg) -> tuple[SpecialField, ...]:
    """reg_btf_record: those of what the register points to."""
    if reg.kind in (MAP_VALUE, MAP_PTR) and reg.obj is not None:
        return special_fields(reg.obj)
    if reg.kind == BTF and isinstance(reg.obj, Struct) and reg.obj.local:
        return v.struct_fields(reg.obj.id)
    return ()


def field_named(v: Walk, reg: Reg, name: str) -> SpecialField | None:
    """The (only) field of a kind in what the register points to."""
    return next((field for field in fields_of(v, reg) if field.name == name), None)


def has_field(spec: MapSpec, name: str) -> bool:
    """Has a map's value such a field?"""
    return any(field.name == name for field in special_fields(spec))


def _in_type(btf: Any, id: int, offset: int, depth: int) -> list[SpecialField]:
    kind = btf.resolve(id)
    if not depth:
        return []
    if hasattr(kind, "variables"):  # a data section
        found = []
        for each in kind.variables:
            variable = btf[each.type]
            if hasattr(variable, "target"):
                found += _member(btf, variable.target, offset + each.offset, depth, variable.id, -1)
        return found
    found = []
    for number, member in enumerate(getattr(kind, "members", ())):
        if not member.bit_size:
            found += _member(btf, member.type, offset + member.bit_offset // 8, depth, kind.id, number)
    return found


def _member(btf: Any, id: int, at: int, depth: int, owner: int, component: int) -> list[SpecialField]:
    kind = btf.resolve(id)
    if hasattr(kind, "element"):
        if not kind.count or kind.count > 64:
            return []
        size = btf.size_of(kind.element)
        return [
            field
            for i in range(kind.count)
            for field in _member(btf, kind.element, at + i * size, depth - 1, owner, component)
        ]
    if type(kind).__name__ == "Ptr":
        return _kernel_pointer(btf, kind, at)
    if not hasattr(kind, "members"):
        return []
    size = _SPECIAL.get(kind.name)
    if size is None or size != kind.size:
        return _in_type(btf, kind.id, at, depth - 1)
    if kind.name in ("bpf_list_head", "bpf_rb_root"):
        target, node = _contained(btf, owner, component)
        return [SpecialField(kind.name, at, size, target, node)]
    return [SpecialField(kind.name, at, size)]


def _kernel_pointer(btf: Any, pointer: Any, at: int) -> list[SpecialField]:
    """btf_find_kptr: the tag comes first after the pointer."""
    if not pointer.target:
        return []
    tag = btf[pointer.target]
    if getattr(getattr(tag, "kind", None), "name", "") != "TYPE_TAG" or tag.name not in _KPTR_TAGS:
        return []
    target = btf.resolve(tag.target)
    name = getattr(target, "name", "")
    if not hasattr(target, "members"):
        raise _NoRecord
    known = kernel_struct(name)
    struct = known if known.id or not getattr(target, "members", ()) else Struct(name, target.id, True)
    return [SpecialField(_KPTR_TAGS[tag.name], at, 8, struct)]


def _contained(btf: Any, owner: int, component: int) -> tuple[Struct | None, int]:
    """btf_find_graph_root: `contains:STRUCT:MEMBER`, a tag of the member or variable."""
    for id in range(1, len(btf)):
        tag = btf[id]
        if type(tag).__name__ != "DeclTag" or tag.target != owner or tag.component != component:
            continue
        if tag.name.startswith("contains:"):
            _, _, rest = tag.name.partition(":")
            name, _, member = rest.partition(":")
            for found in btf.named(name):
                struct = btf[found]
                for each in getattr(struct, "members", ()):
                    if each.name == member:
                        return Struct(name, found, True), each.bit_offset // 8
    return None, 0
