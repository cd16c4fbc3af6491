"""What actions ask of the world around them: the time, random numbers, other devices, who listens.

A policer needs a clock, gact and sample a random generator, mirred somebody who takes packets, simple
and sample somebody to tell.  All of it is injected, so that offline runs are reproducible: time is then
the capture's (`CaptureClock`) and the generator is seeded.
"""

from __future__ import annotations

import ctypes
import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ...skb import Skb
from .clock import Clock, MonotonicClock

_log = logging.getLogger("clsbpf.actions")

NSEC_PER_SEC = 1_000_000_000


def following(state: int) -> int:
    """The state of the generator of random numbers after this one: 63 bits."""
    return state * 6364136223846793005 + 1442695040888963407 & 0x7FFFFFFFFFFFFFFF


def scaled(state: int, limit: int) -> int:
    """A number below `limit` (32 bits) by a state's upper 32 bits."""
    return (state >> 31) * limit >> 32


class Random(ctypes.Structure):
    """get_random_u32_below(), seeded: a linear congruential generator, its state in memory."""

    state: int
    _fields_ = (("state", ctypes.c_int64),)

    def below(self, limit: int) -> int:
        """A random number from 0 to `limit` (32 bits) less 1."""
        self.state = following(self.state)
        return scaled(self.state, limit)


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
    random: Random = field(default_factory=Random)
    forwarder: Forwarder = field(default_factory=NoForwarder)
    say: Callable[[str], None] = _say
    sample: Callable[[Sample], None] = _no_sample
    nesting: int = 0
    """mirred_nest_level: how many mirred actions are under way, one within the other."""
    generation: int = 0
    """Grows with every change of an action: whoever made something of one knows by it that it is stale."""
