"""Where do maps live?  In anonymous memory of this process that costs nothing until it is touched.

A map of ten million entries may be declared and hold three: its memory is reserved at once and taken page
by page, as the kernel's vmalloc is not, but as programs cannot tell.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import platform
import sys

from ...errors import MapError
from .header import MapAt

LARGEST = 1 << 40
"""Bytes of one reservation; what asks for more gets ENOMEM, as in a kernel with less memory."""

_SMALL = 1 << 16
_NORESERVE = {"x86_64": 0x4000, "aarch64": 0x4000, "riscv64": 0x4000, "s390x": 0x4000, "ppc64le": 0x40}
_LAZY: int = getattr(  # Python has the name from 3.13 on
    mmap, "MAP_NORESERVE", _NORESERVE.get(platform.machine(), 0) if sys.platform == "linux" else 0
)
"""Do not count what may never be touched against the memory there is."""


def _reserve(size: int) -> tuple[int, object]:
    """`size` zero bytes from a multiple of 8 on: their address, and what keeps them."""
    if size <= _SMALL:
        words = (ctypes.c_uint64 * ((size + 7) // 8 or 1))()
        return ctypes.addressof(words), words
    try:
        if sys.platform == "win32":
            memory = mmap.mmap(-1, size)
        else:
            memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _LAZY)
    except (OSError, OverflowError, ValueError) as error:
        raise MapError(errno.ENOMEM, f"no memory for a map of {size} bytes: {error}") from None
    anchor = ctypes.c_char.from_buffer(memory)
    return ctypes.addressof(anchor), (memory, anchor)


class Storage:
    """A map's header and the memory reserved for it, good while this object lives."""

    def __init__(self, header: int = MapAt.END) -> None:
        """With a header of so many bytes."""
        self._kept: list[object] = []
        self.regions: list[tuple[int, int]] = []
        """Address and size of each reservation, the header's first."""
        self.address = self.reserve(header)

    def reserve(self, size: int) -> int:
        """The address of `size` zero bytes.  Raises MapError (ENOMEM)."""
        if size > LARGEST:
            raise MapError(errno.ENOMEM, f"no memory for a map of {size} bytes; at most {LARGEST} are given")
        address, keeper = _reserve(size)
        self._kept.append(keeper)
        self.regions.append((address, size))
        return address

    def __getitem__(self, at: int) -> int:
        """The header's number at `at`."""
        return ctypes.c_int64.from_address(self.address + at).value

    def __setitem__(self, at: int, value: int) -> None:
        ctypes.c_int64.from_address(self.address + at).value = value
