"""Captures that tests make, and a source that shows them in as small pieces as a test likes."""

from __future__ import annotations

from collections.abc import Iterator

from clsbpf.capture import Capture, Record, Window
from clsbpf.capture.pcap import PcapHeader, format_header, format_record
from clsbpf.errors import CaptureError


class BytesSource:
    """`capture.source.Source` over bytes: each window has what was needed, rounded up to whole `step`s."""

    def __init__(self, data: bytes, step: int, name: str = "test.pcap") -> None:
        self.name = name
        self.size = len(data)
        self.data, self.step, self.offset, self.need = data, step, 0, 1

    def windows(self) -> Iterator[Window]:
        while True:
            end = self.offset + self.need
            end = min(end + -end % self.step, len(self.data))
            view = memoryview(self.data)[self.offset : end]
            final = end == len(self.data)
            yield Window(view, 0, len(view), self.offset, final)
            if final and end - self.offset < self.need:
                return

    def advance(self, done: int, need: int) -> None:
        assert need > 0
        self.offset += done
        self.need = need

    def close(self) -> None:
        pass


def read(data: bytes, step: int = 1 << 20) -> tuple[list[tuple[Record, bytes]], str | None]:
    """All packets of a capture, and the message of the error that ended it."""
    packets: list[tuple[Record, bytes]] = []
    try:
        capture = Capture(BytesSource(data, step))
        for record, view in capture:
            packets.append((record, bytes(view)))
    except CaptureError as error:
        failure = error
    else:
        return packets, None
    assert failure.packets == len(packets)
    return packets, str(failure)


PACKETS: list[tuple[int, bytes, int]] = [
    (1_700_000_000_123_456_789, b"\x01" * 60, 60),
    (1_700_000_000_999_999_999, bytes(range(256)) * 4, 1514),
    (0, b"", 0),
    (4_294_967_295_000_000_001, b"\xff", 70000),
]
"""Time, bytes, length on the wire."""


def pcap(header: PcapHeader, packets: list[tuple[int, bytes, int]]) -> bytes:
    """A pcap file."""
    return format_header(header) + b"".join(format_record(header, *packet) for packet in packets)


def in_resolution(time_ns: int, ticks_per_second: int) -> int:
    """A time as it survives a resolution."""
    tick = 1_000_000_000 // ticks_per_second
    return time_ns // tick * tick
