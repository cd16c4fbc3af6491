"""Actions the whole way against tc and the kernel: the same lines, the same messages, the same listings.

Of the kinds, the kernel here has only mirred.  At the end packets go through both, and both have counted
the same.
"""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from clsbpf.skb import receive
from clsbpf.tc.result import ClassifyResult
from clsbpf.tccmd.words import split_words
from judges import inside, need_tool
from tc_judge import Ran, TcJudge, tc_judge
from tc_lines import PASS
from tc_ours import Ours

FILTER = f"bpf bytecode {PASS}"
POLICY = [
    "qdisc add dev v0 clsact",
    "actions add action mirred egress mirror dev v1 index 7 cookie aabb",
    "actions add action mirred egress mirror dev v1 index 7",
    "actions change action mirred egress redirect dev v1 index 7",
    "actions add action mirred egress mirror dev nope",
    "actions add action nosuch",
    "actions get action mirred index 7",
    "actions get action mirred index 8",
    f"filter add dev v0 ingress pref 1 protocol ip {FILTER} action mirred index 7",
    f"filter add dev v0 ingress pref 2 {FILTER} action mirred egress mirror dev v1 pipe "
    "action mirred egress mirror dev lo goto chain 3",
    f"filter add dev v0 ingress pref 3 {FILTER} action mirred egress mirror dev v1 hw_stats disabled",
    f"filter add dev v0 ingress pref 4 {FILTER} action mirred egress mirror dev v1 jump 1 cookie 00",
    f"filter add dev v0 ingress chain 3 pref 1 {FILTER} action mirred ingress mirror dev lo continue",
    f"filter add dev v0 ingress pref 9 {FILTER} action mirred egress mirror dev v1 skip_sw",
    f"filter add dev v0 egress pref 1 {FILTER} flowid 1:1 action mirred egress mirror dev v1 no_percpu",
    "actions del action mirred index 7",
    "actions flush action mirred",
    "actions del action mirred index 99",
]
SHOWS = [
    "filter show dev v0 ingress",
    "-s filter show dev v0 ingress",
    "-s -j filter show dev v0 ingress",
    "-d -o filter show dev v0 egress",
    "filter get dev v0 ingress protocol ip pref 1 handle 1 bpf",
    "filter show dev v0 ingress chain 3",
    "chain show dev v0 ingress",
    "actions ls action mirred",
    "-s actions ls action mirred",
    "-br actions ls action mirred",
    "-j actions ls action mirred",
    "-s -j -p actions ls action mirred",
    "actions ls action mirred since 100000",
    "actions get action mirred index 7",
    "-j actions get action mirred index 7",
    "actions ls action nosuch",
    "actions ls",
]


@pytest.fixture
def judge(tmp_path: object) -> Iterator[TcJudge]:
    with tc_judge(tmp_path) as judge:  # type: ignore[arg-type]
        yield judge


def same(line: str, theirs: Ran, ours: Ran) -> None:
    """Equal but for seconds; of a usage only the exit code."""
    assert theirs.exit_code == ours.exit_code, (line, theirs, ours)
    assert _timeless(theirs.stdout) == _timeless(ours.stdout), line
    if "usage" not in theirs.stderr.lower():
        assert theirs.stderr == ours.stderr, line


def _timeless(text: str) -> str:
    text = re.sub(r" (installed|used|firstused) \d+ sec", "", text)
    return re.sub(r'"(installed|last_used|first_used)": ?\d+,\s*', "", text)


def silence(judge: TcJudge) -> None:
    """Nothing but the test sends on the devices: no neighbour discovery that the kernel would count."""
    for name in ("v0", "v1"):
        subprocess.run(
            [need_tool("ip"), "-n", judge.namespace, "link", "set", name, "arp", "off"], check=True
        )
        with inside(judge.namespace), open(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "w") as switch:
            switch.write("1")
    time.sleep(0.1)


def test_lines_and_listings(judge: TcJudge) -> None:
    silence(judge)
    ours = Ours(judge)
    for line in [*POLICY, *SHOWS]:
        words = split_words(line)
        same(line, judge.run(*words), ours.run(words))


def test_a_listing_of_many_is_in_as_many_messages(judge: TcJudge) -> None:
    """tc counts the actions of each message, so it shows how much the kernel puts in one."""
    ours = Ours(judge)
    for first in range(1, 401, 25):
        line = "actions add " + " ".join(
            f"action mirred egress mirror dev v1 index {index}" for index in range(first, first + 25)
        )
        same(line, judge.run(*line.split()), ours.run(line.split()))
    for line in ("actions ls action mirred", "-j actions ls action mirred", "-br actions ls action mirred"):
        theirs = judge.run(*line.split())
        same(line, theirs, ours.run(line.split()))
        assert theirs.stdout.count("total acts") > 2, line


COUNTED = [
    "qdisc add dev v1 clsact",
    "actions add action mirred egress mirror dev lo index 1",
    f"filter add dev v1 ingress pref 1 {FILTER} action mirred index 1 action mirred egress mirror dev lo "
    "goto chain 5 index 2",
    f"filter add dev v1 ingress chain 5 pref 1 {FILTER} action mirred egress redirect dev v1 index 3",
]


def test_packets_count_alike(judge: TcJudge) -> None:
    """Frames that come in at v1: mirrored to lo twice, then in chain 5 sent back out of v1."""
    subprocess.run([need_tool("ip"), "-n", judge.namespace, "link", "set", "lo", "up"], check=True)
    silence(judge)
    ours = Ours(judge)
    for line in COUNTED:
        words = split_words(line)
        same(line, judge.run(*words), ours.run(words))
    frames = [bytes(6 * [0xFF]) + bytes(6) + b"\x88\xb5" + bytes(size) for size in (46, 100, 1000)]
    with inside(judge.namespace):
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with sender:
        sender.bind(("v0", 0))
        for frame in frames:
            sender.send(frame)
    device = ours.network.device("v1")
    assert device is not None
    assert device.ingress is not None
    for frame in frames:
        skb = receive(frame)
        assert skb is not None
        skb.ifindex = device.ifindex
        device.ingress.classify(skb, ClassifyResult())
    time.sleep(0.1)
    for line in ("-s actions ls action mirred", "-s filter show dev v1 ingress"):
        words = split_words(line)
        same(line, judge.run(*words), ours.run(words))
    assert "Sent 1146 bytes 3 pkt" in judge.run("-s", "actions", "ls", "action", "mirred").stdout
