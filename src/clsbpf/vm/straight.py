"""How does a small classic program run without a jump?

A processor that guesses a jump wrong loses some fifteen cycles, and traffic is made to be guessed wrong:
which packet comes next is what nobody knows.  A filter of twenty instructions has five tests, and the
wrong guesses cost more than all of its instructions.  So a program that is small enough is written
down *straight*: every instruction runs for every packet, together with the condition (an i1) under
which the program gets there, and nothing is decided before the end:

    ldh [12]                 value = load data + 12                      needs 14 bytes
    jeq #0x800, 2, 5         at.2  = at.1 & value == 0x800               at.5  = at.1 & value != 0x800
    …
    ret #-1                  returns -1 where at.7 & captured >= 38

Classic programs have no loops, so the conditions of an instruction are known when it is reached.  Where
two ways meet, registers are selected.  A load outside of what was captured ends a program with 0; here it
loads what lies there (SLACK), and the way that it is on does not count.  A program that was cut short by the
capture, not by the packet's end, has to say so: those few packets, shorter than `reach`, are for `lower.py`,
which is the definition here, too, and for which is left whatever costs more than a wrong guess (division,
addresses that were computed, what lies beside the packet).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..bpf.classic import CheckedClassic, SockFilter
from ..bpf.isa import (
    CLASSIC_TAX,
    SIZE_BYTES,
    A,
    Alu,
    Class,
    Jmp,
    Mode,
    Size,
    X,
    class_of,
    mode_of,
    op_of,
    size_of,
)
from ..capture.record import SLACK

_MSH_MAXIMUM = 60
_ALU = {
    Alu.ADD: "add", Alu.SUB: "sub", Alu.MUL: "mul", Alu.AND: "and", Alu.OR: "or", Alu.XOR: "xor",
}  # fmt: skip
_TESTS = {Jmp.JEQ: "eq", Jmp.JGT: "ugt", Jmp.JGE: "uge"}


class _NotStraight(Exception):
    """The program has something that is not written down here."""


@dataclass(frozen=True, slots=True)
class _State:
    """What registers hold, and what is still to be checked of a way before its return counts.

    Registers are SSA names or constants, i32; `x_limit` bounds X, None: by nothing.  `needs` is how many
    bytes must have been captured, `inside` are i1s that loads behind X were.
    """

    a: str = "0"
    x: str = "0"
    x_limit: int | None = 0
    words: tuple[str, ...] = ("0",) * 16
    needs: int = 0
    inside: tuple[str, ...] = ()


@dataclass(slots=True)
class _Text:
    """The function under construction: its lines, the ways to instructions not yet reached, its returns."""

    prefix: str
    lines: list[str] = field(default_factory=list)
    ways: dict[int, list[tuple[str, _State]]] = field(default_factory=dict)
    returns: dict[int, list[str]] = field(default_factory=dict)
    swaps: set[int] = field(default_factory=set)
    reach: int = 0

    def assign(self, expression: str) -> str:
        name = f"%{self.prefix}{len(self.lines)}"
        self.lines.append(f"{name} = {expression}")
        return name

    def both(self, left: str, right: str) -> str:
        """The conjunction of two i1s."""
        if "true" in (left, right):
            return right if left == "true" else left
        return self.assign(f"and i1 {left}, {right}")

    def either(self, conditions: list[str]) -> str:
        """Their disjunction."""
        result = conditions[0]
        for each in conditions[1:]:
            result = self.assign(f"or i1 {result}, {each}")
        return result

    def select(self, condition: str, then: str, otherwise: str) -> str:
        if then == otherwise:
            return then
        return self.assign(f"select i1 {condition}, i32 {then}, i32 {otherwise}, !unpredictable !0")

    def settle(self, condition: str, state: _State) -> str:
        """The condition with all that was still to be checked."""
        if state.needs:
            there = self.assign(f"icmp uge i64 %captured, {state.needs}")
            condition = self.both(condition, there)
        for each in state.inside:
            condition = self.both(condition, each)
        return condition


@dataclass(frozen=True, slots=True)
class Straight:
    """A program without jumps: lines of IR that read %data (a pointer), %captured and %length (i64).

    `returns` are the conditions (i1) of each constant that it returns; where none holds it returns 0.
    `reach` is how many bytes it looks at.
    """

    lines: tuple[str, ...]
    returns: tuple[tuple[int, str], ...]
    reach: int
    declares: frozenset[str]


def straight(program: CheckedClassic, prefix: str) -> Straight | None:
    """A classic program without jumps, its registers' names beginning with `prefix`; None: not for here.

    It is for packets of which `reach` bytes were captured, or as many as there were; SLACK bytes must be
    readable behind them.
    """
    text = _Text(prefix)
    text.ways[0] = [("true", _State())]
    try:
        for index, insn in enumerate(program.insns):
            ways = text.ways.pop(index, [])
            if ways:
                _instruction(text, index, insn, *_meet(text, ways))
    except _NotStraight:
        return None
    if text.reach > SLACK:
        return None
    returns = tuple((value, text.either(conditions)) for value, conditions in text.returns.items())
    declares = {f"declare i{bits} @llvm.bswap.i{bits}(i{bits})" for bits in text.swaps}
    return Straight(tuple(text.lines), returns, text.reach, frozenset({*declares, UNPREDICTABLE}))


UNPREDICTABLE = "!0 = !{}"
"""What `!unpredictable !0` of a select refers to: it is not to become a jump again."""


def _meet(text: _Text, ways: list[tuple[str, _State]]) -> tuple[str, _State]:
    """Where ways meet: the condition that one of them is taken, and what registers hold then."""
    condition, state = ways[0]
    for other, theirs in ways[1:]:
        if (theirs.needs, theirs.inside) != (state.needs, state.inside):
            condition, other = text.settle(condition, state), text.settle(other, theirs)
            state = replace(state, needs=0, inside=())
        limits = (state.x_limit, theirs.x_limit)
        state = replace(
            state,
            a=text.select(other, theirs.a, state.a),
            x=text.select(other, theirs.x, state.x),
            x_limit=None if None in limits else max(each for each in limits if each is not None),
            words=tuple(
                text.select(other, new, old) for new, old in zip(theirs.words, state.words, strict=True)
            ),
        )
        condition = text.either([condition, other])
    return condition, state


def _instruction(text: _Text, index: int, insn: SockFilter, condition: str, state: _State) -> None:
    """One instruction under its condition: what holds after it, and where it leads."""

    def go(target: int, condition: str, state: _State) -> None:
        text.ways.setdefault(target, []).append((condition, state))

    match class_of(insn.code):
        case Class.LD:
            value, _, state = _load(text, insn, state)
            state = replace(state, a=value)
        case Class.LDX:
            value, limit, state = _load(text, insn, state)
            state = replace(state, x=value, x_limit=limit)
        case Class.ST | Class.STX as kind:
            words = list(state.words)
            words[insn.k] = state.a if kind == Class.ST else state.x
            state = replace(state, words=tuple(words))
        case Class.ALU:
            state = replace(state, a=_arithmetic(text, insn, state))
        case Class.MISC if insn.code & 0xF8 == CLASSIC_TAX:
            state = replace(state, x=state.a, x_limit=None)
        case Class.MISC:
            state = replace(state, a=state.x)
        case Class.RET:
            value = state.a if insn.code & A else str(insn.k)
            if not value.isdigit():
                raise _NotStraight
            if int(value):  # 0 is what everything else comes to
                text.returns.setdefault(int(value), []).append(text.settle(condition, state))
            return
        case Class.JMP if op_of(insn.code) == Jmp.JA:
            go(index + 1 + insn.k, condition, state)
            return
        case Class.JMP if insn.jt == insn.jf:
            go(index + 1 + insn.jt, condition, state)
            return
        case Class.JMP:
            holds = _test(text, insn, state)
            fails = text.assign(f"xor i1 {holds}, true")
            go(index + 1 + insn.jt, text.both(condition, holds), state)
            go(index + 1 + insn.jf, text.both(condition, fails), state)
            return
    go(index + 1, condition, state)


def _load(text: _Text, insn: SockFilter, state: _State) -> tuple[str, int | None, _State]:
    """What is loaded, its limit if that is known, and what then is to be checked."""
    count = SIZE_BYTES[Size(size_of(insn.code))]
    match mode_of(insn.code):
        case Mode.IMM:
            return str(insn.k), insn.k, state
        case Mode.MEM:
            return state.words[insn.k], None, state
        case Mode.LEN:
            return text.assign("trunc i64 %length to i32"), None, state
        case Mode.ABS | Mode.MSH as mode if insn.k < SLACK:
            end = insn.k + (1 if mode == Mode.MSH else count)
            text.reach = max(text.reach, end)
            state = replace(state, needs=max(state.needs, end))
            if mode == Mode.ABS:
                return _packet(text, str(insn.k), count), None, state
            shifted = text.assign(f"shl i32 {_packet(text, str(insn.k), 1)}, 2")
            return text.assign(f"and i32 {shifted}, {_MSH_MAXIMUM}"), _MSH_MAXIMUM, state
        case Mode.IND if insn.k < SLACK and state.x_limit is not None:
            text.reach = max(text.reach, state.x_limit + insn.k + count)
            wide = text.assign(f"zext i32 {state.x} to i64")
            offset = text.assign(f"add nuw nsw i64 {wide}, {insn.k}")
            end_at = text.assign(f"add nuw nsw i64 {offset}, {count}")
            inside = text.assign(f"icmp ule i64 {end_at}, %captured")
            return _packet(text, offset, count), None, replace(state, inside=(*state.inside, inside))
    raise _NotStraight


def _packet(text: _Text, offset: str, count: int) -> str:
    """Bytes of the packet, or whatever lies behind it, as an i32."""
    at = text.assign(f"getelementptr i8, ptr %data, i64 {offset}")
    bits = 8 * count
    value = text.assign(f"load i{bits}, ptr {at}, align 1")
    if bits > 8:
        text.swaps.add(bits)
        value = text.assign(f"call i{bits} @llvm.bswap.i{bits}(i{bits} {value})")
    return value if bits == 32 else text.assign(f"zext i{bits} {value} to i32")


def _operand(insn: SockFilter, state: _State) -> str:
    return state.x if insn.code & X else str(insn.k)


def _arithmetic(text: _Text, insn: SockFilter, state: _State) -> str:
    """A after an operation."""
    operation = Alu(op_of(insn.code))
    if operation == Alu.NEG:
        return text.assign(f"sub i32 0, {state.a}")
    right = _operand(insn, state)
    if operation in _ALU:
        return text.assign(f"{_ALU[operation]} i32 {state.a}, {right}")
    if operation in (Alu.LSH, Alu.RSH):
        count = text.assign(f"and i32 {right}, 31")
        return text.assign(f"{'shl' if operation == Alu.LSH else 'lshr'} i32 {state.a}, {count}")
    raise _NotStraight  # division costs more than a wrong guess


def _test(text: _Text, insn: SockFilter, state: _State) -> str:
    """An i1: does the condition of a jump hold?"""
    operation = Jmp(op_of(insn.code))
    right = _operand(insn, state)
    if operation == Jmp.JSET:
        common = text.assign(f"and i32 {state.a}, {right}")
        return text.assign(f"icmp ne i32 {common}, 0")
    return text.assign(f"icmp {_TESTS[operation]} i32 {state.a}, {right}")
