"""The real tc and ours, each over an endpoint of ours: the same words, the same exit code, the same output.

So tc's own grammar and rows can be the judge of kinds of actions and qdiscs that the kernel here lacks.  Help
texts are our own; JSON that tc 6.1 leaves malformed (skbmod, simple, bpf, an old policer's counters) is not
compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any

import pytest

import tc_qdisc_vocabulary
from clsbpf.tccmd.errors import CommandError
from clsbpf.tccmd.words import split_words
from tc_action_lines import LISTS, SPECS
from tc_action_vocabulary import random_line
from tc_judge import Ran, TcJudge, tc_judge
from tc_lines import PASS
from tc_ours import Ours
from tc_over_ours import TcOverOurs, tc_over_ours

RANDOM_LINES = 500
RANDOM_QDISC_LINES = 400
SHOWN = ["", "-s", "-s -d -j", "-br", "-o -s", "-N", "-j -p", "-r -iec"]
KINDS = sorted({spec.split()[0] for spec in SPECS})
NEWER = ("csum index", "nofrag")
"""Words of ours that tc 6.1 has not."""


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcJudge]:
    with tc_judge(tmp_path_factory.mktemp("tc")) as judge:
        yield judge


class Pair:
    """The real tc and ours, each with a network of its own."""

    def __init__(self, judge: TcJudge, real: TcOverOurs) -> None:
        self.ours = Ours(judge)
        self.real = real

    def run(self, line: str) -> None:
        """Both, compared."""
        words = split_words(line)
        theirs, mine = self.real.run(*words), self.ours.run(words)
        assert theirs.exit_code == mine.exit_code, (line, theirs, mine)
        if "-j" not in words:
            assert timeless(theirs.stdout) == timeless(mine.stdout), line
        elif (said := values(theirs.stdout)) is not None:
            assert said == values(mine.stdout), line
        compare_errors(line, theirs, mine)


def compare_errors(line: str, theirs: Ran, mine: Ran) -> None:
    """What we say is said by tc, in that order; between, it may show its help."""
    if "sage:" in theirs.stderr:
        said = iter(theirs.stderr.splitlines())
        assert all(text in said for text in mine.stderr.splitlines() if text), (line, theirs, mine)
    else:
        assert theirs.stderr == mine.stderr, line


def values(text: str) -> Any:
    """JSON's values, with every key of an object in its order; None for what is no JSON."""
    with suppress(ValueError):
        return json.loads(timeless(text), object_pairs_hook=list) if text else []
    return None


def timeless(text: str) -> str:
    text = re.sub(r" (installed|used|firstused) \d+ sec", "", text)
    return re.sub(r'"(installed|last_used|first_used)": ?\d+,?\s*', "", text)


@pytest.fixture
def pair(judge: TcJudge) -> Iterator[Pair]:
    theirs = Ours(judge)
    with tc_over_ours(judge, theirs.endpoint) as real:
        yield Pair(judge, real)


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_of_a_kind(pair: Pair, kind: str) -> None:
    for spec in [*SPECS, *LISTS]:
        if spec.split()[0] != kind:
            continue
        pair.run(f"actions add action {spec}")
        for options in SHOWN:
            pair.run(f"{options} actions ls action {kind}")
        pair.run(f"actions get action {kind} index 1")
        pair.run(f"actions flush action {kind}")


LINES = f"""\
qdisc add dev v0 clsact
actions add action pass index 8
actions add action pass index 8
actions replace action drop index 8
actions add action d
actions add action pass action d
actions add action pass action delete action gact index 1
actions add action pass action add ok
actions add action pass flowid 1:1
actions add add ok
actions add change ok
actions add action pass delete action gact index 8
actions add action ok index 20 change
actions add action ok index 20 get action gact index 20 index
actions flush action gact
actions add action pedit munge ip
actions add action pedit munge foo
actions add action pedit munge foo bar
actions add action pedit ex munge tcp sport
actions add action pedit ex munge eth src set 1:2:3:4:5:6:7
actions add action pedit ex munge eth src set 1:2z:3:4:5:6
actions add action pedit ex munge eth src set 1:200:3:4:5:6
actions add action pedit ip ttl set 5 goto chain x
actions add action vlan push_eth dst_mac 1:x:3:4:5:6 src_mac 1:2:3:4:5:6
actions add action vlan push_eth dst_mac 1:2:3:4:5:6:7 src_mac 1:2:3:4:5:6
actions add action vlan push_eth dst_mac 1.1.1.1 src_mac 1:2:3:4:5:6
actions add action vlan push_eth dst_mac aabb.ccdd src_mac 1:2:3:4:5:6
actions add action vlan push_eth dst_mac 1:2z:3:4:5:6 src_mac 1:2:3
actions add action vlan push_eth dst_mac 1:0x2:3:4:5:6 src_mac -1:2:3
actions ls action vlan
actions add action police rate 1mbit burst 1k conform-exceed /drop
actions add action police rate 1mbit burst 1k conform-exceed x/drop
actions add action police rate 1mbit burst 1k conform-exceed drop/
actions add action police rate 1mbit burst 1k conform-exceed drop / x
actions add action police rate 1mbit burst 1k conform-exceed drop/goto chain 5
actions add action police rate 1mbit burst 1k conform-exceed jump 2 / pipe
actions add action police rate 1mbit burst 1k conform-exceed drop/536870917
-j actions ls action police
actions add action tunnel_key set src_ip any dst_ip 1.1.1.1 id 1
actions add action tunnel_key set src_ip 10 dst_ip 0x7f.1 id 1
actions ls action tunnel_key
actions add action csum udp c tcp
actions add action csum udp cs
actions add action skbmod set dmac 02:00:00:00:00:01 smac 1:2:3:4:5:6 etype 0x800
actions add action skbmod set dmac 02:00:00:00:00:01 index 1
filter add dev v0 ingress pref 1 bpf bytecode {PASS} police rate 1mbit burst 1k
-s filter show dev v0 ingress
-col qdisc show
-c=always -s filter show
-c=auto filter show dev v0 ingress
-color=never qdisc show
-color=foo qdisc show
-c=always -j qdisc show
filter add dev v0 ingress pref 2 bpf bytecode {PASS} action mirred egress mirror dev v1 goto chain x
filter add dev v0 ingress pref 3 bpf bytecode {PASS} action skbedit mark 3 jump x
"""


def test_lines_that_need_care(pair: Pair) -> None:
    for line in LINES.splitlines():
        pair.run(line)


def test_random_lines(pair: Pair) -> None:
    random = Random(2)
    pair.run("qdisc add dev v0 clsact")
    for _ in range(RANDOM_LINES):
        line = random_line(random)
        with suppress(CommandError):
            split_words(line)
            if not any(newer in line for newer in NEWER):
                pair.run(line)


def test_random_lines_about_qdiscs(pair: Pair) -> None:
    random = Random(3)
    for _ in range(RANDOM_QDISC_LINES):
        pair.run(tc_qdisc_vocabulary.random_line(random))
