"""CO-RE: which part of a type a relocation is about, and the same part of a kernel's type.

The compiler writes an *access*, "0:1:2": element 0 of what the pointer points to, of that member 1, of
that member or element 2.  What it means is in names: `a[2].b` of `struct s`.  By these names the part is
looked for in the kernel's type, where members may lie elsewhere, or inside of an anonymous struct.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ..errors import ObjectError
from .btf import Array, Btf, Composite, Enum, essential_name
from .core_types import Comparison

MAX_LENGTH = 64
"""BPF_CORE_SPEC_MAX_LEN: steps of an access."""

_ACCESS = re.compile(r"[0-9]{1,10}(?::[0-9]{1,10})*")


@dataclass(frozen=True, slots=True)
class Step:
    """One step that has a meaning: the member `name` of the struct `type`, or (no name) an element of it."""

    type: int
    index: int
    name: str = ""


@dataclass(slots=True)
class Spec:
    """struct bpf_core_spec: a part of the type `root`, `bit_offset` bits from its beginning.

    `length` counts all steps, those through anonymous members too.
    """

    btf: Btf
    root: int
    steps: list[Step] = field(default_factory=list)
    length: int = 0
    bit_offset: int = 0

    def __str__(self) -> str:
        if self.root == 0:
            return "void"
        path = "".join(
            f".{step.name}" if step.name else f"[{step.index}]" if n or step.index else ""
            for n, step in enumerate(self.steps)
        )
        return f"{kind_word(self.btf, self.root)}{self.btf.name(self.root) or '(anonymous)'}{path}"


def kind_word(btf: Btf, id: int) -> str:
    """`struct `, `union `, `enum ` before a type that is called so in C."""
    match btf[id]:
        case Composite(is_union=is_union):
            return "union " if is_union else "struct "
        case Enum():
            return "enum "
        case _:
            return ""


def parse_access(btf: Btf, root: int, access: str) -> Spec:
    """bpf_core_parse_spec(), for a field of the object's own types."""
    spec = Spec(btf, root)
    numbers = _numbers(access)
    id = root
    for n, number in enumerate(numbers):
        type = btf.resolve(id)
        spec.length += 1
        if n == 0:
            spec.steps.append(Step(type.id, number))
            spec.bit_offset = number * btf.size_of(type.id) * 8
            id = type.id
        elif isinstance(type, Composite):
            if number >= len(type.members):
                raise ObjectError(f"member {number} of {len(type.members)} of {spec}")
            member = type.members[number]
            spec.bit_offset += member.bit_offset
            if member.name:
                spec.steps.append(Step(type.id, number, member.name))
            id = member.type
        elif isinstance(type, Array):
            element = btf.resolve(type.element)
            if number >= type.count and not _is_open(btf, spec.steps[-1], type):
                raise ObjectError(f"element {number} of {type.count} of {spec}")
            spec.steps.append(Step(element.id, number))
            spec.bit_offset += number * btf.size_of(element.id) * 8
            id = element.id
        else:
            raise ObjectError(f"{spec} has no parts, but the access {access!r} names one")
    return spec


def parse_enumerator(btf: Btf, root: int, access: str) -> Spec:
    """bpf_core_parse_spec(), for a name of an enum: its number in it."""
    type = btf.resolve(root)
    numbers = _numbers(access)
    if not isinstance(type, Enum) or len(numbers) != 1 or numbers[0] >= len(type.values):
        raise ObjectError(f"the access {access!r} names no value of an enum")
    return Spec(btf, root, [Step(type.id, numbers[0], type.values[numbers[0]].name)], 1)


def _numbers(access: str) -> list[int]:
    if not _ACCESS.fullmatch(access) or access.count(":") >= MAX_LENGTH:
        raise ObjectError(f"the access {access[:40]!r} is no list of numbers like 0:1:2")
    return [int(number) for number in access.split(":")]


def _is_open(btf: Btf, step: Step, array: Array) -> bool:
    """is_flex_arr(): is it the last member of its struct, of no length?"""
    holder = btf[step.type]
    return (
        bool(step.name)
        and not array.count
        and isinstance(holder, Composite)
        and step.index == len(holder.members) - 1
    )


def match_enumerator(local: Spec, comparison: Comparison, root: int) -> Spec | None:
    """bpf_core_spec_match(), for a name of an enum."""
    target = comparison.target
    type = target.resolve(root)
    if not isinstance(type, Enum):
        return None
    comparison.budget.spend(len(type.values))
    wanted = essential_name(local.steps[0].name)
    for index, each in enumerate(type.values):
        if essential_name(each.name) == wanted:
            return Spec(target, root, [Step(type.id, index, each.name)], 1)
    return None


def match_field(local: Spec, comparison: Comparison, root: int) -> Spec | None:
    """bpf_core_spec_match(), for a field: the same part of a type of the kernel, None if it has none such."""
    target = comparison.target
    spec = Spec(target, root)
    id: int | None = root
    for n, step in enumerate(local.steps):
        assert id is not None
        if step.name:
            id = _match_member(step, local.btf, comparison, id, spec)
            if id is None:
                return None
            continue
        type = target.resolve(id)
        if n:
            if not isinstance(type, Array):
                return None
            if step.index >= type.count and not _is_open(target, spec.steps[-1], type):
                return None
            type = target.resolve(type.element)
        _longer(spec)
        spec.steps.append(Step(type.id, step.index))
        spec.bit_offset += step.index * target.size_of(type.id) * 8
        id = type.id
    return spec


def _match_member(step: Step, local: Btf, comparison: Comparison, id: int, spec: Spec) -> int | None:
    """bpf_core_match_member(): adds the member to `spec`; its type, None if there is none that fits."""
    type = comparison.target.resolve(id)
    if not isinstance(type, Composite):
        return None
    wanted = local[step.type]
    assert isinstance(wanted, Composite)
    _longer(spec)
    for index, member in enumerate(type.members):
        comparison.budget.spend()
        if member.name == step.name:
            if not comparison.fields_compatible(wanted.members[step.index].type, member.type):
                return None
            spec.bit_offset += member.bit_offset
            spec.steps.append(Step(type.id, index, member.name))
            return member.type
        if not member.name:
            spec.bit_offset += member.bit_offset
            found = _match_member(step, local, comparison, member.type, spec)
            if found is not None:
                return found
            spec.bit_offset -= member.bit_offset
    spec.length -= 1
    return None


def _longer(spec: Spec) -> None:
    spec.length += 1
    if spec.length > MAX_LENGTH:
        raise ObjectError(f"{spec}: nested deeper than {MAX_LENGTH}")
