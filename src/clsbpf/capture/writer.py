"""Writing a capture: it appears under its name when it is complete, and not before.

Packets are gathered in memory and go to a file with a temporary name beside the final one; `commit`
renames it.  The file is open only while it is being written to, so that a capture can be split into
thousands without running out of descriptors; how much may lie in memory until then is one `Budget` for
all of them.

Both formats are written with times in nanoseconds.  pcap is for one link type and times from 1970 to
2106; pcapng keeps each packet's interface and lasts until 2554.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import TracebackType

from ..errors import CaptureError
from .pcap import PcapHeader, format_header, format_record
from .pcapng import format_interface, format_packet, format_section
from .record import NS_PER_SECOND, Interface

BUDGET_BYTES = 32 << 20
CHUNK_BYTES = 64 << 10
"""One capture's packets go to its file when so many bytes are gathered, or the budget is spent."""


@dataclass(slots=True)
class Budget:
    """What all captures that share it may keep in memory."""

    limit: int = BUDGET_BYTES
    spent: int = 0
    waiting: set[PendingFile] = field(default_factory=set)

    def note(self, pending: PendingFile, count: int) -> None:
        """`count` more bytes of `pending` are in memory; all is written out when that is too much."""
        self.waiting.add(pending)
        self.spent += count
        if self.spent > self.limit:
            for each in tuple(self.waiting):
                each.flush()

    def returned(self, pending: PendingFile, count: int) -> None:
        """`pending` has nothing in memory any more."""
        self.waiting.discard(pending)
        self.spent -= count


class PendingFile:
    """A file that has its name only after `commit`.  CaptureError where it cannot be written."""

    def __init__(self, path: str, budget: Budget | None = None) -> None:
        self.path = path
        directory, name = os.path.split(path)
        self._temporary = os.path.join(directory, f".{name}.{os.getpid()}.part")
        self._budget = Budget() if budget is None else budget
        self._chunks: list[bytes] = []
        self._count = 0
        self._flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        if os.path.isdir(path):
            raise CaptureError(f"{path}: cannot be written: it is a directory")
        self._write()

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        self._chunks.append(data)
        self._count += len(data)
        self._budget.note(self, len(data))
        if self._count >= CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write out what is in memory."""
        if self._count:
            self._write()

    def _write(self) -> None:
        data, count = b"".join(self._chunks), self._count
        self._chunks, self._count = [], 0
        self._budget.returned(self, count)
        try:
            descriptor = os.open(self._temporary, self._flags, 0o666)
            self._flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
            finally:
                os.close(descriptor)
        except OSError as error:
            self.discard()
            raise CaptureError(f"{self.path}: cannot be written: {error.strerror}") from None

    def commit(self) -> None:
        """Write out the rest and give the file its name, in place of one that had it before."""
        self.flush()
        try:
            os.replace(self._temporary, self.path)
        except OSError as error:
            self.discard()
            raise CaptureError(f"{self.path}: cannot be written: {error.strerror}") from None

    def discard(self) -> None:
        """Forget the file; what had its name before keeps it."""
        self._budget.returned(self, self._count)
        self._chunks, self._count = [], 0
        with suppress(OSError):
            os.unlink(self._temporary)


class CaptureWriter:
    """What both formats share: a context manager that commits, or after an exception discards."""

    def __init__(self, path: str, budget: Budget | None) -> None:
        self._file = PendingFile(path, budget)
        self.packets = 0

    @property
    def path(self) -> str:
        """The name that the capture will have."""
        return self._file.path

    def commit(self) -> None:
        """The capture is complete: it gets its name."""
        self._file.commit()

    def discard(self) -> None:
        """The capture will not be complete: nothing of it stays."""
        self._file.discard()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()


class PcapWriter(CaptureWriter):
    """A pcap file of packets of one link type."""

    def __init__(self, path: str, interface: Interface, budget: Budget | None = None) -> None:
        super().__init__(path, budget)
        self._header = PcapHeader(replace(interface, ticks_per_second=NS_PER_SECOND, offset_seconds=0))
        self._file.append(format_header(self._header))

    def __enter__(self) -> PcapWriter:
        return self

    def write(self, time_ns: int, data: bytes | memoryview, length: int) -> None:
        """Add a packet: its time, the bytes captured of it, its length on the wire."""
        self._file.append(format_record(self._header, time_ns, data, length))
        self.packets += 1


class PcapngWriter(CaptureWriter):
    """A pcapng file of one section."""

    def __init__(self, path: str, budget: Budget | None = None) -> None:
        super().__init__(path, budget)
        self._numbers: dict[Interface, int] = {}
        self._file.append(format_section())

    def __enter__(self) -> PcapngWriter:
        return self

    def write(self, interface: Interface, time_ns: int, data: bytes | memoryview, length: int) -> None:
        """Add a packet of an interface: its time, the bytes captured of it, its length on the wire."""
        number = self._numbers.get(interface)
        if number is None:
            number = self._numbers[interface] = len(self._numbers)
            nanoseconds = replace(interface, ticks_per_second=NS_PER_SECOND, offset_seconds=0)
            self._file.append(format_interface(nanoseconds))
        self._file.append(format_packet(number, max(time_ns, 0), data, length))
        self.packets += 1
