"""Random lines of tc's vocabulary: the same requests, the same words, the same exit code as tc's.

Words are drawn so that most lines come far; what is wrong is wrong in ways nobody thought of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import pytest

from clsbpf.tccmd.command import parse_command
from clsbpf.tccmd.errors import CommandError, UnsupportedKind
from clsbpf.tccmd.perform import perform
from clsbpf.tccmd.render import Names
from judges import need_tool
from tc_judge import Exchange, TcJudge, tc_judge

LINES = 150

Vocabulary = Sequence[tuple[str, Sequence[Any]]]
"""A word, and what may follow it: one of a list, or one of each of several lists."""

IDS = ["1:1", "1:", ":5", "ffff:", "ffff:fff2", "root", "none", "10", "x", "1:2:3", "", "0x1:0x2", "10000:1"]
NUMBERS = [
    "1",
    "0",
    "7",
    "0x10",
    "010",
    "08",
    "65535",
    "65536",
    "70000",
    "-1",
    "x",
    "",
    "4294967295",
    "4294967296",
]
PROTOCOLS = ["ip", "all", "ipv6", "802.1Q", "arp", "0x800", "70000", "nosuch", "0"]
TIMES = ["1s", "4s", "250ms", "1", "100s", "x", "8sec", "1e6", "0"]
DEVICES = ["v0", "v0", "v0", "v1", "lo", "nope", "", "averyverylongname"]
BYTECODE = ["1,6 0 0 0", "1,6 0 0 4294967295", "4,40 0 0 12,21 0 1 2048,6 0 0 1,6 0 0 0", "1,5 0 0 0"]

COMMON = [
    ("dev", DEVICES),
    ("d", []),
    ("block", NUMBERS),
    ("b", NUMBERS),
    ("root", []),
    ("ingress", []),
    ("egress", []),
    ("parent", IDS),
    ("handle", NUMBERS),
    ("pref", NUMBERS),
    ("p", NUMBERS),
    ("prio", NUMBERS),
    ("pr", NUMBERS),
    ("protocol", PROTOCOLS),
    ("pro", PROTOCOLS),
    ("chain", NUMBERS),
    ("c", NUMBERS),
    ("e", [TIMES, TIMES]),
    ("estimator", [TIMES, TIMES]),
]
OPTIONS = [
    ("bytecode", BYTECODE),
    ("bc", BYTECODE),
    ("b", BYTECODE),
    ("run", []),
    ("r", []),
    ("classid", IDS),
    ("flowid", IDS),
    ("f", IDS),
    ("c", IDS),
    ("da", []),
    ("direct-action", []),
    ("d", []),
    ("skip_hw", []),
    ("skip_sw", []),
    ("s", []),
    ("skip_", []),
]
ACTIONS = [
    ("action", []),
    ("ok", []),
    ("drop", []),
    ("pass", []),
    ("gact", []),
    ("pipe", []),
    ("index", NUMBERS),
    ("mirred", []),
    ("egress", []),
    ("ingress", []),
    ("mirror", []),
    ("redirect", []),
    ("dev", DEVICES),
    ("cookie", ["aa", "aabb", "x", "abc"]),
    ("hw_stats", ["disabled", "immediate", "x"]),
    ("no_percpu", []),
    ("skip_hw", []),
    ("flowid", IDS),
    ("goto", [["chain"], NUMBERS]),
    ("jump", NUMBERS),
]
QDISC = [
    ("dev", DEVICES),
    ("dev", DEVICES),
    ("handle", IDS),
    ("root", []),
    ("parent", IDS),
    ("ingress_block", NUMBERS),
    ("egress_block", NUMBERS),
    ("estimator", [TIMES, TIMES]),
    ("clsact", []),
    ("ingress", []),
    ("clsact", []),
]


def phrase(random: Random, vocabulary: Vocabulary) -> list[str]:
    """A word and its arguments; now and then without them."""
    word, arguments = random.choice(vocabulary)
    if random.random() < 0.03:
        return [word]
    if arguments and isinstance(arguments[0], list):
        return [word, *(random.choice(choices) for choices in arguments)]
    return [word, random.choice(arguments)] if arguments else [word]


def phrases(random: Random, vocabulary: Vocabulary, most: int) -> list[str]:
    return [word for _ in range(random.randint(0, most)) for word in phrase(random, vocabulary)]


def line(random: Random) -> list[str]:
    """A line: mostly a filter's, mostly with a device."""
    if random.random() < 0.2:
        verb = random.choice(["add", "del", "change", "replace", "link", "show", "s", "a"])
        return ["qdisc", verb, *phrases(random, QDISC, 4)]
    verb = random.choice(["add", "add", "add", "replace", "change", "del", "get", "show", "a", "r", "x"])
    words = ["filter", verb, *(["dev", "v0", "ingress"] if random.random() < 0.7 else [])]
    words += phrases(random, COMMON, 3)
    if random.random() < 0.85:
        words += ["bpf", *phrases(random, OPTIONS, 4)]
        if random.random() < 0.4:
            words += ["action", *phrases(random, ACTIONS, 5)]
    return words


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcJudge]:
    need_tool("strace")
    with tc_judge(tmp_path_factory.mktemp("tc")) as judge:
        judge.run("qdisc", "add", "dev", "v0", "clsact")
        yield judge


def compare(judge: TcJudge, words: list[str]) -> None:
    theirs, exchanges = judge.record(*words)
    answers: Iterator[Exchange] = iter(exchanges)
    sent: list[bytes] = []

    def talk(request: bytes) -> Iterator[bytes]:
        sent.append(request)
        exchange = next(answers, None)
        return (m.encode() for m in exchange.replies) if exchange else iter(())

    try:
        outcome = perform(parse_command(words, judge.resolve), talk, Names(judge.device_name))
        stdout, stderr, usage, exit_code = outcome.stdout, outcome.stderr, "", 0
    except UnsupportedKind:
        return
    except CommandError as error:
        stdout, stderr, usage, exit_code = error.stdout, str(error), error.usage, error.exit_code
    said = theirs.stderr
    if usage:
        said = re.split(r"^(?:Usage|usage)", said, maxsplit=1, flags=re.MULTILINE)[0]
    assert sent == [exchange.request for exchange in exchanges]
    assert (exit_code, stderr.rstrip("\n"), stdout) == (theirs.exit_code, said.rstrip("\n"), theirs.stdout)


def test_random_lines(judge: TcJudge) -> None:
    seeded = Random(6)
    for _ in range(LINES):
        words = line(seeded)
        try:
            compare(judge, words)
        except Exception as error:
            raise AssertionError(" ".join(words)) from error
