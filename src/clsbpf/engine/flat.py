"""How do a few small filters classify without a jump?  `classify` of programs that are written straight.

Each filter's program gives conditions (vm/straight.py), each condition an outcome that is known beforehand;
from the last filter to the first the outcome is selected:

    outcome = c1 ? o1 : c2 ? o2 : … : undecided

That costs the same for every packet, so it is for a few instructions in all; and packets of which
too little was captured go the ordinary way (`linear.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..tc.act import TcAct
from ..tc.chain import ETH_P_ALL
from ..tc.filter import MATCH
from ..vm import subset
from ..vm.straight import UNPREDICTABLE, Straight, straight
from .linear import DIRECT_VERDICTS, met
from .planned import FEW_INSNS, PlannedFilter
from .view import PARAMETERS, SkbText, View
from .walk import classify
from .walk_state import FILTER_SHIFT, UNDECIDED, VERDICT_SHIFT

ORDINARY = f"{subset.record_of(classify).symbol}.ordinary"
"""`classify` as linear.py has it."""
_WEIGHTS = '!1 = !{!"branch_weights", i32 1, i32 2000}'


def flat_classify(view: View, filters: Sequence[PlannedFilter]) -> tuple[str, frozenset[str]] | None:
    """The function and what it declares; None where the filters are not for here."""
    programs = list(straight_programs(filters))
    if None in programs or not programs:
        return None
    found = [each for each in programs if each is not None]
    text = SkbText(view)
    emit = text.emit
    reach = max(program.reach for _, _, program in found)
    emit(
        # In one comparison: short packets are many, and no jump is to be guessed for them.
        f"%needed = call i64 @llvm.umin.i64(i64 %length, i64 {reach})",
        "%blind = icmp ult i64 %captured, %needed",
        "br i1 %blind, label %ordinary, label %straight, !prof !1",
        "ordinary:",
        f'%other = call i64 @"{ORDINARY}"({PARAMETERS})',
        "ret i64 %other",
        "straight:",
    )
    text.read_frame()
    emit("%data.pointer = inttoptr i64 %data to ptr")
    choices: list[tuple[str, int]] = []
    for number, planned, program in found:
        emit(*(line.replace("%data,", "%data.pointer,") for line in program.lines))
        choices += _choices(text, number, planned, program)
    result = str(UNDECIDED)
    for place, (condition, outcome) in enumerate(reversed(choices)):
        emit(f"%o{place} = select i1 {condition}, i64 {outcome}, i64 {result}, !unpredictable !0")
        result = f"%o{place}"
    emit(f"ret i64 {result}")
    declares = frozenset().union(*(program.declares for _, _, program in found))
    return text.definition(), declares | {UNPREDICTABLE, _WEIGHTS, "declare i64 @llvm.umin.i64(i64, i64)"}


def straight_programs(
    filters: Sequence[PlannedFilter],
) -> Iterator[tuple[int, PlannedFilter, Straight] | None]:
    """The programs of the filters that a packet may meet; None for one that is not for here."""
    size = 0
    for number, planned in met(list(enumerate(filters))):
        classic = planned.classic
        size += FEW_INSNS + 1 if classic is None else len(classic.insns)
        program = None
        if size <= FEW_INSNS and classic is not None:
            program = straight(classic, f"p{number}.")
        fits = program is not None and (not planned.filter.direct_action or returns_verdicts(program))
        yield (number, planned, program) if program is not None and fits else None


def returns_verdicts(program: Straight) -> bool:
    """Is all that it returns a verdict that direct action knows?"""
    return all(value < 16 and DIRECT_VERDICTS >> value & 1 for value, _ in program.returns)


def _choices(
    text: SkbText, number: int, planned: PlannedFilter, program: Straight
) -> Iterator[tuple[str, int]]:
    """The outcomes of a filter, each with its condition: a turn of `Classifier.classify`."""
    protocol = planned.classifier.protocol
    if protocol != ETH_P_ALL:
        text.emit(f"%is{number} = icmp eq i64 %outer, {protocol}")
    each, base = planned.filter, number + 1 << FILTER_SHIFT
    for place, (value, condition) in enumerate(program.returns):
        if protocol != ETH_P_ALL:
            text.emit(f"%c{number}.{place} = and i1 {condition}, %is{number}")
            condition = f"%c{number}.{place}"
        if each.direct_action:
            yield condition, base | value + 1 << VERDICT_SHIFT | each.classid
        else:
            classid = each.classid if value == MATCH else value
            yield condition, base | TcAct.OK + 1 << VERDICT_SHIFT | classid
    if each.direct_action:  # what else it may return is 0, a verdict, too
        condition = "true" if protocol == ETH_P_ALL else f"%is{number}"
        yield condition, base | TcAct.OK + 1 << VERDICT_SHIFT | each.classid
