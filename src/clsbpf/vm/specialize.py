"""What is a map operation when it is known which map it is for?  The same function, with constants for loads.

Operations find all they need in the map's header.  Most of that never changes while the map lives: its
type, its sizes, where its elements are.  Machine code of a program nearly always knows the map at a call,
so it gets a copy of the function for that map, in which `load_i64(map + MapAt.KEY_SIZE)` is a number,
`if type == MapType.HASH` is decided, and functions that are given the map are such copies themselves.
LLVM does the rest: hashes and comparisons of keys without loops, copies of a few moves.

There is still one definition; this is a way to read it.  Addresses are symbols (native_symbols.py).
"""

from __future__ import annotations

import ast
import functools
import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..bpf.maps import MapType
from .maps.hash import HashAt
from .maps.header import MapAt
from .maps.lpm import TrieAt
from .maps.map import Map
from .maps.queue import BloomAt
from .primitives import load_i64, wrap
from .subset import Lowered, Lowering, Subset, definition_of


@dataclass(frozen=True)
class FixedMap:
    """What is known of a map before a program runs.

    `numbers` are the fields of its header that never change, by offset; `places` those that are addresses,
    with the symbols that stand for them.
    """

    symbol: str
    numbers: Mapping[int, int] = field(default_factory=dict)
    places: Mapping[int, str] = field(default_factory=dict)


_COMMON = (
    *(MapAt.TYPE, MapAt.KEY_SIZE, MapAt.VALUE_SIZE, MapAt.MAX_ENTRIES, MapAt.FLAGS, MapAt.CPUS),
    *(MapAt.STRIDE, MapAt.ELEMENT_SIZE, MapAt.VALUE_OFFSET, MapAt.LOCK, MapAt.SPECIALS),
)
_HASHES = (MapType.HASH, MapType.PERCPU_HASH, MapType.LRU_HASH, MapType.LRU_PERCPU_HASH, MapType.HASH_OF_MAPS)
_OF_TYPE: Mapping[int, tuple[int, ...]] = {
    **dict.fromkeys(_HASHES, (HashAt.BUCKET_MASK,)),
    MapType.LPM_TRIE: (TrieAt.DATA_SIZE,),
    MapType.BLOOM_FILTER: (BloomAt.MASK, BloomAt.HASHES),
}
"""Fields of the header that never change, of all types and of some."""
_PLACES: Mapping[int, tuple[tuple[int, str], ...]] = {
    **dict.fromkeys(_HASHES, ((MapAt.ELEMENTS, "values"), (HashAt.BUCKETS, "buckets")))
}
_ALL_PLACES = ((MapAt.ELEMENTS, "values"),)


def places_of(map: Map) -> tuple[tuple[int, str], ...]:
    """The fields of a map's header that are addresses, and what they are called."""
    return _PLACES.get(map.spec.type, _ALL_PLACES)


def fixed_map(map: Map, symbol: str) -> FixedMap:
    """What is known of a map."""
    offsets = (*_COMMON, *_OF_TYPE.get(map.spec.type, ()))
    numbers = {int(at): load_i64(map.address + at) for at in offsets}
    if map.cpus == 1:
        numbers[int(MapAt.CPU)] = 0
    return FixedMap(symbol, numbers, {int(at): f"{symbol}.{name}" for at, name in places_of(map)})


class Specialized(Subset):
    """A native function for arguments that are known maps."""

    def __init__(self, record: Subset, fixed: Mapping[str, FixedMap], family: Family) -> None:
        super().__init__(record.function, attributes=record.attributes, external=False)
        self.symbol = f"{record.symbol} {' '.join(each.symbol for each in fixed.values())}"
        self.fixed = fixed
        self.family = family

    @functools.cached_property
    def lowered(self) -> Lowered:
        return _Lowering(self).run()


class Family:
    """The copies that one module has, each made once."""

    def __init__(self) -> None:
        self._made: dict[tuple[Subset, tuple[str | None, ...]], Specialized] = {}

    def copy(self, record: Subset, arguments: Sequence[FixedMap | None]) -> Subset:
        """The function for arguments of which some are known; itself, where none is."""
        if record.is_external or not any(arguments):
            return record
        key = record, tuple(each.symbol if each else None for each in arguments)
        found = self._made.get(key)
        if found is None:
            fixed = {
                name: each
                for name, each in zip(record.parameters, arguments, strict=True)
                if each is not None and not assigned(record.function)[name]
            }
            found = self._made[key] = Specialized(record, fixed, self)
        return found


@functools.cache
def assigned(function: Callable[..., object]) -> Counter[str]:
    """How often a function's text assigns to each name."""
    counts: Counter[str] = Counter()
    for node in ast.walk(definition_of(function)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            counts[node.id] += 1
    return counts


_ARITHMETIC: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
_COMPARE: Mapping[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class _Lowering(Lowering):
    """The way to IR, with what is known put in its place."""

    subset: Specialized

    def __init__(self, subset: Specialized) -> None:
        super().__init__(subset)
        self.known: dict[str, int] = {}
        self.assigned = assigned(subset.function)

    # what is known

    def number(self, node: ast.expr) -> int | None:
        """The value of an expression, if it is known."""
        match node:
            case ast.Constant(value=int(constant)):
                return wrap(int(constant))
            case ast.Name(id=name) if name in self.known:
                return self.known[name]
            case ast.Name(id=name) if name in self.slots or name in self.assigned:
                return None
            case ast.Name() | ast.Attribute():
                return wrap(self.constant(node))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                value = self.number(operand)
                return None if value is None else int(not value)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                value = self.number(operand)
                return None if value is None else wrap(-value)
            case ast.UnaryOp(op=ast.Invert(), operand=operand):
                value = self.number(operand)
                return None if value is None else ~value
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                a, b = self.number(left), self.number(right)
                return None if a is None or b is None else wrap(_ARITHMETIC[type(op)](a, b))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self.comparison_number(left, op, right)
            case ast.Call():
                found = self.header_field(node)
                return found[0].numbers.get(found[1]) if found else None
        return None

    def comparison_number(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> int | None:
        a = self.number(left)
        if a is None:
            return None
        if isinstance(op, ast.In | ast.NotIn):
            choices = (
                [self.number(choice) for choice in right.elts] if isinstance(right, ast.Tuple) else [None]
            )
            return None if None in choices else int((a in choices) == isinstance(op, ast.In))
        b = self.number(right)
        return None if b is None else int(_COMPARE[type(op)](a, b))

    def header_field(self, node: ast.Call) -> tuple[FixedMap, int] | None:
        """The field that `load_i64(map + MapAt.X)` reads of a known map."""
        match node:
            case ast.Call(func=ast.Name() as function, args=[argument], keywords=[]):
                if self.globals.get(function.id) is not load_i64:
                    return None
            case _:
                return None
        match argument:
            case ast.BinOp(left=ast.Name(id=name), op=ast.Add(), right=right) if name in self.subset.fixed:
                offset = self.number(right)
                return None if offset is None else (self.subset.fixed[name], offset)
            case ast.Name(id=name) if name in self.subset.fixed:
                return self.subset.fixed[name], 0
        return None

    # what is written differently

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.If(test=test, body=body, orelse=orelse):
                decided = self.number(test)
                if decided is not None:
                    self.block(body if decided else orelse)
                    return
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if self.is_constant(name):
                number = self.number(value)
                if number is not None:
                    self.known[name] = number
                    return
        super().statement(node)

    def is_constant(self, name: str) -> bool:
        """Has a local one value at most?"""
        return self.assigned[name] == 1 and name not in self.subset.parameters

    def condition(self, node: ast.expr, then: str, otherwise: str) -> None:
        decided = self.number(node)
        if decided is not None:
            self.emit(f"br label %{then if decided else otherwise}")
        else:
            super().condition(node, then, otherwise)

    def value(self, node: ast.expr) -> str:
        number = self.number(node)
        if number is not None:
            return str(number)
        if isinstance(node, ast.Name) and node.id in self.subset.fixed:
            return self.place(self.subset.fixed[node.id].symbol)
        if isinstance(node, ast.IfExp):
            decided = self.number(node.test)
            if decided is not None:
                return self.value(node.body if decided else node.orelse)
        if isinstance(node, ast.Call):
            found = self.header_field(node)
            place = found[0].places.get(found[1]) if found else None
            if place is not None:
                return self.place(place)
        return super().value(node)

    def place(self, symbol: str) -> str:
        """An i64: the address that a symbol stands for."""
        self.declares.add(f'@"{symbol}" = external global [0 x i8]')
        return f'ptrtoint (ptr @"{symbol}" to i64)'

    def callee(self, record: Subset, node: ast.Call) -> Subset:
        fixed = [self.subset.fixed.get(each.id) if isinstance(each, ast.Name) else None for each in node.args]
        return self.subset.family.copy(record, fixed)
