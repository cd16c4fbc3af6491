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

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..bpf.insn import Insn
from ..profile import KernelProfile
from ..tc.act import TcAct, goto_chain
from ..tc.chain import ETH_P_ALL
from ..tc.filter import Classifier
from ..verifier.program import VerifiedProgram
from .planned import PlannedFilter
from .view import SkbText
from .walk_state import FILTER_SHIFT, READ_PAST_SHIFT, UNDECIDED, VERDICT_MASK, VERDICT_SHIFT, State

if TYPE_CHECKING:
    from .act_native import Records

DIRECT_VERDICTS = sum(1 << act for act in (TcAct.OK, TcAct.SHOT, TcAct.STOLEN, TcAct.TRAP, TcAct.REDIRECT))
"""A bit for each verdict that a direct-action program may give (cls_bpf_exec_opcode)."""


RUN_ACTIONS = "engine.act_native.run_actions"


def numbered(filters: Sequence[PlannedFilter]) -> Iterator[tuple[int, PlannedFilter]]:
    """The filters that a packet may meet, with their numbers: only actions lead out of chain 0."""
    met = reachable(filters)
    for number, planned in enumerate(filters):
        if planned.chain in met and not planned.filter.skip_sw:
            yield number, planned


def reachable(filters: Sequence[PlannedFilter]) -> set[int]:
    """The chains that a packet may come to."""
    leads: dict[int, set[int]] = {}
    for planned in filters:
        if planned.has_actions:
            leads.setdefault(planned.chain, set()).update(planned.leads_to)
    found: set[int] = set()
    pending = {0}
    while pending:
        chain = pending.pop()
        found.add(chain)
        pending |= leads.get(chain, set()) - found
    return found


class LinearText:
    """`classify` for filters in order.  `programs` are those that it calls, each once, by function name."""

    def __init__(
        self,
        text: SkbText,
        filters: Sequence[PlannedFilter],
        records: Records | None,
        profile: KernelProfile,
    ) -> None:
        self.text = text
        self.filters = filters
        self.records = records
        self.profile = profile
        self.programs: dict[str, VerifiedProgram] = {}
        self._names: dict[tuple[Insn, ...], str] = {}
        self._outcomes: list[tuple[str, str]] = []
        self._acted: list[int] = []
        """The filters whose actions may answer something."""

    def definition(self) -> str:
        """The function."""
        emit = self.text.emit
        chains: dict[int, dict[Classifier, list[tuple[int, PlannedFilter]]]] = {
            index: {} for index in sorted(reachable(self.filters))
        }
        for number, planned in numbered(self.filters):
            chains[planned.chain].setdefault(planned.classifier, []).append((number, planned))
        emit("%skb = alloca [256 x i8], align 16")
        self.text.read_frame()
        self.text.fill_skb()
        if self._has_actions:
            self._prepare_actions()
        emit("br label %chain0")
        for index, groups in chains.items():
            self._chain(index, groups)
        if self._acted:
            self._settle(chains)
        emit("none:", "br label %end", "end:")
        self._outcomes.append((str(UNDECIDED), "none"))
        sources = ", ".join(f"[ {value}, %{label} ]" for value, label in self._outcomes)
        emit(f"%outcome = phi i64 {sources}")
        self.text.return_outcome(READ_PAST_SHIFT)
        return self.text.definition()

    def _chain(self, chain: int, groups: Mapping[Classifier, list[tuple[int, PlannedFilter]]]) -> None:
        """`Block._run_chain`."""
        emit = self.text.emit
        emit(f"chain{chain}:", f"br label %p{chain}.0" if groups else "br label %none")
        for index, (classifier, group) in enumerate(groups.items()):
            here = f"p{chain}.{index}"
            following = f"p{chain}.{index + 1}" if index + 1 < len(groups) else "none"
            emit(f"{here}:")
            if classifier.protocol != ETH_P_ALL:
                emit(
                    f"%is.{here} = icmp eq i64 %outer, {classifier.protocol}",
                    f"br i1 %is.{here}, label %{here}.in, label %{following}",
                    f"{here}.in:",
                )
            emit(f"br label %f{group[0][0]}")
            after = [f"f{number}" for number, _ in group[1:]] + [following]
            for (number, planned), next_label in zip(group, after, strict=True):
                self._filter(planned, number, next_label)

    def _filter(self, planned: PlannedFilter, number: int, following: str) -> None:
        """One turn of `Classifier.classify`: the outcome, or on to the next filter.

        Classic programs neither read nor write tc_classid: the classid of direct action is the filter's.
        """
        emit = self.text.emit
        each = planned.filter
        name = self._names.setdefault(planned.verified.insns, f"program{len(self._names)}")
        self.programs.setdefault(name, planned.verified)
        emit(
            f"f{number}:",
            f'%r{number} = call i32 @"{name}"(ptr %skb)',
            f"%w{number} = zext i32 %r{number} to i64",
        )
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
                f"%o{number} = or i64 %verdict{number}, {base | each.classid}",
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
            self._outcomes.append((f"%o{number}", f"d{number}"))

    # actions

    @property
    def _has_actions(self) -> bool:
        return any(
            planned.has_actions and not planned.filter.direct_action for _, planned in numbered(self.filters)
        )

    def _prepare_actions(self) -> None:
        """What every list of actions is given, and how many runs of chains there may be."""
        emit = self.text.emit
        emit("%runs = alloca i32", f"store i32 {self.profile.max_reclassify + 1}, ptr %runs")
        emit("%skb.int = ptrtoint ptr %skb to i64", "%state.at = inttoptr i64 %state to ptr")
        for name, cell in (("clock", State.CLOCK), ("random", State.RANDOM), ("actions", State.ACTIONS)):
            emit(
                f"%{name}.at = getelementptr i8, ptr %state.at, i64 {cell:d}",
                f"%{name} = load i64, ptr %{name}.at, align 8",
            )

    def _act(self, number: int, following: str) -> None:
        """The filter's actions; a negative answer goes on with the next filter."""
        assert self.records is not None
        at, length = self.records.lists[number]
        self.text.emit(
            f"%list{number} = add i64 %actions, {at}",
            f'%answer{number} = call i64 @"{RUN_ACTIONS}"(i64 %list{number}, i64 {length},'
            " i64 %skb.int, i64 %clock, i64 %random)",
            f"%on{number} = icmp slt i64 %answer{number}, 0",
            f"br i1 %on{number}, label %{following}, label %acted{number}",
            f"acted{number}:",
            "br label %settle",
        )
        self._acted.append(number)

    def _settle(self, chains: Mapping[int, object]) -> None:
        """What becomes of an answer of actions that is not negative: `Block.classify`."""
        emit = self.text.emit
        answers = ", ".join(f"[ %answer{number}, %acted{number} ]" for number in self._acted)
        decided = ", ".join(f"[ %o{number}, %acted{number} ]" for number in self._acted)
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
            "%answer.up = add i64 %answer, 1",
            f"%answer.low = and i64 %answer.up, {VERDICT_MASK}",
            f"%answer.verdict = shl i64 %answer.low, {VERDICT_SHIFT}",
            "%answered = or i64 %decided, %answer.verdict",
            "br label %end",
        )
        self._outcomes += [("%shot", "over"), ("%answered", "decide")]
