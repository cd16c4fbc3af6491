"""A block's filters, tried one after the other: `Classifier.classify` written out as LLVM IR."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..bpf.insn import Insn
from ..tc.act import TcAct
from ..tc.chain import ETH_P_ALL
from ..tc.filter import Classifier
from ..verifier.program import VerifiedProgram
from .planned import PlannedFilter
from .view import SkbText
from .walk_state import FILTER_SHIFT, READ_PAST_SHIFT, UNDECIDED, VERDICT_SHIFT

DIRECT_VERDICTS = sum(1 << act for act in (TcAct.OK, TcAct.SHOT, TcAct.STOLEN, TcAct.TRAP, TcAct.REDIRECT))
"""A bit for each verdict that a direct-action program may give (cls_bpf_exec_opcode)."""


def numbered(filters: Sequence[PlannedFilter]) -> Iterator[tuple[int, PlannedFilter]]:
    """The filters that a packet may meet, with their numbers: only actions lead out of chain 0."""
    for number, planned in enumerate(filters):
        if planned.chain == 0 and not planned.filter.skip_sw:
            yield number, planned


class LinearText:
    """`classify` for filters in order.  `programs` are those that it calls, each once, by function name."""

    def __init__(self, text: SkbText, filters: Sequence[PlannedFilter]) -> None:
        self.text = text
        self.filters = filters
        self.programs: dict[str, VerifiedProgram] = {}
        self._names: dict[tuple[Insn, ...], str] = {}
        self._outcomes: list[tuple[str, str]] = []

    def definition(self) -> str:
        """The function."""
        emit = self.text.emit
        emit("%skb = alloca [256 x i8], align 16")
        self.text.read_frame()
        self.text.fill_skb()
        groups: dict[Classifier, list[tuple[int, PlannedFilter]]] = {}
        for number, planned in numbered(self.filters):
            groups.setdefault(planned.classifier, []).append((number, planned))
        emit("br label %c0" if groups else "br label %none")
        for index, (classifier, group) in enumerate(groups.items()):
            following = f"c{index + 1}" if index + 1 < len(groups) else "none"
            emit(f"c{index}:")
            if classifier.protocol != ETH_P_ALL:
                emit(
                    f"%is{index} = icmp eq i64 %outer, {classifier.protocol}",
                    f"br i1 %is{index}, label %c{index}.in, label %{following}",
                    f"c{index}.in:",
                )
            emit(f"br label %f{group[0][0]}")
            after = [f"f{number}" for number, _ in group[1:]] + [following]
            for (number, planned), next_label in zip(group, after, strict=True):
                self._filter(planned, number, next_label)
        emit("none:", "br label %end", "end:")
        self._outcomes.append((str(UNDECIDED), "none"))
        sources = ", ".join(f"[ {value}, %{label} ]" for value, label in self._outcomes)
        emit(f"%outcome = phi i64 {sources}")
        self.text.return_outcome(READ_PAST_SHIFT)
        return self.text.definition()

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
            emit(
                f"%match{number} = icmp eq i32 %r{number}, -1",
                f"%class{number} = select i1 %match{number}, i64 {each.classid}, i64 %w{number}",
                f"%o{number} = or i64 %class{number}, {base | TcAct.OK + 1 << VERDICT_SHIFT}",
                f"%none{number} = icmp eq i32 %r{number}, 0",
                f"br i1 %none{number}, label %{following}, label %d{number}",
            )
        emit(f"d{number}:", "br label %end")
        self._outcomes.append((f"%o{number}", f"d{number}"))
