"""`tc qdisc` and `tc class`: requests, rows and errors are those of the real tc.

What this kernel lacks (prio) it refuses, but tc's request for it is recorded all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tc_qdisc_lines as lines
from clsbpf.netlink.message import iter_messages
from clsbpf.tccmd.batch import read_batch
from clsbpf.tccmd.command import parse_command
from clsbpf.tccmd.errors import CommandError
from clsbpf.tccmd.ids import parse_class_names
from clsbpf.tccmd.options import parse_options
from clsbpf.tccmd.perform import perform
from clsbpf.tccmd.render import Names
from clsbpf.tccmd.words import split_words
from judges import need_tool
from tc_judge import Exchange, Ran, TcJudge, tc_judge

USAGE = re.compile(r"^Usage", re.MULTILINE)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcJudge]:
    """tc, with qdiscs and classes."""
    need_tool("strace")
    with tc_judge(tmp_path_factory.mktemp("tc")) as judge:
        ran = judge.run("-b", judge.file("".join(f"{line}\n" for line in lines.SETUP_LINES)))
        assert (ran.exit_code, ran.stderr) == (0, "")
        yield judge


def readable(request: bytes) -> str:
    (message,) = iter_messages(request)
    return f"type {message.type} flags {message.flags:#x} {message.payload.hex(' ', 4)}"


def test_a_line_makes_the_request_that_tc_makes(tmp_path: Path) -> None:
    need_tool("strace")
    with tc_judge(tmp_path) as bare:
        _, exchanges = bare.record("-force", "-b", bare.file("\n".join(lines.REQUEST_LINES) + "\n"))
    theirs = iter(exchanges)
    for line in lines.REQUEST_LINES:
        (batch_line,) = read_batch(line)
        for request in parse_command(batch_line.words, bare.resolve).requests:
            sent = next(theirs, None)
            assert sent is not None, f"{line}: tc sent nothing"
            assert readable(request.data) == readable(sent.request), line
    left = next(theirs, None)
    assert left is None, left and readable(left.request)


def shown(judge: TcJudge, line: str, exchanges: list[Exchange], **names: object) -> Ran:
    """What we print of the replies that tc had."""
    answers = iter(exchanges)

    def talk(request: bytes) -> Iterator[bytes]:
        exchange = next(answers)
        assert request == exchange.request
        return (message.encode() for message in exchange.replies)

    options, words = parse_options(split_words(line))
    command = parse_command(words, judge.resolve, options=options)
    outcome = perform(command, talk, Names(judge.device_name, **names))  # type: ignore[arg-type]
    return Ran(0, outcome.stdout, outcome.stderr and f"{outcome.stderr}\n")


@pytest.mark.parametrize("options", lines.OPTIONS)
def test_a_reply_is_shown_as_tc_shows_it(judge: TcJudge, options: str) -> None:
    for line in lines.SHOW_LINES:
        line = f"{options} {line}"
        theirs, exchanges = judge.record(*split_words(line))
        assert shown(judge, line, exchanges) == theirs, line


def test_class_names(judge: TcJudge) -> None:
    path = judge.file("1:1 web\n1:10 mail\n0x10 ten\n0x00010000 root-of-web\n22:1 deep\n", "names")
    names = parse_class_names(Path(path).read_text(), path)
    for line in ("class show dev v0", "-g class show dev v0", "class show dev v0 qdisc 1:", "qdisc show"):
        line = f"-nm -cf {path} {line}"
        theirs, exchanges = judge.record(*split_words(line))
        assert shown(judge, line, exchanges, classes=names) == theirs, line


def test_rows_have_the_counters_of_classes(judge: TcJudge) -> None:
    """Rows are for programs, also where tc has only text."""
    options, words = parse_options(split_words("-s class show dev v0 classid 1:20"))
    command = parse_command(words, judge.resolve, options=options)
    rows = perform(command, judge.ask_kernel, Names(judge.device_name)).rows
    assert rows is not None
    (row,) = rows
    stats = row.pop("stats")
    assert row == {
        "class": "htb",
        "handle": "1:20",
        "parent": "1:10",
        "leaf": "20:",
        "prio": 7,
        "rate": 250000,
        "ceil": 250000,
        "burst": 3072000,
        "cburst": 17408,
    }
    counted = {"bytes": 0, "packets": 0, "drops": 0, "overlimits": 0, "requeues": 0, "backlog": 0, "qlen": 0}
    assert stats.items() >= counted.items()
    assert stats.keys() - counted.keys() == {"lended", "borrowed", "giants", "tokens", "ctokens"}


def refusal(judge: TcJudge, line: str) -> CommandError:
    """Our error for the line, the kernel asked with our bytes."""
    options, words = parse_options(split_words(line))
    with pytest.raises(CommandError) as caught:
        perform(parse_command(words, judge.resolve, options=options), judge.ask_kernel)
    return caught.value


@pytest.mark.parametrize("line", lines.WRONG_LINES)
def test_the_words_and_the_exit_code_are_tcs(judge: TcJudge, line: str) -> None:
    theirs = judge.run(*split_words(line))
    ours = refusal(judge, line)
    usage = USAGE.search(theirs.stderr)
    assert bool(usage) == bool(ours.usage)
    said = theirs.stderr[: usage.start()] if usage else theirs.stderr
    assert (str(ours), ours.exit_code) == (said.rstrip("\n"), theirs.exit_code)


@pytest.mark.parametrize("line", lines.HELP_LINES)
def test_help_is_a_failure_with_a_usage(judge: TcJudge, line: str) -> None:
    theirs = judge.run(*split_words(line))
    assert USAGE.search(theirs.stderr)
    ours = refusal(judge, line)
    assert ours.usage
    assert ours.exit_code == theirs.exit_code
