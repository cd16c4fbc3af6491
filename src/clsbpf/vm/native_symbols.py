"""What does a program's machine code refer to that belongs to this process?  Addresses, by symbol.

Maps, the memory of their values, and functions that machine code calls back are at other addresses in the
next process.  So they are never part of the IR: it names them as external symbols (`map.0`,
`map.0.values`,
`vm.helpers.sockets.sk_lookup_tcp`), which are given when the object is loaded
(`compile_module(…, symbols=)`), and an object of the same program may be kept on disk and loaded again.

One `Symbols` serves all programs of a module: a map has one name there, because LLVM takes two symbols for
two places.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .maps.header import MapAt
from .maps.map import Map
from .native_calls import address_of, calls_python
from .specialize import Family, FixedMap, fixed_map
from .subset import Subset, load_i64


class Symbols:
    """The external symbols of one module.  `addresses` is what they stand for, good while this lives."""

    def __init__(self) -> None:
        self.addresses: dict[str, int] = {}
        self.calls_python = False
        """May anything in the module call Python?"""
        self._maps: dict[Map, FixedMap] = {}
        self._family = Family()

    def map(self, map: Map) -> str:
        """The symbol of a map's header: what a program's map pointer is."""
        return self._fixed(map).symbol

    def _fixed(self, map: Map) -> FixedMap:
        found = self._maps.get(map)
        if found is None:
            symbol = f"map.{len(self._maps)}"
            found = self._maps[map] = fixed_map(map, symbol)
            self.addresses[symbol] = map.address
            for at, place in found.places.items():
                self.addresses[place] = load_i64(map.address + at)
        return found

    def values(self, map: Map) -> str:
        """The symbol of the memory that a map's elements are in."""
        return self._fixed(map).places[MapAt.ELEMENTS]

    def for_maps(self, record: Subset, maps: Sequence[Map | None]) -> Subset:
        """The function as it is for arguments that are known to be these maps."""
        return self._family.copy(record, [None if map is None else self._fixed(map) for map in maps])

    def add_external(self, called: Iterable[Subset]) -> None:
        """Give the addresses of whatever of these functions, and of those they call, is not in the module."""
        for subset in frozenset().union(*(each.externals for each in called)):
            self.addresses[subset.symbol] = address_of(subset)
            self.calls_python |= calls_python(subset)


def declaration(symbol: str) -> str:
    """The line of IR that makes a symbol of data known."""
    return f'@"{symbol}" = external global [0 x i8]'
