"""What kinds of map are there, and which flags do they know?  Numbers and names of linux/bpf.h."""

from __future__ import annotations

import enum


class MapType(enum.IntEnum):
    """enum bpf_map_type."""

    UNSPEC = 0
    HASH = 1
    ARRAY = 2
    PROG_ARRAY = 3
    PERF_EVENT_ARRAY = 4
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    STACK_TRACE = 7
    CGROUP_ARRAY = 8
    LRU_HASH = 9
    LRU_PERCPU_HASH = 10
    LPM_TRIE = 11
    ARRAY_OF_MAPS = 12
    HASH_OF_MAPS = 13
    DEVMAP = 14
    SOCKMAP = 15
    CPUMAP = 16
    XSKMAP = 17
    SOCKHASH = 18
    CGROUP_STORAGE = 19
    REUSEPORT_SOCKARRAY = 20
    PERCPU_CGROUP_STORAGE = 21
    QUEUE = 22
    STACK = 23
    SK_STORAGE = 24
    DEVMAP_HASH = 25
    STRUCT_OPS = 26
    RINGBUF = 27
    INODE_STORAGE = 28
    TASK_STORAGE = 29
    BLOOM_FILTER = 30
    USER_RINGBUF = 31
    CGRP_STORAGE = 32
    ARENA = 33


class MapFlag(enum.IntEnum):
    """BPF_F_*: flags of BPF_MAP_CREATE.  Not an IntFlag: `~` must keep the bits that have no name."""

    NO_PREALLOC = 1 << 0
    NO_COMMON_LRU = 1 << 1
    NUMA_NODE = 1 << 2
    RDONLY = 1 << 3
    """Not to be written through bpf(2)."""
    WRONLY = 1 << 4
    """Not to be read through bpf(2)."""
    STACK_BUILD_ID = 1 << 5
    ZERO_SEED = 1 << 6
    RDONLY_PROG = 1 << 7
    """Not to be written by programs."""
    WRONLY_PROG = 1 << 8
    """Not to be read by programs."""
    CLONE = 1 << 9
    MMAPABLE = 1 << 10
    PRESERVE_ELEMS = 1 << 11
    INNER_MAP = 1 << 12
    LINK = 1 << 13
    PATH_FD = 1 << 14
    VTYPE_BTF_OBJ_FD = 1 << 15
    TOKEN_FD = 1 << 16
    SEGV_ON_FAULT = 1 << 17
    NO_USER_CONV = 1 << 18


class UpdateFlag(enum.IntEnum):
    """Flags of an element's update (and F_LOCK of a lookup)."""

    ANY = 0
    NOEXIST = 1
    """Only a new key (EEXIST otherwise)."""
    EXIST = 2
    """Only a key that is there (ENOENT otherwise)."""
    F_LOCK = 4
    """Hold the value's spin lock while copying."""


PERCPU_TYPES = frozenset({MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH})
"""Maps with one value for each possible CPU.  (PERCPU_CGROUP_STORAGE is another, for cgroup programs.)"""


def type_name(type: int) -> str:
    """`lru_hash`, as bpftool calls it; the number where it has no name here."""
    try:
        return MapType(type).name.lower()
    except ValueError:
        return str(type)
