"""The pcapng format: sections of blocks, each of which says its type and its length, twice.

    block   type u32 | size u32 | body … padded to 4 | size u32 again

A section begins with a header block that fixes the byte order and forgets all interfaces.  Interface
blocks follow, numbered from 0 in each section; packets name their interface by that number.

    section header   0x0A0D0D0A   magic 0x1A2B3C4D | major u16 | minor u16 | section length s64 | options
    interface        1            link u16 | reserved u16 | snap_len u32 | options
    packet           2, obsolete  interface u16 | drops u16 | time u32, u32 | captured | length | data
    simple packet    3            length | data: on interface 0, without a time
    enhanced packet  6            interface u32 | time u32, u32 | captured | length | data | options

Every other block is passed over.  What counts as damage follows libpcap (`read_block`,
`pcap_ng_next_packet` in sf-pcapng.c), but where libpcap gives up on a sound capture this reads on, as
Wireshark does: interfaces may differ in link type and snap length, sections in byte order, a section
without packets needs no interface, and a packet longer than its interface's snap length is cut to it,
which is what libpcap itself does in a pcap file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass

from ..errors import CaptureError
from .record import STRUCT_ORDER, Block, ByteOrder, Interface, Record, max_captured

SECTION_HEADER = 0x0A0D0D0A
INTERFACE = 1
OBSOLETE_PACKET = 2
SIMPLE_PACKET = 3
ENHANCED_PACKET = 6

SECTION_MAGIC = 0x1A2B3C4D
SECTION_START = SECTION_HEADER.to_bytes(4, "big")
"""How a section begins, in either byte order."""
SECTION_KNOWN = 12
"""So many bytes of a section tell its byte order."""
VERSIONS = ((1, 0), (1, 2))
"""What can be read; some writers say 1.2 and mean 1.0."""

BLOCK_HEADER_BYTES = 8
BLOCK_OVERHEAD = 12
"""What a block has beside its body: its type, and its size twice."""
BLOCK_LIMIT = 16 << 20
BLOCK_EXTRA = 131072
"""No larger block is believed, unless a packet that large is: then with so many bytes of options."""
INTERFACE_LIMIT = 65536
"""The most interfaces of a section, and the most different ones of a capture, that are believed."""
NAME_LIMIT = 256
"""So many bytes of an interface's name are kept: names are shown, and a capture must not fill memory."""

OPTION_END = 0
OPTION_IF_NAME = 2
OPTION_IF_TSRESOL = 9
OPTION_IF_FCSLEN = 13
OPTION_IF_TSOFFSET = 14
OPTION_LENGTHS = {OPTION_END: 0, OPTION_IF_TSRESOL: 1, OPTION_IF_FCSLEN: 1, OPTION_IF_TSOFFSET: 8}
"""The options that are read and must have exactly so many bytes."""
ONCE = (OPTION_IF_TSRESOL, OPTION_IF_TSOFFSET)
"""The options that an interface may have only once, or its times could mean two things."""

BINARY_RESOLUTION = 0x80
MAX_BINARY_RESOLUTION = 63
MAX_DECIMAL_RESOLUTION = 19
"""if_tsresol: a negative power of 10, or of 2 where the upper bit is set; finer ones do not fit 64 bits."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section: its byte order and version, and where in the capture it begins."""

    byte_order: ByteOrder
    version: tuple[int, int]
    offset: int


@dataclass(frozen=True, slots=True)
class Codec:
    """The fixed parts of blocks in one byte order."""

    header: struct.Struct
    size: struct.Struct
    section: struct.Struct
    interface: struct.Struct
    obsolete: struct.Struct
    simple: struct.Struct
    enhanced: struct.Struct
    option: struct.Struct
    offset: struct.Struct

    @classmethod
    def of(cls, order: ByteOrder) -> Codec:
        """The codec of a byte order."""
        fields = ("II", "I", "IHHq", "HHI", "HHIIII", "I", "IIIII", "HH", "q")
        return cls(*(struct.Struct(STRUCT_ORDER[order] + field) for field in fields))


CODECS: dict[ByteOrder, Codec] = {order: Codec.of(order) for order in STRUCT_ORDER}


class Damage(Exception):
    """A block is not what it should be; `take` says where that is."""


def section_byte_order(start: bytes) -> ByteOrder | None:
    """The byte order of a section that starts with these 12 or more bytes, or None where none does."""
    if start[:4] != SECTION_START:
        return None
    for order in STRUCT_ORDER:
        if int.from_bytes(start[8:SECTION_KNOWN], order) == SECTION_MAGIC:
            return order
    return None


class PcapngReader:
    """The packets of a pcapng capture, sans-IO (`record.Reader`).

    `section` is the section being read, None before the first.  `numbers[i]` is the index in
    `interfaces` of what the section calls interface i; native code that walks packet blocks needs both,
    and leaves blocks that change them to `take`.
    """

    format = "pcapng"

    def __init__(self, name: str) -> None:
        self.section: Section | None = None
        self.interfaces: list[Interface] = []
        self.numbers: list[int] = []
        self.packets = 0
        self._name = name
        self._codec = CODECS["little"]
        self._known: dict[Interface, int] = {}
        self._limit = BLOCK_LIMIT

    @property
    def block_limit(self) -> int:
        """A block that claims to be larger than this is damaged."""
        return self._limit

    def fork(self) -> PcapngReader:
        """Another reader, which knows what this one knows so far."""
        other = copy(self)
        other.interfaces, other.numbers = list(self.interfaces), list(self.numbers)
        other._known = dict(self._known)
        return other

    def take(self, view: memoryview, at: int, offset: int) -> Block:
        """Take the block at `view[at]`, byte `offset` of the capture; CaptureError where it is damaged."""
        try:
            return self._take(view, at, offset)
        except Damage as damage:
            raise CaptureError(f"{self._name}: damaged at byte {offset}: {damage}", self.packets) from None

    def finish(self, left: int, need: int, offset: int) -> None:
        """The capture ends `left` bytes after `offset`; CaptureError if that is inside a block."""
        if left:
            raise CaptureError(
                f"{self._name}: cut at byte {offset + left}: the block after record {self.packets} needs "
                f"{need} bytes, {left} are left",
                self.packets,
            )

    def _take(self, view: memoryview, at: int, offset: int) -> Block:
        there = len(view) - at
        if there < BLOCK_HEADER_BYTES:
            return Block(BLOCK_HEADER_BYTES)
        order = None
        if view[at : at + 4] == SECTION_START:
            if there < SECTION_KNOWN:
                return Block(SECTION_KNOWN)
            order = section_byte_order(bytes(view[at : at + SECTION_KNOWN]))
            if order is None:
                raise Damage(f"a section's byte-order magic is {bytes(view[at + 8 : at + 12]).hex(' ')}")
        elif self.section is None:
            raise Damage("a pcapng capture must begin with a section header")
        codec = CODECS[order] if order else self._codec
        kind, size = codec.header.unpack_from(view, at)
        self._check_size(kind, size)
        if there < size:
            return Block(size)
        (again,) = codec.size.unpack_from(view, at + size - 4)
        if again != size:
            raise Damage(f"a block of type {kind:#x} says {size} bytes before its body and {again} after it")
        body = view[at + BLOCK_HEADER_BYTES : at + size - 4]
        if order:
            self._begin_section(order, body, offset)
            return Block(size)
        if kind == INTERFACE:
            self._add_interface(body)
            return Block(size)
        record = self._packet(kind, body, offset + BLOCK_HEADER_BYTES)
        if record:
            self.packets += 1
        return Block(size, record)

    def _check_size(self, kind: int, size: int) -> None:
        if size < BLOCK_OVERHEAD:
            raise Damage(f"a block of type {kind:#x} says that it has {size} bytes, less than its frame")
        if size % 4:
            raise Damage(f"a block of type {kind:#x} has {size} bytes, not a multiple of 4")
        if size > self._limit:
            raise Damage(f"a block of type {kind:#x} claims {size} bytes, at most {self._limit} are possible")

    def _begin_section(self, order: ByteOrder, body: memoryview, offset: int) -> None:
        _magic, major, minor, _length = unpack(CODECS[order].section, body, "section header")
        if (major, minor) not in VERSIONS:
            raise Damage(f"pcapng version {major}.{minor}; 1.0 and 1.2 can be read")
        self.section = Section(order, (major, minor), offset)
        self.numbers = []
        self._codec = CODECS[order]

    def _add_interface(self, body: memoryview) -> None:
        interface = parse_interface(body, self._codec)
        number = self._known.setdefault(interface, len(self.interfaces))
        if number == len(self.interfaces):
            self.interfaces.append(interface)
        self.numbers.append(number)
        if max(number + 1, len(self.numbers)) > INTERFACE_LIMIT:
            raise Damage(f"more than {INTERFACE_LIMIT} interfaces")
        self._limit = max(self._limit, max_captured(interface.link_type) + BLOCK_EXTRA)

    def _packet(self, kind: int, body: memoryview, offset: int) -> Record | None:
        """The packet of a block whose body is at byte `offset`; None where it is not a packet's block."""
        codec = self._codec
        if kind == ENHANCED_PACKET:
            number, high, low, stored, length = unpack(codec.enhanced, body, "enhanced packet")
            start = codec.enhanced.size
            interface = self._interface(number)
        elif kind == OBSOLETE_PACKET:
            number, _drops, high, low, stored, length = unpack(codec.obsolete, body, "packet")
            start = codec.obsolete.size
            interface = self._interface(number)
        elif kind == SIMPLE_PACKET:
            (length,) = unpack(codec.simple, body, "simple packet")
            start, number, high, low = codec.simple.size, 0, 0, 0
            interface = self._interface(number)
            stored = min(length, interface.snap_limit)
        else:
            return None
        limit = max_captured(interface.link_type)
        if stored > limit:
            raise Damage(
                f"record {self.packets + 1} claims to hold {stored} bytes, at most {limit} are possible"
            )
        if stored > len(body) - start:
            raise Damage(
                f"record {self.packets + 1} claims to hold {stored} bytes, its block has {len(body) - start}"
            )
        captured = min(stored, interface.snap_limit)
        time = 0 if kind == SIMPLE_PACKET else interface.time_ns(high << 32 | low)
        return Record(offset + start, captured, max(length, captured), time, self.numbers[number])

    def _interface(self, number: int) -> Interface:
        if number >= len(self.numbers):
            raise Damage(
                f"record {self.packets + 1} is of interface {number}, the section has {len(self.numbers)}"
            )
        return self.interfaces[self.numbers[number]]


def unpack(fields: struct.Struct, body: memoryview, what: str) -> tuple[int, ...]:
    """The fixed fields at the beginning of a block's body."""
    if len(body) < fields.size:
        raise Damage(f"a block for one {what} has {len(body)} bytes of body, it needs {fields.size}")
    return fields.unpack_from(body)


def parse_interface(body: memoryview, codec: Codec) -> Interface:
    """The interface that the body of an interface block describes."""
    link_type, _reserved, snap_len = unpack(codec.interface, body, "interface")
    ticks_per_second, offset_seconds, fcs_len, name = 1_000_000, 0, None, ""
    seen: set[int] = set()
    for code, value in options(body[codec.interface.size :], codec):
        if len(value) != OPTION_LENGTHS.get(code, len(value)):
            raise Damage(f"an interface's option {code} has {len(value)} bytes, not {OPTION_LENGTHS[code]}")
        if code in ONCE and code in seen:
            raise Damage(f"an interface has option {code} twice")
        seen.add(code)
        if code == OPTION_IF_TSRESOL:
            ticks_per_second = resolution(value[0])
        elif code == OPTION_IF_TSOFFSET:
            (offset_seconds,) = codec.offset.unpack(value)
        elif code == OPTION_IF_FCSLEN:
            fcs_len = value[0]
        elif code == OPTION_IF_NAME:
            name = value[:NAME_LIMIT].decode("utf-8", "replace")
    return Interface(link_type, snap_len, ticks_per_second, offset_seconds, fcs_len, name)


def options(body: memoryview, codec: Codec) -> Iterator[tuple[int, bytes]]:
    """The options of a block, each a code and a value, up to and with the one that ends them."""
    at = 0
    while at < len(body):
        if len(body) - at < codec.option.size:
            raise Damage("a block's options end inside of one")
        code, length = codec.option.unpack_from(body, at)
        at += codec.option.size
        padded = length + (-length & 3)
        if len(body) - at < padded:
            raise Damage(f"option {code} claims {length} bytes, {len(body) - at} are left in its block")
        yield code, bytes(body[at : at + length])
        if code == OPTION_END:
            return
        at += padded


def resolution(value: int) -> int:
    """Ticks per second by an if_tsresol octet."""
    power = value & ~BINARY_RESOLUTION
    limit = MAX_BINARY_RESOLUTION if value & BINARY_RESOLUTION else MAX_DECIMAL_RESOLUTION
    base = 2 if value & BINARY_RESOLUTION else 10
    if power > limit:
        raise Damage(f"a time resolution of {base}^-{power} seconds; at most {base}^-{limit} can be read")
    return int(base**power)


def resolution_octet(ticks_per_second: int) -> int:
    """The if_tsresol octet for a number of ticks per second, which must be a power of 10 or of 2."""
    for first, limit in ((0, MAX_DECIMAL_RESOLUTION), (BINARY_RESOLUTION, MAX_BINARY_RESOLUTION)):
        for octet in range(first, first + limit + 1):
            if resolution(octet) == ticks_per_second:
                return octet
    raise AssertionError(f"no if_tsresol says {ticks_per_second} ticks per second")


def format_block(kind: int, body: bytes, order: ByteOrder) -> bytes:
    """A block: its body, padded, in its frame."""
    codec = CODECS[order]
    size = BLOCK_OVERHEAD + len(body) + (-len(body) & 3)
    return codec.header.pack(kind, size) + body.ljust(size - BLOCK_OVERHEAD, b"\0") + codec.size.pack(size)


def format_section(order: ByteOrder = "little", version: tuple[int, int] = (1, 0)) -> bytes:
    """A section header that leaves the section's length open."""
    return format_block(SECTION_HEADER, CODECS[order].section.pack(SECTION_MAGIC, *version, -1), order)


def format_option(code: int, value: bytes, codec: Codec) -> bytes:
    """One option, padded."""
    return codec.option.pack(code, len(value)) + value + bytes(-len(value) & 3)


def format_interface(interface: Interface, order: ByteOrder = "little") -> bytes:
    """An interface block, with its time resolution and what else there is to say as options."""
    codec = CODECS[order]
    body = codec.interface.pack(interface.link_type, 0, interface.snap_len)
    told = {
        OPTION_IF_NAME: interface.name.encode(),
        OPTION_IF_TSRESOL: bytes([resolution_octet(interface.ticks_per_second)]),
        OPTION_IF_FCSLEN: b"" if interface.fcs_len is None else bytes([interface.fcs_len]),
        OPTION_IF_TSOFFSET: codec.offset.pack(interface.offset_seconds) if interface.offset_seconds else b"",
    }
    written = [format_option(code, value, codec) for code, value in told.items() if value]
    return format_block(INTERFACE, body + b"".join(written) + codec.option.pack(OPTION_END, 0), order)


def format_packet(
    number: int, ticks: int, data: bytes | memoryview, length: int, order: ByteOrder = "little"
) -> bytes:
    """An enhanced packet block; `ticks` is its interface's time stamp, 64 bits, unsigned."""
    fields = CODECS[order].enhanced.pack(number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), length)
    return format_block(ENHANCED_PACKET, fields + bytes(data), order)
