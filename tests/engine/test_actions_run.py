"""Actions in a native run do to each packet what the classifier does, and count the same."""

from __future__ import annotations

import ctypes
from pathlib import Path
from random import Random
from typing import Any

import pytest

from clsbpf.api import Engine
from clsbpf.engine import parallel
from clsbpf.engine.planned import needs_order
from clsbpf.tc.act import TcAct
from clsbpf.tc.chain import Block
from run_cases import counts, pcap, pcapng, random_packets

OFFICE = Path(__file__).parents[2] / "examples" / "office.pcap"
MARKED = "4,32 0 0 4294963220,69 1 0 {0},6 0 0 0,6 0 0 4294967295"
"""Matches where the packet's mark has these bits."""
PROGRAMS = (
    "1,6 0 0 4294967295",
    "4,40 0 0 12,21 0 1 2048,6 0 0 4294967295,6 0 0 0",
    "4,40 0 0 12,21 0 1 2048,6 0 0 65543,6 0 0 0",
    "2,128 0 0 0,22 0 0 0",
    "4,128 0 0 0,37 0 1 200,6 0 0 4294967295,6 0 0 0",
    "4,48 0 0 14,69 0 1 5,6 0 0 4294967295,6 0 0 0",
    MARKED.format(1),
    MARKED.format(6),
    "4,32 0 0 4294963204,21 0 1 2,6 0 0 4294967295,6 0 0 0",  # pkttype 2
    "2,32 0 0 4294963224,22 0 0 0",  # queue
    "4,32 0 0 4294963256,37 0 1 2147483648,6 0 0 4294967295,6 0 0 0",  # random numbers
)
CONTROLS = ("pass", "drop", "continue", "pipe", "reclassify", "trap", "goto chain {}", "jump {}")


def control(random: Random, *, last: bool) -> str:
    kind = random.choice(CONTROLS if last or random.random() < 0.3 else ("pipe", "continue", "jump {}"))
    return kind.format(random.randrange(1, 4))


def gact(random: Random, *, last: bool) -> str:
    text = f"action gact {control(random, last=last)}"
    if random.random() < 0.4:
        kind = random.choice(("determ", "netrand"))
        other = random.choice(("pass", "drop", "pipe", "continue", "reclassify", "jump 2"))
        text += f" random {kind} {other} {random.choice((1, 2, 3, 10, 10000))}"
    return text


def skbedit(random: Random, *, last: bool) -> str:
    edits = [
        f"mark {random.randrange(8)}" + random.choice(("", "/0x3")),
        f"priority 1:{random.randrange(9)}",
        f"queue_mapping {random.randrange(9)}",
        f"ptype {random.choice(('host', 'multicast', 'broadcast', 'otherhost'))}",
        "inheritdsfield",
    ]
    chosen = random.sample(edits, random.randrange(1, 4))
    return f"action skbedit {' '.join(chosen)} {control(random, last=last)}"


def police(random: Random, *, last: bool) -> str:
    kind = random.random()
    rate = random.choice(("8kbit", "1mbit", "100mbit", "3gbit"))
    if kind < 0.2:
        limits = f"pkts_rate {random.choice((1, 100, 5000))} pkts_burst {random.choice((1, 10))}"
    elif kind < 0.4:
        limits = f"rate {rate} burst 9k peakrate 2mbit mtu {random.choice((300, 900, 2000))}"
    elif kind < 0.6:
        limits = f"rate {rate} burst 20k overhead 24 linklayer {random.choice(('atm', 'ethernet'))}"
    elif kind < 0.7:
        limits = f"mtu {random.choice((60, 90, 1500))}"
    else:
        limits = f"rate {rate} burst {random.choice(('1k', '3k', '100k'))}"
    exceed = random.choice(("drop", "pass", "pipe", "reclassify", "continue"))
    return f"action police {limits} conform-exceed {exceed}/{random.choice(('pipe', 'pass', 'drop'))}"


IN_PYTHON = (
    "action vlan push id 5 pipe",
    "action vlan pop pipe",
    "action pedit ex munge ip ttl set 7 pipe",
    "action csum ip pipe",
    "action skbmod swap mac pipe",
    "action simple sdata hello pipe",
    "action sample rate 3 group 5 pipe",
    "action mirred egress mirror dev v1 pipe",
    "action mirred ingress mirror dev v1",
    "action mirred egress redirect dev v1",
    "action mirred egress redirect dev v9",
)
"""What native code leaves to Python; v1 has filters and actions of its own, v9 goes before packets come."""


def in_python(random: Random, *, last: bool) -> str:
    return random.choice(IN_PYTHON if last else IN_PYTHON[:8])


def policy(seed: int, *, filters: int, hook: str = "ingress", python: bool = False) -> list[str]:
    """Filters in three chains with all sorts of actions, some of which several filters share."""
    random = Random(seed)
    lines = [
        "qdisc add dev v0 clsact",
        "qdisc add dev v1 clsact",
        "actions add action gact pipe index 77",
        "filter add dev v1 egress bpf bytecode '4,48 0 0 0,69 0 1 1,6 0 0 4294967295,6 0 0 0'"
        " action police rate 1mbit burst 9k conform-exceed drop",
        "filter add dev v1 ingress bpf bytecode '1,6 0 0 4294967295' action gact drop random netrand pass 3",
    ]
    for _ in range(filters):
        chain = random.choice((0, 0, 0, 1, 2, 3))
        prio = random.randrange(1, 7)
        protocol = ("all", "ip", "all", "ipv6", "802.1q", "all")[prio - 1]
        program = random.choice(PROGRAMS)
        words = f"filter add dev v0 {hook} chain {chain} pref {prio} protocol {protocol}"
        words += f" bpf bytecode '{program}'"
        if random.random() < 0.7:
            words += f" flowid 1:{random.randrange(1, 20)}"
        count = random.choice((0, 1, 1, 2, 3))
        for number in range(count):
            make = random.choice((gact, skbedit, police, *([in_python] * 3 if python else [])))
            words += " " + make(random, last=number == count - 1)
        if random.random() < 0.2:
            words += " action gact pipe index 77"
        lines.append(words)
    return lines


def engine_of(lines: list[str], backend: str, profile: str = "current") -> Engine:
    engine = Engine(backend=backend, profile=profile)
    for name in ("v0", "v1", "v9"):
        engine.add_device(name)
    for line in lines:
        engine.tc(line)
    del engine._network._devices[4]
    return engine


def statistics(engine: Engine) -> Any:
    """All that packets changed of the actions, their clock and random numbers, byte for byte."""
    around = engine._network.actions.around
    states = {
        (kind, action.index): bytes(action.memory) + bytes(action.estimator or b"")
        for kind, table in engine._network.actions.tables.items()
        for action in table
    }
    assert isinstance(around.random, ctypes.Structure)
    return states, around.clock.now(), around.random.state


def block_of(engine: Engine, hook: str) -> Block:
    return engine._block(engine._pick_device("v0"), hook)


def outcomes(lines: list[str], captures: list[str], hook: str, *, profile: str = "current") -> list[Any]:
    found = []
    for backend in ("native", "interpreter"):
        engine = engine_of(lines, backend, profile)
        assert not needs_order(block_of(engine, hook))
        around, told, sent = engine._network.actions.around, [], []
        around.say, around.sample = told.append, told.append
        results = engine.run(captures, dev="v0", hook=hook, columns=True, on_delivery=sent.append)
        found.append((counts(results), results.to_arrow(), statistics(engine), told, sent))
    return found


@pytest.mark.parametrize("hook", ["ingress", "egress"])
@pytest.mark.parametrize("seed", range(8))
def test_random_policies(seed: int, hook: str, tmp_path: Path) -> None:
    random = Random(seed)
    path = tmp_path / "random.pcap"
    packets = random_packets(random, 300)
    times = [random.choice((time, time - 10**9, time + 10**8, time)) for time, _, _ in packets]
    path.write_bytes(pcap([(t, *packet[1:]) for t, packet in zip(times, packets, strict=True)]))
    profile = "4.13" if seed % 3 == 2 else "current"
    lines = policy(seed, filters=14, hook=hook)
    native, in_order = outcomes(lines, [str(path), str(path)], hook, profile=profile)
    assert native == in_order


@pytest.mark.parametrize("seed", range(3))
def test_times_of_all_kinds(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    path = tmp_path / "random.pcapng"
    path.write_bytes(pcapng(random, random_packets(random, 150)))
    native, in_order = outcomes(policy(seed + 50, filters=12), [str(path)], "ingress")
    assert native == in_order


@pytest.mark.parametrize("seed", range(100, 104))
def test_real_traffic(seed: int) -> None:
    native, in_order = outcomes(policy(seed, filters=12), [str(OFFICE)], "ingress")
    assert native == in_order
    assert any(any(state[8:16]) for state in native[2][0].values()), "no action met a packet"


def test_an_action_that_repeats_has_a_budget() -> None:
    """REPEAT, which tc has no word for, runs an action up to 32 times."""
    lines = [
        "qdisc add dev v0 clsact",
        "filter add dev v0 ingress pref 1 bpf bytecode '1,6 0 0 4294967295'"
        " action gact pass random determ pipe 40 action gact drop",
    ]
    found = []
    for backend in ("native", "interpreter"):
        engine = engine_of(lines, backend)
        first = engine._network.actions.tables["gact"].find(1)
        assert first is not None
        first.set_control(TcAct.REPEAT, None)
        results = engine.run(OFFICE, dev="v0")
        found.append((counts(results), statistics(engine)))
    assert found[0] == found[1]
    verdicts = found[0][0][2]
    assert verdicts["ok"] > verdicts["shot"] > 0


def test_an_action_that_changes_is_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "long.pcap"
    path.write_bytes(pcap([(n, bytes(1400), 1400) for n in range(2000)]))
    for backend in ("native", "interpreter"):
        engine = engine_of(
            [
                "qdisc add dev v0 clsact",
                "filter add dev v0 ingress bpf bytecode '1,6 0 0 4294967295' action gact pass index 5",
            ],
            backend,
        )
        results = engine.run(
            path,
            dev="v0",
            progress=lambda _, engine=engine: engine.tc("actions replace action gact drop index 5"),
        )
        assert results.verdicts["ok"] > 0
        assert results.verdicts["shot"] > 0
        assert results.verdicts["ok"] + results.verdicts["shot"] == 2000


@pytest.mark.parametrize("hook", ["ingress", "egress"])
@pytest.mark.parametrize("seed", range(4))
def test_what_python_does_comes_in_its_turn(seed: int, hook: str, tmp_path: Path) -> None:
    """Packets are changed and sent elsewhere between actions and filters of native code, in their order."""
    path = tmp_path / "random.pcap"
    path.write_bytes(pcap(random_packets(Random(seed), 200)))
    profile = "4.13" if seed % 3 == 2 else "current"
    lines = policy(seed + 200, filters=16, hook=hook, python=True)
    native, in_order = outcomes(lines, [str(path)], hook, profile=profile)
    assert native == in_order


PEAKS = "rate 1mbit burst 9k peakrate 2mbit mtu 900"
AVERAGES = (
    "estimator 250ms 500ms {} action police avrate 100kbit conform-exceed drop",
    f"estimator 1s 8s {{}} action police {PEAKS} conform-exceed drop",
    "estimator 500ms 1s {} action gact pass",
    "estimator 4s 64s {} action skbedit mark 1 pipe action police avrate 1kbit conform-exceed drop/pass",
)


@pytest.mark.parametrize("words", AVERAGES)
def test_an_action_with_an_estimator(words: str, tmp_path: Path) -> None:
    """Also where nothing comes for long, and where time goes backwards, or to its end."""
    filter = words.format("bpf bytecode '1,6 0 0 4294967295'")
    lines = ["qdisc add dev v0 clsact", f"filter add dev v0 ingress {filter}"]
    native, in_order = outcomes(lines, [str(OFFICE)], "ingress")
    assert native == in_order
    assert ("police" in words) == (native[0][2]["shot"] > 0)
    random, time, packets = Random(words), 10**18, []
    for _, *packet in random_packets(random, 150):
        time += random.choice((-(10**9), 0, 10**7, 10**8, 3 * 10**9, 10**12))
        packets.append((time, *packet))
    path = tmp_path / "long.pcap"
    path.write_bytes(pcap([*packets, (4 * 10**18, *packets[0][1:])]))
    native, in_order = outcomes(lines, [str(path), str(OFFICE)], "ingress")
    assert native == in_order


def test_a_packet_that_was_cut_within_its_link_layer_is_mirrored(tmp_path: Path) -> None:
    path = tmp_path / "cut.pcap"
    sizes = [(10, 15), (0, 14), (13, 900)]
    path.write_bytes(pcap([(n, bytes(size), length) for n, (size, length) in enumerate(sizes)]))
    lines = ["qdisc add dev v0 clsact", "qdisc add dev v1 clsact"]
    lines += [
        f"filter add dev v0 ingress pref {n} bpf bytecode '1,6 0 0 1'"
        f" action mirred {side} mirror dev v1 continue"
        for n, side in ((1, "ingress"), (2, "egress"))
    ]
    native, in_order = outcomes(lines, [str(path)], "ingress")
    assert native == in_order
    sent = [(len(each.data), each.length) for each in native[4]]
    assert sent == [size for size in sizes for _ in range(2)]


def test_a_chain_of_another_block_runs_in_order() -> None:
    lines = [
        "qdisc add dev v0 clsact",
        "filter add dev v0 egress bpf bytecode '1,6 0 0 1' action goto chain 3 index 9",
        "filter add dev v0 ingress bpf bytecode '1,6 0 0 1' action gact index 9",
    ]
    engine = engine_of(lines, "native")
    assert needs_order(block_of(engine, "ingress"))
    assert not needs_order(block_of(engine, "egress"))


PLAIN = ("drop", "pass", "pipe", "continue", "goto chain {}", "reclassify")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_several_workers_count_as_one(
    seed: int, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Actions that only count do so in any number of workers, with the times of one."""
    monkeypatch.setattr(parallel, "MIN_PIECE_BYTES", 9_000)
    monkeypatch.setattr(parallel, "PIECE_BYTES", 12_000)
    monkeypatch.setattr(parallel, "PIECE_BYTES_WITH_ROWS", 9_000)
    random = Random(seed)
    path = tmp_path / "split"
    packets = [
        (time + random.choice((0, -(10**9), 10**8)), data, length)
        for time, data, length in random_packets(random, 700)
    ]
    path.write_bytes(pcap(packets) if kind == "pcap" else pcapng(random, packets))
    lines = ["qdisc add dev v0 clsact"]
    for prio in range(1, 9):
        words = f"filter add dev v0 ingress chain {prio // 6} pref {prio} bpf"
        words += f" bytecode '{random.choice(PROGRAMS[:-1])}' flowid 1:{prio}"
        words += f" action gact {random.choice(PLAIN).format(random.randrange(3))} index {prio // 2 + 1}"
        lines.append(words + random.choice(("", f" action {skbedit(random, last=True)[7:]}")))
    found = []
    for jobs in (1, 3):
        engine = engine_of(lines, "native")
        results = engine.run([str(path)] * 2, dev="v0", columns=True, jobs=jobs)
        found.append((counts(results), results.to_arrow(), statistics(engine)))
    assert found[0] == found[1]


def test_one_worker_counts_what_actions_see(tmp_path: Path) -> None:
    lines = [
        "qdisc add dev v0 clsact",
        "filter add dev v0 ingress bpf bytecode '1,6 0 0 4294967295' action police rate 1mbit burst 9k drop",
    ]
    engine = engine_of(lines, "native")
    results = engine.run(OFFICE, dev="v0", jobs=2)
    assert len(results.warnings) == 1
    assert "read by one worker" in results.warnings[0]
