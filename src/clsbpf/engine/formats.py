"""How does a worker that begins in the middle of a capture find its way?  One answer for each format.

A pcap record says how long it is and nothing else that could be told from a packet's bytes; a place is
taken for one from which a run of plausible records follows.  A pcapng block says its size at both ends,
which random bytes hardly do.  What a worker cannot know is what blocks before its piece changed: so it
takes the interfaces for those that the file begins with, and where a block would change them its piece ends.
"""

from __future__ import annotations

import os
import struct
from typing import Protocol

from ..capture import Capture, Interface
from ..capture.pcap import LengthOrder, PcapHeader, PcapReader
from ..capture.pcapng import (
    BLOCK_HEADER_BYTES,
    BLOCK_OVERHEAD,
    ENHANCED_PACKET,
    INTERFACE,
    OBSOLETE_PACKET,
    SECTION_HEADER,
    SIMPLE_PACKET,
    PcapngReader,
)
from ..errors import CaptureError
from .ledger import Ledger
from .native import configure_pcap, configure_pcapng, pcap_walk
from .plan import Plan, Walk
from .walk_state import Cells

GUESS_BYTES = (48 << 10, 1 << 20)
"""So many bytes are searched for a piece's beginning; after the last it is left to the worker before."""
GUESS_CHAIN = 12
"""Records that must follow one another plausibly."""
SOON_BYTES = 6 << 10
"""Mostly a record begins within so many bytes: to find it there takes less than to import numpy."""
MAX_STEP_SECONDS = 7 * 86400
"""Neighbouring records are not further apart than this, or one of them is none."""
BEGINNING_BYTES = 1 << 20
"""Where a pcapng capture's first packet is looked for."""


class Format(Protocol):
    """What a worker knows of the capture, wherever it begins."""

    @property
    def interfaces(self) -> list[Interface]:
        """What packets may have been taken on."""

    def guess(self, data: bytes) -> int | None:
        """Where in `data` a record begins, as far as one can tell, or None."""

    def configure(self, state: Cells) -> object:
        """Let a walk know how records look; what is returned must live as long as it walks."""

    def walk(self, plan: Plan, ledger: Ledger) -> Walk:
        """The plan's walk over this format, for what the ledger wants."""

    def record_size(self, view: memoryview) -> int:
        """The size of the record or block at the beginning of a view."""

    def passed_over(self, view: memoryview) -> int:
        """The size of the block here, where it is one that holds nothing and changes nothing; else 0."""


def format_of(capture: Capture) -> tuple[Format, int] | str:
    """The capture's format, and where its first record begins; or why it cannot be read by several."""
    reader = capture.reader
    if isinstance(reader, PcapReader):
        if reader.header.length_order is not LengthOrder.CAPTURED_FIRST:
            return "its version is an old one"
        return PcapFormat(reader.header), capture.source.offset
    if reader.section is not None:
        return PcapngFormat(reader), capture.source.offset
    known = read_beginning(capture.name, memoryview(os.pread(capture.source.fileno(), BEGINNING_BYTES, 0)))
    return known or "it does not begin with its interfaces"


def interfaces_of(capture: Capture) -> list[Interface]:
    """The interfaces that a capture begins with, of which nothing was read; none where that is not known."""
    reader, source = capture.reader, capture.source
    if isinstance(reader, PcapReader):
        return [reader.header.interface]
    while True:
        window = source.next_window()
        known = read_beginning(capture.name, window.view)
        if known is not None or window.final or window.length >= BEGINNING_BYTES:
            return known[0].interfaces if known is not None else []
        source.advance(0, window.length + 1)


def guess_begin(descriptor: int, begin: int, kind: Format) -> int | None:
    """Where the first record at or behind `begin` begins, as far as one can tell, or None."""
    for count in GUESS_BYTES:
        found = kind.guess(os.pread(descriptor, count, begin))
        if found is not None:
            return begin + found
    return None


# pcap ---------------------------------------------------------------------------------------------


class PcapFormat:
    """Records of one interface."""

    def __init__(self, header: PcapHeader) -> None:
        self.header = header
        self.interfaces = [header.interface]

    def configure(self, state: Cells) -> object:
        configure_pcap(state, self.header)
        return None

    def walk(self, plan: Plan, ledger: Ledger) -> Walk:
        return pcap_walk(plan, self.header, ledger)

    def record_size(self, view: memoryview) -> int:
        if len(view) < self.header.record_header:
            return self.header.record_header
        return self.header.record_header + int.from_bytes(view[8:12], self.header.byte_order)

    def passed_over(self, view: memoryview) -> int:
        return 0

    def guess(self, data: bytes) -> int | None:
        """A place is plausible whose lengths are possible and whose fraction of a second is one, and from
        which `GUESS_CHAIN` such places follow, none far from its neighbour in time."""
        usual = struct.Struct(f"{'<' if self.header.byte_order == 'little' else '>'}4I")
        last = len(data) - usual.size
        for candidate in range(min(last + 1, SOON_BYTES)):
            if self._chain(data, candidate, usual, last):
                return candidate
        if last < SOON_BYTES:
            return None
        import numpy as np

        words = last + 1
        fraction, captured, length = (
            np.ndarray((words,), usual.format[0] + "u4", data, 4 * number, (1,)).astype(np.uint32)
            for number in (1, 2, 3)
        )
        possible = (
            (captured <= self.header.record_limit)
            & (captured <= length)
            & (length <= max(self.header.record_limit, 1 << 20))
            & (fraction < self.header.interface.ticks_per_second)
        )
        for later in np.flatnonzero(possible[SOON_BYTES:]).tolist():
            if self._chain(data, later + SOON_BYTES, usual, last):
                return SOON_BYTES + int(later)
        return None

    def _chain(self, data: bytes, at: int, usual: struct.Struct, last: int) -> bool:
        """Do plausible records follow one another from here on?"""
        header, before = self.header, None
        limit, ticks = header.record_limit, header.interface.ticks_per_second
        for _ in range(GUESS_CHAIN):
            if at > last:
                return False
            now, fraction, captured, length = usual.unpack_from(data, at)
            if captured > limit or captured > length or length > max(limit, 1 << 20) or fraction >= ticks:
                return False
            if before is not None and abs(now - before) > MAX_STEP_SECONDS:
                return False
            at, before = at + header.record_header + captured, now
        return True


# pcapng -------------------------------------------------------------------------------------------

_PACKETS = (ENHANCED_PACKET, SIMPLE_PACKET, OBSOLETE_PACKET)
_CHANGES = (SECTION_HEADER, INTERFACE)


class PcapngFormat:
    """Blocks, each a multiple of four bytes; `reader` is as it was before the first packet."""

    def __init__(self, reader: PcapngReader) -> None:
        assert reader.section is not None
        self.reader = reader
        self.order = reader.section.byte_order
        self.interfaces = [reader.interfaces[number] for number in reader.numbers]

    def configure(self, state: Cells) -> object:
        return configure_pcapng(state, self.reader)

    def walk(self, plan: Plan, ledger: Ledger) -> Walk:
        return plan.pcapng

    def record_size(self, view: memoryview) -> int:
        return self._header(view)[1] if len(view) >= BLOCK_HEADER_BYTES else BLOCK_HEADER_BYTES

    def passed_over(self, view: memoryview) -> int:
        if len(view) < BLOCK_HEADER_BYTES:
            return 0
        kind, size = self._header(view)
        if kind in (*_PACKETS, *_CHANGES) or size > len(view):
            return 0
        try:
            return self.reader.take(view, 0, 0).size
        except CaptureError:
            return 0

    def _header(self, view: memoryview) -> tuple[int, int]:
        return int.from_bytes(view[:4], self.order), int.from_bytes(view[4:8], self.order)

    def guess(self, data: bytes) -> int | None:
        """A place is plausible where a packet's block says the same size at both ends, and `GUESS_CHAIN`
        blocks that do follow.  Pieces begin at multiples of four."""
        import numpy as np

        count = len(data) // 4
        words = np.frombuffer(data, "<u4" if self.order == "little" else ">u4", count).astype(np.int64)
        if count < BLOCK_OVERHEAD // 4:
            return None
        kinds, sizes = words[:-1], words[1:]
        possible = (sizes % 4 == 0) & (sizes >= BLOCK_OVERHEAD) & (sizes <= self.reader.block_limit)
        last = np.arange(count - 1) + sizes // 4 - 1
        possible &= last < count
        possible[possible] = words[last[possible]] == sizes[possible]
        for candidate in np.flatnonzero(possible & np.isin(kinds, _PACKETS)):
            at = int(candidate)
            for _ in range(GUESS_CHAIN):
                if at >= count - 1 or not possible[at]:
                    break
                at += int(sizes[at]) // 4
            else:
                return int(candidate) * 4
        return None


def read_beginning(name: str, view: memoryview) -> tuple[PcapngFormat, int] | None:
    """What comes before the first packet of a pcapng capture that begins so; None where that is not there."""
    reader = PcapngReader(name)
    at = 0
    while at + BLOCK_HEADER_BYTES <= len(view):
        if reader.section is not None:
            kind = int.from_bytes(view[at : at + 4], reader.section.byte_order)
            if kind in _PACKETS:
                break
        try:
            size = reader.take(view, at, at).size
        except CaptureError:
            break
        if size > len(view) - at:
            break
        at += size
    if reader.section is None or not reader.numbers:
        return None
    return PcapngFormat(reader), at
