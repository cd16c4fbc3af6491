"""What a capture is made of, whatever its format: interfaces, and records that lie in its bytes.

A capture file is a row of blocks.  Most hold one packet as it was seen on one interface; the rest say
what the interfaces are, or something nobody here needs.  A reader (`PcapReader`, `PcapngReader`) knows
its format and nothing of files: it is shown bytes and takes one block at a time from them.

    view      │ … taken … │ block: size ────────────────────┤ not looked at yet …
                          at      │ record: captured │
                                  offset (in the capture)

The packet's bytes stay where they are.  A `Record` says where, so that walking a capture copies
nothing, and native code that walks the same bytes can be held against this, which is the definition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

ByteOrder = Literal["little", "big"]
STRUCT_ORDER: dict[ByteOrder, str] = {"little": "<", "big": ">"}
"""The byte order as `struct` spells it."""

NS_PER_SECOND = 1_000_000_000
TIME_MIN, TIME_MAX = -(1 << 63), (1 << 63) - 1
"""A time is nanoseconds since 1970 in 64 signed bits.  One outside of that (from damage, or from the
years before 1678 and after 2262) is held at the end it passed."""

MAX_CAPTURED = 262144
"""The most bytes of one packet that are believed (libpcap's MAXIMUM_SNAPLEN)."""
MAX_CAPTURED_OF_LINK_TYPE = {
    231: 128 << 20,  # D-Bus
    249: 128 << 20,  # USBPcap
    279: 8 << 20,  # Elektrobit high speed capture and replay
}
"""Link types whose messages are larger (libpcap's max_snaplen_for_dlt)."""
MAX_CAPTURED_ANY = max(MAX_CAPTURED, *MAX_CAPTURED_OF_LINK_TYPE.values())
SLACK = 256
"""Behind every window lie so many bytes that may be read, though they are nobody's: native code that
looks at a packet's headers need not ask first how far the packet goes."""
SNAP_LEN_MAX = 0x7FFFFFFF
"""A snap length larger than this, or 0, is taken for none at all (libpcap's pcap_adjust_snapshot)."""


def max_captured(link_type: int) -> int:
    """The most bytes of one packet of this LINKTYPE_ that are believed; a larger length is damage."""
    return MAX_CAPTURED_OF_LINK_TYPE.get(link_type, MAX_CAPTURED)


@dataclass(frozen=True, slots=True)
class Interface:
    """Where packets were seen: their link type (LINKTYPE_*), and how their lengths and times are meant.

    `snap_len` is what the file says, 0 for no limit; `snap_limit` is what it comes to.  A time stamp of
    t ticks means t / `ticks_per_second` + `offset_seconds` seconds since 1970.  `fcs_len` is the number
    of bytes of frame check sequence at the end of each packet, None where the file does not say.
    """

    link_type: int
    snap_len: int = 0
    ticks_per_second: int = 1_000_000
    offset_seconds: int = 0
    fcs_len: int | None = None
    name: str = ""

    @property
    def snap_limit(self) -> int:
        """The most bytes that a packet of this interface gives; a longer one is cut to it."""
        given = self.snap_len if 0 < self.snap_len <= SNAP_LEN_MAX else MAX_CAPTURED_ANY
        return min(given, max_captured(self.link_type))

    def time_ns(self, ticks: int) -> int:
        """A time stamp in ticks as nanoseconds since 1970, rounded down."""
        seconds, fraction = divmod(ticks, self.ticks_per_second)
        time = (seconds + self.offset_seconds) * NS_PER_SECOND
        return clamp_time(time + fraction * NS_PER_SECOND // self.ticks_per_second)


def clamp_time(time_ns: int) -> int:
    """A time as it fits 64 signed bits."""
    return min(max(time_ns, TIME_MIN), TIME_MAX)


@dataclass(frozen=True, slots=True)
class Record:
    """One packet of a capture.

    `offset` is where its bytes begin, counted from the beginning of the capture (of what a compressed
    one unpacks to).  `captured` bytes are there; `length`, never less, were on the wire.  `time_ns` is
    nanoseconds since 1970, 0 where none was recorded.  `interface` is an index into the reader's
    `interfaces`.
    """

    offset: int
    captured: int
    length: int
    time_ns: int
    interface: int = 0


class Block(NamedTuple):
    """What a reader found at a place: a block of `size` bytes, with the packet in it if there is one.

    Where fewer than `size` bytes were in view nothing has been taken, and `record` is None: the reader
    has to be shown that many (perhaps only to learn that it wants more still).
    """

    size: int
    record: Record | None = None


class Reader(Protocol):
    """A capture format, sans-IO.  `packets` counts the records taken, also those taken natively."""

    packets: int

    @property
    def format(self) -> str:
        """The name of the format: "pcap" or "pcapng"."""

    @property
    def interfaces(self) -> list[Interface]:
        """The interfaces known so far, in the order in which they came; equal ones are one."""

    def take(self, view: memoryview, at: int, offset: int) -> Block:
        """Take the block at `view[at]`, which is byte `offset` of the capture.

        CaptureError where the bytes are no such block.
        """

    def finish(self, left: int, need: int, offset: int) -> None:
        """The capture ends `left` bytes after `offset`, where a block of `need` bytes begins.

        CaptureError unless it may end so.
        """
