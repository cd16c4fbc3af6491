"""Where a capture's bytes come from: windows of memory that move along a file or a stream.

A consumer (a reader in Python, or native code that gets the address) looks at one window, says how many
bytes it is done with and how many it has to see to get on, and gets the next window, which begins where
it stopped:

    ├────────── window ──────────┤
    ├─ done with ──┤             │
                   ├─────────── next window ────────────┤      at least `need` bytes, unless `final`

So memory stays bounded by the window, however large the capture, and a record never lies across two.

A regular file is read into one buffer again and again, of a size that stays in the processor's cache:
measured, that is as fast as `cat`, and the walk over the records then finds them in the cache.  (Native
code that only counts does without windows, and may map the file where that is faster: engine/file_ways.py.)
A stream (a pipe, a terminal, a gzip file) goes through the same buffer as it comes, without waiting for
it to fill.
"""

from __future__ import annotations

import ctypes
import io
import mmap
import os
import select
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from ..errors import CaptureError
from .gzip import GZIP_MAGIC, GzipFeed
from .record import SLACK

BUFFER_BYTES = 512 << 10
"""Half of a usual second-level cache.  Smaller: more calls; larger: the walk misses the cache."""
STDIN = "-"
STDIN_NAME = "standard input"


@dataclass(frozen=True, slots=True)
class Window:
    """`length` bytes of a capture, `offset` bytes from its beginning, in memory at `address`.

    `view` is the same bytes for Python.  Both are good until the next window is asked for; what is read
    into a buffer has `SLACK` behind it.  `final` says that nothing follows.
    """

    view: memoryview
    address: int
    length: int
    offset: int
    final: bool


class Feed(Protocol):
    """What fills the buffer."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Put at least one byte into `buffer`, return how many; 0 at the end.  CaptureError otherwise."""


class FileFeed:
    """An unbuffered file, pipe or terminal."""

    def __init__(self, raw: io.FileIO, name: str) -> None:
        self._raw = raw
        self._name = name

    def readinto(self, buffer: memoryview, /) -> int:
        """read(2), waiting where a non-blocking descriptor has nothing yet."""
        try:
            while (count := self._raw.readinto(buffer)) is None:
                select.select([self._raw], [], [])
        except OSError as error:
            raise CaptureError(f"{self._name}: cannot be read: {error.strerror}") from None
        return count


class Buffer:
    """Memory that grows by moving.  What is there lies between `start` and `end` of `view`, at `address`."""

    def __init__(self, capacity: int) -> None:
        self.start = self.end = 0
        self._usual = capacity
        self._allocate(capacity)

    def _allocate(self, capacity: int) -> None:
        memory = mmap.mmap(-1, capacity + SLACK)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self.view = memoryview(memory)[:capacity]

    @property
    def count(self) -> int:
        """Bytes that are there."""
        return self.end - self.start

    def room(self, need: int) -> memoryview:
        """Memory to fill behind what is there, which moves to the front; enough that `need` bytes fit.

        After one large record has made it grow, no more than usual of it is filled: the rest of the
        capture is to stay in the cache.
        """
        old, start, count = self.view, self.start, self.count
        if need > len(old):
            self._allocate(max(need, 2 * len(old)))
        if start or self.view is not old:
            self.view[:count] = old[start : self.end]
        self.start, self.end = 0, count
        return self.view[count : max(need, count + self._usual)]


class Source:
    """The windows of one capture, in order.  Made by `open_source`; a context manager.

    `name` is what messages call it.  `size` is a regular file's when it was opened, else None; for a
    compressed one it is that of the file, not of the capture.
    """

    def __init__(self, raw: io.FileIO, name: str, *, buffer_bytes: int = BUFFER_BYTES) -> None:
        self.name = name
        self._raw = raw
        self._offset = 0
        self._need = 1
        self._buffer = Buffer(buffer_bytes)
        self._feed: Feed = FileFeed(raw, name)
        self._at_end = False
        self._failure: CaptureError | None = None
        self.size = regular_size(raw)
        self.is_compressed = False
        if self._starts_with(GZIP_MAGIC):
            self.is_compressed = True
            self._feed = GzipFeed(self._feed, bytes(self._buffer.view[: self._buffer.end]), name)
            self._buffer.end = 0
            self._at_end = False

    @property
    def position(self) -> int:
        """How far into the file reading has come, in bytes of the file: what is `size` at its end."""
        return self._raw.tell() if self.size is not None else self._offset

    @property
    def offset(self) -> int:
        """Where the next window begins, in bytes of the capture."""
        return self._offset

    @property
    def need(self) -> int:
        """How many bytes of the next window must be seen to get on."""
        return self._need

    def seek(self, offset: int) -> None:
        """Go on elsewhere in a plain file."""
        assert self.size is not None
        assert not self.is_compressed
        self._offset, self._need, self._at_end, self._failure = offset, 1, False, None
        self._buffer.start = self._buffer.end = 0
        self._raw.seek(offset)

    def fileno(self) -> int:
        """The descriptor."""
        return self._raw.fileno()

    def windows(self) -> Iterator[Window]:
        """The windows, until the final one has been shown and what is left of it does not help.

        `advance` must be called before the next is asked for.  A consumer may stop early; another call
        goes on where it stopped.
        """
        while True:
            window = self.next_window()
            yield window
            if window.final and window.offset + window.length - self._offset < self._need:
                return

    def advance(self, done: int, need: int) -> None:
        """Be done with `done` bytes of the window; to get on, `need` bytes after them must be seen."""
        assert done >= 0
        assert need > 0
        assert done <= self._buffer.count
        self._buffer.start += done
        self._offset += done
        self._need = need

    def next_window(self) -> Window:
        """The window at the present place.

        CaptureError where the capture cannot be read on: it shrank, the disk failed, it does not unpack.
        Whatever came before has then been in a window.
        """
        buffer = self._buffer
        self._fill(self._need)
        start, end = buffer.start, buffer.end
        return Window(buffer.view[start:end], buffer.address + start, end - start, self._offset, self._at_end)

    def _fill(self, need: int) -> None:
        """Read until `need` bytes are there, or no more can be had."""
        buffer = self._buffer
        before = buffer.count
        while buffer.count < need and not self._at_end:
            try:
                self._read(need)
            except CaptureError as failure:
                self._failure = failure
            if self._failure is not None:
                if buffer.count > before:
                    return
                raise self._failure

    def _read(self, need: int) -> None:
        if self._failure is not None:
            return
        count = self._feed.readinto(self._buffer.room(need))
        self._buffer.end += count
        if count:
            return
        end = self._offset + self._buffer.count
        if self.size is not None and not self.is_compressed and end < self.size:
            raise CaptureError(
                f"{self.name}: shrank while it was read, from {self.size} bytes to {end} or fewer"
            )
        self._at_end = True

    def _starts_with(self, magic: bytes) -> bool:
        self._fill(len(magic))
        return bytes(self._buffer.view[: min(len(magic), self._buffer.end)]) == magic

    def close(self) -> None:
        """Let go of the file."""
        self._raw.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def regular_size(raw: io.FileIO) -> int | None:
    """The size of a regular file that is read from its beginning; None for anything else."""
    status = os.fstat(raw.fileno())
    if not stat.S_ISREG(status.st_mode) or raw.tell():
        return None
    return status.st_size


def open_source(path: str) -> Source:
    """Open a capture: a file, a named pipe, or "-" for standard input.

    CaptureError where the file cannot be opened or its beginning not be read.
    """
    name = STDIN_NAME if path == STDIN else path
    try:
        raw = io.FileIO(0, closefd=False) if path == STDIN else io.FileIO(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise CaptureError(f"{name}: cannot be opened: {reason}") from None
    try:
        return Source(raw, name)
    except BaseException:
        raw.close()
        raise
