"""What do programs do with text?  Numbers out of it, comparison (kernel/bpf/helpers.c, lib/kstrtox.c)."""

from __future__ import annotations

import errno
from collections.abc import Callable

from ..environment import EnvironmentAt
from ..subset import below, load_i64, load_u8, native, store_i64, udiv, wrap

BASE_MASK = 0x1F
PARSED_MAX = 63
"""Bytes that are looked at after blanks and sign."""
OVERFLOW = 1 << 31
"""KSTRTOX_OVERFLOW, in a count of characters."""
NO_BREAK_SPACE = 0xA0


@native(inline=True)
def is_space(byte: int) -> int:
    """isspace() of the kernel."""
    return (byte >= 9 and byte <= 13) or byte == 32 or byte == NO_BREAK_SPACE


@native(inline=True)
def digit(byte: int) -> int:
    """A digit's value, 99 for anything else."""
    if byte >= 48 and byte <= 57:
        return byte - 48
    lower = byte | 32
    if lower >= 97 and lower <= 102:
        return lower - 87
    return 99


@native
def byte_at(text: int, at: int, end: int) -> int:
    """A byte of the text, 0 behind its end."""
    return load_u8(text + at) if at < end else 0


@native
def radix(text: int, at: int, end: int, base: int) -> int:
    """_parse_integer_fixup_radix(): the base, and (from bit 8 on) how many characters said so."""
    hexadecimal = byte_at(text, at, end) == 48 and byte_at(text, at + 1, end) | 32 == 120
    if base == 0:
        if byte_at(text, at, end) != 48:
            return 10
        base = 16 if hexadecimal and digit(byte_at(text, at + 2, end)) < 16 else 8
    return 2 << 8 | base if base == 16 and hexadecimal else base


@native
def parse_integer(text: int, at: int, end: int, base: int, result: int) -> int:
    """_parse_integer(): the number to `result`; how many digits there were, OVERFLOW added."""
    value = 0
    count = 0
    overflow = 0
    while digit(byte_at(text, at + count, end)) < base:
        next = digit(byte_at(text, at + count, end))
        if below(udiv(-1 - next, base), value):
            overflow = OVERFLOW
        value = wrap(value * base + next)
        count += 1
    store_i64(result, value)
    return count | overflow


@native
def parse_unsigned(text: int, length: int, flags: int, result: int) -> int:
    """__bpf_strtoull(): the magnitude to `result`; characters consumed, or -errno.

    Bit 32 of the answer is set when there was a minus sign.
    """
    base = flags & BASE_MASK
    if base not in (0, 8, 10, 16) or flags & ~BASE_MASK:
        return -errno.EINVAL
    at = 0
    while at < length and is_space(load_u8(text + at)):
        at += 1
    negative = at < length and load_u8(text + at) == 45
    if negative:
        at += 1
    if at == length:
        return -errno.EINVAL
    end = length if length < at + PARSED_MAX else at + PARSED_MAX
    found = radix(text, at, end, base)
    at += found >> 8
    digits = parse_integer(text, at, end, found & 0xFF, result)
    if digits & OVERFLOW:
        return -errno.ERANGE
    if digits == 0:
        return -errno.EINVAL
    return at + digits | negative << 32


@native
def strtol(machine: int, text: int, length: int, flags: int, result: int) -> int:
    """bpf_strtol: a signed 64-bit number to `result`; characters consumed, or -errno and 0 there."""
    store_i64(result, 0)
    scratch = machine + EnvironmentAt.SCRATCH
    consumed = parse_unsigned(text, length, flags, scratch)
    if consumed < 0:
        return consumed
    value = load_i64(scratch)
    if consumed >> 32:
        value = wrap(-value)
        if value > 0:
            return -errno.ERANGE
    elif value < 0:
        return -errno.ERANGE
    store_i64(result, value)
    return consumed & 0xFFFFFFFF


@native
def strtoul(machine: int, text: int, length: int, flags: int, result: int) -> int:
    """bpf_strtoul: an unsigned 64-bit number to `result`; characters consumed, or -errno and 0 there."""
    store_i64(result, 0)
    scratch = machine + EnvironmentAt.SCRATCH
    consumed = parse_unsigned(text, length, flags, scratch)
    if consumed < 0:
        return consumed
    if consumed >> 32:
        return -errno.EINVAL
    store_i64(result, load_i64(scratch))
    return consumed


@native
def strncmp(machine: int, first: int, length: int, second: int) -> int:
    """bpf_strncmp: -1, 0 or 1."""
    for at in range(length):
        a = load_u8(first + at)
        b = load_u8(second + at)
        if a != b:
            return -1 if a < b else 1
        if a == 0:
            return 0
    return 0


BODIES: dict[str, Callable[..., int]] = {"strtol": strtol, "strtoul": strtoul, "strncmp": strncmp}
