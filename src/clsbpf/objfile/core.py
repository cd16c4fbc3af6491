"""CO-RE, "compile once, run everywhere": instructions made to fit the types of another kernel.

A relocation says: this number is the offset of `struct sk_buff.mark` (or its size, whether there is one,
the value of an enum's name, …), as compiled.  What the kernel has instead is found in three steps: the
kernel's types of the same name (*candidates*), the same part of each (`core_spec`), and what the
relocation asks of that part.  All candidates that have the part must answer alike.

Where no candidate has it, questions whether it is there are answered no; every other instruction is
*poisoned*: made into a call of a helper that does not exist, so that a program which asked first, and
does not get there, runs.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from ..errors import ObjectError
from .btf import Btf, Composite, Enum, Int, Kind, Ptr, essential_name
from .core_spec import Spec, match_enumerator, match_field, parse_access, parse_enumerator
from .core_types import Budget, Comparison

_MASK = (1 << 64) - 1


class CoreKind(enum.IntEnum):
    """enum bpf_core_relo_kind: what a relocation asks."""

    FIELD_BYTE_OFFSET = 0
    FIELD_BYTE_SIZE = 1
    FIELD_EXISTS = 2
    FIELD_SIGNED = 3
    FIELD_LSHIFT_U64 = 4
    FIELD_RSHIFT_U64 = 5
    TYPE_ID_LOCAL = 6
    TYPE_ID_TARGET = 7
    TYPE_EXISTS = 8
    TYPE_SIZE = 9
    ENUMVAL_EXISTS = 10
    ENUMVAL_VALUE = 11
    TYPE_MATCHES = 12


FIELD_KINDS = range(CoreKind.FIELD_BYTE_OFFSET, CoreKind.FIELD_RSHIFT_U64 + 1)
ENUM_KINDS = (CoreKind.ENUMVAL_EXISTS, CoreKind.ENUMVAL_VALUE)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a relocation's question is answered with, for one type.

    `size` is what a load or store of the field moves, 0 where that does not matter; `type` the field's.
    `certain`: the compiler must have come to the same answer for its own type (not so for bitfields).
    """

    value: int
    size: int = 0
    type: int = 0
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Resolved:
    """struct bpf_core_relo_res: the number as compiled, and what it must become.

    `poison` says why there is no such number.  `sizes_differ`: a load or store of it would move another
    number of bytes, which it must not (the field is signed, or no number).
    """

    what: str
    before: Answer = Answer(0)
    after: Answer = Answer(0)
    poison: str | None = None
    sizes_differ: bool = False


@dataclass(slots=True)
class CoreResolver:
    """Answers the relocations of one object for one kernel; remembers the candidates of each type."""

    local: Btf
    target: Btf
    _budget: Budget = field(default_factory=Budget)
    _candidates: dict[int, tuple[int, ...]] = field(default_factory=dict)
    _answered: dict[tuple[int, int, str], Resolved] = field(default_factory=dict)

    def resolve(self, kind: int, root: int, access: str) -> Resolved:
        """bpf_core_calc_relo_insn(); ObjectError where libbpf refuses the object."""
        known = self._answered.get((kind, root, access))
        if known is None:
            known = self._answered[kind, root, access] = self._resolve(kind, root, access)
        return known

    def _resolve(self, kind: int, root: int, access: str) -> Resolved:
        local = local_spec(self.local, kind, root, access)
        comparison = Comparison(self.local, self.target, self._budget)
        self._budget.spend(local.length)
        if not self.local.name(root):
            raise ObjectError(f"type {root} has no name to look for among the kernel's types")
        found: list[tuple[int, Spec, Answer]] = []
        for candidate in self._candidates_of(root):
            self._budget.spend()
            spec = _match(kind, local, comparison, candidate)
            if spec is not None:
                found.append((candidate, spec, _answer(kind, spec)))
        before = _answer(kind, local)
        if not found:
            missing = _MISSING.get(CoreKind(kind))
            if missing is None:
                return Resolved(str(local), before, poison=f"the kernel has no {local}")
            return Resolved(str(local), before, Answer(missing))
        _, first, after = found[0]
        for _, spec, answer in found[1:]:
            if spec.bit_offset != first.bit_offset or answer.value != after.value:
                raise ObjectError(
                    f"{local} is ambiguous: the kernel has several types of that name, which answer "
                    f"{after.value} and {answer.value}"
                )
        # as libbpf does: a type that once did not have what was asked for is not asked again
        self._candidates[root] = tuple(candidate for candidate, _, _ in found)
        return Resolved(str(local), before, after, sizes_differ=self._sizes_differ(before, after))

    def _candidates_of(self, root: int) -> tuple[int, ...]:
        """bpf_core_find_cands(): the kernel's types of the same essential name and kind."""
        found = self._candidates.get(root)
        if found is None:
            kind = _kind(self.local, root)
            name = essential_name(self.local.name(root))
            found = tuple(id for id in self.target.flavours(name) if _kind(self.target, id) is kind)
            self._candidates[root] = found
        return found

    def _sizes_differ(self, before: Answer, after: Answer) -> bool:
        if before.size == after.size:
            return False
        match self.local.resolve(before.type), self.target.resolve(after.type):
            case Ptr(), Ptr():
                return False
            case Int(signed=False), Int(signed=False):
                return False
            case _:
                return True


_MISSING = {
    CoreKind.FIELD_EXISTS: 0,
    CoreKind.TYPE_ID_TARGET: 0,
    CoreKind.TYPE_EXISTS: 0,
    CoreKind.TYPE_SIZE: 0,
    CoreKind.TYPE_MATCHES: 0,
    CoreKind.ENUMVAL_EXISTS: 0,
}
"""What is answered where the kernel does not have it; all other kinds are poisoned."""


def _kind(btf: Btf, id: int) -> Kind:
    """The kind, the two kinds of enum as one."""
    kind = btf.kind(id)
    return Kind.ENUM if kind is Kind.ENUM64 else kind


def local_spec(btf: Btf, kind: int, root: int, access: str) -> Spec:
    """The part of the object's own type that a relocation is about."""
    if kind not in CoreKind.__members__.values():
        raise ObjectError(f"CO-RE relocation of the unknown kind {kind}")
    if kind in FIELD_KINDS:
        return parse_access(btf, root, access)
    if kind in ENUM_KINDS:
        return parse_enumerator(btf, root, access)
    if access != "0":
        raise ObjectError(f"the access {access[:40]!r} to a whole type; it must be 0")
    btf[root]  # must be there
    return Spec(btf, root)


def _match(kind: int, local: Spec, comparison: Comparison, candidate: int) -> Spec | None:
    """bpf_core_spec_match()."""
    if kind in FIELD_KINDS:
        return match_field(local, comparison, candidate)
    if kind in ENUM_KINDS:
        return match_enumerator(local, comparison, candidate)
    if kind == CoreKind.TYPE_MATCHES:
        fits = comparison.types_match(local.root, candidate)
    else:
        fits = comparison.types_compatible(local.root, candidate)
    return Spec(comparison.target, candidate) if fits else None


def _answer(kind: int, spec: Spec) -> Answer:
    """bpf_core_calc_field_relo(), bpf_core_calc_type_relo(), bpf_core_calc_enumval_relo()."""
    match kind:
        case CoreKind.FIELD_EXISTS | CoreKind.TYPE_EXISTS | CoreKind.TYPE_MATCHES | CoreKind.ENUMVAL_EXISTS:
            return Answer(1)
        case CoreKind.TYPE_ID_LOCAL | CoreKind.TYPE_ID_TARGET:
            return Answer(spec.root, certain=False)
        case CoreKind.TYPE_SIZE:
            return Answer(spec.btf.size_of(spec.root))
        case CoreKind.ENUMVAL_VALUE:
            step = spec.steps[0]
            enumeration = spec.btf[step.type]
            assert isinstance(enumeration, Enum)
            value = enumeration.values[step.index].value
            if not enumeration.wide:
                value = (value & 0xFFFFFFFF ^ 0x80000000) - 0x80000000  # as struct btf_enum has it
            return Answer(value & _MASK)
        case _:
            return _field_answer(kind, spec)


def _field_answer(kind: int, spec: Spec) -> Answer:
    btf, last = spec.btf, spec.steps[-1]
    if not last.name:
        size = btf.size_of(last.type)
        if kind == CoreKind.FIELD_BYTE_OFFSET:
            return Answer(spec.bit_offset // 8, size, last.type)
        if kind == CoreKind.FIELD_BYTE_SIZE:
            return Answer(size)
        raise ObjectError(f"{spec}: a relocation that only a member can have, for an element")
    holder = btf[last.type]
    assert isinstance(holder, Composite)
    member = holder.members[last.index]
    type = btf.resolve(member.type)
    bits = member.bit_size
    if bits:
        size, at = _window(btf.size_of(type.id), spec.bit_offset, bits, spec)
    else:
        size, at = btf.size_of(type.id), spec.bit_offset // 8
        bits = size * 8
    certain = not member.bit_size
    match kind:
        case CoreKind.FIELD_BYTE_OFFSET if certain:
            return Answer(at, size, type.id)
        case CoreKind.FIELD_BYTE_OFFSET:
            return Answer(at, certain=False)
        case CoreKind.FIELD_BYTE_SIZE:
            return Answer(size, certain=certain)
        case CoreKind.FIELD_SIGNED:
            return Answer(int(isinstance(type, Int | Enum) and type.signed))
        case CoreKind.FIELD_LSHIFT_U64:
            return Answer(64 - (spec.bit_offset + bits - at * 8) & _MASK, certain=certain)
        case _:
            return Answer(64 - bits & _MASK)


def _window(size: int, bit_offset: int, bits: int, spec: Spec) -> tuple[int, int]:
    """The smallest aligned load that has all bits of a bitfield: (bytes, offset)."""
    if size not in (1, 2, 4, 8):
        raise ObjectError(f"{spec}: a bitfield in {size} bytes")
    while bit_offset + bits > (bit_offset // 8 // size * size + size) * 8:
        if size >= 8:
            raise ObjectError(f"{spec}: a bitfield that no load of 8 bytes has in full")
        size *= 2
    return size, bit_offset // 8 // size * size
