"""Captures in, `Results` out: the run as a whole.

Each capture goes through the plans of one `Setup`, by the native walk or packet by packet through the
classifier.  A capture that turns out damaged has given what came before the damage; the others are
still read, and the error comes at the end, with the results.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ..capture import Capture, open_capture
from ..errors import CaptureError
from ..vm.environment import Environment
from .ledger import Ledger, OnBatch
from .native import run_native
from .plans import Plans, Setup
from .results import Batch, Results
from .tally import Count, Tally


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come: the capture, bytes done of how many (None: unknown), packets in all."""

    capture: str
    bytes_done: int
    bytes_total: int | None
    packets: int


class IncompleteRun(CaptureError):
    """Captures were damaged; `results` is what came before the damage, and all of the others."""

    def __init__(self, errors: Sequence[CaptureError], results: Results) -> None:
        super().__init__("\n".join(str(error) for error in errors), errors[0].packets)
        self.errors = tuple(errors)
        self.results = results


BACKENDS = ("native", "jit", "interpreter")
"""All filters in one native function, each compiled by itself, or interpreted."""


def run(
    paths: Sequence[str],
    setup: Setup,
    *,
    backend: str = "native",
    jobs: int | None = 1,
    on_batch: OnBatch | None = None,
    with_data: bool = False,
    columns: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Results:
    """Classify the packets of the captures at `paths` ("-": standard input), one capture after the other.

    `on_batch` gets the rows while the run goes on, with the packets' bytes if `with_data`; `columns`
    keeps all of them in memory, for `Results.to_arrow`.  `jobs` workers read a capture, where that makes
    no difference to the results; where it might, a warning says why one did.  With None it is for the run to
    choose.  `progress` is told now and
    then.  `IncompleteRun` where a capture was damaged, CaptureError where none could be opened.
    """
    kept: list[Any] | None = [] if columns else None

    def deliver(batch: Batch) -> None:
        if plain is not None:
            batch = plain.placed(batch)
        if kept is not None:
            kept.append(batch.to_arrow())
        if on_batch is not None:
            on_batch(batch)

    plans = Plans(setup)
    plain = plans.plain
    tally = Tally()
    ledger = Ledger(
        tally,
        on_batch=deliver if columns or on_batch else None,
        with_data=with_data,
        extra=setup.extra,
    )
    warnings: list[str] = []
    errors: list[CaptureError] = []
    opened = 0
    started = time.perf_counter()

    def read(path: str) -> None:
        nonlocal opened
        with open_capture(path) as capture:
            opened += 1
            for done in walk(capture, plans, ledger, backend, jobs, warnings):
                if progress is not None:
                    source = capture.source
                    position = source.position if source.is_compressed else done
                    progress(Progress(capture.name, position, source.size, ledger.packets))

    try:
        for path in paths:
            try:
                read(path)
            except CaptureError as error:
                errors.append(error)
            ledger.settle()
    except BaseException:
        ledger.abandon()
        raise
    finally:
        tally.settle_ends()
    if not opened and errors:
        raise CaptureError("\n".join(str(error) for error in errors))
    if plain is not None:
        plain.settle(tally)
    queueing = plain or plans.queueing
    if queueing is not None:
        tally.classes = {classid: Count(*counts) for classid, counts in queueing.classes().items()}
    seconds = time.perf_counter() - started - plans.seconds
    results = tally.results(
        seconds=seconds,
        plan_seconds=plans.seconds,
        matches=setup.matches,
        warnings=[*warnings_for(setup, tally), *missed(plans.environment), *warnings],
        batches=kept,
    )
    if errors:
        raise IncompleteRun(errors, results)
    return results


def walk(
    capture: Capture,
    plans: Plans,
    ledger: Ledger,
    backend: str,
    jobs: int | None,
    warnings: list[str],
) -> Iterator[int]:
    """The walk that suits a capture; yields the bytes done.

    Under the backends "jit" and "interpreter" the classifier runs each program by itself.
    """
    asked = jobs is not None
    jobs = jobs if jobs is not None else usual_jobs(capture)
    if plans.setup.in_order or backend != "native":
        from .inorder import run_in_order

        if plans.setup.in_order and backend == "native":
            said = f"packets go through the filters one by one, which is slow: {plans.setup.in_order}"
            if said not in warnings:
                warnings.append(said)
        return run_in_order(capture, plans, ledger)
    changeover = plans.timed(lambda: import_module(".changeover", __package__))

    def choose() -> Callable[[], Iterator[int]]:
        if jobs > 1:
            parallel = import_module(".parallel", __package__)
            obstacle = parallel.obstacle_to_split(capture, plans, ledger)
            if obstacle is None:
                return lambda: parallel.run_split(capture, plans, ledger, jobs)
            if asked:
                warnings.append(f"{capture.name}: read by one worker: {obstacle}")
        return lambda: run_native(capture, plans, ledger)

    found: Iterator[int] = changeover.classify(capture, plans, ledger, choose)
    return found


WORTH_SPLITTING = 64 << 20
"""Bytes of a capture from which on a second worker saves more than it costs."""
USUAL_WORKERS = 2
"""More share one memory bus, and the machine has other things to do."""


def usual_jobs(capture: Capture) -> int:
    """How many workers read a capture when nobody says: two, if it is large and there are processors."""
    if (capture.source.size or 0) < WORTH_SPLITTING:
        return 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, USUAL_WORKERS)


def missed(environment: Environment) -> Iterator[str]:
    """What programs asked of the world that is not here, each with how often."""
    for what, times in environment.asked.items():
        yield f"programs asked {times:,} times for {what}: there is none here, and that was the answer"
    environment.asked.clear()


def warnings_for(setup: Setup, tally: Tally) -> Iterator[str]:
    """What a reader of the counts must know."""
    for link in tally.links.values():
        if setup.for_ethernet and not link.is_ethernet:
            yield (
                f"frames of link type {link.name} (LINKTYPE {link.number}) are not Ethernet: "
                "filters that were written for Ethernet look at the wrong bytes"
            )
