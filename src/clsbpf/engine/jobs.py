"""Several captures at once: a run on each of several threads, and their results as one.

Native code runs without the interpreter's lock, so threads are enough.  Each has captures, plans and
counters of its own; they share the filters, which a run only reads.  What they find is added up.  Only
counts can be: rows are numbered over all captures in order, so a run that wants rows takes one capture
after the other.

    captures ──deal──▶ share ──run──▶ Results ─┐
                       share ──run──▶ Results ─┴─add up─▶ Results
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import replace

from ..errors import CaptureError
from .results import ClassCount, FilterCount, Results
from .run import IncompleteRun, Progress

OnProgress = Callable[[Progress], None]
RunShare = Callable[[Sequence[str], OnProgress], Results]
"""Runs captures one after the other: `engine.run.run` with everything else settled."""

LOOK_UP_SECONDS = 0.1
"""How often the waiting thread looks up, so that an interrupt is heeded."""


class _Stopped(BaseException):
    """Ends a thread whose results nobody wants any more."""


def run_jobs(
    paths: Sequence[str], jobs: int, run_share: RunShare, progress: OnProgress | None = None
) -> Results:
    """Classify the captures on up to `jobs` threads; the counts of all of them.

    Errors are those of `engine.run.run`: IncompleteRun where captures were damaged, CaptureError where
    none could be opened.
    """
    shares = deal(paths, jobs)
    meters = Meters(len(shares), progress)
    with ThreadPoolExecutor(len(shares)) as pool:
        futures = [
            pool.submit(run_share, share, meters.reader(number)) for number, share in enumerate(shares)
        ]
        try:
            while going_on := [future for future in futures if not future.done()]:
                wait(going_on, LOOK_UP_SECONDS, FIRST_EXCEPTION)
                meters.pass_on()
                if any(is_lost(future) for future in futures):
                    break
        finally:
            meters.stopped.set()
    return gather(futures)


def deal(paths: Sequence[str], jobs: int) -> list[list[str]]:
    """The captures in up to `jobs` shares of about the same size: the largest first, each to the smallest."""
    shares: list[list[str]] = [[] for _ in range(min(jobs, len(paths)))]
    weights = [0] * len(shares)
    for path in sorted(paths, key=size_of, reverse=True):
        lightest = weights.index(min(weights))
        shares[lightest].append(path)
        weights[lightest] += size_of(path) + 1
    return shares


def size_of(path: str) -> int:
    """A capture's bytes, 0 where that is not known (standard input, or no such file)."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def is_lost(future: Future[Results]) -> bool:
    """Did it end in an error that no results come with?"""
    return future.done() and not isinstance(future.exception(), CaptureError | None)


class Meters:
    """How far each thread has come, for one reader of progress; and the way to stop them all."""

    def __init__(self, count: int, progress: OnProgress | None) -> None:
        self.stopped = threading.Event()
        self._progress = progress
        self._last: list[Progress | None] = [None] * count

    def reader(self, number: int) -> OnProgress:
        """What thread `number` tells its progress to."""

        def note(progress: Progress) -> None:
            if self.stopped.is_set():
                raise _Stopped
            self._last[number] = progress

        return note

    def pass_on(self) -> None:
        """Tell of all threads at once: the captures being read, and what was read of them."""
        known = [each for each in self._last if each is not None]
        if self._progress is None or not known:
            return
        totals = [each.bytes_total for each in known]
        self._progress(
            Progress(
                capture=", ".join(each.capture for each in known),
                bytes_done=sum(each.bytes_done for each in known),
                bytes_total=None if None in totals else sum(total or 0 for total in totals),
                packets=sum(each.packets for each in known),
            )
        )


def gather(futures: Iterable[Future[Results]]) -> Results:
    """The results of all threads as one, or what went wrong."""
    found: list[Results] = []
    errors: list[CaptureError] = []
    for future in futures:
        error = future.exception()
        match error:
            case None:
                found.append(future.result())
            case IncompleteRun():
                found.append(error.results)
                errors += error.errors
            case CaptureError():
                errors.append(error)
            case _Stopped():
                pass  # because of an error that another future has
            case _:
                raise error
    if not found:
        raise CaptureError("\n".join(str(error) for error in errors))
    if errors:
        raise IncompleteRun(errors, add_up(found))
    return add_up(found)


def add_up(found: Sequence[Results]) -> Results:
    """Counts are added; `seconds` and `plan_seconds` are those of the slowest."""
    filters: dict[FilterCount, FilterCount] = {}
    classes: dict[int, ClassCount] = {}
    verdicts: dict[str, int] = {}
    for results in found:
        for each in results.filters:
            key = replace(each, packets=0, bytes=0)
            so_far = filters.get(key, key)
            filters[key] = replace(
                so_far, packets=so_far.packets + each.packets, bytes=so_far.bytes + each.bytes
            )
        for counted in results.classes:
            before = classes.get(counted.classid, ClassCount(counted.classid, 0, 0))
            classes[counted.classid] = ClassCount(
                counted.classid, before.packets + counted.packets, before.bytes + counted.bytes
            )
        for name, packets in results.verdicts.items():
            verdicts[name] = verdicts.get(name, 0) + packets
    return Results(
        packets=sum(results.packets for results in found),
        bytes=sum(results.bytes for results in found),
        truncated=sum(results.truncated for results in found),
        seconds=max(results.seconds for results in found),
        plan_seconds=max(results.plan_seconds for results in found),
        filters=tuple(filters.values()),
        verdicts=verdicts,
        classes=tuple(classes[classid] for classid in sorted(classes)),
        undecided=sum(results.undecided for results in found),
        link_types=tuple(dict.fromkeys(name for results in found for name in results.link_types)),
        warnings=tuple(dict.fromkeys(text for results in found for text in results.warnings)),
    )
