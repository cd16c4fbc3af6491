"""What do programs tell user space?  Records of a ring buffer, samples of a perf event array.

(kernel/bpf/ringbuf.c; net/core/filter.c: bpf_skb_event_output, which may add bytes of the packet.)
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from ..environment import EnvironmentAt
from ..maps import perf, ringbuf
from ..native_skb import At
from ..subset import fill, load_i64, load_u32, native, store_u32
from .room import captured

INDEX_MASK = 0xFFFFFFFF
CTXLEN_MASK = 0xFFFFF << 32
PERF_VALUE_BYTES = 24
"""struct bpf_perf_event_value."""


@native
def ringbuf_reserve(machine: int, map: int, size: int, flags: int) -> int:
    """bpf_ringbuf_reserve: the address of a record of `size` bytes, or 0."""
    return ringbuf.ringbuf_reserve(map, size, flags)


@native
def ringbuf_submit(machine: int, record: int, flags: int) -> int:
    """bpf_ringbuf_submit."""
    ringbuf.ringbuf_submit(record)
    return 0


@native
def ringbuf_discard(machine: int, record: int, flags: int) -> int:
    """bpf_ringbuf_discard."""
    ringbuf.ringbuf_discard(record)
    return 0


@native
def ringbuf_output(machine: int, map: int, data: int, size: int, flags: int) -> int:
    """bpf_ringbuf_output: a copy of `size` bytes.  0 or -errno."""
    return ringbuf.ringbuf_output(map, data, size, flags)


@native
def ringbuf_query(machine: int, map: int, what: int) -> int:
    """bpf_ringbuf_query: sizes and positions; 0 for what it does not know."""
    return ringbuf.ringbuf_query(map, what)


@native
def perf_event_output(machine: int, skb: int, map: int, flags: int, data: int, size: int) -> int:
    """bpf_perf_event_output: `size` bytes and, after them, the packet's first bytes.  0 or -errno.

    `flags`: the index in the map (0xffffffff: this CPU's), from bit 32 on how many bytes of the packet.
    """
    if flags & ~(INDEX_MASK | CTXLEN_MASK):
        return -errno.EINVAL
    count = (flags & CTXLEN_MASK) >> 32
    if count > load_u32(skb + At.LEN):
        return -errno.EFAULT
    if count > captured(skb):
        store_u32(skb + At.READ_PAST, 1)
        count = captured(skb)
    cpu = load_i64(machine + EnvironmentAt.CPU)
    return perf.perf_output(map, flags & INDEX_MASK, data, size, cpu, load_i64(skb + At.DATA_PTR), count)


@native
def perf_event_read(machine: int, map: int, flags: int) -> int:
    """bpf_perf_event_read: no hardware counts here, and output buffers do not count.  -errno."""
    if flags & ~INDEX_MASK:
        return -errno.EINVAL
    index = flags & INDEX_MASK
    if index == INDEX_MASK:
        index = load_i64(machine + EnvironmentAt.CPU)
    buffer = perf.perf_buffer(map, index, index)
    return -errno.EINVAL if buffer > 0 else buffer


@native
def perf_event_read_value(machine: int, map: int, flags: int, to: int, size: int) -> int:
    """bpf_perf_event_read_value: as perf_event_read; and zeros."""
    fill(to, 0, size)
    if size != PERF_VALUE_BYTES:
        return -errno.EINVAL
    return perf_event_read(machine, map, flags)


BODIES: dict[str, Callable[..., int]] = {
    "ringbuf_reserve": ringbuf_reserve,
    "ringbuf_submit": ringbuf_submit,
    "ringbuf_discard": ringbuf_discard,
    "ringbuf_output": ringbuf_output,
    "ringbuf_query": ringbuf_query,
    "perf_event_output": perf_event_output,
    "perf_event_read": perf_event_read,
    "perf_event_read_value": perf_event_read_value,
}
