"""What is shown while a run has nothing to show yet."""

from __future__ import annotations

import io
import sys
import time

import pytest

from clsbpf.cli import execute
from clsbpf.engine.run import Progress


class Terminal(io.StringIO):
    """A standard error that somebody looks at."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(execute, "PREPARING_AFTER", 0.01)
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    return shown


def wait_for(shown: Terminal, text: str) -> None:
    for _ in range(200):
        if text in shown.getvalue():
            return
        time.sleep(0.01)
    raise AssertionError(f"{text!r} is not in {shown.getvalue()!r}")


def test_compiling_is_told_when_it_takes_a_while(terminal: Terminal) -> None:
    with execute.Meter():
        wait_for(terminal, "compiling")


def test_not_once_packets_have_come(terminal: Terminal) -> None:
    with execute.Meter() as meter:
        meter.show(Progress("some.pcap", 0, 1, 1))
        time.sleep(0.1)
    assert "compiling" not in terminal.getvalue()


def test_nobody_is_told_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "PREPARING_AFTER", 0.01)
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    with execute.Meter():
        time.sleep(0.05)
    assert shown.getvalue() == ""
