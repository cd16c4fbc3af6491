"""A file's pages as windows of memory, for as long as nobody can pull them away.

Reading a mapped page that the file no longer has kills the process (SIGBUS), so a file may be mapped
only while it cannot shrink.  Linux can promise that: a *read lease* (fcntl F_SETLEASE, F_RDLCK) is given
only while nobody has the file open for writing, and whoever wants to open it so, or to truncate it, then
waits until the lease is given back, for /proc/sys/fs/lease-break-time (45 seconds).  The holder is told
by a signal, here SIGURG, which does nothing by default, and asks between windows whether the lease still
stands.  Where it does not, or none was given (another's file, NFS, another system, a capture that is
still being written), the file is read through a buffer instead (`source.py`).

What remains: a process that is stopped for longer than the lease-break time while another truncates the
file, and a disk that fails.  A buffer has neither problem.
"""

from __future__ import annotations

import ctypes
import mmap
import signal
from contextlib import suppress

try:
    import fcntl
except ImportError:  # not a Unix
    fcntl = None  # type: ignore[assignment]

WINDOW_BYTES = 32 << 20


class LeaseBroken(Exception):
    """Somebody wants to write to the file: it must not be mapped any longer."""


def take_lease(descriptor: int) -> bool:
    """Take a read lease on an open file; False where it cannot be had."""
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError:
        return False
    return True


class MappedFile:
    """A file of `size` bytes under a read lease (`take_lease`), one window of it mapped at a time."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size
        self._map: mmap.mmap | None = None
        self._view: memoryview | None = None

    def window(self, offset: int, need: int) -> tuple[memoryview, int, bool]:
        """The view from `offset`, its address, and if it reaches the end; else it has at least `need` bytes.

        It lets go of the window before.  LeaseBroken when the lease is called back, which then has been
        given up.
        """
        self._unmap()
        if fcntl.fcntl(self._descriptor, fcntl.F_GETLEASE) != fcntl.F_RDLCK:
            self.close()
            raise LeaseBroken
        if offset >= self._size:
            return memoryview(b""), 0, True
        start = offset - offset % mmap.ALLOCATIONGRANULARITY
        length = min(max(WINDOW_BYTES, offset - start + need), self._size - start)
        # Private and writable, which lets ctypes tell the address; nothing here writes to it.  Not
        # populated ahead (MADV_POPULATE_READ): measured, that takes half as long again as the faults.
        self._map = mmap.mmap(self._descriptor, length, access=mmap.ACCESS_COPY, offset=start)
        self._map.madvise(mmap.MADV_SEQUENTIAL)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self._view = memoryview(self._map)[offset - start :]
        return self._view, address + offset - start, start + length == self._size

    def close(self) -> None:
        """Let go of the window, then of the lease."""
        self._unmap()
        with suppress(OSError):
            fcntl.fcntl(self._descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)

    def _unmap(self) -> None:
        if self._view is not None:
            self._view.release()
        if self._map is not None:
            # Who kept a slice of the window keeps it mapped, and is on their own.
            with suppress(BufferError):
                self._map.close()
        self._view = self._map = None
