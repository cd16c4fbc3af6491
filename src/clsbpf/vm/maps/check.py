"""Which maps can be made?  What BPF_MAP_CREATE checks, type by type, with its errno.

`map_alloc_check` of the kernel's map types.  The order of the checks decides which errno a map with two
mistakes gets; it is the kernel's.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from ...bpf.maps import PERCPU_TYPES, MapFlag, MapType
from ...bpf.spec import MapSpec
from ...errors import MapError

ENOTSUPP = 524
"""The kernel's own: not supported.  It has no name for user space."""

KMALLOC_MAX = 1 << 22
PERCPU_MAX = 32 << 10
"""PCPU_MIN_UNIT_SIZE: the largest value of a per-CPU map."""
HASH_ELEMENT_HEAD = 48
"""sizeof(struct htab_elem)."""
LPM_NODE_HEAD = 24
"""sizeof(struct lpm_trie_node)."""
PAGE = 4096
STACK_BYTES = 512
NR_CPUS = 8192
LOCAL_STORAGE_MAX = 0xFFFF - 72
"""BPF_LOCAL_STORAGE_MAX_VALUE_SIZE, about."""
U32 = 0xFFFFFFFF

ACCESS = MapFlag.RDONLY | MapFlag.WRONLY | MapFlag.RDONLY_PROG | MapFlag.WRONLY_PROG


def refuse(spec: MapSpec, code: int, why: str) -> MapError:
    """The error of a map that cannot be made."""
    return MapError(code, f"map {spec.name!r} ({spec.type_name}): {why}")


def check(spec: MapSpec) -> None:
    """Raises MapError unless the kernel would make such a map (map_create)."""
    for what in ("key_size", "value_size", "max_entries", "flags"):
        if not 0 <= getattr(spec, what) <= U32:
            raise refuse(spec, errno.EINVAL, f"{what} {getattr(spec, what)} does not fit in 32 bits")
    if spec.map_extra and spec.type != MapType.BLOOM_FILTER:
        raise refuse(spec, errno.EINVAL, "map_extra is for bloom filters only")
    _one_of(spec, MapFlag.RDONLY, MapFlag.WRONLY)
    checker = _CHECKERS.get(spec.type)
    if checker is None:
        raise refuse(spec, errno.EINVAL, "maps of this type cannot be made here")
    checker(spec)


def _one_of(spec: MapSpec, one: MapFlag, other: MapFlag) -> None:
    if spec.flags & one and spec.flags & other:
        raise refuse(spec, errno.EINVAL, f"flags {one.name} and {other.name} exclude each other")


def _flags(spec: MapSpec, allowed: int) -> None:
    """Only flags that the type knows, and at most one side of the programs' access."""
    unknown = spec.flags & ~allowed
    if unknown:
        named = [flag.name for flag in MapFlag if flag & unknown]
        raise refuse(
            spec, errno.EINVAL, f"flags {unknown:#x} ({', '.join(named) or 'unknown'}) are not for this type"
        )
    _one_of(spec, MapFlag.RDONLY_PROG, MapFlag.WRONLY_PROG)


def _size(spec: MapSpec, what: str, *allowed: int) -> None:
    """`what` (key_size, …) is one of the sizes allowed; any but 0 where none are named."""
    size = getattr(spec, what)
    if allowed and size not in allowed:
        wanted = " or ".join(str(one) for one in allowed)
        raise refuse(spec, errno.EINVAL, f"{what} is {size}, must be {wanted}")
    if not allowed and size == 0:
        raise refuse(spec, errno.EINVAL, f"{what} is 0, must be at least 1")


def _at_most(spec: MapSpec, what: str, limit: int, code: int = errno.E2BIG) -> None:
    if getattr(spec, what) > limit:
        raise refuse(spec, code, f"{what} is {getattr(spec, what)}, may be at most {limit}")


def _array(spec: MapSpec) -> None:
    """array_map_alloc_check."""
    percpu = spec.type == MapType.PERCPU_ARRAY
    allowed = ACCESS | MapFlag.NUMA_NODE
    if spec.type == MapType.ARRAY:
        allowed |= MapFlag.MMAPABLE | MapFlag.INNER_MAP
    if spec.type == MapType.PERF_EVENT_ARRAY:
        allowed |= MapFlag.PRESERVE_ELEMS
    if percpu:
        allowed &= ~MapFlag.NUMA_NODE
    _size(spec, "max_entries")
    _size(spec, "key_size", 4)
    _size(spec, "value_size")
    _flags(spec, allowed)
    _at_most(spec, "value_size", 0x7FFFFFFF)
    if percpu:
        _at_most(spec, "value_size", PERCPU_MAX)


def _descriptors(spec: MapSpec) -> None:
    """fd_array_map_alloc_check: an array of descriptors."""
    _size(spec, "value_size", 4)
    _flags(spec, ~(MapFlag.RDONLY_PROG | MapFlag.WRONLY_PROG))
    _array(spec)


def _hash(spec: MapSpec) -> None:
    """htab_map_alloc_check, and the limits of htab_map_alloc."""
    lru = spec.type in (MapType.LRU_HASH, MapType.LRU_PERCPU_HASH)
    percpu = spec.type in PERCPU_TYPES
    allowed = ACCESS | MapFlag.NO_PREALLOC | MapFlag.NO_COMMON_LRU | MapFlag.NUMA_NODE | MapFlag.ZERO_SEED
    _flags(spec, allowed)
    if not lru and spec.flags & MapFlag.NO_COMMON_LRU:
        raise refuse(spec, errno.EINVAL, "flag NO_COMMON_LRU is for LRU maps only")
    if lru and spec.flags & MapFlag.NO_PREALLOC:
        raise refuse(spec, ENOTSUPP, "an LRU map cannot have NO_PREALLOC")
    if spec.flags & MapFlag.NUMA_NODE and (percpu or spec.flags & MapFlag.NO_COMMON_LRU):
        raise refuse(spec, errno.EINVAL, "a map with something for each CPU cannot have NUMA_NODE")
    for what in ("max_entries", "key_size", "value_size"):
        _size(spec, what)
    if spec.key_size + spec.value_size >= KMALLOC_MAX - HASH_ELEMENT_HEAD:
        raise refuse(
            spec,
            errno.E2BIG,
            f"key_size {spec.key_size} and value_size {spec.value_size} must be below "
            f"{KMALLOC_MAX - HASH_ELEMENT_HEAD} together",
        )
    if percpu:
        _at_most(spec, "value_size", PERCPU_MAX)
    _at_most(spec, "max_entries", 1 << 31)


def _hash_of_maps(spec: MapSpec) -> None:
    """fd_htab_map_alloc_check."""
    _size(spec, "value_size", 4)
    _hash(spec)


def _inner(spec: MapSpec) -> None:
    """bpf_map_meta_alloc: what a map of maps holds."""
    inner = spec.inner
    if inner is None:
        raise refuse(spec, errno.EINVAL, "the map does not say what its inner maps look like")
    if inner.inner is not None or inner.type in (MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS):
        raise refuse(spec, errno.EINVAL, "maps of maps of maps cannot be made")
    if inner.type in (MapType.PROG_ARRAY, MapType.STRUCT_OPS):
        raise refuse(spec, ENOTSUPP, f"a {inner.type_name} cannot be an inner map")


def _array_of_maps(spec: MapSpec) -> None:
    _descriptors(spec)
    _inner(spec)


def _hash_of_any(spec: MapSpec) -> None:
    _hash_of_maps(spec)
    _inner(spec)


def _lpm_trie(spec: MapSpec) -> None:
    """trie_alloc: the key is a prefix length (u32) and 1 to 256 bytes; every mistake is EINVAL."""
    _size(spec, "max_entries")
    if not spec.flags & MapFlag.NO_PREALLOC:
        raise refuse(spec, errno.EINVAL, "the flag NO_PREALLOC must be set")
    _flags(spec, ACCESS | MapFlag.NO_PREALLOC | MapFlag.NUMA_NODE)
    if not 5 <= spec.key_size <= 260:
        raise refuse(spec, errno.EINVAL, f"key_size is {spec.key_size}, must be 5 to 260")
    _size(spec, "value_size")
    _at_most(spec, "value_size", KMALLOC_MAX - 256 - LPM_NODE_HEAD, errno.EINVAL)


def _queue(spec: MapSpec) -> None:
    """queue_stack_map_alloc_check."""
    _size(spec, "max_entries")
    _size(spec, "key_size", 0)
    _size(spec, "value_size")
    _flags(spec, ACCESS | MapFlag.NUMA_NODE)
    _at_most(spec, "value_size", KMALLOC_MAX)


def _bloom(spec: MapSpec) -> None:
    """bloom_map_alloc_check, and bloom_map_alloc of the map_extra."""
    _size(spec, "value_size")
    _at_most(spec, "value_size", KMALLOC_MAX)
    _size(spec, "key_size", 0)
    _size(spec, "max_entries")
    _flags(spec, ACCESS | MapFlag.NUMA_NODE | MapFlag.ZERO_SEED)
    if not 0 <= spec.map_extra <= 15:
        raise refuse(spec, errno.EINVAL, f"map_extra is {spec.map_extra}: 0 to 15 hash functions")


def _ringbuf(spec: MapSpec) -> None:
    """ringbuf_map_alloc."""
    _flags(spec, MapFlag.NUMA_NODE)
    _size(spec, "key_size", 0)
    _size(spec, "value_size", 0)
    size = spec.max_entries
    if size == 0 or size & (size - 1) or size % PAGE:
        raise refuse(spec, errno.EINVAL, f"max_entries is {size}, must be {PAGE} times a power of two")


def _devmap(spec: MapSpec) -> None:
    """dev_map_alloc_check: values are an ifindex, or an ifindex and a program."""
    _size(spec, "max_entries")
    _size(spec, "key_size", 4)
    _size(spec, "value_size", 4, 8)
    _flags(spec, MapFlag.NUMA_NODE | MapFlag.RDONLY | MapFlag.WRONLY)
    if spec.type == MapType.DEVMAP_HASH:
        _at_most(spec, "max_entries", 1 << 31, errno.EINVAL)


def _cpumap(spec: MapSpec) -> None:
    """cpu_map_alloc."""
    _size(spec, "max_entries")
    _size(spec, "key_size", 4)
    _size(spec, "value_size", 4, 8)
    _flags(spec, MapFlag.NUMA_NODE)
    _at_most(spec, "max_entries", NR_CPUS)


def _sockmap(spec: MapSpec) -> None:
    """sock_map_alloc, sock_hash_alloc, xsk_map_alloc: declared, and always empty here."""
    _size(spec, "max_entries")
    if spec.type == MapType.SOCKHASH:
        _size(spec, "key_size")
    else:
        _size(spec, "key_size", 4)
    _size(spec, "value_size", *((4,) if spec.type == MapType.XSKMAP else (4, 8)))
    _flags(spec, MapFlag.NUMA_NODE | MapFlag.RDONLY | MapFlag.WRONLY)
    if spec.type == MapType.SOCKHASH:
        _at_most(spec, "key_size", STACK_BYTES)


def _storage(spec: MapSpec) -> None:
    """bpf_local_storage_map_alloc_check: the types of key and value must be known."""
    _flags(spec, MapFlag.NO_PREALLOC | MapFlag.CLONE)
    if not spec.flags & MapFlag.NO_PREALLOC:
        raise refuse(spec, errno.EINVAL, "the flag NO_PREALLOC must be set")
    _size(spec, "max_entries", 0)
    _size(spec, "key_size", 4)
    _size(spec, "value_size")
    if spec.key_type is None or spec.value_type is None:
        raise refuse(spec, errno.EINVAL, "the types of key and value (BTF) must be known")
    _at_most(spec, "value_size", LOCAL_STORAGE_MAX)


_CHECKERS: dict[int, Callable[[MapSpec], None]] = {
    MapType.HASH: _hash,
    MapType.PERCPU_HASH: _hash,
    MapType.LRU_HASH: _hash,
    MapType.LRU_PERCPU_HASH: _hash,
    MapType.ARRAY: _array,
    MapType.PERCPU_ARRAY: _array,
    MapType.PROG_ARRAY: _descriptors,
    MapType.PERF_EVENT_ARRAY: _descriptors,
    MapType.CGROUP_ARRAY: _descriptors,
    MapType.ARRAY_OF_MAPS: _array_of_maps,
    MapType.HASH_OF_MAPS: _hash_of_any,
    MapType.LPM_TRIE: _lpm_trie,
    MapType.QUEUE: _queue,
    MapType.STACK: _queue,
    MapType.BLOOM_FILTER: _bloom,
    MapType.RINGBUF: _ringbuf,
    MapType.DEVMAP: _devmap,
    MapType.DEVMAP_HASH: _devmap,
    MapType.CPUMAP: _cpumap,
    MapType.SOCKMAP: _sockmap,
    MapType.SOCKHASH: _sockmap,
    MapType.XSKMAP: _sockmap,
    MapType.SK_STORAGE: _storage,
    MapType.TASK_STORAGE: _storage,
    MapType.CGRP_STORAGE: _storage,
}
