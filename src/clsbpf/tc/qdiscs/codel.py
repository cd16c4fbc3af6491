"""codel and fq_codel: queues that drop what has waited too long.

fq_codel divides packets among flows, by a hash or as its filters say: a classid's minor is the number of
a flow, and a filter that names none loses the packet.  Flows are classes, of which there are never any to
see here: nothing waits, so nothing has waited too long either.

Mirrors net/sched/sch_codel.c and net/sched/sch_fq_codel.c.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...skb import Skb
from .. import ids
from ..act import TcAct
from ..chain import Block
from ..result import ClassifyResult
from .fifo import Queue
from .passage import Passage
from .qdisc import Qdisc, QdiscHome

CODEL, FQ_CODEL = "codel", "fq_codel"
U32 = 0xFFFFFFFF
_SHIFT = 10
"""CODEL_SHIFT: the unit of time is 1024 ns."""
DISABLED = 0x7FFFFFFF
"""CODEL_DISABLED_THRESHOLD, in that unit."""

_STOLEN = (TcAct.STOLEN, TcAct.QUEUED, TcAct.TRAP)


def codel_time(microseconds: int) -> int:
    """Microseconds in codel's unit, which is somewhat coarser."""
    return microseconds * 1000 >> _SHIFT


def microseconds(time: int) -> int:
    """codel_time_to_us()."""
    return (time << _SHIFT) // 1000 & U32


@dataclass(slots=True)
class CodelParams:
    """struct codel_params, times in codel's unit; as codel_params_init() makes it."""

    target: int = codel_time(5_000)
    interval: int = codel_time(100_000)
    ce_threshold: int = DISABLED
    ce_threshold_selector: int = 0
    ce_threshold_mask: int = 0
    ecn: bool = False


@dataclass(slots=True, eq=False)
class Codel(Queue):
    """struct codel_sched_data.  `limit` in packets."""

    params: CodelParams = field(default_factory=CodelParams)
    limit: int = 1000

    def enqueue(self, skb: Skb, passage: Passage) -> bool:
        """codel_qdisc_enqueue(), and codel_qdisc_dequeue() at once."""
        if not self.limit:
            self.stats.drops += 1
            return False
        self.stats.add(skb.wire_len)
        return True


@dataclass(slots=True, eq=False)
class FqCodel(Qdisc):
    """struct fq_codel_sched_data.  `limit` in packets, `quantum` and `memory_limit` in bytes."""

    home: QdiscHome = field(kw_only=True)
    params: CodelParams = field(default_factory=lambda: CodelParams(ecn=True))
    limit: int = 10 * 1024
    flows: int = 1024
    quantum: int = field(init=False)
    drop_batch: int = 64
    memory_limit: int = 32 << 20
    own_block: Block = field(init=False)

    def __post_init__(self) -> None:
        self.quantum = self.home.mtu
        self.own_block = self.home.new_block(self)

    @property
    def has_classes(self) -> bool:
        """Its flows, while packets wait in them: there are none to be seen."""
        return True

    @property
    def chooses(self) -> bool:
        """Has it filters?  Without, a packet's flow is found by a hash."""
        chain = self.own_block.find_chain(0)
        return chain is not None and bool(chain.classifiers)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Its own."""
        return (self.own_block,)

    def block(self, class_: object) -> Block | None:
        """fq_codel_tcf_block()."""
        return self.own_block if class_ is None else None

    def bind(self, classid: int, parent: int) -> None:
        """fq_codel_bind(): flows are not bound to."""

    def unbind(self, class_: object) -> None:
        """fq_codel_unbind()."""

    def destroy(self) -> None:
        """fq_codel_destroy()."""
        self.own_block.flush()

    def _has_flow(self, skb: Skb, passage: Passage) -> bool:
        """fq_codel_classify(): does the packet come to a flow?"""
        if ids.major(skb.priority) == self.handle and 0 < ids.minor(skb.priority) <= self.flows:
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
        return answer != TcAct.SHOT and 0 < ids.minor(result.classid) <= self.flows

    def enqueue(self, skb: Skb, passage: Passage) -> bool:
        """fq_codel_enqueue(), and fq_codel_dequeue() at once."""
        if not self._has_flow(skb, passage) or not self.limit:
            self.stats.drops += not passage.stolen
            return False
        self.stats.add(skb.wire_len)
        return True
