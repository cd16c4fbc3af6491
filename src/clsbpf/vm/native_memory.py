"""What may Python read for a program that runs as machine code?

Bodies that follow a program's pointers (`%s` of a format, bpf_probe_read_kernel) ask the run's memory first.
The interpreter knows each region that a program was shown.  Machine code does not keep such a list, as the
verifier has seen every other access; so here a region is all that the program could have been shown: the
packet, its frames, the values of its maps, and what Python itself gave it.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..bpf.maps import MapFlag
from .environment import Environment
from .link import LinkedProgram
from .maps.header import MapAt
from .maps.map import Map
from .memory import Memory, Region
from .native_skb import NativeSkb
from .subset import load_i64

_NOWHERE = Region("stack", 0, 0)


class NativeMemory(Memory):
    """The memory of a run of machine code; where the packet and the frames are is looked up when asked."""

    def __init__(self, environment: Environment, skb: NativeSkb, maps: Iterable[Map]) -> None:
        super().__init__(_NOWHERE, _NOWHERE)
        self._environment = environment
        self._skb = skb
        for map in maps:
            base, end = (load_i64(map.address + at) for at in (MapAt.ELEMENTS, MapAt.ELEMENTS_END))
            readable = not map.spec.flags & MapFlag.WRONLY_PROG
            if base:
                self.add(Region(f"values of map {map.name}", base, end - base, readable=readable))

    def refusal(self, address: int, size: int, register: int, *, write: bool) -> str | None:
        self._look()
        return super().refusal(address, size, register, write=write)

    def find(self, address: int) -> Region | None:
        self._look()
        return super().find(address)

    def _look(self) -> None:
        skb, native = self._skb, self._environment.native
        self.packet = Region("packet", skb.data_ptr, skb.data_end_ptr - skb.data_ptr)
        self.frame = Region("stack", native.stack_low, max(native.stack_high - native.stack_low, 0))


def maps_of(program: LinkedProgram) -> set[Map]:
    """The maps that a program names, and those that are in them or named by programs in them."""
    found: set[Map] = set()
    pending: list[object] = [program]
    while pending:
        each = pending.pop()
        if isinstance(each, LinkedProgram):
            pending.extend(each.maps)
        elif isinstance(each, Map) and each not in found:
            found.add(each)
            pending.extend(each.held())
    return found
