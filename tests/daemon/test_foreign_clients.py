"""Clients that others wrote, on the daemon's socket: pyroute2, and the real tc."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from clsbpf.bpf.asm import assemble
from clsbpf.daemon.lookalike import NetlinkLookalike
from clsbpf.netlink.schema import RTNLGRP_TC
from daemon_running import Ran, Running, run_tc, running, until
from judges import need_tool
from tc_over_ours import build_shim

INGRESS = 0xFFFFFFF2


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as daemon:
        yield daemon


@pytest.fixture
def ipr(daemon: Running) -> Iterator[IPRoute]:
    with NetlinkLookalike.to_daemon(str(daemon.path)) as socket, IPRoute(use_socket=socket) as ipr:
        yield ipr


def test_pyroute2_finds_devices(ipr: IPRoute) -> None:
    assert [link.get("ifname") for link in ipr.get_links()] == ["lab0", "lab1"]
    assert ipr.link_lookup(ifname="lab1") == [3]


def test_pyroute2_makes_a_device(ipr: IPRoute, daemon: Running) -> None:
    ipr.link("add", ifname="lab7", kind="dummy")
    assert daemon.tc("qdisc show dev lab7") == "qdisc noqueue 0: root refcnt 2 \n"
    with pytest.raises(NetlinkError) as refusal:
        ipr.link("add", ifname="lab7", kind="dummy")
    assert refusal.value.code == errno.EEXIST


def test_pyroute2_makes_and_reads_filters(ipr: IPRoute, daemon: Running) -> None:
    ipr.tc("add", "clsact", index=2)
    with daemon.connect() as maker:
        maker.obj_pin(maker.prog_load(assemble("r0 = 0\nexit"), 3, name="prog"), "/sys/fs/bpf/prog")
    daemon.tc("filter add dev lab0 ingress pref 7 bpf object-pinned /sys/fs/bpf/prog da")
    (header, found) = ipr.get_filters(index=2, parent=INGRESS)
    assert header.get("kind") == "bpf"
    options = found.get("options")
    assert (found["info"] >> 16, options.get_attr("TCA_BPF_NAME")) == (7, "prog:[*fsobj]")
    assert [each.get("kind") for each in ipr.get_qdiscs(index=2)] == ["noqueue", "clsact"]
    ipr.tc("del-filter", "bpf", index=2, parent=INGRESS, prio=7, info=7 << 16)
    assert list(ipr.get_filters(index=2, parent=INGRESS)) == []


def test_pyroute2_is_refused_as_by_the_kernel(ipr: IPRoute) -> None:
    with pytest.raises(NetlinkError) as refusal:
        ipr.tc("del", "clsact", index=2)
    assert refusal.value.code in (errno.ENOENT, errno.EINVAL)
    with pytest.raises(NetlinkError) as refusal:
        ipr.tc("add", "clsact", index=99)
    assert refusal.value.code == errno.ENODEV


def test_a_netlink_sockets_groups(daemon: Running) -> None:
    with NetlinkLookalike.to_daemon(str(daemon.path)) as listener:
        listener.bind((0, 1 << (RTNLGRP_TC - 1)))
        assert listener.getsockname()[1] == 1 << (RTNLGRP_TC - 1)
        daemon.tc("qdisc add dev lab0 clsact")
        assert listener.recv(1 << 16)[4:6] == (36).to_bytes(2, "little")


# the real tc


@dataclass
class RealTc:
    """The real tc as a client of the daemon, and ours: what the one and the other say to a line."""

    daemon: Running
    shim: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", ""),
            "LC_ALL": "C",
            "LD_PRELOAD": str(self.shim),
            "CLSBPF_SHIM": str(self.daemon.path),
            "CLSBPF_SHIM_DAEMON": "1",
        }

    def real(self, *words: str) -> Ran:
        command = [need_tool("tc"), *words]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment)
        return Ran(done.returncode, done.stdout, done.stderr)

    def ours(self, *words: str) -> Ran:
        return run_tc(self.daemon.path, *words)


@pytest.fixture
def tc(daemon: Running, tmp_path: Path) -> RealTc:
    need_tool("tc")
    return RealTc(daemon, build_shim(tmp_path))


PASS = "1,6 0 0 4294967295"
BPF = ["bpf", "bytecode", PASS]
CHANGES: list[list[str]] = [
    ["qdisc", "add", "dev", "lab0", "clsact"],
    ["qdisc", "add", "dev", "lab0", "clsact"],
    ["qdisc", "add", "dev", "nope", "clsact"],
    ["qdisc", "add", "dev", "lab1", "ingress_block", "5", "clsact"],
    ["filter", "add", "dev", "lab0", "ingress", *BPF, "flowid", "1:1", "action", "drop"],
    ["filter", "add", "dev", "lab0", "ingress", "pref", "3", "protocol", "ip", *BPF, "da"],
    ["filter", "add", "dev", "lab0", "ingress", "pref", "3", "protocol", "ipv6", *BPF],
    ["filter", "add", "dev", "lab0", "ingress", "pref", "3", *BPF, "skip_sw"],
    ["filter", "add", "dev", "lab1", "ingress", *BPF],
    ["filter", "add", "block", "5", *BPF, "action", "police", "rate", "1mbit", "burst", "10k"],
    ["filter", "add", "dev", "lab0", "egress", *BPF, "action", "mirred", "egress", "redirect", "dev", "lab1"],
    ["filter", "add", "dev", "lab0", "egress", *BPF, "action", "goto", "chain", "4"],
    ["actions", "add", "action", "skbedit", "mark", "7", "index", "4"],
    ["actions", "add", "action", "gact", "drop", "index", "1"],
    ["actions", "del", "action", "gact", "index", "99"],
    ["chain", "add", "dev", "lab0", "ingress", "chain", "9"],
    ["filter", "replace", "dev", "lab0", "ingress", "pref", "3", "handle", "1", *BPF, "classid", "2:2"],
    ["filter", "del", "dev", "lab0", "ingress", "pref", "77"],
    ["filter", "change", "dev", "lab0", "ingress", "pref", "3", "handle", "8", *BPF],
]
QUESTIONS: list[list[str]] = [
    ["qdisc", "show"],
    ["qdisc", "show", "dev", "lab0"],
    ["filter", "show", "dev", "lab0", "ingress"],
    ["filter", "show", "dev", "lab0", "egress"],
    ["filter", "show", "dev", "lab1", "ingress"],
    ["filter", "show", "block", "5"],
    ["filter", "show", "block", "6"],
    ["filter", "get", "dev", "lab0", "ingress", "pref", "3", "protocol", "ip", "handle", "1", "bpf"],
    ["chain", "show", "dev", "lab0", "ingress"],
    ["actions", "ls", "action", "police"],
    ["actions", "ls", "action", "skbedit"],
    ["actions", "get", "action", "skbedit", "index", "4"],
    ["filter", "show", "dev", "nope"],
]
OPTIONS: list[list[str]] = [[], ["-j"], ["-s"], ["-d", "-o"], ["-j", "-p"]]


_TIMES = re.compile(r'((?:installed|used|firstused) |"(?:installed|last_used|first_used)":)\d+')


def timeless(ran: Ran) -> Ran:
    """Without how long ago something was."""
    return Ran(ran.exit_code, _TIMES.sub(r"\1N", ran.stdout), ran.stderr)


def test_the_real_tc_and_ours_say_the_same_on_one_daemon(tc: RealTc) -> None:
    """Changes made by the one or the other in turn are answered alike, and both show the same afterwards."""
    answers: dict[bool, list[Ran]] = {True: [], False: []}
    for real in (True, False):
        for line in CHANGES:
            answers[real].append(tc.real(*line) if real else tc.ours(*line))
        for options in OPTIONS:
            for line in QUESTIONS:
                shown, theirs = tc.ours(*options, *line), tc.real(*options, *line)
                assert timeless(shown) == timeless(theirs), (options, line)
        assert "clsact ffff: dev lab1" in tc.real("qdisc", "show").stdout
        for undo in (["qdisc", "del", "dev", "lab0", "clsact"], ["qdisc", "del", "dev", "lab1", "clsact"]):
            assert (tc.real(*undo) if real else tc.ours(*undo)) == Ran(0, "", "")
        tc.ours("actions", "flush", "action", "skbedit")
        tc.ours("actions", "flush", "action", "gact")
    for line, theirs, ours in zip(CHANGES, answers[True], answers[False], strict=True):
        assert ours == theirs, line


def listening(daemon: Running) -> int:
    """How many hear of changes."""
    return len(daemon.host.network.multicast._listeners)


MONITORS = [[], ["-s"], ["-j"], ["-ts"], ["-o", "-d"]]


@pytest.mark.parametrize("options", MONITORS, ids=lambda options: " ".join(options) or "plain")
def test_both_monitors_tell_the_same(tc: RealTc, options: list[str]) -> None:
    path = str(tc.daemon.path)
    real = [need_tool("tc"), *options, "monitor"]
    ours = [sys.executable, "-m", "clsbpf", "tc", "--socket", path, *options, "monitor"]
    environments = (tc.environment, {**os.environ, "LC_ALL": "C"})
    files = [tc.shim.parent / "real", tc.shim.parent / "ours"]
    monitors = []
    for command, environment, file in zip((real, ours), environments, files, strict=True):
        with file.open("w") as out:
            monitors.append(subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL, env=environment))
    try:
        until(lambda: listening(tc.daemon) == 2)
        for line in CHANGES:
            tc.ours(*line)
        tc.ours("qdisc", "del", "dev", "lab0", "clsact")
        tc.ours("qdisc", "del", "dev", "lab1", "clsact")
        for _ in range(500):  # until the last change was written out whole by both
            theirs, told = (timeless_text(file) for file in files)
            if told == theirs and "deleted qdisc clsact ffff: dev lab1" in told:
                break
            time.sleep(0.01)
    finally:
        for each in monitors:
            each.terminate()
            each.wait(10)
    assert told == theirs
    assert "deleted qdisc clsact ffff: dev lab1" in told
    assert told.count("filter") >= 5


def timeless_text(file: Path) -> str:
    return re.sub(r"\[[0-9T:.-]+\] ", "[time] ", _TIMES.sub(r"\1N", file.read_text()))


BATCHES = {
    "plain": "qdisc add dev lab0 clsact\nqdisc show dev lab0\n",
    "an error": "qdisc add dev lab0 clsact\nqdisc add dev lab0 clsact\nqdisc show dev lab0\n",
    "a wrong option": "filter add dev lab0 ingress bpf classid zz\nqdisc show dev lab0\n",
    "an error that ends it": "qdisc add dev\nqdisc show dev lab0\n",
    "comments and blanks": "# nothing\n\n  qdisc show dev lab0 # all\n",
    "continued": "qdisc show \\\ndev lab0\nqdisc add \\\n dev nope clsact\n",
    "quotes": "filter add dev lab0 ingress bpf bytecode '1,6 0 0 1'\n",
    "unterminated": "qdisc show dev 'lab0\n",
    "no newline": "qdisc show dev lab0",
    "unknown": "bogus\nqdisc show dev lab0\n",
    "nothing": "",
}


@pytest.mark.parametrize("force", [[], ["-force"]], ids=["", "force"])
@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_batches(tc: RealTc, batch: str, force: list[str]) -> None:
    path = tc.shim.parent / "batch"
    path.write_text(batch)
    words = [*force, "-b", str(path)]
    theirs = tc.real(*words)
    tc.ours("qdisc", "del", "dev", "lab0", "clsact")
    assert tc.ours(*words) == theirs


def test_a_usage_stands_before_the_line_of_a_batch(tc: RealTc) -> None:
    path = tc.shim.parent / "batch"
    path.write_text("qdisc add dev lab0 clsact bogus\n")
    first, *_, last = tc.ours("-b", str(path)).stderr.splitlines()
    theirs = tc.real("-b", str(path)).stderr.splitlines()
    assert (first, last) == (theirs[0], theirs[-1])
