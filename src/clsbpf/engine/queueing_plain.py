"""Which root qdiscs need no packet-by-packet walk, and what native counts say of their classes.

Where the filters of the root qdisc itself alone decide, and only choose, a packet's class follows from the
classid that it was given: the classid's class, if that is a leaf, else the default.  The filters are then
an ordinary native plan, and what it counted by classid is put into the classes afterwards.

Mirrors htb_classify() and prio_classify(), for packets whose priority is 0.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..tc import ids
from ..tc.actions import NO_ACTIONS
from ..tc.chain import Block
from ..tc.qdiscs.codel import Codel
from ..tc.qdiscs.fifo import BFIFO, Fifo, Queue
from ..tc.qdiscs.flows import FlowQueue
from ..tc.qdiscs.htb import Htb, HtbClass
from ..tc.qdiscs.prio import Band, Prio
from ..tc.qdiscs.qdisc import Qdisc
from .planned import planned_filters
from .programs import LoadedProgram
from .queueing import Queueing, blocks_of, has_estimator

if TYPE_CHECKING:
    from .results import Batch
    from .tally import Tally

LONGEST = 1 << 20
"""Bytes that a queue must have room for, to lose no packet: more than a capture's longest."""


def plain_block(root: Qdisc) -> Block | None:
    """The filters of a plain root qdisc, None for one that is not plain."""
    return root.own_block if isinstance(root, Htb | Prio) and is_plain(root) else None


def is_plain(root: Htb | Prio) -> bool:
    """Does the classid that the root's own filters give say all about a packet's class?

    They must be classic programs (which change nothing of a packet) without actions and direct action, and
    every class must be of the root and have a queue that takes what comes.
    """
    if root.stab is not None or (isinstance(root, Htb) and not root.direct_qlen) or has_estimator(root):
        return False
    if any(block is not root.own_block and any(planned_filters(block)) for _, block in blocks_of(root)):
        return False
    leaves = (root.leaf(class_) for class_ in root.walk())  # type: ignore[arg-type]
    if not all(leaf is None or _takes_all(leaf) for leaf in leaves):
        return False
    for planned in planned_filters(root.own_block):
        program = planned.filter.program
        if not isinstance(program, LoadedProgram) or program.classic is None or not planned.is_native:
            return False
        if planned.filter.actions is not NO_ACTIONS or planned.filter.direct_action:
            return False
    return True


def _takes_all(queue: Qdisc) -> bool:
    if isinstance(queue, Codel | FlowQueue):
        return bool(queue.limit) and not queue.chooses
    if not isinstance(queue, Queue):
        return False
    return not isinstance(queue, Fifo) or queue.limit >= (LONGEST if queue.kind == BFIFO else 1)


class PlainQueueing(Queueing):
    """A plain root qdisc, for one run."""

    root: Htb | Prio

    @property
    def block(self) -> Block:
        """The filters that choose."""
        return self.root.own_block

    def place(self, classid: int) -> HtbClass | Band | None:
        """The class of a packet that was given a classid (0: none); None: past the classes."""
        root = self.root
        if isinstance(root, Prio):
            return root.find(classid) or Band(root.priomap[0] + 1)
        if classid == root.handle:
            return None
        for wanted in (classid, ids.make(root.handle, root.defcls)):
            class_ = root.find(wanted)
            if class_ is not None and not class_.level:
                return class_
        return None

    def placed(self, batch: Batch) -> Batch:
        """The rows, with the packets' classes."""
        import numpy as np

        found, which = np.unique(batch.classid, return_inverse=True)
        classids = [self._classid(self.place(int(classid))) for classid in found]
        return replace(batch, classid=np.array(classids, np.uint32)[which])

    def _classid(self, class_: HtbClass | Band | None) -> int:
        if class_ is None:
            return 0
        return class_.classid if isinstance(class_, HtbClass) else ids.make(self.root.handle, class_.number)

    def settle(self, tally: Tally) -> None:
        """Put what was counted by classid into the classes."""
        packets, size = tally.packets, tally.bytes
        for classid, count in tally.classes.items():
            self._add(classid, count.packets, count.bytes)
            packets -= count.packets
            size -= count.bytes
        self._add(0, packets, size)

    def _add(self, classid: int, packets: int, size: int) -> None:
        root, class_ = self.root, self.place(classid)
        root.stats.add(size, packets)
        if isinstance(root, Prio):
            assert isinstance(class_, Band)
            root.leaf(class_).stats.add(size, packets)
        elif class_ is None:
            root.direct_packets += packets
        else:
            assert isinstance(class_, HtbClass)
            assert class_.queue is not None
            class_.lends += packets
            class_.queue.stats.add(size, packets)
            each: HtbClass | None = class_
            while each is not None:
                each.stats.add(size, packets)
                each = each.parent
