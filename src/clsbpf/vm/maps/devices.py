"""What do the maps of devices, CPUs and sockets do here?  What a tc program and a user see of them.

Their purpose, redirecting XDP frames, does not exist for tc programs; those may be in one object with XDP
programs, fill such maps from outside and look values up.  kernel/bpf/devmap.c: a value is an interface
index (and a program); cpumap.c: a queue's length (and a program).  An element has its value, and whether
it is there.  net/core/bpf_sk_storage.c: a value for each socket, wherever the socket goes.
"""

from __future__ import annotations

import enum
import errno

from ...bpf.maps import UpdateFlag
from ..subset import copy, fill, load_i64, load_u32, native, store_i64
from .array import array_lookup
from .hash import ElementAt, find, give_element, hash_of, hash_update, link, take_element, unlink, value_of
from .header import MapAt, copy_value


class DeviceAt(enum.IntEnum):
    """Byte offsets in an element."""

    VALUE = 0
    """Up to 8 bytes."""
    PRESENT = 8
    """i64."""
    END = 16


CPU_QUEUE_MAX = 16384
"""The longest queue of a cpumap."""


@native
def device_lookup(map: int, key: int) -> int:
    """dev_map_lookup_elem, cpu_map_lookup_elem: the address of the value, or 0."""
    element = array_lookup(map, key)
    return element if element and load_i64(element + DeviceAt.PRESENT) else 0


@native
def device_refusal(map: int, key: int, flags: int) -> int:
    """What updates of a devmap and a cpumap check first: 0 or -errno."""
    if flags not in (UpdateFlag.ANY, UpdateFlag.NOEXIST, UpdateFlag.EXIST):
        return -errno.EINVAL
    if load_u32(key) >= load_i64(map + MapAt.MAX_ENTRIES):
        return -errno.E2BIG
    return -errno.EEXIST if flags == UpdateFlag.NOEXIST else 0


@native
def device_put(map: int, key: int, value: int) -> int:
    """The value is there, or with 0 in its first four bytes gone."""
    element = array_lookup(map, key)
    copy(element, value, load_i64(map + MapAt.VALUE_SIZE))
    store_i64(element + DeviceAt.PRESENT, load_u32(value) != 0)
    return 0


@native
def devmap_update(map: int, key: int, value: int, flags: int) -> int:
    """__dev_map_update_elem: 0 or -errno.  Whether there is such a device is not asked."""
    refusal = device_refusal(map, key, flags)
    return refusal if refusal else device_put(map, key, value)


@native
def cpumap_update(map: int, key: int, value: int, flags: int) -> int:
    """cpu_map_update_elem: 0 or -errno."""
    refusal = device_refusal(map, key, flags)
    if refusal:
        return refusal
    if load_u32(value) > CPU_QUEUE_MAX:
        return -errno.EOVERFLOW
    if load_u32(key) >= load_i64(map + MapAt.CPUS):
        return -errno.ENODEV
    return device_put(map, key, value)


@native
def device_delete(map: int, key: int) -> int:
    """dev_map_delete_elem, cpu_map_delete_elem: 0, also where nothing was, or -EINVAL."""
    element = array_lookup(map, key)
    if not element:
        return -errno.EINVAL
    store_i64(element + DeviceAt.PRESENT, 0)
    return 0


@native
def devmap_hash_update(map: int, key: int, value: int, flags: int) -> int:
    """__dev_map_hash_update_elem: 0 or -errno.  BPF_EXIST is taken, and not heeded."""
    if flags not in (UpdateFlag.ANY, UpdateFlag.NOEXIST, UpdateFlag.EXIST) or load_u32(value) == 0:
        return -errno.EINVAL
    return hash_update(map, key, value, flags & UpdateFlag.NOEXIST)


@native
def nothing_lookup(map: int, key: int) -> int:
    """A map of sockets is empty here."""
    return 0


@native
def nothing_next_key(map: int, key: int, next_key: int) -> int:
    """The walk over what is empty: -ENOENT."""
    return -errno.ENOENT


SK_STORAGE_CREATE = 1
"""BPF_LOCAL_STORAGE_GET_F_CREATE."""


@native
def storage_get(map: int, owner: int, value: int, flags: int) -> int:
    """bpf_sk_storage_get: the address of the value of `owner` (the address of a u64 that names it), or 0.

    With BPF_LOCAL_STORAGE_GET_F_CREATE it is made where it is missing, from `value`, or as 0 without.
    """
    if flags & ~SK_STORAGE_CREATE:
        return 0
    hash = hash_of(map, owner)
    element = find(map, owner, hash)
    if not element:
        if not flags:
            return 0
        element = take_element(map)
        if not element:
            return 0
        copy(element + ElementAt.KEY, owner, 8)
        fill(value_of(map, element), 0, load_i64(map + MapAt.STRIDE))
        if value:
            copy_value(map, value_of(map, element), value, load_i64(map + MapAt.VALUE_SIZE))
        link(map, element, hash)
    return value_of(map, element)


@native
def storage_delete(map: int, owner: int) -> int:
    """bpf_sk_storage_delete: 0 or -ENOENT."""
    element = find(map, owner, hash_of(map, owner))
    if not element:
        return -errno.ENOENT
    unlink(map, element)
    give_element(map, element)
    return 0
