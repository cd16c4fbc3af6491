"""codel and fq_codel: queues that drop what has waited too long.  Here nothing waits.

Mirrors net/sched/sch_codel.c and net/sched/sch_fq_codel.c.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...skb import Skb
from .fifo import Queue
from .flows import FlowQueue
from .passage import Passage

CODEL, FQ_CODEL = "codel", "fq_codel"
U32 = 0xFFFFFFFF
_SHIFT = 10
"""CODEL_SHIFT: the unit of time is 1024 ns."""
DISABLED = 0x7FFFFFFF
"""CODEL_DISABLED_THRESHOLD, in that unit."""


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
class FqCodel(FlowQueue):
    """struct fq_codel_sched_data.  `memory_limit` in bytes."""

    params: CodelParams = field(default_factory=lambda: CodelParams(ecn=True))
    limit: int = 10 * 1024
    flows: int = 1024
    drop_batch: int = 64
    memory_limit: int = 32 << 20

    @property
    def last_flow(self) -> int:
        """As many as there are."""
        return self.flows
