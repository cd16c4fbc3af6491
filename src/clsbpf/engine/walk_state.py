"""What does a walk over a capture need, and what does it leave?

One struct in native memory, `WalkState`, so that a walk can stop at any record and go on in the next
call; the arrays that its fields point to; and the two numbers that it speaks in, `Stop` (why it came
back) and the *outcome* of a packet:

    bit 63 … 37          36           35 … 32        31 … 0
    filter's number + 1  read past    verdict + 1    classid
    (0: none decided)    the capture  (TC_ACT_*)
"""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Iterator

CLASSID_MASK = 0xFFFFFFFF
VERDICT_SHIFT = 32
VERDICT_MASK = 0xF
READ_PAST_SHIFT = 36
FILTER_SHIFT = 37
UNDECIDED = 0
"""The outcome of a packet that no filter decided: verdict TC_ACT_UNSPEC (-1 + 1), classid 0."""

CLASS_SLOTS = 1 << 14
CLASS_LIMIT = CLASS_SLOTS * 3 // 4
CLASS_ENTRY = 24
"""An entry of the class table: classid (0: free), packets, bytes; 8 bytes each."""
FILTER_ENTRY = 16
"""An entry of the filter counters, by filter number + 1: packets, bytes; 8 bytes each."""

END_BYTES = 32
"""An end of packets' ways through a root qdisc, by node: packets and bytes sent, packets and bytes lost."""


class Stop(enum.IntEnum):
    """Why a walk returned."""

    MORE = 0
    """The next record is not wholly in the window."""
    PYTHON = 1
    """The next block is one for the Python reader: damage, a section, an interface, or nobody's."""
    ROWS_FULL = 2
    CLASSES_FULL = 3
    FAULT = 5
    """Something went wrong in Python, which is about to be raised."""
    LINK_CHANGE = 4
    """pcapng: the next packet is of another link type than this plan is for."""


class TimeRule(enum.IntEnum):
    """How a fraction of a second in ticks becomes nanoseconds."""

    MULTIPLY = 0
    """Times `FACTOR`."""
    DIVIDE = 1
    """Divided by `FACTOR`."""
    BINARY = 2
    """Times 10**9, shifted right by `FACTOR`."""


class Layout(enum.IntEnum):
    """Names of 64-bit cells that lie one behind the other; each value is the cell's byte offset."""

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list[int]) -> int:
        return 8 * count


class Port(Layout):
    """A pcapng interface, as the walk reads it."""

    LINK_TYPE = enum.auto()
    MAX_CAPTURED = enum.auto()
    """More than this is damage."""
    SNAP_LIMIT = enum.auto()
    """A longer packet is cut to it."""
    TICKS = enum.auto()
    """Ticks per second, unsigned."""
    OFFSET_SECONDS = enum.auto()
    RULE = enum.auto()
    FACTOR = enum.auto()


PORT_BYTES = 8 * len(Port)


class State(Layout):
    """What a walk needs and what it leaves: addresses and counts."""

    # the window
    CURSOR = enum.auto()
    """The address of the next record."""
    END = enum.auto()
    # how records look
    SWAPPED = enum.auto()
    """Are headers in the other byte order?"""
    RECORD_HEADER = enum.auto()
    CAPTURED_AT = enum.auto()
    """Where in a pcap record header the captured length is."""
    LENGTH_AT = enum.auto()
    SMALLER_IS_CAPTURED = enum.auto()
    FRACTION_NS = enum.auto()
    """Nanoseconds in one unit of a pcap time's fraction."""
    MAX_CAPTURED = enum.auto()
    SNAP_LIMIT = enum.auto()
    PORTS = enum.auto()
    """The section's interfaces: an array of `Port` cells."""
    PORT_COUNT = enum.auto()
    BLOCK_LIMIT = enum.auto()
    # how frames are prepared: the plan's link type and hook
    LINK_TYPE = enum.auto()
    NEXT_LINK_TYPE = enum.auto()
    """At Stop.LINK_CHANGE: the next packet's."""
    UNTAG = enum.auto()
    """Is a VLAN tag taken out of the data?"""
    MINIMUM = enum.auto()
    """Frames shorter than this on the wire reach no filter."""
    SCRATCH = enum.auto()
    # what programs ask the environment
    ENVIRONMENT = enum.auto()
    """The run's NativeEnvironment."""
    WATCHES = enum.auto()
    """Does somebody look at the time, so that walks tell it packet by packet?"""
    TIME = enum.auto()
    """The packet's time (ns), where somebody looks."""
    # extended programs: the packet where they may write it, and what they leave in it
    PACKET = enum.auto()
    """Memory for a packet, with room before it."""
    OWNED = enum.auto()
    """Is the packet there (or in memory of Python's), rather than where it was captured?"""
    RETAGGED = enum.auto()
    """Memory for a frame with its VLAN tag in place (engine/as_captured.py)."""
    SKB = enum.auto()
    """The NativeSkb, where Python must find it."""
    COLUMNS = enum.auto()
    """Arrays for the fields of the packet that programs may write (`Column` cells)."""
    COLUMN_COUNT = enum.auto()
    DELIVERS = enum.auto()
    """Does somebody take what programs redirect?"""
    FAULTED = enum.auto()
    """Did something go wrong in Python with this packet?"""
    RUNNING = enum.auto()
    """The number of the filter whose program runs, for Python."""
    # what actions need
    TICKS = enum.auto()
    """The memory of the clock that packets' times advance, or 0."""
    CLOCK = enum.auto()
    """The memory of the clock that actions look at."""
    RANDOM = enum.auto()
    """The memory of their random numbers."""
    ACTIONS = enum.auto()
    """Their records (engine/act_records.py)."""
    # rows: arrays; ROW_CAPACITY 0 when only counters are wanted
    ROW = enum.auto()
    ROW_CAPACITY = enum.auto()
    ROW_TIME = enum.auto()
    ROW_LENGTH = enum.auto()
    ROW_OUTCOME = enum.auto()
    ROW_ADDRESS = enum.auto()
    ROW_CAPTURED = enum.auto()
    # counters
    PACKETS = enum.auto()
    BYTES = enum.auto()
    TRUNCATED = enum.auto()
    FILTERS = enum.auto()
    VERDICTS = enum.auto()
    """Packets by verdict + 1: 16 counts."""
    CLASSES = enum.auto()
    """The class table, or 0 where every filter's classid is known beforehand."""
    CLASSES_USED = enum.auto()
    PASSAGES = enum.auto()
    """Where packets' ways through a root qdisc end (engine/queueing_text.py)."""
    # a file that native code reads itself (`walk.count_file`)
    FILE = enum.auto()
    """The descriptor."""
    OFFSET = enum.auto()
    """Where in the file the next record begins."""
    LIMIT = enum.auto()
    """Records that begin here or behind are not wanted."""
    BUFFER = enum.auto()
    BUFFER_BYTES = enum.auto()
    AHEAD = enum.auto()
    """So many bytes ahead of the walk are asked of memory; 0 where they are in the cache (a buffer)."""
    # a mapped file, at many places at once (`lanes.count_lanes`)
    LANES = enum.auto()
    """Their table (`Lane` cells), and how many of it are wanted."""
    LANE_COUNT = enum.auto()
    LANE_FILTERS = enum.auto()
    """Counters like FILTERS and VERDICTS, which are added to those when the lanes have joined."""
    LANE_VERDICTS = enum.auto()
    FILTER_COUNT = enum.auto()
    """The entries of FILTERS."""


class Lane(Layout):
    """One of the places that are walked at once."""

    CURSOR = enum.auto()
    """Its next record."""
    LIMIT = enum.auto()
    """Where the next lane begins."""


LANE_BYTES = 8 * len(Lane)


class Column(Layout):
    """One column of fields, a row a packet."""

    ARRAY = enum.auto()
    FIELD = enum.auto()
    """Where in the NativeSkb the field is."""
    BYTES = enum.auto()
    """4 or 8."""


COLUMN_BYTES = 8 * len(Column)


class Cells:
    """Cells of a layout in native memory."""

    def __init__(self, layout: type[Layout], count: int = 1) -> None:
        self._cells = (ctypes.c_int64 * (len(layout) * count))()
        self.address = ctypes.addressof(self._cells)

    def __getitem__(self, cell: Layout) -> int:
        return self._cells[cell >> 3]

    def __setitem__(self, cell: Layout, value: int) -> None:
        self._cells[cell >> 3] = value

    def put(self, offset: int, value: int) -> None:
        """Set the cell at a byte offset, where there are several of a layout."""
        self._cells[offset >> 3] = value


class Counters:
    """An array of 64-bit counts in native memory."""

    def __init__(self, length: int) -> None:
        self.counts = (ctypes.c_int64 * length)()
        self.address = ctypes.addressof(self.counts)

    def clear(self) -> None:
        """Set all to 0."""
        ctypes.memset(self.address, 0, ctypes.sizeof(self.counts))

    def __iter__(self) -> Iterator[int]:
        return iter(self.counts)
