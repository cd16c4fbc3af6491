"""The time of actions passes with the packets of a capture: `CaptureClock.advance`, natively."""

from __future__ import annotations

from ..tc.actions.clock import ClockMemory, reading
from ..vm.subset import load_i64, native, store_i64

native(reading)
NOW = ClockMemory.now.offset  # type: ignore[attr-defined]
BEGAN = ClockMemory.began.offset  # type: ignore[attr-defined]
FIRST = ClockMemory.first.offset  # type: ignore[attr-defined]
STARTED = ClockMemory.started.offset  # type: ignore[attr-defined]


@native
def advance_clock(clock: int, time: int) -> None:
    """A packet of this time is here; `clock` is the address of the ClockMemory."""
    if load_i64(clock + STARTED) == 0:
        store_i64(clock + STARTED, 1)
        store_i64(clock + BEGAN, load_i64(clock + NOW))
        store_i64(clock + FIRST, time)
    now = reading(load_i64(clock + NOW), load_i64(clock + BEGAN), load_i64(clock + FIRST), time)
    store_i64(clock + NOW, now)
