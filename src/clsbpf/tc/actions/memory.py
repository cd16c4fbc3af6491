"""What packets change of an action: counters, times, a policer's buckets.

It lies in memory of its own, so that code that classifies natively counts in the very same place, and
whoever asks the action afterwards is told of every packet.  Mirrors struct gnet_stats_basic,
gnet_stats_queue and tcf_t, and what struct tcf_gact and tcf_police keep from packet to packet.
"""

from __future__ import annotations

import ctypes

NEVER = -1
"""A moment that has not come; clocks are never below 0."""


class Counters(ctypes.Structure):
    """struct gnet_stats_basic and gnet_stats_queue of an action."""

    bytes: int
    packets: int
    drops: int
    overlimits: int
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("bytes", "packets", "drops", "overlimits"))


class Times(ctypes.Structure):
    """struct tcf_t: moments of the engine's clock, nanoseconds; `first` may be NEVER."""

    install: int
    last_use: int
    first: int
    _fields_ = tuple((name, ctypes.c_int64) for name in ("install", "last_use", "first"))

    @property
    def first_use(self) -> int | None:
        """When the first packet came; None before it."""
        return None if self.first == NEVER else self.first


class Buckets(ctypes.Structure):
    """struct tcf_police: when they were filled last, and what is in each, nanoseconds."""

    filled: int
    tokens: int
    peak_tokens: int
    packet_tokens: int
    _fields_ = tuple((name, ctypes.c_int64) for name in ("filled", "tokens", "peak_tokens", "packet_tokens"))


class ActionMemory(ctypes.Structure):
    """All of it.  `seen`: how many packets gact's `determ` has seen; 32 bits."""

    counters: Counters
    times: Times
    seen: int
    buckets: Buckets
    _fields_ = (
        ("counters", Counters),
        ("times", Times),
        ("seen", ctypes.c_uint64),
        ("buckets", Buckets),
    )

    def __init__(self) -> None:
        super().__init__()
        self.times.first = NEVER
