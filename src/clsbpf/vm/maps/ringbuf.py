"""How do ring buffers work?  kernel/bpf/ringbuf.c: records of any length, in the order they were begun.

A record is an 8-byte head (its length, and whether it is still being written or was thrown away) and the
data, rounded up to 8 bytes.  Producer and consumer positions count bytes and never go back.  A record is
*reserved*, written in place, then *submitted* or *discarded*; the reader stops at one that is not.

The kernel maps the pages twice, one copy after the other, so that a record at the end runs on into the
beginning.  Here the memory is twice the size instead: such a record runs on into the second half, which
nothing else uses, and its share of the first half stays unused as long as it is there.  Only one record at a
time can lie across the end.
"""

from __future__ import annotations

import ctypes
import enum
import errno
from collections.abc import Iterator

from ..subset import copy, load_i64, load_u32, native, store_i64, store_u32
from .header import MapAt

BUSY = 1 << 31
"""BPF_RINGBUF_BUSY_BIT of a record's length."""
DISCARD = 1 << 30
"""BPF_RINGBUF_DISCARD_BIT."""
HEAD = 8
"""BPF_RINGBUF_HDR_SZ."""
LARGEST = 0xFFFFFFFF // 4
"""RINGBUF_MAX_RECORD_SZ."""

NO_WAKEUP = 1
FORCE_WAKEUP = 2


class RingAt(enum.IntEnum):
    """Byte offsets in the header of a ring buffer, after MapAt's, all i64.  ELEMENTS is the memory."""

    PRODUCER = MapAt.PRIVATE
    CONSUMER = MapAt.PRIVATE + 8
    PENDING = MapAt.PRIVATE + 16
    """The first record that was not finished when last looked at (pending_pos)."""


class Query(enum.IntEnum):
    """What bpf_ringbuf_query can be asked."""

    AVAIL_DATA = 0
    RING_SIZE = 1
    CONS_POS = 2
    PROD_POS = 3


@native(inline=True)
def record_at(map: int, position: int) -> int:
    """The address of a record's head."""
    return load_i64(map + MapAt.ELEMENTS) + (position & load_i64(map + MapAt.MAX_ENTRIES) - 1)


@native(inline=True)
def record_bytes(length: int) -> int:
    """What a record of that length takes."""
    return (length + HEAD + 7) & ~7


@native
def ringbuf_reserve(map: int, size: int, flags: int) -> int:
    """bpf_ringbuf_reserve: the address of `size` bytes, or 0.  `size` is unsigned."""
    if flags or size < 0 or size > LARGEST:
        return 0
    needed = record_bytes(size)
    capacity = load_i64(map + MapAt.MAX_ENTRIES)
    if needed > capacity:
        return 0
    position = load_i64(map + RingAt.PRODUCER)
    end = position + needed
    pending = load_i64(map + RingAt.PENDING)
    while pending < position:
        length = load_u32(record_at(map, pending))
        if length & BUSY:
            break
        pending += record_bytes(length & ~DISCARD)
    store_i64(map + RingAt.PENDING, pending)
    if end - load_i64(map + RingAt.CONSUMER) > capacity - 1 or end - pending > capacity - 1:
        return 0
    record = record_at(map, position)
    store_u32(record, size | BUSY)
    store_u32(record + 4, 0)
    store_i64(map + RingAt.PRODUCER, end)
    return record + HEAD


@native
def ringbuf_submit(record: int) -> None:
    """bpf_ringbuf_submit: the reserved bytes at `record` may be read.  Wakeups have no one to wake."""
    store_u32(record - HEAD, load_u32(record - HEAD) & ~BUSY)


@native
def ringbuf_discard(record: int) -> None:
    """bpf_ringbuf_discard: the reserved bytes at `record` are passed over by the reader."""
    store_u32(record - HEAD, load_u32(record - HEAD) & ~BUSY | DISCARD)


@native
def ringbuf_output(map: int, data: int, size: int, flags: int) -> int:
    """bpf_ringbuf_output: 0 or -errno."""
    if flags & ~(NO_WAKEUP | FORCE_WAKEUP):
        return -errno.EINVAL
    record = ringbuf_reserve(map, size, 0)
    if not record:
        return -errno.EAGAIN
    copy(record, data, size)
    ringbuf_submit(record)
    return 0


@native
def ringbuf_available(map: int) -> int:
    """ringbuf_avail_data_sz: the bytes between reader and writer."""
    return load_i64(map + RingAt.PRODUCER) - load_i64(map + RingAt.CONSUMER)


@native
def ringbuf_query(map: int, what: int) -> int:
    """bpf_ringbuf_query; 0 for what it does not know."""
    if what == Query.AVAIL_DATA:
        return ringbuf_available(map)
    if what == Query.RING_SIZE:
        return load_i64(map + MapAt.MAX_ENTRIES)
    if what == Query.CONS_POS:
        return load_i64(map + RingAt.CONSUMER)
    if what == Query.PROD_POS:
        return load_i64(map + RingAt.PRODUCER)
    return 0


@native
def next_record(map: int) -> int:
    """The address of the head of the next record to read, discarded ones passed over; 0 if none is ready."""
    while load_i64(map + RingAt.CONSUMER) < load_i64(map + RingAt.PRODUCER):
        record = record_at(map, load_i64(map + RingAt.CONSUMER))
        length = load_u32(record)
        if length & BUSY:
            return 0
        if not length & DISCARD:
            return record
        consume(map, record)
    return 0


@native
def consume(map: int, record: int) -> None:
    """The record with this head was read."""
    length = load_u32(record) & ~(BUSY | DISCARD)
    store_i64(map + RingAt.CONSUMER, load_i64(map + RingAt.CONSUMER) + record_bytes(length))


def all_records(map: int) -> Iterator[bytes]:
    """The records that are ready, without reading them away."""
    position = load_i64(map + RingAt.CONSUMER)
    while position < load_i64(map + RingAt.PRODUCER):
        record = record_at(map, position)
        length = load_u32(record)
        if length & BUSY:
            return
        if not length & DISCARD:
            yield ctypes.string_at(record + HEAD, length)
        position += record_bytes(length & ~DISCARD)
