"""How do queues, stacks and Bloom filters work?  Maps without keys: values go in, and come out or do not.

kernel/bpf/queue_stack_maps.c: a ring of max_entries + 1 values, so that full and empty differ; a queue
gives the oldest one, a stack the newest.  kernel/bpf/bloom_filter.c: each value sets a few bits that
hashes of it choose, and was (perhaps) put in if they are all set; a bit array and hashes like the
kernel's, so with BPF_F_ZERO_SEED the mistakes are the kernel's, too.
"""

from __future__ import annotations

import ctypes
import enum
import errno

from ...bpf.maps import MapType, UpdateFlag
from ..subset import copy, fill, load_i64, load_u8, native, store_i64, store_u8, u32
from .header import MapAt
from .jhash import jhash


class QueueAt(enum.IntEnum):
    """Byte offsets in the header of a queue or stack, after MapAt's, all i64: indexes of values."""

    HEAD = MapAt.PRIVATE
    """Where the next value goes."""
    TAIL = MapAt.PRIVATE + 8
    """The oldest value, unless that is HEAD."""


class BloomAt(enum.IntEnum):
    """Byte offsets in the header of a Bloom filter, after MapAt's, all i64.  ELEMENTS are its bits."""

    MASK = MapAt.PRIVATE
    """The number of bits, less one."""
    HASHES = MapAt.PRIVATE + 8
    SEED = MapAt.PRIVATE + 16


@native(inline=True)
def following(map: int, index: int) -> int:
    """The next place of the ring."""
    return 0 if index == load_i64(map + MapAt.MAX_ENTRIES) else index + 1


@native(inline=True)
def value_at(map: int, index: int) -> int:
    """The address of a place of the ring."""
    return load_i64(map + MapAt.ELEMENTS) + index * load_i64(map + MapAt.ELEMENT_SIZE)


@native
def queue_push(map: int, value: int, flags: int) -> int:
    """queue_stack_map_push_elem: 0 or -errno.  With BPF_EXIST a full one forgets its oldest value."""
    if flags not in (UpdateFlag.ANY, UpdateFlag.EXIST):
        return -errno.EINVAL
    head = load_i64(map + QueueAt.HEAD)
    if following(map, head) == load_i64(map + QueueAt.TAIL):
        if flags != UpdateFlag.EXIST:
            return -errno.E2BIG
        store_i64(map + QueueAt.TAIL, following(map, load_i64(map + QueueAt.TAIL)))
    copy(value_at(map, head), value, load_i64(map + MapAt.VALUE_SIZE))
    store_i64(map + QueueAt.HEAD, following(map, head))
    return 0


@native
def queue_get(map: int, value: int, remove: int) -> int:
    """__queue_map_get, __stack_map_get: 0, or -ENOENT with the value set to 0."""
    size = load_i64(map + MapAt.VALUE_SIZE)
    head = load_i64(map + QueueAt.HEAD)
    tail = load_i64(map + QueueAt.TAIL)
    if head == tail:
        fill(value, 0, size)
        return -errno.ENOENT
    if load_i64(map + MapAt.TYPE) == MapType.QUEUE:
        copy(value, value_at(map, tail), size)
        if remove:
            store_i64(map + QueueAt.TAIL, following(map, tail))
        return 0
    newest = head - 1 if head else load_i64(map + MapAt.MAX_ENTRIES)
    copy(value, value_at(map, newest), size)
    if remove:
        store_i64(map + QueueAt.HEAD, newest)
    return 0


@native
def queue_peek(map: int, value: int) -> int:
    """queue_map_peek_elem, stack_map_peek_elem."""
    return queue_get(map, value, 0)


@native
def queue_pop(map: int, value: int) -> int:
    """queue_map_pop_elem, stack_map_pop_elem."""
    return queue_get(map, value, 1)


def all_values(map: int) -> list[bytes]:
    """Every value, in the order in which they would be popped."""
    values, index = [], load_i64(map + QueueAt.TAIL)
    while index != load_i64(map + QueueAt.HEAD):
        values.append(ctypes.string_at(value_at(map, index), load_i64(map + MapAt.VALUE_SIZE)))
        index = following(map, index)
    return values if load_i64(map + MapAt.TYPE) == MapType.QUEUE else values[::-1]


@native
def keyless_push(map: int, key: int, value: int, flags: int) -> int:
    """BPF_MAP_UPDATE_ELEM of a queue or stack."""
    return queue_push(map, value, flags)


@native
def keyless_add(map: int, key: int, value: int, flags: int) -> int:
    """BPF_MAP_UPDATE_ELEM of a Bloom filter."""
    return bloom_push(map, value, flags)


@native(inline=True)
def bloom_bit(map: int, value: int, index: int) -> int:
    """hash(): the bit that the index-th function chooses."""
    seed = u32(load_i64(map + BloomAt.SEED) + index)
    return jhash(value, load_i64(map + MapAt.VALUE_SIZE), seed) & load_i64(map + BloomAt.MASK)


@native
def bloom_push(map: int, value: int, flags: int) -> int:
    """bloom_map_push_elem: 0 or -EINVAL."""
    if flags:
        return -errno.EINVAL
    for index in range(load_i64(map + BloomAt.HASHES)):
        bit = bloom_bit(map, value, index)
        at = load_i64(map + MapAt.ELEMENTS) + (bit >> 3)
        store_u8(at, load_u8(at) | 1 << (bit & 7))
    return 0


@native
def bloom_peek(map: int, value: int) -> int:
    """bloom_map_peek_elem: 0 if the value may have been put in, -ENOENT if it was not."""
    for index in range(load_i64(map + BloomAt.HASHES)):
        bit = bloom_bit(map, value, index)
        if not load_u8(load_i64(map + MapAt.ELEMENTS) + (bit >> 3)) >> (bit & 7) & 1:
            return -errno.ENOENT
    return 0
