"""How does a run begin while its filters are still being compiled?  In the interpreter.

Compiling takes some half a millisecond an instruction, so that large programs would keep everybody
waiting for seconds.  They are compiled on another thread, and meanwhile packets go through the classifier
one by one, each program interpreted; when the machine code is there, it goes on from the packet that comes
next:

    main      ── packet by packet ─────────────┤ native walk ──────────
    another   ── lower ── LLVM ──────────── ready

Both leave the same behind (counts, rows, maps, random numbers), so it does not matter where the change
falls.  Where actions keep state of their own (a policer's tokens), the run waits instead; and small
programs are compiled before anybody notices.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..capture import Capture, Window
from ..capture.pcap import PcapReader
from ..link import link_layer
from .ledger import Ledger
from .native import pcap_walk
from .plan import Plan
from .plans import Plans

if TYPE_CHECKING:
    from concurrent.futures import Future

LARGE_INSNS = 2000
"""Fewer instructions, of all filters, are compiled in less than a second."""
MAX_FILTERS = 64
"""Interpreting more of them is slower than waiting."""
PATIENCE = 0.15
"""Seconds in which machine code that was kept from before is loaded."""
STEP_BYTES = 16 << 10
"""After so many bytes of packets it is asked again whether the machine code is there."""


def is_large(plan: Plan) -> bool:
    """Is it worth while to begin without machine code?"""
    if len(plan.filters) > MAX_FILTERS or plan.records is not None:
        return False
    return sum(len(planned.program.insns) for planned in plan.filters) >= LARGE_INSNS


def begin_interpreted(capture: Capture, plans: Plans, ledger: Ledger) -> Generator[int, None, bool]:
    """Classify packets until the capture's plan is compiled; yields the bytes done.

    Returns whether that was all of them.  Where waiting is better, none.
    """
    reader = capture.reader
    if not isinstance(reader, PcapReader):
        return False
    plan = plans.plan(link_layer(reader.header.link_type))
    if not plan.is_native or not is_large(plan):
        return False
    from concurrent.futures import ThreadPoolExecutor, wait

    ledger.bind(plan)
    pool = ThreadPoolExecutor(1, "clsbpf-compile")
    try:
        compiled = pool.submit(pcap_walk, plan, reader.header, ledger)
        plans.timed(lambda: wait([compiled], PATIENCE))
        if not compiled.done():
            for planned in plan.filters:
                planned.program.interpret()
            if not (yield from _until(compiled, capture, plans, ledger)):
                return True
        plans.timed(compiled.result)
        return False
    finally:
        pool.shutdown(wait=False)


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
