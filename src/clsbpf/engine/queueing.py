"""What a packet that goes out meets after clsact: the root qdisc of its device, and its classes.

A run puts packets into the very qdiscs that `tc -s class show` shows, so their counters grow with every
run; what one run put there is the difference (`classes`).

Mirrors __dev_xmit_skb() and qdisc_pkt_len_init() of net/core/dev.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..skb import Skb
from ..tc import ids
from ..tc.act import TcAct
from ..tc.chain import Block
from ..tc.qdiscs.htb import Htb, HtbClass
from ..tc.qdiscs.passage import Passage
from ..tc.qdiscs.prio import Prio
from ..tc.qdiscs.qdisc import Qdisc, QdiscStats, walk_qdiscs


def goes_on(answer: int) -> bool:
    """sch_handle_egress(): is a packet of which clsact says this queued?"""
    return answer not in _TAKEN


_TAKEN = frozenset({TcAct.SHOT, TcAct.STOLEN, TcAct.QUEUED, TcAct.TRAP, TcAct.REDIRECT})


def blocks_of(root: Qdisc | None) -> Iterator[tuple[int, Block]]:
    """The blocks that packets may meet below a root, each with the parent of its filters (a classid)."""
    for qdisc in walk_qdiscs(root) if root is not None else ():
        if isinstance(qdisc, Htb):
            yield qdisc.handle, qdisc.own_block
            for class_ in qdisc.walk():
                yield class_.classid, class_.block
        else:
            yield from ((qdisc.handle, block) for block in qdisc.blocks)


def chooses(root: Qdisc) -> bool:
    """Is there something to choose for a packet, at the root or below?"""
    return any(qdisc.chooses for qdisc in walk_qdiscs(root))


def has_estimator(root: Qdisc) -> bool:
    """Must what passes a root be counted when it passes, since somebody reckons how fast it comes?"""
    qdiscs = list(walk_qdiscs(root))
    classes = (class_ for qdisc in qdiscs for class_ in qdisc.walk() if isinstance(class_, HtbClass))
    counters = [*(qdisc.stats for qdisc in qdiscs), *(class_.stats for class_ in classes)]
    return any(each.estimator is not None for each in counters)


def transmit(root: Qdisc, skb: Skb) -> Passage:
    """The packet is queued, and sent; `skb.wire_len` is what qdisc_pkt_len_init() made it.

    (Only a root qdisc may have a size table.)
    """
    passage = Passage()
    if root.stab is not None:
        skb.wire_len = root.stab.size(skb.len)
    passage.dropped = not root.enqueue(skb, passage)
    return passage


class Queueing:
    """The root qdisc of the device that packets leave by, for one run."""

    def __init__(self, root: Qdisc) -> None:
        self.root = root
        self._before = {classid: (s.packets, s.bytes) for classid, s in _class_stats(root)}

    def classes(self) -> dict[int, tuple[int, int]]:
        """The packets and bytes that this run put into each class, by classid."""
        counts: dict[int, tuple[int, int]] = {}
        for classid, stats in _class_stats(self.root):
            packets, size = self._before.get(classid, (0, 0))
            counts[classid] = stats.packets - packets, stats.bytes - size
        return counts


def _class_stats(root: Qdisc) -> Iterator[tuple[int, QdiscStats]]:
    """The counters of all classes that have some, by classid."""
    for qdisc in walk_qdiscs(root):
        count = _CLASS_STATS.get(type(qdisc))
        if count is not None:
            yield from (count(qdisc, class_) for class_ in qdisc.walk())


def _htb_class(qdisc: Any, class_: Any) -> tuple[int, QdiscStats]:
    return class_.classid, class_.stats


def _prio_class(qdisc: Any, class_: Any) -> tuple[int, QdiscStats]:
    """A band has the counters of its queue."""
    return ids.make(qdisc.handle, class_.number), qdisc.leaf(class_).stats


_CLASS_STATS = {Htb: _htb_class, Prio: _prio_class}
