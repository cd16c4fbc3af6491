"""Packets that go on natively into a root qdisc come to the classes, and count where, one by one they do."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from clsbpf.api.engine import setup_of
from clsbpf.engine import parallel
from policy_soup import engine_of, gact, in_python, left_behind, police, skbedit, tree
from run_cases import counts, pcap, random_packets
from tc_lines import PASS
from traffic import FRAMES, write_pcap

OFFICE = Path(__file__).parents[2] / "examples" / "office.pcap"
EGRESS = [
    "qdisc add dev v0 clsact",
    "filter add dev v0 egress bpf bytecode '4,48 0 0 23,21 0 1 17,6 0 0 0,6 0 0 4294967295' da flowid 1:1",
]
BASE = [
    "qdisc add dev v0 root handle 1: htb default 30",
    "class add dev v0 parent 1: classid 1:1 htb rate 8mbit",
    "class add dev v0 parent 1:1 classid 1:10 htb rate 4mbit",
    "class add dev v0 parent 1:1 classid 1:30 htb rate 4mbit",
]


def plain_policy(rng: random.Random) -> list[str]:
    """A tree of htb, or prio, with filters of its own only, which only choose."""
    if rng.random() < 0.3:
        priomap = " ".join(str(rng.randrange(4)) for _ in range(16))
        lines = [f"qdisc add dev v0 root handle 1: prio bands 4 priomap {priomap}"]
        classids = ["1:1", "1:4", "1:9", "7:2"]
    else:
        default = rng.choice(["", "default 1", "default 4", "default 99"])
        lines = [f"qdisc add dev v0 root handle 1: htb {default}"]
        minors = list(range(1, rng.randrange(3, 9)))
        for minor in minors:
            parent = rng.randrange(minor)
            lines.append(f"class add dev v0 parent 1:{parent or ''} classid 1:{minor} htb rate 1mbit")
        classids = [*(f"1:{minor}" for minor in minors), "1:", "1:77", "2:1"]
    for pref in range(1, rng.randrange(2, 6)):
        value = rng.choice([0xFFFFFFFF, 0xFFFFFFFF, 0x10002, 5])
        bytecode = f"'4,48 0 0 23,21 0 1 {rng.choice([6, 17, 0])},6 0 0 {value},6 0 0 0'"
        flowid = rng.choice(["", f"flowid {rng.choice(classids)}"])
        lines.append(f"filter add dev v0 parent 1: pref {pref} bpf bytecode {bytecode} {flowid}")
    return lines


def both(lines: list[str], captures: list[str], **given: Any) -> list[Any]:
    """What came of a run, natively and packet by packet, and what it left behind."""
    found = []
    for backend in ("native", "interpreter"):
        engine = engine_of(lines, backend)
        assert not setup_of(engine, dev="v0", hook="egress").in_order
        results = engine.run(captures, dev="v0", hook="egress", columns=True, **given)
        qdiscs = engine.tc("-s qdisc show dev v0")
        found.append((counts(results), results.to_arrow().to_pylist(), qdiscs, left_behind(engine)))
    return found


@pytest.mark.parametrize("seed", range(8))
def test_plain_ones(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    lines = plain_policy(rng)
    capture = write_pcap(tmp_path / "frames.pcap", [rng.choice(FRAMES) for _ in range(200)])
    assert setup_of(engine_of(lines, "native"), dev="v0", hook="egress").plain
    native, in_order = both(lines, [str(capture), str(capture)])
    assert native == in_order


NOT_PLAIN = {
    "an inner class has filters": [
        *BASE[:4],
        f"filter add dev v0 parent 1:1 bpf bytecode {PASS} flowid 1:10",
    ],
    "direct action": [*BASE[:4], f"filter add dev v0 parent 1: bpf bytecode {PASS} da"],
    "an action": [*BASE[:4], f"filter add dev v0 parent 1: bpf bytecode {PASS} flowid 1:10 action drop"],
    "a queue that loses packets": [*BASE[:4], "qdisc add dev v0 parent 1:10 handle 3: bfifo limit 100"],
    "a qdisc with classes below": [*BASE[:4], "qdisc add dev v0 parent 1:10 handle 3: prio"],
    "filters before it": [
        *BASE[:4],
        "qdisc add dev v0 clsact",
        f"filter add dev v0 egress bpf bytecode {PASS}",
    ],
    "a size table": ["qdisc add dev v0 root handle 1: stab overhead 4 htb"],
    "a rate for all": [
        "qdisc add dev v0 root handle 1: tbf rate 1mbit burst 300 limit 2k",
        "qdisc add dev v0 parent 1:1 handle 2: prio",
        f"filter add dev v0 parent 2: bpf bytecode {PASS} flowid 2:1",
    ],
    "a rate in a class": [*BASE, "qdisc add dev v0 parent 1:30 tbf rate 1mbit burst 300 limit 2k"],
    "nothing below a rate": [
        *BASE,
        "qdisc add dev v0 parent 1:30 handle 3: tbf rate 1mbit burst 300 limit 2k",
        "qdisc add dev v0 parent 3:1 handle 4: pfifo",
        "qdisc del dev v0 parent 3:1",
    ],
    "queues that drop what has waited": [
        *BASE,
        "qdisc add dev v0 parent 1:30 handle 3: fq_codel",
        "qdisc add dev v0 parent 1:10 handle 4: codel",
        f"filter add dev v0 parent 1:1 bpf bytecode {PASS} flowid 1:30",
    ],
    "no room past the classes": ["qdisc add dev v0 root handle 1: htb direct_qlen 0"],
}


@pytest.mark.parametrize("lines", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_others(lines: list[str]) -> None:
    assert not setup_of(engine_of(lines, "native"), dev="v0", hook="egress").plain
    native, in_order = both(lines, [str(OFFICE)])
    assert native == in_order
    assert native[2][0]["packets"] or native[2][0]["drops"]


@pytest.mark.parametrize("seed", range(8))
def test_random_trees(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    kinds = ([], [gact], [gact, skbedit, police], [gact, skbedit, in_python])[seed % 4]
    before = EGRESS if seed % 3 else []
    lines = [*before, *tree(rng, extended=0.3 if seed < 3 else 0, kinds=kinds)]
    path = tmp_path / "random.pcap"
    path.write_bytes(pcap(random_packets(rng, 150)))
    native, in_order = both(lines, [str(path), str(OFFICE)])
    assert native == in_order


@pytest.mark.parametrize(
    "lines", [[*EGRESS, *NOT_PLAIN["an inner class has filters"]], NOT_PLAIN["a size table"]]
)
def test_several_workers(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("MIN_PIECE_BYTES", 40_000), ("PIECE_BYTES_WITH_ROWS", 40_000)):
        monkeypatch.setattr(parallel, name, size)
    native, in_order = both(lines, [str(OFFICE)], jobs=3)
    assert native == in_order
    assert native[0][5] == (), "one worker read it"


def test_a_class_that_comes_during_the_run_is_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "long.pcap"
    path.write_bytes(pcap([(n, bytes(1400), 1400) for n in range(2000)]))
    lines = [*EGRESS, *BASE, f"filter add dev v0 parent 1:1 bpf bytecode {PASS} flowid 1:40"]
    lines.append(f"filter add dev v0 parent 1: bpf bytecode {PASS} flowid 1:1")
    engine = engine_of(lines, "native")

    def change(_: object) -> None:
        if engine._network.device("v0").root.find(0x10040) is None:  # type: ignore[union-attr]
            engine.tc("class add dev v0 parent 1:1 classid 1:40 htb rate 1mbit")

    results = engine.run(path, dev="v0", hook="egress", columns=True, progress=change)
    came = {each.classid: each.packets for each in results.classes}
    assert came[0x10001] == came[0x10030] + came[0x10040] == 2000
    assert came[0x10030]
    assert came[0x10040]
