"""A gzip file as the bytes that it unpacks to, up to where it is damaged.

RFC 1952: one or more members, each a deflate stream with a checksum; zeros may follow, as tape blocks
are filled.  The standard library's `gzip` would lose what it unpacked just before an error; a damaged
capture is to give all the packets that it still has.
"""

from __future__ import annotations

import zlib
from contextlib import suppress
from typing import Protocol

from ..errors import CaptureError

GZIP_MAGIC = b"\x1f\x8b"
COMPRESSED_BYTES = 128 << 10


class Compressed(Protocol):
    """Where the compressed bytes come from."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Put at least one byte into `buffer`, return how many; 0 at the end."""


class GzipFeed:
    """Unpacks `start` and what follows it in `compressed`."""

    def __init__(self, compressed: Compressed, start: bytes, name: str) -> None:
        self._compressed = compressed
        self._room = memoryview(bytearray(COMPRESSED_BYTES))
        self._input = start
        self._name = name
        self._member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        self._damage: CaptureError | None = None

    def readinto(self, buffer: memoryview, /) -> int:
        """Unpack into `buffer`; 0 at the end.  CaptureError for what is not, or not wholly, gzip."""
        while self._damage is None:
            if self._member.eof and not self._next_member():
                return 0
            before = self._member.copy()
            try:
                unpacked = self._member.decompress(self._input, len(buffer))
            except zlib.error as error:
                self._damage = CaptureError(f"{self._name}: the gzip data are damaged ({error})")
                unpacked = up_to_damage(before, self._input)
            self._input = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            if unpacked:
                buffer[: len(unpacked)] = unpacked
                return len(unpacked)
            if not self._member.eof and not self._input and not self._read():
                self._damage = CaptureError(f"{self._name}: the gzip data are cut: their end is missing")
        raise self._damage

    def _next_member(self) -> bool:
        """Go to the next member; False where there is none."""
        while not (rest := self._input.lstrip(b"\0")):
            if not self._read():
                return False
        self._input = rest
        self._member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        return True

    def _read(self) -> bool:
        count = self._compressed.readinto(self._room)
        self._input = bytes(self._room[:count])
        return count > 0


def up_to_damage(member: zlib._Decompress, data: bytes) -> bytes:
    """What `data` unpacks to before the error in it, which zlib throws away with the call that meets it."""
    unpacked = bytearray()
    with suppress(zlib.error):
        for at in range(len(data)):
            unpacked += member.decompress(data[at : at + 1])
    return bytes(unpacked)
