"""Several captures at once give what they give one after the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from clsbpf.api import FilterText, filters_setup
from clsbpf.engine.jobs import add_up, deal, run_jobs
from clsbpf.engine.results import ClassCount, FilterCount, Results
from clsbpf.engine.run import IncompleteRun, Progress, run
from clsbpf.errors import CaptureError, ClsbpfError
from traffic import FRAMES, write_pcap

OnProgress = Callable[[Progress], None]
FILTERS = [FilterText("bytecode", "4,128 0 0 0,53 0 1 500,6 0 0 4294967295,6 0 0 0")]


def run_filters(paths: Sequence[str], progress: OnProgress) -> Results:
    return run(paths, filters_setup(FILTERS, profile="current", backend="native"), progress=progress)


def untimed(results: Results) -> Results:
    return replace(results, seconds=0.0, plan_seconds=0.0)


@pytest.fixture
def captures(tmp_path: Path) -> list[str]:
    return [str(write_pcap(tmp_path / f"{n}.pcap", FRAMES[: 2 + n])) for n in range(6)]


@pytest.mark.parametrize("jobs", [1, 2, 4, 100])
def test_the_counts_do_not_depend_on_the_number_of_jobs(captures: list[str], jobs: int) -> None:
    alone = run_filters(captures, lambda progress: None)
    together = run_jobs(captures, jobs, run_filters)
    assert untimed(together) == untimed(alone)
    assert together.packets == sum(2 + n for n in range(6))
    assert together.filters[0].packets > 0


def test_damage_is_told_and_the_rest_counts(captures: list[str]) -> None:
    Path(captures[3]).write_bytes(Path(captures[3]).read_bytes()[:-1])
    with pytest.raises(IncompleteRun) as raised:
        run_jobs([*captures, "nosuch.pcap"], 3, run_filters)
    assert raised.value.results.packets == sum(2 + n for n in range(6)) - 1
    assert "3.pcap: cut at byte" in str(raised.value)
    assert "nosuch.pcap" in str(raised.value)


def test_nothing_that_can_be_opened() -> None:
    with pytest.raises(CaptureError, match="nosuch1") as raised:
        run_jobs(["nosuch1", "nosuch2"], 2, run_filters)
    assert not isinstance(raised.value, IncompleteRun)
    assert "nosuch2" in str(raised.value)


def ticking(paths: Sequence[str], progress: OnProgress) -> Results:
    """A run that never ends by itself; "bad" fails at once."""
    if "bad" in paths:
        raise ClsbpfError("a filter that cannot be compiled")
    while True:
        progress(Progress(paths[0], 1, 2, 3))
        time.sleep(0.001)


def test_an_error_stops_the_others() -> None:
    with pytest.raises(ClsbpfError, match="cannot be compiled"):
        run_jobs(["good", "bad"], 2, ticking)
    assert threading.active_count() == 1


def test_an_interrupt_stops_all_of_them() -> None:
    told = []

    def interrupt(progress: Progress) -> None:
        told.append(progress)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(["a", "b"], 2, ticking, interrupt)
    assert threading.active_count() == 1
    assert told[-1] in (Progress("a, b", 2, 4, 6), Progress("a", 1, 2, 3), Progress("b", 1, 2, 3))


def test_shares_are_even(tmp_path: Path) -> None:
    for name, size in (("a", 100), ("b", 60), ("c", 50), ("d", 10)):
        (tmp_path / name).write_bytes(bytes(size))
    paths = [str(tmp_path / name) for name in "dcba"]
    names = [[Path(path).name for path in share] for share in deal([*paths, "-"], 2)]
    assert sorted(map(sorted, names)) == [["-", "a", "d"], ["b", "c"]]
    assert deal(paths, 9) == [[path] for path in reversed(paths)]


def test_adding_up() -> None:
    web = FilterCount(0, 1, "all", 1, 0x10001, None, "tcp port 80", 5, 500)
    one = Results(
        10, 1000, 1, 0.5, 0.1, (web,), {"ok": 5, "shot": 0}, (ClassCount(2, 5, 500),), 5, ("EN10MB",), ("w",)
    )
    other = replace(
        one,
        seconds=0.4,
        plan_seconds=0.2,
        verdicts={"shot": 1},
        classes=(ClassCount(1, 1, 1), ClassCount(2, 1, 1)),
        link_types=("RAW", "EN10MB"),
    )
    assert add_up([one, other]) == Results(
        packets=20,
        bytes=2000,
        truncated=2,
        seconds=0.5,
        plan_seconds=0.2,
        filters=(replace(web, packets=10, bytes=1000),),
        verdicts={"ok": 5, "shot": 1},
        classes=(ClassCount(1, 1, 1), ClassCount(2, 6, 501)),
        undecided=10,
        link_types=("EN10MB", "RAW"),
        warnings=("w",),
    )
