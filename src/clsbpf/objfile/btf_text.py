"""BTF as text: a type as C writes it, and a whole list as `bpftool btf dump` does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .btf import (
    Array,
    Btf,
    Composite,
    Datasec,
    DeclTag,
    Enum,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Kind,
    Modifier,
    Ptr,
    Type,
    Var,
)

_QUALIFIERS = {Kind.CONST: "const", Kind.VOLATILE: "volatile", Kind.RESTRICT: "restrict"}
_LINKAGES = ("static", "global", "extern")


MAX_PARTS = 100
"""Types that are written out for one; what comes after is `...`."""


def type_name(btf: Btf, id: int, name: str = "") -> str:
    """The type as C writes it, or with `name` a declaration: `char name[16]`, `struct flow *name`."""
    return _Declaration(btf).write(id, name)


@dataclass(slots=True)
class _Declaration:
    """C declares from the inside out: what stands around the name is built while the type is unwrapped."""

    btf: Btf
    left: int = MAX_PARTS

    def write(self, id: int, inner: str) -> str:
        self.left -= 1
        if self.left < 0:
            return f"... {inner}".rstrip()
        btf = self.btf
        match type := btf[id]:
            case Ptr(target=target):
                wrapped = f"(*{inner})" if isinstance(btf[target], Array | FuncProto) else f"*{inner}"
                return self.write(target, wrapped)
            case Array(element=element, count=count):
                return self.write(element, f"{inner}[{count or ''}]")
            case FuncProto(result=result, params=params):
                listed = (self.write(p.type, p.name) if p.type else "..." for p in params[: self.left])
                return self.write(result, f"{inner}({', '.join(listed) or 'void'})")
            case Modifier(kind=kind, target=target) if kind in _QUALIFIERS:
                if isinstance(btf[target], Ptr):
                    return self.write(target, f"{_QUALIFIERS[kind]} {inner}".rstrip())
                return f"{_QUALIFIERS[kind]} {self.write(target, inner)}"
            case Modifier(kind=Kind.TYPE_TAG, target=target):
                return self.write(target, inner)
            case Func(name=name, proto=target) | Var(name=name, target=target):
                return self.write(target, inner or name)
            case Composite(is_union=is_union) | Fwd(is_union=is_union):
                named = f"{'union' if is_union else 'struct'} {type.name or '{...}'}"
            case Enum():
                named = f"enum {type.name or '{...}'}"
            case _:
                named = type.name or "void"
        return f"{named} {inner}".rstrip()


def dump(btf: Btf) -> Iterator[str]:
    """The lines of `bpftool btf dump file … format raw`."""
    for type in btf:
        yield from _lines(btf, type)


def _lines(btf: Btf, type: Type) -> Iterator[str]:
    start = f"[{type.id}] {btf.kind(type.id).name} {_quoted(type.name)}"
    match type:
        case Int():
            flags = {"SIGNED": type.signed, "CHAR": type.is_char, "BOOL": type.is_bool}
            encoding = next((word for word, is_so in flags.items() if is_so), "(none)")
            bits = f"bits_offset={type.bit_offset} nr_bits={type.bits}"
            yield f"{start} size={type.size} {bits} encoding={encoding}"
        case Ptr():
            yield f"{start} type_id={type.target}"
        case Array():
            yield f"{start} type_id={type.element} index_type_id={type.index} nr_elems={type.count}"
        case Composite():
            yield f"{start} size={type.size} vlen={len(type.members)}"
            for member in type.members:
                width = f" bitfield_size={member.bit_size}" if member.bit_size else ""
                yield f"\t{_quoted(member.name)} type_id={member.type} bits_offset={member.bit_offset}{width}"
        case Enum():
            signed = "SIGNED" if type.signed else "UNSIGNED"
            yield f"{start} encoding={signed} size={type.size} vlen={len(type.values)}"
            suffix = ("LL" if type.signed else "ULL") if type.wide else ""
            for each in type.values:
                yield f"\t{_quoted(each.name)} val={each.value}{suffix}"
        case Fwd():
            yield f"{start} fwd_kind={'union' if type.is_union else 'struct'}"
        case Func():
            yield f"{start} type_id={type.proto} linkage={_linkage(type.linkage)}"
        case FuncProto():
            yield f"{start} ret_type_id={type.result} vlen={len(type.params)}"
            for param in type.params:
                yield f"\t{_quoted(param.name)} type_id={param.type}"
        case Var():
            yield f"{start} type_id={type.target}, linkage={_linkage(type.linkage)}"
        case Datasec():
            yield f"{start} size={type.size} vlen={len(type.variables)}"
            for variable in type.variables:
                holds = f"({btf.kind(variable.type).name} {_quoted(btf.name(variable.type))})"
                yield f"\ttype_id={variable.type} offset={variable.offset} size={variable.size} {holds}"
        case Float():
            yield f"{start} size={type.size}"
        case DeclTag():
            yield f"{start} type_id={type.target} component_idx={type.component}"
        case Modifier():
            yield f"{start} type_id={type.target}"


def _quoted(name: str) -> str:
    return f"'{name or '(anon)'}'"


def _linkage(number: int) -> str:
    return _LINKAGES[number] if number < len(_LINKAGES) else "(unknown)"
