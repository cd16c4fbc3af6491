"""What actions ask of the world around them: the time, random numbers, other devices, who listens.

A policer needs a clock, gact and sample a random generator, mirred somebody who takes packets, simple
and sample somebody to tell.  All of it is injected, so that offline runs are reproducible: time is then
the capture's (`CaptureClock`) and the generator is seeded.
"""

from __future__ import annotations

import enum
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ...skb import Skb

_log = logging.getLogger("clsbpf.actions")

NSEC_PER_SEC = 1_000_000_000


class Clock(Protocol):
    """ktime_get() and jiffies."""

    def now(self) -> int:
        """Nanoseconds since some moment; never less than before."""
        ...


class MonotonicClock:
    """CLOCK_MONOTONIC: for live traffic."""

    def now(self) -> int:
        return time.monotonic_ns()


class CaptureClock:
    """The time that passes between the packets of a capture.

    `advance` is told each packet's time stamp.  Time stamps count from the first one; a later capture
    goes on where the one before ended (`begin`).  A packet that is older than the one before it does not
    turn the clock back.
    """

    def __init__(self) -> None:
        self._now = 0
        self._offset: int | None = None

    def begin(self) -> None:
        """A new capture, whose time stamps are not related to those so far."""
        self._offset = None

    def advance(self, timestamp: int) -> None:
        """A packet of this time (nanoseconds since any epoch) is here."""
        if self._offset is None:
            self._offset = timestamp - self._now
        self._now = max(self._now, timestamp - self._offset)

    def now(self) -> int:
        return self._now


@dataclass(frozen=True, slots=True)
class Sample:
    """What act_sample gives to psample (struct psample_metadata): the packet's first bytes and its origin.

    `length` is the packet's whole length; `in_ifindex` and `out_ifindex` are 0 where not known.
    """

    group: int
    sequence: int
    rate: int
    data: bytes
    length: int
    in_ifindex: int
    out_ifindex: int


class Sent(enum.Enum):
    """What became of a packet that was sent elsewhere."""

    TAKEN = "taken"
    DROPPED = "dropped"
    """The device was there, but dropped it (NET_XMIT_DROP, NET_RX_DROP)."""
    IMPOSSIBLE = "impossible"
    """The device is down or gone."""


class Forwarder(Protocol):
    """Who takes the packets that mirred sends elsewhere: dev_queue_xmit() and netif_receive_skb()."""

    def forward(self, skb: Skb, ifindex: int, *, ingress: bool) -> Sent:
        """Send a packet (a clone, whose `data` is where the target expects it) out of a device, or as
        if it had come in there."""
        ...

    def expects_link_header(self, ifindex: int) -> bool:
        """dev_is_mac_header_xmit(): do frames that the device sends begin with a link-layer header?"""
        ...

    def ports(self, block: int) -> tuple[int, ...]:
        """The ifindexes of the devices that are bound to a shared block; none if there is no such block."""
        ...


class NoForwarder:
    """Nobody: every device is gone."""

    def forward(self, skb: Skb, ifindex: int, *, ingress: bool) -> Sent:
        return Sent.IMPOSSIBLE

    def expects_link_header(self, ifindex: int) -> bool:
        return True

    def ports(self, block: int) -> tuple[int, ...]:
        return ()


def _say(text: str) -> None:
    _log.info("%s", text)


def _no_sample(sample: Sample) -> None:
    """Nobody listens to psample."""


@dataclass(slots=True)
class Surroundings:
    """The clock and random numbers of an engine's actions, and who takes what they send away.

    `say` takes what act_simple prints, `sample` what act_sample takes.
    """

    clock: Clock = field(default_factory=MonotonicClock)
    random: random.Random = field(default_factory=lambda: random.Random(0))
    forwarder: Forwarder = field(default_factory=NoForwarder)
    say: Callable[[str], None] = _say
    sample: Callable[[Sample], None] = _no_sample
    nesting: int = 0
    """mirred_nest_level: how many mirred actions are under way, one within the other."""
