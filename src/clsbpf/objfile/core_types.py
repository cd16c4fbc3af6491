"""CO-RE: when do a type of the object and one of the kernel mean the same?

Three answers, for three questions (`relo_core.c`).  *Compatible fields*: may a field of the one type be
read where the program was compiled for the other?  *Compatible types*: is there such a type at all?
*Matching types*: is the program's type, as it was written down, contained in the kernel's?

All of them look through typedefs and qualifiers, and compare names without flavours (`essential_name`).
Types are graphs, and hostile ones may have more paths than can be walked: a `Budget` ends that.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ObjectError
from .btf import (
    MAX_DEPTH,
    Array,
    Btf,
    Composite,
    Enum,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Ptr,
    Type,
    Void,
    essential_name,
)


@dataclass(slots=True)
class Budget:
    """How many more types, members and parameters may be looked at."""

    left: int = 10_000_000

    def spend(self, amount: int = 1) -> None:
        """ObjectError when it is used up."""
        self.left -= amount
        if self.left < 0:
            raise ObjectError("its types are too intertwined to be compared")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Compares types of `local` (the object's BTF) with types of `target` (the kernel's)."""

    local: Btf
    target: Btf
    budget: Budget

    def fields_compatible(self, local: int, target: int) -> bool:
        """bpf_core_fields_are_compat()."""
        for _ in range(MAX_DEPTH):
            self.budget.spend()
            a, b = self.local.resolve(local), self.target.resolve(target)
            match a, b:
                case (Composite(), Composite()) | (Ptr(), Ptr()) | (Float(), Float()):
                    return True
                case (Enum(), Enum()) | (Fwd(), Fwd()):
                    names = essential_name(a.name), essential_name(b.name)
                    return not all(names) or names[0] == names[1]
                case Int(), Int():
                    return a.bit_offset == b.bit_offset == 0
                case Array(), Array():
                    local, target = a.element, b.element
                case _:
                    return False
        raise ObjectError(f"arrays nested deeper than {MAX_DEPTH}")

    def types_compatible(self, local: int, target: int) -> bool:
        """bpf_core_types_are_compat(), of two types of one kind."""
        if not _same_kind(self.local[local], self.target[target]):
            return False
        return self._compatible(local, target, MAX_DEPTH)

    def _compatible(self, local: int, target: int, depth: int) -> bool:
        for level in range(depth, 0, -1):
            self.budget.spend()
            a, b = self.local.resolve(local), self.target.resolve(target)
            if not _same_kind(a, b):
                return False
            match a, b:
                case (Void(), _) | (Composite(), _) | (Enum(), _) | (Fwd(), _) | (Float(), _):
                    return True
                case Int(), Int():
                    return a.bit_offset == b.bit_offset == 0
                case Ptr(), Ptr():
                    local, target = a.target, b.target
                case Array(), Array():
                    local, target = a.element, b.element
                case FuncProto(), FuncProto():
                    if len(a.params) != len(b.params):
                        return False
                    pairs = zip(a.params, b.params, strict=True)
                    if not all(self._compatible(p.type, q.type, level - 1) for p, q in pairs):
                        return False
                    local, target = a.result, b.result
                case _:
                    return False
        raise ObjectError(f"types nested deeper than {MAX_DEPTH}")

    def types_match(self, local: int, target: int) -> bool:
        """bpf_core_types_match()."""
        return self._match(local, target, False, MAX_DEPTH)

    def _match(self, local: int, target: int, behind_pointer: bool, depth: int) -> bool:
        for level in range(depth, 0, -1):
            self.budget.spend()
            a, b = self.local.resolve(local), self.target.resolve(target)
            if essential_name(a.name) != essential_name(b.name):
                return False
            match a, b:
                case Void(), _:
                    return isinstance(b, Void)
                case Fwd(), (Fwd() | Composite()):
                    return a.is_union == b.is_union
                case Enum(), Enum():
                    return self._enums_match(a, b)
                case Composite(), Composite() if behind_pointer:
                    return a.is_union == b.is_union
                case Composite(), Fwd():
                    return behind_pointer and a.is_union == b.is_union
                case Composite(), Composite():
                    return a.is_union == b.is_union and self._members_match(a, b, behind_pointer, level)
                case Int(), Int():
                    return a.bits == b.bits and a.signed == b.signed
                case Ptr(), Ptr():
                    behind_pointer = True
                    local, target = a.target, b.target
                case Array(), Array():
                    if a.count != b.count:
                        return False
                    local, target = a.element, b.element
                case FuncProto(), FuncProto():
                    if len(a.params) != len(b.params):
                        return False
                    pairs = zip(a.params, b.params, strict=True)
                    if not all(self._match(p.type, q.type, behind_pointer, level - 1) for p, q in pairs):
                        return False
                    local, target = a.result, b.result
                case _:
                    return False
        raise ObjectError(f"types nested deeper than {MAX_DEPTH}")

    def _enums_match(self, local: Enum, target: Enum) -> bool:
        """bpf_core_enums_match(): every name of the one is in the other."""
        self.budget.spend(len(local.values) + len(target.values))
        names = {essential_name(each.name) for each in target.values}
        return local.size == target.size and all(essential_name(v.name) in names for v in local.values)

    def _members_match(self, local: Composite, target: Composite, behind_pointer: bool, depth: int) -> bool:
        """bpf_core_composites_match(): every member of the one is in the other, and matches."""
        if len(local.members) > len(target.members):
            return False
        by_name: dict[str, list[int]] = {}
        self.budget.spend(len(target.members))
        for member in target.members:
            by_name.setdefault(essential_name(member.name), []).append(member.type)
        return all(
            any(
                self._match(member.type, candidate, behind_pointer, depth - 1)
                for candidate in by_name.get(essential_name(member.name), ())
            )
            for member in local.members
        )


def _same_kind(a: Type, b: Type) -> bool:
    """btf_kind_core_compat(): the same kind; the two kinds of enum count as one, struct and union do not."""
    if isinstance(a, Composite) and isinstance(b, Composite):
        return a.is_union == b.is_union
    return type(a) is type(b) and not isinstance(a, Func)
