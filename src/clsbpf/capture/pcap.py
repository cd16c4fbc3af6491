"""The pcap format: a file header of 24 bytes, then records, each a header and a packet's bytes.

    file header    magic u32 | major u16 | minor u16 | zone i32 | sigfigs u32 | snap_len u32 | link u32
    record header  seconds u32 | fraction u32 | captured u32 | length u32   (| index, protocol, type)

The magic number says three things at once: the byte order of every header, whether fractions are micro-
or nanoseconds, and whether record headers are the plain 16 bytes or Kuznetzov's "modified" 24.  The
rules are libpcap's (`pcap_check_header`, `pcap_next_packet` in sf-pcap.c), also for what old writers got
wrong: before version 2.3 the two lengths came in the other order, in 2.3 they may, and so they do in
543.0, which is what DG/UX wrote.  Two things differ: seconds are unsigned, as the format's specification
has them now, where libpcap's go negative in 2038; and the lengths are made consistent, so that a packet
was never shorter on the wire than in the file.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

from ..errors import CaptureError
from .record import NS_PER_SECOND, STRUCT_ORDER, Block, ByteOrder, Interface, Record, max_captured

HEADER_BYTES = 24
RECORD_HEADER_BYTES = 16
MODIFIED_RECORD_HEADER_BYTES = 24

MAGIC = 0xA1B2C3D4
NANOSECOND_MAGIC = 0xA1B23C4D
MODIFIED_MAGIC = 0xA1B2CD34


@dataclass(frozen=True, slots=True)
class Variant:
    """What a magic number says, byte order aside."""

    ticks_per_second: int
    record_header: int


VARIANTS = {
    MAGIC: Variant(1_000_000, RECORD_HEADER_BYTES),
    NANOSECOND_MAGIC: Variant(NS_PER_SECOND, RECORD_HEADER_BYTES),
    MODIFIED_MAGIC: Variant(1_000_000, MODIFIED_RECORD_HEADER_BYTES),
}


class LengthOrder(enum.Enum):
    """In which order a record header has its two lengths (libpcap's swapped_type_t)."""

    CAPTURED_FIRST = "captured, length"
    LENGTH_FIRST = "length, captured"
    SMALLER_IS_CAPTURED = "whichever is smaller is captured"


VERSIONS: dict[tuple[int, int], LengthOrder] = {
    (2, 0): LengthOrder.LENGTH_FIRST,
    (2, 1): LengthOrder.LENGTH_FIRST,
    (2, 2): LengthOrder.LENGTH_FIRST,
    (2, 3): LengthOrder.SMALLER_IS_CAPTURED,
    (2, 4): LengthOrder.CAPTURED_FIRST,
    (543, 0): LengthOrder.LENGTH_FIRST,
}
"""The versions that can be read."""

LINK_TYPE_MASK = 0x03FFFFFF
FCS_PRESENT = 0x04000000
FCS_WORDS_SHIFT = 28
"""The link type's upper bits: is the length of the frame check sequence told, and how many 16-bit words."""

LINKTYPE_ETHERNET = 1
COOKED_HEADER = 14
"""A modified libpcap put a made-up Ethernet header before what the snap length had let through."""

TIME_LIMIT_NS = (1 << 32) * NS_PER_SECOND - 1
"""The last time that a record header can say."""


@dataclass(frozen=True, slots=True)
class PcapHeader:
    """struct pcap_file_header: what holds for every record of the file.

    `interface` has the link type, the snap length and the meaning of time stamps.
    """

    interface: Interface
    byte_order: ByteOrder = "little"
    record_header: int = RECORD_HEADER_BYTES
    version: tuple[int, int] = (2, 4)

    @property
    def length_order(self) -> LengthOrder:
        """The order of the lengths in a record header."""
        return VERSIONS[self.version]

    @property
    def nanoseconds(self) -> bool:
        """Are the fractions of a second nanoseconds, not microseconds?"""
        return self.interface.ticks_per_second == NS_PER_SECOND

    @property
    def link_type(self) -> int:
        """The LINKTYPE_ of every packet."""
        return self.interface.link_type

    @property
    def snap_len(self) -> int:
        """What the header gives as the most bytes of a packet; 0 is no limit."""
        return self.interface.snap_len

    @property
    def snap_limit(self) -> int:
        """A packet gives at most so many bytes; the rest of a longer record is passed over."""
        cooked = self.record_header == MODIFIED_RECORD_HEADER_BYTES and self.link_type == LINKTYPE_ETHERNET
        return self.interface.snap_limit + (COOKED_HEADER if cooked else 0)

    @property
    def record_limit(self) -> int:
        """A record that claims to hold more bytes of a packet than this is damaged."""
        return max_captured(self.link_type)


def magic_of(start: bytes) -> tuple[int, ByteOrder] | None:
    """The magic number and byte order of a pcap file that starts with these (four or more) bytes, or None."""
    for order in STRUCT_ORDER:
        magic = int.from_bytes(start[:4], order)
        if magic in VARIANTS:
            return magic, order
    return None


def parse_header(start: bytes, name: str) -> PcapHeader:
    """The file header, from the first 24 bytes or more of a capture called `name`.

    CaptureError where they are no pcap header, or one of a version that nobody reads.
    """
    known = magic_of(start)
    if known is None:
        raise CaptureError(f"{name}: not a pcap file: it starts with {bytes(start[:4]).hex(' ')}")
    if len(start) < HEADER_BYTES:
        raise CaptureError(
            f"{name}: cut at byte {len(start)}: the pcap file header needs {HEADER_BYTES} bytes"
        )
    magic, order = known
    major, minor, _zone, _sigfigs, snap_len, link = struct.unpack_from(
        f"{STRUCT_ORDER[order]}HHiIII", start, 4
    )
    if (major, minor) not in VERSIONS:
        raise CaptureError(f"{name}: pcap version {major}.{minor}; 2.0 to 2.4 and 543.0 can be read")
    variant = VARIANTS[magic]
    return PcapHeader(
        interface=Interface(
            link_type=link & LINK_TYPE_MASK,
            snap_len=snap_len,
            ticks_per_second=variant.ticks_per_second,
            fcs_len=(link >> FCS_WORDS_SHIFT) * 2 if link & FCS_PRESENT else None,
        ),
        byte_order=order,
        record_header=variant.record_header,
        version=(major, minor),
    )


def format_header(header: PcapHeader) -> bytes:
    """The 24 bytes of a file header."""
    variant = Variant(header.interface.ticks_per_second, header.record_header)
    magic = next((number for number, known in VARIANTS.items() if known == variant), None)
    assert magic is not None, f"no pcap file can say {variant}"
    fcs = header.interface.fcs_len
    link = header.link_type | (0 if fcs is None else FCS_PRESENT | fcs // 2 << FCS_WORDS_SHIFT)
    order = STRUCT_ORDER[header.byte_order]
    return struct.pack(f"{order}IHHiIII", magic, *header.version, 0, 0, header.snap_len, link)


def format_record(header: PcapHeader, time_ns: int, data: bytes | memoryview, length: int) -> bytes:
    """One record, with its packet's bytes.

    A finer time than the header's resolution is rounded down, one before 1970 or after 2106 held there.
    """
    seconds, fraction = divmod(min(max(time_ns, 0), TIME_LIMIT_NS), NS_PER_SECOND)
    fraction = fraction * header.interface.ticks_per_second // NS_PER_SECOND
    lengths = (len(data), length)
    if header.length_order is LengthOrder.LENGTH_FIRST:
        lengths = lengths[::-1]
    order = STRUCT_ORDER[header.byte_order]
    start = struct.pack(f"{order}IIII", seconds, fraction, *lengths)
    return start + bytes(header.record_header - len(start)) + bytes(data)


class PcapReader:
    """The records of a pcap file, sans-IO (`record.Reader`): `pcap_next_packet`."""

    format = "pcap"

    def __init__(self, header: PcapHeader, name: str) -> None:
        self.header = header
        self.interfaces = [header.interface]
        self.packets = 0
        self._name = name
        self._fields = struct.Struct(f"{STRUCT_ORDER[header.byte_order]}IIII")
        self._to_ns = NS_PER_SECOND // header.interface.ticks_per_second
        self._header_bytes = header.record_header
        self._limit = header.record_limit
        self._snap = header.snap_limit
        self._order = header.length_order

    def take(self, view: memoryview, at: int, offset: int) -> Block:
        """Take the record at `view[at]`, byte `offset` of the file; CaptureError for an absurd length."""
        if len(view) - at < self._header_bytes:
            return Block(self._header_bytes)
        seconds, fraction, stored, length = self._fields.unpack_from(view, at)
        if self._order is not LengthOrder.CAPTURED_FIRST and (
            self._order is LengthOrder.LENGTH_FIRST or stored > length
        ):
            stored, length = length, stored
        if stored > self._limit:
            raise CaptureError(
                f"{self._name}: damaged at byte {offset}: record {self.packets + 1} claims to hold "
                f"{stored} bytes, at most {self._limit} are possible",
                self.packets,
            )
        size = self._header_bytes + stored
        if len(view) - at < size:
            return Block(size)
        self.packets += 1
        captured = min(stored, self._snap)
        time = seconds * NS_PER_SECOND + fraction * self._to_ns
        return Block(
            size,
            Record(offset + self._header_bytes, captured, max(length, captured), time),
        )

    def finish(self, left: int, need: int, offset: int) -> None:
        """The file ends `left` bytes after `offset`; CaptureError if that is inside a record."""
        if left:
            raise CaptureError(
                f"{self._name}: cut at byte {offset + left}: record {self.packets + 1} needs {need} bytes, "
                f"{left} are left",
                self.packets,
            )
