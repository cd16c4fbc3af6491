"""A run that begins in the interpreter and changes over leaves what one leaves that waited."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from clsbpf.bpf import classic as c
from clsbpf.bpf.check import check
from clsbpf.bpf.classic import SockFilter
from clsbpf.bpf.isa import Jmp, Size
from clsbpf.engine import changeover, inorder, native
from clsbpf.engine.plans import Setup
from clsbpf.engine.programs import ProgramTable
from clsbpf.engine.results import Results
from clsbpf.engine.run import IncompleteRun, run
from clsbpf.tc.chain import Block
from run_cases import add, counts, pcap, random_packets

PACKETS = 400


def long_program(random: Random) -> tuple[SockFilter, ...]:
    """Many tests, of which the first that holds returns."""
    insns: list[SockFilter] = []
    for _ in range(40):
        insns += [c.ld_abs(Size.B, random.randrange(60)), c.jmp_k(Jmp.JEQ, random.randrange(256), 0, 1)]
        insns.append(c.ret_k(random.choice((0xFFFFFFFF, 0, 7))))
    return check((*insns, c.ret_k(0))).insns


def block_of(seed: int, count: int = 20) -> Block:
    random, block = Random(seed), Block(ProgramTable())
    for prio in range(1, count + 1):
        add(block, prio, long_program(random), classid=0x10000 + prio)
    return block


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "some.pcap"
    path.write_bytes(pcap(random_packets(Random(1), PACKETS)))
    return path


class Slow:
    """Compiling takes until `packets` packets went by."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, packets: int) -> None:
        self.wanted = packets
        self.interpreted = 0
        self.enough = threading.Event()
        self.compiled = threading.Event()
        compile_, take = native.pcap_walk, inorder._InOrder.take

        def wait_and_compile(*given: Any) -> Any:
            assert self.enough.wait(20)
            try:
                return compile_(*given)
            finally:
                self.compiled.set()

        def count_and_take(walk: Any, *given: Any) -> None:
            take(walk, *given)
            self.interpreted += 1
            if self.interpreted == self.wanted:
                self.enough.set()
                assert self.compiled.wait(20)

        monkeypatch.setattr(changeover, "pcap_walk", wait_and_compile)
        monkeypatch.setattr(inorder._InOrder, "take", count_and_take)
        monkeypatch.setattr(changeover, "PATIENCE", 0.0)
        monkeypatch.setattr(changeover, "STEP_BYTES", 500)


def ran(capture: Path, block: Block) -> Results:
    return run([str(capture)], Setup(lambda link: block), columns=True)


def alike(results: Results) -> tuple[Any, ...]:
    return counts(results), results.to_arrow()


@pytest.mark.parametrize("packets", [1, 7, 200, PACKETS - 1])
def test_it_changes_over_at_any_packet(packets: int, capture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = alike(run([str(capture)], Setup(lambda link: block_of(3)), backend="interpreter", columns=True))
    slow = Slow(monkeypatch, packets)
    assert alike(ran(capture, block_of(3))) == plain
    assert packets <= slow.interpreted < PACKETS or packets == PACKETS - 1


def test_a_capture_that_ends_first_is_interpreted(capture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = alike(ran(capture, block_of(4)))
    slow = Slow(monkeypatch, PACKETS + 1)
    try:
        assert alike(ran(capture, block_of(4))) == plain
        assert slow.interpreted == PACKETS
    finally:
        slow.enough.set()


def test_damage_is_told_as_ever(capture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capture.write_bytes(capture.read_bytes()[:-3])

    def failure(block: Block) -> tuple[Any, ...]:
        with pytest.raises(IncompleteRun) as caught:
            ran(capture, block)
        return str(caught.value), counts(caught.value.results)

    plain = failure(block_of(5))
    slow = Slow(monkeypatch, PACKETS + 1)
    try:
        assert failure(block_of(5)) == plain
        assert slow.interpreted == PACKETS - 1
    finally:
        slow.enough.set()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: block_of(6, 3), "it is compiled at once"),
        (lambda: block_of(6, changeover.MAX_FILTERS + 1), "interpreting takes longer than waiting"),
    ],
    ids=["small", "many filters"],
)
def test_who_waits(
    make: Callable[[], Block], why: str, capture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch, 1)
    slow.enough.set()
    results = ran(capture, make())
    assert results.packets == PACKETS
    assert slow.interpreted == 0, why


def test_machine_code_that_is_there_soon_is_waited_for(
    capture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch, 1)
    slow.enough.set()
    monkeypatch.setattr(changeover, "PATIENCE", 20.0)
    assert ran(capture, block_of(7)).packets == PACKETS
    assert slow.interpreted == 0
