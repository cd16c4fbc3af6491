"""prio: up to 16 bands; what is in the first goes out before the second, and so on.

Its classes are its bands, `1:1` the first.  A packet's band is what its filters say, or its priority
by the *priomap*; a priority that is a classid of this qdisc names the band itself.

Mirrors net/sched/sch_prio.c.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field

from ...errors import NetlinkError
from ...skb import Skb
from .. import ids
from ..act import TcAct
from ..chain import Block
from ..result import ClassifyResult
from .fifo import usual_queue
from .passage import Passage
from .qdisc import Qdisc, QdiscHome

PRIO = "prio"
MIN_BANDS, MAX_BANDS = 2, 16
PRIO_MAX = 15
"""TC_PRIO_MAX."""


@dataclass(frozen=True, slots=True)
class Band:
    """A class of prio: band `number`, from 1."""

    number: int


_STOLEN = (TcAct.STOLEN, TcAct.QUEUED, TcAct.TRAP)


@dataclass(slots=True, eq=False)
class Prio(Qdisc):
    """struct prio_sched_data.  `bands` and `priomap` (16 bytes) are set by `tune`."""

    home: QdiscHome = field(kw_only=True)
    bands: int = 0
    priomap: bytes = bytes(16)
    own_block: Block = field(init=False)
    queues: list[Qdisc] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.own_block = self.home.new_block(self)

    @staticmethod
    def check(bands: int, priomap: bytes) -> None:
        """NetlinkError EINVAL where prio_tune() takes no such bands or map."""
        if not MIN_BANDS <= bands <= MAX_BANDS or any(band >= bands for band in priomap):
            raise NetlinkError(errno.EINVAL)

    def tune(self, bands: int, priomap: bytes) -> None:
        """prio_tune(): bands that are no more lose their queues, new ones get theirs."""
        self.check(bands, priomap)
        gone, self.queues = self.queues[bands:], self.queues[:bands]
        for queue in gone:
            self._put(queue)
        for number in range(len(self.queues) + 1, bands + 1):
            queue = usual_queue(ids.make(self.handle, number), self.home)
            queue.invisible = True
            self.home.table.add(queue)
            self.queues.append(queue)
        self.bands, self.priomap = bands, priomap

    # classes

    @property
    def has_classes(self) -> bool:
        """It has."""
        return True

    def find(self, classid: int) -> Band | None:
        """prio_find(): the minor says the band; the major is not looked at."""
        number = ids.minor(classid)
        return Band(number) if 1 <= number <= self.bands else None

    def walk(self) -> Iterator[Band]:
        """prio_walk()."""
        return (Band(number) for number in range(1, self.bands + 1))

    def leaf(self, class_: Band) -> Qdisc:
        """prio_leaf()."""
        return self.queues[class_.number - 1]

    def graft(self, class_: Band, new: Qdisc | None) -> Qdisc:
        """prio_graft()."""
        if new is None:
            new = usual_queue(ids.make(self.handle, class_.number), self.home)
            new.invisible = True
            self.home.table.add(new)
        old, self.queues[class_.number - 1] = self.queues[class_.number - 1], new
        return old

    def _put(self, queue: Qdisc) -> None:
        """qdisc_put()."""
        self.home.table.remove(queue)
        queue.destroy()

    def destroy(self) -> None:
        """prio_destroy()."""
        self.own_block.flush()
        for queue in self.queues:
            self._put(queue)

    # filters

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Its own."""
        return (self.own_block,)

    def block(self, class_: Band | None) -> Block | None:
        """prio_tcf_block(): bands have no filters."""
        return self.own_block if class_ is None else None

    def bind(self, classid: int, parent: int) -> Band | None:
        """prio_bind(): bands do not count who points to them."""
        return self.find(classid)

    def unbind(self, class_: object) -> None:
        """prio_unbind()."""

    # packets

    def classify(self, skb: Skb, passage: Passage) -> int | None:
        """prio_classify(): the band, from 0; None when a filter dropped (counted here) or took the packet."""
        band = skb.priority
        if ids.major(band) != self.handle:
            result = ClassifyResult()
            answer = self.own_block.classify(skb, result)
            passage.decided(answer, result)
            if answer in _STOLEN:
                passage.stolen = True
                return None
            if answer == TcAct.SHOT:
                self.stats.drops += 1
                return None
            if answer < 0:
                return self.priomap[0 if ids.major(band) else band & PRIO_MAX]
            band = result.classid
        number = ids.minor(band)
        return number - 1 if 1 <= number <= self.bands else self.priomap[0]

    def enqueue(self, skb: Skb, passage: Passage) -> bool:
        """prio_enqueue(), and prio_dequeue() at once."""
        band = self.classify(skb, passage)
        if band is None:
            return False
        passage.classified(ids.make(self.handle, band + 1))
        if not self.queues[band].enqueue(skb, passage):
            self.stats.drops += not passage.stolen
            return False
        self.stats.add(skb.wire_len)
        return True
