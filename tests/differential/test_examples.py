"""The examples: the recorded traffic is what its script promises, and `tc` itself takes the policy."""

from __future__ import annotations

import itertools
import re
import subprocess
from pathlib import Path

import pytest

from clsbpf.capture import open_capture
from judges import need_tool, network_namespace

EXAMPLES = Path(__file__).parents[2] / "examples"
OFFICE = EXAMPLES / "office.pcap"
POLICY = EXAMPLES / "policy.tc"

TRAFFIC = [
    "ip and tcp port 80",
    "ip6 and tcp port 80",
    "ip and tcp port 443",
    "ip6 and tcp port 443",
    "ip and tcp port 22",
    "ip6 and tcp port 22",
    "ip and udp port 53",
    "ip6 and udp port 53",
    "tcp port 53",
    "icmp[0] == 8",
    "icmp[0] == 3",
    "icmp[0] == 11",
    "icmp6",
    "ip[6:2] & 0x1fff != 0",
    "ip6[6] == 44",
    "arp",
    "tcp[13] & 4 != 0",
    "vlan 42 and tcp port 22",
    "ether[12:2] == 0x88a8 and ether[16:2] == 0x8100 and ether[18:2] & 0xfff == 7",
]


def test_the_capture_is_sound() -> None:
    with open_capture(str(OFFICE)) as capture:
        records = [record for record, _ in capture]
    assert 2000 < len(records) < 10000
    assert all(record.captured == record.length <= 1514 for record in records)
    assert all(one.time_ns <= two.time_ns for one, two in itertools.pairwise(records))
    assert OFFICE.stat().st_size < 1_500_000


@pytest.mark.parametrize("expression", TRAFFIC)
def test_the_traffic_is_there(expression: str) -> None:
    command = [need_tool("tcpdump"), "-r", OFFICE, "--count", expression]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[0]) > 0


def policy_filters() -> list[tuple[str | None, str]]:
    """Each filter line with the expression that stands above it."""
    lines = POLICY.read_text().splitlines()
    return [
        (above.partition("# tcpdump: ")[2] or None, line)
        for above, line in itertools.pairwise(lines)
        if line.startswith("filter ")
    ]


EXPRESSIONS = [(expression, line) for expression, line in policy_filters() if expression]


@pytest.mark.parametrize(
    ("expression", "line"), EXPRESSIONS, ids=[expression for expression, _ in EXPRESSIONS]
)
def test_a_filter_is_the_expression_above_it(expression: str, line: str) -> None:
    command = [need_tool("tcpdump"), "-r", OFFICE, "-ddd", expression]
    compiled = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    match, other = ("2", "4294967295") if "direct-action" in line else ("4294967295", "0")
    returns = {"6 0 0 262144": f"6 0 0 {match}", "6 0 0 0": f"6 0 0 {other}"}
    expected = ",".join(returns.get(insn, insn) for insn in compiled if insn)
    found = re.search("bytecode '([^']*)'", line)
    assert found is not None
    assert found[1] == expected


def test_tc_takes_the_policy() -> None:
    tc = need_tool("tc")
    with network_namespace() as namespace:
        for words in (
            ["ip", "link", "add", "lab0", "type", "veth", "peer", "name", "far0"],
            [tc, "-batch", POLICY],
        ):
            done = subprocess.run(["ip", "netns", "exec", namespace, *words], capture_output=True, text=True)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        show = ["ip", "netns", "exec", namespace, tc, "filter", "show", "dev", "lab0", "ingress"]
        shown = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    filters = policy_filters()
    assert len(filters) == 14
    assert shown.count(" handle ") == len(filters)
    for _, line in filters:
        assert line.partition(" bytecode ")[2].partition("' ")[0] in shown
