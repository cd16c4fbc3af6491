"""A place for a daemon: a socket that listens, and a lock that says whose it is.

One daemon listens on a path.  A lock beside the socket (flock, which no dead process holds) tells a daemon
that lives from a socket that one left behind.  Nothing heavy is imported here: whoever connects while the
engine is still being made waits in the backlog.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from ..errors import ClsbpfError
from .address import check_length, prepare_directory

_BACKLOG = 64


@contextlib.contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold `path` as the only process that does; ClsbpfError when another one has it, with its id."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.read(descriptor, 32).decode("ascii", "replace").strip()
            raise ClsbpfError(
                f"{what}: a daemon has it already" + (f" (process {who})" * bool(who))
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def lock_path(path: Path) -> Path:
    """The lock beside a socket."""
    return path.with_name(path.name + ".lock")


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A listening socket at `path`, mode 0600, while the body runs; ClsbpfError says why there is none."""
    check_length(path)
    prepare_directory(path)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(lock_path(path), str(path)))
            listener = stack.enter_context(_bound(path))
        except OSError as error:
            raise ClsbpfError(f"{path}: no socket can be made there: {error.strerror}") from None
        yield listener


@contextlib.contextmanager
def _bound(path: Path) -> Iterator[socket.socket]:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ClsbpfError(f"{path}: there is something else than a socket")
        path.unlink()  # its daemon is dead: we have the lock
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        made = os.lstat(path)
        try:
            listener.listen(_BACKLOG)
            listener.setblocking(False)
            yield listener
        finally:
            with contextlib.suppress(OSError):
                here = os.lstat(path)
                if (here.st_dev, here.st_ino) == (made.st_dev, made.st_ino):
                    path.unlink()
