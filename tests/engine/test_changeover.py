"""A run that begins in the interpreter and changes over leaves what one leaves that waited."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path
from random import Random
from typing import Any

import pytest

from clsbpf.api import FilterText, filters_setup
from clsbpf.bpf import classic as c
from clsbpf.bpf.check import check
from clsbpf.bpf.classic import SockFilter
from clsbpf.bpf.isa import Jmp, Size
from clsbpf.engine import changeover, inorder, parallel
from clsbpf.engine.plans import Setup
from clsbpf.engine.programs import ProgramTable
from clsbpf.engine.results import Results
from clsbpf.engine.run import IncompleteRun, run
from clsbpf.errors import ClsbpfError
from clsbpf.tc.chain import Block
from judges import need_libpcap
from policy_soup import engine_of, filters, gact, in_python, left_behind, police, skbedit, tree
from run_cases import add, counts, enhanced, interface, pcap, pcapng, random_packets, section

PACKETS = 400
OFFICE = Path(__file__).parents[2] / "examples" / "office.pcap"


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
        compile_, until, take = changeover.compile_walk, changeover._until, inorder._InOrder.take

        def wait_and_compile(*given: Any) -> None:
            assert self.enough.wait(20)
            compile_(*given)

        def note_and_go_on(prepared: Future[Any], *given: Any) -> Any:
            self.prepared = prepared
            return until(prepared, *given)

        def count_and_take(walk: Any, *given: Any) -> None:
            take(walk, *given)
            self.interpreted += 1
            if self.interpreted == self.wanted:
                self.enough.set()
                assert not wait([self.prepared], 20).not_done

        monkeypatch.setattr(changeover, "compile_walk", wait_and_compile)
        monkeypatch.setattr(changeover, "_until", note_and_go_on)
        monkeypatch.setattr(inorder._InOrder, "take", count_and_take)
        monkeypatch.setattr(changeover, "PATIENCE", 0.0)
        monkeypatch.setattr(changeover, "STEP_BYTES", 1)


def ran(capture: Path, block: Block) -> Results:
    return run([str(capture)], Setup(lambda link: block), columns=True)


def alike(results: Results) -> tuple[Any, ...]:
    return counts(results), results.to_arrow()


@pytest.mark.parametrize("packets", [1, 7, 200, PACKETS - 1])
def test_it_changes_over_at_any_packet(packets: int, capture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = alike(run([str(capture)], Setup(lambda link: block_of(3)), backend="interpreter", columns=True))
    slow = Slow(monkeypatch, packets)
    assert alike(ran(capture, block_of(3))) == plain
    assert slow.interpreted == packets


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


def alike_filters() -> Block:
    """Many, of one shape."""
    block = Block(ProgramTable())
    for prio in range(1, 400):
        add(block, prio, f"4,40 0 0 12,21 0 1 {prio},6 0 0 4294967295,6 0 0 0")
    return block


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: block_of(6, 3), "it is compiled at once"),
        (alike_filters, "one function serves them all"),
    ],
    ids=["small", "alike"],
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


FEW = 9
POLICIES = {
    "eBPF programs and maps": (3, "ingress", 1.0, []),
    "actions": (4, "ingress", 0.0, [gact, skbedit, police, in_python]),
    "a root qdisc": (5, "egress", 0.3, [gact, police]),
}


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("ending", ["pcap", "pcapng"])
def test_wherever_it_changes_over(
    name: str, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed, hook, extended, kinds = POLICIES[name]
    random = Random(seed)
    lines = ["qdisc add dev v0 clsact", "qdisc add dev v1 clsact"]
    lines += filters(random, hook, 6, ["1:1", "1:2"], extended=extended, kinds=kinds)
    if hook == "egress":
        lines += tree(random, extended=extended, kinds=kinds)
    path = tmp_path / f"few.{ending}"
    packets = random_packets(random, FEW)
    path.write_bytes(pcap(packets) if ending == "pcap" else pcapng(random, packets))

    def outcome(backend: str) -> Any:
        engine = engine_of(lines, backend)
        results = engine.run([path], dev="v0", hook=hook, columns=True)
        return counts(results), results.to_arrow(), left_behind(engine)

    definition = outcome("interpreter")
    monkeypatch.setattr(changeover, "LARGE_INSNS", 0)
    for packets_before in range(1, FEW):
        with monkeypatch.context() as patched:
            slow = Slow(patched, packets_before)
            assert outcome("native") == definition
            assert slow.interpreted == packets_before


def test_several_workers_take_over(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("MIN_PIECE_BYTES", 40_000), ("PIECE_BYTES_WITH_ROWS", 40_000)):
        monkeypatch.setattr(parallel, name, size)
    block = block_of(8)
    plain = run([str(OFFICE)], Setup(lambda link: block), backend="interpreter", columns=True)
    split, pieces = parallel.run_split, []
    monkeypatch.setattr(
        parallel, "run_split", lambda *given: (pieces.append(each) or each for each in split(*given))
    )
    slow = Slow(monkeypatch, 100)
    found = run([str(OFFICE)], Setup(lambda link: block_of(8)), jobs=3, columns=True)
    assert alike(found) == alike(plain)
    assert slow.interpreted == 100
    assert len(pieces) > 5


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_link_type_is_looked_at_when_a_packet_has_it(
    jobs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An expression that means nothing for an interface from which nothing comes harms nobody."""
    need_libpcap()
    path = tmp_path / "two.pcapng"
    head = section("<") + interface("<", 1) + interface("<", 101)
    packets = [enhanced("<", 0, 10**6, data, length) for _, data, length in random_packets(Random(2), 5)]

    def ran() -> Results:
        given = [FilterText("expression", "ip"), FilterText("expression", "vlan")]
        return run([str(path)], filters_setup(given, profile="current", backend="native"), jobs=jobs)

    path.write_bytes(head + b"".join(packets))
    assert ran().packets == 5
    path.write_bytes(head + b"".join(packets) + enhanced("<", 1, 10**6, bytes(40), 40))
    with pytest.raises(ClsbpfError, match="no VLAN support"):
        ran()
