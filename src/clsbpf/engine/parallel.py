"""One capture, several workers: `--jobs N`.

Records lie one behind the other, so where the next one begins is known only to whoever read this one.
A worker that is to begin in the middle of a file has to guess (`formats.py`).  A guess is no more than
that.  It counts only if the worker before arrives exactly there; otherwise that piece is walked again from
where it really begins.

    file   ├── piece 0 ──────┼── piece 1 ──────┼── piece 2 ──────┼ …
           walked from 0     guessed: here ↓
           └───────────────────────────────▶│ the last record of piece 0 ends: is it there?

Pieces are taken in order, so counts and rows are those of one worker, and there are never more pieces with
rows in memory than workers.  Whatever is unusual (damage, the end of the file) is left to the plain walk,
which goes on from the last place that is sure.

Only programs whose answer depends on nothing but the packet may run so, and actions that only count: each
worker has counters and a clock of its own, which are brought together piece by piece.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..capture import Capture
from ..errors import ClsbpfError
from ..link import link_layer
from ..tc.actions.clock import LAST_MOMENT, CaptureClock, reading
from .file_ways import FileWalk, FileWays
from .formats import Format, PcapngFormat, format_of, guess_begin
from .ledger import Ledger
from .native import make_room, run_native
from .plan import Plan
from .plans import Plans
from .results import Batch
from .tally import Tally
from .walk_state import State, Stop

if TYPE_CHECKING:
    from .act_records import WorkerCounters

PIECE_BYTES = 256 << 20
"""A larger one saves little, and progress is told piece by piece."""
PIECE_BYTES_WITH_ROWS = 32 << 20
"""Rows wait in memory for their turn."""
MIN_PIECE_BYTES = 1 << 20


def obstacle_to_split(capture: Capture, plans: Plans, ledger: Ledger) -> str | None:
    """Why several workers cannot read a capture, or None where they can."""
    if capture.source.size is None or capture.source.is_compressed:
        return "it is not a plain file"
    if ledger.with_data:
        return "the packets themselves are wanted"
    known = format_of(capture)
    if isinstance(known, str):
        return known
    try:
        found = plans_for(known[0], plans)
    except ClsbpfError as error:  # which is told when such a packet comes
        return f"its link types differ: {error}"
    for plan in found.values():
        for planned in plan.filters:
            name = f"filter {planned.filter.handle:#x} of pref {planned.classifier.prio}"
            if planned.has_state:
                return f"the program of {name} keeps state from packet to packet"
            if planned.acts_by_state:
                return f"an action of {name} keeps state from packet to packet, or is done in Python"
        if plan.extended is not None and plan.extended.ask_python:
            return "its programs call what is done in Python"
    return None


def plans_for(kind: Format, plans: Plans) -> dict[int, Plan]:
    """The plans for the link types that packets may have, as things are now."""
    numbers = dict.fromkeys(interface.link_type for interface in kind.interfaces)
    return {number: plans.plan(link_layer(number)) for number in numbers}


def bound(ledger: Ledger, plans: dict[int, Plan]) -> Iterator[Plan]:
    """Each plan, while the ledger is bound to it."""
    for plan in plans.values():
        ledger.bind(plan)
        yield plan


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
    clock: CaptureClock = field(default_factory=CaptureClock)
    counters: WorkerCounters = field(default_factory=dict)

    def hand_over_actions(self, clock: CaptureClock) -> None:
        """Bring the actions and their clock to where they are after this piece, which comes next."""
        mine, memory = self.clock.memory, clock.memory
        if not mine.started:
            return
        if not memory.started:
            memory.started, memory.began, memory.first = 1, memory.now, mine.first

        def moment(now: int) -> int:
            # The piece's clock began at 0 with its first packet.
            return reading(memory.now, memory.began, memory.first, mine.first + now)

        if self.counters:
            from .act_records import hand_over

            hand_over(self.counters, moment)
        memory.now = moment(mine.now)


def run_split(capture: Capture, plans: Plans, ledger: Ledger, jobs: int) -> Iterator[int]:
    """Classify the capture's packets with `jobs` workers; yields the bytes done after each piece."""
    size, known = capture.source.size, format_of(capture)
    assert size is not None
    assert not isinstance(known, str)
    kind, done = known
    clock = plans.clock
    if clock is not None and not capture.reader.packets:
        clock.begin()
    ledger.tick(clock)
    if isinstance(kind, PcapngFormat) and kind.reader is not capture.reader:
        capture.reader = kind.reader.fork()
    reader = capture.reader

    length = PIECE_BYTES_WITH_ROWS if ledger.keeps_rows else PIECE_BYTES
    turns = -(-size // (length * jobs))  # as many pieces for each worker, so that none waits at the end
    length = max(size // (turns * jobs), MIN_PIECE_BYTES) & ~3
    last = size // length * length
    # Without rows a piece takes no memory, and who is done early finds the next one waiting.
    at_once = jobs if ledger.keeps_rows else 2 * jobs

    def walk(begin: int, *, guess: bool) -> Piece | None:
        limit = (begin // length + 1) * length
        if guess:
            found = guess_begin(capture.source.fileno(), begin, kind)
            if found is None:
                return None
            begin = found
        piece = Piece(begin, limit)
        worker_ledger = Ledger(
            piece.tally,
            on_batch=piece.batches.append if ledger.keeps_rows else None,
            extra=plans.setup.extra,
            apart=True,
        )
        worker_ledger.tick(piece.clock if clock is not None else None)
        return Worker(ways, kind, plans_for(kind, plans), worker_ledger).walk(piece)

    plans.timed(lambda: [kind.walk(plan, ledger) for plan in bound(ledger, plans_for(kind, plans))])
    with FileWays.of(capture.source) as ways, ThreadPoolExecutor(jobs, "clsbpf-walk") as pool:
        waiting: deque[Future[Piece | None]] = deque()
        following = (done // length + 1) * length
        try:
            waiting.append(pool.submit(walk, done, guess=False))
            while waiting:
                while len(waiting) < at_once and following < last:
                    waiting.append(pool.submit(walk, following, guess=True))
                    following += length
                piece = waiting.popleft().result()
                if piece is None or piece.begin != done:
                    if done >= following:  # a record reaches over the whole piece
                        continue
                    piece = walk(done, guess=False)
                    assert piece is not None
                if piece.clock.now() == LAST_MOMENT:  # its times are too far apart to be brought together
                    break
                ledger.take_over(piece.tally, piece.batches)
                if clock is not None:
                    piece.hand_over_actions(clock)
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
    """Walks pieces of a file through a buffer of its own; `plans` are those for the link types there are."""

    def __init__(self, ways: FileWays, kind: Format, plans: dict[int, Plan], ledger: Ledger) -> None:
        self.ways = ways
        self.kind = kind
        self.plans = plans
        self.ledger = ledger

    def walk(self, piece: Piece) -> Piece:
        """Fill in the piece."""
        self._bind(next(iter(self.plans)))
        state = self.ledger.state
        held = self.kind.configure(state)
        plan = next(iter(self.plans.values()))
        files = FileWalk(state, self.ways, self.native, len(plan.filters), lambda run: run(state.address))
        view, address = files.buffer.view, files.buffer.address
        position = piece.begin
        while position < piece.limit:
            if self.native.run_file is not None:
                before, position = position, files.go(position, piece.limit)
                if position > before:
                    continue
            count = os.preadv(self.ways.descriptor, [view], position)
            # Records that begin behind the limit are the next piece's, so the window ends there; the one
            # that reaches over it is then shown alone.
            taken = self._walk_window(view[: min(count, piece.limit - position)], address)
            if not taken:
                shown = self.kind.record_size(view[:count])
                taken = self._walk_window(view[:shown], address) if shown <= count else 0
            if not taken:
                break
            position += taken
        self.ledger.settle()
        del held
        piece.counters = self.ledger.action_counters
        piece.end = position
        piece.complete = position >= piece.limit
        return piece

    def _bind(self, link_type: int) -> None:
        plan = self.plans[link_type]
        self.ledger.bind(plan)
        self.native = self.kind.walk(plan, self.ledger)

    def _walk_window(self, shown: memoryview, address: int) -> int:
        """Walk what is in the buffer; how many bytes were taken."""
        state = self.ledger.state
        state[State.CURSOR] = address
        state[State.END] = address + len(shown)
        while (stop := self.native.run(state.address)) != Stop.MORE:
            if stop == Stop.LINK_CHANGE:
                self._bind(state[State.NEXT_LINK_TYPE])
            elif stop == Stop.PYTHON:
                size = self.kind.passed_over(shown[state[State.CURSOR] - address :])
                if not size:
                    break
                state[State.CURSOR] += size
            else:
                make_room(self.ledger, stop)
        return state[State.CURSOR] - address
