"""How fast do bytes and packets come?  A moving average: struct net_rate_estimator.

Every quarter of a second, times a power of two, what was counted since the last time is taken for the
rate of that interval, and mixed into the average with a weight of 2**-ewma_log.  The kernel has a timer
for it; here the intervals that have passed are made up for when somebody asks or counts, which comes to
the same because nothing is counted in between.

Mirrors net/core/gen_estimator.c.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass

from ..refusal import refusal
from .surroundings import NSEC_PER_SEC

_SHIFT = 8
"""Of the averages' binary places."""
_IDLE_INTERVALS = 4096
"""After so many intervals without a packet any average has run down to nothing worth telling."""


@dataclass(slots=True)
class Estimator:
    """struct net_rate_estimator: intervals of 2**(interval_log - 2) seconds, weight 2**-ewma_log."""

    interval_log: int
    ewma_log: int
    due: int
    """When the next interval ends, on the engine's clock."""
    last_bytes: int = 0
    last_packets: int = 0
    bytes_average: int = 0
    packets_average: int = 0

    @classmethod
    def from_attr(cls, payload: bytes, now: int) -> Estimator:
        """gen_new_estimator() of a TCA_RATE (struct tc_estimator); NetlinkError EINVAL for bad numbers."""
        if len(payload) < 2:
            raise refusal(errno.EINVAL, "an estimator has two bytes: interval and weight")
        interval, ewma_log = struct.unpack_from("=bB", payload)
        if not -2 <= interval <= 3 or not 0 < ewma_log < 31:
            raise refusal(errno.EINVAL, f"no estimator has interval {interval} and weight {ewma_log}")
        made = cls(interval + 2, ewma_log, now)
        made.due += made.interval
        return made

    @property
    def interval(self) -> int:
        """Nanoseconds."""
        return (NSEC_PER_SEC // 4) << self.interval_log

    def catch_up(self, now: int, size: int, packets: int) -> None:
        """est_timer(), for each interval that has ended; `size` and `packets` are counted so far."""
        if now < self.due:
            return
        passed = (now - self.due) // self.interval + 1
        self.due += passed * self.interval
        for _ in range(min(passed, _IDLE_INTERVALS)):
            shift, weight = 10 - self.interval_log, self.ewma_log
            rate = (size - self.last_bytes) << shift
            self.bytes_average += (rate >> weight) - (self.bytes_average >> weight)
            rate = (packets - self.last_packets) << shift
            self.packets_average += (rate >> weight) - (self.packets_average >> weight)
            self.last_bytes, self.last_packets = size, packets

    @property
    def rates(self) -> tuple[int, int]:
        """gen_estimator_read(): bytes and packets a second."""
        return self.bytes_average >> _SHIFT, self.packets_average >> _SHIFT
