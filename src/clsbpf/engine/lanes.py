"""How does one core walk a mapped capture at many places at once?

Where a record begins is known only when the one before it was looked at, and in mapped pages that look waits
for memory: some 100 ns, in which the core could do hundreds of things.  To ask memory for all that comes
(`walk.walk_records` can) takes as long as memory needs for the whole file.  So a stretch is cut into *lanes*,
and the walk goes round: a record of the first lane, one of the second, …; each asks for its next record and
does not wait for it.  All lanes' requests are on their way together, for the few lines of each
record that are looked at, and the rest of the file never comes.

    lane 0 ├──r──r──r───▶│ lane 1 ├─r───r──▶  │ lane 2 ├──r──r───▶ …
           begins where            guessed           guessed
           the walk is

Where a lane begins is a guess, as between workers (parallel.py), and counts only if the lane before arrives
exactly there.  Where one does not, nothing of the stretch counts, and it is walked plainly.

Packets come in another order here, so this is for programs that only look at their packet, and for counts.
"""

from __future__ import annotations

import ctypes

from ..capture.record import MAX_CAPTURED
from ..vm.subset import load_i64, load_u32, native, prefetch, store_i64, udiv
from .walk import CACHE_LINE, NS, USUAL_RECORD_HEADER, account, decide
from .walk_state import FILTER_ENTRY, LANE_BYTES, READ_PAST_SHIFT, VERDICT_MASK, Cells, Lane, State

MAX_LANES = 64
MIN_LANE_BYTES = 512 << 10
"""A shorter lane takes longer to guess than it wins."""
CHAIN = 4
"""So many records that look like some must follow one another from where one is guessed."""
MAX_STEP_SECONDS = 7 * 86400
"""None of them further from the stretch's first record."""
SEARCH_BYTES = 2 * MAX_CAPTURED
LOOKED_AT_BYTES = 96
"""So much of a record is looked at, mostly: its header, and those of Ethernet, IPv6 and TCP."""
MOSTLY_BYTES = 1 << 10
"""Mostly a record begins within so many bytes: memory is asked for these of all lanes at once."""
VERDICT_COUNTS = VERDICT_MASK + 1


@native
def plausible(state: int, at: int, end: int, about: int) -> int:
    """Could `CHAIN` records follow one another from here?  `about`: the seconds of one nearby."""
    limit = load_i64(state + State.MAX_CAPTURED)
    fraction_ns = load_i64(state + State.FRACTION_NS)
    left = CHAIN
    while left:
        if at + USUAL_RECORD_HEADER > end:
            return 0
        captured = load_u32(at + 8)
        if captured > limit:
            return 0
        length = load_u32(at + 12)
        if captured > length or length > 4 * MAX_CAPTURED:
            return 0
        if load_u32(at + 4) * fraction_ns >= NS:
            return 0
        step = load_u32(at) - about
        if step > MAX_STEP_SECONDS or step < -MAX_STEP_SECONDS:
            return 0
        at += USUAL_RECORD_HEADER + captured
        left -= 1
    return 1


@native
def place_lanes(state: int) -> int:
    """Cut [CURSOR, END) into `LANE_COUNT` lanes; returns where their table ends.

    A lane whose beginning is not found is left to the one before it.
    """
    cursor = load_i64(state + State.CURSOR)
    end = load_i64(state + State.END)
    lane = load_i64(state + State.LANES)
    about = load_u32(cursor)
    size = udiv(end - cursor, load_i64(state + State.LANE_COUNT))
    begin = cursor + size
    while begin + size <= end:
        ahead = 0
        while ahead < MOSTLY_BYTES:
            prefetch(begin + ahead)
            ahead += CACHE_LINE
        begin += size
    store_i64(lane + Lane.CURSOR, cursor)
    begin = cursor + size
    while begin + size <= end:
        at = begin
        last = begin + SEARCH_BYTES
        last = last if last < end else end
        while at < last and plausible(state, at, end, about) == 0:
            at += 1
        if at < last:
            store_i64(lane + Lane.LIMIT, at)
            lane += LANE_BYTES
            store_i64(lane + Lane.CURSOR, at)
        begin = begin + size if begin + size > at else at
    store_i64(lane + Lane.LIMIT, end)
    return lane + LANE_BYTES


@native
def joined(state: int, last: int) -> int:
    """Did each lane arrive where the next one begins?  Then the walk is where the last one is."""
    lane = load_i64(state + State.LANES)
    while lane + LANE_BYTES < last:
        if load_i64(lane + Lane.CURSOR) != load_i64(lane + Lane.LIMIT):
            return 0
        lane += LANE_BYTES
    store_i64(state + State.CURSOR, load_i64(lane + Lane.CURSOR))
    return 1


@native
def add_cells(target: int, source: int, count: int, factor: int) -> None:
    """Add `factor` times each of the 64-bit numbers at `source` to those at `target`, and make them 0."""
    last = source + 8 * count
    while source < last:
        store_i64(target, load_i64(target) + load_i64(source) * factor)
        store_i64(source, 0)
        source += 8
        target += 8


@native(apart=True)
def count_lanes(state: int) -> int:
    """`walk.count_pcap` in lanes; returns 1 where they joined, else 0, and then nothing was counted."""
    lanes = load_i64(state + State.LANES)
    last = place_lanes(state)
    end = load_i64(state + State.END)
    max_captured = load_i64(state + State.MAX_CAPTURED)
    snap_limit = load_i64(state + State.SNAP_LIMIT)
    filters = load_i64(state + State.LANE_FILTERS)
    verdicts = load_i64(state + State.LANE_VERDICTS)
    minimum = load_i64(state + State.MINIMUM)
    untags = load_i64(state + State.UNTAG)
    packets = 0
    total = 0
    truncated = 0
    going = 1
    while going:
        going = 0
        lane = lanes
        while lane < last:
            cursor = load_i64(lane + Lane.CURSOR)
            if cursor < load_i64(lane + Lane.LIMIT) and cursor + USUAL_RECORD_HEADER <= end:
                captured = load_u32(cursor + 8)
                frame = cursor + USUAL_RECORD_HEADER
                following = frame + captured
                if captured <= max_captured and following <= end:
                    going = 1
                    prefetch(following)
                    prefetch(following + CACHE_LINE)
                    prefetch(following + LOOKED_AT_BYTES)
                    length = load_u32(cursor + 12)
                    captured = captured if captured < snap_limit else snap_limit
                    length = length if length > captured else captured
                    outcome = decide(state, minimum, untags, frame, captured, length)
                    account(filters, verdicts, outcome, length)
                    truncated += outcome >> READ_PAST_SHIFT & 1
                    packets += 1
                    total += length
                    store_i64(lane + Lane.CURSOR, following)
            lane += LANE_BYTES
    found = joined(state, last)
    cells = load_i64(state + State.FILTER_COUNT) * (FILTER_ENTRY // 8)
    add_cells(load_i64(state + State.FILTERS), filters, cells, found)
    add_cells(load_i64(state + State.VERDICTS), verdicts, VERDICT_COUNTS, found)
    store_i64(state + State.PACKETS, load_i64(state + State.PACKETS) + packets * found)
    store_i64(state + State.BYTES, load_i64(state + State.BYTES) + total * found)
    store_i64(state + State.TRUNCATED, load_i64(state + State.TRUNCATED) + truncated * found)
    return found


class Lanes:
    """The memory that `count_lanes` needs, for a plan of so many filters."""

    def __init__(self, state: Cells, filters: int) -> None:
        self._table = Cells(Lane, MAX_LANES)
        self._counters = (ctypes.c_int64 * ((filters + 1) * (FILTER_ENTRY // 8) + VERDICT_COUNTS))()
        address = ctypes.addressof(self._counters)
        state[State.LANES] = self._table.address
        state[State.FILTER_COUNT] = filters + 1
        state[State.LANE_FILTERS] = address
        state[State.LANE_VERDICTS] = address + (filters + 1) * FILTER_ENTRY


def lanes_for(count: int) -> int:
    """How many lanes a stretch of `count` bytes has; 1: it is not worth any."""
    return min(max(count // MIN_LANE_BYTES, 1), MAX_LANES)
