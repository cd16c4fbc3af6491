"""A run by the native walk comes to the same counts and rows as the classifier, packet by packet."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from clsbpf.engine import file_ways, ledger
from clsbpf.engine.file_ways import Way
from clsbpf.engine.plans import Setup
from clsbpf.engine.programs import Backend, ProgramTable
from clsbpf.engine.results import Batch
from clsbpf.engine.run import IncompleteRun, Progress, run
from clsbpf.engine.walk_state import CLASS_LIMIT
from clsbpf.errors import CaptureError
from clsbpf.link import LinkLayer
from clsbpf.profile import CURRENT, V4_13, KernelProfile
from clsbpf.tc.chain import Block
from clsbpf.tc.filter import BpfOptions
from run_cases import (
    DIRECT,
    LENGTH,
    MATCH_ALL,
    SKIP_SW,
    add,
    counts,
    ops_of,
    pcap,
    pcapng,
    random_block,
    random_packets,
)
from tc_fakes import Driver

CAPTURES: dict[str, Callable[[Random], bytes]] = {
    "microseconds": lambda random: pcap(random_packets(random)),
    "nanoseconds, big endian": lambda random: pcap(
        random_packets(random), byte_order="big", ticks_per_second=1_000_000_000
    ),
    "modified record headers": lambda random: pcap(random_packets(random), record_header=24),
    "lengths the other way round": lambda random: pcap(random_packets(random), version=(2, 2)),
    "the smaller length is captured": lambda random: pcap(random_packets(random), version=(2, 3)),
    "a snap length shorter than records": lambda random: pcap(random_packets(random), snap_len=40),
    "raw IP": lambda random: pcap([(t, d[14:], n) for t, d, n in random_packets(random)], link_type=101),
    "cooked": lambda random: pcap(random_packets(random), link_type=113),
    "BSD loopback": lambda random: pcap(
        [(t, struct.pack(random.choice("<>") + "I", random.choice((2, 24, 30, 9))) + d, n + 4)
         for t, d, n in random_packets(random)], link_type=0
    ),
    "an unknown link type": lambda random: pcap(random_packets(random), link_type=147),
    "pcapng": lambda random: pcapng(random, random_packets(random)),
    "cut": lambda random: pcap(random_packets(random))[:-3],
    "damaged": lambda random: pcap(random_packets(random)) + b"\xff" * 40,
    "pcapng, damaged": lambda random: pcapng(random, random_packets(random)) + b"\xff" * 40,
}  # fmt: skip


def outcome(path: Path, make: Callable[[Backend], Block], backend: str, **setup: Any) -> tuple[Any, ...]:
    """Counts, rows, and the words of the error that ended the run."""
    programs = Backend.INTERPRETER if backend == "interpreter" else Backend.JIT
    blocks: dict[int, Block] = {}

    def block(link: LinkLayer) -> Block:
        return blocks.setdefault(link.number, make(programs))

    try:
        results, failure = run([str(path)], Setup(block, **setup), backend=backend, columns=True), None
    except IncompleteRun as error:
        results, failure = error.results, str(error)
    return counts(results), results.to_arrow(), failure


@pytest.mark.parametrize("at_ingress", [True, False], ids=["ingress", "egress"])
@pytest.mark.parametrize("kind", CAPTURES)
def test_the_native_walk_and_the_classifier_agree(kind: str, at_ingress: bool, tmp_path: Path) -> None:
    for seed in range(3):
        path = tmp_path / f"{seed}.pcap"
        path.write_bytes(CAPTURES[kind](Random(f"{kind} {seed}")))
        profile = V4_13 if seed == 2 else CURRENT
        setup = {"at_ingress": at_ingress, "profile": profile, "ifindex": 7}

        def make(backend: Backend, seed: int = seed, profile: KernelProfile = profile) -> Block:
            return random_block(Random(seed), backend, profile)

        native = outcome(path, make, "native", **setup)
        assert native == outcome(path, make, "interpreter", **setup)
        assert native[0][0][0] >= 59
        assert (native[2] is None) == (kind not in ("cut", "damaged", "pcapng, damaged"))


def test_more_rows_and_classes_than_fit_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "ROWS", 1000)
    count = CLASS_LIMIT + 500
    packets = [(n, b"", n + 1) for n in range(count)] + [(count, b"", 5)]
    path = tmp_path / "many.pcap"
    path.write_bytes(pcap(packets))
    block = Block(ProgramTable())
    add(block, 1, LENGTH)
    batches: list[Batch] = []
    results = run([str(path)], Setup(lambda link: block, at_ingress=False), on_batch=batches.append)
    assert [len(batch.packet) for batch in batches[:-1]] == [1000] * (count // 1000)
    assert [int(n) for batch in batches for n in batch.packet] == list(range(count + 1))
    assert [int(n) for batch in batches for n in batch.classid] == [*range(1, count + 1), 5]
    expected = {n: (1, n) for n in range(1, count + 1)} | {5: (2, 10)}
    assert {each.classid: (each.packets, each.bytes) for each in results.classes} == expected


def test_a_batch_with_data_shows_the_packets_bytes(tmp_path: Path) -> None:
    packets = [(n, bytes([n % 251]) * (n % 1500), n % 1500) for n in range(3000)]
    path = tmp_path / "data.pcap"
    path.write_bytes(pcap(packets))
    block = Block(ProgramTable())
    add(block, 1, MATCH_ALL)
    seen: list[bytes] = []

    def look(batch: Batch) -> None:
        assert batch.data is not None
        for offset, captured in zip(batch.offset, batch.captured, strict=True):
            seen.append(bytes(batch.data[offset : offset + captured]))

    run([str(path)], Setup(lambda link: block, at_ingress=False), on_batch=look, with_data=True)
    assert seen == [data for _, data, _ in packets]


@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_a_changed_filter_is_taken_up(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(file_ways.STRETCH_BYTES, Way.READ, 1 << 20)
    path = tmp_path / "long.pcap"
    path.write_bytes(pcap([(n, bytes(1400), 1400) for n in range(2000)]))
    block = Block(ProgramTable(backend=Backend.INTERPRETER))
    add(block, 1, MATCH_ALL, classid=0x10001)

    def change(progress: Progress) -> None:
        first = block.get_chain(0).find(1)
        if first is not None:
            add(block, 9, MATCH_ALL, classid=0x10009)
            block.get_chain(0).remove(first)

    results = run([str(path)], Setup(lambda link: block), backend=backend, progress=change)
    first, second = results.filters
    assert (first.pref, second.pref) == (1, 9)
    assert first.packets > 0
    assert second.packets > 0
    assert first.packets + second.packets == results.packets == 2000
    assert [each.classid for each in results.classes] == [0x10001, 0x10009]


def test_a_replaced_filter_is_never_missing(tmp_path: Path) -> None:
    """While filters are replaced from another thread, each packet meets the old or the new one."""
    path = tmp_path / "busy.pcap"
    path.write_bytes(pcap([(n, bytes(60), 60) for n in range(4000)]))
    block = Block(ProgramTable(backend=Backend.INTERPRETER))
    add(block, 1, MATCH_ALL, classid=0x10001)
    classifier = block.get_chain(0).find(1)
    assert classifier is not None
    stop = threading.Event()

    def replace() -> None:
        ops = ops_of(MATCH_ALL)
        minor = 0
        while not stop.is_set():
            minor = minor % 5 + 1
            options = BpfOptions(ops=ops, ops_len=len(ops) // 8, classid=0x10000 | minor)
            classifier.change(options, 1, classifier.get(1))

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        results = [run([str(path)], Setup(lambda link: block), backend=b) for b in ("native", "interpreter")]
    finally:
        stop.set()
        thread.join()
    for each in results:
        assert each.packets == 4000
        assert each.undecided == 0


def test_several_captures_one_of_them_damaged(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.pcap", tmp_path / "cut.pcap"
    data = pcap([(n, bytes(60), 60) for n in range(10)])
    whole.write_bytes(data)
    cut.write_bytes(data[:-1])
    block = Block(ProgramTable())
    add(block, 1, MATCH_ALL)
    with pytest.raises(IncompleteRun) as caught:
        run([str(cut), str(tmp_path / "none.pcap"), str(whole)], Setup(lambda link: block))
    assert caught.value.results.packets == 19
    assert [str(error).split(":")[0] for error in caught.value.errors] == [
        str(cut),
        str(tmp_path / "none.pcap"),
    ]


def test_no_capture_at_all(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"none\.pcap: cannot be opened") as caught:
        run([str(tmp_path / "none.pcap")], Setup(lambda link: Block(ProgramTable())))
    assert not isinstance(caught.value, IncompleteRun)


def test_skip_sw_never_runs(tmp_path: Path) -> None:
    path = tmp_path / "one.pcap"
    path.write_bytes(pcap([(0, bytes(60), 60)]))
    block = Block(ProgramTable(), driver=Driver())
    add(block, 1, MATCH_ALL, flags_gen=SKIP_SW)
    add(block, 2, MATCH_ALL, flags_gen=SKIP_SW, flags=DIRECT)
    add(block, 3, MATCH_ALL)
    results = run([str(path)], Setup(lambda link: block))
    assert [each.packets for each in results.filters] == [0, 0, 1]
