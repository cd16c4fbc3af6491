"""What can code of the subset do that Python has no operator for?  Memory, and arithmetic of a width.

Each primitive is a Python function, which is its definition, and an entry in `PRIMITIVES`: the lines of LLVM
IR that `vm/subset.py` puts in the place of a call.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass


def load_u8(address: int) -> int:
    """The byte at `address`."""
    return ctypes.c_uint8.from_address(address).value


def load_u16(address: int) -> int:
    """The unaligned 16-bit number at `address`, host order."""
    return ctypes.c_uint16.from_address(address).value


def load_u32(address: int) -> int:
    """The unaligned 32-bit number at `address`, host order."""
    return ctypes.c_uint32.from_address(address).value


def load_i32(address: int) -> int:
    """The unaligned signed 32-bit number at `address`, host order."""
    return ctypes.c_int32.from_address(address).value


def load_i64(address: int) -> int:
    """The unaligned signed 64-bit number at `address`, host order (an address, too)."""
    return ctypes.c_int64.from_address(address).value


def load_be16(address: int) -> int:
    """The unaligned 16-bit number at `address`, network order."""
    return int.from_bytes(ctypes.string_at(address, 2), "big")


def load_be32(address: int) -> int:
    """The unaligned 32-bit number at `address`, network order."""
    return int.from_bytes(ctypes.string_at(address, 4), "big")


def store_u8(address: int, value: int) -> None:
    """Store the low byte of `value`."""
    ctypes.c_uint8.from_address(address).value = value & 0xFF


def store_u16(address: int, value: int) -> None:
    """Store the low 16 bits of `value`, host order."""
    ctypes.c_uint16.from_address(address).value = value & 0xFFFF


def store_u32(address: int, value: int) -> None:
    """Store the low 32 bits of `value`, host order."""
    ctypes.c_uint32.from_address(address).value = value & 0xFFFFFFFF


def store_i64(address: int, value: int) -> None:
    """Store `value`, host order."""
    ctypes.c_int64.from_address(address).value = wrap(value)


def copy(to: int, source: int, count: int) -> None:
    """Copy `count` bytes; the two areas do not overlap."""
    ctypes.memmove(to, source, count)


def move(to: int, source: int, count: int) -> None:
    """Copy `count` bytes; the two areas may overlap."""
    ctypes.memmove(to, source, count)


def fill(to: int, byte: int, count: int) -> None:
    """Set `count` bytes to `byte`."""
    ctypes.memset(to, byte & 0xFF, count)


def prefetch(address: int) -> None:
    """Ask for the cache line at `address`; any address will do, nothing is read."""


def wrap(value: int) -> int:
    """`value` modulo 2**64, as a signed number."""
    return (value & 0xFFFFFFFFFFFFFFFF ^ 1 << 63) - (1 << 63)


def u8(value: int) -> int:
    """The low 8 bits, unsigned."""
    return value & 0xFF


def u16(value: int) -> int:
    """The low 16 bits, unsigned."""
    return value & 0xFFFF


def u32(value: int) -> int:
    """The low 32 bits, unsigned."""
    return value & 0xFFFFFFFF


def s32(value: int) -> int:
    """The low 32 bits, signed."""
    return (value & 0xFFFFFFFF ^ 0x80000000) - 0x80000000


def swap16(value: int) -> int:
    """The low 16 bits with their bytes in the other order."""
    return int.from_bytes((value & 0xFFFF).to_bytes(2, "little"), "big")


def swap32(value: int) -> int:
    """The low 32 bits with their bytes in the other order."""
    return int.from_bytes((value & 0xFFFFFFFF).to_bytes(4, "little"), "big")


def below(a: int, b: int) -> int:
    """1 if a < b as unsigned 64-bit numbers, else 0."""
    return int(a & 0xFFFFFFFFFFFFFFFF < b & 0xFFFFFFFFFFFFFFFF)


def udiv(a: int, b: int) -> int:
    """a // b as unsigned 64-bit numbers; b is not 0."""
    return wrap((a & 0xFFFFFFFFFFFFFFFF) // (b & 0xFFFFFFFFFFFFFFFF))


def umod(a: int, b: int) -> int:
    """a % b as unsigned 64-bit numbers; b is not 0."""
    return wrap((a & 0xFFFFFFFFFFFFFFFF) % (b & 0xFFFFFFFFFFFFFFFF))


def shift_right(value: int, count: int) -> int:
    """Logical right shift of the 64 bits by 0 to 63."""
    return wrap((value & 0xFFFFFFFFFFFFFFFF) >> count)


def leading_zeros(value: int) -> int:
    """How many of the 64 bits, from the highest on, are 0; 64 for 0."""
    return 64 - (value & 0xFFFFFFFFFFFFFFFF).bit_length()


@dataclass(frozen=True, slots=True)
class Primitive:
    """The IR of a primitive: lines with {0}, {1}, … for arguments, {r} the result, {t} temporaries."""

    arity: int
    lines: tuple[str, ...]
    declare: str = ""


def _load(bits: int, extend: str) -> Primitive:
    lines = ["{t}p = inttoptr i64 {0} to ptr", f"{{t}}v = load i{bits}, ptr {{t}}p, align 1"]
    lines.append(f"{{r}} = {extend} i{bits} {{t}}v to i64")
    return Primitive(1, tuple(lines))


def _load_be(bits: int) -> Primitive:
    return Primitive(
        1,
        (
            "{t}p = inttoptr i64 {0} to ptr",
            f"{{t}}v = load i{bits}, ptr {{t}}p, align 1",
            f"{{t}}s = call i{bits} @llvm.bswap.i{bits}(i{bits} {{t}}v)",
            f"{{r}} = zext i{bits} {{t}}s to i64",
        ),
        f"declare i{bits} @llvm.bswap.i{bits}(i{bits})",
    )


def _store(bits: int) -> Primitive:
    return Primitive(
        2,
        (
            "{t}p = inttoptr i64 {0} to ptr",
            f"{{t}}v = trunc i64 {{1}} to i{bits}",
            f"store i{bits} {{t}}v, ptr {{t}}p, align 1",
        ),
    )


def _truncate(bits: int, extend: str) -> Primitive:
    return Primitive(1, (f"{{t}}v = trunc i64 {{0}} to i{bits}", f"{{r}} = {extend} i{bits} {{t}}v to i64"))


def _swap(bits: int) -> Primitive:
    return Primitive(
        1,
        (
            f"{{t}}v = trunc i64 {{0}} to i{bits}",
            f"{{t}}s = call i{bits} @llvm.bswap.i{bits}(i{bits} {{t}}v)",
            f"{{r}} = zext i{bits} {{t}}s to i64",
        ),
        f"declare i{bits} @llvm.bswap.i{bits}(i{bits})",
    )


def _transfer(intrinsic: str) -> Primitive:
    return Primitive(
        3,
        (
            "{t}d = inttoptr i64 {0} to ptr",
            "{t}s = inttoptr i64 {1} to ptr",
            f"call void @llvm.{intrinsic}.p0.p0.i64(ptr {{t}}d, ptr {{t}}s, i64 {{2}}, i1 false)",
        ),
        f"declare void @llvm.{intrinsic}.p0.p0.i64(ptr, ptr, i64, i1)",
    )


PRIMITIVES: dict[Callable[..., object], Primitive] = {
    load_u8: _load(8, "zext"),
    load_u16: _load(16, "zext"),
    load_u32: _load(32, "zext"),
    load_i32: _load(32, "sext"),
    load_i64: Primitive(1, ("{t}p = inttoptr i64 {0} to ptr", "{r} = load i64, ptr {t}p, align 1")),
    load_be16: _load_be(16),
    load_be32: _load_be(32),
    store_u8: _store(8),
    store_u16: _store(16),
    store_u32: _store(32),
    store_i64: Primitive(2, ("{t}p = inttoptr i64 {0} to ptr", "store i64 {1}, ptr {t}p, align 1")),
    copy: _transfer("memcpy"),
    move: _transfer("memmove"),
    fill: Primitive(
        3,
        (
            "{t}d = inttoptr i64 {0} to ptr",
            "{t}b = trunc i64 {1} to i8",
            "call void @llvm.memset.p0.i64(ptr {t}d, i8 {t}b, i64 {2}, i1 false)",
        ),
        "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)",
    ),
    prefetch: Primitive(
        1,
        ("{t}p = inttoptr i64 {0} to ptr", "call void @llvm.prefetch.p0(ptr {t}p, i32 0, i32 3, i32 1)"),
        "declare void @llvm.prefetch.p0(ptr, i32, i32, i32)",
    ),
    wrap: Primitive(1, ("{r} = add i64 {0}, 0",)),
    u8: _truncate(8, "zext"),
    u16: _truncate(16, "zext"),
    u32: _truncate(32, "zext"),
    s32: _truncate(32, "sext"),
    swap16: _swap(16),
    swap32: _swap(32),
    below: Primitive(2, ("{t}c = icmp ult i64 {0}, {1}", "{r} = zext i1 {t}c to i64")),
    udiv: Primitive(2, ("{r} = udiv i64 {0}, {1}",)),
    umod: Primitive(2, ("{r} = urem i64 {0}, {1}",)),
    shift_right: Primitive(2, ("{r} = lshr i64 {0}, {1}",)),
    leading_zeros: Primitive(
        1, ("{r} = call i64 @llvm.ctlz.i64(i64 {0}, i1 false)",), "declare i64 @llvm.ctlz.i64(i64, i1)"
    ),
}
