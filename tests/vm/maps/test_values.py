"""Bytes of BTF types as Python values, both ways, from one list."""

from __future__ import annotations

import gc
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest

from btf_writer import BtfWriter
from clsbpf.errors import ClsbpfError, MapError
from clsbpf.objfile.btf import Kind, TypeRef
from clsbpf.vm.maps.values import Special, codec, special_fields
from map_types import locked_types, timer_types

Make = Callable[[BtfWriter], int]


def made(make: Make) -> TypeRef:
    """The type that `make` adds last."""
    types = BtfWriter()
    id = make(types)
    return types.btf().ref(id)


def address(types: BtfWriter) -> int:
    """in6_addr-like: a union of bytes and words, without a name, in a struct with a port and flags."""
    byte, word = types.int("u8", 1, signed=False), types.int("u32", 4, signed=False)
    union = types.union("", 4, ("octets", types.array(byte, 4), 0), ("word", word, 0))
    return types.struct("address", 8, ("", union, 0), ("low", word, 32, 4), ("high", word, 36, 12))


def signed_bits(types: BtfWriter) -> int:
    number = types.int("int", 4, signed=True)
    return types.struct("bits", 4, ("a", number, 0, 3), ("b", number, 3, 5), ("c", number, 8, 24))


def nested(types: BtfWriter) -> int:
    number = types.typedef("number_t", types.int("short", 2))
    inner = types.struct("inner", 4, ("x", number, 0), ("y", number, 16))
    return types.struct("outer", 12, ("each", types.array(inner, 2), 0), ("n", types.int(), 64))


def boolean(types: BtfWriter) -> int:
    return types.add(Kind.INT, "_Bool", size=1, rest=struct.pack("<I", 4 << 24 | 8))


def section(types: BtfWriter) -> int:
    """With a variable that is half gone, and one that is elsewhere, as compilers write them."""
    number = types.int()
    seen, half, gone = (types.var(name, number) for name in ("seen", "half", "gone"))
    return types.datasec(".bss", (seen, 4, 4), (half, 8, 2), (gone, 8, 4), size=10)


VALUES: list[tuple[str, Make, bytes, Any]] = [
    ("int", lambda types: types.int(), b"\xfe\xff\xff\xff", -2),
    ("unsigned", lambda types: types.int("u16", 2, signed=False), b"\xfe\xff", 65534),
    ("bool", boolean, b"\1", True),
    ("pointer", lambda types: types.ptr(0), b"\1" + bytes(7), 1),
    ("enum", lambda types: types.enum("e", {"A": 1}), b"\1\0\0\0", 1),
    ("enum64", lambda types: types.enum64("e", {"A": -1}, signed=True), b"\xff" * 8, -1),
    ("float", lambda types: types.add(Kind.FLOAT, "double", size=8), struct.pack("<d", 1.5), 1.5),
    ("text", lambda types: types.array(types.int("char", 1), 4), b"eth0", b"eth0"),
    ("array", lambda types: types.array(types.int("u8", 1, signed=False), 3), b"\1\2\3", [1, 2, 3]),
    (
        "struct",
        nested,
        b"\1\0\2\0\3\0\4\0\5\0\0\0",
        {"each": [{"x": 1, "y": 2}, {"x": 3, "y": 4}], "n": 5},
    ),
    (
        "union and bits",
        address,
        b"\1\2\3\4\x5a\xa5\0\0",
        {"octets": [1, 2, 3, 4], "word": 0x04030201, "low": 0xA, "high": 0xA55},
    ),
    ("data section", section, bytes(4) + b"\1\0\0\0\2\3", {"seen": 1, "half": b"\2\3"}),
    ("signed bits", signed_bits, b"\xff\xff\xff\x7f", {"a": -1, "b": -1, "c": 0x7FFFFF}),
]


@pytest.mark.parametrize(
    ("make", "raw", "value"), [each[1:] for each in VALUES], ids=[each[0] for each in VALUES]
)
def test_values(make: Make, raw: bytes, value: Any) -> None:
    """Reading and writing are each other's inverse, and bytes are taken as well."""
    found = codec(made(make))
    assert found.size == len(raw)
    assert found.decode(raw) == value
    assert found.encode(value, "it") == raw
    assert found.encode(raw, "it") == raw


WRONG: list[tuple[Make, Any, str]] = [
    (lambda types: types.int(), 1 << 31, "it is 2147483648, must be -2147483648 to 2147483647"),
    (lambda types: types.int(), "7", "it is '7', must be an integer"),
    (lambda types: types.int(), b"abc", "it has 3 bytes, must have 4"),
    (boolean, 2, "it is 2, must be True or False"),
    (nested, {"m": 1}, "it has no field 'm'; there are: each, n"),
    (nested, {"each": [{"x": 1}]}, "it.each has 1 elements, must have 2"),
    (nested, {"each": [{"x": 1}, {"y": 1 << 15}]}, r"it.each\[1\].y is 32768"),
    (nested, [1], "must be a dict of each, n"),
    (address, {"word": 1, "octets": [2, 0, 0, 0]}, "it.octets says other than a field before it"),
    (address, {"low": 16}, "it.low is 16, must be 0 to 15"),
    (lambda types: types.array(types.int("char", 1), 4), "lab00", "text of 5 bytes, may have 4"),
    (lambda types: types.add(Kind.FLOAT, "float", size=4), 1e300, "too large for 4 bytes"),
]


@pytest.mark.parametrize(("make", "value", "words"), WRONG)
def test_what_does_not_fit_is_named(make: Make, value: Any, words: str) -> None:
    with pytest.raises(MapError, match=words):
        codec(made(make)).encode(value, "it")


def test_what_is_not_given_is_zero() -> None:
    assert codec(made(nested)).encode({"n": 1}, "it") == bytes(8) + b"\1\0\0\0"
    assert codec(made(lambda types: types.array(types.int("char", 1), 4))).encode("lo", "it") == b"lo\0\0"


def doubling(types: BtfWriter) -> int:
    """Each struct has the one before it twice, in the same place."""
    last = types.struct("s", 4, ("x", types.int(), 0))
    for _ in range(28):
        last = types.struct("s", 4, ("a", last, 0), ("b", last, 0))
    return last


def circle(types: BtfWriter) -> int:
    return types.struct("s", 4, ("again", 1, 0))


def vast(types: BtfWriter) -> int:
    return types.array(types.struct("none", 0), 0xFFFFFFFF)


def beyond(types: BtfWriter) -> int:
    double = types.add(Kind.FLOAT, "double", size=8)
    return types.struct("s", 4, ("x", double, 0))


def far_bits(types: BtfWriter) -> int:
    return types.struct("s", 4, ("x", types.int(), 0xFFFFFF, 255))


@pytest.mark.parametrize("make", [beyond, far_bits])
def test_fields_lie_in_their_struct(make: Make) -> None:
    with pytest.raises(MapError, match="field 'x' ends at"):
        codec(made(make))


@pytest.mark.parametrize("make", [doubling, circle, vast])
def test_hostile_types_come_to_an_end(make: Make) -> None:
    """Any BTF is read in bounded time, or refused as our kind of error."""
    # What other tests left (a thread that compiles, a large heap) is not what is timed.
    gc.disable()
    try:
        began = time.thread_time()
        for reading in (codec, special_fields):
            try:
                reading(made(make))
            except ClsbpfError:
                continue
        took = time.thread_time() - began
    finally:
        gc.enable()
    assert took < 2


def test_the_kernels_own_fields() -> None:
    assert special_fields(locked_types()[1]) == (Special("bpf_spin_lock", 4, 4),)
    assert special_fields(timer_types()[1]) == (Special("bpf_timer", 8, 16),)

    def pointer(types: BtfWriter) -> int:
        task = types.struct("task_struct", 8)
        tagged = types.modifier(Kind.TYPE_TAG, task, "kptr")
        return types.struct("v", 16, ("plain", types.ptr(task), 0), ("kept", types.ptr(tagged), 64))

    assert special_fields(made(pointer)) == (Special("kptr", 8, 8),)
