"""What is at a map's address?  The native header that every map operation starts from.

The kernel has `struct bpf_map` embedded in a structure of the map's type; a program's map pointer is its
address.  Here the header is a row of 64-bit numbers: what all types have, then (from `PRIVATE` on) what
the type needs.  Programs cannot look into it; operations, which are functions of the subset
(`vm/subset.py`), do nothing but load and store there, so that the same code serves the interpreter and
machine code.

Operations take no locks: a map is used by one thread at a time.
"""

from __future__ import annotations

import enum

from ..subset import copy, fill, load_i64, load_u8, load_u16, load_u32, native


class MapAt(enum.IntEnum):
    """Byte offsets in a map's header, all i64."""

    TYPE = 0
    """enum bpf_map_type."""
    KEY_SIZE = 8
    VALUE_SIZE = 16
    MAX_ENTRIES = 24
    FLAGS = 32
    """BPF_F_* of the creation."""
    ID = 40
    CPUS = 48
    """Possible CPUs: as many values has an element of a per-CPU map."""
    CPU = 56
    """The CPU the run is on: whose value a program sees of a per-CPU map."""
    STRIDE = 64
    """round_up(value_size, 8): from one CPU's value to the next."""
    ELEMENT_SIZE = 72
    ELEMENTS = 80
    """The address of the elements."""
    ELEMENTS_END = 88
    VALUE_OFFSET = 96
    """Of the (first) value in an element."""
    LOCK = 104
    """1 where the value has a struct bpf_spin_lock."""
    SPECIALS = 112
    """How many fields of the value are the kernel's own (struct btf_record): lock, timer, kptr, …"""
    SPECIAL = 120
    """Offset and size of each, in order of offset; at most SPECIALS_MAX."""
    PRIVATE = 296
    """What the type needs."""
    END = 448


SPECIALS_MAX = 11
"""BTF_FIELDS_MAX."""


@native(inline=True)
def same_bytes(a: int, b: int, count: int) -> int:
    """1 if `count` bytes at `a` and at `b` are equal."""
    while count >= 8:
        if load_i64(a) != load_i64(b):
            return 0
        a += 8
        b += 8
        count -= 8
    if count & 4:
        if load_u32(a) != load_u32(b):
            return 0
        a += 4
        b += 4
    if count & 2:
        if load_u16(a) != load_u16(b):
            return 0
        a += 2
        b += 2
    return count & 1 == 0 or load_u8(a) == load_u8(b)


@native
def copy_around(map: int, to: int, source: int, size: int) -> None:
    """Copy a value but for its special fields (bpf_obj_memcpy)."""
    at = 0
    for i in range(load_i64(map + MapAt.SPECIALS)):
        special = load_i64(map + MapAt.SPECIAL + i * 16)
        copy(to + at, source + at, special - at)
        at = special + load_i64(map + MapAt.SPECIAL + i * 16 + 8)
    copy(to + at, source + at, size - at)


@native(inline=True)
def copy_value(map: int, to: int, source: int, size: int) -> None:
    """copy_map_value: into memory of the map, whose special fields stay as they are."""
    if load_i64(map + MapAt.SPECIALS):
        copy_around(map, to, source, size)
    else:
        copy(to, source, size)


@native
def clear_specials(map: int, value: int) -> None:
    """check_and_init_map_value: a new element's special fields, or those of a copy for user space."""
    for i in range(load_i64(map + MapAt.SPECIALS)):
        fill(value + load_i64(map + MapAt.SPECIAL + i * 16), 0, load_i64(map + MapAt.SPECIAL + i * 16 + 8))


@native(inline=True)
def cpu_value(map: int, value: int) -> int:
    """Of the values of a per-CPU element, that of the CPU the run is on (this_cpu_ptr)."""
    return value + load_i64(map + MapAt.CPU) * load_i64(map + MapAt.STRIDE)
