"""Which few conjunctions say the same as a program's paths?

Paths part at tests, so each carries what the ones beside it are not: `port 80` is the path `source port
is 80` and the path `source port is not 80, destination port is 80`.  People do not say the "is not 80".
A *cover* is a set of conjunctions (cubes) of which several may hold together; it is made from the paths
by the two steps that logic minimizers begin with (expand, irredundant), without any search for the best:

- a test may be dropped from a cube if the cube with the test turned round lies inside the other cubes;
- a cube inside another is not needed.

Only what was *not* equal, and comparisons, are dropped: that a packet is not a fragment, say, is what
gives other tests their meaning.  What a cover says is right for packets that hold all the bytes that the
paths speak of.

Cubes are sets of test numbers, as bits of an int: so "inside" is two operations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from .conditions import Test, simplify
from .isa import Jmp
from .paths import Path

_DEPTH = 2
"""How many tests of the others are tried both ways: what is below a range and what is above it, say."""

Cube = tuple[Test, ...]
"""Tests that all hold."""


def cover(paths: Iterable[Path]) -> list[Cube]:
    """Cubes of which at least one holds where one of the paths does."""
    whole = list(paths)
    numbers: dict[Test, int] = {}
    for path in whole:
        for test in path.tests:
            numbers.setdefault(test, len(numbers))
    tests = list(numbers)
    cubes = _Cubes(tests, [sum(1 << numbers[test] for test in path.tests) for path in whole])
    while cubes.expand():
        cubes.drop_redundant()
    return [tuple(tests[n] for n in _bits(cube)) for cube in cubes.cubes]


class _Cubes:
    """Cubes as bits, with what each test says of the others of its value."""

    def __init__(self, tests: Sequence[Test], cubes: list[int]) -> None:
        self.cubes = cubes
        self._droppable = sum(1 << n for n, each in enumerate(tests) if _droppable(each))
        same: dict[object, list[int]] = {}
        for n, test in enumerate(tests):
            same.setdefault(test.value, []).append(n)
        self._implied = [1 << n for n in range(len(tests))]
        self._implied_by_opposite = [0] * len(tests)
        for group in same.values():
            for n in group:
                for other in group:
                    if other != n:
                        opposite = _opposite(tests[other])
                        if simplify((tests[n], opposite)) is None:
                            self._implied[n] |= 1 << other
                        if simplify((_opposite(tests[n]), opposite)) is None:
                            self._implied_by_opposite[n] |= 1 << other

    def expand(self) -> bool:
        """Drop tests that may be dropped; False if there was none."""
        changed = False
        for at in range(len(self.cubes) - 1, -1, -1):
            cube = self.cubes[at]
            for n in reversed(_bits(cube & self._droppable)):
                without = cube & ~(1 << n)
                others = [*self.cubes[:at], *self.cubes[at + 1 :]]
                if self._turned_is_inside(self._closure(without), n, others, _DEPTH):
                    cube = without
            changed |= cube != self.cubes[at]
            self.cubes[at] = cube
        return changed

    def _turned_is_inside(self, said: int, n: int, others: Sequence[int], depth: int) -> bool:
        """Does one of the others hold wherever all that is `said` does, but test n does not?"""
        if said >> n & 1:
            return True  # that is nowhere
        turned = said | self._implied_by_opposite[n]
        missing = [other & ~turned for other in others]
        if not all(missing):
            return True
        return depth > 0 and any(
            self._turned_is_inside(turned, one.bit_length() - 1, others, depth - 1)
            for one in set(missing)
            if not one & one - 1 and one & self._droppable
        )

    def drop_redundant(self) -> None:
        """Leave out each cube that is inside another."""
        kept: list[int] = []
        for at, cube in enumerate(self.cubes):
            said = self._closure(cube)
            if all(other & ~said for other in (*kept, *self.cubes[at + 1 :])):
                kept.append(cube)
        self.cubes = kept

    def _closure(self, cube: int) -> int:
        """All that the cube says, test by test."""
        said = 0
        for n in _bits(cube):
            said |= self._implied[n]
        return said


def _droppable(test: Test) -> bool:
    return test.op in (Jmp.JGT, Jmp.JGE) or (test.op is Jmp.JEQ and not test.holds)


def _opposite(test: Test) -> Test:
    return replace(test, holds=not test.holds)


def _bits(number: int) -> list[int]:
    found = []
    while number:
        low = number & -number
        found.append(low.bit_length() - 1)
        number ^= low
    return found
