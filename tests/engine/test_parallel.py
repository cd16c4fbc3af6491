"""Several workers come to the counts, rows and errors of one, whatever they guess."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from clsbpf.capture.pcap import parse_header
from clsbpf.engine import file_ways, parallel
from clsbpf.engine.formats import PcapFormat
from clsbpf.engine.plans import Setup
from clsbpf.engine.programs import ProgramTable
from clsbpf.engine.results import Batch
from clsbpf.engine.run import IncompleteRun, run
from clsbpf.tc.chain import Block
from run_cases import (
    IP,
    LENGTH,
    add,
    block_of,
    counts,
    enhanced,
    interface,
    obsolete,
    pcap,
    pcapng,
    random_packets,
    section,
    simple,
)

RANDOM_NUMBER = "2,32 0 0 4294963256,22 0 0 0"
Packets = list[tuple[int, bytes, int]]


def plain(random: Random) -> Packets:
    return random_packets(random, 800)


def captures_in_captures(random: Random) -> Packets:
    """Packets that hold records of their own: what a guess takes for the real ones."""
    inside = pcap(random_packets(random, 40))[24:]
    return [(n * 1_000_000, inside[: random.randrange(len(inside))], 60_000) for n in range(60)]


def huge(random: Random) -> Packets:
    """Records longer than a piece."""
    return [(n, random.randbytes(random.choice((60, 60, 30_000))), 70_000) for n in range(60)]


def zeros(random: Random) -> Packets:
    """Nothing but plausible places."""
    return [(0, bytes(random.randrange(200)), 200) for _ in range(1000)]


KINDS = {each.__name__: each for each in (plain, captures_in_captures, huge, zeros)}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_ways, "BUFFER_BYTES", 40_000)
    monkeypatch.setattr(parallel, "MIN_PIECE_BYTES", 9_000)
    monkeypatch.setattr(parallel, "PIECE_BYTES", 12_000)
    monkeypatch.setattr(parallel, "PIECE_BYTES_WITH_ROWS", 9_000)


def outcome(path: Path, jobs: int, *, rows: bool = True, program: str = LENGTH) -> tuple[Any, ...]:
    block = Block(ProgramTable())
    add(block, 2, program)
    add(block, 1, IP, classid=0x10001)
    try:
        results, failure = run([str(path)], Setup(lambda link: block), jobs=jobs, columns=rows), None
    except IncompleteRun as error:
        results, failure = error.results, str(error)
    return counts(results), results.to_arrow() if rows else None, failure


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("kind", KINDS)
def test_workers_agree_with_one(kind: str, order: str, tmp_path: Path) -> None:
    path = tmp_path / "split.pcap"
    path.write_bytes(pcap(KINDS[kind](Random(kind)), byte_order=order))
    one = outcome(path, 1)
    assert one[0][0][0] >= 60
    for jobs in (2, 5):
        assert outcome(path, jobs) == one
        assert outcome(path, jobs, rows=False)[0] == one[0]


PCAPNG_KINDS: dict[str, Callable[[Random, str], bytes]] = {
    "one interface": lambda random, order: blocks(random, order, plain(random), [1]),
    "interfaces of several link types": lambda random, order: blocks(
        random, order, plain(random), [1, 101, 1, 113]
    ),
    "blocks of all sorts in between": lambda random, order: blocks(
        random, order, plain(random), [1, 1], other=0.3
    ),
    "an interface more on the way": lambda random, order: blocks(
        random, order, plain(random), [1, 101], more=True
    ),
    "sections": lambda random, order: pcapng(random, random_packets(random, 200)) * 2,
    "captures in captures": lambda random, order: blocks(
        random,
        order,
        [(n, blocks(random, order, random_packets(random, 20), [1]), 60_000) for n in range(30)],
        [1],
    ),
    "huge": lambda random, order: blocks(random, order, huge(random), [1]),
}


def blocks(
    random: Random, order: str, packets: Packets, links: list[int], *, other: float = 0, more: bool = False
) -> bytes:
    """A section with an interface for each link type, and the packets on any of them."""
    sign = "<" if order == "little" else ">"
    parts = [section(sign), *(interface(sign, link) for link in links)]
    for number, (time, data, length) in enumerate(packets):
        if random.random() < other:
            parts.append(
                block_of(sign, random.choice((4, 5, 10, 0xBAD)), random.randbytes(random.randrange(40)))
            )
        if more and number == len(packets) // 2:
            parts.append(interface(sign, 113))
            links = [*links, 113]
        if random.random() < 0.1:
            parts.append(simple(sign, data))
        else:
            write = random.choice((enhanced, enhanced, obsolete))
            parts.append(write(sign, random.randrange(len(links)), time // 1000, data, length))
    return b"".join(parts)


@pytest.mark.parametrize("kind", PCAPNG_KINDS)
def test_workers_agree_with_one_about_pcapng(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "split.pcapng"
    data = PCAPNG_KINDS[kind](Random(kind), "big" if kind == "huge" else "little")
    path.write_bytes(data)
    one = outcome(path, 1)
    assert one[0][0][0] >= 30
    assert outcome(path, 2) == one
    assert outcome(path, 5, rows=False)[0] == one[0]
    for broken in (data[:-7], data[: len(data) * 2 // 3 & ~3] + bytes(99)):
        path.write_bytes(broken)
        assert outcome(path, 3) == outcome(path, 1)


def test_damage_in_any_piece_is_told_as_by_one(tmp_path: Path) -> None:
    path = tmp_path / "damaged.pcap"
    whole = pcap(plain(Random(1)))
    for at in range(24, len(whole), len(whole) // 12):
        path.write_bytes(whole[:at] + b"\xff" * 32 + whole[at + 32 :])
        damaged = outcome(path, 1)
        path.write_bytes(whole[:at])
        cut = outcome(path, 1)
        assert outcome(path, 3) == cut
        path.write_bytes(whole[:at] + b"\xff" * 32 + whole[at + 32 :])
        assert outcome(path, 3) == damaged


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_guesses_are_made_and_mostly_right(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guessed: list[bool] = []
    plainly = parallel.guess_begin

    def look(*arguments: Any) -> int | None:
        found = plainly(*arguments)
        guessed.append(found is not None)
        return found

    monkeypatch.setattr(parallel, "guess_begin", look)
    path = tmp_path / "split.pcap"
    packets = plain(Random(2))
    path.write_bytes(pcap(packets) if kind == "pcap" else blocks(Random(2), "little", packets, [1, 101]))
    outcome(path, 2)
    assert sum(guessed) > len(guessed) / 2 > 3


def test_a_place_in_the_middle_is_found() -> None:
    packets = plain(Random(3))
    data = pcap(packets)
    header = parse_header(data, "x")
    begins = [24]
    for _, each, _ in packets:
        begins.append(begins[-1] + 16 + len(each))
    for index in range(100, 700, 50):
        from_the_middle_before = data[begins[index] - 7 : begins[index] + 20_000]
        assert PcapFormat(header).guess(from_the_middle_before) == 7
    assert PcapFormat(header).guess(data[:200]) is None
    assert PcapFormat(header).guess(b"") is None


@pytest.mark.parametrize(
    ("program", "name", "why"),
    [
        (RANDOM_NUMBER, "state.pcap", "filter 0x1 of pref 2 keeps state"),
        (LENGTH, "state.pcap.gz", "it is not a plain file"),
    ],
)
def test_one_worker_where_it_would_matter(program: str, name: str, why: str, tmp_path: Path) -> None:
    import gzip

    path = tmp_path / name
    data = pcap(plain(Random(4)))
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    one, three = outcome(path, 1, program=program), outcome(path, 3, program=program)
    assert three[1:] == one[1:]
    assert len(three[0][5]) == 1
    assert why in three[0][5][0]


def test_rows_come_in_order(tmp_path: Path) -> None:
    path = tmp_path / "split.pcap"
    packets = plain(Random(5))
    path.write_bytes(pcap(packets))
    block = Block(ProgramTable())
    batches: list[Batch] = []
    run([str(path), str(path)], Setup(lambda link: block), jobs=4, on_batch=batches.append)
    assert [int(n) for batch in batches for n in batch.packet] == list(range(2 * len(packets)))
    times = [int(time) for batch in batches for time in batch.time]
    assert times == [time // 1000 * 1000 for time, _, _ in packets] * 2
