"""The command line: what its options come to, and how it ends."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from clsbpf.cli import execute as execution
from clsbpf.cli import main
from clsbpf.cli.run import Request
from clsbpf.engine.delivery import OnDelivery
from clsbpf.engine.results import Batch, Results
from clsbpf.engine.run import IncompleteRun, Progress
from clsbpf.errors import BytecodeError, CaptureError, TcError
from rows import Row, batch

EMPTY = Results(0, 0, 0, 0.0, 0.0, (), {}, (), 0)

OnBatch = Callable[[Batch], None] | None
OnProgress = Callable[[Progress], None]


class FakeRun:
    """Stands for the run itself: remembers what it was asked, gives rows, then ends as it is told."""

    def __init__(self, ending: BaseException | Results = EMPTY) -> None:
        self.ending = ending
        self.request: Request | None = None

    def __call__(
        self, request: Request, on_batch: OnBatch, progress: OnProgress, on_delivery: OnDelivery
    ) -> Results:
        self.request = request
        if on_batch is not None:
            on_batch(batch([Row(0, classid=0x10001)]))
        progress(Progress("big.pcap", 5_000_000, 20_000_000, 12345))
        if isinstance(self.ending, Results):
            return self.ending
        raise self.ending


def clsbpf(monkeypatch: pytest.MonkeyPatch, fake: FakeRun, *words: str) -> Result:
    monkeypatch.setattr(execution, "classify", fake)
    return CliRunner().invoke(main, ["run", *words], standalone_mode=True)


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        (["-e", "ip", "a"], Request(("a",), filters=(("expression", "ip"),))),
        (["a", "b", "-b", "p.tc"], Request(("a", "b"), policy="p.tc")),
        (["-", "--batch=p", "--dev", "v0"], Request(("-",), policy="p", dev="v0")),
        (["a", "-bp", "--hook", "egress"], Request(("a",), policy="p", hook="egress")),
        (["a", "-bp", "--backend=jit", "--jobs=3"], Request(("a",), policy="p", backend="jit", jobs=3)),
        (["a", "-bp", "--profile", "4.13", "--json"], Request(("a",), policy="p", profile="4.13", json=True)),
        (["a", "-bp", "--skip-unsupported"], Request(("a",), policy="p", skip_unsupported=True)),
        (["-e", "", "--", "-odd"], Request(("-odd",), filters=(("expression", ""),))),
    ],
)
def test_options(words: list[str], request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRun()
    assert clsbpf(monkeypatch, fake, *words).exit_code == 0
    assert fake.request == request_


def test_filters_keep_the_order_in_which_they_were_given(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRun()
    words = [
        "--bytecode",
        "1,6 0 0 0",
        "-e",
        "ip",
        "a",
        "--expression",
        "arp",
        "--bytecode",
        "1,6 0 0 1",
        "-eudp",
    ]
    assert clsbpf(monkeypatch, fake, *words).exit_code == 0
    assert fake.request is not None
    assert [text for _, text in fake.request.filters] == ["1,6 0 0 0", "ip", "arp", "1,6 0 0 1", "udp"]
    assert [kind[0] for kind, _ in fake.request.filters] == list("beebe")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Missing argument 'CAPTURE...'"),
        (["a"], "what classifies?"),
        (["a", "-b", "p", "-e", "ip"], "cannot be joined"),
        (["a", "-e", "ip", "--dev", "v0"], "are for a policy"),
        (["-", "-", "-e", "ip"], "only once"),
        (["a", "-e", "ip", "--jobs", "0"], "'--jobs'"),
        (["a", "-e", "ip", "--profile", "5.0"], "'5.0' is not one of 'current', '4.13'"),
        (["a", "-e", "ip", "--nosuch"], "--nosuch"),
    ],
)
def test_a_wrong_command_line(words: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRun()
    result = clsbpf(monkeypatch, fake, *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""
    assert fake.request is None


@pytest.mark.parametrize(
    ("ending", "exit_code", "stderr"),
    [
        (CaptureError("a: not a capture"), 1, "clsbpf: a: not a capture\n"),
        (BytecodeError("jump out of range", 3), 1, "clsbpf: jump out of range\n"),
        (TcError('What is "x"?\nCommand failed p.tc:3', 1), 1, 'What is "x"?\nCommand failed p.tc:3\n'),
        (TcError("Error: Parent Qdisc doesn't exists.", 2), 2, "Error: Parent Qdisc doesn't exists.\n"),
        (TcError('Error: argument "70000" is wrong', 255), 255, 'Error: argument "70000" is wrong\n'),
        (
            KeyboardInterrupt(),
            130,
            "clsbpf: interrupted after 12,345 packets (5.0 MB of 20.0 MB of big.pcap)\n",
        ),
        (MemoryError(), 1, "clsbpf: out of memory\n"),
        (OSError(errno.EMFILE, "Too many open files"), 1, "clsbpf: Too many open files\n"),
    ],
)
def test_what_goes_wrong_is_one_message_and_leaves_nothing(
    ending: BaseException, exit_code: int, stderr: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = ["--results", str(tmp_path / "r.csv"), "--split", str(tmp_path / "split")]
    result = clsbpf(monkeypatch, FakeRun(ending), "a", "-e", "ip", *outputs)
    assert (result.exit_code, result.stderr, result.stdout) == (exit_code, stderr, "")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_capture_keeps_what_came_before_the_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Results(1, 60, 0, 0.1, 0.1, (), {"ok": 1}, (), 0)
    damage = IncompleteRun([CaptureError("a: cut at byte 99", 1)], before)
    result = clsbpf(
        monkeypatch, FakeRun(damage), "a", "-e", "ip", "--json", "--results", str(tmp_path / "r.csv")
    )
    assert (result.exit_code, result.stderr) == (1, "clsbpf: a: cut at byte 99\n")
    assert '"packets": 1,' in result.stdout
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 2


def test_an_output_that_cannot_be_written_stops_the_run_before_it_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = FakeRun()
    result = clsbpf(monkeypatch, fake, "a", "-e", "ip", "--results", "/nosuch/r.csv")
    assert (result.exit_code, fake.request) == (1, None)
    assert result.stderr == "clsbpf: --results /nosuch/r.csv: No such file or directory\n"


def test_warnings_go_to_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    warned = Results(0, 0, 0, 0.0, 0.0, (), {}, (), 0, warnings=("not Ethernet",))
    result = clsbpf(monkeypatch, FakeRun(warned), "a", "-e", "ip", "--json")
    assert (result.exit_code, result.stderr) == (0, "clsbpf: warning: not Ethernet\n")
    assert result.stdout.startswith('{"version": 1')


HEAVY = ("numpy", "pyarrow", "llvmlite", "rich", "elftools", "clsbpf.engine", "clsbpf.api")


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = f"""
import sys
from clsbpf.cli import main
try:
    main({words!r})
except SystemExit as end:
    assert end.code == 0
print(sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"
