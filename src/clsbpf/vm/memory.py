"""Which memory may a program touch?  Regions of native memory, and access that checks them.

Program-visible memory is native from the start (the packet, the stack, the context, later map values),
so a pointer in a register is a real address, the same for the interpreter, for helper bodies and for
machine code.  The interpreter trusts no address: every access has to lie within one region, wholly.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Region:
    """`size` bytes from `base` on that a program may read, and write if `writable`."""

    name: str
    base: int
    size: int
    writable: bool = True

    def holds(self, address: int, size: int) -> bool:
        """Do `size` bytes at `address` lie within?"""
        return self.base <= address and address + size <= self.base + self.size


class Memory:
    """The regions of one run."""

    def __init__(self, regions: Sequence[Region]) -> None:
        self.regions = tuple(regions)

    def refusal(self, address: int, size: int, *, write: bool) -> str | None:
        """Why an access is not allowed, in words; None when it is."""
        for region in self.regions:
            if region.holds(address, size):
                return f"{region.name} is read-only" if write and not region.writable else None
        return self._outside(address, size)

    def _outside(self, address: int, size: int) -> str:
        """Where `address` is, for whoever looks for the mistake: relative to the region it just missed."""
        for region in self.regions:
            if -4096 <= address - region.base <= region.size + 4096:
                where = f"{region.name}{address - region.base:+d}"
                return f"{size} bytes at {where} are outside of the {region.name} ({region.size} bytes)"
        return f"{size} bytes at {address:#x} are in no region"


def load(address: int, size: int) -> int:
    """`size` bytes at an address that was checked, host order, unsigned."""
    return int.from_bytes(ctypes.string_at(address, size), sys.byteorder)


def store(address: int, size: int, value: int) -> None:
    """Store the low `size` bytes of an unsigned value at an address that was checked."""
    ctypes.memmove(address, (value & (1 << 8 * size) - 1).to_bytes(size, sys.byteorder), size)
