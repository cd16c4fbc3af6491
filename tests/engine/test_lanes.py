"""A stretch walked in lanes comes to the counts of a plain walk, whether its guesses were right or not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from clsbpf.engine import file_ways, lanes
from clsbpf.engine.file_ways import FileWalk, Pace, Way
from clsbpf.engine.plan import Walk
from clsbpf.engine.plans import Setup
from clsbpf.engine.programs import ProgramTable
from clsbpf.engine.run import IncompleteRun, run
from clsbpf.tc.chain import Block
from run_cases import IP, add, counts, pcap, random_packets

LONGER = "4,128 0 0 0,53 0 1 100,6 0 0 4294967295,6 0 0 0"
RANDOM_NUMBER = "2,32 0 0 4294963256,22 0 0 0"
Packets = list[tuple[int, bytes, int]]
CAPTURES: dict[str, tuple[Callable[[Random], Packets], bool]] = {
    # name: its packets; do lanes join at least once?
    "usual": (lambda random: random_packets(random, 900), True),
    "all short": (lambda random: [(n, bytes(14), 14) for n in range(4000)], False),
    "captures in captures": (
        lambda random: [(n, pcap(random_packets(random, 40))[24:], 60_000) for n in range(60)],
        False,
    ),
    "longer than a lane": (
        lambda random: [(n, random.randbytes(random.choice((60, 60, 30_000))), 70_000) for n in range(60)],
        True,
    ),
    "years between": (lambda random: [(n << 55, random.randbytes(99), 99) for n in range(200)], False),
}


@pytest.fixture(autouse=True)
def joined(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Files are mapped, lanes are short; did they join?"""
    found: list[bool] = []
    walk = FileWalk._walk_lanes

    def look(files: FileWalk, count: int) -> bool:
        found.append(walk(files, count))
        return found[-1]

    monkeypatch.setattr(file_ways, "MIN_MAPPED_BYTES", 0)
    monkeypatch.setattr(lanes, "MIN_LANE_BYTES", 2_000)
    monkeypatch.setattr(Pace, "next", lambda pace: (Way.MAPPED, 60_000))
    monkeypatch.setattr(FileWalk, "_walk_lanes", look)
    return found


def outcome(path: Path, program: str = LONGER) -> tuple[Any, ...]:
    block = Block(ProgramTable())
    add(block, 2, program, classid=0x10002)
    add(block, 1, IP, classid=0x10001)
    try:
        return counts(run([str(path)], Setup(lambda link: block))), None
    except IncompleteRun as error:
        return counts(error.results), str(error)


def plainly(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, ...]:
    with monkeypatch.context() as context:
        context.setattr(Pace, "next", lambda pace: (Way.READ, 1 << 20))
        return outcome(path)


@pytest.mark.parametrize("name", CAPTURES)
def test_lanes_count_what_a_plain_walk_counts(
    name: str, joined: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, joins = CAPTURES[name]
    data = pcap(make(Random(name)))
    path = tmp_path / "some.pcap"
    for whole in (data, data[:-9], data[: len(data) // 2] + b"\xff" * 40 + data[len(data) // 2 + 40 :]):
        path.write_bytes(whole)
        assert outcome(path) == plainly(path, monkeypatch)
    assert joined
    assert any(joined) or not joins


def test_wrong_guesses_count_nothing(
    joined: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packets of zeros but for a time that is near look like records wherever one looks."""
    path = tmp_path / "some.pcap"
    liar = b"\1\0\0\0" + bytes(12)  # a second after the beginning, an empty packet
    path.write_bytes(pcap([(n, liar * 40, 640) for n in range(500)]))
    assert outcome(path) == plainly(path, monkeypatch)
    assert not all(joined)


@pytest.mark.parametrize(("program", "interleaves"), [(LONGER, True), (RANDOM_NUMBER, False)])
def test_only_programs_that_do_nothing_but_look(
    program: str, interleaves: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random numbers are drawn in the order of the packets."""
    made: list[bool] = []
    plain = Walk.__init__

    def look(walk: Walk, *arguments: Any, **named: Any) -> None:
        plain(walk, *arguments, **named)
        made.append(walk.run_lanes is not None)

    monkeypatch.setattr(Walk, "__init__", look)
    path = tmp_path / "some.pcap"
    path.write_bytes(pcap(random_packets(Random(7), 50)))
    outcome(path, program)
    assert made == [interleaves]
