"""What is a map's whole state, as bytes?  An image: its memory, to be brought into another map like it.

The elements alone would not do: what an LRU map throws out next, the order of a walk and which element is
taken next are in the lists that elements are chained to.  So an image has the memory that was ever touched
(a map of millions of entries may hold three), which is copied as fast as memory goes, and says where that
memory lay.  Whoever brings it in moves the addresses in it: `_ADDRESSES` says, by type, where they are.

    magic, LAYOUT, type, frozen, number of regions
    address and size of each region (`Storage.regions`: the header, then what the type reserved)
    pieces: region, offset, length and the bytes; the last has the region END and no bytes
    CRC-32 of all that

The image is this program's own, for itself: the offsets of header.py, hash.py, lru.py and lpm.py are its
format.  Whoever changes one of them counts LAYOUT up, and keeps reading the old ones.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...bpf.maps import MapFlag, MapType
from ...bpf.spec import MapSpec
from ...errors import MapError
from .hash import ElementAt, HashAt
from .header import MapAt
from .lpm import NodeAt, TrieAt
from .lru import LocalAt, LruAt
from .storage import Storage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LAYOUT = 1
_MAGIC = b"bpf map\n"
_HEAD = struct.Struct("=IIII")
_REGION = struct.Struct("=QQ")
_PIECE = struct.Struct("=QQQ")
_CRC = struct.Struct("=I")
_END = 0xFFFFFFFFFFFFFFFF

_TOUCHED = bytes(int(top & 0xC0 != 0) for top in range(256))
"""By the highest byte of a page's entry in /proc/self/pagemap: is it present, or swapped out?"""
_ENTRY = 8
_HIGHEST = 7 if struct.pack("=H", 1) == b"\1\0" else 0


@dataclass(frozen=True, slots=True)
class Image:
    """A map's state at one moment."""

    chunks: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """Bytes, but for a few."""
        return sum(map(len, self.chunks))

    def write(self, descriptor: int) -> None:
        """All of it into a file; OSError."""
        crc = 0
        for chunk in self.chunks:
            crc = zlib.crc32(chunk, crc)
            _write(descriptor, chunk)
        _write(descriptor, _CRC.pack(crc))


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def take(storage: Storage, *, frozen: bool) -> Image:
    """The state as it is now.  What it costs is a copy of the memory that was touched."""
    regions = storage.regions
    chunks = [_MAGIC, _HEAD.pack(LAYOUT, storage[MapAt.TYPE], frozen, len(regions))]
    chunks += [_REGION.pack(address, size) for address, size in regions]
    for number, (address, size) in enumerate(regions):
        for offset, length in _touched(address, size):
            chunks.append(_PIECE.pack(number, offset, length))
            chunks.append(ctypes.string_at(address + offset, length))
    chunks.append(_PIECE.pack(_END, 0, 0))
    return Image(tuple(chunks))


def _touched(address: int, size: int) -> Iterator[tuple[int, int]]:
    """Offsets and lengths of what of a region may be anything but 0."""
    page = mmap.PAGESIZE
    first, end = address // page, -(-(address + size) // page)
    if end - first <= 2:
        yield 0, size
        return
    try:
        with open("/proc/self/pagemap", "rb", buffering=0) as file:
            file.seek(first * _ENTRY)
            entries = file.read((end - first) * _ENTRY)
    except OSError:  # another system: all of it
        yield 0, size
        return
    for run in re.finditer(rb"\x01+", entries[_HIGHEST::_ENTRY].translate(_TOUCHED)):
        begin = max((first + run.start()) * page, address)
        until = min((first + run.end()) * page, address + size)
        yield begin - address, until - begin


# bringing it back


@dataclass(frozen=True, slots=True)
class _Addresses:
    """Where addresses are: in a region, each `stride` bytes from `offset` on (0: once)."""

    region: int
    offset: int
    to: tuple[int, ...]
    """The regions that they may point into.  With only one, also to its end."""
    stride: int = 0


_HEADER, _BUCKETS = 0, 1


def _header(to: int, *offsets: int) -> list[_Addresses]:
    return [_Addresses(_HEADER, at, (to,)) for at in offsets]


def _in_elements(region: int, stride: int, to: tuple[int, ...], *offsets: int) -> list[_Addresses]:
    return [_Addresses(region, at, to, stride) for at in offsets]


def _flat(storage: Storage) -> list[_Addresses]:
    return _header(1, MapAt.ELEMENTS, MapAt.ELEMENTS_END)


def _hash(storage: Storage) -> list[_Addresses]:
    return [
        *_header(_BUCKETS, HashAt.BUCKETS),
        *_header(2, MapAt.ELEMENTS, MapAt.ELEMENTS_END, HashAt.FREE, HashAt.FRESH, HashAt.SPARE),
        _Addresses(_BUCKETS, 0, (2,), 8),
        *_in_elements(2, storage[MapAt.ELEMENT_SIZE], (2,), ElementAt.NEXT),
    ]


def _lru(storage: Storage) -> list[_Addresses]:
    common = not storage[MapAt.FLAGS] & MapFlag.NO_COMMON_LRU
    cpus = storage[MapAt.CPUS]
    lists = [cpu * LruAt.SIZE for cpu in range(1 if common else cpus)]
    heads = [at + head for at in lists for head in (LruAt.ACTIVE, LruAt.INACTIVE, LruAt.FREE)]
    for cpu in range(cpus if common else 0):
        heads += [LruAt.LOCALS + cpu * LocalAt.SIZE + head for head in (LocalAt.FREE, LocalAt.PENDING)]
    links = (ElementAt.LIST_NEXT, ElementAt.LIST_PREV)
    return [
        *_hash(storage),
        *_header(3, HashAt.LRU),
        *_in_elements(2, storage[MapAt.ELEMENT_SIZE], (2, 3), *links),
        *(_Addresses(3, head + link, (2, 3)) for head in heads for link in links),
        *(_Addresses(3, at + LruAt.ROTATION, (2, 3)) for at in lists),
        *(_Addresses(3, at + LruAt.FRESH, (2,)) for at in lists),
    ]


def _trie(storage: Storage) -> list[_Addresses]:
    return [
        *_header(1, MapAt.ELEMENTS, MapAt.ELEMENTS_END, TrieAt.ROOT, TrieAt.FREE, TrieAt.FRESH),
        *_in_elements(1, storage[MapAt.ELEMENT_SIZE], (1,), NodeAt.CHILD, NodeAt.CHILD + 8),
    ]


_ADDRESSES = {
    MapType.ARRAY: _flat,
    MapType.PERCPU_ARRAY: _flat,
    MapType.QUEUE: _flat,
    MapType.STACK: _flat,
    MapType.BLOOM_FILTER: _flat,
    MapType.DEVMAP: _flat,
    MapType.CPUMAP: _flat,
    MapType.RINGBUF: _flat,
    MapType.HASH: _hash,
    MapType.PERCPU_HASH: _hash,
    MapType.DEVMAP_HASH: _hash,
    MapType.LRU_HASH: _lru,
    MapType.LRU_PERCPU_HASH: _lru,
    MapType.LPM_TRIE: _trie,
}
IMAGED = frozenset(_ADDRESSES)
"""Types that have images: the others hold what is the process's (programs, maps, sockets)."""


def bring_back(storage: Storage, spec: MapSpec, raw: memoryview) -> bool:
    """Give a new map the state of an image: was it frozen?  MapError unless it is of a map like it."""
    reader = _Reader(raw, spec)
    magic = reader.bytes(len(_MAGIC))
    layout, type, frozen, count = reader.take(_HEAD)
    if magic != _MAGIC or layout != LAYOUT:
        raise _wrong(spec, f"it is no map's, or of layout {layout} and not {LAYOUT}")
    reader.check()
    old = [reader.take(_REGION) for _ in range(count)]
    new = storage.regions
    if type != spec.type or [size for _, size in old] != [size for _, size in new]:
        raise _wrong(spec, "it is of a map of another type or size")
    id = storage[MapAt.ID]
    ends = [0] * count
    while True:
        region, offset, length = reader.take(_PIECE)
        if region == _END:
            break
        if region >= count or offset + length > new[region][1]:
            raise _wrong(spec, "a piece lies outside of the map")
        piece = reader.bytes(length)
        ctypes.memmove(new[region][0] + offset, piece, length)
        ends[region] = max(ends[region], offset + length)
    for each in _ADDRESSES[MapType(spec.type)](storage):
        _move(each, ends[each.region], old, new)
    storage[MapAt.ID] = id
    return bool(frozen)


class _Reader:
    """An image, read from its beginning."""

    def __init__(self, raw: memoryview, spec: MapSpec) -> None:
        self._raw = raw
        self._at = 0
        self._spec = spec

    def check(self) -> None:
        """Is it as it was written?"""
        body, crc = self._raw[: -_CRC.size], self._raw[-_CRC.size :]
        if zlib.crc32(body) != _CRC.unpack(crc)[0]:
            raise _wrong(self._spec, "it is damaged")

    def bytes(self, length: int) -> bytes:
        piece = self._raw[self._at : self._at + length]
        if len(piece) != length:
            raise _wrong(self._spec, "it is cut short")
        self._at += length
        return bytes(piece)

    def take(self, struct: struct.Struct) -> tuple[int, ...]:
        found: tuple[int, ...] = struct.unpack(self.bytes(struct.size))
        return found


def _move(which: _Addresses, end: int, old: list[tuple[int, ...]], new: list[tuple[int, int]]) -> None:
    """Make addresses of the old regions those of the new ones; 0 stays, and what points elsewhere."""
    words = _words(which, end, *new[which.region])
    if not len(words):
        return
    values = words.copy()
    for target in which.to:
        was, size = old[target]
        inside = values - was < size if len(which.to) > 1 else values != 0
        words[inside] = values[inside] + (new[target][0] - was) % (1 << 64)


def _words(which: _Addresses, end: int, address: int, size: int) -> NDArray[np.uint64]:
    """The words themselves, up to the end of what was brought in."""
    import numpy as np

    stride = which.stride or size
    count = max(0, -(-(end - which.offset) // stride)) if which.stride else 1
    count = min(count, (size - which.offset - 8) // stride + 1)
    memory = memoryview((ctypes.c_char * size).from_address(address))
    return np.ndarray((max(count, 0),), np.uint64, memory, which.offset, (stride,))


def _wrong(spec: MapSpec, what: str) -> MapError:
    return MapError(errno.EINVAL, f"the image of map {spec.name!r} ({spec.type_name}): {what}")
