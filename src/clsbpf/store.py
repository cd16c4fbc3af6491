"""What may be kept on disk between runs?  A `PrivateStore` of byte strings, private to one user.

Compiled code and verdicts are kept, and both lead to machine code that runs in this process: whoever can
write an entry can run code as the user.  So a store belongs to the user alone, and that is checked at
every use, on the open directory (a path may be swapped between a check and its use): it is the user's,
no one else may read or write it, it is not reached through a symbolic link.  What does not fit is left
alone and said once, and the caller does without.

A store is a cache: an entry may be gone at any time.  It is one file, named by the digest of its key,
written to a temporary name and renamed, so that readers see the old one, the new one or none.  It
begins with a digest of key and value: a file that was cut, changed or renamed is as good as absent.  When
the store has grown past its bound, the entries that were not used for longest go, until an eighth of it is
free.  How large it is, a file says by its own length (`_GROWTH`), to which every writer appends: so only
who fills the store looks at all of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

ENVIRONMENT = "CLSBPF_CACHE"
"""Where caches are: a directory, or `off`; without it `clsbpf` in the user's cache directory."""

DEFAULT_LIMIT = 256 << 20
"""Bytes that a store may hold."""

_MAGIC = b"clsbpf store 1\n"
_DIGEST = hashlib.sha256().digest_size
_TEMPORARY = ".new-"
_GROWTH = ".grown"
"""Its length says how large the store may be, in units of `_unit`: more where entries were replaced."""
_ABANDONED = 3600.0
"""Seconds after which a temporary file has lost its writer."""

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_HAS_OWNERS = hasattr(os, "geteuid") and os.open in os.supports_dir_fd

_log = logging.getLogger("clsbpf")
_said: set[str] = set()


class PrivateStore:
    """Byte strings by key, in a directory of the user's; without a directory nothing is kept.

    `limit` bounds the sum of the files' sizes, in bytes.
    """

    def __init__(self, directory: Path | None, *, limit: int = DEFAULT_LIMIT) -> None:
        self.directory = directory if _HAS_OWNERS else None
        self.limit = limit

    def get(self, key: bytes) -> bytes | None:
        """The value put last under this key, or None: never put, dropped, or not as it was written."""
        with self._open(create=False) as directory:
            if directory is None:
                return None
            content = _read(directory, _name(key), self.limit)
        value = content[len(_MAGIC) + _DIGEST :]
        return value if content == _entry(key, value) else None

    def put(self, key: bytes, value: bytes) -> None:
        """Keep a value; one that cannot be kept is said once and not kept."""
        content = _entry(key, value)
        if len(content) > self.limit:
            return
        with self._open(create=True) as directory:
            if directory is None:
                return
            name = f"{_TEMPORARY}{secrets.token_hex(8)}"
            try:
                _write(directory, name, content)
                os.replace(name, _name(key), src_dir_fd=directory, dst_dir_fd=directory)
            except OSError as error:
                self._say(f"cannot be written: {error.strerror}")
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=directory)
                return
            if not _fits(directory, len(content), self.limit):
                _sweep(directory, self.limit)

    @contextlib.contextmanager
    def _open(self, *, create: bool) -> Iterator[int | None]:
        """The directory, checked, as a descriptor; None where there is none to use."""
        if self.directory is None:
            yield None
            return
        try:
            if create:
                os.makedirs(self.directory.parent, mode=0o700, exist_ok=True)
                with contextlib.suppress(FileExistsError):
                    os.mkdir(self.directory, 0o700)
            directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            if create or not isinstance(error, FileNotFoundError):
                self._say(f"cannot be opened: {error.strerror}")
            yield None
            return
        try:
            found = os.fstat(directory)
            if found.st_uid != os.geteuid():
                self._say(f"belongs to user {found.st_uid}, not to {os.geteuid()}")
                yield None
            elif not _is_private(found):
                self._say(f"has mode {stat.S_IMODE(found.st_mode):04o}: others may use it; 0700 is needed")
                yield None
            else:
                yield directory
        finally:
            os.close(directory)

    def _say(self, problem: str) -> None:
        message = f"{self.directory}: {problem}; nothing is cached"
        if message not in _said:
            _said.add(message)
            _log.warning("%s", message)


def default_store(kind: str, *, limit: int = DEFAULT_LIMIT) -> PrivateStore:
    """The user's store for one kind of thing: under CLSBPF_CACHE, $XDG_CACHE_HOME/clsbpf or ~/.cache/clsbpf.

    CLSBPF_CACHE=off, and a user without a home, keep nothing.
    """
    chosen = os.environ.get(ENVIRONMENT, "")
    if chosen == "off":
        return PrivateStore(None)
    if chosen:
        return PrivateStore(Path(chosen).absolute() / kind, limit=limit)
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():  # the XDG specification: a relative path is to be ignored
        try:
            base = Path.home() / ".cache"
        except RuntimeError:
            return PrivateStore(None)
    return PrivateStore(base / "clsbpf" / kind, limit=limit)


def _name(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()


def _entry(key: bytes, value: bytes) -> bytes:
    digest = hashlib.sha256(len(key).to_bytes(8, "little") + key + value).digest()
    return _MAGIC + digest + value


def _is_private(found: os.stat_result) -> bool:
    return found.st_uid == os.geteuid() and not found.st_mode & _OTHERS


def _read(directory: int, name: str, limit: int) -> bytes:
    """A file's content, which counts as used now; empty if it is not ours, not a file, or not there."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError:
        return b""
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or not _is_private(found) or found.st_size > limit:
            return b""
        with open(file, "rb", closefd=False) as entry:
            content = entry.read()
        os.utime(file)
        return content
    except OSError:
        return b""
    finally:
        os.close(file)


def _write(directory: int, name: str, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with open(os.open(name, flags, 0o600, dir_fd=directory), "wb") as file:
        file.write(content)


def _unit(limit: int) -> int:
    """Bytes that a byte of the growth file stands for: the file stays small."""
    return max(limit >> 16, 1)


def _fits(directory: int, size: int, limit: int) -> bool:
    """Note that an entry of this size was written; is the store within its bound, as far as is known?"""
    try:
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW
        file = os.open(_GROWTH, flags, dir_fd=directory)
    except OSError:
        return False
    try:
        os.write(file, bytes(-(-size // _unit(limit))))
        return os.fstat(file).st_size * _unit(limit) <= limit
    except OSError:
        return False
    finally:
        os.close(file)


def _note_size(directory: int, size: int, limit: int) -> None:
    """The store is so large; without the note the next writer looks again."""
    with contextlib.suppress(OSError):
        file = os.open(_GROWTH, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=directory)
        try:
            os.ftruncate(file, -(-size // _unit(limit)))
        finally:
            os.close(file)


def _sweep(directory: int, limit: int) -> None:
    """Remove what was not used for longest where it is too much, and what writers left behind."""
    kept: list[tuple[float, int, str]] = []
    now = time.time()
    for name in os.listdir(directory):
        try:
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if name.startswith(_TEMPORARY):
                if now - found.st_mtime > _ABANDONED:
                    os.unlink(name, dir_fd=directory)
                continue
        except OSError:  # another process was faster
            continue
        if name != _GROWTH:
            kept.append((found.st_mtime, found.st_size, name))
    total = sum(size for _, size, _ in kept)
    wanted = total if total <= limit else limit - limit // 8
    for _, size, name in sorted(kept):
        if total <= wanted:
            break
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=directory)
        total -= size
    _note_size(directory, total, limit)
