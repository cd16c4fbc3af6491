"""Types of maps' keys and values that have something of the kernel's own in them."""

from __future__ import annotations

from btf_writer import BtfWriter
from clsbpf.objfile.btf import TypeRef


def locked_types() -> tuple[TypeRef, TypeRef]:
    """A key, and a value of 16 bytes: a number, a spin lock, two numbers."""
    types = BtfWriter()
    number = types.int()
    lock = types.struct("bpf_spin_lock", 4, ("val", number, 0))
    fields = (("before", number, 0), ("lock", lock, 32), ("after", number, 64), ("more", number, 96))
    value = types.struct("value", 16, *fields)
    btf = types.btf()
    return btf.ref(number), btf.ref(value)


def timer_types() -> tuple[TypeRef, TypeRef]:
    """A key, and a value of 32 bytes: a number, a timer, a number."""
    types = BtfWriter()
    number = types.int()
    word = types.int("unsigned long long", 8, signed=False)
    timer = types.struct("bpf_timer", 16, ("__opaque", types.array(word, 2), 0))
    value = types.struct("value", 32, ("before", word, 0), ("timer", timer, 64), ("after", word, 192))
    btf = types.btf()
    return btf.ref(number), btf.ref(value)
