"""What may a program do with a map?  The operations by the map's type, as helpers call them.

`bpf_map_lookup_elem` and its like know only the map's address; the type decides.  The functions here
choose by the header; machine code for a program whose maps are known calls the type's own function, which
`OPERATIONS` names.  A choice and the table say the same; a test compares them.
"""

from __future__ import annotations

import errno

from ...bpf.maps import MapType
from ..subset import load_i64, native
from .array import (
    array_delete,
    array_lookup,
    array_lookup_percpu,
    array_lookup_slot,
    array_update,
    array_update_percpu,
)
from .hash import (
    hash_delete,
    hash_lookup,
    hash_lookup_percpu,
    hash_lookup_slot,
    hash_update,
    hash_update_percpu,
)
from .header import MapAt
from .lru import lru_delete, lru_lookup, lru_lookup_percpu, lru_update, lru_update_percpu


@native
def map_lookup(map: int, key: int) -> int:
    """bpf_map_lookup_elem: the address of the value (of a map of maps: the inner map), or 0."""
    type = load_i64(map + MapAt.TYPE)
    if type == MapType.HASH:
        return hash_lookup(map, key)
    if type == MapType.ARRAY:
        return array_lookup(map, key)
    if type == MapType.PERCPU_HASH:
        return hash_lookup_percpu(map, key)
    if type == MapType.PERCPU_ARRAY:
        return array_lookup_percpu(map, key)
    if type == MapType.LRU_HASH:
        return lru_lookup(map, key)
    if type == MapType.LRU_PERCPU_HASH:
        return lru_lookup_percpu(map, key)
    if type == MapType.ARRAY_OF_MAPS:
        return array_lookup_slot(map, key)
    if type == MapType.HASH_OF_MAPS:
        return hash_lookup_slot(map, key)
    return 0


@native
def map_update(map: int, key: int, value: int, flags: int) -> int:
    """bpf_map_update_elem: 0 or -errno."""
    type = load_i64(map + MapAt.TYPE)
    if type == MapType.HASH:
        return hash_update(map, key, value, flags)
    if type == MapType.ARRAY:
        return array_update(map, key, value, flags)
    if type == MapType.PERCPU_HASH:
        return hash_update_percpu(map, key, value, flags)
    if type == MapType.PERCPU_ARRAY:
        return array_update_percpu(map, key, value, flags)
    if type == MapType.LRU_HASH:
        return lru_update(map, key, value, flags)
    if type == MapType.LRU_PERCPU_HASH:
        return lru_update_percpu(map, key, value, flags)
    return -errno.EINVAL


@native
def map_delete(map: int, key: int) -> int:
    """bpf_map_delete_elem: 0 or -errno."""
    type = load_i64(map + MapAt.TYPE)
    if type in (MapType.HASH, MapType.PERCPU_HASH):
        return hash_delete(map, key)
    if type in (MapType.LRU_HASH, MapType.LRU_PERCPU_HASH):
        return lru_delete(map, key)
    if type in (MapType.ARRAY, MapType.PERCPU_ARRAY):
        return array_delete(map, key)
    return -errno.EINVAL
