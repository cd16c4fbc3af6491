"""A batch file: the same commands run, the same failures told, with the same lines and exit code as tc's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from clsbpf.tccmd.batch import read_batch, run_batch
from clsbpf.tccmd.command import parse_command
from clsbpf.tccmd.errors import CommandError
from clsbpf.tccmd.perform import Outcome, perform
from clsbpf.tccmd.render import Names
from tc_judge import Ran, TcJudge, tc_judge

ADD = "filter add dev v0 ingress pref 9 handle 1 bpf bytecode '1,6 0 0 0'\n"
SHOW = "filter show dev v0 ingress pref 9\n"

BATCHES = {
    "empty": "",
    "blank lines and comments": f"\n   \n\t\n# nothing\n{ADD}  # after\n{SHOW}",
    "a comment in quotes": f"filter add dev v0 ingress pref 9 bpf bytecode '1,6 0 0 #0'\n{SHOW}",
    "a continuation": f"filter add dev v0 \\\n ingress pref 9 bpf \\\n bytecode '1,6 0 0 0'\n{SHOW}",
    "a continuation in a word": f"filter add de\\\nv v0 ing\\\nress pref 9 bpf bc '1,6 \\\n0 0 0'\n{SHOW}",
    "a continuation after a comment": f"{ADD}# comment \\\n{SHOW}",
    "a comment in the continuation": f"filter show \\\n dev v0 # here \\\n{SHOW}",
    "no newline at the end": ADD + SHOW.rstrip("\n"),
    "a backslash at the end": ADD + SHOW.rstrip("\n") + "\\",
    "carriage returns": (ADD + SHOW).replace("\n", "\r\n"),
    "quotes": f"""filter add "dev" 'v0' ingress 'pref' "9"bpf bytecode "1,6 0 0 0"flowid '1:1'\n{SHOW}""",
    "quotes of the other kind": 'filter add dev v0 ingress bpf classid "1\'1"\n',
    "a quote within a word": f"filter add dev v'0' ingress bpf\n{SHOW}",
    "an unterminated quote": f"{ADD}filter show dev 'v0 ingress\n{SHOW}",
    "a failing line": f"{ADD}\nfilter add dev v0 ingress bpf classid zz\n{SHOW}",
    "a failing line of several": f"{ADD}filter add dev v0 \\\n\\\ningress bpf classid zz\n{SHOW}",
    "a refused line": f"{ADD}{ADD}{SHOW}",
    "a fatal line": f"{ADD}filter add dev v0 ingress pref x bpf\n{SHOW}",
    "an incomplete line": f"{ADD}filter add dev\n{SHOW}",
    "a wrong object": f"{ADD}nosuch object\n{SHOW}",
    "an option in a line": f"{ADD}-s filter show\n{SHOW}",
    "a wrong verb": f"{ADD}filter nosuch\n{SHOW}",
    "two failures": f"filter foo\n{ADD}filter bar\n{SHOW}",
    "an unknown device": f"qdisc add dev nope clsact\n{ADD}{SHOW}",
    "too many words": f"filter show {'dev v0 ' * 300}\n{SHOW}",
    "the most words": f"qdisc show {'dev v0 ' * 254}dev\n{SHOW}",
    "a missing bytecode file": f"filter add dev v0 ingress bpf bytecode-file /nope\n{SHOW}",
}


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcJudge]:
    with tc_judge(tmp_path_factory.mktemp("tc")) as judge:
        yield judge


def ours(judge: TcJudge, path: str, *, force: bool) -> Ran:
    """The batch run by us against the kernel."""

    def run(words: Sequence[str]) -> Outcome:
        command = parse_command(words, judge.resolve, lambda path: Path(path).read_text())
        return perform(command, judge.ask_kernel, Names(judge.device_name))

    with open(path, newline="") as file:
        lines = read_batch(file.read(), path)
    stdout, stderr, exit_code = "", "", 0
    try:
        for result in run_batch(lines, run, force=force):
            if isinstance(result, CommandError):
                stderr += f"{result}\n"
                exit_code = result.exit_code
            else:
                stdout += result.stdout
    except CommandError as error:
        stderr += f"{error}\n"
        exit_code = error.exit_code
    return Ran(exit_code, stdout, stderr)


@pytest.mark.parametrize("force", [False, True], ids=["", "force"])
@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_goes_as_with_tc(judge: TcJudge, name: str, force: bool) -> None:
    path = judge.file(BATCHES[name])
    judge.run("qdisc", "replace", "dev", "v0", "clsact")
    theirs = judge.run(*(["-force"] if force else []), "-b", path)
    judge.run("filter", "del", "dev", "v0", "ingress")
    assert ours(judge, path, force=force) == theirs
    judge.run("filter", "del", "dev", "v0", "ingress")


def test_a_continuation_that_does_not_come_is_an_error(judge: TcJudge) -> None:
    """tc says so as well, but drops the line and calls the batch a success."""
    path = judge.file("filter show \\\n")
    theirs = judge.run("-b", path)
    assert (theirs.exit_code, theirs.stderr) == (0, "Missing continuation line\n")
    assert ours(judge, path, force=False) == Ran(1, "", "Missing continuation line\n")
