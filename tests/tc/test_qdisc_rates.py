"""How fast packets come to a qdisc or class: its estimator."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from clsbpf.errors import NetlinkError
from clsbpf.tc.qdiscs.qdisc import QdiscStats

QUARTER = 250_000_000


@dataclass
class HandClock:
    """A clock that is set by hand."""

    time: int = 5 * QUARTER

    def now(self) -> int:
        return self.time


def test_a_steady_stream_and_its_end() -> None:
    clock, stats = HandClock(), QdiscStats()
    stats.add(10_000, 10)  # before there is an estimator: not counted
    assert stats.rates() is None
    stats.estimate(b"\xfe\x01", clock)
    assert stats.rates() == (0, 0)
    for _ in range(60):
        stats.add(250, 2)
        clock.time += QUARTER
    assert stats.rates() == (1000, 8)
    clock.time += 100 * QUARTER
    assert stats.rates() == (0, 0)


@pytest.mark.parametrize("rate", [b"", b"\0", b"\4\1", b"\0\0", b"\0\x1f"])
def test_numbers_that_are_refused(rate: bytes) -> None:
    with pytest.raises(NetlinkError):
        QdiscStats().estimate(rate, HandClock())
