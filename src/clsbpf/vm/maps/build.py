"""What memory does a map of some type need?  `map_alloc` of the kernel's map types, after the checks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

from ...bpf.maps import PERCPU_TYPES, MapFlag, MapType
from ...bpf.spec import MapSpec
from ..subset import store_i64
from .devices import DeviceAt
from .hash import ElementAt, HashAt
from .header import MapAt
from .lpm import KEY_DATA, NodeAt, TrieAt
from .lru import LOCAL_FREE_TARGET, PERCPU_FREE_TARGET, LocalAt, LruAt
from .queue import BloomAt
from .storage import Storage

SLOT: Final = 8
"""Bytes of a slot: what a descriptor in an array stands for."""
BLOOM_HASHES: Final = 5
"""Hash functions of a Bloom filter that does not say."""
OWNERS: Final = 1 << 20
"""How many sockets or tasks may have a value; in the kernel their memory bounds it."""
U32: Final = 0xFFFFFFFF


def build(spec: MapSpec, *, cpus: int, seed: int) -> Storage:
    """The header and the memory of a new, empty map.  Raises MapError (ENOMEM)."""
    storage = Storage()
    storage[MapAt.TYPE] = spec.type
    storage[MapAt.KEY_SIZE] = spec.key_size
    storage[MapAt.VALUE_SIZE] = spec.value_size
    storage[MapAt.MAX_ENTRIES] = spec.max_entries
    storage[MapAt.FLAGS] = spec.flags
    storage[MapAt.CPUS] = cpus
    storage[MapAt.STRIDE] = _up(spec.value_size)
    _BUILDERS[spec.type](spec, storage, 0 if spec.flags & MapFlag.ZERO_SEED else seed)
    return storage


def _up(size: int) -> int:
    return (size + 7) & ~7


def _power_of_two(count: int) -> int:
    """roundup_pow_of_two."""
    return 1 << (count - 1).bit_length()


def _element_values(spec: MapSpec, storage: Storage) -> int:
    """Bytes of an element's value, or of its values on all CPUs."""
    if spec.type in SLOTTED:
        return SLOT
    return storage[MapAt.STRIDE] * (storage[MapAt.CPUS] if spec.type in PERCPU_TYPES else 1)


def _elements(storage: Storage, count: int) -> int:
    """The address of the memory of `count` elements."""
    size = count * storage[MapAt.ELEMENT_SIZE]
    storage[MapAt.ELEMENTS] = storage.reserve(size)
    storage[MapAt.ELEMENTS_END] = storage[MapAt.ELEMENTS] + size
    return storage[MapAt.ELEMENTS]


def _array(spec: MapSpec, storage: Storage, seed: int) -> None:
    storage[MapAt.ELEMENT_SIZE] = _element_values(spec, storage)
    _elements(storage, spec.max_entries)


def _hash(spec: MapSpec, storage: Storage, seed: int) -> None:
    buckets = _power_of_two(spec.max_entries)
    storage[MapAt.VALUE_OFFSET] = ElementAt.KEY + _up(spec.key_size)
    size = storage[MapAt.VALUE_OFFSET] + _element_values(spec, storage)
    storage[MapAt.ELEMENT_SIZE] = size
    storage[HashAt.BUCKETS] = storage.reserve(buckets * 8)
    storage[HashAt.BUCKET_MASK] = buckets - 1
    storage[HashAt.SEED] = seed
    elements = _elements(storage, spec.max_entries + 1)
    storage[HashAt.SPARE] = elements
    storage[HashAt.FRESH] = elements + size


def _lru(spec: MapSpec, storage: Storage, seed: int) -> None:
    """htab_map_alloc and bpf_lru_populate: with NO_COMMON_LRU every CPU gets the same share."""
    cpus = storage[MapAt.CPUS]
    entries = spec.max_entries
    common = not spec.flags & MapFlag.NO_COMMON_LRU
    if not common:
        entries = -(-entries // cpus) * cpus
        if entries > 0xFFFFFFFF:
            entries = spec.max_entries // cpus * cpus
        storage[MapAt.MAX_ENTRIES] = entries
    storage[MapAt.VALUE_OFFSET] = ElementAt.KEY + _up(spec.key_size)
    size = storage[MapAt.VALUE_OFFSET] + _element_values(spec, storage)
    storage[MapAt.ELEMENT_SIZE] = size
    storage[HashAt.BUCKETS] = storage.reserve(_power_of_two(entries) * 8)
    storage[HashAt.BUCKET_MASK] = _power_of_two(entries) - 1
    storage[HashAt.SEED] = seed
    elements = _elements(storage, entries)
    storage[HashAt.LRU] = storage.reserve(LruAt.LOCALS + cpus * LocalAt.SIZE if common else cpus * LruAt.SIZE)
    target = min(max(entries // cpus // 2, 1), LOCAL_FREE_TARGET)
    scans = LOCAL_FREE_TARGET if common else PERCPU_FREE_TARGET
    share = entries if common else entries // cpus
    for cpu in range(1 if common else cpus):
        lists = storage[HashAt.LRU] + cpu * LruAt.SIZE
        for head in (LruAt.ACTIVE, LruAt.INACTIVE, LruAt.FREE):
            _empty_list(lists + head)
        for at, value in (
            (LruAt.ROTATION, lists + LruAt.INACTIVE),
            (LruAt.FRESH, elements + cpu * share * size),
            (LruAt.FRESH_COUNT, share),
            (LruAt.TARGET_FREE, target),
            (LruAt.SCANS, scans),
        ):
            store_i64(lists + at, value)
    for cpu in range(cpus if common else 0):
        local = storage[HashAt.LRU] + LruAt.LOCALS + cpu * LocalAt.SIZE
        _empty_list(local + LocalAt.FREE)
        _empty_list(local + LocalAt.PENDING)
        store_i64(local + LocalAt.NEXT_STEAL, cpu)


def _trie(spec: MapSpec, storage: Storage, seed: int) -> None:
    """trie_alloc.  Intermediate nodes are fewer than entries; a new node is taken before an old one goes."""
    storage[TrieAt.DATA_SIZE] = spec.key_size - KEY_DATA
    storage[MapAt.VALUE_OFFSET] = NodeAt.DATA + _up(spec.key_size - KEY_DATA)
    storage[MapAt.ELEMENT_SIZE] = storage[MapAt.VALUE_OFFSET] + storage[MapAt.STRIDE]
    storage[TrieAt.FRESH] = _elements(storage, 2 * spec.max_entries + 1)


def _queue(spec: MapSpec, storage: Storage, seed: int) -> None:
    storage[MapAt.ELEMENT_SIZE] = storage[MapAt.STRIDE]
    _elements(storage, spec.max_entries + 1)


def _bloom(spec: MapSpec, storage: Storage, seed: int) -> None:
    """bloom_map_alloc: 7 bits for 5 times an entry's hashes, rounded up to a power of two."""
    hashes = spec.map_extra or BLOOM_HASHES
    bits = spec.max_entries * hashes // 5 * 7
    if spec.max_entries * hashes > U32 or bits > 1 << 31:
        bits = 1 << 32
    bits = max(_power_of_two(bits) if bits else 0, 64)
    storage[MapAt.ELEMENT_SIZE] = 1
    storage[BloomAt.MASK] = bits - 1
    storage[BloomAt.HASHES] = hashes
    storage[BloomAt.SEED] = seed
    _elements(storage, bits // 8)


def _ringbuf(spec: MapSpec, storage: Storage, seed: int) -> None:
    """Twice the size: a record at the end runs on (ringbuf.py)."""
    storage[MapAt.ELEMENT_SIZE] = 1
    _elements(storage, 2 * spec.max_entries)


def _devices(spec: MapSpec, storage: Storage, seed: int) -> None:
    storage[MapAt.ELEMENT_SIZE] = DeviceAt.END
    _elements(storage, spec.max_entries)


def _storage(spec: MapSpec, storage: Storage, seed: int) -> None:
    """bpf_local_storage_map_alloc: a hash map by what owns the value."""
    storage[MapAt.KEY_SIZE] = 8
    storage[MapAt.MAX_ENTRIES] = OWNERS
    _hash(dataclasses.replace(spec, key_size=8, max_entries=OWNERS), storage, seed)


def _nothing(spec: MapSpec, storage: Storage, seed: int) -> None:
    """A map that is declared, and always empty here."""


def _empty_list(head: int) -> None:
    """INIT_LIST_HEAD."""
    store_i64(head + ElementAt.LIST_NEXT, head)
    store_i64(head + ElementAt.LIST_PREV, head)


SLOTTED = frozenset(
    {
        MapType.PROG_ARRAY,
        MapType.PERF_EVENT_ARRAY,
        MapType.CGROUP_ARRAY,
        MapType.ARRAY_OF_MAPS,
        MapType.HASH_OF_MAPS,
    }
)
"""Maps whose elements are slots."""

_BUILDERS: dict[int, Callable[[MapSpec, Storage, int], None]] = {
    MapType.ARRAY: _array,
    MapType.PERCPU_ARRAY: _array,
    MapType.PROG_ARRAY: _array,
    MapType.PERF_EVENT_ARRAY: _array,
    MapType.CGROUP_ARRAY: _array,
    MapType.ARRAY_OF_MAPS: _array,
    MapType.HASH: _hash,
    MapType.PERCPU_HASH: _hash,
    MapType.HASH_OF_MAPS: _hash,
    MapType.LRU_HASH: _lru,
    MapType.LRU_PERCPU_HASH: _lru,
    MapType.LPM_TRIE: _trie,
    MapType.QUEUE: _queue,
    MapType.STACK: _queue,
    MapType.BLOOM_FILTER: _bloom,
    MapType.RINGBUF: _ringbuf,
    MapType.DEVMAP: _devices,
    MapType.CPUMAP: _devices,
    MapType.DEVMAP_HASH: _hash,
    MapType.SK_STORAGE: _storage,
    MapType.TASK_STORAGE: _storage,
    MapType.CGRP_STORAGE: _storage,
    MapType.SOCKMAP: _nothing,
    MapType.SOCKHASH: _nothing,
    MapType.XSKMAP: _nothing,
}
