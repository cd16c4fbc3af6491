"""What is a dynptr?  Memory of a length that is known only at run time, with offset and length kept inside.

struct bpf_dynptr_kern, 16 bytes on the program's stack, which the program must not look into:

    0   data     address of the memory; of a packet, of its NativeSkb
    8   size     bytes (24 bits), the kind (3 bits from bit 28 on), read-only (bit 31)
    12  offset   where in the memory it begins

Reads and writes are checked against the size and answer -E2BIG.  (kernel/bpf/helpers.c)
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Callable

from ..maps import ringbuf
from ..native_skb import At
from ..packet import header
from ..subset import copy, fill, load_i64, load_u32, move, native, store_i64, store_u8, store_u32, u32
from .access import skb_load_bytes, skb_store_bytes

DATA = 0
SIZE = 8
OFFSET = 12
BYTES = 16

SIZE_MASK = 0xFFFFFF
MAX_SIZE = SIZE_MASK
TYPE_SHIFT = 28
READ_ONLY = 1 << 31


class Kind(enum.IntEnum):
    """enum bpf_dynptr_type."""

    INVALID = 0
    LOCAL = 1
    RINGBUF = 2
    SKB = 3


@native(inline=True)
def size_of(dynptr: int) -> int:
    """__bpf_dynptr_size(): of one that is not null."""
    return load_u32(dynptr + SIZE) & SIZE_MASK


@native(inline=True)
def kind_of(dynptr: int) -> int:
    """bpf_dynptr_get_type()."""
    return load_u32(dynptr + SIZE) >> TYPE_SHIFT & 7


@native(inline=True)
def read_only(dynptr: int) -> int:
    """__bpf_dynptr_is_rdonly()."""
    return load_u32(dynptr + SIZE) >> 31


@native
def init(dynptr: int, data: int, kind: int, size: int) -> None:
    """bpf_dynptr_init()."""
    store_i64(dynptr + DATA, data)
    store_u32(dynptr + SIZE, size | kind << TYPE_SHIFT)
    store_u32(dynptr + OFFSET, 0)


@native
def set_null(dynptr: int) -> None:
    """bpf_dynptr_set_null()."""
    fill(dynptr, 0, BYTES)


@native
def outside(dynptr: int, offset: int, length: int) -> int:
    """bpf_dynptr_check_off_len(): 0 or -E2BIG.  Both are unsigned, 32 bits in older kernels, 64 in newer."""
    size = size_of(dynptr)
    if length > size or length < 0 or offset < 0 or offset > size - length:
        return -errno.E2BIG
    return 0


@native
def dynptr_from_mem(machine: int, data: int, size: int, flags: int, dynptr: int) -> int:
    """bpf_dynptr_from_mem: over the memory of a map value.  0 or -errno."""
    result = 0
    if size > MAX_SIZE:
        result = -errno.E2BIG
    elif flags:
        result = -errno.EINVAL
    if result:
        set_null(dynptr)
    else:
        init(dynptr, data, Kind.LOCAL, size)
    return result


@native
def dynptr_from_skb(machine: int, skb: int, flags: int, dynptr: int) -> int:
    """bpf_dynptr_from_skb (kfunc): over the packet.  0 or -EINVAL."""
    if flags:
        set_null(dynptr)
        return -errno.EINVAL
    init(dynptr, skb, Kind.SKB, load_u32(skb + At.LEN))
    return 0


@native
def dynptr_read(machine: int, to: int, length: int, dynptr: int, offset: int, flags: int) -> int:
    """bpf_dynptr_read: `length` bytes at `offset`.  0 or -errno."""
    if load_i64(dynptr + DATA) == 0 or flags:
        return -errno.EINVAL
    if outside(dynptr, offset, length):
        return -errno.E2BIG
    at = load_u32(dynptr + OFFSET) + offset
    if kind_of(dynptr) == Kind.SKB:
        return skb_load_bytes(machine, load_i64(dynptr + DATA), at, to, length)
    move(to, load_i64(dynptr + DATA) + at, length)
    return 0


@native
def dynptr_write(machine: int, dynptr: int, offset: int, source: int, length: int, flags: int) -> int:
    """bpf_dynptr_write: `length` bytes to `offset`; `flags` as skb_store_bytes has them.  0 or -errno."""
    if load_i64(dynptr + DATA) == 0 or read_only(dynptr):
        return -errno.EINVAL
    if outside(dynptr, offset, length):
        return -errno.E2BIG
    at = load_u32(dynptr + OFFSET) + offset
    if kind_of(dynptr) == Kind.SKB:
        return skb_store_bytes(machine, load_i64(dynptr + DATA), at, source, length, flags)
    if flags:
        return -errno.EINVAL
    move(load_i64(dynptr + DATA) + at, source, length)
    return 0


@native
def dynptr_data(machine: int, dynptr: int, offset: int, length: int) -> int:
    """bpf_dynptr_data: the address of `length` bytes at `offset`, or 0; not of packets."""
    if load_i64(dynptr + DATA) == 0 or outside(dynptr, offset, length) or read_only(dynptr):
        return 0
    if kind_of(dynptr) not in (Kind.LOCAL, Kind.RINGBUF):
        return 0
    return load_i64(dynptr + DATA) + load_u32(dynptr + OFFSET) + offset


@native
def dynptr_slice(machine: int, dynptr: int, offset: int, buffer: int, length: int) -> int:
    """bpf_dynptr_slice (kfunc): the address of `length` bytes to read, or 0.

    Of a packet that is in one piece, where they are; else `buffer`, with a copy.
    """
    if load_i64(dynptr + DATA) == 0 or outside(dynptr, offset, length):
        return 0
    at = load_u32(dynptr + OFFSET) + offset
    if kind_of(dynptr) == Kind.SKB:
        return header(load_i64(dynptr + DATA), at, length)
    return load_i64(dynptr + DATA) + at


@native
def dynptr_slice_rdwr(machine: int, dynptr: int, offset: int, buffer: int, length: int) -> int:
    """bpf_dynptr_slice_rdwr (kfunc): the address of `length` bytes to read and write, or 0."""
    if load_i64(dynptr + DATA) == 0 or read_only(dynptr):
        return 0
    return dynptr_slice(machine, dynptr, offset, buffer, length)


@native
def dynptr_adjust(machine: int, dynptr: int, start: int, end: int) -> int:
    """bpf_dynptr_adjust (kfunc): only from `start` to `end` any more.  0 or -errno."""
    if load_i64(dynptr + DATA) == 0 or start < 0 or start > end:
        return -errno.EINVAL
    size = size_of(dynptr)
    if start > size or end > size:
        return -errno.ERANGE
    store_u32(dynptr + OFFSET, load_u32(dynptr + OFFSET) + start)
    store_u32(dynptr + SIZE, load_u32(dynptr + SIZE) & ~SIZE_MASK | end - start)
    return 0


@native
def dynptr_is_null(machine: int, dynptr: int) -> int:
    """bpf_dynptr_is_null (kfunc)."""
    return load_i64(dynptr + DATA) == 0


@native
def dynptr_is_rdonly(machine: int, dynptr: int) -> int:
    """bpf_dynptr_is_rdonly (kfunc)."""
    return read_only(dynptr) if load_i64(dynptr + DATA) else 0


@native
def dynptr_size(machine: int, dynptr: int) -> int:
    """bpf_dynptr_size (kfunc): bytes; -EINVAL, in 32 bits or in 64 as the kernel's type was, of none."""
    return size_of(dynptr) if load_i64(dynptr + DATA) else u32(-errno.EINVAL)


@native
def dynptr_clone(machine: int, dynptr: int, clone: int) -> int:
    """bpf_dynptr_clone (kfunc): 0 or -EINVAL."""
    if load_i64(dynptr + DATA) == 0:
        set_null(clone)
        return -errno.EINVAL
    copy(clone, dynptr, BYTES)
    return 0


@native
def dynptr_copy(machine: int, to: int, to_offset: int, source: int, offset: int, length: int) -> int:
    """bpf_dynptr_copy (kfunc): from one to the other.  0 or -errno."""
    if load_i64(to + DATA) == 0 or load_i64(source + DATA) == 0 or read_only(to):
        return -errno.EINVAL
    if outside(to, to_offset, length) or outside(source, offset, length):
        return -errno.E2BIG
    start = dynptr_slice(machine, source, offset, 0, length)
    return dynptr_write(machine, to, to_offset, start, length, 0) if start else -errno.EFAULT


@native
def dynptr_memset(machine: int, dynptr: int, offset: int, length: int, value: int) -> int:
    """bpf_dynptr_memset (kfunc): fill with a byte.  0 or -errno."""
    if load_i64(dynptr + DATA) == 0 or read_only(dynptr):
        return -errno.EINVAL
    if outside(dynptr, offset, length):
        return -errno.E2BIG
    start = dynptr_slice(machine, dynptr, offset, 0, length)
    if start == 0:
        return -errno.EFAULT
    for at in range(length):
        store_u8(start + at, value)
    return 0


@native
def ringbuf_reserve_dynptr(machine: int, map: int, size: int, flags: int, dynptr: int) -> int:
    """bpf_ringbuf_reserve_dynptr: a record of a length that is not constant.  0 or -errno."""
    result = 0
    count = u32(size)
    record = 0
    if flags:
        result = -errno.EINVAL
    elif count > MAX_SIZE:
        result = -errno.E2BIG
    else:
        record = ringbuf.ringbuf_reserve(map, count, 0)
        if record == 0:
            result = -errno.EINVAL
    if result:
        set_null(dynptr)
    else:
        init(dynptr, record, Kind.RINGBUF, count)
    return result


@native
def ringbuf_submit_dynptr(machine: int, dynptr: int, flags: int) -> int:
    """bpf_ringbuf_submit_dynptr."""
    if load_i64(dynptr + DATA):
        ringbuf.ringbuf_submit(load_i64(dynptr + DATA))
        set_null(dynptr)
    return 0


@native
def ringbuf_discard_dynptr(machine: int, dynptr: int, flags: int) -> int:
    """bpf_ringbuf_discard_dynptr."""
    if load_i64(dynptr + DATA):
        ringbuf.ringbuf_discard(load_i64(dynptr + DATA))
        set_null(dynptr)
    return 0


BODIES: dict[str, Callable[..., int]] = {
    "dynptr_from_mem": dynptr_from_mem,
    "dynptr_read": dynptr_read,
    "dynptr_write": dynptr_write,
    "dynptr_data": dynptr_data,
    "ringbuf_reserve_dynptr": ringbuf_reserve_dynptr,
    "ringbuf_submit_dynptr": ringbuf_submit_dynptr,
    "ringbuf_discard_dynptr": ringbuf_discard_dynptr,
}

KFUNCS: dict[str, Callable[..., int]] = {
    "bpf_dynptr_from_skb": dynptr_from_skb,
    "bpf_dynptr_slice": dynptr_slice,
    "bpf_dynptr_slice_rdwr": dynptr_slice_rdwr,
    "bpf_dynptr_adjust": dynptr_adjust,
    "bpf_dynptr_is_null": dynptr_is_null,
    "bpf_dynptr_is_rdonly": dynptr_is_rdonly,
    "bpf_dynptr_size": dynptr_size,
    "bpf_dynptr_clone": dynptr_clone,
    "bpf_dynptr_copy": dynptr_copy,
    "bpf_dynptr_memset": dynptr_memset,
}
