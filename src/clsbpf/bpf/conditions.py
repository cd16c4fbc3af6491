"""What is tested of a value, and what do several tests of one value say together?

A `Test` compares a `Value` with a constant, as a conditional jump of a classic program does, and says
how it came out.  `simplify` takes the tests of one value that all hold to fewer that say the same, or
finds that they contradict each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .classic import U32
from .isa import Jmp
from .values import Constant, Value, maximum

TESTS: dict[Jmp, Callable[[int, int], bool]] = {
    Jmp.JEQ: lambda value, constant: value == constant,
    Jmp.JGT: lambda value, constant: value > constant,
    Jmp.JGE: lambda value, constant: value >= constant,
    Jmp.JSET: lambda value, constant: value & constant != 0,
}


@dataclass(frozen=True, slots=True)
class Test:
    """`value op constant`, which `holds` or does not.  `op` is JEQ, JGT, JGE (unsigned) or JSET.

    `at` is the instruction whose `k` the constant is; None where it is no instruction's (`X is not 0`).
    """

    value: Value
    op: Jmp
    constant: int
    holds: bool
    at: int | None = None

    def accepts(self, number: int) -> bool:
        """Is it as this says, where the value is `number`?"""
        return TESTS[self.op](number, self.constant) == self.holds


def simplify(tests: Sequence[Test]) -> tuple[Test, ...] | None:
    """Tests of one value that say the same as `tests`, fewer if possible; None: they contradict.

    Every answer is true; not every contradiction is found (bits against ranges).
    """
    value = tests[0].value
    highest = maximum(value)
    low, high = (highest, highest) if isinstance(value, Constant) else (0, highest)
    known_at_first = low == high
    low_test: Test | None = None
    high_test: Test | None = None
    excluded: dict[int, Test] = {}
    cleared = 0
    bits: list[Test] = []
    for each in tests:
        lowest_here, highest_here = range_of(each)
        if lowest_here > low:
            low, low_test = lowest_here, each
        if highest_here < high:
            high, high_test = highest_here, each
        if each.op is Jmp.JEQ and not each.holds:
            excluded[each.constant] = each
        elif each.op is Jmp.JSET:
            bits.append(each)
            cleared |= 0 if each.holds else each.constant
    first, last = low, high
    while first in excluded:
        first += 1
    while last in excluded:
        last -= 1
    possible = (1 << max(last, 0).bit_length()) - 1 & ~cleared
    last = min(last, possible)
    if first > last or any(each.holds and not each.constant & possible for each in bits):
        return None
    if first == last:
        if not all(each.accepts(first) for each in tests):
            return None
        if known_at_first:
            return ()
        equal = next((each for each in tests if each.op is Jmp.JEQ and each.holds), None)
        return (equal or Test(value, Jmp.JEQ, first, True),)
    kept = {id(each) for each in (low_test, high_test) if each is not None}
    kept |= {id(each) for number, each in excluded.items() if low <= number <= high}
    covered = (1 << highest.bit_length()) - 1
    kept |= {id(each) for each in bits if each.holds or each.constant & covered}
    return tuple(dict.fromkeys(each for each in tests if id(each) in kept))


def range_of(test: Test) -> tuple[int, int]:
    """The lowest and highest number that a comparison lets through; anything for the others."""
    constant = test.constant
    match test.op, test.holds:
        case Jmp.JEQ, True:
            return constant, constant
        case Jmp.JGT, True:
            return constant + 1, U32
        case Jmp.JGT, False:
            return 0, constant
        case Jmp.JGE, True:
            return constant, U32
        case Jmp.JGE, False:
            return 0, constant - 1
        case _:
            return 0, U32


def simplify_all(tests: Iterable[Test]) -> tuple[Test, ...] | None:
    """`simplify` of a whole path's tests, value by value."""
    by_value: dict[Value, list[Test]] = {}
    for each in tests:
        by_value.setdefault(each.value, []).append(each)
    whole: list[Test] = []
    for group in by_value.values():
        simpler = simplify(group)
        if simpler is None:
            return None
        whole += simpler
    return tuple(whole)
