"""How does the kernel format text for programs?  bpf_bprintf_prepare(), then bstr_printf().

In two steps, as there.  `prepare` reads the format, refuses what is not allowed (-EINVAL), and puts the
arguments into a buffer of 512 bytes: numbers as they are, strings copied, addresses already as text.  What
finds no room is -ENOSPC (where it is the text of an address, a kernel writes on behind the buffer).
`render` reads the format again and writes the text, of which as much is kept as there is room for; the rest
is only counted.

A format may hold %d %i %u %x %X with `l` or `ll`, %c, %s, %pks, %pus, %p %px %pK %ps %pS %pB, %pi4 %pI4
%pi6 %pI6, with flags (space, 0, +, -) and a width, though these are forgotten where a pointer's text was
made beforehand.  A string or address that cannot be read prints as nothing, as zeros.  Text that found no
room is left out by the kernel in such a way that later arguments are misread; so they are here.

%p and %pK print a hash of the pointer in the kernel, with a secret, so that no two kernels print the same;
here they print what %px does.
"""

from __future__ import annotations

import errno

from ..environment import EnvironmentAt
from ..subset import (
    copy,
    fill,
    load_i32,
    load_i64,
    load_u8,
    native,
    s32,
    shift_right,
    store_i64,
    store_u8,
    store_u32,
    u32,
    udiv,
)
from .readable import read_bytes, read_string
from .strings import is_space

ARGUMENTS = 512
"""MAX_BPRINTF_BIN_ARGS."""
ADDRESS = 560
"""In the room for printing: an IP address; behind it up to ADDRESS + 80 digits, the last one first."""
DIGITS_END = 632

PERCENT = 37
LEFT = 1
PLUS = 2
SPACE = 4
ZERO = 8
WIDTH_MAX = (1 << 23) - 1
"""FIELD_WIDTH_MAX."""
NO_WIDTH = -1
POINTER_WIDTH = 16


# Characters ---------------------------------------------------------------------------------------


@native(inline=True)
def is_digit(byte: int) -> int:
    return byte >= 48 and byte <= 57


@native(inline=True)
def is_alnum(byte: int) -> int:
    """isalnum() of the kernel, which has Latin-1 letters."""
    if byte >= 0xC0:
        return byte not in (0xD7, 0xF7)
    lower = byte | 32
    return is_digit(byte) or (lower >= 97 and lower <= 122 and byte < 128)


@native(inline=True)
def ends_conversion(byte: int) -> int:
    """The end of the format, isspace() or ispunct(): what may follow %s and %p."""
    if byte == 0 or is_space(byte):
        return 1
    return byte > 32 and byte != 127 and (byte < 127 or byte > 0xA0) and not is_alnum(byte)


# The format ---------------------------------------------------------------------------------------


@native
def after_field(at: int) -> int:
    """Where flags and width end."""
    while load_u8(at) in (48, 43, 45, 32):
        at += 1
    while is_digit(load_u8(at)):
        at += 1
    return at


@native
def align4(address: int) -> int:
    return (address + 3) & ~3


@native
def prepare(machine: int, template: int, arguments: int, count: int) -> int:
    """bpf_bprintf_prepare(): `count` u64 at `arguments` for the format, ready for `render`; 0 or -errno."""
    start = machine + EnvironmentAt.PRINTING
    end = start + ARGUMENTS
    to = start
    used = 0
    at = template
    while load_u8(at):
        byte = load_u8(at)
        at += 1
        if byte != PERCENT:
            if (byte < 32 and not is_space(byte)) or byte == 127:
                return -errno.EINVAL
            continue
        if load_u8(at) == PERCENT:
            at += 1
            continue
        if used >= count:
            return -errno.EINVAL
        at = after_field(at)
        byte = load_u8(at)
        value = load_i64(arguments + used * 8)
        used += 1
        size = 4
        if byte == 112:  # p
            following = load_u8(at + 1)
            if following in (107, 117) and load_u8(at + 2) == 115:  # ks us
                at += 2
                byte = 115
            elif following == 66:  # B
                to += backtrace(machine, to, end - to, value) + 1
                if to > end:
                    return -errno.ENOSPC
                at += 2
                continue
            elif following in (105, 73):  # i I
                family = load_u8(at + 2)
                if family not in (52, 54):
                    return -errno.EINVAL
                size = 4 if family == 52 else 16
                if end - to < size:
                    return -errno.ENOSPC
                to += address_text(machine, to, end - to, value, size, following == 105) + 1
                if to > end:
                    return -errno.ENOSPC
                at += 3
                continue
            else:
                if following in (75, 120, 115, 83):  # K x s S
                    at += 1
                elif not ends_conversion(following):
                    return -errno.EINVAL
                size = 8
                byte = 120
        if byte == 115:  # s
            if not ends_conversion(load_u8(at + 1)):
                return -errno.EINVAL
            if to == end:
                return -errno.ENOSPC
            length = read_string(machine, to, end - to, value)
            if length == 0:
                store_u8(to, 0)
                length = 1
            to += length
            at += 1
            continue
        if byte == 99:  # c
            if to == end:
                return -errno.ENOSPC
            store_u8(to, value)
            to += 1
            at += 1
            continue
        if byte == 108:  # l
            size = 8
            at += 1
            if load_u8(at) == 108:
                at += 1
            byte = load_u8(at)
        if byte not in (105, 100, 117, 120, 88):  # i d u x X
            return -errno.EINVAL
        to = align4(to)
        if end - to < size:
            return -errno.ENOSPC
        if size == 8:
            store_i64(to, value)
        else:
            store_u32(to, value)
        to += size
        at += 1
    store_i64(to, 0)
    return 0


# Text ---------------------------------------------------------------------------------------------


@native
def put_bytes(buffer: int, room: int, at: int, source: int, count: int) -> int:
    """Text goes to its place, as much as there is room for: where it ends."""
    if at < room:
        copy(buffer + at, source, count if count < room - at else room - at)
    return at + count


@native
def pad(buffer: int, room: int, at: int, byte: int, count: int) -> int:
    """The same with one character `count` times, if that is more than none."""
    if count <= 0:
        return at
    if at < room:
        fill(buffer + at, byte, count if count < room - at else room - at)
    return at + count


@native
def text_length(start: int, end: int) -> int:
    """strlen() of what lies before `end`."""
    at = start
    while at < end and load_u8(at):
        at += 1
    return at - start


@native
def decimal(machine: int, value: int) -> int:
    """The digits of an unsigned number, ending at DIGITS_END: where they begin."""
    at = machine + EnvironmentAt.PRINTING + DIGITS_END - 1
    while value < 0 or value > 9:
        rest = udiv(value, 10)
        store_u8(at, 48 + (value - rest * 10))
        value = rest
        at -= 1
    store_u8(at, 48 + value)
    return at


@native
def hexadecimal(machine: int, value: int, letters: int) -> int:
    """The same with base 16; `letters` is what the first of them is less 10."""
    at = machine + EnvironmentAt.PRINTING + DIGITS_END - 1
    while 1:
        digit = value & 15
        store_u8(at, digit + 48 if digit < 10 else digit + letters)
        value = shift_right(value, 4)
        if value == 0:
            return at
        at -= 1
    return at


UPPER = 65 - 10
LOWER = 97 - 10


@native
def put_number(
    machine: int, buffer: int, room: int, at: int, digits: int, sign: int, flags: int, width: int
) -> int:
    """number(): digits that end at DIGITS_END, with their sign (0: none), flags and width."""
    count = machine + EnvironmentAt.PRINTING + DIGITS_END - digits
    width -= count + (1 if sign else 0)
    if not flags & (LEFT | ZERO):
        at = pad(buffer, room, at, 32, width)
        width = 0
    if sign:
        at = pad(buffer, room, at, sign, 1)
    if not flags & LEFT:
        at = pad(buffer, room, at, 48, width)
        width = 0
    at = put_bytes(buffer, room, at, digits, count)
    return pad(buffer, room, at, 32, width)


@native
def put_string(buffer: int, room: int, at: int, source: int, count: int, flags: int, width: int) -> int:
    """string(): with a width."""
    if not flags & LEFT:
        at = pad(buffer, room, at, 32, width - count)
    at = put_bytes(buffer, room, at, source, count)
    return pad(buffer, room, at, 32, width - count) if flags & LEFT else at


@native
def symbol_text(machine: int, value: int) -> int:
    """sprint_symbol() of what is no symbol: `0x…`, ending at DIGITS_END; where it begins."""
    at = hexadecimal(machine, value, LOWER) - 2
    store_u8(at, 48)
    store_u8(at + 1, 120)
    return at


@native
def backtrace(machine: int, to: int, room: int, value: int) -> int:
    """snprintf() of %pB: its length."""
    text = symbol_text(machine, value)
    count = machine + EnvironmentAt.PRINTING + DIGITS_END - text
    return end_text(to, room, put_bytes(to, room, 0, text, count))


@native
def end_text(to: int, room: int, length: int) -> int:
    """The end of a text that may not have had room: its length."""
    if room > 0:
        store_u8(to + (length if length < room else room - 1), 0)
    return length


@native
def address_text(machine: int, to: int, room: int, source: int, size: int, plain: int) -> int:
    """snprintf() of %pI4 1.2.3.4, %pi4 001.002.003.004, %pI6 0001:…, %pi6 without colons: its length."""
    raw = machine + EnvironmentAt.PRINTING + ADDRESS
    if not read_bytes(machine, raw, size, source):
        fill(raw, 0, size)
    at = 0
    for index in range(size):
        byte = load_u8(raw + index)
        if size == 4:
            if index:
                at = pad(to, room, at, 46, 1)
            digits = decimal(machine, byte)
            count = machine + EnvironmentAt.PRINTING + DIGITS_END - digits
            if plain:
                at = pad(to, room, at, 48, 3 - count)
            at = put_bytes(to, room, at, digits, count)
        else:
            if index and not index & 1 and not plain:
                at = pad(to, room, at, 58, 1)
            hexadecimal(machine, byte | 256, LOWER)
            at = put_bytes(to, room, at, machine + EnvironmentAt.PRINTING + DIGITS_END - 2, 2)
    return end_text(to, room, at)


@native
def put_pointer(
    machine: int, buffer: int, room: int, at: int, kind: int, value: int, flags: int, width: int
) -> int:
    """pointer(): the number, or (%ps, %pS) what symbol it is."""
    if kind in (115, 83):
        text = symbol_text(machine, value)
        count = machine + EnvironmentAt.PRINTING + DIGITS_END - text
        return put_string(buffer, room, at, text, count, flags, width)
    if width == NO_WIDTH:
        width = POINTER_WIDTH
        flags |= ZERO
    return put_number(
        machine, buffer, room, at, hexadecimal(machine, value, LOWER), 0, zero_or_left(flags), width
    )


@native(inline=True)
def zero_or_left(flags: int) -> int:
    """What is at the left has no zeros before it."""
    return flags & ~ZERO if flags & LEFT else flags


@native
def render(machine: int, buffer: int, room: int, template: int) -> int:
    """bstr_printf(): the text to `buffer`, cut to `room` bytes with its end; how long it would be."""
    arguments = machine + EnvironmentAt.PRINTING
    end = arguments + ARGUMENTS
    at = 0
    while load_u8(template):
        byte = load_u8(template)
        template += 1
        if byte == PERCENT:
            byte = load_u8(template)
        else:
            start = template - 1
            while load_u8(template) and load_u8(template) != PERCENT:
                template += 1
            at = put_bytes(buffer, room, at, start, template - start)
            continue
        if byte == PERCENT:
            at = pad(buffer, room, at, PERCENT, 1)
            template += 1
            continue
        flags = 0
        while byte in (48, 43, 45, 32):
            flags |= ZERO if byte == 48 else PLUS if byte == 43 else LEFT if byte == 45 else SPACE
            template += 1
            byte = load_u8(template)
        width = NO_WIDTH
        if is_digit(byte):
            width = 0
            while is_digit(byte):
                width = s32(width * 10 + byte - 48)
                template += 1
                byte = load_u8(template)
            width = WIDTH_MAX if width > WIDTH_MAX else -WIDTH_MAX if width < -WIDTH_MAX else width
        template += 1
        if byte == 99:  # c
            if not flags & LEFT:
                at = pad(buffer, room, at, 32, width - 1)
            at = pad(buffer, room, at, load_u8(arguments), 1)
            if flags & LEFT:
                at = pad(buffer, room, at, 32, width - 1)
            arguments += 1
        elif byte == 115:  # s
            count = text_length(arguments, end)
            at = put_string(buffer, room, at, arguments, count, flags, width)
            arguments += count + 1
        elif byte == 112:  # p
            kind = load_u8(template)
            if kind in (83, 115, 120, 75, 101) or not is_alnum(kind):
                arguments = align4(arguments)
                value = load_i64(arguments)
                arguments += 8
                at = put_pointer(machine, buffer, room, at, kind, value, flags, width)
            elif at < room:
                count = text_length(arguments, end)
                at = put_bytes(buffer, room, at, arguments, count)
                arguments += count + 1
            while is_alnum(load_u8(template)):
                template += 1
        else:
            arguments = align4(arguments)
            value = load_i32(arguments)
            size = 4
            if byte == 108:  # l
                value = load_i64(arguments)
                size = 8
                byte = load_u8(template)
                template += 1
                if byte == 108:
                    byte = load_u8(template)
                    template += 1
            arguments += size
            sign = 0
            if byte in (100, 105):  # d i
                if value < 0:
                    sign = 45
                    value = -value
                elif flags & PLUS:
                    sign = 43
                elif flags & SPACE:
                    sign = 32
            elif size == 4:
                value = u32(value)
            if byte in (120, 88):  # x X
                digits = hexadecimal(machine, value, LOWER if byte == 120 else UPPER)
            else:
                digits = decimal(machine, value)
            at = put_number(machine, buffer, room, at, digits, sign, zero_or_left(flags), width)
    return end_text(buffer, room, at)
