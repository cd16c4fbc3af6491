"""May a file be mapped, so that native code looks at its pages where they are?

Whoever reads a mapped page that the file no longer has is killed (SIGBUS), so a file may be mapped only
while it cannot shrink.  Linux can promise that: a *read lease* (fcntl(2), F_SETLEASE with F_RDLCK) is given
only while nobody has the file open for writing, and whoever then wants to open it so, or to truncate it,
waits until the lease is given back (for /proc/sys/fs/lease-break-time at most, 45 seconds).  The holder is
told by a signal, here SIGURG, which does nothing by default, and asks between two stretches of the file
if the lease still stands.

None is given for another user's file, over NFS, on another system, or while somebody writes the file.  What
remains with a lease is a process that is stopped for longer than that time while another truncates the
file, and a disk that fails under pages which were thrown out of memory.
"""

from __future__ import annotations

import signal
from contextlib import suppress

try:
    import fcntl
except ImportError:  # not a Unix
    fcntl = None  # type: ignore[assignment]


class ReadLease:
    """A read lease on an open file, taken when it is first asked for, if it can be had."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._taken: bool | None = None

    @property
    def stands(self) -> bool:
        """May the file be mapped now?  A lease that is called back is given up here."""
        if self._taken is None:
            self._taken = self._take()
        elif self._taken and fcntl.fcntl(self._descriptor, fcntl.F_GETLEASE) != fcntl.F_RDLCK:
            self.give_back()
        return self._taken

    def _take(self) -> bool:
        if not hasattr(fcntl, "F_SETLEASE"):
            return False
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(self._descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError:
            return False
        return True

    def give_back(self) -> None:
        """Let others write to the file."""
        if self._taken:
            with suppress(OSError):
                fcntl.fcntl(self._descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        self._taken = False
