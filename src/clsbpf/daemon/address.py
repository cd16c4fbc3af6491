"""Where is the daemon's socket, and whose must it be?

The socket leads to native code, so it is one user's alone: mode 0600, in a directory that nobody else can
change.  Both sides look: the daemon before it makes the socket and at each connection (SO_PEERCRED), the
client before it connects and afterwards at who answered.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import ClsbpfError

ENVIRONMENT = "CLSBPF_SOCKET"
"""The variable that names the socket, for the daemon and for its clients."""

_UCRED = struct.Struct("=iII")
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
SUN_PATH_BYTES = 107
"""What sockaddr_un has room for, without the NUL."""


def socket_path(given: str | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """The socket: as given, as CLSBPF_SOCKET says, or the user's own default."""
    environ = os.environ if environ is None else environ
    chosen = given or environ.get(ENVIRONMENT)
    if chosen:
        return Path(chosen)
    runtime = environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "clsbpf.sock"
    return Path(f"/tmp/clsbpf-{os.geteuid()}") / "clsbpf.sock"


def check_length(path: Path) -> None:
    """ClsbpfError when a socket's name cannot be so long."""
    size = len(os.fsencode(path))
    if size > SUN_PATH_BYTES:
        raise ClsbpfError(f"{path}: a socket's path has at most {SUN_PATH_BYTES} bytes, this one {size}")


def prepare_directory(path: Path) -> None:
    """The socket's directory, made (0700) if need be; ClsbpfError where others could replace the socket."""
    directory = path.parent
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = os.lstat(directory)
        if stat.S_ISLNK(found.st_mode) and found.st_uid in (os.geteuid(), 0):
            found = directory.stat()  # /var/run, say; a link of anybody else's may lead anywhere
    except OSError as error:
        raise ClsbpfError(f"{directory}: no place for a socket: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise ClsbpfError(f"{directory}: no directory for a socket")
    _check_directory(directory, found)


def _check_directory(directory: Path, found: os.stat_result) -> None:
    sticky = bool(found.st_mode & stat.S_ISVTX)
    if found.st_uid not in (os.geteuid(), 0):
        raise ClsbpfError(f"{directory}: belongs to user {found.st_uid}, not to you: no place for a socket")
    if found.st_mode & _OTHERS_WRITE and not sticky:
        raise ClsbpfError(f"{directory}: others may write there: no place for a socket (chmod go-w)")


def check_socket(path: Path) -> None:
    """ClsbpfError unless the socket is the user's, and nobody else may use it; OSError if it is not there."""
    found = os.lstat(path)
    if not stat.S_ISSOCK(found.st_mode):
        raise ClsbpfError(f"{path}: not a socket")
    if found.st_uid != os.geteuid():
        raise ClsbpfError(f"{path}: belongs to user {found.st_uid}, not to you (user {os.geteuid()})")
    if found.st_mode & 0o077:
        raise ClsbpfError(f"{path}: its mode is {stat.S_IMODE(found.st_mode):04o}; only 0600 is taken")


@dataclass(frozen=True, slots=True)
class Peer:
    """struct ucred: the process at the other end, as it was when it connected or began to listen."""

    pid: int
    uid: int


def peer_of(connection: socket.socket) -> Peer:
    """SO_PEERCRED."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, _ = _UCRED.unpack(raw)
    return Peer(pid, uid)
