"""What memory does a map of some type need?  `map_alloc` of the kernel's map types, after the checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ...bpf.maps import PERCPU_TYPES, MapFlag, MapType
from ...bpf.spec import MapSpec
from ..subset import store_i64
from .hash import ElementAt, HashAt
from .header import MapAt
from .lru import LOCAL_FREE_TARGET, PERCPU_FREE_TARGET, LocalAt, LruAt
from .storage import Storage

SLOT: Final = 8
"""Bytes of a slot: what a descriptor in an array stands for (slots.py)."""


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
    if spec.type in _SLOTTED:
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


def _empty_list(head: int) -> None:
    """INIT_LIST_HEAD."""
    store_i64(head + ElementAt.LIST_NEXT, head)
    store_i64(head + ElementAt.LIST_PREV, head)


_SLOTTED = frozenset(
    {
        MapType.PROG_ARRAY,
        MapType.PERF_EVENT_ARRAY,
        MapType.CGROUP_ARRAY,
        MapType.ARRAY_OF_MAPS,
        MapType.HASH_OF_MAPS,
    }
)

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
}
