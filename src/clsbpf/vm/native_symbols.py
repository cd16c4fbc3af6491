"""What does a program's machine code refer to that belongs to this process?  Addresses, by symbol.

Maps, the memory of their values, and functions that machine code calls back are at other addresses in the
next process.  So they are never part of the IR: it names them as external symbols (`map.0`,
`map.0.values`, `vm.helpers.sockets.sk_lookup_tcp`), which are given when the object is loaded
(`compile_module(…, symbols=)`), and an object of the same program may be kept on disk and loaded again.

One `Symbols` serves all programs of a module: a map has one name there, because LLVM takes two symbols for
two places.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .maps.header import MapAt
from .maps.map import Map
from .native_calls import address_of, calls_python
from .subset import Subset, load_i64


class Symbols:
    """The external symbols of one module.  `addresses` is what they stand for, good while this lives."""

    def __init__(self) -> None:
        self.addresses: dict[str, int] = {}
        self.calls_python = False
        self._maps: dict[Map, str] = {}

    def map(self, map: Map) -> str:
        """The symbol of a map's header: what a program's map pointer is."""
        name = self._maps.get(map)
        if name is None:
            name = self._maps[map] = f"map.{len(self._maps)}"
            self.addresses[name] = map.address
            self.addresses[f"{name}.values"] = load_i64(map.address + MapAt.ELEMENTS)
        return name

    def values(self, map: Map) -> str:
        """The symbol of the memory that a map's elements are in."""
        return f"{self.map(map)}.values"

    def for_maps(self, record: Subset, maps: Sequence[Map | None]) -> Subset:
        """The function as it is for arguments that are known to be these maps."""
        return record

    def add_external(self, called: Iterable[Subset]) -> None:
        """Give the addresses of whatever of these functions, and of those they call, is not in the module."""
        seen: set[Subset] = set()
        pending = list(called)
        while pending:
            subset = pending.pop()
            if subset in seen:
                continue
            seen.add(subset)
            if subset.is_external:
                self.addresses[subset.symbol] = address_of(subset)
                self.calls_python |= calls_python(subset)
            else:
                pending.extend(subset.lowered.calls)


def declaration(symbol: str) -> str:
    """The line of IR that makes a symbol of data known."""
    return f'@"{symbol}" = external global [0 x i8]'
