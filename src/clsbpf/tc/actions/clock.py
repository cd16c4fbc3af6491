"""What time is it, to an action?

For live traffic it is the machine's; offline it is the capture's, so that a run is reproducible.  A
capture's clock lies in memory: code that classifies natively advances the same one.
"""

from __future__ import annotations

import ctypes
import time
from typing import Protocol


class Clock(Protocol):
    """ktime_get() and jiffies."""

    def now(self) -> int:
        """Nanoseconds since some moment; never less than before."""
        ...


class MonotonicClock:
    """CLOCK_MONOTONIC: for live traffic."""

    def now(self) -> int:
        return time.monotonic_ns()


LAST_MOMENT = (1 << 63) - 1


def reading(now: int, began: int, first: int, time: int) -> int:
    """What a capture's clock says when a packet of this time comes; it was `began` at the time `first`.

    All of it is numbers of 64 bits, and native code computes with no more.
    """
    if time <= first:
        return now
    passed = time - first
    if passed < 0 or passed > LAST_MOMENT - began:  # below 0: where it did not fit 64 bits
        return LAST_MOMENT
    return began + passed if began + passed > now else now


class ClockMemory(ctypes.Structure):
    """A capture's clock, in memory: `started` says whether `first`, a time stamp, and `began` are known."""

    now: int
    began: int
    first: int
    started: int
    _fields_ = tuple((name, ctypes.c_int64) for name in ("now", "began", "first", "started"))


class CaptureClock:
    """The time that passes between the packets of a capture.

    `advance` is told each packet's time stamp.  Time stamps count from the first one; a later capture
    goes on where the one before ended (`begin`).  A packet that is older than the one before it does not
    turn the clock back.
    """

    def __init__(self) -> None:
        self.memory = ClockMemory()

    def begin(self) -> None:
        """A new capture, whose time stamps are not related to those so far."""
        self.memory.started = 0

    def advance(self, timestamp: int) -> None:
        """A packet of this time (nanoseconds since any epoch) is here."""
        memory = self.memory
        if not memory.started:
            memory.started, memory.began, memory.first = 1, memory.now, timestamp
        memory.now = reading(memory.now, memory.began, memory.first, timestamp)

    def now(self) -> int:
        return self.memory.now
