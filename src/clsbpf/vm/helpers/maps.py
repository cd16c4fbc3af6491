"""What do programs do with maps?  The kernel's bpf_map_* helpers, on the operations of vm/maps.

(kernel/bpf/helpers.c: each calls what the map's type has.)
"""

from __future__ import annotations

from collections.abc import Callable

from ..maps import operations
from ..subset import native


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


BODIES: dict[str, Callable[..., int]] = {
    "map_lookup_elem": map_lookup_elem,
    "map_update_elem": map_update_elem,
    "map_delete_elem": map_delete_elem,
}
