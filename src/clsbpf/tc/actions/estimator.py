"""How fast do bytes and packets come?  A moving average: struct net_rate_estimator.

Every quarter of a second, times a power of two, what was counted since the last time is taken for the
rate of that interval, and mixed into the average with a weight of 2**-ewma_log.  The kernel has a timer
for it; here the intervals that have passed are made up for when somebody asks or counts, which comes to
the same because nothing is counted in between.

It lies in memory, like an action's counters (memory.py): code that classifies natively keeps the same one.

Mirrors net/core/gen_estimator.c.
"""

from __future__ import annotations

import ctypes
import errno
import struct

from ..refusal import refusal
from .clock import LAST_MOMENT
from .surroundings import NSEC_PER_SEC

_PARAMETERS = struct.Struct("=bB")
"""struct tc_estimator: the interval as a power of two of a second, ewma_log."""
AVERAGE_SHIFT = 8
"""Of the averages' binary places."""
IDLE_INTERVALS = 4096
"""After so many intervals without a packet any average has run down to nothing worth telling."""


def mixed(average: int, counted: int, interval_log: int, ewma_log: int) -> int:
    """est_timer(): the average with what was counted in an interval mixed in.

    On plain numbers that fit 64 bits: native code is made of this very function.
    """
    rate = counted << 10 - interval_log
    return average + (rate >> ewma_log) - (average >> ewma_log)


def next_end(due: int, now: int, interval: int) -> int:
    """The end of the interval that it is now, of those of which one ended at `due`; for native code, too."""
    return LAST_MOMENT if now > LAST_MOMENT - interval else due + ((now - due) // interval + 1) * interval


class Estimator(ctypes.Structure):
    """struct net_rate_estimator: intervals of 2**(interval_log - 2) seconds, weight 2**-ewma_log.

    `due` is when the next interval ends, on the engine's clock; the averages have 8 binary places.
    """

    interval_log: int
    ewma_log: int
    interval: int
    due: int
    last_bytes: int
    last_packets: int
    bytes_average: int
    packets_average: int
    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in (
            "interval_log",
            "ewma_log",
            "interval",
            "due",
            "last_bytes",
            "last_packets",
            "bytes_average",
            "packets_average",
        )
    )

    @classmethod
    def from_attr(cls, payload: bytes, now: int) -> Estimator:
        """gen_new_estimator() of a TCA_RATE (struct tc_estimator); NetlinkError EINVAL for bad numbers."""
        if len(payload) < 2:
            raise refusal(errno.EINVAL, "an estimator has two bytes: interval and weight")
        interval, ewma_log = _PARAMETERS.unpack_from(payload)
        if not -2 <= interval <= 3 or not 0 < ewma_log < 31:
            raise refusal(errno.EINVAL, f"no estimator has interval {interval} and weight {ewma_log}")
        length = (NSEC_PER_SEC // 4) << interval + 2
        return cls(interval + 2, ewma_log, length, now + length)

    @property
    def attr(self) -> bytes:
        """The TCA_RATE that asks for one like it."""
        return _PARAMETERS.pack(self.interval_log - 2, self.ewma_log)

    def catch_up(self, now: int, size: int, packets: int) -> None:
        """est_timer(), for each interval that has ended; `size` and `packets` are counted so far."""
        if now < self.due:
            return
        passed = (now - self.due) // self.interval + 1
        self.due = next_end(self.due, now, self.interval)
        for _ in range(min(passed, IDLE_INTERVALS)):
            log, weight = self.interval_log, self.ewma_log
            self.bytes_average = mixed(self.bytes_average, size - self.last_bytes, log, weight)
            self.packets_average = mixed(self.packets_average, packets - self.last_packets, log, weight)
            self.last_bytes, self.last_packets = size, packets

    @property
    def rates(self) -> tuple[int, int]:
        """gen_estimator_read(): bytes and packets a second."""
        return self.bytes_average >> AVERAGE_SHIFT, self.packets_average >> AVERAGE_SHIFT
