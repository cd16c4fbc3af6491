"""What programs left in the real kernel's ring buffers and perf buffers, read through shared memory."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct

from clsbpf.kernel.maps import map_update

PAGE = mmap.PAGESIZE
BUSY, DISCARD = 1 << 31, 1 << 30
PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "ppc64le": 319, "s390x": 331}
SOFTWARE, BPF_OUTPUT, SAMPLE_RAW, RECORD_SAMPLE = 1, 10, 1 << 10, 9
BUFFER_PAGES = 32
DATA_HEAD = 1024
"""offsetof(struct perf_event_mmap_page, data_head)."""


def ring_records(fd: int, size: int) -> list[bytes]:
    """The records of a BPF_MAP_TYPE_RINGBUF of `size` bytes that were submitted, and not yet read."""
    with (
        mmap.mmap(fd, PAGE, mmap.MAP_SHARED) as consumer,
        mmap.mmap(fd, PAGE + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=PAGE) as producer,
    ):
        at = int.from_bytes(consumer[:8], "little")
        end = int.from_bytes(producer[:8], "little")
        records = []
        while at < end:
            start = PAGE + at % size
            length = int.from_bytes(producer[start : start + 4], "little")
            assert not length & BUSY
            size_of = length & ~DISCARD
            if not length & DISCARD:
                records.append(producer[start + 8 : start + 8 + size_of])
            at += (size_of + 8 + 7) & ~7
        return records


class PerfReader:
    """A perf event on one CPU with its buffer, in that CPU's slot of a perf_event_array."""

    def __init__(self, map_fd: int, cpu: int = 0) -> None:
        attr = struct.pack("=IIQQQ", SOFTWARE, 112, BPF_OUTPUT, 1, SAMPLE_RAW).ljust(112, b"\0")
        buffer = ctypes.create_string_buffer(attr, 112)
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.syscall(PERF_EVENT_OPEN[os.uname().machine], buffer, -1, cpu, -1, 0)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "perf_event_open")
        self._memory = mmap.mmap(self._fd, (1 + BUFFER_PAGES) * PAGE, mmap.MAP_SHARED)
        map_update(map_fd, struct.pack("=I", cpu), struct.pack("=I", self._fd))

    def samples(self) -> list[bytes]:
        """The raw data of all samples; perf pads it so that with its length it is a multiple of 8 bytes."""
        memory = self._memory
        end = int.from_bytes(memory[DATA_HEAD : DATA_HEAD + 8], "little")
        assert end <= BUFFER_PAGES * PAGE, "the buffer has wrapped: it is too small for the test"
        at, found = PAGE, []
        while at < PAGE + end:
            kind, _, size = struct.unpack_from("=IHH", memory, at)
            if kind == RECORD_SAMPLE:
                length = struct.unpack_from("=I", memory, at + 8)[0]
                found.append(memory[at + 12 : at + 12 + length])
            at += size
        return found

    def close(self) -> None:
        self._memory.close()
        os.close(self._fd)
