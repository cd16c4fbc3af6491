"""What do programs do with maps?  The kernel's bpf_map_* helpers, on the operations of vm/maps.

(kernel/bpf/helpers.c: each calls what the map's type has.)  Ring buffers and perf events, which programs
write and someone else reads, are in events.py.
"""

from __future__ import annotations

from collections.abc import Callable

from ..maps import operations
from ..subset import native, u32


@native
def map_lookup_elem(machine: int, map: int, key: int) -> int:
    """bpf_map_lookup_elem: the address of the value, or 0; of a map of maps, the inner map's."""
    return operations.map_lookup(map, key)


@native
def map_update_elem(machine: int, map: int, key: int, value: int, flags: int) -> int:
    """bpf_map_update_elem: 0 or -errno."""
    return operations.map_update(map, key, value, flags)


@native
def map_delete_elem(machine: int, map: int, key: int) -> int:
    """bpf_map_delete_elem: 0 or -errno."""
    return operations.map_delete(map, key)


@native
def map_push_elem(machine: int, map: int, value: int, flags: int) -> int:
    """bpf_map_push_elem: 0 or -errno."""
    return operations.map_push(map, value, flags)


@native
def map_pop_elem(machine: int, map: int, value: int) -> int:
    """bpf_map_pop_elem: 0 or -errno."""
    return operations.map_pop(map, value)


@native
def map_peek_elem(machine: int, map: int, value: int) -> int:
    """bpf_map_peek_elem: 0 or -errno."""
    return operations.map_peek(map, value)


@native
def map_lookup_percpu_elem(machine: int, map: int, key: int, cpu: int) -> int:
    """bpf_map_lookup_percpu_elem: the address of another CPU's value, or 0."""
    return operations.map_lookup_percpu(map, key, u32(cpu))


BODIES: dict[str, Callable[..., int]] = {
    "map_lookup_elem": map_lookup_elem,
    "map_update_elem": map_update_elem,
    "map_delete_elem": map_delete_elem,
    "map_push_elem": map_push_elem,
    "map_pop_elem": map_pop_elem,
    "map_peek_elem": map_peek_elem,
    "map_lookup_percpu_elem": map_lookup_percpu_elem,
}
