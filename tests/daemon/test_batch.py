"""`clsbpf tc -b` asks the daemon for many lines at once: what it says and does is as if one by one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from clsbpf.daemon.client import connect
from clsbpf.netlink.message import NLMSG_ERROR, iter_messages, read_acknowledgement
from clsbpf.tccmd.command import parse_command
from daemon_running import Ran, Running, running

OBJECT = Path(__file__).parents[2] / "examples" / "programs" / "build" / "O2" / "accounting.o"
VOCABULARY = [
    "qdisc add dev lab0 clsact",
    "filter add dev lab0 ingress pref {n} bpf bytecode '1,6 0 0 1'",
    "filter add dev lab0 ingress pref {n} bpf bytecode '1,6 0 0 1' action gact index {n}",
    f"filter add dev lab0 egress bpf object-file {OBJECT} section tc da",
    "filter add block 7 bpf bytecode '1,6 0 0 1'",
    "filter del dev lab0 ingress pref {n}",
    "filter show dev lab0 ingress",
    "actions add action gact drop index {n}",
    "actions add action gact drop index {n}",
    "actions add action skbmod set dmac 02:00:00:00:00:0{n} index {n}",
    "actions del action gact index {n}",
    "actions add action gact index {n} delete action gact index {n}",
    "-s actions ls action gact",
    "actions get action gact index {n}",
    "actions add action mirred egress mirror dev {dev}",
    "actions add action police rate",
    "chain add dev lab0 ingress chain {n}",
    "filter add dev lab0 'ingress",
    "nonsense",
]


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Running, Running]]:
    """Two daemons alike."""
    one, other = tmp_path / "one", tmp_path / "other"
    for each in (one, other):
        each.mkdir(mode=0o700)
    with running(one) as first, running(other) as second:
        yield first, second


def one_by_one(daemon: Running, path: Path, *, force: bool, monkeypatch: pytest.MonkeyPatch) -> Ran:
    """As for a batch from a kernel, which cannot be asked for many at once."""
    from clsbpf.cli import tc_main

    with monkeypatch.context() as patch:
        patch.setattr(tc_main, "_wants_a_yes", lambda command: False)
        return daemon.run(f"{'-force ' * force}-b {path}")


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_batches_as_one_by_one(
    two: tuple[Running, Running], seed: int, force: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    path = tmp_path / "batch"
    for _ in range(6):
        words = rng.sample(VOCABULARY, k=rng.randint(1, 10))
        lines = [
            rng.choice(words).format(n=rng.randint(1, 9), dev=rng.choice(("lab0", "lab1", "nope")))
            for _ in range(rng.choice((1, 3, 30, 250)))
        ]
        path.write_text("".join(line + "\n" for line in lines))
        there = one_by_one(two[0], path, force=force, monkeypatch=monkeypatch)
        here = two[1].run(f"{'-force ' * force}-b {path}")
        assert _timeless(here) == _timeless(there)
        for show in ("filter show dev lab0 ingress", "actions ls action gact", "chain show dev lab0 ingress"):
            assert two[1].run(show) == two[0].run(show)


def _timeless(ran: Ran) -> Ran:
    import re

    return Ran(ran.exit_code, re.sub(r"(installed|used) \d+ sec", "", ran.stdout), ran.stderr)


def asked(daemon: Running, lines: list[str], *, stop: bool) -> tuple[list[int], int]:
    """The errnos of requests that go in one datagram, and in how many datagrams they come."""
    requests = [parse_command(line.split(), daemon.host.network.ifindex).requests[0].data for line in lines]
    codes: list[int] = []
    with connect(daemon.path) as connection:
        for count, datagram in enumerate(connection.ask_all(requests, stop), 1):
            for message in iter_messages(datagram):
                assert message.type == NLMSG_ERROR
                codes.append(read_acknowledgement(message).errno)
            if len(codes) == len(lines):
                return codes, count
    raise AssertionError


LINES = [f"actions add action gact drop index {index}" for index in (1, 2, 2, 3, 4)]


def test_what_follows_a_refusal_is_not_done(two: tuple[Running, Running]) -> None:
    assert asked(two[0], LINES, stop=True) == ([0, 0, 17, 125, 125], 1)
    assert two[0].tc("actions ls action gact").count("index") == 2
    assert asked(two[1], LINES, stop=False) == ([0, 0, 17, 0, 0], 1)
    assert two[1].tc("actions ls action gact").count("index") == 4


def test_many_answers_are_in_few_datagrams(two: tuple[Running, Running]) -> None:
    lines = [f"actions add action gact drop index {index}" for index in range(1, 2001)]
    codes, datagrams = asked(two[0], lines, stop=True)
    assert not any(codes)
    assert datagrams == 3, "of 32 KiB"
