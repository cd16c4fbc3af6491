"""Contents of maps, kept: what changes a map is in its log before it is acknowledged.

    maps/ID.N.image   a map's state at one moment (`vm.maps.image`); N counts the map's images
    maps/ID.N.log     what was done since then, in its order: records of `_RECORD`, key and value

Without an image the log begins with the empty map.  A log that has grown gives way to a new image: it is
taken under the network's lock, which costs a copy of the memory that the map uses; what comes after it goes
to the next log, and the image is written while the daemon goes on.  When it is whole on the disk, the older
files go.  What is done again on an image has the outcome that it had, for an image has all that decides it.

Maps of programs and maps are not kept here: what they hold is made again by its name (`objects`).
"""

from __future__ import annotations

import errno
import itertools
import mmap
import os
import re
import struct
import weakref
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ClsbpfError, MapError
from ..vm.link import LinkedProgram
from ..vm.maps.image import Image
from ..vm.maps.map import Map
from .wire import Bpf

DIRECTORY = "maps"
LOG_RECORDS = 50_000
"""So many records may be in a log in any case: to do one again takes some 20 µs."""
BYTES_A_RECORD = 1024
"""One more for so many bytes of the image, which would have to be written again."""
OPEN_LOGS = 64
_RECORD = struct.Struct("=IIIIQ")
"""CRC-32 of all that follows, command, bytes of the key and of the value, flags."""
_CRC = 4
_NAME = re.compile(r"(\d+)\.(\d+)\.(image|log)\Z")


@dataclass(frozen=True, slots=True)
class Change:
    """What a command did to a map."""

    command: Bpf
    key: bytes | None = None
    value: bytes = b""
    flags: int = 0
    held: LinkedProgram | Map | None = None
    """What a slot now holds, in a map of programs or maps."""

    def encode(self) -> bytes:
        """As a record of a log."""
        key = self.key or b""
        body = _RECORD.pack(0, self.command, len(key), len(self.value), self.flags)[_CRC:] + key + self.value
        return struct.pack("=I", zlib.crc32(body)) + body

    def repeat(self, map: Map) -> None:
        """Do it again; MapError."""
        match self.command:
            case Bpf.MAP_UPDATE_ELEM:
                map.update(self.key, self.value, self.flags)
            case Bpf.MAP_DELETE_ELEM:
                map.delete(self.key or b"")
            case Bpf.MAP_LOOKUP_AND_DELETE_ELEM:
                map.lookup_and_delete(self.key, self.flags)
            case Bpf.MAP_FREEZE:
                map.freeze()
            case _:
                raise MapError(errno.EINVAL, f"command {self.command} changes no map")


def read_log(raw: bytes) -> Iterator[tuple[Change, int]]:
    """The changes, each with where its record ends; the first record that is not whole ends it."""
    at = 0
    while at + _RECORD.size <= len(raw):
        crc, command, key_size, value_size, flags = _RECORD.unpack_from(raw, at)
        key_at = at + _RECORD.size
        value_at = key_at + key_size
        end = value_at + value_size
        if end > len(raw) or zlib.crc32(raw[at + _CRC : end]) != crc or command not in list(Bpf):
            return
        yield Change(Bpf(command), raw[key_at:value_at] or None, raw[value_at:end], flags), end
        at = end


@dataclass(slots=True, eq=False)
class _Kept:
    """A map, which lives as long as others hold it, and its files."""

    id: int
    map: weakref.ref[Map]
    number: int = 0
    """Of the image that is there, or is being written, and of its log."""
    records: int = 0
    """In the log, and in those before it whose image is not whole yet."""
    image_bytes: int = 0
    torn: bool = False
    """Could a record not be written?  Then there must be a new image."""
    unsynced: set[int] = field(default_factory=set)
    """Numbers of logs that may not be on the disk yet."""

    @property
    def is_due(self) -> bool:
        """Has the log more to say than an image would cost?"""
        return self.records > max(LOG_RECORDS, self.image_bytes // BYTES_A_RECORD)


Record = tuple[_Kept, int, bytes]
"""A map, the number of its log, and what goes there."""
Taken = tuple[_Kept, int, Image]


class MapFiles:
    """The maps' files in one directory.

    `note`, `drain`, `want` and `take_due` are called under the network's lock, `write` under none, the others
    by one writer at a time.
    """

    def __init__(self, state: Path, there: Iterable[Map] = ()) -> None:
        """In a state's directory.  `there`: maps that have a past already."""
        self._directory = state / DIRECTORY
        self._kept: dict[int, _Kept] = {}
        self._changed: weakref.WeakSet[Map] = weakref.WeakSet(there)
        """Maps that are not kept, and no longer as they were made."""
        self._pending: list[Record] = []
        self._open: dict[tuple[int, int], int] = {}
        """Descriptors of logs, by map and number, the one used longest ago first."""
        self._untidy = True
        self._named = False
        """Is there a log whose name may not be on the disk?"""

    # what is done

    def note(self, map: Map, change: Change) -> bool:
        """A change: will it go to a log?"""
        kept = self._kept.get(map.id)
        if kept is None:
            self._changed.add(map)
            return False
        self._pending.append((kept, kept.number, change.encode()))
        kept.records += 1
        return True

    def drain(self) -> list[Record]:
        """What is to be appended."""
        pending, self._pending = self._pending, []
        return pending

    def want(self, maps: Iterable[Map]) -> list[Taken]:
        """From now on these are kept, and no others: the images that must be written for it."""
        before, self._kept = self._kept, {}
        taken = []
        for map in maps:
            kept = before.pop(map.id) if map.id in before else _Kept(map.id, weakref.ref(map))
            self._kept[map.id] = kept
            if kept.torn or map in self._changed:
                taken.append(_next_image(kept, map))
            self._changed.discard(map)
        self._changed.update(filter(None, (kept.map() for kept in before.values())))
        self._untidy = self._untidy or bool(before or taken)
        return taken

    def take_due(self) -> Taken | None:
        """An image of a map whose log is long, if there is one."""
        for kept in self._kept.values():
            map = kept.map() if kept.is_due else None
            if map is not None:
                return _next_image(kept, map)
        return None

    # writing

    def append(self, records: list[Record]) -> None:
        """Into the logs, in order; OSError, and then those maps need an image."""
        for (kept, number), group in itertools.groupby(records, key=lambda each: each[:2]):
            data = b"".join(record for _, _, record in group)
            try:
                kept.unsynced.add(number)
                if os.write(self._log(kept.id, number), data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                for each, _, _ in records:
                    each.torn = True
                raise

    def _log(self, id: int, number: int) -> int:
        descriptor = self._open.pop((id, number), None)
        if descriptor is None:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            descriptor = os.open(self._path(id, number, "log"), flags, 0o600)
            self._named = True
            if len(self._open) >= OPEN_LOGS:
                os.close(self._open.pop(next(iter(self._open))))
        self._open[id, number] = descriptor
        return descriptor

    def _path(self, id: int, number: int, what: str) -> Path:
        return self._directory / f"{id}.{number}.{what}"

    def failed(self, taken: Iterable[Taken]) -> None:
        """These were not written: there must be others."""
        for kept, _, _ in taken:
            kept.torn = True

    def write(self, taken: Taken) -> None:
        """An image, as far as the disk, but not under its name yet (`place`); OSError."""
        kept, number, image = taken
        self._directory.mkdir(mode=0o700, exist_ok=True)
        path = self._path(kept.id, number, "new")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            image.write(descriptor)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def place(self, written: Sequence[Taken]) -> None:
        """Images get their names; OSError."""
        for kept, number, _ in written:
            path = self._path(kept.id, number, "new")
            if self._kept.get(kept.id) is kept:
                os.replace(path, path.with_suffix(".image"))
            else:
                path.unlink()  # the map has gone meanwhile
        if written:
            self._untidy = True
            sync_directory(self._directory)

    def tidy(self) -> None:
        """Files that nothing needs any more go: of other maps, and from before the images that are there."""
        if not self._untidy:
            return
        newest = self._newest_images()
        for path, id, number in self._files():
            kept = self._kept.get(id)
            if kept is None or number < newest.get(id, 0):
                path.unlink(missing_ok=True)
                descriptor = self._open.pop((id, number), None)
                if descriptor is not None:
                    os.close(descriptor)
                if kept is not None:
                    kept.unsynced.discard(number)
        self._untidy = False

    def _newest_images(self) -> dict[int, int]:
        newest: dict[int, int] = {}
        for path, id, number in self._files():
            if path.suffix == ".image":
                newest[id] = max(newest.get(id, 0), number)
        return newest

    def _files(self) -> Iterator[tuple[Path, int, int]]:
        for path in sorted(self._directory.glob("*")):
            found = _NAME.match(path.name)
            if found is not None:
                yield path, int(found[1]), int(found[2])

    def sync(self) -> None:
        """Let what is in the logs survive the machine; OSError."""
        for kept in tuple(self._kept.values()):
            while kept.unsynced:
                os.fdatasync(self._log(kept.id, kept.unsynced.pop()))
        if self._named:
            sync_directory(self._directory)
            self._named = False

    def close(self) -> None:
        """Give the descriptors back."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    # restoring

    def sweep(self) -> None:
        """Images that were being written when the daemon was killed go."""
        for path in self._directory.glob("*.new"):
            path.unlink(missing_ok=True)

    def restore(self, map: Map) -> None:
        """A new map becomes what the map of its id was, and goes on in its files.

        ClsbpfError says what could not be brought back: the map has what came before it, and the files stay,
        under other names.
        """
        try:
            self._restore(map)
        except (ClsbpfError, OSError, ValueError) as error:
            for path, id, _ in tuple(self._files()):
                if id == map.id:
                    path.rename(path.with_name(path.name + ".unrestored"))
            raise ClsbpfError(f"map {map.name!r} ({map.id}): {error}") from None

    def _restore(self, map: Map) -> None:
        files = [(path, number) for path, id, number in self._files() if id == map.id]
        newest = self._newest_images().get(map.id, 0)
        logs = [(path, number) for path, number in files if path.suffix == ".log" and number >= newest]
        kept = self._kept[map.id] = _Kept(
            map.id, weakref.ref(map), max([newest, *(number for _, number in logs)])
        )
        kept.torn = True  # until all of it is there
        for path, number in files:
            if path.suffix == ".image" and number == newest:
                kept.image_bytes = _read_image(path, map)
        for path, number in logs:
            raw = path.read_bytes()
            end = 0
            for change, after in read_log(raw):
                change.repeat(map)
                kept.records += 1
                end = after
            if end != len(raw):
                if number == kept.number:
                    os.truncate(path, end)  # cut by a crash: it was not acknowledged
                else:
                    raise ClsbpfError(f"{path.name} is damaged after {end} bytes")
        kept.torn = False


def _next_image(kept: _Kept, map: Map) -> Taken:
    image = map.image()
    kept.number += 1
    kept.records, kept.image_bytes, kept.torn = 0, image.size, False
    return kept, kept.number, image


def _read_image(path: Path, map: Map) -> int:
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    map.bring_back(memoryview(mapped))
    return len(mapped)


def sync_directory(path: Path) -> None:
    """fsync(2) of a directory: names that files got are there after a crash."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
