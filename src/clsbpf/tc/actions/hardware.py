"""Counters in hardware: where an action that runs in a driver's worker counts until it is asked.

Hardware has counters of its own, and tells them when it is asked (FLOW_CLS_STATS): from then on they are
among the action's, and once more apart.  A worker that stands for hardware runs a filter's actions
itself, in a thread of its own; what they count there, they count in hardware.

Mirrors struct flow_stats of net/flow_offload.h and tcf_action_update_stats().
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

_thread = threading.local()


@dataclass(slots=True)
class FlowStats:
    """struct flow_stats: bytes, packets and drops; `last_use` is a moment of the engine's clock."""

    bytes: int = 0
    packets: int = 0
    drops: int = 0
    last_use: int = 0

    def add(self, size: int, packets: int, now: int) -> None:
        """So much more, at this moment."""
        self.bytes += size
        self.packets += packets
        self.last_use = now

    def take(self) -> FlowStats:
        """What has come together, which is told now and begins anew."""
        taken = FlowStats(self.bytes, self.packets, self.drops, self.last_use)
        self.bytes = self.packets = self.drops = 0
        return taken


@contextlib.contextmanager
def in_hardware() -> Iterator[None]:
    """While the body runs, this thread is hardware's."""
    before, _thread.hardware = counts_in_hardware(), True
    try:
        yield
    finally:
        _thread.hardware = before


def counts_in_hardware() -> bool:
    """Is this thread hardware's?"""
    return getattr(_thread, "hardware", False)
