"""Which of thousands of filters can match this packet?  Looked up, not tried.

A classic program matches by one of its paths (`bpf/paths.py`), and what a path demands of some field to be
*equal* to a constant is necessary: a packet whose field is another number does not take it.  So the paths
of all filters are sorted by the tuple of fields on which they make such demands.  Each tuple is a *group*
with a hash table from the fields' numbers to the filters that want just those:

    group (protocol, proto, src, sport)    0800 06 0a000001 01bb ──▶ filters 3, 17
    group (protocol, proto, dst, dport)    0800 06 0a000007 0035 ──▶ filter 4
    always                                                       ──▶ filters 0, 9   (no such demand)

A packet asks each group once and gets a few lists of candidates, each in the order of the filters.  They are
merged, and each candidate's real program decides, as it would have when its turn came: filters that are
no candidates would have said "no match".  (Under direct action 0 is not "no match" but a verdict; such
filters are always tried.)  This is tuple space search.

Filters come in few *shapes*: programs that differ only in the constants of their comparisons.  A shape is
compiled once, the constants are data.

One thing a program does besides matching: it may be seen to read past the end of a cut packet.  So a packet
that is not wholly captured, and of which not all is there that any program looks at, is tried with every
filter in order.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..bpf.check import check
from ..bpf.classic import CheckedClassic, SockFilter
from ..bpf.conditions import Test
from ..bpf.isa import Alu, Class, Jmp, class_of
from ..bpf.paths import CONDITIONAL_K, Outline, Shape, TooMany, outlines, shape_of
from ..bpf.translate import translate
from ..bpf.values import Binary, Constant, Length, Load, Value, maximum
from ..profile import KernelProfile
from ..tc.chain import ETH_P_ALL
from ..verifier.program import VerifiedProgram
from .kinds import KIND_FIELDS
from .planned import MIN_FILTERS, PlannedFilter
from .reach import can_wait, reach_of
from .walk_state import FILTER_SHIFT

if TYPE_CHECKING:
    from .act_records import Records

MAX_GROUPS = 24
"""Every packet asks every group."""
MAX_PATHS = 256
"""A program with more is always tried."""
NONE = 0xFFFFFFFF
"""Ends a list of filters; stands for no list."""


# Shapes -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Template:
    """A shape as one program with parameters: `parameters[i]` is the classic instruction whose k it takes."""

    verified: VerifiedProgram
    parameters: dict[int, int]


def template_of(program: CheckedClassic, profile: KernelProfile) -> Template:
    """The template of a program's shape.  Its own constants stand where they do not matter."""
    anonymous = check([replace(insn, k=1) if is_parameter(insn) else insn for insn in program.insns], profile)
    translated = translate(anonymous, profile)
    parameters = {}
    for at, insn in enumerate(translated.insns):
        source = translated.source[at]
        if source < 0 or not is_parameter(anonymous.insns[source]):
            continue
        kind = class_of(insn.code)
        compares = kind in (Class.JMP, Class.JMP32) and insn.code & 0xF0 not in (Jmp.JA, Jmp.EXIT, Jmp.CALL)
        moves = kind == Class.ALU and insn.code & 0xF0 == Alu.MOV
        if compares or moves:
            parameters[at] = source
    return Template(VerifiedProgram.from_classic(anonymous, profile), parameters)


def is_parameter(insn: SockFilter) -> bool:
    """Is the instruction's k a constant that programs of one shape may differ in?"""
    return insn.code in CONDITIONAL_K or (insn.code == Class.RET and insn.k != 0)


# Groups -------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Group:
    """Paths that demand numbers of the same fields: from the numbers to the filters, in order."""

    fields: tuple[Value, ...]
    filters: dict[tuple[int, ...], list[int]] = field(default_factory=dict)

    def add(self, key: tuple[int, ...], number: int) -> None:
        """Filter `number` wants these numbers; filters come in order."""
        wanted = self.filters.setdefault(key, [])
        if not wanted or wanted[-1] != number:
            wanted.append(number)


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """Where a path's key comes from: its fields, and for each the instruction whose k it must equal."""

    fields: tuple[Value, ...]
    sources: tuple[tuple[int | None, int], ...]
    """The instruction, or None and the constant itself."""


@functools.lru_cache(maxsize=4096)
def key_plans(shape: Shape, profile: KernelProfile) -> tuple[KeyPlan, ...] | None:
    """The keys of a shape's paths; None where one of them demands nothing that could be looked up."""
    known = outlines(shape, profile.vlan_tci_clears_cfi, MAX_PATHS)
    if isinstance(known, TooMany):
        return None
    plans = []
    for path in known.paths:
        plan = key_plan(path, known.tests)
        if plan is None:
            return None
        plans.append(plan)
    return tuple(plans)


def key_plan(path: Outline, tests: Sequence[Test]) -> KeyPlan | None:
    """The key of one path: every field of it that can be looked up and has to equal a constant."""
    wanted: dict[Value, tuple[int | None, int]] = {}
    for index in path.tests:
        test = tests[index]
        if test.op is Jmp.JEQ and test.holds and can_look_up(test.value):
            wanted.setdefault(test.value, (test.at, test.constant))
    if not wanted:
        return None
    ordered = sorted(wanted.items(), key=lambda item: repr(item[0]))
    return KeyPlan(tuple(value for value, _ in ordered), tuple(source for _, source in ordered))


_LOOKED_UP = (Alu.ADD, Alu.SUB, Alu.AND, Alu.OR, Alu.XOR, Alu.MUL, Alu.LSH, Alu.RSH)


def can_look_up(value: Value) -> bool:
    """Can native code compute it from the packet's bytes and length alone?"""
    match value:
        case Load(offset, size, index):
            if index is None:
                return offset <= 0x7FFFFFFF
            return can_look_up(index) and maximum(index) + offset + size <= 0x7FFFFFFF
        case Binary(op, left, right):
            return op in _LOOKED_UP and can_look_up(left) and can_look_up(right)
        case Constant() | Length():
            return True
        case _:
            return False


# The index ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Index:
    """The filters of a block, to be looked up.

    `members` are the numbers of the filters that are tried at all, `shapes` the template of each of them by
    position in `templates`, `always` the numbers of those that no group finds.  `reach` is how many bytes
    the programs look at, None where that is not known.
    """

    groups: tuple[Group, ...]
    always: tuple[int, ...]
    members: tuple[int, ...]
    templates: tuple[Template, ...]
    shapes: dict[int, int]
    reach: int | None


def build_index(
    filters: Sequence[PlannedFilter], profile: KernelProfile, members: Sequence[int] | None = None
) -> Index | None:
    """The index of filters with classic programs; None where it would not help.

    `members` are the numbers of those that it is for.  Without them it is for all that a packet meets, which
    then must be classic and without actions.
    """
    if members is None:
        members = [
            number
            for number, planned in enumerate(filters)
            if planned.chain == 0 and not planned.filter.skip_sw
        ]
        if any(filters[number].classic is None or filters[number].has_actions for number in members):
            return None
    if len(members) < MIN_FILTERS:
        return None
    shapes: dict[int, Shape] = {}
    by_fields: dict[tuple[Value, ...], int] = {}
    keyed: list[tuple[int, CheckedClassic, tuple[KeyPlan, ...]]] = []
    always = []
    for number in members:
        program = filters[number].classic
        assert program is not None
        shape = shapes[number] = shape_of(program)
        plans = key_plans(shape, profile) if can_wait(filters[number]) else None
        if plans is None:
            always.append(number)
            continue
        keyed.append((number, program, plans))
        for plan in plans:
            by_fields[plan.fields] = by_fields.get(plan.fields, 0) + 1
    largest = sorted(by_fields, key=lambda fields: -by_fields[fields])[:MAX_GROUPS]
    groups = {fields: Group(fields) for fields in largest}
    for number, program, plans in keyed:
        if any(plan.fields not in groups for plan in plans):
            always.append(number)
            continue
        insns = program.insns
        for plan in plans:
            key = tuple([constant if at is None else insns[at].k for at, constant in plan.sources])
            groups[plan.fields].add(key, number)
    if len(always) * 2 > len(members) or tries_are_faster(groups.values(), always, keyed):
        return None
    distinct = {shape: position for position, shape in enumerate(dict.fromkeys(shapes.values()))}
    examples: dict[Shape, CheckedClassic] = {}
    for number in members:
        program = filters[number].classic
        assert program is not None
        examples.setdefault(shapes[number], program)
    return Index(
        groups=tuple(group for group in groups.values() if group.filters),
        always=tuple(sorted(always)),
        members=tuple(members),
        templates=tuple(template_of(examples[shape], profile) for shape in distinct),
        shapes={number: distinct[shape] for number, shape in shapes.items()},
        reach=reach_of(examples.values()),
    )


LOOKUP_NS, CANDIDATE_NS, TURN_NS = 6.0, 12.0, 1.5
"""What a packet takes, roughly: a group; a candidate, called; a filter tried in its turn, inlined."""
COMMON = 0.4
"""The share of packets that are candidates for filters which demand no more than a protocol."""
INLINED_INSNS = 2500
"""More are not compiled into one function for a gain: that takes seconds."""


def tries_are_faster(
    groups: Iterable[Group], always: Sequence[int], keyed: Sequence[tuple[int, CheckedClassic, object]]
) -> bool:
    """Would few filters that are mostly candidates anyway be faster one after the other (`linear.py`)?"""
    looked_up = list(groups)
    wide = {
        number
        for group in looked_up
        if set(group.fields) <= KIND_FIELDS
        for numbers in group.filters.values()
        for number in numbers
    }
    candidates = len(always) + COMMON * len(wide)
    size = sum(len(program.insns) for _, program, _ in keyed)
    in_turn = TURN_NS * (len(keyed) + len(always))
    return size <= INLINED_INSNS and in_turn < LOOKUP_NS * len(looked_up) + CANDIDATE_NS * candidates


# Tables -------------------------------------------------------------------------------------------

HASH_MULTIPLIER = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True)
class Packing:
    """How a group's fields are packed into 64-bit words: for each field its word, and its place there."""

    places: tuple[tuple[int, int], ...]
    words: int


def pack(fields: Sequence[Value]) -> Packing:
    """Fields one after the other, each as wide as its largest number, none across two words."""
    places = []
    word = used = 0
    for each in fields:
        width = max(maximum(each).bit_length(), 1)
        if used + width > 64:
            word, used = word + 1, 0
        places.append((word, used))
        used += width
    return Packing(tuple(places), word + 1)


def pack_keys(keys: npt.NDArray[np.uint64], packing: Packing) -> npt.NDArray[np.uint64]:
    """Rows of numbers as rows of packed words."""
    packed = np.zeros((len(keys), packing.words), np.uint64)
    for column, (word, shift) in enumerate(packing.places):
        packed[:, word] |= keys[:, column] << np.uint64(shift)
    return packed


def hash_keys(packed: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The hash of each row of words, as native code computes it."""
    result = np.zeros(len(packed), np.uint64)
    for column in range(packed.shape[1]):
        result = (result ^ packed[:, column]) * np.uint64(HASH_MULTIPLIER)
        result ^= result >> np.uint64(32)
    return result


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A group's hash table in memory: open addressing, `slots` (a power of two) entries of 64-bit words.

    An entry is the packed key, then the list's place in the lists; NONE there: the slot is free.
    """

    entries: npt.NDArray[np.uint64]
    slots: int
    packing: Packing


def build_table(group: Group, lists: list[int]) -> Table:
    """The group's table; appends its lists of filters to `lists`."""
    limits = [maximum(each) for each in group.fields]
    possible = {
        key: filters
        for key, filters in group.filters.items()
        if all(number <= limit for number, limit in zip(key, limits, strict=True))
    }  # what demands more of a field than it can be never matches
    packing = pack(group.fields)
    keys = np.array(list(possible), np.uint64).reshape(len(possible), len(group.fields))
    packed = pack_keys(keys, packing)
    slots = 1 << max(len(keys) * 2 - 1, 1).bit_length()
    entries = np.zeros((slots, packing.words + 1), np.uint64)
    entries[:, -1] = NONE
    taken = bytearray(slots)
    places = (hash_keys(packed) & np.uint64(slots - 1)).tolist()
    known: dict[tuple[int, ...], int] = {}
    found, at_lists = [], []
    for place, filters in zip(places, possible.values(), strict=True):
        while taken[place]:
            place = (place + 1) & (slots - 1)
        taken[place] = 1
        wanted = tuple(filters)
        at = known.get(wanted)
        if at is None:
            at = known[wanted] = len(lists)
            lists += [*wanted, NONE]
        found.append(place)
        at_lists.append(at)
    if found:
        entries[found, :-1] = packed
        entries[found, -1] = at_lists
    return Table(entries, slots, packing)


ROW_DTYPE = np.dtype(
    [
        ("function", np.uint64),
        ("constants", np.uint64),
        ("outcome", np.uint64),
        ("classid", np.uint32),
        ("protocol", np.uint32),
        ("direct", np.uint32),
        ("list", np.uint32),
        ("length", np.uint32),
        ("pad", np.uint32),
    ]
)
"""A filter as native code tries it: its shape's function, its constants, and what its match means.

`outcome` has the filter's number in place; `protocol` is 0 for all.  `list` is where its actions are in the
plan's records, `length` how many.
"""


class Tables:
    """The index in native memory.  Lives as long as the module that uses it."""

    def __init__(
        self, index: Index, filters: Sequence[PlannedFilter], records: Records | None = None
    ) -> None:
        lists: list[int] = [NONE]
        self.tables = [build_table(group, lists) for group in index.groups]
        self.always = len(lists)
        lists += [*index.always, NONE]
        self.all = len(lists)
        lists += [*index.members, NONE]
        self.lists = np.array(lists, np.uint32)
        self.rows = np.zeros(len(filters), ROW_DTYPE)
        self._constants: list[npt.NDArray[np.uint32]] = []
        self._fill(index, filters)
        if records is not None:
            for number in index.members:
                self.rows[number]["list"], self.rows[number]["length"] = records.lists[number]
        self.has_actions = bool(self.rows["length"].any())

    def _fill(self, index: Index, filters: Sequence[PlannedFilter]) -> None:
        starts: dict[int, int] = {}
        values: list[int] = []
        for number in index.members:
            program = filters[number].classic
            assert program is not None
            starts[number] = len(values)
            values += [insn.k for insn in program.insns]
        constants = np.array(values or [0], np.uint32)
        self._constants.append(constants)
        for number in index.members:
            planned = filters[number]
            protocol = planned.classifier.protocol
            row = self.rows[number]
            row["constants"] = constants.ctypes.data + 4 * starts[number]
            row["outcome"] = number + 1 << FILTER_SHIFT
            row["classid"] = planned.filter.classid
            row["protocol"] = 0 if protocol == ETH_P_ALL else protocol
            row["direct"] = planned.filter.direct_action

    def set_functions(self, index: Index, addresses: Sequence[int]) -> None:
        """The shapes are compiled: give each filter the address of its own."""
        self.rows["function"][list(index.members)] = [
            addresses[index.shapes[number]] for number in index.members
        ]

    def pointers(self) -> list[int]:
        """What the module's `index.pointers` must hold: rows, lists, then each table."""
        return [
            array.ctypes.data for array in (self.rows, self.lists, *(each.entries for each in self.tables))
        ]
