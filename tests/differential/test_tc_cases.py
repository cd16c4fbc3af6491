"""Cases about tc (`tc_cases`): `clsbpf tc` on a daemon, in any order; the real tc says the same of the kernel
and of our endpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from clsbpf.tccmd.words import split_words
from daemon_running import run_tc, running
from tc_cases import Case, actions, filters, program, qdiscs
from tc_judge import TcJudge, tc_judge
from tc_ours import Ours
from tc_over_ours import tc_over_ours

CASES = [*actions.CASES, *filters.CASES, *qdiscs.CASES, *program.CASES]
BY_KERNEL = 90
"""So many cases of those that the kernel can have are tried on it,"""
OVER_OURS = 150
"""and so many by the real tc on our endpoint."""
MANY = "actions.tc"
"""In the words of cases that are slow for the real tc."""

Run = Callable[[str], tuple[int, str, str]]
"""A line's exit code, output and errors."""


def differences(cases: list[Case], run: Run, files: Path) -> list[str]:
    """How what happens differs from what the cases say."""
    for name, text in program.FILES.items():
        (files / name).write_text(text)

    def carry_out(line: str) -> tuple[int, str, str]:
        return run(line.replace("{files}", str(files)))

    found: list[str] = []
    for line in {line for case in cases for line in case.undo}:
        carry_out(line)
    for case in cases:
        for line in case.setup:
            carry_out(line)
        exit_code, _, stderr = carry_out(case.line)
        if exit_code != case.exit_code:
            found.append(f"{case.line}: exit code {exit_code}, not {case.exit_code}: {stderr}")
        shown = carry_out(case.verify)[1]
        if case.matches(shown) != case.count:
            found.append(f"{case.line}: {case.pattern!r} not {case.count} times in\n{shown}")
        for line in case.undo:
            clear_away(carry_out, line)
    return found


def clear_away(run: Run, line: str) -> None:
    """A kernel gives back what a filter held of its actions a moment after the filter went."""
    for _ in range(20):
        exit_code, _, stderr = run(line)
        if exit_code == 0 or "flush" not in line or "unknown" in stderr:
            return
        time.sleep(0.01)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcJudge]:
    with tc_judge(tmp_path_factory.mktemp("tc")) as judge:
        yield judge


def some(cases: list[Case], count: int, seed: int) -> list[Case]:
    return Random(seed).sample(cases, min(count, len(cases)))


def test_clsbpf_tc(tmp_path: Path) -> None:
    with running(tmp_path, "lo", "v0", "v1") as daemon:

        def run(line: str) -> tuple[int, str, str]:
            ran = run_tc(daemon.path, *split_words(line))
            return ran.exit_code, ran.stdout, ran.stderr

        assert "\n".join(differences(some(CASES, len(CASES), 1), run, tmp_path)) == ""


def test_tc_and_the_kernel(judge: TcJudge) -> None:
    """The cases say of the kernel what is so."""

    def run(line: str) -> tuple[int, str, str]:
        ran = judge.run(*split_words(line))
        return ran.exit_code, ran.stdout, ran.stderr

    cases = [case for case in CASES if case.in_kernel]
    assert "\n".join(differences(some(cases, BY_KERNEL, 2), run, judge.directory)) == ""


def test_tc_and_our_endpoint(judge: TcJudge) -> None:
    """The cases say of tc what is so."""
    theirs = Ours(judge)
    with tc_over_ours(judge, theirs.endpoint) as real:

        def run(line: str) -> tuple[int, str, str]:
            ran = real.run(*split_words(line))
            return ran.exit_code, ran.stdout, ran.stderr

        cases = [case for case in CASES if MANY not in f"{case.line} {case.setup}"]
        assert "\n".join(differences(some(cases, OVER_OURS, 3), run, judge.directory)) == ""
