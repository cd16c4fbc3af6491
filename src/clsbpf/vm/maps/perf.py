"""Where do events go that a program gives to a perf_event_array?  Into a buffer that someone opened.

Slot n of the array belongs to CPU n and holds, in the kernel, a perf event that user space opened there
and mapped a buffer of; without one, output is refused (ENOENT).  Here it holds the address of such a buffer
(`PerfBufferAt`), made by a reader (readers.py).  The buffer counts as perf's does: a sample takes a head of
8 bytes, a length of 4 and the data, rounded up to 8 bytes; one that does not fit is lost and counted.

As in ringbuf.py, the memory is twice the size, so that no sample is cut in two.
"""

from __future__ import annotations

import enum
import errno

from ..subset import copy, load_i64, native, store_i64, store_u32
from .header import MapAt
from .storage import Storage


class PerfBufferAt(enum.IntEnum):
    """Byte offsets in an opened buffer (struct perf_event_mmap_page has the same head and tail), all i64."""

    SIZE = 0
    """A power of two."""
    HEAD = 8
    """Where the next sample goes; never goes back."""
    TAIL = 16
    """What is read next."""
    LOST = 24
    """Samples that did not fit, since the reader looked last."""
    MEMORY = 32
    """The address."""
    END = 40


class PerfBuffer:
    """An opened buffer of `size` bytes (a power of two), good while this object lives."""

    def __init__(self, size: int) -> None:
        self._storage = Storage(PerfBufferAt.END)
        self.address = self._storage.address
        self._storage[PerfBufferAt.SIZE] = size
        self._storage[PerfBufferAt.MEMORY] = self._storage.reserve(2 * size)

    def __getitem__(self, at: PerfBufferAt) -> int:
        return self._storage[at]

    def __setitem__(self, at: PerfBufferAt, value: int) -> None:
        self._storage[at] = value


INDEX_MASK = 0xFFFFFFFF
"""BPF_F_INDEX_MASK of the flags."""
CURRENT_CPU = 0xFFFFFFFF
"""BPF_F_CURRENT_CPU: the slot of the CPU the program runs on."""
SAMPLE_HEAD = 8
"""Here: the length of the data (u32) and of the whole sample (u32)."""


@native
def perf_buffer(map: int, flags: int, cpu: int) -> int:
    """__bpf_perf_event_output: the address of the buffer that the flags name, or -errno."""
    index = flags & INDEX_MASK
    if index == CURRENT_CPU:
        index = cpu
    if index >= load_i64(map + MapAt.MAX_ENTRIES):
        return -errno.E2BIG
    buffer = load_i64(load_i64(map + MapAt.ELEMENTS) + index * 8)
    if not buffer:
        return -errno.ENOENT
    if index != cpu:
        return -errno.EOPNOTSUPP
    return buffer


@native
def perf_reserve(buffer: int, size: int) -> int:
    """perf_output_begin: the address for a sample's `size` bytes, or 0: lost."""
    needed = (SAMPLE_HEAD + 4 + size + 7) & ~7
    head = load_i64(buffer + PerfBufferAt.HEAD)
    capacity = load_i64(buffer + PerfBufferAt.SIZE)
    if head + needed - load_i64(buffer + PerfBufferAt.TAIL) > capacity - 1:
        store_i64(buffer + PerfBufferAt.LOST, load_i64(buffer + PerfBufferAt.LOST) + 1)
        return 0
    sample = load_i64(buffer + PerfBufferAt.MEMORY) + (head & capacity - 1)
    store_u32(sample, size)
    store_u32(sample + 4, needed)
    store_i64(buffer + PerfBufferAt.HEAD, head + needed)
    return sample + SAMPLE_HEAD


@native
def perf_output(map: int, flags: int, data: int, size: int, cpu: int, more: int, more_size: int) -> int:
    """bpf_event_output: a sample of the data, then `more` (the packet's beginning); 0 or -errno."""
    buffer = perf_buffer(map, flags, cpu)
    if buffer < 0:
        return buffer
    sample = perf_reserve(buffer, size + more_size)
    if not sample:
        return -errno.ENOSPC
    copy(sample, data, size)
    copy(sample + size, more, more_size)
    return 0
