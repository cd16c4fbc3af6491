"""What may a program do with a map?  The operations by the map's type, as helpers call them.

`bpf_map_lookup_elem` and its like know only the map's address; the type, in the header, decides.  Which
operations a program may call on which type is the verifier's to say (check_map_func_compatibility); here
what does not fit gives 0 or an errno.
"""

from __future__ import annotations

import errno

from ...bpf.maps import MapType
from ..subset import load_i64, native
from . import array, devices, hash, lpm, lru, queue
from .header import MapAt


@native
def map_lookup(map: int, key: int) -> int:
    """bpf_map_lookup_elem: the address of the value (of a map of maps: the inner map), or 0."""
    type = load_i64(map + MapAt.TYPE)
    if type == MapType.HASH:
        return hash.hash_lookup(map, key)
    if type == MapType.ARRAY:
        return array.array_lookup(map, key)
    if type == MapType.PERCPU_HASH:
        return hash.hash_lookup_percpu(map, key)
    if type == MapType.PERCPU_ARRAY:
        return array.array_lookup_percpu(map, key)
    if type == MapType.LRU_HASH:
        return lru.lru_lookup(map, key)
    if type == MapType.LRU_PERCPU_HASH:
        return lru.lru_lookup_percpu(map, key)
    if type == MapType.LPM_TRIE:
        return lpm.trie_lookup(map, key)
    if type == MapType.ARRAY_OF_MAPS:
        return array.array_lookup_slot(map, key)
    if type == MapType.HASH_OF_MAPS:
        return hash.hash_lookup_slot(map, key)
    if type in (MapType.DEVMAP, MapType.CPUMAP):
        return devices.device_lookup(map, key)
    if type == MapType.DEVMAP_HASH:
        return hash.hash_lookup(map, key)
    return 0


@native
def map_update(map: int, key: int, value: int, flags: int) -> int:
    """bpf_map_update_elem: 0 or -errno."""
    type = load_i64(map + MapAt.TYPE)
    if type == MapType.HASH:
        return hash.hash_update(map, key, value, flags)
    if type == MapType.ARRAY:
        return array.array_update(map, key, value, flags)
    if type == MapType.PERCPU_HASH:
        return hash.hash_update_percpu(map, key, value, flags)
    if type == MapType.PERCPU_ARRAY:
        return array.array_update_percpu(map, key, value, flags)
    if type == MapType.LRU_HASH:
        return lru.lru_update(map, key, value, flags)
    if type == MapType.LRU_PERCPU_HASH:
        return lru.lru_update_percpu(map, key, value, flags)
    if type == MapType.LPM_TRIE:
        return lpm.trie_update(map, key, value, flags)
    return -errno.EINVAL


@native
def map_delete(map: int, key: int) -> int:
    """bpf_map_delete_elem: 0 or -errno."""
    type = load_i64(map + MapAt.TYPE)
    if type in (MapType.HASH, MapType.PERCPU_HASH):
        return hash.hash_delete(map, key)
    if type in (MapType.LRU_HASH, MapType.LRU_PERCPU_HASH):
        return lru.lru_delete(map, key)
    if type in (MapType.ARRAY, MapType.PERCPU_ARRAY):
        return array.array_delete(map, key)
    if type == MapType.LPM_TRIE:
        return lpm.trie_delete(map, key)
    return -errno.EINVAL


@native
def map_lookup_percpu(map: int, key: int, cpu: int) -> int:
    """bpf_map_lookup_percpu_elem: the address of a CPU's value, or 0."""
    if cpu < 0 or cpu >= load_i64(map + MapAt.CPUS):
        return 0
    type = load_i64(map + MapAt.TYPE)
    value = 0
    if type == MapType.PERCPU_ARRAY:
        value = array.array_lookup(map, key)
    if type == MapType.PERCPU_HASH:
        value = hash.hash_lookup(map, key)
    if type == MapType.LRU_PERCPU_HASH:
        value = lru.lru_lookup(map, key)
    return value + cpu * load_i64(map + MapAt.STRIDE) if value else 0


@native
def map_push(map: int, value: int, flags: int) -> int:
    """bpf_map_push_elem: 0 or -errno."""
    type = load_i64(map + MapAt.TYPE)
    if type in (MapType.QUEUE, MapType.STACK):
        return queue.queue_push(map, value, flags)
    if type == MapType.BLOOM_FILTER:
        return queue.bloom_push(map, value, flags)
    return -errno.EOPNOTSUPP


@native
def map_pop(map: int, value: int) -> int:
    """bpf_map_pop_elem: 0 or -errno."""
    if load_i64(map + MapAt.TYPE) in (MapType.QUEUE, MapType.STACK):
        return queue.queue_pop(map, value)
    return -errno.EOPNOTSUPP


@native
def map_peek(map: int, value: int) -> int:
    """bpf_map_peek_elem: 0 or -errno."""
    type = load_i64(map + MapAt.TYPE)
    if type in (MapType.QUEUE, MapType.STACK):
        return queue.queue_peek(map, value)
    if type == MapType.BLOOM_FILTER:
        return queue.bloom_peek(map, value)
    return -errno.EOPNOTSUPP
