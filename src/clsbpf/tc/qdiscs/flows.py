"""Qdiscs that divide packets among flows, so that no flow fills the queue alone: fq_codel, sfq.

A hash says which flow a packet is of, or filters do: a classid's minor is the number of a flow, and a filter
that names none loses the packet.  Flows are classes while packets wait in them: here there are never any
to see.

Mirrors what net/sched/sch_fq_codel.c and net/sched/sch_sfq.c have in common.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...skb import Skb
from .. import ids
from ..act import TcAct
from ..chain import Block
from ..result import ClassifyResult
from .passage import Passage
from .qdisc import Qdisc, QdiscHome

_STOLEN = (TcAct.STOLEN, TcAct.QUEUED, TcAct.TRAP)


@dataclass(slots=True, eq=False)
class FlowQueue(Qdisc):
    """A qdisc with flows.  `limit` in packets, `quantum` in bytes."""

    home: QdiscHome = field(kw_only=True)
    limit: int = 0
    quantum: int = field(init=False)
    own_block: Block = field(init=False)

    def __post_init__(self) -> None:
        self.quantum = self.home.mtu
        self.own_block = self.home.new_block(self)

    @property
    def last_flow(self) -> int:
        """Flows are numbered from 1 to this."""
        raise NotImplementedError

    @property
    def has_classes(self) -> bool:
        """Its flows."""
        return True

    @property
    def chooses(self) -> bool:
        """Has it filters?"""
        chain = self.own_block.find_chain(0)
        return chain is not None and bool(chain.classifiers)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Its own."""
        return (self.own_block,)

    def block(self, class_: object) -> Block | None:
        """fq_codel_tcf_block(), sfq_tcf_block()."""
        return self.own_block if class_ is None else None

    def bind(self, classid: int, parent: int) -> None:
        """fq_codel_bind(), sfq_bind(): flows are not bound to."""

    def unbind(self, class_: object) -> None:
        """fq_codel_unbind(), sfq_unbind()."""

    def destroy(self) -> None:
        """fq_codel_destroy(), sfq_destroy()."""
        self.own_block.flush()

    def _has_flow(self, skb: Skb, passage: Passage) -> bool:
        """fq_codel_classify(), sfq_classify(): does the packet come to a flow?"""
        if ids.major(skb.priority) == self.handle and 0 < ids.minor(skb.priority) <= self.last_flow:
            return True
        if not self.chooses:
            return True
        result = ClassifyResult()
        answer = self.own_block.classify(skb, result)
        passage.decided(answer, result)
        if answer < 0:
            return False
        if answer in _STOLEN:
            passage.stolen = True
            return False
        return answer != TcAct.SHOT and 0 < ids.minor(result.classid) <= self.last_flow

    def enqueue(self, skb: Skb, passage: Passage) -> bool:
        """fq_codel_enqueue(), sfq_enqueue(), and dequeue at once."""
        if not self._has_flow(skb, passage) or not self.limit:
            self.stats.drops += not passage.stolen
            return False
        self.stats.add(skb.wire_len)
        return True
