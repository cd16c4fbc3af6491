"""A function of the subset means the same as Python and as machine code."""

from __future__ import annotations

import ctypes
import random

import llvmlite.binding as llvm
import pytest

from clsbpf.vm import subset
from clsbpf.vm.subset import (
    below,
    copy,
    leading_zeros,
    load_be16,
    load_be32,
    load_i32,
    load_i64,
    load_u8,
    load_u16,
    load_u32,
    module_ir,
    native,
    s32,
    shift_right,
    store_u8,
    store_u16,
    store_u32,
    swap16,
    swap32,
    u8,
    u16,
    u32,
    udiv,
    umod,
    wrap,
)

LIMIT = 7


@native
def arithmetic(a: int, b: int) -> int:
    c = wrap(wrap(a + b) * 3) ^ (a & b) | ~b
    c -= a >> 3
    return wrap(wrap(c) << 2)


@native
def divided(a: int, b: int) -> int:
    if b == 0 or b == -1:
        return -1
    return wrap(wrap(a // b * 1000) + a % b + 7 * udiv(a, b) - umod(a, b))


@native
def compared(a: int, b: int) -> int:
    if a < b <= LIMIT or (a == b and not a > LIMIT):
        return (a != b) + 2 * (a >= b) + 10
    if a in (1, LIMIT, b):
        return 5 if b not in (2, 3) else 6
    return 1 if below(a, b) else 0 if a > 0 else -1


@native
def looped(a: int, b: int) -> int:
    total = 0
    for i in range(b & 15):
        if i == 3:
            continue
        for j in range(i, 12):
            if j > 9:
                break
            total += a & j
        i = 100
    while total > 50:
        total -= 7
        if total == 60:
            break
    return total


@native
def narrowed(a: int, b: int) -> int:
    return u8(a) + u16(b) + u32(a) + s32(b) + swap16(a) + swap32(b) + shift_right(a, 5)


@native
def counted(a: int, b: int) -> int:
    return leading_zeros(a) * 100 + leading_zeros(a & b)


@native(cold=True)
def helper(a: int) -> int:
    return a * 2 & 0xFFFF


@native
def calling(a: int, b: int) -> int:
    return helper(a & 0xFF) - (helper(b & 0xFF) if a > b else helper(3))


FUNCTIONS = [arithmetic, divided, compared, looped, narrowed, counted, calling]
NUMBERS = [0, 1, -1, 2, 7, 8, -8, 255, 1 << 31, -(1 << 31), 1 << 40, (1 << 63) - 1, -(1 << 63)]


@native
def through_memory(source: int, to: int) -> int:
    """Every load and store, at unaligned addresses."""
    copy(to, source, 16)
    store_u8(to + 1, load_u16(source + 3))
    store_u16(to + 3, load_be16(source + 1))
    store_u32(to + 5, load_be32(source + 7))
    return load_u8(to) + load_u32(to + 5) + load_i32(to + 3) + (load_i64(to + 1) >> 8)


@pytest.fixture(scope="module")
def compiled() -> dict[str, object]:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(module_ir([*FUNCTIONS, through_memory]))
    module.verify()
    engine = llvm.create_mcjit_compiler(module, llvm.Target.from_default_triple().create_target_machine())
    engine.finalize_object()
    binary = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
    found: dict[str, object] = {"engine": engine}
    for function in [*FUNCTIONS, through_memory]:
        found[function.__name__] = binary(engine.get_function_address(subset.record_of(function).symbol))
    return found


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_native_and_python_agree(compiled: dict[str, object], function: object) -> None:
    rng = random.Random(5)
    numbers = NUMBERS + [rng.getrandbits(64) - (1 << 63) for _ in range(20)] + list(range(-9, 10))
    machine = compiled[function.__name__]  # type: ignore[attr-defined]
    for a in numbers:
        for b in numbers:
            assert machine(a, b) == function(a, b), (a, b)  # type: ignore[operator]


def test_memory(compiled: dict[str, object]) -> None:
    source = ctypes.create_string_buffer(bytes(range(200, 232)), 32)
    one, two = ctypes.create_string_buffer(16), ctypes.create_string_buffer(16)
    result = through_memory(ctypes.addressof(source), ctypes.addressof(one))
    assert compiled["through_memory"](ctypes.addressof(source), ctypes.addressof(two)) == result  # type: ignore[operator]
    assert one.raw == two.raw != bytes(16)


@native
def unknown_call(a: int) -> int:
    return abs(a)


@native
def unknown_statement(a: int) -> int:
    try:
        return a
    finally:
        pass


@native
def unknown_name(a: int) -> int:
    return a + FUNCTIONS  # type: ignore[operator,no-any-return]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (unknown_call, "'abs' is neither a local nor a constant"),
        (unknown_statement, "is not in the subset"),
        (unknown_name, "'FUNCTIONS' is not an integer constant"),
    ],
)
def test_what_is_not_in_the_subset_is_named(function: object, message: str) -> None:
    with pytest.raises(SyntaxError, match=message):
        module_ir([function])  # type: ignore[list-item]
