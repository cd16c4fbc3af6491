"""Which memory may a program touch?  Regions of native memory, and access that checks them.

Program-visible memory is native from the start (the packet, the stack, the context, map values), so a
pointer in a register is a real address, the same for the interpreter, for helper bodies and for machine
code.  The interpreter trusts no address: every access has to lie within one region, wholly.

Two regions are looked at first, the stack frame of the function that runs and the packet.  The others
come and go: frames of callers, values of maps (from when a program looked them up), ring buffer records
(between reserve and submit).  Regions that are gone are remembered by name, so that a fault can say what
a pointer once was: the packet's old place, after a helper that may have moved it, above all.
"""

from __future__ import annotations

import ctypes
import sys
from bisect import bisect_right, insort
from dataclasses import dataclass

NEAR = 4096
"""An address this close to a region is told by its distance from it."""


@dataclass(frozen=True, slots=True)
class Region:
    """`size` bytes from `base` on that a program may read, and write if `writable`.

    `name` is how a fault calls it.  Offsets are told from `base`, or from the end where that is where a
    program counts from (`from_end`, the stack).
    """

    name: str
    base: int
    size: int
    writable: bool = True
    readable: bool = True
    from_end: bool = False
    gone: str = ""
    """Why it may not be touched any more; empty while it may."""

    @property
    def end(self) -> int:
        """The address after its last byte."""
        return self.base + self.size

    def holds(self, address: int, size: int) -> bool:
        """Do `size` bytes at `address` lie within?"""
        return self.base <= address and address + size <= self.base + self.size

    def place(self, address: int) -> str:
        """`packet offset 34, the packet has 30`."""
        if self.from_end:
            return f"{self.name} offset {address - self.end} from r10, the {self.name} has {self.size}"
        return f"{self.name} offset {address - self.base}, the {self.name} has {self.size}"


class Memory:
    """The regions of one run.  `frame` and `packet` are those that are looked at first."""

    def __init__(self, frame: Region, packet: Region) -> None:
        self.frame = frame
        self.packet = packet
        self._bases: list[int] = []
        self._regions: dict[int, Region] = {}

    def add(self, region: Region) -> None:
        """Let the program touch a region, or (`gone`) remember that it may not any more.

        One with the same base is replaced; regions do not overlap.
        """
        if region.base not in self._regions:
            insort(self._bases, region.base)
        self._regions[region.base] = region

    def remove(self, base: int) -> Region | None:
        """Forget the region that begins at `base`: what it was, or None."""
        region = self._regions.pop(base, None)
        if region is not None:
            self._bases.remove(base)
        return region

    def at(self, base: int) -> Region | None:
        """The region that begins at `base`."""
        return self._regions.get(base)

    def find(self, address: int) -> Region | None:
        """The region that `address` is in (or just after the end of), gone ones included."""
        regions = [self.frame, self.packet]
        at = bisect_right(self._bases, address)
        if at:
            regions.append(self._regions[self._bases[at - 1]])
        before = None  # where one ends another may begin
        for region in regions:
            if region.base <= address < region.base + region.size:
                return region
            if address == region.base + region.size:
                before = region
        return before

    def refusal(self, address: int, size: int, register: int, *, write: bool) -> str | None:
        """Why an access through a register is not allowed, in words; None when it is."""
        frame, packet = self.frame, self.packet
        if frame.base <= address and address + size <= frame.base + frame.size:
            return None
        if packet.base <= address and address + size <= packet.base + packet.size:
            return None
        access = f"{'writes' if write else 'reads'} {count(size)} through r{register} at"
        region = self.find(address)
        if region is not None and not region.gone and region.holds(address, size):
            if write and not region.writable:
                return f"{access} {region.place(address)}: it is read-only"
            if not write and not region.readable:
                return f"{access} {region.place(address)}: it is write-only"
            return None
        near = region or self._nearest(address)
        if near is None:
            return f"{access} {address:#x}, which is in no region"
        if near.gone:
            return f"{access} {near.name} offset {address - near.base}: {near.gone}"
        return f"{access} {near.place(address)}"

    def readable_from(self, address: int) -> int:
        """How many bytes may be read from an address on; 0 where nothing is."""
        at = bisect_right(self._bases, address)
        regions = [self.frame, self.packet]
        if at:
            regions.append(self._regions[self._bases[at - 1]])
        for region in regions:
            if region.holds(address, 1) and region.readable and not region.gone:
                return region.end - address
        return 0

    def _nearest(self, address: int) -> Region | None:
        others = [self._regions[base] for base in self._bases]
        live = [region for region in (self.frame, self.packet, *others) if not region.gone]
        for region in live:
            if -NEAR <= address - region.base <= region.size + NEAR:
                return region
        return None


def count(size: int) -> str:
    """`4 bytes`."""
    return f"{size} byte" if size == 1 else f"{size} bytes"


def load(address: int, size: int) -> int:
    """`size` bytes at an address that was checked, host order, unsigned."""
    return int.from_bytes(ctypes.string_at(address, size), sys.byteorder)


def store(address: int, size: int, value: int) -> None:
    """Store the low `size` bytes of an unsigned value at an address that was checked."""
    ctypes.memmove(address, (value & (1 << 8 * size) - 1).to_bytes(size, sys.byteorder), size)
