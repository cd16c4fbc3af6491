"""How do arrays work?  kernel/bpf/arraymap.c: a value for each index below max_entries, always there.

An array's values lie one after the other, each from a multiple of 8 bytes on; a program may hold the
address of one as long as it likes.  A per-CPU array has the values of all CPUs side by side.  Arrays of
descriptors (prog_array, array_of_maps, …) have an 8-byte slot instead, 0 where nothing is; `slots.py`
says what stands there.
"""

from __future__ import annotations

import errno

from ...bpf.maps import UpdateFlag
from ..subset import load_i64, load_u32, native, store_i64, store_u32
from .header import MapAt, copy_value, cpu_value


@native(inline=True)
def array_lookup(map: int, key: int) -> int:
    """array_map_lookup_elem: the address of the value (of CPU 0, in a per-CPU array), or 0."""
    index = load_u32(key)
    if index >= load_i64(map + MapAt.MAX_ENTRIES):
        return 0
    return load_i64(map + MapAt.ELEMENTS) + index * load_i64(map + MapAt.ELEMENT_SIZE)


@native(inline=True)
def array_lookup_percpu(map: int, key: int) -> int:
    """percpu_array_map_lookup_elem: the address of this CPU's value, or 0."""
    value = array_lookup(map, key)
    return cpu_value(map, value) if value else 0


@native(inline=True)
def array_lookup_slot(map: int, key: int) -> int:
    """What stands in an index's slot: 0 where nothing does (array_of_map_lookup_elem)."""
    slot = array_lookup(map, key)
    return load_i64(slot) if slot else 0


@native
def array_update_refusal(map: int, key: int, flags: int) -> int:
    """What array_map_update_elem checks before it copies: 0 or -errno."""
    if flags & ~UpdateFlag.F_LOCK not in (UpdateFlag.ANY, UpdateFlag.NOEXIST, UpdateFlag.EXIST):
        return -errno.EINVAL
    if load_u32(key) >= load_i64(map + MapAt.MAX_ENTRIES):
        return -errno.E2BIG
    if flags & UpdateFlag.NOEXIST:
        return -errno.EEXIST
    if flags & UpdateFlag.F_LOCK and not load_i64(map + MapAt.LOCK):
        return -errno.EINVAL
    return 0


@native
def array_update(map: int, key: int, value: int, flags: int) -> int:
    """array_map_update_elem: 0 or -errno."""
    refusal = array_update_refusal(map, key, flags)
    if refusal:
        return refusal
    copy_value(map, array_lookup(map, key), value, load_i64(map + MapAt.VALUE_SIZE))
    return 0


@native
def array_update_percpu(map: int, key: int, value: int, flags: int) -> int:
    """array_map_update_elem of a per-CPU array: this CPU's value."""
    refusal = array_update_refusal(map, key, flags)
    if refusal:
        return refusal
    copy_value(map, array_lookup_percpu(map, key), value, load_i64(map + MapAt.VALUE_SIZE))
    return 0


@native
def array_update_all(map: int, key: int, values: int, flags: int) -> int:
    """bpf_percpu_array_update, from user space: the values of all CPUs, padding and all."""
    if flags not in (UpdateFlag.ANY, UpdateFlag.NOEXIST, UpdateFlag.EXIST):
        return -errno.EINVAL
    refusal = array_update_refusal(map, key, flags)
    if refusal:
        return refusal
    to = array_lookup(map, key)
    stride = load_i64(map + MapAt.STRIDE)
    for cpu in range(load_i64(map + MapAt.CPUS)):
        copy_value(map, to + cpu * stride, values + cpu * stride, stride)
    return 0


@native
def array_delete(map: int, key: int) -> int:
    """array_map_delete_elem: nothing leaves an array."""
    return -errno.EINVAL


@native
def array_next_key(map: int, key: int, next_key: int) -> int:
    """bpf_array_get_next_key: 0 or -errno; `key` is 0 for the first one."""
    index = load_u32(key) if key else 0xFFFFFFFF
    entries = load_i64(map + MapAt.MAX_ENTRIES)
    if index >= entries:
        store_u32(next_key, 0)
        return 0
    if index == entries - 1:
        return -errno.ENOENT
    store_u32(next_key, index + 1)
    return 0


@native
def array_slot_refusal(map: int, key: int, flags: int) -> int:
    """What bpf_fd_array_map_update_elem checks before it looks at the descriptor: 0 or -errno."""
    if flags:
        return -errno.EINVAL
    return 0 if array_lookup(map, key) else -errno.E2BIG


@native
def array_update_slot(map: int, key: int, value: int, flags: int) -> int:
    """bpf_fd_array_map_update_elem: `value` is the slot's content itself; 0 or -errno."""
    refusal = array_slot_refusal(map, key, flags)
    if not refusal:
        store_i64(array_lookup(map, key), value)
    return refusal


@native
def array_delete_slot(map: int, key: int) -> int:
    """__fd_array_map_delete_elem: 0 or -errno."""
    slot = array_lookup(map, key)
    if not slot:
        return -errno.E2BIG
    if not load_i64(slot):
        return -errno.ENOENT
    store_i64(slot, 0)
    return 0
