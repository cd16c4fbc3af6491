"""What walks tell before each packet, where somebody looks: the time, and the packet's number.

The clock of actions is `CaptureClock`, advanced in its own memory; programs find the time of the packet in
their environment (bpf_ktime_get_ns).
"""

from __future__ import annotations

from ..tc.actions.clock import ClockMemory, reading
from ..vm.environment import EnvironmentAt
from ..vm.subset import load_i64, native, store_i64
from .walk_state import State

native(reading)
NOW, BEGAN, FIRST, STARTED = (
    int(getattr(ClockMemory, name).offset) for name in ("now", "began", "first", "started")
)


@native
def advance_clock(clock: int, time: int) -> None:
    """`CaptureClock.advance`; `clock` is the address of its memory."""
    if load_i64(clock + STARTED) == 0:
        store_i64(clock + STARTED, 1)
        store_i64(clock + BEGAN, load_i64(clock + NOW))
        store_i64(clock + FIRST, time)
    now = reading(load_i64(clock + NOW), load_i64(clock + BEGAN), load_i64(clock + FIRST), time)
    store_i64(clock + NOW, now)


@native
def begin_packet(state: int, time: int) -> None:
    """A packet of this time is here."""
    clock = load_i64(state + State.TICKS)
    if clock:
        advance_clock(clock, time)
    environment = load_i64(state + State.ENVIRONMENT)
    store_i64(environment + EnvironmentAt.KTIME_NS, time if time > 0 else 0)
    store_i64(environment + EnvironmentAt.PACKET, load_i64(environment + EnvironmentAt.PACKET) + 1)
    store_i64(state + State.TIME, time)
