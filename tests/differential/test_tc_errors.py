"""A line that tc refuses, or has refused by the kernel, fails with tc's words and exit code.

The kernel is asked twice, by tc and then with our bytes, so what refuses must not change anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import tc_wrong_lines as wrong
from clsbpf.tccmd.command import parse_command
from clsbpf.tccmd.errors import CommandError
from clsbpf.tccmd.options import parse_options
from clsbpf.tccmd.perform import perform
from clsbpf.tccmd.words import split_words
from tc_judge import TcJudge, tc_judge
from tc_lines import PASS

USAGE = re.compile(r"^(Usage|usage|\.\.\. estimator)", re.MULTILINE)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcJudge]:
    directory = tmp_path_factory.mktemp("tc")
    for name, text in wrong.WRONG_FILES.items():
        (directory / name).write_text(text)
    with tc_judge(directory) as judge:
        for line in (
            "qdisc add dev v0 clsact",
            f"filter add dev v0 ingress protocol ip pref 3 handle 1 bpf bytecode {PASS}",
            f"filter add dev v0 ingress pref 4 handle 1 bpf bytecode {PASS}",
        ):
            assert judge.run(*split_words(line)).exit_code == 0
        yield judge


def refusal(judge: TcJudge, line: str) -> CommandError:
    """Our error for the line, the kernel asked with our bytes."""
    with pytest.raises(CommandError) as caught:
        carry_out(judge, line)
    return caught.value


def carry_out(judge: TcJudge, line: str) -> None:
    options, words = parse_options(split_words(line))
    command = parse_command(
        words, judge.resolve, lambda path: Path(judge.directory, path).read_text(), options=options
    )
    perform(command, judge.ask_kernel)


EXACT: Sequence[str] = [
    *wrong.OBJECT_LINES,
    *wrong.QDISC_LINES,
    *wrong.COMMON_LINES,
    *wrong.BPF_LINES,
    *wrong.ACTION_LINES,
    *wrong.GET_LINES,
    *wrong.SHOW_LINES,
    *wrong.CHAIN_LINES,
    *wrong.OPTION_LINES,
]


@pytest.mark.parametrize("line", EXACT)
def test_the_words_and_the_exit_code_are_tcs(judge: TcJudge, line: str) -> None:
    theirs = judge.run(*split_words(line))
    ours = refusal(judge, line)
    assert (str(ours) + "\n", ours.exit_code) == (theirs.stderr, theirs.exit_code)


@pytest.mark.parametrize("line", wrong.MORE_WORDS_LINES)
def test_where_we_say_more_tcs_words_are_among_ours(judge: TcJudge, line: str) -> None:
    theirs = judge.run(*split_words(line))
    ours = refusal(judge, line)
    assert ours.exit_code == theirs.exit_code == 1
    for said in theirs.stderr.splitlines():
        assert any(mine.startswith(said) for mine in str(ours).splitlines()), said


@pytest.mark.parametrize("line", wrong.USAGE_LINES)
def test_a_usage_stands_where_tc_has_one(judge: TcJudge, line: str) -> None:
    theirs = judge.run(*split_words(line))
    ours = refusal(judge, line)
    usage = USAGE.search(theirs.stderr)
    assert usage is not None
    assert ours.usage
    assert (str(ours), ours.exit_code) == (theirs.stderr[: usage.start()].rstrip("\n"), theirs.exit_code)
