"""sfq: flows take turns.

Mirrors sfq_init() and sfq_change() of net/sched/sch_sfq.c.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

from ...errors import NetlinkError
from .flows import FlowQueue

SFQ = "sfq"
MAX_DEPTH = 127
MAX_FLOWS = 0x10000 - MAX_DEPTH - 1
DEFAULT_FLOWS = 128
DEFAULT_DIVISOR = 1024
BIGGEST_DIVISOR = 65536


@dataclass(frozen=True, slots=True)
class Red:
    """struct red_parms as a request has it: within a flow, packets are dropped at random, ever more of them
    between `qth_min` and `qth_max` bytes."""

    qth_min: int
    qth_max: int
    wlog: int
    plog: int
    scell_log: int
    max_p: int


@dataclass(slots=True, eq=False)
class Sfq(FlowQueue):
    """struct sfq_sched_data.  `depth` is the most packets of a flow, `perturb` in seconds."""

    limit: int = MAX_DEPTH
    flows: int = DEFAULT_FLOWS
    depth: int = MAX_DEPTH
    divisor: int = DEFAULT_DIVISOR
    perturb: int = 0
    headdrop: bool = False
    flags: int = 0
    red: Red | None = field(default=None)

    @property
    def last_flow(self) -> int:
        """Slots of the hash have numbers, not flows."""
        return self.divisor

    def size(self, *, limit: int, flows: int, depth: int, divisor: int) -> None:
        """What a request says of sizes, 0 for nothing; NetlinkError EINVAL, and nothing has changed."""
        depth = min(depth, MAX_DEPTH) if depth else self.depth
        flows = min(flows, MAX_FLOWS) if flows else self.flows
        if divisor:
            flows = min(flows, divisor)
        limit_now = self.limit
        if limit:
            limit_now = min(limit, depth * flows)
            flows = min(flows, limit_now)
        if limit_now == 1:
            raise NetlinkError(errno.EINVAL, "sch_sfq: invalid limit")
        self.limit, self.flows, self.depth, self.divisor = limit_now, flows, depth, divisor or self.divisor
