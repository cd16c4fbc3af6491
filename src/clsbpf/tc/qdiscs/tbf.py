"""tbf: all packets at a rate, by a bucket of tokens.

It has one class, whatever it is called, with the queue in which packets wait: a bfifo, unless a request
puts something else there.  A packet longer than the bucket would wait for ever and is dropped.

Rates shape traffic in time, and time is not modelled: each packet finds tokens enough.

Mirrors net/sched/sch_tbf.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ...skb import Skb
from .. import ids
from ..rate import Rate
from .fifo import BFIFO, FIFOS, NOOP, Fifo, noop
from .passage import Passage
from .qdisc import Qdisc, QdiscHome

TBF = "tbf"
_CLASS = 1
"""Its only class."""


@dataclass(frozen=True, slots=True)
class TbfParams:
    """What a request wants: `buffer` and `mtu` (the bucket of the peak rate) in nanoseconds, `limit` and
    `max_size`, the longest packet, in bytes."""

    rate: Rate
    peak: Rate | None
    limit: int
    buffer: int
    mtu: int
    max_size: int


@dataclass(slots=True, eq=False)
class Tbf(Qdisc):
    """struct tbf_sched_data."""

    home: QdiscHome = field(kw_only=True)
    params: TbfParams = field(kw_only=True)
    queue: Qdisc = field(init=False)

    def __post_init__(self) -> None:
        self.queue = noop(self.handle)
        self.tune(self.params)

    def tune(self, params: TbfParams) -> None:
        """tbf_change(): a queue that is a fifo has the limit, too; the first is made where there is one."""
        self.params = params
        if isinstance(self.queue, Fifo):
            assert self.queue.kind in FIFOS
            self.queue.limit = params.limit
        elif self.queue.kind == NOOP and params.limit:
            self.queue = Fifo(BFIFO, 0, ids.make(self.handle, _CLASS), limit=params.limit, invisible=True)
            self.home.table.add(self.queue)

    # classes

    @property
    def has_classes(self) -> bool:
        """It has one."""
        return True

    @property
    def takes_filters(self) -> bool:
        """It has no block."""
        return False

    @property
    def chooses(self) -> bool:
        """One class is no choice."""
        return False

    def find(self, classid: int) -> int:
        """tbf_find(): any classid is its class."""
        return _CLASS

    def walk(self) -> Iterator[int]:
        """tbf_walk()."""
        yield _CLASS

    def leaf(self, class_: int) -> Qdisc:
        """tbf_leaf()."""
        return self.queue

    def graft(self, class_: int, new: Qdisc | None) -> Qdisc:
        """tbf_graft(): without another nothing is there, and packets are lost."""
        old, self.queue = self.queue, new or noop(ids.make(self.handle, _CLASS))
        return old

    def destroy(self) -> None:
        """tbf_destroy()."""
        self.home.table.remove(self.queue)
        self.queue.destroy()

    # packets

    def enqueue(self, skb: Skb, passage: Passage) -> bool:
        """tbf_enqueue(), and tbf_dequeue() at once."""
        if skb.wire_len > self.params.max_size or not self.queue.enqueue(skb, passage):
            self.stats.drops += not passage.stolen
            return False
        self.stats.add(skb.wire_len)
        return True
