"""Which bucket does a key belong to?  Bob Jenkins' lookup3, as the kernel's jhash() has it.

It is the kernel's hash so that the order in which a hash map is walked is the kernel's too, where the
kernel's is fixed: with BPF_F_ZERO_SEED.  (jhash2(), which the kernel takes for keys of whole words, gives
the same on a little-endian machine.)
"""

from __future__ import annotations

from ..subset import load_u8, load_u16, load_u32, native, u32

INITVAL = 0xDEADBEEF
"""JHASH_INITVAL: arbitrary, as the kernel says."""


@native(inline=True)
def rotate(word: int, by: int) -> int:
    """rol32."""
    return u32(word << by) | word >> (32 - by)


@native(inline=True)
def last_word(address: int, count: int) -> int:
    """The little-endian number of the (at most 4) bytes that are left."""
    if count >= 4:
        return load_u32(address)
    if count == 3:
        return load_u16(address) | load_u8(address + 2) << 16
    if count == 2:
        return load_u16(address)
    if count == 1:
        return load_u8(address)
    return 0


@native(inline=True)
def jhash(key: int, length: int, seed: int) -> int:
    """The 32-bit hash of `length` bytes; `seed` is a u32."""
    a = u32(INITVAL + length + seed)
    b = a
    c = a
    while length > 12:
        a = u32(a + load_u32(key))
        b = u32(b + load_u32(key + 4))
        c = u32(c + load_u32(key + 8))
        a = u32(a - c) ^ rotate(c, 4)
        c = u32(c + b)
        b = u32(b - a) ^ rotate(a, 6)
        a = u32(a + c)
        c = u32(c - b) ^ rotate(b, 8)
        b = u32(b + a)
        a = u32(a - c) ^ rotate(c, 16)
        c = u32(c + b)
        b = u32(b - a) ^ rotate(a, 19)
        a = u32(a + c)
        c = u32(c - b) ^ rotate(b, 4)
        b = u32(b + a)
        length -= 12
        key += 12
    if length == 0:
        return c
    a = u32(a + last_word(key, length))
    b = u32(b + last_word(key + 4, length - 4))
    c = u32(c + last_word(key + 8, length - 8))
    c = u32((c ^ b) - rotate(b, 14))
    a = u32((a ^ c) - rotate(c, 11))
    b = u32((b ^ a) - rotate(a, 25))
    c = u32((c ^ b) - rotate(b, 16))
    a = u32((a ^ c) - rotate(c, 4))
    b = u32((b ^ a) - rotate(a, 14))
    return u32((c ^ b) - rotate(b, 24))
