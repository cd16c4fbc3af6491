"""How does a run begin while its filters are still being compiled?  In the interpreter.

Compiling takes some half a millisecond an instruction, so that large programs would keep everybody
waiting for seconds.  They are compiled on another thread, and meanwhile packets go through the classifier
one by one, each program interpreted; when the machine code is there, it goes on from the packet that comes
next:

    main      ── packet by packet ─────────────┤ native walk ──────────
    another   ── lower ── LLVM ──────────── ready

Both leave the same behind (counts, rows, maps, actions and their clock, random numbers, qdiscs), so it does
not matter where the change falls.  What is compiled before anybody notices is waited for: small programs, and
many filters that are alike, of which one function serves them all (index.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..capture import Capture, Window
from ..capture.pcap import PcapReader
from ..errors import ClsbpfError
from ..link import link_layer
from .formats import interfaces_of
from .ledger import Ledger
from .native import pcap_walk
from .plan import Plan
from .plans import Plans

if TYPE_CHECKING:
    from concurrent.futures import Future

    from .programs import LoadedProgram

LARGE_INSNS = 2000
"""Fewer instructions, of all filters, are compiled in less than a second."""
PATIENCE = 0.15
"""Seconds in which machine code that was kept from before is loaded."""
STEP_BYTES = 16 << 10
"""After so many bytes of packets it is asked again whether the machine code is there."""

Way = Callable[[], Iterator[int]]
"""Classifies the packets of a capture natively, from where it is; yields the bytes done."""


def classify(capture: Capture, plans: Plans, ledger: Ledger, choose: Callable[[], Way]) -> Iterator[int]:
    """Classify the capture's packets in the way that `choose` chooses; yields the bytes done.

    Where that takes long to compile, packets are interpreted until it is there.
    """
    found = list(known_plans(capture, plans))
    if not plans.timed(lambda: is_large(found)):
        yield from plans.timed(choose)()
        return
    from concurrent.futures import ThreadPoolExecutor, wait

    ledger.tick(plans.clock)
    ledger.bind(found[0])

    def prepare() -> Way:
        way = choose()
        for plan in found:
            compile_walk(plan, capture, ledger)
        return way

    pool = ThreadPoolExecutor(1, "clsbpf-compile")
    try:
        prepared = pool.submit(prepare)
        plans.timed(lambda: wait([prepared], PATIENCE))
        if not prepared.done():
            for plan in found:
                for planned in plan.filters:
                    planned.program.interpret()
            if not (yield from _until(prepared, capture, plans, ledger)):
                return
        way = plans.timed(prepared.result)
    finally:
        pool.shutdown(wait=False)
    yield from way()


def known_plans(capture: Capture, plans: Plans) -> Iterator[Plan]:
    """The plans for the link types that packets may have, as far as a capture begins by saying so.

    For one of them an expression may have no meaning: that is told when such a packet comes.
    """
    for number in dict.fromkeys(interface.link_type for interface in interfaces_of(capture)):
        with contextlib.suppress(ClsbpfError):
            yield plans.plan(link_layer(number))


def compile_walk(plan: Plan, capture: Capture, ledger: Ledger) -> None:
    """Have the walk compiled that suits the capture."""
    if isinstance(capture.reader, PcapReader):
        pcap_walk(plan, capture.reader.header, ledger)
    else:
        _ = plan.pcapng


def is_large(plans: Iterable[Plan]) -> bool:
    """Is it worth while to begin without machine code?"""
    return any(code_size(plan) >= LARGE_INSNS for plan in plans if plan.is_native)


def code_size(plan: Plan) -> int:
    """How many instructions there are to compile, about: programs that share a function count once."""
    # By a classic program's bytes: to hash, or only to translate, thousands takes a second.
    programs = {each.program.ops or each.program.insns: each.program for each in plan.filters}
    size = sum(map(_length, programs.values()))
    if size < LARGE_INSNS or not plan.may_look_up or plan.tree is not None:
        return size
    from ..bpf.paths import shape_of

    shapes = {
        insns if each.classic is None else shape_of(each.classic): _length(each)
        for insns, each in programs.items()
    }
    return sum(shapes.values())


def _length(program: LoadedProgram) -> int:
    return len(program.insns if program.classic is None else program.classic.insns)


def _until(
    compiled: Future[Any], capture: Capture, plans: Plans, ledger: Ledger
) -> Generator[int, None, bool]:
    """Packet by packet, until the machine code is there; False when the capture has ended before."""
    from .inorder import run_in_order

    for done in run_in_order(_Steps(capture), plans, ledger):
        yield done
        if compiled.done():
            return True
    return False


class _Steps(Capture):
    """A capture in small windows."""

    def __init__(self, capture: Capture) -> None:
        self.source = capture.source
        self.reader = capture.reader

    def windows(self) -> Iterator[Window]:
        """The source's windows, each no longer than a step, or than what is needed to get on."""
        for window in super().windows():
            length = max(STEP_BYTES, self.source.need)
            if length < window.length:
                window = replace(window, view=window.view[:length], length=length, final=False)
            yield window
