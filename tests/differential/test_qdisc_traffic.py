"""Packets that leave a veth device of the kernel's are counted in the classes where ours are.

The same policy goes to tc and to an engine; the same frames are sent through the device's packet socket
and through the engine.  Rates are so high that nothing is ever held back.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from clsbpf import Engine
from clsbpf.api.engine import setup_of
from clsbpf.capture import open_capture
from clsbpf.engine.queueing import transmit
from clsbpf.skb import Skb
from clsbpf.tc.ids import format_classid
from judges import inside, need_tool
from tc_judge import TcJudge, tc_judge
from tc_lines import PASS
from traffic import frame, tcp, udp, write_pcap

SO_PRIORITY = 12

UDP = "'4,48 0 0 23,21 0 1 17,6 0 0 4294967295,6 0 0 0'"
TO_53 = "'6,48 0 0 23,21 0 3 17,40 0 0 36,21 0 1 53,6 0 0 4294967295,6 0 0 0'"
TO_CLASS = "'4,48 0 0 23,21 0 1 6,6 0 0 {classid},6 0 0 0'"
"""TCP: the program's own classid."""
DROP_UDP = "'4,48 0 0 23,21 0 1 17,6 0 0 2,6 0 0 4294967295'"
SHORT = "'4,128 0 0 0,53 1 0 200,6 0 0 4294967295,6 0 0 0'"
"""Fewer than 200 bytes."""

FRAMES = [
    frame(0x0800, payload)
    for payload in (tcp(1, 80, 10), tcp(1, 443, 400), udp(1, 53, 20), udp(1, 123, 300), udp(53, 1, 900))
]

TREE = """
qdisc add dev v0 root handle 1: {stab} htb {default} r2q 100000
class add dev v0 parent 1: classid 1:1 htb rate 8gbit
class add dev v0 parent 1:1 classid 1:10 htb rate 4gbit
class add dev v0 parent 1:1 classid 1:20 htb rate 4gbit
class add dev v0 parent 1:20 classid 1:21 htb rate 2gbit
class add dev v0 parent 1:20 classid 1:22 htb rate 2gbit
class add dev v0 parent 1: classid 1:30 htb rate 4gbit
"""


def tree(*lines: str, default: str = "default 30", stab: str = "") -> list[str]:
    """A tree of classes: leaves 1:10, 1:21, 1:22 and 1:30."""
    return [*filter(None, TREE.format(default=default, stab=stab).splitlines()), *lines]


def filters(parent: str, *words: str) -> list[str]:
    """Filters on a parent, the first tried first."""
    return [
        f"filter add dev v0 parent {parent} pref {n} bpf bytecode {each}" for n, each in enumerate(words, 1)
    ]


POLICIES: dict[str, list[str]] = {
    "no filter": tree(),
    "no default": tree(default=""),
    "the default is an inner class": tree(default="default 20"),
    "the default is not there": tree(default="default 99"),
    "a leaf": tree(*filters("1:", f"{TO_53} flowid 1:21", f"{UDP} flowid 1:10")),
    "past the classes": tree(*filters("1:", f"{UDP} flowid 1:", f"{PASS} flowid 1:10")),
    "a class that is not there": tree(*filters("1:", f"{UDP} flowid 1:77", f"{PASS} flowid 1:10")),
    "a class of another qdisc": tree(*filters("1:", f"{UDP} flowid 2:10", f"{PASS} flowid 1:10")),
    "no class": tree(*filters("1:", UDP, f"{PASS} flowid 1:10")),
    "an inner class without filters": tree(*filters("1:", f"{UDP} flowid 1:20", f"{PASS} flowid 1:10")),
    "an inner class with filters": tree(
        *filters("1:", f"{UDP} flowid 1:1", f"{PASS} flowid 1:10"),
        *filters("1:1", f"{SHORT} flowid 1:20", f"{PASS} flowid 1:10"),
        *filters("1:20", f"{TO_53} flowid 1:22"),
    ),
    "filters of a class nobody comes to": tree(*filters("1:20", f"{PASS} flowid 1:22")),
    "a program's own classid": tree(
        *filters("1:", f"{TO_CLASS.format(classid=0x10022)} flowid 1:10", f"{UDP} flowid 1:21")
    ),
    "a program's classid of no class": tree(
        *filters("1:", TO_CLASS.format(classid=5), f"{PASS} flowid 1:21")
    ),
    "direct action": tree(*filters("1:", f"{DROP_UDP} da flowid 1:10", f"{PASS} flowid 1:21")),
    "direct action lets through": tree(*filters("1:", "'1,6 0 0 0' da flowid 1:22", f"{PASS} flowid 1:21")),
    "clsact before it": [
        "qdisc add dev v0 clsact",
        f"filter add dev v0 egress bpf bytecode {DROP_UDP} da",
        *tree(*filters("1:", f"{PASS} flowid 1:21")),
    ],
    "a size table": tree(
        *filters("1:", f"{UDP} flowid 1:21"), stab="stab overhead 24 linklayer atm mtu 2000"
    ),
    "taken and dropped below": tree(
        "qdisc add dev v0 parent 1:10 handle 10: htb default 1",
        "qdisc add dev v0 parent 1:30 handle 30: htb default 1",
        "class add dev v0 parent 30: classid 30:1 htb rate 8gbit quantum 2000",
        *filters("1:", f"{TO_53} flowid 1:10", f"{PASS} flowid 1:30"),
        *filters("10:", "'1,6 0 0 4' da"),
        *filters("30:", f"{DROP_UDP} da", f"{PASS} flowid 30:1"),
    ),
    "an overhead alone": tree(*filters("1:", f"{UDP} flowid 1:21"), stab="stab overhead -10"),
    "queues": tree(
        "qdisc add dev v0 parent 1:10 handle 10: pfifo limit 0",
        "qdisc add dev v0 parent 1:21 handle 21: bfifo limit 100",
        "qdisc add dev v0 parent 1:22 handle 22: pfifo_fast",
        "qdisc add dev v0 parent 1:30 handle 30: htb default 1",
        "class add dev v0 parent 30: classid 30:1 htb rate 8gbit quantum 2000",
        "class add dev v0 parent 30: classid 30:2 htb rate 8gbit quantum 2000",
        *filters("1:", f"{TO_53} flowid 1:10", f"{UDP} flowid 1:21"),
        *filters("30:", f"{SHORT} flowid 30:2"),
    ),
    "buckets": tree(
        "qdisc add dev v0 parent 1:10 handle 10: tbf rate 4gbit burst 500 limit 1m",
        "qdisc add dev v0 parent 1:21 handle 21: tbf rate 4gbit burst 64k limit 1m peakrate 5gbit mtu 600",
        "qdisc add dev v0 parent 21:1 handle 210: htb default 1",
        "class add dev v0 parent 210: classid 210:1 htb rate 8gbit quantum 2000",
        "qdisc add dev v0 parent 1:22 handle 22: tbf rate 4gbit burst 64k limit 300",
        "qdisc add dev v0 parent 1:30 handle 30: tbf rate 4gbit burst 64k limit 300",
        "qdisc add dev v0 parent 30:1 handle 300: bfifo limit 50",
        *filters("1:", f"{TO_53} flowid 1:10", f"{UDP} flowid 1:21", f"{SHORT} flowid 1:22"),
    ),
    "a bucket at the root": [
        "qdisc add dev v0 root handle 1: tbf rate 4gbit burst 64k limit 1m",
        "qdisc add dev v0 parent 1:1 handle 10: htb default 1",
        "class add dev v0 parent 10: classid 10:1 htb rate 8gbit quantum 2000",
    ],
    "no queue past the classes": [
        "qdisc add dev v0 root handle 1: htb direct_qlen 0",
    ],
    "a queue": ["qdisc add dev v0 root handle 1: bfifo limit 300"],
}


def random_policy(rng: random.Random) -> list[str]:
    """A tree of classes and filters that lead downwards: in circles the kernel would run for ever."""
    default = rng.choice(["", f"default {rng.randrange(1, 20):x}"])
    lines = [f"qdisc add dev v0 root handle 1: htb r2q 100000 {default}"]
    depth = {0: 0}
    for minor in range(1, rng.randrange(2, 20)):
        parent = rng.choice([each for each, deep in depth.items() if deep < 7])
        depth[minor] = depth[parent] + 1
        lines.append(f"class add dev v0 parent 1:{parent:x} classid 1:{minor:x} htb rate 8gbit")
    for parent, deep in depth.items():
        below = [each for each, its in depth.items() if its > deep] + [0x99, 0]
        words = []
        for _ in range(rng.randrange(4)):
            to = rng.choice(below)
            bytecode = rng.choice([UDP, TO_53, SHORT, PASS, TO_CLASS.format(classid=0x10000 | to)])
            words.append(f"{bytecode} flowid 1:{rng.choice(below):x}")
        lines += filters(f"1:{parent:x}", *words)
    return lines


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcJudge]:
    with tc_judge(tmp_path_factory.mktemp("tc")) as judge:
        yield judge


_CLASS = re.compile(
    r"class htb (\S+) .*\n Sent (\d+) bytes (\d+) pkt \(dropped (\d+), .*\n .*\n lended: (\d+) borrowed: 0"
)
Counts = tuple[list[tuple[str, ...]], list[Any]]


def counts(classes: str, qdiscs: list[Any]) -> Counts:
    """What is counted, by class and by qdisc."""
    wanted = ("kind", "handle", "bytes", "packets", "drops")
    shown = [[row.get(key) for key in wanted] + [row["options"].get("direct_packets_stat")] for row in qdiscs]
    found = _CLASS.findall(classes)
    assert len(found) == classes.count("class htb")
    return found, [row for row in shown if row[0] not in ("noqueue", "clsact")]


def kernels(judge: TcJudge, policy: Sequence[str], packets: Sequence[tuple[bytes, int]]) -> Counts:
    for words in (["root"], ["clsact"]):
        judge.run("qdisc", "del", "dev", "v0", *words)
    ran = judge.run("-b", judge.file("\n".join(policy) + "\n"))
    assert ran.exit_code == 0, ran.stderr
    with inside(judge.namespace):
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with sender:
        sender.bind(("v0", 0))
        for packet, priority in packets:
            sender.setsockopt(socket.SOL_SOCKET, SO_PRIORITY, priority)
            with contextlib.suppress(OSError):  # what is dropped is told
                sender.send(packet)
    shown = judge.run("-s", "-j", "qdisc", "show", "dev", "v0")
    return counts(judge.run("-s", "class", "show", "dev", "v0").stdout, json.loads(shown.stdout))


def engine(policy: Sequence[str], directory: Path) -> Engine:
    path = directory / "policy.tc"
    path.write_text("\n".join(policy) + "\n")
    engine = Engine()
    engine.tc_batch(path, create_devices=True)
    return engine


def ours(engine: Engine) -> Counts:
    rows = engine.tc("-s qdisc show dev v0")
    assert rows is not None
    return counts(engine.tc_words(["-s", "class", "show", "dev", "v0"]).stdout, rows)


@pytest.mark.parametrize("name", POLICIES)
def test_a_run_counts_what_the_kernel_counts(judge: TcJudge, tmp_path: Path, name: str) -> None:
    policy = POLICIES[name]
    theirs = kernels(judge, policy, [(packet, 0) for packet in FRAMES])
    here = engine(policy, tmp_path)
    if name != "a queue":
        results = here.run(write_pcap(tmp_path / "frames.pcap", FRAMES), hook="egress")
        classes = {(format_classid(each.classid), each.packets, each.bytes) for each in results.classes}
        assert classes == {(classid, int(packets), int(size)) for classid, size, packets, _, _ in theirs[0]}
    else:
        root = here._network.device("v0").root  # type: ignore[union-attr]
        for packet in FRAMES:
            transmit(root, Skb.from_frame(packet))
    assert ours(here) == theirs


@pytest.mark.parametrize("seed", range(8))
def test_random_policies(judge: TcJudge, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    policy = random_policy(rng)
    priorities = [0, 0, 0x10000, *range(0x10001, 0x10014)]
    packets = [(packet, rng.choice(priorities)) for packet in FRAMES * 4]
    theirs = kernels(judge, policy, packets)
    here = engine(policy, tmp_path)
    device = here._network.device("v0")
    assert device is not None
    for packet, priority in packets:
        skb = Skb.from_frame(packet)
        skb.priority = priority
        transmit(device.root, skb)
    assert ours(here) == theirs


@pytest.mark.parametrize("seed", range(100, 106))
def test_random_policies_in_a_run(judge: TcJudge, tmp_path: Path, seed: int) -> None:
    policy = random_policy(random.Random(seed))
    theirs = kernels(judge, policy, [(packet, 0) for packet in FRAMES * 2])
    here = engine(policy, tmp_path)
    setup = setup_of(here, dev="v0", hook="egress")
    assert setup.in_order is None
    here.run(write_pcap(tmp_path / "frames.pcap", FRAMES * 2), hook="egress")
    assert ours(here) == theirs


EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_example_shapes_as_it_says(judge: TcJudge, tmp_path: Path) -> None:
    """What goes out by examples/shaping.tc, with rates at which the kernel holds nothing back."""
    text = (EXAMPLES / "shaping.tc").read_text().replace("lab0", "v0")
    text = re.sub(r"rate \S+( ceil \S+)?", "rate 8gbit", text)
    policy = [line for line in text.splitlines() if line and not line.startswith("#")]
    with open_capture(str(EXAMPLES / "office.pcap")) as capture:
        packets = [(bytes(data), 0) for _, data in capture]
    here = engine(policy, tmp_path)
    results = here.run(EXAMPLES / "office.pcap", hook="egress")
    assert {format_classid(each.classid): each.packets for each in results.classes} == {
        "1:1": 2503,
        "1:10": 712,
        "1:20": 1395,
        "1:21": 577,
        "1:22": 818,
        "1:30": 396,
    }
    assert ours(here) == kernels(judge, policy, packets)


FILTER = re.compile(r"^# tcpdump: (.*)\nfilter add .* bytecode '([^']*)'", re.MULTILINE)


def test_the_filters_of_the_example_are_their_expressions() -> None:
    found = FILTER.findall((EXAMPLES / "shaping.tc").read_text())
    assert len(found) == 3
    for expression, bytecode in found:
        command = [need_tool("tcpdump"), "-y", "EN10MB", "-ddd", expression]
        compiled = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
        assert ",".join(compiled).strip(",").replace(" 262144", " 4294967295") == bytecode
