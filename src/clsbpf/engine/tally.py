"""What has been counted so far, over all captures, link types and versions of a block.

A walk counts in native memory, by the numbers that its plan gives to filters.  When the plan changes
(another link type, a changed filter) and at the end, those counts are drained into a `Tally`, where
a filter is known by what a user calls it: parent, chain, pref, protocol and handle.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..link import LinkLayer
from ..tc.filter import Filter
from .plan import Plan
from .planned import PlannedFilter
from .results import VERDICT_NAMES, ClassCount, FilterCount, Results
from .walk_state import CLASS_ENTRY, CLASS_SLOTS, END_BYTES, Cells, Counters, State

if TYPE_CHECKING:
    from .passages import Node

ETH_P_NAMES = {
    0x0003: "all",
    0x0800: "ip",
    0x86DD: "ipv6",
    0x0806: "arp",
    0x8100: "802.1Q",
    0x88A8: "802.1ad",
}


@dataclass(slots=True)
class Count:
    """Packets and bytes on the wire."""

    packets: int = 0
    bytes: int = 0

    def add(self, packets: int, bytes: int) -> None:
        """Count more."""
        self.packets += packets
        self.bytes += bytes


FilterKey = tuple[int, int, int, int, int]
"""parent (0 at clsact's hook), chain, prio, protocol, handle"""


def key_of(planned: PlannedFilter) -> FilterKey:
    """What a user calls the filter."""
    classifier = planned.classifier
    return planned.parent, planned.chain, classifier.prio, classifier.protocol, planned.filter.handle


@dataclass(slots=True)
class Tally:
    """The counts of a run."""

    packets: int = 0
    bytes: int = 0
    truncated: int = 0
    undecided: int = 0
    faulted: int = 0
    filters: dict[FilterKey, Count] = field(default_factory=dict)
    described: dict[FilterKey, Filter] = field(default_factory=dict)
    verdicts: dict[int, int] = field(default_factory=dict)
    classes: dict[int, Count] = field(default_factory=dict)
    ends: dict[Node, list[int]] = field(default_factory=dict)
    """Where packets' ways through a root qdisc ended: packets and bytes sent, packets and bytes lost."""
    links: dict[int, LinkLayer] = field(default_factory=dict)
    """The link types that packets had."""

    def expect(self, plan: Plan) -> None:
        """List the plan's filters, in its order, even if they decide nothing."""
        for planned in plan.filters:
            self.filters.setdefault(key_of(planned), Count())
            self.described[key_of(planned)] = planned.filter

    def drain(self, plan: Plan, state: Cells, filters: Counters, verdicts: Counters, ends: Counters) -> None:
        """Take over what a walk counted, and set its counters to 0."""
        if state[State.PACKETS]:
            self.links.setdefault(plan.view.link.number, plan.view.link)
        self.packets += state[State.PACKETS]
        self.bytes += state[State.BYTES]
        self.truncated += state[State.TRUNCATED]
        state[State.PACKETS] = state[State.BYTES] = state[State.TRUNCATED] = 0
        self.undecided += filters.counts[0]
        known = len(filters.counts) // 2 - 1  # the plan may have got filters since
        for number, planned in enumerate(plan.filters[:known], 1):
            packets, size = filters.counts[2 * number : 2 * number + 2]
            self.filters[key_of(planned)].add(packets, size)
            if packets and not plan.counts_classes and planned.filter.classid:
                self.classes.setdefault(planned.filter.classid, Count()).add(packets, size)
        for verdict, packets in enumerate(verdicts, -1):
            if packets:
                self.verdicts[verdict] = self.verdicts.get(verdict, 0) + packets
        width = END_BYTES // 8
        for node in plan.ends:
            self._count_ends(node, ends.counts[node.number * width : (node.number + 1) * width])
        for counters in (filters, verdicts, ends):
            counters.clear()

    def _count_ends(self, node: Node, counts: Sequence[int]) -> None:
        mine = self.ends.setdefault(node, [0] * len(counts))
        mine[:] = map(operator.add, mine, counts)

    def settle_ends(self) -> None:
        """Count in the qdiscs and classes themselves what was counted natively."""
        for node, (packets, size, lost, _) in self.ends.items():
            node.sent(packets, size)
            node.lost(lost)
        self.ends.clear()

    def merge(self, other: Tally) -> None:
        """Add what another walk counted."""
        self.packets += other.packets
        self.bytes += other.bytes
        self.truncated += other.truncated
        self.undecided += other.undecided
        for key, count in other.filters.items():
            self.filters.setdefault(key, Count()).add(count.packets, count.bytes)
        for verdict, packets in other.verdicts.items():
            self.verdicts[verdict] = self.verdicts.get(verdict, 0) + packets
        for classid, count in other.classes.items():
            self.classes.setdefault(classid, Count()).add(count.packets, count.bytes)
        for node, counts in other.ends.items():
            self._count_ends(node, counts)
        self.described |= other.described
        self.links |= other.links

    def drain_classes(self, state: Cells, classes: Counters) -> None:
        """Take over the class table, and empty it."""
        width = CLASS_ENTRY // 8
        for slot in range(CLASS_SLOTS):
            classid, packets, size = classes.counts[slot * width : slot * width + width]
            if classid:
                self.classes.setdefault(classid, Count()).add(packets, size)
        classes.clear()
        state[State.CLASSES_USED] = 0

    def results(
        self,
        *,
        seconds: float,
        plan_seconds: float,
        matches: Callable[[int, Filter], str],
        warnings: Iterable[str],
        batches: Iterable[object] | None,
    ) -> Results:
        """The counts as `Results`; `matches` says what a filter of a prio matches, for a reader."""
        return Results(
            packets=self.packets,
            bytes=self.bytes,
            truncated=self.truncated,
            seconds=seconds,
            plan_seconds=plan_seconds,
            filters=tuple(
                FilterCount(
                    chain=chain,
                    pref=prio,
                    protocol=ETH_P_NAMES.get(protocol, f"[{protocol}]"),
                    handle=handle,
                    flowid=self.described[key].classid,
                    name=self.described[key].name,
                    matches=matches(prio, self.described[key]),
                    packets=count.packets,
                    bytes=count.bytes,
                    parent=parent,
                )
                for key, count in self.filters.items()
                for parent, chain, prio, protocol, handle in [key]
            ),
            verdicts={VERDICT_NAMES[value]: self.verdicts.get(value, 0) for value in VERDICT_NAMES},
            classes=tuple(
                ClassCount(classid, count.packets, count.bytes)
                for classid, count in sorted(self.classes.items())
            ),
            undecided=self.undecided,
            faulted=self.faulted,
            link_types=tuple(link.name for link in self.links.values()),
            warnings=tuple(warnings),
            batches=None if batches is None else tuple(batches),
        )
