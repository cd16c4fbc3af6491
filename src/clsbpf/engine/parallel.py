"""One capture, several workers: `--jobs N`.

Records lie one behind the other, so where the next one begins is known only to whoever read this one.
A worker that is to begin in the middle of a file has to guess: it looks for a place from which a run of
plausible records follows.  A guess is no more than that.  It counts only if the worker before arrives
exactly there; otherwise that piece is walked again from where it really begins.

    file   ├── piece 0 ──────┼── piece 1 ──────┼── piece 2 ──────┼ …
           walked from 0     guessed: here ↓
           └───────────────────────────────▶│ the last record of piece 0 ends: is it there?

Pieces are taken in order, so counts and rows are those of one worker, and there are never more pieces in
memory than workers.  Whatever is unusual (damage, the end of the file) is left to the plain walk, which
goes on from the last place that is sure.

Only programs whose answer depends on nothing but the packet may run so.
"""

from __future__ import annotations

import ctypes
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..capture import Capture
from ..capture.pcap import LengthOrder, PcapHeader, PcapReader
from ..link import link_layer
from .ledger import Ledger
from .native import configure_pcap, make_room, run_native
from .plan import Plan
from .plans import Plans
from .results import Batch
from .tally import Tally
from .walk_state import State, Stop

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PIECE_BYTES = 256 << 20
"""A larger one saves little, and progress is told piece by piece."""
PIECE_BYTES_WITH_ROWS = 32 << 20
"""Rows wait in memory for their turn."""
MIN_PIECE_BYTES = 1 << 20
WINDOW_BYTES = 512 << 10
GUESS_BYTES = (48 << 10, 1 << 20)
"""So many bytes are searched for a piece's beginning; after the last it is left to the worker before."""
GUESS_CHAIN = 12
"""Records that must follow one another plausibly."""
MAX_STEP_SECONDS = 7 * 86400
"""Neighbouring records are not further apart than this, or one of them is none."""


def obstacle_to_split(capture: Capture, plans: Plans, ledger: Ledger) -> str | None:
    """Why several workers cannot read a capture, or None where they can."""
    if not isinstance(capture.reader, PcapReader):
        return "it is not in pcap format"
    if capture.source.size is None or capture.source.is_compressed:
        return "it is not a plain file"
    if capture.reader.header.length_order is not LengthOrder.CAPTURED_FIRST:
        return "its version is an old one"
    if ledger.with_data:
        return "the packets themselves are wanted"
    for planned in plans.plan(link_layer(capture.reader.header.link_type)).filters:
        if planned.has_state:
            return f"the program of filter {planned.filter.handle:#x} keeps state from packet to packet"
    return None


@dataclass(slots=True)
class Piece:
    """What came of the records that begin in [`begin`, `limit`) of the file."""

    begin: int
    limit: int
    end: int = 0
    """Where the first record behind it begins."""
    complete: bool = False
    """Was it walked to its limit?  (Else `end` is where something unusual is.)"""
    tally: Tally = field(default_factory=Tally)
    batches: list[Batch] = field(default_factory=list)


def run_split(capture: Capture, plans: Plans, ledger: Ledger, jobs: int) -> Iterator[int]:
    """Classify the capture's packets with `jobs` workers; yields the bytes done after each piece."""
    reader, size = capture.reader, capture.source.size
    assert isinstance(reader, PcapReader)
    assert size is not None
    link = link_layer(reader.header.link_type)
    done = capture.source.offset
    descriptor = capture.source.fileno()

    length = PIECE_BYTES_WITH_ROWS if ledger.keeps_rows else PIECE_BYTES
    length = max(min(length, size // jobs), MIN_PIECE_BYTES)
    last = size // length * length

    def walk(begin: int, *, guess: bool) -> Piece | None:
        plan = plans.plan(link)
        limit = (begin // length + 1) * length
        if guess:
            found = guess_begin(descriptor, begin, reader.header)
            if found is None:
                return None
            begin = found
        return Worker(descriptor, reader.header, plan, rows=ledger.keeps_rows).walk(Piece(begin, limit))

    plans.timed(lambda: plans.plan(link).pcap)
    with ThreadPoolExecutor(jobs, "clsbpf-walk") as pool:
        waiting: deque[Future[Piece | None]] = deque()
        following = (done // length + 1) * length
        try:
            waiting.append(pool.submit(walk, done, guess=False))
            while waiting:
                while len(waiting) < jobs and following < last:
                    waiting.append(pool.submit(walk, following, guess=True))
                    following += length
                piece = waiting.popleft().result()
                if piece is None or piece.begin != done:
                    if done >= following:  # a record reaches over the whole piece
                        continue
                    piece = walk(done, guess=False)
                    assert piece is not None
                ledger.take_over(piece.tally, piece.batches)
                reader.packets += piece.tally.packets
                done = piece.end
                yield done
                if not piece.complete:
                    break
        finally:
            for future in waiting:
                future.cancel()
    capture.source.seek(done)
    yield from run_native(capture, plans, ledger)


class Worker:
    """Walks pieces of a file through a buffer of its own."""

    def __init__(self, descriptor: int, header: PcapHeader, plan: Plan, *, rows: bool) -> None:
        self.descriptor = descriptor
        self.header = header
        self.plan = plan
        self.rows = rows

    def walk(self, piece: Piece) -> Piece:
        """Fill in the piece."""
        on_batch = piece.batches.append if self.rows else None
        ledger = Ledger(piece.tally, on_batch=on_batch)
        ledger.bind(self.plan)
        configure_pcap(ledger.state, self.header)
        run = self.plan.pcap.run
        buffer = (ctypes.c_char * WINDOW_BYTES)()
        view, address = memoryview(buffer).cast("B"), ctypes.addressof(buffer)
        position = piece.begin
        while position < piece.limit:
            count = os.preadv(self.descriptor, [view], position)
            # Records that begin behind the limit are the next piece's, so the window ends there; the one
            # that reaches over it is then shown alone.
            shown = min(count, piece.limit - position)
            taken = self._walk_window(run, ledger, address, shown)
            if not taken:
                shown = self._record_size(view, count)
                taken = self._walk_window(run, ledger, address, shown) if shown <= count else 0
            if not taken:
                break
            position += taken
        ledger.settle()
        piece.end = position
        piece.complete = position >= piece.limit
        return piece

    def _walk_window(self, run: Callable[[int], int], ledger: Ledger, address: int, length: int) -> int:
        """Walk what is in the buffer; how many bytes were taken."""
        state = ledger.state
        state[State.CURSOR] = address
        state[State.END] = address + length
        while (stop := run(state.address)) not in (Stop.MORE, Stop.PYTHON):
            make_room(ledger, stop)
        return state[State.CURSOR] - address

    def _record_size(self, view: memoryview, count: int) -> int:
        """The size of the record at the beginning of the buffer, or more than is there."""
        if count < self.header.record_header:
            return count + 1
        captured = int.from_bytes(view[8:12], self.header.byte_order)
        return self.header.record_header + captured


def guess_begin(descriptor: int, begin: int, header: PcapHeader) -> int | None:
    """Where the first record at or behind `begin` begins, as far as one can tell, or None."""
    for count in GUESS_BYTES:
        found = guess_record(os.pread(descriptor, count, begin), header)
        if found is not None:
            return begin + found
    return None


def guess_record(data: bytes, header: PcapHeader) -> int | None:
    """Where in `data` a record begins, as far as one can tell, or None.

    A place is plausible whose lengths are possible and whose fraction of a second is one, and from which
    `GUESS_CHAIN` such places follow, none far from its neighbour in time.
    """
    import numpy as np

    words = max(len(data) - 15, 0)
    if not words:
        return None

    def field_at(offset: int) -> npt.NDArray[np.uint32]:
        order = "<u4" if header.byte_order == "little" else ">u4"
        unaligned = np.ndarray((words,), order, data, offset, (1,))
        return unaligned.astype(np.uint32)

    seconds, fraction, captured, length = (field_at(4 * number) for number in range(4))
    plausible = (
        (captured <= header.record_limit)
        & (captured <= length)
        & (length <= max(header.record_limit, 1 << 20))
        & (fraction < header.interface.ticks_per_second)
    )
    for candidate in np.flatnonzero(plausible):
        at, before = int(candidate), None
        for _ in range(GUESS_CHAIN):
            if at >= words or not plausible[at]:
                break
            now = int(seconds[at])
            if before is not None and abs(now - before) > MAX_STEP_SECONDS:
                break
            at, before = at + header.record_header + int(captured[at]), now
        else:
            return int(candidate)
    return None
