"""How do a file's bytes come before native code: read into a buffer, or mapped where they are?

Reading is a copy from the page cache into a buffer that stays in the processor's cache.  A mapping saves the
copy, and with it most of what memory has to bring (`lanes.py`), but pays for page faults.  Which is
faster depends on how the kernel holds the file: in pieces of 2 MB (just written, mostly) one fault maps
2 MB, and a mapping takes half the time; in pieces of 4 KB it takes half as long again as reading
(docs/benchmarks.md).  Nothing tells which it is, and it may change within a file.  So it is tried out:
now and then a little of the file goes the other way, and the faster goes on.

    a little READ │ a little MAPPED │ the faster ───── │ the other │ the faster ─────────── │ …

What is walked, and so every result, is the same either way.
"""

from __future__ import annotations

import ctypes
import enum
import mmap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from ..capture.lease import ReadLease
from ..capture.record import SLACK
from ..capture.source import BUFFER_BYTES, Source
from .lanes import Lanes, lanes_for
from .plan import Walk
from .walk_state import Cells, State

ALIGNMENT = 2 << 20
"""What the kernel can map at once begins at a multiple of this."""
AHEAD_BYTES = 4 << 10
"""So far ahead of itself a walk over mapped pages asks memory for what comes."""
MIN_MAPPED_BYTES = 64 << 20
"""Smaller files are read: there is nothing to win."""
FIRST_TURN_BYTES = 128 << 20
MARGIN = 0.95
"""A mapping has to be faster by this much; it can do less when a disk has to be waited for."""
CHANGED = 1.3
"""So many times slower than it was: the file is held in another way here."""


class Way(enum.Enum):
    """How bytes come."""

    READ = enum.auto()
    MAPPED = enum.auto()

    @property
    def other(self) -> Way:
        """The other way."""
        return Way.READ if self is Way.MAPPED else Way.MAPPED


TOLD_BY_BYTES = 1 << 20
TRIAL_BYTES = {Way.READ: 4 << 20, Way.MAPPED: 16 << 20}
"""Enough to tell: a mapping needs some lanes."""
STRETCH_BYTES = {Way.READ: 32 << 20, Way.MAPPED: 64 << 20}
"""So much is walked between two looks at the lease, the clock and the keyboard."""


@dataclass(slots=True)
class Pace:
    """Which way is faster, as far as is known.  Shared by the workers on one file."""

    may_map: bool = True
    seconds: dict[Way, float] = field(default_factory=dict)
    """Seconds a byte that the way took when it was last gone."""
    turn: int = FIRST_TURN_BYTES
    """So many bytes go the faster way before the other is tried again."""
    gone: int = 0
    """So many went it."""

    @property
    def faster(self) -> Way:
        """The one to go."""
        ways = self.seconds
        is_faster = ways.get(Way.MAPPED, 1.0) < MARGIN * ways.get(Way.READ, 0.0)
        return Way.MAPPED if is_faster and self.may_map else Way.READ

    def next(self) -> tuple[Way, int]:
        """The way to go now, and how many bytes far."""
        if not self.may_map:
            return Way.READ, STRETCH_BYTES[Way.READ]
        for way in Way:
            if way not in self.seconds:
                return way, TRIAL_BYTES[way]
        way = self.faster
        if self.gone < self.turn:
            return way, STRETCH_BYTES[way]
        self.gone = 0
        self.turn *= 2
        return way.other, TRIAL_BYTES[way.other]

    def went(self, way: Way, count: int, seconds: float) -> None:
        """Learn what `count` bytes took.  What is left of a piece or the file is too little to tell."""
        if count < TOLD_BY_BYTES:
            return
        before = self.seconds.get(way)
        now = self.seconds[way] = seconds / count
        if way is self.faster:
            self.gone += count
            if before is not None and now > CHANGED * before:
                self.gone, self.turn = FIRST_TURN_BYTES, FIRST_TURN_BYTES


@dataclass(frozen=True, slots=True)
class FileWays:
    """A plain file that is to be walked, by one worker or several.  A context manager, for its lease."""

    descriptor: int
    size: int
    lease: ReadLease
    pace: Pace

    @classmethod
    def of(cls, source: Source) -> FileWays:
        """The ways into a capture's file, which must be a plain one."""
        assert source.size is not None
        assert not source.is_compressed
        pace = Pace(may_map=source.size >= MIN_MAPPED_BYTES)
        return cls(source.fileno(), source.size, ReadLease(source.fileno()), pace)

    def __enter__(self) -> FileWays:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lease.give_back()


class FileBuffer:
    """What `count_file` reads into: of a size that stays in the processor's cache (capture/source.py)."""

    def __init__(self, state: Cells) -> None:
        memory = (ctypes.c_char * (BUFFER_BYTES + SLACK))()
        self.view = memoryview(memory).cast("B")[:BUFFER_BYTES]
        self.address = ctypes.addressof(memory)
        state[State.BUFFER] = self.address
        state[State.BUFFER_BYTES] = BUFFER_BYTES


class FileWalk:
    """One worker's walk over a plain pcap file of which only counts are wanted.

    `walk` is that of `Plan.counts`, for `filters` filters; `call` calls one of its functions with the
    address of the cells, `state`.
    """

    def __init__(
        self,
        state: Cells,
        ways: FileWays,
        walk: Walk,
        filters: int,
        call: Callable[[Callable[[int], int]], int],
    ) -> None:
        self.buffer = FileBuffer(state)
        self._state = state
        self._ways = ways
        self._walk = walk
        self._call = call
        self._lanes = Lanes(state, filters) if walk.run_lanes is not None else None
        state[State.FILE] = ways.descriptor

    def go(self, position: int, limit: int) -> int:
        """Walk records that begin in [position, limit), a stretch of them.

        Returns where the next one begins: `position` where something is in the way (a record that is
        unusual, longer than the buffer, or reaches over `limit` or the file's end).
        """
        pace = self._ways.pace
        pace.may_map = pace.may_map and self._ways.lease.stands
        way, count = pace.next()
        began = time.perf_counter()
        stretch = min(limit, position + count)
        reached = position
        if way is Way.MAPPED:
            reached = self._walk_mapped(position, stretch)
        if reached == position:
            way, reached = Way.READ, self._walk_read(position, stretch)
        pace.went(way, reached - position, time.perf_counter() - began)
        return reached

    def _walk_read(self, position: int, limit: int) -> int:
        assert self._walk.run_file is not None
        state = self._state
        state[State.OFFSET], state[State.LIMIT] = position, limit
        self._call(self._walk.run_file)
        return state[State.OFFSET]

    def _walk_mapped(self, position: int, limit: int) -> int:
        """Native code may look at `SLACK` bytes behind a record: the end of the file is left to be read."""
        end = min(limit, self._ways.size - SLACK)
        if end <= position:
            return position
        begin = position // ALIGNMENT * ALIGNMENT
        behind = min(-(-(end + SLACK) // ALIGNMENT) * ALIGNMENT, self._ways.size)
        # Writable, so that its address can be told, and private: nothing gets into the file.
        pages = mmap.mmap(self._ways.descriptor, behind - begin, access=mmap.ACCESS_COPY, offset=begin)
        state = self._state
        try:
            base = ctypes.addressof(ctypes.c_char.from_buffer(pages)) - begin
            state[State.CURSOR], state[State.END] = base + position, base + end
            if not self._walk_lanes(end - position):
                state[State.AHEAD] = AHEAD_BYTES
                self._call(self._walk.run)
            return state[State.CURSOR] - base
        finally:
            state[State.AHEAD] = 0
            pages.close()

    def _walk_lanes(self, count: int) -> bool:
        """Walk the stretch in lanes, if that is possible."""
        self._state[State.LANE_COUNT] = lanes = lanes_for(count)
        return lanes > 1 and self._walk.run_lanes is not None and self._call(self._walk.run_lanes) == 1
