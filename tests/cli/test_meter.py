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


def look(monkeypatch: pytest.MonkeyPatch, shown: io.StringIO) -> io.StringIO:
    """It is standard error from now on.  (In a fixture it would be pytest's again before the test.)"""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(execute, "PREPARING_AFTER", 0.01)
    monkeypatch.setattr(sys, "stderr", shown)
    return shown


def wait_for(shown: io.StringIO, text: str) -> None:
    for _ in range(200):
        if text in shown.getvalue():
            return
        time.sleep(0.01)
    raise AssertionError(f"{text!r} is not in {shown.getvalue()!r}")


def test_compiling_is_told_when_it_takes_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = look(monkeypatch, Terminal())
    with execute.Meter():
        wait_for(terminal, "compiling")


def test_not_once_packets_have_come(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = look(monkeypatch, Terminal())
    with execute.Meter() as meter:
        meter.show(Progress("some.pcap", 0, 1, 1))
        time.sleep(0.1)
    assert "compiling" not in terminal.getvalue()


def test_nobody_is_told_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = look(monkeypatch, io.StringIO())
    with execute.Meter():
        time.sleep(0.05)
    assert shown.getvalue() == ""
