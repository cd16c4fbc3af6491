"""A policy or filters measured on a capture: `engine/bench.py`, wired to what the user names and to a kernel.

The kernel runs each program by itself (BPF_PROG_TEST_RUN): an object's as it is, a classic one in the
translation that the kernel would make of it.  For that it takes the right to load programs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from ..bpf.spec import ObjectSpec, ProgramSpec
from ..engine.bench import Bench, KernelFigure, Report, bench
from ..engine.planned import PlannedFilter
from ..engine.plans import Setup
from ..engine.programs import LoadedProgram
from ..errors import ClsbpfError
from ..kernel.bpf import prog_load, prog_test_run
from ..kernel.loader import load
from .engine import Engine, setup_of
from .filters import FilterText, filters_setup, split_object

MIN_PACKET = 14
"""BPF_PROG_TEST_RUN takes no less than a link-layer header."""
KERNEL_PACKETS = 64


def bench_policy(
    capture: str,
    policy: str,
    *,
    dev: str | None,
    hook: str,
    profile: str,
    skip_unsupported: bool,
    rounds: int,
    kernel: bool,
    report: Report,
) -> tuple[Bench, str | None]:
    """Measure a policy; and why there is nothing of a kernel, if so."""

    def make(backend: str) -> Setup:
        engine = Engine(profile=profile, backend=backend)
        engine.tc_batch(policy, create_devices=True, skip_unsupported=skip_unsupported)
        return setup_of(engine, dev=dev, hook=hook)

    return _bench(capture, make, Judge({}) if kernel else None, rounds, report)


def bench_filters(
    capture: str,
    filters: Sequence[FilterText],
    *,
    hook: str,
    profile: str,
    rounds: int,
    kernel: bool,
    report: Report,
) -> tuple[Bench, str | None]:
    """Measure filters that are given one by one; and why there is nothing of a kernel, if so."""

    def make(backend: str) -> Setup:
        return filters_setup(filters, profile=profile, backend=backend, hook=hook)

    objects = {prio: each.text for prio, each in enumerate(filters, 1) if each.kind == "object"}
    return _bench(capture, make, Judge(objects) if kernel else None, rounds, report)


def _bench(
    capture: str, make: Callable[[str], Setup], judge: Judge | None, rounds: int, report: Report
) -> tuple[Bench, str | None]:
    measured: KernelFigure | None = judge.figure if judge is not None else None
    try:
        return bench(capture, make, rounds=rounds, kernel=measured, report=report), (
            judge.refusal if judge is not None else "it was not asked"
        )
    finally:
        if judge is not None:
            judge.close()


class Judge:
    """This machine's kernel.  `objects`: FILE[:PROGRAM] by prio; `refusal` is the first one that it gave."""

    def __init__(self, objects: dict[int, str]) -> None:
        self.refusal: str | None = None
        self._objects = objects
        self._stack = ExitStack()

    def close(self) -> None:
        """Let go of the programs."""
        self._stack.close()

    def figure(self, planned: PlannedFilter, packets: Sequence[bytes], repeat: int) -> float | None:
        """Nanoseconds of a run, the mean over packets; None where the kernel does not take the program."""
        chosen = [each for each in packets if len(each) >= MIN_PACKET][:KERNEL_PACKETS]
        if not chosen:
            return None
        try:
            program = self._load(planned)
            if program is None:
                return None
            runs = [prog_test_run(program, each, repeat=repeat).duration_ns for each in chosen]
        except ClsbpfError as error:
            self.refusal = self.refusal or str(error)
            return None
        return sum(runs) / len(runs)

    def _load(self, planned: PlannedFilter) -> int | None:
        held = planned.filter.program
        program = getattr(held, "program", held)
        assert isinstance(program, LoadedProgram)
        if program.classic is not None:
            assert program.verified is not None
            descriptor = prog_load(program.verified.insns)
            self._stack.callback(os.close, descriptor)
            return descriptor
        text = self._objects.get(planned.classifier.prio)
        if text is None:
            return self._load_alone(program.linked.spec if program.linked is not None else None)
        from ..objfile import read_object
        from ..vm.helpers import KFUNCS

        path, name = split_object(text)
        spec = read_object(path, kfuncs=KFUNCS)
        chosen = spec.program(name).name
        return self._stack.enter_context(load(spec, [chosen])).programs[chosen]

    def _load_alone(self, spec: ProgramSpec | None) -> int | None:
        """A policy's program with the maps that it names; not those that others hold."""
        if spec is None or any(each.inner is not None for each in spec.maps.values()):
            self.refusal = (
                self.refusal or "a program without its object, or with maps in maps, is not loaded into it"
            )
            return None
        maps = {each.name: each for each in spec.maps.values()}
        whole = ObjectSpec("bench", programs={spec.name: spec}, maps=maps)
        return self._stack.enter_context(load(whole)).programs[spec.name]
