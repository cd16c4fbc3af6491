"""Which elements does a program's walk over a map meet?  Those whose keys were there when it began.

bpf_for_each_map_elem calls a function of the program for each element, which may change the map meanwhile.
The keys are copied first, in the map's order; each is looked up when its turn comes, so that what was
deleted is not met.  The memory is the process's, as many bytes as it takes.
"""

from __future__ import annotations

import ctypes

from ...bpf.maps import MapType
from ..subset import copy, external, load_i64, native, store_i64, store_u32
from .hash import ElementAt, HashAt
from .header import MapAt

KEYS = 16
"""Where the keys begin, after their number and what one takes (i64)."""


@external
def allocate(size: int) -> int:
    """PyMem_RawMalloc: the address of so many bytes, or 0."""
    return int(ctypes.pythonapi.PyMem_RawMalloc(ctypes.c_size_t(size)) or 0)


@external
def release(memory: int) -> None:
    """PyMem_RawFree."""
    ctypes.pythonapi.PyMem_RawFree(ctypes.c_void_p(memory))


@native
def indexes(to: int, count: int) -> None:
    """The keys of an array."""
    for index in range(count):
        store_u32(to + index * 4, index)


@native
def hash_keys(map: int, to: int) -> int:
    """The keys of a hash map, bucket by bucket; their number.  With `to` 0 they are only counted."""
    size = load_i64(map + MapAt.KEY_SIZE)
    at = to
    found = 0
    buckets = load_i64(map + HashAt.BUCKETS)
    for bucket in range(load_i64(map + HashAt.BUCKET_MASK) + 1):
        element = load_i64(buckets + bucket * 8)
        while element:
            if to:
                copy(at, element + ElementAt.KEY, size)
                at += size
            found += 1
            element = load_i64(element)
    return found


@native
def snapshot(map: int) -> int:
    """The keys of a map that programs may walk, in memory to `release`: 0 where there is none."""
    array = load_i64(map + MapAt.TYPE) in (MapType.ARRAY, MapType.PERCPU_ARRAY)
    size = load_i64(map + MapAt.KEY_SIZE)
    count = load_i64(map + MapAt.MAX_ENTRIES) if array else hash_keys(map, 0)
    keys = allocate(KEYS + count * size)
    if keys:
        store_i64(keys, count)
        store_i64(keys + 8, size)
        if array:
            indexes(keys + KEYS, count)
        else:
            hash_keys(map, keys + KEYS)
    return keys
