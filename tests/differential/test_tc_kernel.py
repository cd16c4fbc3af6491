"""`clsbpf tc --kernel` and the real tc, in turn on one kernel: they say and show the same."""

from __future__ import annotations

import io
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from clsbpf.cli.tc_main import main_tc
from judges import inside
from tc_judge import Ran, TcJudge, tc_judge

OBJECT = Path(__file__).parents[2] / "examples" / "programs" / "build" / "O2" / "firewall.o"
PASS = "1,6 0 0 4294967295"
BPF = ["bpf", "bytecode", PASS]

CHANGES: list[list[str]] = [
    ["qdisc", "add", "dev", "v0", "clsact"],
    ["qdisc", "add", "dev", "v0", "clsact"],
    ["qdisc", "add", "dev", "nope", "clsact"],
    ["filter", "add", "dev", "v0", "ingress", *BPF, "flowid", "1:1"],
    ["filter", "add", "dev", "v0", "ingress", "pref", "3", "protocol", "ip", *BPF, "da"],
    ["filter", "add", "dev", "v0", "ingress", "pref", "3", "protocol", "ipv6", *BPF],
    ["filter", "add", "dev", "v0", "egress", *BPF, "action", "mirred", "egress", "redirect", "dev", "v1"],
    ["filter", "add", "dev", "v0", "egress", "bpf", "object-file", str(OBJECT), "section", "tc", "da"],
    ["filter", "add", "dev", "v0", "egress", "bpf", "object-file", "/nonexistent.o"],
    ["filter", "add", "dev", "v0", "egress", "bpf", "object-pinned", "/sys/fs/bpf/nonexistent"],
    ["chain", "add", "dev", "v0", "ingress", "chain", "9"],
    ["filter", "del", "dev", "v0", "ingress", "pref", "77"],
    ["filter", "bogus"],
]
QUESTIONS: list[list[str]] = [
    ["qdisc", "show"],
    ["-s", "qdisc", "show", "dev", "v0"],
    ["filter", "show", "dev", "v0", "ingress"],
    ["-d", "filter", "show", "dev", "v0", "egress"],
    ["-j", "-s", "filter", "show", "dev", "v0", "egress"],
    ["filter", "show", "block", "6"],
    ["chain", "show", "dev", "v0", "ingress"],
    ["-j", "actions", "ls", "action", "mirred"],
]
LOADING = ("/nonexistent.o", "/sys/fs/bpf/nonexistent")
"""Why a program cannot be had is said in words of our own; that it cannot, in tc's."""


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcJudge]:
    with tc_judge(tmp_path_factory.mktemp("tc")) as judge:
        yield judge


def ours(judge: TcJudge, *words: str) -> Ran:
    out, err = io.StringIO(), io.StringIO()
    with inside(judge.namespace), redirect_stdout(out), redirect_stderr(err):
        code = main_tc(words, kernel=True, socket=None)
    return Ran(code, out.getvalue(), err.getvalue())


def test_they_say_and_show_the_same(judge: TcJudge) -> None:
    said: list[list[Ran]] = []
    for run in (judge.run, lambda *words: ours(judge, *words)):
        said.append([run(*line) for line in CHANGES])
        for line in QUESTIONS:
            theirs, shown = judge.run(*line), ours(judge, *line)
            assert shown == theirs, line
        assert (
            "firewall" in theirs.stdout
            or "firewall" in judge.run("filter", "show", "dev", "v0", "egress").stdout
        )
        assert run("qdisc", "del", "dev", "v0", "clsact") == Ran(0, "", "")
    for line, theirs, shown in zip(CHANGES, *said, strict=True):
        if line[-1] in LOADING:
            last = theirs.stderr.splitlines()[-1]
            assert (shown.exit_code, shown.stderr.splitlines()[-1]) == (theirs.exit_code, last), line
        else:
            assert shown == theirs, line


def test_a_network_namespace_by_name(judge: TcJudge) -> None:
    command = [sys.executable, "-m", "clsbpf", "tc", "--kernel", "-n", judge.namespace, "qdisc", "show"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == judge.run("qdisc", "show").stdout


def test_a_monitor_hears_the_kernel(judge: TcJudge) -> None:
    command = [sys.executable, "-m", "clsbpf", "tc", "--kernel", "-n", judge.namespace, "monitor"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as monitor:
        assert monitor.stdout is not None
        ready: list[object] = []
        while not ready:  # until it listens
            judge.run("qdisc", "add", "dev", "v1", "clsact")
            judge.run("qdisc", "del", "dev", "v1", "clsact")
            ready, _, _ = select.select([monitor.stdout], [], [], 0.1)
        heard = monitor.stdout.readline()
        monitor.terminate()
    assert re.match(r"(deleted )?qdisc clsact ffff: dev v1 parent ffff:fff1", heard)
