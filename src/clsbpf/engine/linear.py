"""A block's filters, tried one after the other: `Block.classify` written out as LLVM IR.

    chain 0: ─▶ prio 10 ─▶ filter 0x2 ─▶ filter 0x1 ─▶ prio 20 ─▶ … ─▶ none
                              │ match
                              ▼
                          its actions (act_native.py) ─▶ settle ─▶ decided
                                                          │ reclassify, goto chain
                                                          ▼
                                            a run less in the budget; the chain's first prio

What reclassify and goto chain need exists only where some action may answer so.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..bpf.insn import Insn
from ..profile import KernelProfile
from ..tc import ids
from ..tc.act import TcAct, goto_chain
from ..tc.chain import ETH_P_ALL
from ..tc.filter import Classifier, Filter
from ..verifier.program import VerifiedProgram
from ..vm.native_skb import NATIVE_SKB_BYTES, At
from .as_captured import SHOW
from .kinds import Kinds
from .planned import PlannedFilter
from .view import SkbText
from .walk_state import FILTER_SHIFT, UNDECIDED, VERDICT_MASK, VERDICT_SHIFT, State

if TYPE_CHECKING:
    from ..vm.link import LinkedProgram
    from .act_records import Records
    from .extended import Programs
    from .index_text import IndexText

    LookUp = Callable[[SkbText, Sequence[int]], IndexText | None]
    """Makes an index of the filters with these numbers for a function's text, where that helps."""

DIRECT_VERDICTS = sum(1 << act for act in (TcAct.OK, TcAct.SHOT, TcAct.STOLEN, TcAct.TRAP, TcAct.REDIRECT))
"""A bit for each verdict that a direct-action program may give (cls_bpf_exec_opcode)."""


RUN_ACTIONS = "engine.act_native.run_actions"
OWN_PACKET = "engine.extended.own_packet"
OUTER_PROTOCOL = "engine.extended.outer_protocol"
"""Functions of modules that only plans with actions or extended programs need."""


Numbered = tuple[int, PlannedFilter]
"""A filter and its number in the plan."""


def met(filters: Sequence[Numbered]) -> list[Numbered]:
    """Those of a block's filters that a packet may meet: only actions lead out of chain 0."""
    chains = reachable(filters)
    return [each for each in filters if each[1].chain in chains and not each[1].filter.skip_sw]


def reachable(filters: Sequence[Numbered]) -> set[int]:
    """The chains of a block that a packet may come to."""
    leads: dict[int, set[int]] = {}
    for _, planned in filters:
        if planned.has_actions:
            leads.setdefault(planned.chain, set()).update(planned.leads_to)
    found: set[int] = set()
    pending = {0}
    while pending:
        chain = pending.pop()
        found.add(chain)
        pending |= leads.get(chain, set()) - found
    return found


@dataclass(frozen=True, slots=True)
class Ends:
    """Where some lines leave: to `end` with an outcome, to `settle` with the answer of actions and what the
    outcome is but for the verdict; each with the label it comes from."""

    decided: list[tuple[str, str]] = field(default_factory=list)
    acted: list[tuple[str, str, str]] = field(default_factory=list)


Group = tuple[Classifier, list[Numbered]]
"""Filters of one classifier that follow one another."""


@dataclass(slots=True)
class Callees:
    """What the filters of a plan have and call.

    `programs` are the classic ones, each once, by function name; `look_up` may make an index of filters.
    """

    profile: KernelProfile
    records: Records | None = None
    extended: Programs | None = None
    look_up: LookUp | None = None
    programs: dict[str, VerifiedProgram] = field(default_factory=dict)
    _names: dict[tuple[Insn, ...], str] = field(default_factory=dict)

    @property
    def asks_python(self) -> bool:
        """May Python be called for a packet?"""
        records, extended = self.records, self.extended
        return (records is not None and records.ask_python) or (
            extended is not None and (extended.ask_python or extended.redirect)
        )

    @property
    def changes_headers(self) -> bool:
        """May what a packet's bytes and protocol are change on the way?"""
        records, extended = self.records, self.extended
        return (records is not None and records.ask_python) or (
            extended is not None and bool(extended.writers)
        )

    def name(self, verified: VerifiedProgram) -> str:
        """The function of a classic program."""
        name = self._names.setdefault(verified.insns, f"program{len(self._names)}")
        self.programs.setdefault(name, verified)
        return name


BLOCK_PARAMETERS = (
    "i64 %state, ptr %skb, i64 %skb.int, i64 %data, i64 %captured, i64 %length, i64 %outer, ptr %said"
)
"""Those of a block that is a function of its own; at `said` it leaves what its actions answer."""


class BlockText:
    """A block's filters in order, up to %outcome.  `answers`: in a function, as BLOCK_PARAMETERS has it."""

    def __init__(
        self,
        text: SkbText,
        filters: Sequence[Numbered],
        callees: Callees,
        kinds: Kinds | None,
        *,
        answers: bool = False,
    ) -> None:
        self.text = text
        self.filters = filters
        self.callees = callees
        self.kinds = kinds
        self.answers = answers
        self.profile = callees.profile
        self.records = callees.records
        self.extended = callees.extended
        self.changes_headers = callees.changes_headers
        self._ends = Ends()
        self._may_fault = False

    def lines(self) -> None:
        """Its lines."""
        emit = self.text.emit
        chains: dict[int, dict[Classifier, list[Numbered]]] = {
            index: {} for index in sorted(reachable(self.filters))
        }
        for number, planned in met(self.filters):
            chains[planned.chain].setdefault(planned.classifier, []).append((number, planned))
        if self.changes_headers:
            emit("%outer.now = alloca i64", "store i64 %outer, ptr %outer.now")
        if any(planned.sees_captured for _, planned in self.filters):
            emit(f"%second = alloca [{NATIVE_SKB_BYTES} x i8], align 16")
        pieces = {index: list(self._pieces(groups)) for index, groups in chains.items()}
        for each in itertools.chain.from_iterable(pieces.values()):
            if not isinstance(each, tuple):
                each.allocate()
        if self._has_actions:
            emit("%runs = alloca i32", f"store i32 {self.profile.max_reclassify + 1}, ptr %runs")
        emit("br label %chain0")
        for index, parts in pieces.items():
            self._chain(index, parts)
        if self._ends.acted:
            self._settle(chains)
        if self._may_fault:
            emit("faulted:", "br label %end")
            self._ends.decided.append((str(UNDECIDED), "faulted"))
        emit("none:", "br label %end", "end:")
        self._ends.decided.append((str(UNDECIDED), "none"))
        sources = ", ".join(f"[ {value}, %{label} ]" for value, label in self._ends.decided)
        emit(f"%outcome = phi i64 {sources}")

    def _pieces(self, groups: Mapping[Classifier, list[Numbered]]) -> Iterator[Group | IndexText]:
        """A chain's filters: those that are tried, and runs of such that are looked up."""
        found = [(number, planned) for group in groups.values() for number, planned in group]
        for together, run in itertools.groupby(found, lambda each: each[1].may_be_looked_up):
            members = list(run)
            index = None
            if together and self.callees.look_up is not None:
                index = self.callees.look_up(self.text, [number for number, _ in members])
            if index is not None:
                yield index
                continue
            for classifier, group in itertools.groupby(members, lambda each: each[1].classifier):
                yield classifier, list(group)

    def _chain(self, chain: int, pieces: Sequence[Group | IndexText]) -> None:
        """`Block._run_chain`."""
        emit = self.text.emit
        emit(f"chain{chain}:")
        if self.changes_headers and not self.profile.rereads_protocol:
            self._read_protocol(f"chain{chain}")
        emit(f"br label %p{chain}.0" if pieces else "br label %none")
        for number, piece in enumerate(pieces):
            here = f"p{chain}.{number}"
            following = f"p{chain}.{number + 1}" if number + 1 < len(pieces) else "none"
            emit(f"{here}:")
            if isinstance(piece, tuple):
                self._group(piece, here, following)
            else:
                outer = self._outer(here) if self.changes_headers else None
                ends = piece.segment(following, afresh=outer, nothing=f"{here}.nothing")
                self._ends.decided.extend(ends.decided)
                self._ends.acted.extend(ends.acted)

    def _group(self, group: Group, here: str, following: str) -> None:
        """`Classifier.classify`, over filters that are tried one after the other."""
        emit = self.text.emit
        classifier, filters = group
        if classifier.protocol != ETH_P_ALL:
            outer = self._outer(here) if self.changes_headers else "%outer"
            emit(
                f"%is.{here} = icmp eq i64 {outer}, {classifier.protocol}",
                f"br i1 %is.{here}, label %{here}.in, label %{following}",
                f"{here}.in:",
            )
        emit(f"br label %f{filters[0][0]}")
        after = [f"f{number}" for number, _ in filters[1:]] + [following]
        for (number, planned), next_label in zip(filters, after, strict=True):
            self._filter(planned, number, next_label)

    def _filter(self, planned: PlannedFilter, number: int, following: str) -> None:
        """One turn of `Classifier.classify`: the outcome, or on to the next filter.

        Classic programs neither read nor write tc_classid: the classid of direct action is the filter's.
        """
        emit = self.text.emit
        each = planned.filter
        emit(f"f{number}:")
        linked = planned.program.linked
        if linked is not None:
            name = self._before_extended(number, each, linked)
        else:
            name = self.callees.name(planned.verified)
        mask = self.kinds.masks.get(number) if self.kinds is not None else None
        if mask is not None:
            emit(
                f"%mask{number} = and i32 %kind, {mask}",
                f"%pass{number} = icmp eq i32 %mask{number}, 0",
                f"br i1 %pass{number}, label %{following}, label %try{number}",
                f"try{number}:",
            )
        skb = "%skb"
        if planned.sees_captured:
            skb = "%second"
            if not self._second_is_there(number):
                emit(f'%shown{number} = call i64 @"{SHOW}"(i64 %state, i64 %skb.int, ptr %second)')
        emit(f'%r{number} = call i32 @"{name}"(ptr {skb})', f"%w{number} = zext i32 %r{number} to i64")
        if planned.sees_captured:
            self._note_read_past(number)
        if linked is not None and self.callees.asks_python:
            self._unless_faulted()
        base = number + 1 << FILTER_SHIFT
        if each.direct_action:
            emit(
                f"%known{number} = icmp ult i32 %r{number}, 16",
                f"br i1 %known{number}, label %v{number}, label %{following}",
                f"v{number}:",
                f"%bit{number} = lshr i32 {DIRECT_VERDICTS}, %r{number}",
                f"%ok{number} = trunc i32 %bit{number} to i1",
                f"%up{number} = add i64 %w{number}, 1",
                f"%verdict{number} = shl i64 %up{number}, {VERDICT_SHIFT}",
            )
            own = str(base | each.classid)
            if linked is not None:
                emit(
                    f"%tc{number} = load i32, ptr %tc.at{number}, align 4",
                    f"%minor{number} = and i32 %tc{number}, 65535",
                    f"%minor.wide{number} = zext i32 %minor{number} to i64",
                    f"%own{number} = or i64 %minor.wide{number}, {base | each.classid & ~0xFFFF}",
                )
                own = f"%own{number}"
            emit(
                f"%o{number} = or i64 %verdict{number}, {own}",
                f"br i1 %ok{number}, label %d{number}, label %{following}",
            )
        else:
            decided = base if planned.has_actions else base | TcAct.OK + 1 << VERDICT_SHIFT
            emit(
                f"%match{number} = icmp eq i32 %r{number}, -1",
                f"%class{number} = select i1 %match{number}, i64 {each.classid}, i64 %w{number}",
                f"%o{number} = or i64 %class{number}, {decided}",
                f"%none{number} = icmp eq i32 %r{number}, 0",
                f"br i1 %none{number}, label %{following}, label %d{number}",
            )
        emit(f"d{number}:")
        if planned.has_actions and not each.direct_action:
            self._act(number, following)
        else:
            emit("br label %end")
            self._ends.decided.append((f"%o{number}", f"d{number}"))

    def _unless_faulted(self) -> None:
        """What went wrong in Python ends the packet's way through the filters."""
        self.text.unless_faulted("faulted")
        self._may_fault = True

    # programs that see frames as captured

    def _second_is_there(self, number: int) -> bool:
        """Has the filter before made it?  (Without actions every packet that comes here comes from there.)"""
        before = dict(self.filters).get(number - 1)
        if before is None or before.classifier.protocol != ETH_P_ALL or self._has_actions:
            return False
        return before.sees_captured

    def _note_read_past(self, number: int) -> None:
        """What was read past the capture in the second skb counts for the first."""
        for skb in ("second", "skb"):
            self.text.emit(
                f"%{skb}.past.at{number} = getelementptr i8, ptr %{skb}, i64 {At.READ_PAST:d}",
                f"%{skb}.past{number} = load i32, ptr %{skb}.past.at{number}, align 4",
            )
        self.text.emit(
            f"%past{number} = or i32 %skb.past{number}, %second.past{number}",
            f"store i32 %past{number}, ptr %skb.past.at{number}, align 4",
        )

    # extended programs

    def _before_extended(self, number: int, each: Filter, linked: LinkedProgram) -> str:
        """What an extended program finds in the packet and around it; its function."""
        assert self.extended is not None
        emit = self.text.emit
        emit(
            f"%tc.at{number} = getelementptr i8, ptr %skb, i64 {At.TC_CLASSID:d}",
            f"store i32 {ids.minor(each.classid)}, ptr %tc.at{number}, align 4",
        )
        if linked.id in self.extended.writers:
            emit(f'call void @"{OWN_PACKET}"(i64 %state, i64 %skb.int)')
        if self.callees.asks_python:
            self.text.store_state(State.RUNNING, number)
        return self.extended.names[linked.id]

    def _outer(self, place: str) -> str:
        """The protocol, which may have changed, as it counts here."""
        if self.profile.rereads_protocol:
            self._read_protocol(place)
        self.text.emit(f"%outer.{place} = load i64, ptr %outer.now")
        return f"%outer.{place}"

    def _read_protocol(self, place: str) -> None:
        """%outer.now: the protocol as it is now."""
        self.text.emit(
            f'%outer.at.{place} = call i64 @"{OUTER_PROTOCOL}"(i64 %skb.int)',
            f"store i64 %outer.at.{place}, ptr %outer.now",
        )

    # actions

    @property
    def _has_actions(self) -> bool:
        return any(
            planned.has_actions and not planned.filter.direct_action for _, planned in met(self.filters)
        )

    def _act(self, number: int, following: str) -> None:
        """The filter's actions; a negative answer goes on with the next filter."""
        assert self.records is not None
        at, length = self.records.lists[number]
        self.text.emit(
            f'%answer{number} = call i64 @"{RUN_ACTIONS}"(i64 %state, i64 {at}, i64 {length}, i64 %skb.int)',
        )
        if self.callees.asks_python:
            self._unless_faulted()
        self.text.emit(
            f"%on{number} = icmp slt i64 %answer{number}, 0",
            f"br i1 %on{number}, label %{following}, label %acted{number}",
            f"acted{number}:",
            "br label %settle",
        )
        self._ends.acted.append((f"%answer{number}", f"%o{number}", f"acted{number}"))

    def _settle(self, chains: Mapping[int, object]) -> None:
        """What becomes of an answer of actions that is not negative: `Block.classify`."""
        emit = self.text.emit
        answers = ", ".join(f"[ {answer}, %{label} ]" for answer, _, label in self._ends.acted)
        decided = ", ".join(f"[ {decided}, %{label} ]" for _, decided, label in self._ends.acted)
        again = {TcAct.RECLASSIFY + 0: 0} | {goto_chain(chain): chain for chain in chains}
        targets = " ".join(f"i64 {answer}, label %again.{answer}" for answer in again)
        emit(
            "settle:",
            f"%answer = phi i64 {answers}",
            f"%decided = phi i64 {decided}",
            f"switch i64 %answer, label %decide [ {targets} ]",
        )
        for answer, chain in again.items():
            emit(
                f"again.{answer}:",
                f"%left.{answer} = load i32, ptr %runs",
                f"%less.{answer} = sub i32 %left.{answer}, 1",
                f"store i32 %less.{answer}, ptr %runs",
                f"%over.{answer} = icmp eq i32 %less.{answer}, 0",
                f"br i1 %over.{answer}, label %over, label %chain{chain}",
            )
        emit(
            "over:",
            f"%shot = or i64 %decided, {TcAct.SHOT + 1 << VERDICT_SHIFT}",
            "br label %end",
            "decide:",
            *(["store i64 %answer, ptr %said"] if self.answers else []),
            "%answer.up = add i64 %answer, 1",
            f"%answer.low = and i64 %answer.up, {VERDICT_MASK}",
            f"%answer.verdict = shl i64 %answer.low, {VERDICT_SHIFT}",
            "%answered = or i64 %decided, %answer.verdict",
            "br label %end",
        )
        self._ends.decided.extend([("%shot", "over"), ("%answered", "decide")])
