"""How do hash maps work?  kernel/bpf/hashtab.c: chained buckets, a power of two of them.

An element is a head, the key, and the value (or the values of all CPUs), each from a multiple of 8 bytes
on.  Elements come from one piece of memory that is never given back while the map lives: those never used
begin at `FRESH`, deleted ones form a list and the last one deleted is the first one taken.  Memory that
nobody touched costs nothing, so BPF_F_NO_PREALLOC makes no difference.  An update of a key that is there
puts the new value into a spare element and keeps the old one as the next spare (`extra_elems`): an address
looked up before still shows the old value.  A per-CPU map, and a map of maps, is updated in place.

A new element goes to the front of its bucket; the walk takes the buckets in order.
"""

from __future__ import annotations

import ctypes
import enum
import errno

from ...bpf.maps import UpdateFlag
from ..subset import copy, fill, load_i64, load_u32, native, store_i64, store_u32
from .header import MapAt, clear_specials, copy_value, cpu_value, same_bytes
from .jhash import jhash


class HashAt(enum.IntEnum):
    """Byte offsets in the header of a hash map, after MapAt's, all i64."""

    BUCKETS = MapAt.PRIVATE
    """The address of the buckets: each the address of its first element, or 0."""
    BUCKET_MASK = MapAt.PRIVATE + 8
    SEED = MapAt.PRIVATE + 16
    COUNT = MapAt.PRIVATE + 24
    FREE = MapAt.PRIVATE + 32
    """The element deleted last, or 0."""
    FRESH = MapAt.PRIVATE + 40
    """The first element that was never used."""
    SPARE = MapAt.PRIVATE + 48
    """The element that takes the next update of a key that is there (of this one CPU)."""
    LRU = MapAt.PRIVATE + 56
    """The address of the lists of an LRU map (lru.py)."""


class ElementAt(enum.IntEnum):
    """Byte offsets in an element (struct htab_elem)."""

    NEXT = 0
    """i64: the bucket's next element; of a deleted element, the one deleted before it."""
    HASH = 8
    """u32."""
    LIST = 12
    """u8: in an LRU map, which list the element is in (struct bpf_lru_node from here on)."""
    REF = 13
    """u8: looked up by a program since it was last moved."""
    CPU = 14
    """u16: whose local list it is in."""
    LIST_NEXT = 16
    LIST_PREV = 24
    KEY = 32


# Finding ------------------------------------------------------------------------------------------


@native(inline=True)
def hash_of(map: int, key: int) -> int:
    """htab_map_hash."""
    return jhash(key, load_i64(map + MapAt.KEY_SIZE), load_i64(map + HashAt.SEED))


@native(inline=True)
def bucket_of(map: int, hash: int) -> int:
    """The address of the bucket."""
    return load_i64(map + HashAt.BUCKETS) + (hash & load_i64(map + HashAt.BUCKET_MASK)) * 8


@native(inline=True)
def find(map: int, key: int, hash: int) -> int:
    """lookup_elem_raw: the element, or 0."""
    size = load_i64(map + MapAt.KEY_SIZE)
    element = load_i64(bucket_of(map, hash))
    while element:
        if load_u32(element + ElementAt.HASH) == hash and same_bytes(element + ElementAt.KEY, key, size):
            return element
        element = load_i64(element)
    return 0


@native(inline=True)
def value_of(map: int, element: int) -> int:
    """The address of an element's (first) value."""
    return element + load_i64(map + MapAt.VALUE_OFFSET)


@native(inline=True)
def hash_lookup(map: int, key: int) -> int:
    """htab_map_lookup_elem: the address of the value (of CPU 0, in a per-CPU map), or 0."""
    element = find(map, key, hash_of(map, key))
    return value_of(map, element) if element else 0


@native(inline=True)
def hash_lookup_percpu(map: int, key: int) -> int:
    """htab_percpu_map_lookup_elem: the address of this CPU's value, or 0."""
    element = find(map, key, hash_of(map, key))
    return cpu_value(map, value_of(map, element)) if element else 0


@native(inline=True)
def hash_lookup_slot(map: int, key: int) -> int:
    """htab_of_map_lookup_elem: the inner map, or 0."""
    value = hash_lookup(map, key)
    return load_i64(value) if value else 0


@native
def hash_next_key(map: int, key: int, next_key: int) -> int:
    """htab_map_get_next_key: 0 or -errno; a key that is not there (or 0) asks for the first one."""
    size = load_i64(map + MapAt.KEY_SIZE)
    bucket = 0
    element = 0
    if key:
        hash = hash_of(map, key)
        element = find(map, key, hash)
        if element:
            bucket = (hash & load_i64(map + HashAt.BUCKET_MASK)) + 1
            element = load_i64(element)
    while not element and bucket <= load_i64(map + HashAt.BUCKET_MASK):
        element = load_i64(load_i64(map + HashAt.BUCKETS) + bucket * 8)
        bucket += 1
    if not element:
        return -errno.ENOENT
    copy(next_key, element + ElementAt.KEY, size)
    return 0


def all_keys(map: int) -> list[bytes]:
    """Every key in the order of the walk: what hash_next_key gives one by one, without looking each up."""
    count = load_i64(map + HashAt.BUCKET_MASK) + 1
    buckets = (ctypes.c_int64 * count).from_address(load_i64(map + HashAt.BUCKETS))
    size = load_i64(map + MapAt.KEY_SIZE)
    keys = []
    for element in filter(None, buckets):
        while element:
            keys.append(ctypes.string_at(element + ElementAt.KEY, size))
            element = load_i64(element)
    return keys


_STRETCH = 1 << 20
"""Bytes of buckets that are looked over at once."""


def key_after(map: int, key: int) -> bytes | None:
    """What hash_next_key gives, from outside: a map for very many has long stretches of empty buckets."""
    at = load_i64(map + HashAt.BUCKETS)
    end = at + (load_i64(map + HashAt.BUCKET_MASK) + 1) * 8
    element = 0
    if key:
        hash = hash_of(map, key)
        found = find(map, key, hash)
        if found:
            at += ((hash & load_i64(map + HashAt.BUCKET_MASK)) + 1) * 8
            element = load_i64(found)
    while not element and at < end:
        stretch = ctypes.string_at(at, min(_STRETCH, end - at))
        empty = (len(stretch) - len(stretch.lstrip(b"\0"))) // 8 * 8
        if empty < len(stretch):
            element = load_i64(at + empty)
        at += len(stretch)
    return ctypes.string_at(element + ElementAt.KEY, load_i64(map + MapAt.KEY_SIZE)) if element else None


# Elements and their buckets -----------------------------------------------------------------------


@native
def take_element(map: int) -> int:
    """A free element, or 0 where max_entries are in use."""
    if load_i64(map + HashAt.COUNT) >= load_i64(map + MapAt.MAX_ENTRIES):
        return 0
    store_i64(map + HashAt.COUNT, load_i64(map + HashAt.COUNT) + 1)
    element = load_i64(map + HashAt.FREE)
    if element:
        store_i64(map + HashAt.FREE, load_i64(element))
        return element
    element = load_i64(map + HashAt.FRESH)
    store_i64(map + HashAt.FRESH, element + load_i64(map + MapAt.ELEMENT_SIZE))
    return element


@native
def give_element(map: int, element: int) -> None:
    """free_htab_elem: the element may be taken again."""
    store_i64(element, load_i64(map + HashAt.FREE))
    store_i64(map + HashAt.FREE, element)
    store_i64(map + HashAt.COUNT, load_i64(map + HashAt.COUNT) - 1)


@native(inline=True)
def link(map: int, element: int, hash: int) -> None:
    """To the front of its bucket (hlist_nulls_add_head_rcu)."""
    bucket = bucket_of(map, hash)
    store_u32(element + ElementAt.HASH, hash)
    store_i64(element, load_i64(bucket))
    store_i64(bucket, element)


@native
def unlink(map: int, element: int) -> int:
    """Out of its bucket (hlist_nulls_del_rcu); 0 if it was in none."""
    at = bucket_of(map, load_u32(element + ElementAt.HASH))
    while load_i64(at):
        if load_i64(at) == element:
            store_i64(at, load_i64(element))
            return 1
        at = load_i64(at)  # an element begins with its NEXT
    return 0


@native(inline=True)
def existence_refusal(old: int, flags: int) -> int:
    """check_flags: 0, -EEXIST or -ENOENT."""
    if old and flags & ~UpdateFlag.F_LOCK == UpdateFlag.NOEXIST:
        return -errno.EEXIST
    if not old and flags & ~UpdateFlag.F_LOCK == UpdateFlag.EXIST:
        return -errno.ENOENT
    return 0


# Changing -----------------------------------------------------------------------------------------


@native
def hash_update(map: int, key: int, value: int, flags: int) -> int:
    """htab_map_update_elem: 0 or -errno."""
    if flags & ~UpdateFlag.F_LOCK not in (UpdateFlag.ANY, UpdateFlag.NOEXIST, UpdateFlag.EXIST):
        return -errno.EINVAL
    if flags & UpdateFlag.F_LOCK and not load_i64(map + MapAt.LOCK):
        return -errno.EINVAL
    hash = hash_of(map, key)
    old = find(map, key, hash)
    refusal = existence_refusal(old, flags)
    if refusal:
        return refusal
    if old and flags & UpdateFlag.F_LOCK:
        copy_value(map, value_of(map, old), value, load_i64(map + MapAt.VALUE_SIZE))
        return 0
    if old:
        new = load_i64(map + HashAt.SPARE)
        unlink(map, old)
        store_i64(map + HashAt.SPARE, old)
    else:
        new = take_element(map)
        if not new:
            return -errno.E2BIG
    copy(new + ElementAt.KEY, key, load_i64(map + MapAt.KEY_SIZE))
    clear_specials(map, value_of(map, new))
    copy_value(map, value_of(map, new), value, load_i64(map + MapAt.VALUE_SIZE))
    link(map, new, hash)
    return 0


@native
def element_for_update(map: int, key: int, flags: int) -> int:
    """The element of `key` to be written in place, a new one (its values 0) if need be, or -errno.

    __htab_percpu_map_update_elem, and htab_map_update_elem_in_place for maps of maps.
    """
    if flags not in (UpdateFlag.ANY, UpdateFlag.NOEXIST, UpdateFlag.EXIST):
        return -errno.EINVAL
    hash = hash_of(map, key)
    element = find(map, key, hash)
    refusal = existence_refusal(element, flags)
    if refusal:
        return refusal
    if not element:
        element = take_element(map)
        if not element:
            return -errno.E2BIG
        copy(element + ElementAt.KEY, key, load_i64(map + MapAt.KEY_SIZE))
        offset = load_i64(map + MapAt.VALUE_OFFSET)
        fill(element + offset, 0, load_i64(map + MapAt.ELEMENT_SIZE) - offset)
        link(map, element, hash)
    return element


@native
def copy_all_values(map: int, to: int, values: int) -> None:
    """The values of all CPUs, padding and all, as user space gave them."""
    stride = load_i64(map + MapAt.STRIDE)
    for cpu in range(load_i64(map + MapAt.CPUS)):
        copy_value(map, to + cpu * stride, values + cpu * stride, stride)


@native
def hash_update_percpu(map: int, key: int, value: int, flags: int) -> int:
    """htab_percpu_map_update_elem: this CPU's value; those of the others are 0 in a new element."""
    element = element_for_update(map, key, flags)
    if element < 0:
        return element
    copy_value(map, cpu_value(map, value_of(map, element)), value, load_i64(map + MapAt.VALUE_SIZE))
    return 0


@native
def hash_update_all(map: int, key: int, values: int, flags: int) -> int:
    """bpf_percpu_hash_update, from user space: the values of all CPUs."""
    element = element_for_update(map, key, flags)
    if element < 0:
        return element
    copy_all_values(map, value_of(map, element), values)
    return 0


@native
def hash_update_slot(map: int, key: int, value: int, flags: int) -> int:
    """bpf_fd_htab_map_update_elem: `value` is the slot's content itself."""
    element = element_for_update(map, key, flags)
    if element < 0:
        return element
    store_i64(value_of(map, element), value)
    return 0


@native
def hash_delete(map: int, key: int) -> int:
    """htab_map_delete_elem: 0 or -ENOENT."""
    element = find(map, key, hash_of(map, key))
    if not element:
        return -errno.ENOENT
    unlink(map, element)
    give_element(map, element)
    return 0
