"""Which packets does a classic program match?  Its paths from the entry to a return that is not 0.

Jumps of a classic program only go forward, so it is a finite decision graph, and it can be run once for
all packets (symbolic execution): registers hold `Value`s instead of numbers, and where a test could go
either way, both ways are followed.  What was assumed on the way to a return is a `Path`: a conjunction of

- the packet holds the bytes that were loaded (a load outside ends the program with 0), and
- tests of values against constants, each true or false, among them `X is not 0` before a division.

For every packet the program returns something other than 0 if and only if all of one path holds, and
then exactly one does: paths part at a test.

Paths that contradict themselves are left out, and tests that others of their path imply.  A program can
have more paths than anybody wants to see (every conditional jump may double them); then the answer is
`TooMany`, a value like any other.

*Shapes.*  A policy of thousands of filters holds few kinds of them: the same instructions with other
addresses and ports.  `shape_of` is the program with the constants of its conditional jumps (and what it
returns) made anonymous; programs of one shape have the same paths up to these constants.  So the walk is
done once a shape (`outlines`) and a program costs only the filling in (`paths`).  An outline names the
instruction that each constant comes from: whoever has thousands of programs of one shape may take the
constants from there and never ask for each program's paths.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..profile import CURRENT, KernelProfile
from .classic import SKF_AD_OFF, U32, Ancillary, CheckedClassic
from .conditions import TESTS, Test, simplify, simplify_all
from .isa import (
    CLASSIC_TAX,
    SIZE_BYTES,
    A,
    Alu,
    Class,
    Jmp,
    K,
    Mode,
    Size,
    X,
    class_of,
    mode_of,
    op_of,
    size_of,
    src_of,
)
from .values import (
    ZERO,
    Constant,
    Greater,
    Length,
    Load,
    Metadata,
    Value,
    binary,
    header_length,
    load,
)

MAX_PATHS = 1024
"""As many paths a program may have by default."""
STEPS_A_PATH = 256
"""Instructions followed, for each path allowed, before a program counts as too long to follow."""
MAX_WEIGHT = 64
"""Nodes of the largest value taken: `A += X; X = A` and so on doubles a value every time."""


@dataclass(frozen=True, slots=True)
class Path:
    """One way to a return that is not 0: all of this holds for the packets that take it."""

    needs: int
    """The packet has as many bytes from `data` on: the loads at constant offsets are inside."""
    loads: tuple[Load, ...]
    """The other loads (relative to X, or to a header), in order; they are inside, too."""
    tests: tuple[Test, ...]
    returned: int | Value
    """What the program returns there: a constant, or what A holds."""


@dataclass(frozen=True, slots=True)
class TooMany:
    """The program has more of something than was allowed: its paths are not known."""

    what: str
    """'paths', 'steps', or 'operations' in one value."""
    allowed: int

    def __str__(self) -> str:
        return f"more than {self.allowed} {self.what}"


@dataclass(frozen=True, slots=True)
class Shape:
    """A program but for the constants of its conditional jumps, each a number that says which are equal.

    For `ret #k` it keeps whether k is 0.
    """

    insns: tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Outline:
    """A path of all programs of a shape.  `tests` are indexes into `Outlines.tests`."""

    needs: int
    loads: tuple[Load, ...]
    tests: tuple[int, ...]
    returned: Value | None
    """What A holds; None: the constant of the instruction at `end`."""
    end: int
    suspect: bool
    """One value is tested twice, so that with some constants the path may contradict itself."""


@dataclass(frozen=True, slots=True)
class Outlines:
    """The paths of all programs of a shape.  A test's constant holds for one of them: see its `at`."""

    tests: tuple[Test, ...]
    paths: tuple[Outline, ...]


def paths(
    program: CheckedClassic, profile: KernelProfile = CURRENT, limit: int = MAX_PATHS
) -> tuple[Path, ...] | TooMany:
    """The paths of a program, at most `limit`, in no order that means anything."""
    known = outlines(shape_of(program), profile.vlan_tci_clears_cfi, limit)
    if isinstance(known, TooMany):
        known = exact_outlines(program, profile.vlan_tci_clears_cfi, limit)
    return known if isinstance(known, TooMany) else tuple(fill_in(known, program))


def shape_of(program: CheckedClassic) -> Shape:
    """The shape of a program."""
    names: dict[int, int] = {}
    insns = []
    for i in program.insns:
        code, k = i.code, i.k
        if code in CONDITIONAL_K:
            k = names.setdefault(k, len(names))
        elif code == _RET_K:
            k = int(k != 0)
        insns.append((code, i.jt, i.jf, k))
    return Shape(tuple(insns))


def fill_in(known: Outlines, program: CheckedClassic) -> list[Path]:
    """The paths of a program of that shape; less those that contradict themselves with its constants."""
    insns = program.insns
    tests = [
        each if each.at is None else Test(each.value, each.op, insns[each.at].k, each.holds, each.at)
        for each in known.tests
    ]
    odd = {index for index, each in enumerate(tests) if simplify((each,)) != (each,)}
    found = []
    for outline in known.paths:
        own = tuple([tests[index] for index in outline.tests])
        if outline.suspect or not odd.isdisjoint(outline.tests):
            simpler = simplify_all(own)
            if simpler is None:
                continue
            own = simpler
        returned = insns[outline.end].k if outline.returned is None else outline.returned
        found.append(Path(outline.needs, outline.loads, own, returned))
    return found


@functools.lru_cache(maxsize=4096)
def outlines(shape: Shape, vlan_tci_clears_cfi: bool, limit: int = MAX_PATHS) -> Outlines | TooMany:
    """The paths of all programs of a shape.

    Of two constants it is known only whether they are equal.
    """
    return _Walk(shape.insns, vlan_tci_clears_cfi, limit, exact=False).outlines()


def exact_outlines(program: CheckedClassic, vlan_tci_clears_cfi: bool, limit: int) -> Outlines | TooMany:
    """The paths of one program, with its constants known on the way: fewer ways are followed."""
    insns = tuple((i.code, i.jt, i.jf, i.k) for i in program.insns)
    return _Walk(insns, vlan_tci_clears_cfi, limit, exact=True).outlines()


# The walk.

_RET_K = Class.RET | K
_RET_A = Class.RET | A
CONDITIONAL_K = frozenset(Class.JMP | op | K for op in TESTS)
_CONDITIONAL = frozenset(Class.JMP | op | src for op in TESTS for src in (K, X))
_JUMP = Class.JMP | Jmp.JA
_NEEDS_DEVICE = (Ancillary.IFINDEX, Ancillary.HATYPE)
"""Without a device the program ends with A."""
_DEPENDS_ON_REGISTERS = (Ancillary.NLATTR, Ancillary.NLATTR_NEST)
_DIVISIONS = (Alu.DIV, Alu.MOD)
_IFINDEX = Metadata(Ancillary.IFINDEX)

_Insn = tuple[int, int, int, int]
_Facts = dict[Value, tuple[Test, ...]]


class _TooMany(Exception):
    """How the walk stops; it never leaves this file."""

    def __init__(self, answer: TooMany) -> None:
        self.answer = answer


@dataclass(slots=True)
class _State:
    """The machine on its way: what registers and memory hold, and what was assumed."""

    pc: int
    a: Value
    x: Value
    memory: dict[int, Value]
    facts: _Facts
    needs: int
    loads: tuple[Load, ...]
    randoms: int

    def fork(self, pc: int, facts: _Facts) -> _State:
        return replace(self, pc=pc, memory=dict(self.memory), facts=facts)


class _Walk:
    """Follows a program everywhere.

    `exact`: the constants of jumps are what they are; else they are names, and of two names it is known
    only whether they are the same.
    """

    def __init__(self, insns: Sequence[_Insn], vlan_tci_clears_cfi: bool, limit: int, *, exact: bool) -> None:
        self.insns = insns
        self.exact = exact
        self.limit = limit
        self.steps = limit * STEPS_A_PATH
        self.vlan_mask = U32 & ~0x1000 if vlan_tci_clears_cfi else U32
        self.matching = _can_match(insns)
        self.constants_at: dict[int, int] = {}  # a name, and the first instruction that has it
        for pc, (code, _, _, k) in enumerate(insns):
            if code in CONDITIONAL_K:
                self.constants_at.setdefault(k, pc)
        self.waiting: list[_State] = []
        self.tests: dict[Test, int] = {}
        self.found: list[Outline] = []

    def outlines(self) -> Outlines | TooMany:
        self.waiting.append(_State(0, ZERO, ZERO, {}, {}, 0, (), 0))
        try:
            while self.waiting:
                self._follow(self.waiting.pop())
        except _TooMany as stop:
            return stop.answer
        return Outlines(tuple(self.tests), tuple(self.found))

    def _follow(self, state: _State) -> None:
        """One way, to its end or to where it forks."""
        while self.matching[state.pc]:
            self.steps -= 1
            if self.steps < 0:
                raise _TooMany(TooMany("steps", self.limit * STEPS_A_PATH))
            insn = self.insns[state.pc]
            code = insn[0]
            if code == _RET_K:
                self._accept(state, None)
                return
            if code == _RET_A:
                self._end_with_a(state, state.facts)
                return
            if code in _CONDITIONAL:
                self._branch(state, insn)
                return
            if code == _JUMP:
                state.pc += 1 + insn[3]
            elif self._execute(state, insn):
                state.pc += 1
            else:
                return

    def _accept(self, state: _State, returned: Value | None) -> None:
        if len(self.found) == self.limit:
            raise _TooMany(TooMany("paths", self.limit))
        tests = tuple(
            self.tests.setdefault(each, len(self.tests)) for group in state.facts.values() for each in group
        )
        suspect = not self.exact and any(_may_contradict(group) for group in state.facts.values())
        self.found.append(Outline(state.needs, state.loads, tests, returned, state.pc, suspect))

    def _end_with_a(self, state: _State, facts: _Facts) -> None:
        """`ret a`: a match where A is not 0."""
        _, nonzero = self._assume(facts, Test(state.a, Jmp.JEQ, 0, True))
        if nonzero is not None:
            self._accept(replace(state, facts=nonzero), state.a)

    def _branch(self, state: _State, insn: _Insn) -> None:
        code, jt, jf, k = insn
        op = Jmp(op_of(code))
        if src_of(code) == K:
            test = Test(state.a, op, k, True, state.pc if self.exact else self.constants_at[k])
        else:
            test = _compare(op, state.a, state.x)
        if_true, if_false = self._assume(state.facts, test)
        if not test.holds:
            if_true, if_false = if_false, if_true
        if if_false is not None:
            self.waiting.append(state.fork(state.pc + 1 + jf, if_false))
        if if_true is not None:
            state.pc, state.facts = state.pc + 1 + jt, if_true
            self.waiting.append(state)

    def _assume(self, facts: _Facts, test: Test) -> tuple[_Facts | None, _Facts | None]:
        """What is known when `value op constant` is so, and when not; None: that cannot be."""
        yes, no = replace(test, holds=True), replace(test, holds=False)
        before = facts.get(test.value, ())
        combine = _combine_exactly if self.exact else _combine_by_name
        return _with(facts, test.value, combine(before, yes)), _with(facts, test.value, combine(before, no))

    def _execute(self, state: _State, insn: _Insn) -> bool:
        """An instruction that goes on to the next; False if on this way the program ends there with 0."""
        code, _, _, k = insn
        match class_of(code):
            case Class.LD:
                return self._load_a(state, code, k)
            case Class.LDX:
                match mode_of(code):
                    case Mode.IMM:
                        state.x = Constant(k)
                    case Mode.MEM:
                        state.x = state.memory[k]
                    case Mode.LEN:
                        state.x = Length()
                    case _:
                        self._read(state, load(k, 1))
                        state.x = header_length(k)
            case Class.ST:
                state.memory[k] = state.a
            case Class.STX:
                state.memory[k] = state.x
            case Class.ALU:
                return self._arithmetic(
                    state, Alu(op_of(code)), state.x if src_of(code) == X else Constant(k)
                )
            case _ if op_of(code) == CLASSIC_TAX:
                state.x = state.a
            case _:
                state.a = state.x
        return True

    def _load_a(self, state: _State, code: int, k: int) -> bool:
        match mode_of(code):
            case Mode.IMM:
                state.a = Constant(k)
            case Mode.MEM:
                state.a = state.memory[k]
            case Mode.LEN:
                state.a = Length()
            case Mode.ABS if k >= SKF_AD_OFF:
                return self._ancillary(state, Ancillary(k - SKF_AD_OFF))
            case mode:
                index = state.x if mode == Mode.IND else None
                state.a = self._read(state, load(k, SIZE_BYTES[Size(size_of(code))], index))
        return True

    def _read(self, state: _State, value: Load) -> Load:
        """The bytes must be there."""
        _weigh(value)
        if value.end is not None:
            state.needs = max(state.needs, value.end)
        elif value not in state.loads:
            state.loads += (value,)
        return value

    def _ancillary(self, state: _State, what: Ancillary) -> bool:
        if what is Ancillary.ALU_XOR_X:
            return self._arithmetic(state, Alu.XOR, state.x)
        if what in _NEEDS_DEVICE:
            without, with_device = self._assume(state.facts, Test(_IFINDEX, Jmp.JEQ, 0, True))
            if without is not None:
                self._end_with_a(state, without)
            if with_device is None:
                return False
            state.facts = with_device
        if what in _DEPENDS_ON_REGISTERS:
            state.a = _weigh(Metadata(what, state.a, state.x))
        elif what is Ancillary.RANDOM:
            state.a = Metadata(what, nth=state.randoms)
            state.randoms += 1
        elif what is Ancillary.VLAN_TAG:
            state.a = binary(Alu.AND, Metadata(what), Constant(self.vlan_mask))
        else:
            state.a = Metadata(what)
        return True

    def _arithmetic(self, state: _State, op: Alu, operand: Value) -> bool:
        if op is Alu.NEG:
            op, state.a, operand = Alu.SUB, ZERO, state.a
        if op in _DIVISIONS:
            _, nonzero = self._assume(state.facts, Test(operand, Jmp.JEQ, 0, True))
            if nonzero is None:
                return False
            state.facts = nonzero
        state.a = _weigh(binary(op, state.a, operand))
        return True


def _weigh(value: Value) -> Value:
    if value.weight > MAX_WEIGHT:
        raise _TooMany(TooMany("operations", MAX_WEIGHT))
    return value


def _can_match(insns: Sequence[_Insn]) -> list[bool]:
    """For each instruction: may the program, being there, return something other than 0?"""
    can = [False] * (len(insns) + 1)
    for pc in range(len(insns) - 1, -1, -1):
        code, jt, jf, k = insns[pc]
        if code == _RET_K:
            can[pc] = k != 0
        elif code == _RET_A:
            can[pc] = True
        elif code in _CONDITIONAL:
            can[pc] = can[pc + 1 + jt] or can[pc + 1 + jf]
        elif code == _JUMP:
            can[pc] = can[pc + 1 + k]
        else:
            leaves = class_of(code) == Class.LD and mode_of(code) == Mode.ABS and k >= SKF_AD_OFF
            can[pc] = can[pc + 1] or (leaves and Ancillary(k - SKF_AD_OFF) in _NEEDS_DEVICE)
    return can


def _compare(op: Jmp, a: Value, x: Value) -> Test:
    """`a op x` as the test of one value against a constant.  Its `holds` may be False: the opposite."""
    if isinstance(x, Constant):
        return Test(a, op, x.value, True)
    if op is Jmp.JEQ:
        return Test(x, op, a.value, True) if isinstance(a, Constant) else _zero(binary(Alu.SUB, a, x), True)
    if op is Jmp.JSET:
        return Test(x, op, a.value, True) if isinstance(a, Constant) else _zero(binary(Alu.AND, a, x), False)
    if isinstance(a, Constant):  # a > x is not x >= a
        return Test(x, Jmp.JGE if op is Jmp.JGT else Jmp.JGT, a.value, False)
    # a >= x is not x > a
    return _zero(Greater(a, x), False) if op is Jmp.JGT else _zero(Greater(x, a), True)


def _zero(value: Value, holds: bool) -> Test:
    return Test(_weigh(value), Jmp.JEQ, 0, holds)


def _with(facts: _Facts, value: Value, tests: tuple[Test, ...] | None) -> _Facts | None:
    if tests is None:
        return None
    if not tests:
        return {each: known for each, known in facts.items() if each != value}
    return {**facts, value: tests}


def _combine_exactly(before: tuple[Test, ...], new: Test) -> tuple[Test, ...] | None:
    return simplify((*before, new))


def _combine_by_name(before: tuple[Test, ...], new: Test) -> tuple[Test, ...] | None:
    """What follows when of two constants only equality is known, and of a name and a number nothing."""
    if new.at is None and isinstance(new.value, Constant):
        return before if new.accepts(new.value.value) else None
    if new.at is None and all(each.at is None for each in before):
        return simplify((*before, new))
    for each in before:
        if (each.at is None) != (new.at is None):
            continue
        if each.op is new.op and each.constant == new.constant:
            return before if each.holds == new.holds else None
        if each.op is new.op is Jmp.JEQ and each.holds:
            return None if new.holds else before
    if new.op is Jmp.JEQ and new.holds:
        before = tuple(
            each for each in before if each.op is not Jmp.JEQ or (each.at is None) != (new.at is None)
        )
    return (*before, new)


def _may_contradict(group: Sequence[Test]) -> bool:
    """Could these tests of one value exclude each other, or one say what the other says?"""
    if isinstance(group[0].value, Constant):
        return True
    distinct = all(each.op is Jmp.JEQ and not each.holds and each.at is not None for each in group)
    return len(group) > 1 and not distinct
