"""`clsbpf daemon` as a process: started, told to end, killed, started again."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clsbpf.daemon.client import connect
from clsbpf.daemon.state import POLICY
from daemon_running import run_tc, started

OBJECT = Path(__file__).parents[2] / "examples" / "programs" / "build" / "O2" / "accounting.o"


def batch(directory: Path) -> str:
    path = directory / "batch.tc"
    path.write_text(
        "qdisc add dev lab0 clsact\n"
        "filter add dev lab0 ingress pref 3 bpf bytecode '1,6 0 0 1' flowid 1:1 action drop\n"
        f"filter add dev lab0 ingress pref 3 bpf object-file {OBJECT} section tc da\n"
        "chain add dev lab0 egress chain 4\n"
    )
    return str(path)


def test_what_was_acknowledged_is_there_again_after_a_kill(tmp_path: Path) -> None:
    with started(tmp_path, "--dev", "lab0") as daemon:
        daemon.tc(f"-b {batch(tmp_path)}")
        with connect(daemon.path) as connection:
            fd = connection.map_create(1, 4, 4, 9, name="kept")
            connection.map_update(fd, b"key1", b"val1")
            connection.obj_pin(fd, "/sys/fs/bpf/kept")
        before = daemon.tc("filter show dev lab0 ingress")
        assert daemon.end(signal.SIGKILL) == -signal.SIGKILL
    with started(tmp_path) as daemon:
        assert daemon.tc("filter show dev lab0 ingress") == before
        assert "chain 4" in daemon.tc("chain show dev lab0 egress")
        with connect(daemon.path) as connection:
            assert connection.map_lookup(connection.obj_get("/sys/fs/bpf/kept"), b"key1") == b"val1"
        assert daemon.end() == 0
        assert not daemon.path.exists()


def test_there_is_a_loopback_device_with_index_1(tmp_path: Path) -> None:
    for words in (("--dev", "lab0"), ("--dev", "lo")):
        with started(tmp_path, *words) as daemon:
            daemon.tc("actions replace action mirred egress mirror dev lo index 1")
            assert daemon.end() == 0
            assert "#!device 1 lo\n#!device 2 lab0\n" in (daemon.state / POLICY).read_text()


def test_what_cannot_be_restored_is_told_and_not_lost(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    text = "#!device 2 lab0\nqdisc add dev nope clsact\nqdisc add dev lab0 clsact\n"
    (state / POLICY).write_text(text)
    with started(tmp_path) as daemon:
        assert "clsact" in daemon.tc("qdisc show dev lab0")
        assert (state / "policy.tc.unrestored").read_text() == text
        assert daemon.end() == 0
        assert daemon.process.stderr is not None
        assert (
            'policy.tc:2: qdisc add dev nope clsact: Cannot find device "nope"'
            in daemon.process.stderr.read()
        )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_it_ends_when_told_while_a_client_waits(number: int, tmp_path: Path) -> None:
    with started(tmp_path, "--dev", "lab0") as daemon:
        daemon.tc("qdisc show")
        with connect(daemon.path):
            assert daemon.end(number) == 0


SIGNALLED = """
import signal, sys, threading
from pathlib import Path
from clsbpf.daemon.host import Host
from clsbpf.daemon.listener import listening
from clsbpf.daemon.server import Server

with listening(Path(sys.argv[1])) as listener:
    server = Server(Host(), listener)
    signal.signal(signal.SIGTERM, lambda number, frame: server.stop())
    here = threading.get_ident
    threading.Timer(0.2, lambda: signal.pthread_kill(here(), signal.SIGTERM)).start()
    server.serve()
"""


def test_a_signal_that_interrupts_nothing_ends_it_too(tmp_path: Path) -> None:
    """One that comes just before the daemon waits, or, as here, in another thread."""
    ended = subprocess.run(
        [sys.executable, "-c", SIGNALLED, str(tmp_path / "socket")], timeout=10, check=False
    )
    assert ended.returncode == 0


def test_a_second_one_is_refused(tmp_path: Path) -> None:
    with started(tmp_path, "--dev", "lab0") as daemon:
        daemon.tc("qdisc show")
        with started(tmp_path, "--dev", "lab1") as second:
            assert second.process.wait(10) == 1
            assert second.process.stderr is not None
            said = second.process.stderr.read()
        assert said == f"clsbpf: {daemon.path}: a daemon has it already (process {daemon.process.pid})\n"
        assert "lab0" in daemon.tc("qdisc show")


def test_the_command_begins_at_once(tmp_path: Path) -> None:
    """`clsbpf tc` imports what it needs of tc's language, and neither the engine nor LLVM nor numpy."""
    with started(tmp_path, "--dev", "lab0") as daemon:
        daemon.tc("qdisc add dev lab0 clsact")
        script = (
            "import sys; from clsbpf.cli.tc_main import main_tc;"
            f"main_tc(['-s', 'filter', 'show', 'dev', 'lab0'], kernel=False, socket={str(daemon.path)!r});"
            "heavy = 'numpy', 'llvmlite', 'clsbpf.engine', 'clsbpf.vm', 'elftools';"
            "print(*(name for name in heavy if name in sys.modules))"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == ""


def test_a_line_that_asks_for_help(tmp_path: Path) -> None:
    ran = run_tc(tmp_path / "none", "-V")
    assert ran.exit_code == 0
    assert ran.stdout.startswith("tc utility, clsbpf-")


def test_a_device_with_a_driver(tmp_path: Path) -> None:
    with started(tmp_path, "--driver", "lab0=worker", "--dev", "lab1") as daemon:
        for name in ("lab0", "lab1"):
            daemon.tc(f"qdisc add dev {name} clsact")
        words = ["filter", "add", "dev", "lab0", "ingress", "bpf", "bytecode", "1,6 0 0 1", "skip_sw"]
        assert run_tc(daemon.path, *words).exit_code == 0
        words[3] = "lab1"
        assert run_tc(daemon.path, *words).stderr.startswith("RTNETLINK answers: Operation not supported")
        before = daemon.tc("filter show dev lab0 ingress")
        assert "skip_sw in_hw" in before
        assert daemon.end(signal.SIGKILL) == -signal.SIGKILL
    with started(tmp_path) as daemon:
        assert daemon.tc("filter show dev lab0 ingress") == before
    with started(tmp_path, "--driver", "lab0=card") as daemon:
        assert daemon.process.wait(10) == 1
