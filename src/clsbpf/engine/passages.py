"""A root qdisc and what is below it, as a run finds it: where a packet's way through it may end.

Nothing waits in a qdisc here, so all that a packet's way changes follows from where it ends: in a qdisc that
sends it (a queue, or one with classes past them), or in one that drops it.  So native code
(queueing_text.py) counts ends, two for each qdisc, and those above are counted when somebody looks:

    1: htb ─▶ 1:1 ─▶ 1:10 ─▶ 10: pfifo ─▶ sent        sent by 10: also 1:10, 1:1 and 1: sent it
                       │        └───────▶ lost        lost by 10: 1:10 and 1: count a drop
                       └▶ (none) ─▶ sent past the classes

What a filter takes (stolen) ends nowhere: no counter knows of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..tc import ids
from ..tc.qdiscs.codel import Codel, FqCodel
from ..tc.qdiscs.fifo import NOOP, NOQUEUE, Fifo, Noop, Queue
from ..tc.qdiscs.flows import FlowQueue
from ..tc.qdiscs.htb import Htb, HtbClass
from ..tc.qdiscs.prio import Prio
from ..tc.qdiscs.qdisc import Qdisc, walk_qdiscs
from ..tc.qdiscs.sfq import Sfq
from ..tc.qdiscs.tbf import Tbf
from .planned import PlannedFilter, needs_order, planned_filters
from .queueing import blocks_of, has_estimator

if TYPE_CHECKING:
    from .devices import Network


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One qdisc of the tree; `above` is the node that it hangs on, in this class of it."""

    number: int
    qdisc: Qdisc
    above: tuple[Node, Any] | None

    @property
    def name(self) -> str:
        """The beginning of its labels."""
        return f"q{self.number}"

    @property
    def is_first(self) -> bool:
        """Has no qdisc above it chosen a class?"""
        return not any(owner.takes_filters for owner, _ in self._up())

    def sent(self, packets: int, size: int) -> None:
        """So many packets of so many bytes together were sent by it (by htb: past its classes)."""
        if isinstance(self.qdisc, Htb):
            self.qdisc.direct_packets += packets
        if self.qdisc.kind != NOQUEUE:
            self.qdisc.stats.add(size, packets)
        for owner, class_ in self._up():
            if isinstance(class_, HtbClass):
                class_.lends += packets
                each: HtbClass | None = class_
                while each is not None:
                    each.stats.add(size, packets)
                    each = each.parent
            owner.stats.add(size, packets)

    def lost(self, packets: int) -> None:
        """So many were dropped by it."""
        if self.qdisc.kind != NOOP:
            self.qdisc.stats.drops += packets
        for owner, class_ in self._up():
            if isinstance(class_, HtbClass):
                class_.stats.drops += packets
            owner.stats.drops += packets

    def _up(self) -> Iterator[tuple[Qdisc, Any]]:
        above = self.above
        while above is not None:
            node, class_ = above
            yield node.qdisc, class_
            above = node.above


class Tree:
    """The qdiscs from a root down as nodes, a node's `below` by its class; their filters."""

    def __init__(self, root: Qdisc, network: Network) -> None:
        self.nodes: list[Node] = []
        self.below: dict[tuple[Node, Any], Node] = {}
        self.root = self._add(root, None)
        self.blocks = dict(blocks_of(root))
        """The blocks by parent (a classid)."""
        self._network = network
        with network.lock:
            self._seen, self._made_of = network.changes, signature(root)

    def _add(self, qdisc: Qdisc, above: tuple[Node, Any] | None) -> Node:
        node = Node(len(self.nodes), qdisc, above)
        self.nodes.append(node)
        for class_ in qdisc.walk():
            leaf = qdisc.leaf(class_)
            if leaf is not None:
                self.below[node, class_] = self._add(leaf, (node, class_))
        return node

    @property
    def filters(self) -> Iterator[PlannedFilter]:
        """The filters, with their parents."""
        for parent, block in self.blocks.items():
            yield from planned_filters(block, parent)

    @property
    def is_stale(self) -> bool:
        """Has a qdisc, a class or a filter changed since?  (They do so by requests only.)"""
        if self._network.changes == self._seen:
            return False
        with self._network.lock:
            if signature(self.root.qdisc) != self._made_of:
                return True
            self._seen = self._network.changes
        return False


_SETTINGS = ("limit", "defcls", "direct_qlen", "bands", "priomap", "params")


def signature(root: Qdisc) -> tuple[object, ...]:
    """What a packet's way through the qdiscs depends on."""
    of_qdiscs = [
        (
            qdisc,
            qdisc.stab,
            *(getattr(qdisc, name, None) for name in _SETTINGS),
            *((class_, getattr(class_, "level", 0), qdisc.leaf(class_)) for class_ in qdisc.walk()),
        )
        for qdisc in walk_qdiscs(root)
    ]
    return (*of_qdiscs, *((block, block.generation) for _, block in blocks_of(root)))


NATIVE = (Htb, Prio, Tbf, Fifo, Queue, Codel, FqCodel, Sfq, Noop)
"""The qdiscs that native code knows (queueing_text.py): fq_codel and sfq without filters of their own."""


def obstacle(root: Qdisc) -> str | None:
    """Why packets must go through these qdiscs one by one, or None where they need not."""
    for qdisc in walk_qdiscs(root):
        if type(qdisc) not in NATIVE:
            return f"qdisc {qdisc.kind} is not native"
        if isinstance(qdisc, FlowQueue) and qdisc.chooses:
            return f"{qdisc.kind} has filters"
    if has_estimator(root):
        return "a qdisc or class has a rate estimator"
    for parent, block in blocks_of(root):
        reason = needs_order(block)
        if reason is not None:
            return f"{reason} (parent {ids.format_classid(parent)})"
    return None
