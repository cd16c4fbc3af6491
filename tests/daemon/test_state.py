"""What was acknowledged is there again: a policy, kept and restored, shows what it showed before."""

from __future__ import annotations

import errno
import os
import random
import shutil
from pathlib import Path

import pytest

from clsbpf.daemon.state import POLICY, State, kept
from clsbpf.netlink.message import iter_messages, read_acknowledgement
from clsbpf.tc.qdiscs.htb import HtbClass
from clsbpf.tccmd.command import parse_command
from daemon_lab import Lab
from tc_action_lines import SPECS
from tc_judge import tc_judge
from tc_lines import IP, PASS

UNSAID = 1
"""Of the specs above, so many at most are kept as requests, because tc has no words for what they became."""


def body(directory: Path) -> list[str]:
    lines = (directory / POLICY).read_text().splitlines()
    return [line for line in lines if not line.startswith(("# ", "#!device", "#!programs", "#!ids"))]


def lab() -> Lab:
    made = Lab()
    made.tc("qdisc add dev lab0 clsact")
    return made


def test_actions_of_all_kinds_come_back(tmp_path: Path) -> None:
    there = lab()
    taken = sum(
        there.try_tc(f"filter add dev lab0 ingress bpf bytecode {PASS} action {spec}".replace("v1", "lab1"))
        for spec in SPECS
    )
    assert taken > 80
    again = there.restarted(tmp_path)
    assert again.shown() == there.shown()
    unsaid = [line for line in body(tmp_path) if line.startswith("#!request")]
    assert len(unsaid) <= UNSAID, unsaid


def test_actions_of_their_own_come_back(tmp_path: Path) -> None:
    there = lab()
    taken = sum(there.try_tc(f"actions add action {spec}".replace("v1", "lab1")) for spec in SPECS)
    assert taken > 80
    there.tc("filter add dev lab0 egress bpf bytecode '1,6 0 0 1' action gact index 1")
    assert there.restarted(tmp_path).shown() == there.shown()


ODD = [
    "qdisc add dev a#b clsact",
    "qdisc add dev it's clsact",
    "filter add dev a#b ingress bpf bytecode '1,6 0 0 1' action mirred egress redirect dev it's",
    "actions add action simple sdata 'two words'",
    "actions add action simple sdata it's",
    'actions add action simple sdata "it\'s two"',
    "actions add action simple sdata one#two",
    "actions add action simple sdata back\\slash",
]


def test_odd_names_and_texts_come_back(tmp_path: Path) -> None:
    there = Lab(devices=("a#b", "it's"))
    for line in ODD:
        there.tc(line)
    assert there.restarted(tmp_path).shown() == there.shown()


POLICIES = {
    "nothing": [],
    "newest first": [
        f"filter add dev lab0 ingress pref 7 protocol ip bpf bytecode '1,6 0 0 {n}' flowid 1:{n}"
        for n in range(1, 6)
    ],
    "a replaced one stays in its place": [
        f"filter add dev lab0 ingress pref 7 handle 3 bpf bytecode {PASS}",
        f"filter add dev lab0 ingress pref 7 handle 1 bpf bytecode {PASS}",
        f"filter add dev lab0 ingress pref 7 handle 2 bpf bytecode {PASS}",
        f"filter replace dev lab0 ingress pref 7 handle 1 bpf bytecode {IP} da",
        "filter del dev lab0 ingress pref 7 handle 2 bpf",
    ],
    "protocols and prios": [
        f"filter add dev lab0 egress protocol {protocol} bpf bytecode {PASS}"
        for protocol in ("ip", "ipv6", "arp", "802.1Q", "0x1234", "all", "802_3")
    ],
    "a policer of its own": [
        f"filter add dev lab0 ingress bpf bytecode {PASS} police rate 1mbit burst 10k drop"
    ],
    "an action that filters share": [
        "actions add action police rate 1mbit burst 20k index 5",
        f"filter add dev lab0 ingress bpf bytecode {PASS} action police index 5",
        f"filter add dev lab0 egress bpf bytecode {PASS} action police index 5 action drop",
    ],
    "an action that only filters hold": [
        f"filter add dev lab0 ingress bpf bytecode {PASS} action skbedit mark 7 index 9",
        f"filter add dev lab0 ingress bpf bytecode {PASS} action skbedit index 9",
    ],
    "chains": [
        "chain add dev lab0 ingress chain 3",
        f"filter add dev lab0 ingress bpf bytecode {PASS} action goto chain 7",
        f"filter add dev lab0 ingress chain 7 bpf bytecode {PASS} flowid 1:1",
        "chain add dev lab0 egress chain 0",
    ],
    "shared blocks": [
        "qdisc add dev lab1 ingress_block 5 egress_block 6 clsact",
        f"filter add block 5 pref 3 bpf bytecode {PASS} action mirred egress redirect dev lab0",
        f"filter add block 6 chain 2 bpf bytecode {PASS}",
        "chain add block 6 chain 9",
    ],
    "the old ingress": [
        "qdisc add dev lab1 ingress",
        f"filter add dev lab1 egress bpf bytecode {PASS}",
    ],
    "flags, cookies and statistics of hardware": [
        f"filter add dev lab0 ingress bpf bytecode {PASS} skip_hw action drop cookie 00ff hw_stats disabled",
        "actions add action gact pass index 77 cookie aa no_percpu",
    ],
    "classes": [
        "qdisc add dev lab0 root handle 1: htb default 30 r2q 5",
        "class add dev lab0 parent 1: classid 1:1 htb rate 100mbit ceil 200mbit burst 15k",
        "class add dev lab0 parent 1:1 classid 1:30 htb rate 70gbit mpu 64 overhead 24 linklayer atm",
        "class add dev lab0 parent 1:1 classid 1:10 htb rate 30mbit prio 2 quantum 2000",
        "qdisc add dev lab0 parent 1:10 handle 10: prio bands 4 priomap 1 1 1 1 0 0 0 0 2 2 2 2 3 3 3 3",
        "qdisc add dev lab0 parent 10:1 handle 2: pfifo limit 33",
        "qdisc add dev lab0 parent 1:30 handle 30: bfifo limit 3000",
        f"filter add dev lab0 parent 1: pref 4 bpf bytecode {PASS} flowid 1:10",
        f"filter add dev lab0 parent 1:1 pref 4 bpf bytecode {PASS} flowid 1:30",
        f"filter add dev lab0 parent 10: pref 4 bpf bytecode {PASS} flowid 10:2",
    ],
    "qdiscs": [
        "qdisc add dev lab0 root handle 1: stab overhead 20 linklayer atm mtu 2000 bfifo limit 10kb",
        "qdisc add dev lab1 root handle 2: prio bands 4 priomap 3 2 1 0 0 0 0 0 0 0 0 0 0 0 0 0",
        "qdisc add dev lab1 parent 2:1 handle 21: pfifo limit 7",
        "qdisc add dev lab1 parent 2:2 handle 22: pfifo_fast",
        "qdisc add dev lab1 parent 2:4 handle 24: htb default 1",
        "class add dev lab1 parent 24: classid 24:1 htb rate 1gbit",
        f"filter add dev lab1 parent 2: bpf bytecode {PASS} flowid 2:4",
    ],
    "more classes": [
        "qdisc add dev lab0 root handle 1: htb default 30 r2q 7 direct_qlen 5",
        "class add dev lab0 parent 1: classid 1:2 htb rate 10mbit ceil 40gbit",
        "class add dev lab0 parent 1:2 classid 1:1 htb rate 1mbit prio 3 overhead 4 mpu 64 linklayer atm",
        "class add dev lab0 parent 1:1 classid 1:3 htb rate 2mbit burst 300k cburst 17k quantum 3000",
        "class add dev lab0 parent 1: classid 1:4 htb rate 35gbit burst 7m",
        "qdisc add dev lab0 parent 1:3 handle 5: htb",
        "class add dev lab0 parent 5: classid 5:1 htb rate 8kbit",
        f"filter add dev lab0 parent 1: bpf bytecode {PASS} flowid 1:1",
        f"filter add dev lab0 parent 1:1 bpf bytecode {PASS} flowid 1:3",
        f"filter add dev lab0 parent 5: bpf bytecode {PASS} flowid 5:1",
        "chain add dev lab0 parent 1:1 chain 4",
    ],
    "a rate for all": [
        "qdisc add dev lab0 root handle 1: tbf rate 1mbit burst 10k latency 50ms peakrate 2mbit mtu 1540",
        "qdisc add dev lab0 parent 1:1 handle 2: tbf rate 40gbit burst 5m limit 3m overhead 4 linklayer atm",
        "qdisc add dev lab0 parent 2:1 handle 3: prio",
        "qdisc add dev lab1 root handle 1: tbf rate 1kbit burst 1k limit 1",
    ],
    "queues that drop what has waited": [
        "qdisc add dev lab0 root handle 1: fq_codel",
        "qdisc add dev lab1 root handle 1: prio bands 4",
        "qdisc add dev lab1 parent 1:1 handle 2: fq_codel limit 7 flows 5 target 3ms interval 77 quantum 300"
        " noecn ce_threshold 1 ce_threshold_selector 3/4 memory_limit 1m drop_batch 3",
        "qdisc add dev lab1 parent 1:2 handle 3: sfq limit 100 quantum 2000 perturb 10 divisor 512 depth 9",
        "qdisc add dev lab1 parent 1:4 handle 5: codel",
        "qdisc add dev lab1 parent 1:3 handle 4: codel limit 7 target 3ms interval 77 ecn ce_threshold 12345",
        f"filter add dev lab1 parent 2: bpf bytecode {PASS} flowid 2:4",
    ],
    "size tables": [
        "qdisc add dev lab0 stab overhead 24 root handle 1: prio",
        "qdisc add dev lab1 stab linklayer atm mtu 1500 tsize 128 mpu 64 overhead -10 root handle 1: htb",
    ],
    "an action that was changed": [
        f"filter add dev lab0 ingress bpf bytecode {PASS} action gact drop index 4",
        "actions replace action gact pass index 4 cookie 01",
    ],
}


@pytest.mark.parametrize("lines", POLICIES.values(), ids=POLICIES)
def test_policies_come_back(lines: list[str], tmp_path: Path) -> None:
    there = lab()
    for line in lines:
        there.tc(line)
    again = there.restarted(tmp_path)
    assert again.shown() == there.shown()
    assert [line for line in body(tmp_path) if line.startswith("#!")] == []


ESTIMATED = {
    "of qdiscs and classes": [
        "qdisc add dev lab0 root handle 1: estimator 1s 4s htb",
        "class add dev lab0 parent 1: classid 1:1 estimator 250ms 500ms htb rate 1mbit",
        "qdisc add dev lab0 parent 1:1 handle 10: estimator 8s 30s prio",
        "qdisc add dev lab1 estimator 2s 9s ingress_block 5 clsact",
    ],
    "of a policer": [
        "filter add dev lab0 ingress estimator 1s 8s bpf bytecode '1,6 0 0 1' "
        "action police index 3 avrate 1mbit drop action drop index 4",
        f"filter add dev lab0 egress bpf bytecode {PASS} action police index 3 action pass index 5",
    ],
    "of a policer in its old form": [
        f"filter add dev lab0 ingress estimator 1s 8s bpf bytecode {PASS} police avrate 1mbit drop",
    ],
    "of some actions of a filter": [
        f"filter add dev lab0 ingress pref 7 estimator 1s 8s bpf bytecode {PASS} action drop index 5",
        f"filter add dev lab0 ingress pref 8 estimator 2s 8s bpf bytecode {PASS} action drop index 6",
        f"filter add dev lab0 ingress pref 5 bpf bytecode {PASS} action pass index 1 action drop index 5 "
        "action pass index 2 action drop index 6 action pass index 3",
        "filter del dev lab0 ingress pref 8",
    ],
    "of an action of its own that filters hold": [
        "actions add action gact drop index 5",
        f"filter add dev lab0 ingress estimator 1s 8s bpf bytecode {PASS} action gact index 5",
        f"filter add dev lab0 ingress estimator 1s 8s bpf bytecode {PASS} action gact index 5 action pass",
    ],
}


def estimators(there: Lab) -> list[tuple[object, bytes | None]]:
    """Of everything that may have one."""
    network = there.host.network
    found: list[tuple[object, bytes | None]] = []
    for action in (action for table in network.actions.tables.values() for action in table):
        found.append((repr(action), action.estimator.attr if action.estimator else None))
    for device in network.devices.values():
        for qdisc in device.qdiscs():
            classes = [class_ for class_ in qdisc.walk() if isinstance(class_, HtbClass)]
            for each in (qdisc, *classes):
                found.append((type(each), each.stats.estimator.attr if each.stats.estimator else None))
    return found


@pytest.mark.parametrize("lines", ESTIMATED.values(), ids=ESTIMATED)
def test_estimators_come_back(lines: list[str], tmp_path: Path) -> None:
    there = lab()
    for line in lines:
        there.tc(line)
    assert any(rate for _, rate in estimators(there))
    again = there.restarted(tmp_path)
    assert estimators(again) == estimators(there)
    assert again.shown() == there.shown()
    unsaid = [line for line in body(tmp_path) if line.startswith("#!")]
    assert bool(unsaid) == (lines is ESTIMATED["of some actions of a filter"]), unsaid
    third = again.restarted(tmp_path)
    assert estimators(third) == estimators(there)


def random_line(rng: random.Random) -> str:
    place = rng.choice(["dev lab0 ingress", "dev lab0 egress", "dev lab1 ingress", "block 5"])
    pref = rng.choice(["", "pref 3 ", "pref 3 ", "pref 9 protocol ip "])
    chain = rng.choice(["", "", "chain 4 "])
    verb = rng.choice(["add"] * 5 + ["replace", "del", "del"])
    handle = rng.choice(["", f"handle {rng.randint(1, 4)} "])
    if rng.random() < 0.1:
        return f"chain {rng.choice(['add', 'del'])} {place} chain {rng.randint(0, 5)}"
    if rng.random() < 0.1:
        return f"actions {rng.choice(['add', 'replace', 'del'])} action gact drop index {rng.randint(1, 6)}"
    if verb == "del":
        return f"filter del {place} {pref}{chain}{handle}{'bpf' if handle else ''}"
    action = rng.choice(["", "", "action drop", "action gact pass index 3", "action goto chain 2", "da"])
    flow = rng.choice(["", f"flowid 1:{rng.randint(1, 9)}"])
    program = f"bpf bytecode '1,6 0 0 {rng.randint(0, 9)}'"
    return f"filter {verb} {place} {pref}{chain}{handle}{program} {flow} {action}"


@pytest.mark.parametrize("seed", range(6))
def test_random_policies_come_back(seed: int, tmp_path: Path) -> None:
    """Whatever was done, in whatever order: what is restored shows what was there, and so does the next."""
    rng = random.Random(seed)
    there = lab()
    there.tc("qdisc add dev lab1 ingress_block 5 clsact")
    taken = sum(there.try_tc(random_line(rng)) for _ in range(150))
    assert taken > 40
    again = there.restarted(tmp_path)
    assert again.shown() == there.shown()
    kept = body(tmp_path)
    again.restarted(tmp_path)
    assert body(tmp_path) == kept


def killed(directory: Path, copy: Path) -> Lab:
    """What a daemon has that starts on the files as they are now."""
    shutil.copytree(directory, copy, ignore=shutil.ignore_patterns("lock"))
    copy.chmod(0o700)
    again = Lab(devices=())
    assert State(again.host, copy).restore() == []
    again.devices = ("lab0", "lab1")
    return again


def settled(there: Lab) -> str:
    """What it shows; that actions were listed before is no state."""
    return there.shown().replace("\tused_hw_stats disabled\n", "")


def journal(directory: Path) -> list[str]:
    (path,) = directory.glob("journal-*.tc")
    return path.read_text().splitlines()


def test_what_is_done_goes_into_the_journal(tmp_path: Path) -> None:
    """In the order in which it was done, without what was refused; the batch stays until the end."""
    there = lab()
    directory = tmp_path / "state"
    with kept(there.host, directory):
        begun = (directory / POLICY).read_text()
        for number in range(1, 30):
            there.tc(f"actions add action gact drop index {number}")
            assert not there.try_tc(f"actions add action gact drop index {number}")
        there.tc("actions del action gact index 7")
        there.tc(f"filter add dev lab0 ingress bpf bytecode {PASS} action gact index 9")
        there.tc(f"filter add dev lab0 ingress bpf bytecode {PASS} action gact index 9")
        assert (directory / POLICY).read_text() == begun
        assert len(journal(directory)) == 32
        assert settled(killed(directory, tmp_path / "copy")) == settled(there)
        (path,) = directory.glob("journal-*.tc")
        with path.open("a") as file:
            file.write("#!request 2c00")  # cut by a crash
        assert settled(killed(directory, tmp_path / "cut")) == settled(there)
    assert journal(directory) == []
    assert settled(killed(directory, tmp_path / "ended")) == settled(there)


def test_numbers_that_a_counter_gave_come_back(tmp_path: Path) -> None:
    """A qdisc has a handle after the last one, and a new daemon begins anew: the request says too little."""
    there = lab()
    directory = tmp_path / "state"
    with kept(there.host, directory):
        for _ in range(3):
            there.tc("qdisc add dev lab0 root prio")
            there.tc("qdisc del dev lab0 root")
        there.tc("qdisc add dev lab0 root prio")
        assert "qdisc prio 8004:" in there.tc("qdisc show dev lab0")
        assert settled(killed(directory, tmp_path / "copy")) == settled(there)


def datagram(*lines: str) -> bytes:
    """The requests of several lines in one."""
    commands = [parse_command(line.split(), lambda name: 2, environ={}) for line in lines]
    return b"".join(each.data for command in commands for each in command.requests)


ADDED = [f"actions add action gact drop index {number}" for number in range(1, 30)]


def test_what_must_survive_the_machine_is_synced_once_a_datagram(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    sync = os.fdatasync
    monkeypatch.setattr("os.fdatasync", lambda fd: (synced.append(fd), sync(fd)))
    for wanted in (True, False):
        there = lab()
        with kept(there.host, tmp_path / str(wanted), synced=wanted):
            answers = there.process.handle(datagram(*ADDED))
            assert synced == []
            assert not any(errors(next(answers)))  # all are done and kept when the first says so
            assert (len(synced), len(journal(tmp_path / str(wanted)))) == (int(wanted), len(ADDED))
            assert [errors(each) for each in answers] == [[0]] * (len(ADDED) - 1)
        synced.clear()


def errors(answer: bytes) -> list[int]:
    return [read_acknowledgement(message).errno for message in iter_messages(answer)]


def test_what_cannot_be_kept_is_not_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = lab()
    with kept(there.host, tmp_path / "state"):
        with monkeypatch.context() as full:
            full.setattr("os.write", refuse)
            answers = list(there.process.handle(datagram(*ADDED[:5])))
        assert [errors(each) for each in answers] == [[errno.ENOSPC]] * 5
        there.tc(ADDED[6])  # there is room again: all of it is kept, what was refused as well
        assert settled(killed(tmp_path / "state", tmp_path / "copy")) == settled(there)


def refuse(descriptor: int, data: bytes) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_journal_that_has_grown_gives_way_to_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clsbpf.daemon.state.JOURNAL_BYTES", 3000)
    there = lab()
    directory = tmp_path / "state"
    with kept(there.host, directory):
        lengths = []
        for number in range(1, 100):
            there.tc(f"actions replace action gact drop index {number % 5 + 1}")
            lengths.append(len(journal(directory)))
        assert min(lengths[5:]) == 0
        assert max(lengths) < 30
        assert len(list(directory.glob("journal-*.tc"))) == 1
        assert settled(killed(directory, tmp_path / "copy")) == settled(there)


def test_a_journal_of_what_is_all_there_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch would say as much."""
    monkeypatch.setattr("clsbpf.daemon.state.JOURNAL_BYTES", 3000)
    there = lab()
    directory = tmp_path / "state"
    with kept(there.host, directory):
        before = len(journal(directory))
        for number in range(1, 50):
            there.tc(f"actions add action gact drop index {number}")
            there.tc(f"filter add dev lab0 ingress bpf bytecode {PASS}")
        assert len(journal(directory)) == before + 98
        assert settled(killed(directory, tmp_path / "copy")) == settled(there)


@pytest.mark.parametrize("seed", range(4))
def test_random_class_trees_come_back(seed: int, tmp_path: Path) -> None:
    """All classes, each in its place, and listed in the order that a growing table gave them."""
    rng = random.Random(seed)
    there = lab()
    there.tc("qdisc add dev lab0 root handle 1: htb")
    made = ["1:"]
    for minor in rng.sample(range(1, 400), 30):
        parent = rng.choice(made[-6:])
        if rng.random() < 0.2 and there.try_tc(f"class del dev lab0 classid {made[-1]}"):
            made.pop()
        if rng.random() < 0.5:
            there.try_tc(f"qdisc add dev lab0 parent {made[-1]} handle {minor:x}: pfifo")
        if there.try_tc(f"class add dev lab0 parent {parent} classid 1:{minor:x} htb rate {minor}kbit"):
            made.append(f"1:{minor:x}")
    assert len(made) > 10
    again = there.restarted(tmp_path)
    assert again.shown() == there.shown()
    for minor in rng.sample(range(400, 800), 9):  # also what comes afterwards
        for each in (there, again):
            each.tc(f"class add dev lab0 parent 1: classid 1:{minor:x} htb rate {minor}kbit")
    assert again.shown() == there.shown()


KERNELS = [
    "qdisc add dev v0 clsact",
    "qdisc add dev v1 ingress_block 5 egress_block 6 clsact",
    "qdisc add dev v0 root handle 1: htb default 30",
    "class add dev v0 parent 1: classid 1:1 htb rate 100mbit ceil 200mbit burst 15k",
    "class add dev v0 parent 1:1 classid 1:30 htb rate 10mbit prio 3 quantum 3000",
    "qdisc add dev v0 parent 1:30 handle 30: pfifo limit 33",
    "chain add dev v0 ingress chain 7",
    f"filter add dev v0 parent 1: pref 4 bpf bytecode {PASS} flowid 1:30",
    f"filter add dev v0 ingress pref 3 protocol ip bpf bytecode {IP} flowid 1:1",
    f"filter add dev v0 ingress pref 3 protocol ip bpf bytecode {PASS} da",
    f"filter add dev v0 ingress chain 7 protocol 802.1Q bpf bytecode {PASS} skip_hw",
    f"filter add dev v0 egress bpf bytecode {PASS} action mirred egress mirror dev v1 cookie aabb",
    f"filter add dev v0 egress bpf bytecode {PASS} action mirred egress redirect dev v1 index 9",
    f"filter add block 5 bpf bytecode {PASS} action mirred ingress redirect dev v0",
    f"filter add block 6 bpf bytecode {PASS}",
]
SHOWN = [
    "qdisc show dev v0",
    "qdisc show dev v1",
    "class show dev v0",
    "filter show dev v0 root",
    "filter show dev v0 ingress",
    "filter show dev v0 egress",
    "filter show block 5",
    "filter show block 6",
    "chain show dev v0 ingress",
]


def test_the_kernel_takes_what_is_kept(tmp_path: Path) -> None:
    """A kept policy is a file for tc -b: the real one makes the same of it in the kernel."""
    with tc_judge(tmp_path) as judge:
        there = Lab(devices=())
        for name in ("v0", "v1"):
            there.host.network.add_device(name, judge.devices[name], tx_queues=2)
        for line in KERNELS:
            there.tc(line)
        state = tmp_path / "state"
        state.mkdir()
        State(there.host, state).commit()
        assert judge.run("-b", str(state / POLICY)).stderr == ""
        for line in SHOWN:
            ours, theirs = there.tc(line), judge.run(*line.split()).stdout
            assert sorted(ours.splitlines()) == sorted(theirs.splitlines()), line
