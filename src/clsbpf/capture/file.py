"""A capture as a whole: which format it is, what it was taken on, and its packets one by one.

`Capture` joins a source of bytes with the reader of their format.  Iterating over it is the plain way
to the packets.  Native code takes the other: it walks `capture.windows()` itself, by the values
that `capture.reader` holds, and hands back to the reader every block that it does not want to judge.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

from ..errors import CaptureError
from .pcap import HEADER_BYTES, PcapReader, magic_of, parse_header
from .pcapng import SECTION_KNOWN, SECTION_START, PcapngReader, section_byte_order
from .record import Interface, Record
from .source import Source, Window, open_source

FOREIGN_FORMATS = {
    b"\xfd7zXZ\0": "an xz file: unpack it first",
    b"\x28\xb5\x2f\xfd": "a zstd file: unpack it first",
    b"BZh": "a bzip2 file: unpack it first",
    b"\x04\x22\x4d\x18": "an lz4 file: unpack it first",
    b"PK\x03\x04": "a zip file: unpack it first",
    b"snoop\0\0\0": "a snoop capture: convert it to pcap first",
    b"\xa1\xb2\x34\xcd": "a pcap file of a format that was never published (magic a1b234cd)",
    b"\xcd\x34\xb2\xa1": "a pcap file of a format that was never published (magic a1b234cd)",
    b"\xa1\x2b\x3c\x4d": "a pcap file in Navtel's format (magic a12b3c4d)",
    b"\x4d\x3c\x2b\xa1": "a pcap file in Navtel's format (magic a12b3c4d)",
}
"""What people take for a capture, by how it begins."""


class Capture:
    """A capture that is open; a context manager.

    Iterating gives each `Record` with its bytes, which are good until the next one is asked for, and
    ends with the `CaptureError` that a damaged capture deserves, after the packets before the damage.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.reader = identify(source)

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.source.name

    @property
    def format(self) -> str:
        """ "pcap" or "pcapng"."""
        return self.reader.format

    @property
    def interfaces(self) -> list[Interface]:
        """What it was taken on, as far as is known yet: a pcapng capture may tell of more as it goes on."""
        return self.reader.interfaces

    def __iter__(self) -> Iterator[tuple[Record, memoryview]]:
        for window in self.windows():
            yield from self.records(window)

    def windows(self) -> Iterator[Window]:
        """The source's windows; a failure of the source tells how many packets came before it."""
        try:
            yield from self.source.windows()
        except CaptureError as failure:
            failure.packets = self.reader.packets
            raise

    def records(self, window: Window) -> Iterator[tuple[Record, memoryview]]:
        """The packets that are wholly in a window; then the source is told what was taken.

        CaptureError at damage, or where the capture ends inside a record.
        """
        take, view, base, length = self.reader.take, window.view, window.offset, window.length
        at = 0
        while True:
            size, record = take(view, at, base + at)
            if size > length - at:
                break
            at += size
            if record is not None:
                start = record.offset - base
                yield record, view[start : start + record.captured]
        if window.final:
            self.reader.finish(length - at, size, base + at)
        self.source.advance(at, size)

    def close(self) -> None:
        """Let go of the file."""
        self.source.close()

    def __enter__(self) -> Capture:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def identify(source: Source) -> PcapReader | PcapngReader:
    """The reader of the source's format, which is past the file header; CaptureError where there is none."""
    window = next(source.windows())
    start = bytes(window.view[:HEADER_BYTES])
    if len(start) < HEADER_BYTES and not window.final:
        source.advance(0, HEADER_BYTES)
        return identify(source)
    name = source.name
    if not start:
        raise CaptureError(f"{name}: empty: not even a file header")
    if magic_of(start):
        header = parse_header(start, name)
        source.advance(HEADER_BYTES, 1)
        return PcapReader(header, name)
    # A capture cut within its first 12 bytes can still be told by its first 4.
    if section_byte_order(start) or (len(start) < SECTION_KNOWN and start[:4] == SECTION_START):
        source.advance(0, 1)
        return PcapngReader(name)
    for magic, what in FOREIGN_FORMATS.items():
        if start.startswith(magic):
            raise CaptureError(f"{name}: {what}")
    raise CaptureError(f"{name}: not a pcap or pcapng capture: it starts with {start[:8].hex(' ')}")


def open_capture(path: str) -> Capture:
    """Open a capture by its path, "-" for standard input.

    CaptureError where it cannot be opened, or is no capture that can be read.
    """
    source = open_source(path)
    try:
        return Capture(source)
    except BaseException:
        source.close()
        raise
