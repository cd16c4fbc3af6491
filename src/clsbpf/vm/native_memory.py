"""What may be read for a program that runs as machine code, beside the packet and its stack?

Bodies that follow a program's pointers (`%s` of a format, bpf_probe_read_kernel) ask first
(helpers/readable.py).  The interpreter knows each region that a program was shown.  Machine code does not
keep such a list, as the verifier has seen every other access; so here it is all that the program could have
been shown: the values of its maps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..bpf.maps import MapFlag
from .link import LinkedProgram
from .maps.header import MapAt
from .maps.map import Map
from .subset import load_i64


def ranges_of(maps: Iterable[Map]) -> Iterator[tuple[int, int]]:
    """Where the values of these maps are, if programs may read them: first address and end."""
    for map in maps:
        base, end = (load_i64(map.address + at) for at in (MapAt.ELEMENTS, MapAt.ELEMENTS_END))
        if base and not map.spec.flags & MapFlag.WRONLY_PROG:
            yield base, end


def maps_of(*programs: LinkedProgram) -> set[Map]:
    """The maps that programs name, and those that are in them or named by programs in them."""
    found: set[Map] = set()
    pending: list[object] = [*programs]
    while pending:
        each = pending.pop()
        if isinstance(each, LinkedProgram):
            pending.extend(each.maps)
        elif isinstance(each, Map) and each not in found:
            found.add(each)
            pending.extend(each.held())
    return found
