"""How does user space read what programs send?  Readers of ring buffers and of perf event arrays.

A reader takes what is there; it does not wait, for here nothing is sent while it reads.  Reading makes
room.  A perf_event_array takes nothing before a reader opened it (programs get ENOENT); a ring buffer
always does.
"""

from __future__ import annotations

import ctypes
import errno
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from ...bpf.maps import MapType
from ...errors import MapError
from ..subset import load_u32
from .map import Map
from .perf import SAMPLE_HEAD, PerfBuffer, PerfBufferAt
from .ringbuf import HEAD, consume, next_record, ringbuf_available

PERF_BUFFER_BYTES = 1 << 18
"""Of each CPU's buffer, unless the reader says otherwise: 64 pages, as bpftool has it."""


def _of_type(map: Map, type: MapType) -> None:
    if map.spec.type != type:
        raise MapError(
            errno.EINVAL, f"map {map.name!r} is a {map.spec.type_name}, this reads a {type.name.lower()}"
        )


class RingReader:
    """Reads a ring buffer (libbpf's ring_buffer)."""

    def __init__(self, map: Map) -> None:
        _of_type(map, MapType.RINGBUF)
        self.map = map

    @property
    def available(self) -> int:
        """Bytes between reader and writer, heads and records still being written included."""
        return ringbuf_available(self.map.address)

    def __iter__(self) -> Iterator[bytes]:
        """The records that were submitted, the oldest first, up to one that is still being written."""
        while record := next_record(self.map.address):
            length = load_u32(record)
            data = ctypes.string_at(record + HEAD, length)
            consume(self.map.address, record)
            yield data


@dataclass(frozen=True, slots=True)
class PerfSample:
    """PERF_RECORD_SAMPLE: what a program sent, without the padding the kernel puts after it."""

    cpu: int
    data: bytes


class PerfReader:
    """Opens and reads the buffers of a perf_event_array (libbpf's perf_buffer).

    `size`: bytes of each CPU's buffer, a power of two.  `lost` counts the samples that did not fit.
    """

    def __init__(self, map: Map, *, size: int = PERF_BUFFER_BYTES) -> None:
        _of_type(map, MapType.PERF_EVENT_ARRAY)
        if size <= 0 or size & (size - 1):
            raise MapError(errno.EINVAL, f"a perf buffer of {size} bytes; the size must be a power of two")
        self.map = map
        self.lost = 0
        self._buffers = [PerfBuffer(size) for _ in range(min(map.cpus, map.max_entries))]
        for cpu, buffer in enumerate(self._buffers):
            map.put(cpu.to_bytes(4, sys.byteorder), buffer)

    def close(self) -> None:
        """The buffers are no longer there; programs get ENOENT again."""
        for cpu in range(len(self._buffers)):
            self.map.delete(cpu.to_bytes(4, sys.byteorder))
        self._buffers.clear()

    def __iter__(self) -> Iterator[PerfSample]:
        """The samples sent since the last time: a CPU's in their order, one CPU after the other."""
        for cpu, buffer in enumerate(self._buffers):
            mask = buffer[PerfBufferAt.SIZE] - 1
            while (tail := buffer[PerfBufferAt.TAIL]) < buffer[PerfBufferAt.HEAD]:
                sample = buffer[PerfBufferAt.MEMORY] + (tail & mask)
                data = ctypes.string_at(sample + SAMPLE_HEAD, load_u32(sample))
                buffer[PerfBufferAt.TAIL] = tail + load_u32(sample + 4)
                yield PerfSample(cpu, data)
            self.lost += buffer[PerfBufferAt.LOST]
            buffer[PerfBufferAt.LOST] = 0
