"""Does what a `Request` of `clsbpf run` asks: opens the outputs, classifies, shows the result.

The order matters.  Outputs are opened first, so that one that cannot be written stops the run before
it begins.  A damaged capture still has a complete result up to the damage: it is kept and shown, and
only then is the damage told.  After an interrupt nothing is kept but the word how far it came.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

import click

from ..engine.results import Batch, Results
from .outputs import Output, Outputs, ResultFile
from .run import Request

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from ..engine.delivery import Delivery
    from ..engine.run import Progress
    from ..vm.environment import TraceLine

BAR_AFTER = 0.3
"""Seconds before a progress bar appears: what is done sooner needs none."""
PREPARING_AFTER = 0.6
"""Seconds without a packet after which it is said that filters are compiled."""
PIPED_WIDTH = 200
"""Columns of the report where no terminal says how many there are: enough that nothing is cut."""
NOT_VERIFIED = "objects' programs are not verified: they run in the checked interpreter"


def execute(request: Request) -> None:
    """Run, keep and show; raises what went wrong."""
    from ..engine.run import IncompleteRun

    damage: IncompleteRun | None = None
    with open_outputs(request.results, request.split) as outputs, Meter() as meter:
        try:
            results = classify(
                request, outputs.write if outputs else None, meter.show, outputs.deliver if outputs else None
            )
        except IncompleteRun as error:
            damage, results = error, error.results
        except KeyboardInterrupt:
            raise KeyboardInterrupt(meter.how_far()) from None
        outputs.commit()
    try:
        show(request, results)
    finally:
        if damage is not None:  # whatever became of the report
            raise damage


def open_outputs(results: str | None, split: str | None) -> Outputs:
    """The outputs asked for; RunError where one cannot be written, and then none is begun."""
    opened: list[Output] = []
    try:
        if results is not None:
            opened.append(ResultFile(results))
        if split is not None:
            from .split import SplitDirectory

            opened.append(SplitDirectory(split))
    except BaseException:
        for output in opened:
            output.discard()
        raise
    return Outputs(opened)


def show(request: Request, results: Results) -> None:
    """Print the report or the JSON object on standard output, and warnings on standard error."""
    for warning in results.warnings:
        warn(warning)
    from . import report

    if request.json:
        click.echo(report.as_json(results))
        return
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
    place = None
    if request.policy is not None:
        place = f"{request.hook} of {request.dev}" if request.dev else request.hook
    with console.capture() as captured:
        report.print_report(console, report.Heading(request.captures, place), results)
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(captured.get().encode(encoding, "backslashreplace").decode(encoding), nl=False)


class Meter:
    """Remembers how far a run came, and shows it where standard error is a terminal."""

    def __init__(self) -> None:
        self._last: Progress | None = None
        self._started = time.monotonic()
        self._wanted = sys.stderr.isatty()
        self._bar: Bar | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(PREPARING_AFTER, self._prepare)
        self._timer.daemon = True

    def show(self, progress: Progress) -> None:
        """Take what `engine.run` tells."""
        self._last = progress
        if not self._wanted or time.monotonic() - self._started < BAR_AFTER:
            return
        self._update(os.path.basename(progress.capture), progress.bytes_done, progress.bytes_total)

    def _prepare(self) -> None:
        """Nothing has come in a while: filters are being compiled."""
        if self._last is None:
            self._update("compiling", 0, None)

    def _update(self, what: str, done: int, total: int | None) -> None:
        with self._lock:
            if self._bar is None:
                self._bar = _new_bar()
                self._bar.start()
                self._bar.add_task("", total=None)
            self._bar.update(self._bar.task_ids[0], description=what, completed=done, total=total)

    def how_far(self) -> str:
        """For a message: how many packets, and how much of which capture."""
        from .report import human_bytes, printable

        if self._last is None:
            return "before the first packet"
        last = self._last
        total = "" if last.bytes_total is None else f" of {human_bytes(last.bytes_total)}"
        done = human_bytes(last.bytes_done)
        return f"after {last.packets:,} packets ({done}{total} of {printable(last.capture)})"

    def __enter__(self) -> Meter:
        if self._wanted:
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            if self._bar is not None:
                self._bar.stop()


def _new_bar() -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def classify(
    request: Request,
    on_batch: Callable[[Batch], None] | None,
    progress: Callable[[Progress], None],
    on_delivery: Callable[[Delivery], None] | None,
) -> Results:
    """The run itself, through the engine."""
    from ..api import Engine, FilterText, filters_setup
    from ..engine.run import run

    with_data = request.split is not None
    if not request.verify:
        warn(NOT_VERIFIED)
    if request.policy is None:
        setup = filters_setup(
            [FilterText(kind, text, request.direct_action) for kind, text in request.filters],
            profile=request.profile,
            backend=request.backend,
            hook=request.hook,
            btf=request.btf,
            keep_going=request.keep_going,
            on_trace=print_trace,
            on_delivery=on_delivery,
            verify=request.verify,
        )
        return run(
            request.captures,
            setup,
            backend=request.backend,
            jobs=request.jobs,
            on_batch=on_batch,
            with_data=with_data,
            progress=progress,
        )
    engine = Engine(
        profile=request.profile,
        backend=request.backend,
        btf=request.btf,
        on_trace=print_trace,
        verify=request.verify,
    )
    left_out = engine.tc_batch(request.policy, create_devices=True, skip_unsupported=request.skip_unsupported)
    for line in left_out:
        warn(f"{line}; verdicts may differ from those of the whole policy")
    return engine.run(
        request.captures,
        dev=request.dev,
        hook=request.hook,
        jobs=request.jobs,
        keep_going=request.keep_going,
        on_batch=on_batch,
        with_data=with_data,
        on_delivery=on_delivery,
        progress=progress,
    )


def print_trace(line: TraceLine) -> None:
    """What a program printed (bpf_trace_printk), on standard error as the kernel's trace_pipe has it."""
    from .report import printable

    click.echo(f"packet {line.packet}: {line.program}: {printable(line.text.rstrip())}", err=True)


def warn(text: str) -> None:
    """Say something that a reader of the result must know, on standard error."""
    click.echo(f"clsbpf: warning: {text}", err=True)
