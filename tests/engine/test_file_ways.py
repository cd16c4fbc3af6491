"""A file is read or mapped, whichever is faster: results are the same, and nobody shrinks it meanwhile."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from clsbpf.capture.lease import ReadLease
from clsbpf.engine import file_ways, parallel
from clsbpf.engine.file_ways import FIRST_TURN_BYTES, STRETCH_BYTES, TRIAL_BYTES, Pace, Way
from clsbpf.engine.plans import Setup
from clsbpf.engine.programs import ProgramTable
from clsbpf.engine.run import IncompleteRun, run
from clsbpf.tc.chain import Block
from run_cases import IP, add, counts, pcap, random_packets

LONGER = "4,128 0 0 0,53 0 1 100,6 0 0 4294967295,6 0 0 0"

WAYS: dict[str, Callable[[Random], Way]] = {
    "read": lambda random: Way.READ,
    "mapped": lambda random: Way.MAPPED,
    "by turns": lambda random: random.choice(list(Way)),
}


def go(monkeypatch: pytest.MonkeyPatch, how: str, stretch: int) -> list[Way]:
    """Have every file walked like this; the ways that were gone come into the list."""
    gone: list[Way] = []
    random = Random(how)

    def decide(pace: Pace) -> tuple[Way, int]:
        return WAYS[how](random) if pace.may_map else Way.READ, stretch

    def went(pace: Pace, way: Way, count: int, seconds: float) -> None:
        gone.extend([way] if count else [])

    monkeypatch.setattr(file_ways, "MIN_MAPPED_BYTES", 0)
    monkeypatch.setattr(Pace, "next", decide)
    monkeypatch.setattr(Pace, "went", went)
    return gone


def outcome(path: Path, jobs: int = 1) -> tuple[Any, ...]:
    block = Block(ProgramTable())
    add(block, 2, LONGER, classid=0x10002)
    add(block, 1, IP, classid=0x10001)
    try:
        return counts(run([str(path)], Setup(lambda link: block), jobs=jobs)), None
    except IncompleteRun as error:
        return counts(error.results), str(error)


@pytest.mark.parametrize("stretch", [3_000, 70_000, 1 << 20])
@pytest.mark.parametrize("how", ["mapped", "by turns"])
def test_the_way_changes_no_result(
    how: str, stretch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "some.pcap"
    sound = pcap(random_packets(Random(4), 900))
    damaged = sound[: len(sound) // 2] + b"\xff" * 40 + sound[len(sound) // 2 + 40 :]
    for data in (sound, sound[:-11], damaged):
        path.write_bytes(data)
        go(monkeypatch, "read", stretch)
        expected = outcome(path)
        gone = go(monkeypatch, how, stretch)
        assert outcome(path) == expected
        assert Way.MAPPED in gone
        monkeypatch.setattr(parallel, "MIN_PIECE_BYTES", 20_000)
        monkeypatch.setattr(parallel, "PIECE_BYTES", 30_000)
        assert outcome(path, 3) == expected


@pytest.mark.parametrize("above", range(0, 4097, 512))
def test_the_end_of_a_file_may_lie_anywhere_in_a_page(
    above: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What native code looks at behind the last record must be there: a missing page kills the process."""
    packets = random_packets(Random(5), 60)
    room = -len(pcap(packets)) % 4096 + 4096 - 16 + above
    path = tmp_path / "some.pcap"
    path.write_bytes(pcap([*packets, (0, bytes(room), room)]))
    go(monkeypatch, "mapped", 1 << 20)
    assert outcome(path)[0][0][0] == 61


PACES: dict[str, tuple[list[tuple[Way, int, float]], tuple[Way, int]]] = {
    # name: the way gone, how many bytes, how many nanoseconds a byte …; what is next
    "reading is tried first": ([], (Way.READ, TRIAL_BYTES[Way.READ])),
    "then mapping": ([(Way.READ, 4 << 20, 1.0)], (Way.MAPPED, TRIAL_BYTES[Way.MAPPED])),
    "the faster goes on": (
        [(Way.READ, 4 << 20, 1.0), (Way.MAPPED, 4 << 20, 0.5)],
        (Way.MAPPED, STRETCH_BYTES[Way.MAPPED]),
    ),
    "mapping must be clearly faster": (
        [(Way.READ, 4 << 20, 1.0), (Way.MAPPED, 4 << 20, 0.97)],
        (Way.READ, STRETCH_BYTES[Way.READ]),
    ),
    "the other has another chance": (
        [(Way.READ, 4 << 20, 1.0), (Way.MAPPED, 4 << 20, 2.0), (Way.READ, FIRST_TURN_BYTES, 1.0)],
        (Way.MAPPED, TRIAL_BYTES[Way.MAPPED]),
    ),
    "at once where the file is held in another way": (
        [(Way.READ, 4 << 20, 1.0), (Way.MAPPED, 4 << 20, 0.5), (Way.MAPPED, 4 << 20, 0.7)],
        (Way.READ, TRIAL_BYTES[Way.READ]),
    ),
    "what did not get on says nothing": ([(Way.READ, 0, 1.0)], (Way.READ, TRIAL_BYTES[Way.READ])),
    "nor does what is left of a piece": (
        [(Way.READ, 4 << 20, 1.0), (Way.MAPPED, 16 << 20, 2.0), (Way.READ, 300, 5000.0)],
        (Way.READ, STRETCH_BYTES[Way.READ]),
    ),
}


@pytest.mark.parametrize("name", PACES)
def test_what_goes_next(name: str) -> None:
    gone, following = PACES[name]
    pace = Pace()
    for way, count, ns in gone:
        pace.went(way, count, count * ns * 1e-9)
    assert pace.next() == following


def test_the_slower_is_tried_ever_more_seldom() -> None:
    pace = Pace()
    tried = 0
    for _ in range(400):
        way, count = pace.next()
        tried += way is Way.MAPPED
        pace.went(way, count, count * (2e-9 if way is Way.MAPPED else 1e-9))
    assert 3 <= tried <= 9


def test_a_file_that_somebody_writes_is_not_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "some.pcap"
    path.write_bytes(pcap(random_packets(Random(6), 300)))
    expected = outcome(path)
    gone = go(monkeypatch, "mapped", 10_000)
    with path.open("ab"):
        assert outcome(path) == expected
    assert set(gone) == {Way.READ}


def test_who_wants_to_shrink_the_file_waits_for_the_lease(tmp_path: Path) -> None:
    path = tmp_path / "some.pcap"
    path.write_bytes(bytes(10_000))
    with path.open("rb") as file:
        lease = ReadLease(file.fileno())
        assert lease.stands
        shrinks = threading.Thread(target=os.truncate, args=(path, 0))
        shrinks.start()
        while lease.stands:
            assert os.fstat(file.fileno()).st_size == 10_000
        shrinks.join(10)
        assert os.fstat(file.fileno()).st_size == 0
        assert not lease.stands


def test_no_lease_no_mapping() -> None:
    reading, writing = os.pipe()
    assert not ReadLease(reading).stands
    os.close(reading)
    os.close(writing)
