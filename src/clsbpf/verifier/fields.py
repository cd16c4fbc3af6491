"""Which parts of what a register points to are not plain bytes?  reg_btf_record.

What they are is found in types (`records`); here it is kept for maps, and asked of registers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..bpf.spec import MapSpec
from .records import OF_MAPS, NoRecord, SpecialField, parse_fields
from .types import Struct
from .values import BTF, MAP_PTR, MAP_VALUE, Reg

if TYPE_CHECKING:
    from .walk import Walk

KPTRS = frozenset({"kptr_unref", "kptr_ref", "kptr_percpu", "uptr"})
"""Names of fields that are pointers: a program may load them."""

_known: dict[int, tuple[Any, tuple[SpecialField, ...]]] = {}


def _fields(btf: Any, id: int) -> tuple[SpecialField, ...]:
    """Those of a map's value.  Where one is wrong the kernel takes the whole value for plain bytes."""
    try:
        return parse_fields(btf, id, OF_MAPS)
    except NoRecord:
        return ()


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
