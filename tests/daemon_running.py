"""A daemon that answers on a socket: in this process (fast), or one of its own (to be killed)."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clsbpf.cli.tc_main import main_tc
from clsbpf.daemon.client import Connection, connect
from clsbpf.daemon.host import Host
from clsbpf.daemon.listener import listening
from clsbpf.daemon.server import Server


@dataclass(frozen=True)
class Ran:
    """What a command gave back."""

    exit_code: int
    stdout: str
    stderr: str


def run_tc(path: Path, *words: str) -> Ran:
    """`clsbpf tc` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main_tc(words, kernel=False, socket=str(path))
    return Ran(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Running:
    """A daemon in a thread of this process."""

    path: Path
    host: Host

    def tc(self, line: str) -> str:
        """What `clsbpf tc` prints; it must succeed."""
        ran = self.run(line)
        assert (ran.exit_code, ran.stderr) == (0, ""), (line, ran)
        return ran.stdout

    def run(self, line: str) -> Ran:
        """`clsbpf tc` with the words of a line."""
        return run_tc(self.path, *line.split())

    def connect(self) -> Connection:
        """A connection."""
        return connect(self.path)


@contextlib.contextmanager
def running(directory: Path, *devices: str) -> Iterator[Running]:
    """A daemon in this process, with these devices."""
    path = directory / "socket"
    with listening(path) as listener:
        host = Host()
        for name in devices or ("lab0", "lab1"):
            host.network.add_device(name)
        server = Server(host, listener)
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield Running(path, host)
        finally:
            server.stop()
            thread.join()


@dataclass
class Started:
    """A daemon in a process of its own."""

    path: Path
    state: Path
    process: subprocess.Popen[str]

    def tc(self, line: str) -> str:
        """What `clsbpf tc` prints; it must succeed."""
        ran = run_tc(self.path, *line.split())
        assert (ran.exit_code, ran.stderr) == (0, ""), (line, ran)
        return ran.stdout

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait: the exit code."""
        self.process.send_signal(number)
        return self.process.wait(10)


@contextlib.contextmanager
def started(directory: Path, *words: str) -> Iterator[Started]:
    """`clsbpf daemon` with its socket and state in a directory."""
    path, state = directory / "socket", directory / "state"
    command = [sys.executable, "-m", "clsbpf", "daemon", "--socket", str(path), "--state", str(state), *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "LC_ALL": "C"})
    try:
        yield Started(path, state, process)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(10)
        assert process.stderr is not None
        process.stderr.close()


def until(condition: object, patience: float = 5.0) -> None:
    """Wait until a function says yes."""
    assert callable(condition)
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("it did not happen")
        time.sleep(0.01)
