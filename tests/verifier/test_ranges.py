"""What is known of a number stays true: every operation on ranges, tried with numbers in them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from random import Random

import pytest

from clsbpf.bpf.isa import Alu, Jmp
from clsbpf.verifier import arithmetic, branches
from clsbpf.verifier.ranges import UNKNOWN, Range, between, const, from_tnum, s32, s64
from clsbpf.verifier.tnum import U32, U64

EDGES = [0, 1, 2, 7, 8, 15, 63, 64, 255, 256, 1 << 31, (1 << 31) - 1, U32, U32 + 1]
EDGES += [1 << 63, (1 << 63) - 1, U64]


def some_range(random: Random) -> tuple[Range, list[int]]:
    """A range, and numbers that it admits."""
    kind = random.randrange(5)
    if kind == 0:
        made = const(random.choice(EDGES))
    elif kind == 1:
        mask = random.getrandbits(64) & random.getrandbits(64) & random.getrandbits(64)
        made = from_tnum((random.getrandbits(64) & ~mask, mask))
    elif kind == 2:
        low, high = sorted(s64(random.choice(EDGES) + random.randrange(-4, 4)) for _ in range(2))
        made = between(low, high)
    elif kind == 3:
        made = from_tnum((0, (1 << random.choice([1, 3, 8, 16, 31, 32, 33, 63])) - 1))
    else:
        made = UNKNOWN
    numbers = []
    for _ in range(40):
        number = random.choice(
            [random.getrandbits(64), random.choice(EDGES), made.umin, made.umax, made.smin, made.smax]
        )
        number = number & U64 & made.mask | made.value
        if made.admits(number):
            numbers.append(number)
    return made, numbers[:6]


def shift_left(a: int, b: int, bits: int) -> int:
    return a << (b & bits - 1)


OPERATIONS: dict[Alu, Callable[[int, int, int], int]] = {
    Alu.ADD: lambda a, b, bits: a + b,
    Alu.SUB: lambda a, b, bits: a - b,
    Alu.MUL: lambda a, b, bits: a * b,
    Alu.AND: lambda a, b, bits: a & b,
    Alu.OR: lambda a, b, bits: a | b,
    Alu.XOR: lambda a, b, bits: a ^ b,
    Alu.LSH: shift_left,
    Alu.RSH: lambda a, b, bits: a >> (b & bits - 1),
    Alu.ARSH: lambda a, b, bits: (s64(a) if bits == 64 else s32(a)) >> (b & bits - 1),
    Alu.NEG: lambda a, b, bits: -a,
}


@pytest.mark.parametrize("op", OPERATIONS, ids=lambda op: op.name)
@pytest.mark.parametrize("is32", [False, True], ids=["64", "32"])
def test_the_result_of_an_operation_is_in_the_range_of_the_result(op: Alu, is32: bool) -> None:
    random = Random(f"{op}{is32}")
    bits, full = (32, U32) if is32 else (64, U64)
    tried = 0
    for _ in range(400):
        (a, some), (b, others) = some_range(random), some_range(random)
        result = arithmetic.alu(op, a, b, is32)
        for x in some:
            for y in others:
                number = OPERATIONS[op](x & full, y & full, bits) & full
                assert result.admits(number), (a, b, hex(x), hex(y), hex(number), result)
                tried += 1
    assert tried > 1000


@pytest.mark.parametrize("size", [1, 2, 4])
def test_narrowing_keeps_the_low_bytes(size: int) -> None:
    random = Random(size)
    bits = 8 * size
    for _ in range(500):
        r, numbers = some_range(random)
        for x in numbers:
            low = x & (1 << bits) - 1
            sign = 1 << bits - 1
            assert arithmetic.truncated(r, size).admits(low)
            assert arithmetic.sign_extended(r, size).admits(((low ^ sign) - sign) & U64)
            if size < 4:
                assert arithmetic.sign_extended(r, size, True).admits(((low ^ sign) - sign) & U32)
            assert arithmetic.zero_extended(r).admits(x & U32)


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_byte_order(bits: int) -> None:
    random = Random(bits)
    for _ in range(500):
        r, numbers = some_range(random)
        for x in numbers:
            low = x & (1 << bits) - 1
            swapped = int.from_bytes(low.to_bytes(bits // 8, "little"), "big")
            assert arithmetic.byte_order(r, bits, False).admits(low)
            assert arithmetic.byte_order(r, bits, True).admits(swapped)


COMPARISONS: dict[Jmp, tuple[Callable[[int, int], bool], bool]] = {
    Jmp.JEQ: (operator.eq, False),
    Jmp.JNE: (operator.ne, False),
    Jmp.JGT: (operator.gt, False),
    Jmp.JGE: (operator.ge, False),
    Jmp.JLT: (operator.lt, False),
    Jmp.JLE: (operator.le, False),
    Jmp.JSGT: (operator.gt, True),
    Jmp.JSGE: (operator.ge, True),
    Jmp.JSLT: (operator.lt, True),
    Jmp.JSLE: (operator.le, True),
    Jmp.JSET: (lambda a, b: a & b != 0, False),
}


@pytest.mark.parametrize("op", COMPARISONS, ids=lambda op: op.name)
@pytest.mark.parametrize("is32", [False, True], ids=["64", "32"])
def test_a_comparison_is_foretold_right_and_keeps_the_numbers(op: Jmp, is32: bool) -> None:
    random = Random(f"{op}{is32}")
    compare, signed = COMPARISONS[op]
    foretold = 0
    for _ in range(500):
        (a, some), (b, others) = some_range(random), some_range(random)
        outcome = branches.taken(op, a, b, is32)
        foretold += outcome >= 0
        yes_a, yes_b, no_a, no_b = branches.refined(op, a, b, is32)
        for x in some:
            for y in others:
                p, q = (x & U32, y & U32) if is32 else (x, y)
                if signed:
                    p, q = (s32(p), s32(q)) if is32 else (s64(p), s64(q))
                jumps = compare(p, q)
                assert outcome in (-1, int(jumps))
                if outcome >= 0:
                    continue  # nothing is refined where the branch is known
                left, right = (yes_a, yes_b) if jumps else (no_a, no_b)
                assert left.admits(x), (a, b, hex(x), left)
                assert right.admits(y), (a, b, hex(y), right)
    assert foretold > 20


def test_equal_knowledge_is_one_object() -> None:
    assert from_tnum((0, 255)) is arithmetic.truncated(UNKNOWN, 1)
    assert arithmetic.alu(Alu.AND, UNKNOWN, const(255), False) is from_tnum((0, 255))
