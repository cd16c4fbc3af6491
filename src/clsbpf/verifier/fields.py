"""Which parts of a map's value are not plain bytes?  struct btf_record: locks, timers, kernel pointers.

A value's BTF type may have members that only helpers may touch: `struct bpf_spin_lock`, `struct
bpf_timer`.  A map without a type for its value has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..bpf.spec import MapSpec

_SPECIAL = {
    "bpf_spin_lock": 4,
    "bpf_res_spin_lock": 8,
    "bpf_timer": 16,
    "bpf_wq": 16,
    "bpf_list_head": 16,
    "bpf_rb_root": 16,
    "bpf_refcount": 4,
}
_DEPTH = 8


@dataclass(frozen=True, slots=True)
class SpecialField:
    """struct btf_field: `name` is its struct's, `offset` and `size` are in bytes of the value."""

    name: str
    offset: int
    size: int


_known: dict[int, tuple[MapSpec, tuple[SpecialField, ...]]] = {}


def special_fields(spec: MapSpec) -> tuple[SpecialField, ...]:
    """btf_parse_fields: those of a map's value, by offset."""
    if spec.value_type is None:
        return ()
    found = _known.get(id(spec))
    if found is None or found[0] is not spec:
        if len(_known) > 512:
            _known.clear()
        found = spec, tuple(sorted(_in_type(spec.value_type, 0, _DEPTH), key=lambda f: f.offset))
        _known[id(spec)] = found
    return found[1]


def field_named(spec: MapSpec, name: str) -> SpecialField | None:
    """The (only) field of a kind in a map's value."""
    return next((field for field in special_fields(spec) if field.name == name), None)


def _in_type(ref: Any, offset: int, depth: int) -> list[SpecialField]:
    kind = ref.type
    members = getattr(kind, "members", None)
    if members is None or not depth:
        return []
    found = []
    for member in members:
        if member.bit_size:
            continue
        inner = ref.to(member.type)
        at = offset + member.bit_offset // 8
        name = getattr(inner.type, "name", "")
        if name in _SPECIAL and hasattr(inner.type, "members"):
            found.append(SpecialField(name, at, _SPECIAL[name]))
        else:
            found.extend(_in_type(inner, at, depth - 1))
    return found
