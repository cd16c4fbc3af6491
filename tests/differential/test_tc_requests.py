"""The bytes that tc sends for a line are the bytes that we send for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clsbpf.netlink.message import iter_messages
from clsbpf.tccmd.batch import read_batch
from clsbpf.tccmd.command import parse_command
from clsbpf.tccmd.ids import PROTOCOLS
from clsbpf.tccmd.options import parse_options
from judges import need_tool
from tc_action_lines import ALONE_ACTION_LINES, FILTER_ACTION_LINES
from tc_judge import TcJudge, tc_judge
from tc_lines import (
    ACTION_LINES,
    ALONE_LINES,
    BYTECODE_FILES,
    CHAIN_LINES,
    FILTER_LINES,
    GET_LINES,
    QDISC_LINES,
    SHOW_LINES,
)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcJudge]:
    need_tool("strace")
    directory = tmp_path_factory.mktemp("tc")
    for name, text in BYTECODE_FILES.items():
        (directory / name).write_text(text)
    with tc_judge(directory) as judge:
        yield judge


def ours(judge: TcJudge, line: str, *options: str) -> list[bytes]:
    """The requests that we make of a batch line."""
    (batch_line,) = read_batch(line)
    command = parse_command(
        batch_line.words,
        judge.resolve,
        lambda path: Path(judge.directory, path).read_text(),
        options=parse_options(options)[0],
    )
    return [request.data for request in command.requests]


def readable(request: bytes) -> str:
    (message,) = iter_messages(request)
    return f"type {message.type} flags {message.flags:#x} {message.payload.hex(' ', 4)}"


@pytest.mark.parametrize(
    "lines",
    [
        QDISC_LINES,
        FILTER_LINES,
        ACTION_LINES,
        GET_LINES,
        SHOW_LINES,
        CHAIN_LINES,
        FILTER_ACTION_LINES,
        ALONE_ACTION_LINES,
    ],
    ids=["qdisc", "filter", "action", "get", "show", "chain", "filter-actions", "actions"],
)
def test_a_line_makes_the_request_that_tc_makes(judge: TcJudge, lines: list[str]) -> None:
    # One tc for the whole list; -force goes on after what the kernel refuses.
    _, exchanges = judge.record("-force", "-b", judge.file("\n".join(lines) + "\n"))
    theirs = iter(exchanges)
    for line in lines:
        for request in ours(judge, line):
            sent = next(theirs, None)
            assert sent is not None, f"{line}: tc sent nothing"
            assert readable(request) == readable(sent.request), line
    left = next(theirs, None)
    assert left is None, readable(left.request)


@pytest.mark.parametrize("line", ALONE_LINES)
def test_a_listing_selects(judge: TcJudge, line: str) -> None:
    _, exchanges = judge.record("-b", judge.file(line + "\n"))
    assert [readable(e.request) for e in exchanges] == [readable(r) for r in ours(judge, line)]


def test_every_protocol_name(judge: TcJudge) -> None:
    lines = [f"filter del dev v0 ingress protocol {name}" for _, name in PROTOCOLS]
    lines += [f"filter del dev v0 ingress protocol {name.upper()}" for _, name in PROTOCOLS]
    _, exchanges = judge.record("-force", "-b", judge.file("\n".join(lines) + "\n"))
    requests = [request for line in lines for request in ours(judge, line)]
    assert [readable(e.request) for e in exchanges] == [readable(r) for r in requests]


def test_a_block_is_looked_for_before_it_is_shown(judge: TcJudge) -> None:
    line = "filter show block 22"
    judge.run("qdisc", "del", "dev", "v1", "clsact")
    assert judge.run("qdisc", "add", "dev", "v1", "ingress_block", "22", "ingress").exit_code == 0
    _, exchanges = judge.record("-b", judge.file(line + "\n"))
    assert [readable(e.request) for e in exchanges] == [readable(r) for r in ours(judge, line)]
    assert len(exchanges) == 2


def test_brief_asks_for_terse_rows(judge: TcJudge) -> None:
    _, exchanges = judge.record("-br", "filter", "show", "dev", "v0", "ingress")
    requests = ours(judge, "filter show dev v0 ingress", "-br")
    assert [readable(e.request) for e in exchanges] == [readable(r) for r in requests]
