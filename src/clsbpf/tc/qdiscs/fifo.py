"""Qdiscs without classes: pfifo, bfifo and pfifo_head_drop, pfifo_fast, noqueue, and noop, which is no qdisc.

Each class of a classful qdisc has a pfifo of its own unless a request puts something else there.

Mirrors net/sched/sch_fifo.c, and pfifo_fast and noqueue of net/sched/sch_generic.c.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...skb import Skb
from .passage import Passage
from .qdisc import Qdisc, QdiscHome

PFIFO, BFIFO, PFIFO_HEAD_DROP = "pfifo", "bfifo", "pfifo_head_drop"
FIFOS = (PFIFO, BFIFO, PFIFO_HEAD_DROP)
PFIFO_FAST = "pfifo_fast"
NOQUEUE = "noqueue"
NOOP = "noop"

PFIFO_FAST_BANDS = 3
PRIO2BAND = bytes((1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1))
"""The band of each priority: pfifo_fast's, and tc's default for prio."""

U32 = 0xFFFFFFFF


@dataclass(slots=True, eq=False)
class Queue(Qdisc):
    """A queue, which is always empty here: pfifo_fast, noqueue (which nothing passes in the kernel)."""

    def enqueue(self, skb: Skb, passage: Passage) -> bool:
        """The packet is sent at once."""
        if self.kind != NOQUEUE:
            self.stats.add(skb.wire_len)
        return True


@dataclass(slots=True, eq=False)
class Fifo(Queue):
    """A queue with a limit, in packets or (bfifo) bytes."""

    limit: int = 0

    def enqueue(self, skb: Skb, passage: Passage) -> bool:
        """pfifo_enqueue(), bfifo_enqueue(), pfifo_tail_enqueue(), with an empty queue."""
        if self.limit < (skb.wire_len if self.kind == BFIFO else 1):
            self.stats.drops += 1
            return False
        self.stats.add(skb.wire_len)
        return True


@dataclass(slots=True, eq=False)
class Noop(Qdisc):
    """noop_qdisc: where there is none, packets are lost."""

    def enqueue(self, skb: Skb, passage: Passage) -> bool:
        """noop_enqueue()."""
        return False


def noop(parent: int) -> Noop:
    """noop_qdisc, which no listing shows."""
    return Noop(NOOP, 0, parent, invisible=True)


def usual_limit(kind: str, home: QdiscHome) -> int:
    """fifo_init() without options."""
    return home.tx_queue_len * (home.mtu if kind == BFIFO else 1) & U32


def usual_queue(parent: int, home: QdiscHome) -> Fifo:
    """qdisc_create_dflt() of a pfifo: a class's queue; nobody named it, so it has no handle."""
    return Fifo(PFIFO, 0, parent, limit=usual_limit(PFIFO, home))
