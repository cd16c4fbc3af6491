"""How do programs print?  bpf_trace_printk and its family, as the kernel formats (bpf_bprintf_prepare).

A format may hold %d %i %u %x %X with `l` or `ll`, %c, %s (and %ps-like forms, %pks, %pus), %p %px %pK,
%pi4 %pI4 %pi6 %pI6, each with flags (space, 0, +, -) and a width; anything else is -EINVAL, as is a
conversion without its argument.  A string or address that cannot be read prints as nothing, as zeros.

%p prints a hash of the pointer in the kernel, with a secret, so that no two kernels print the same; here
it prints what %px does.
"""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import re
from collections.abc import Callable, Sequence

from ..environment import Environment
from ..subset import external

MAX_VARARGS = 12
"""MAX_BPRINTF_VARARGS."""
MAX_BUFFER = 1024
"""MAX_BPRINTF_BUF: the longest line of trace_printk, its end included; and of the strings in it."""
MAX_PRINTK_ARGUMENTS = 3
UNBOUNDED = 1 << 16

_FIELD = re.compile(rb"[0+\- ]*([1-9][0-9]*)?")
_NUMBER = re.compile(rb"(l{0,2})([diuxX])")
_SPACE = b" \t\n\v\f\r\xa0"
_ALNUM = bytes(
    byte for byte in range(256) if bytes([byte]).isalnum() or (byte >= 0xC0 and byte not in (0xD7, 0xF7))
)
"""isalnum() of the kernel, which has Latin-1 letters."""
_PUNCTUATION = b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


def format_text(template: bytes, arguments: Sequence[int], read: Callable[[int, int], bytes | None]) -> bytes:
    """bstr_printf(): the text.  `read(address, size)` gives memory that may be read.  ValueError: -EINVAL."""
    if any(byte < 0x80 and not (0x20 <= byte < 0x7F or byte in _SPACE) for byte in template):
        raise ValueError
    parts: list[bytes] = []
    at, used = 0, 0
    while at < len(template):
        if template[at] != 0x25:
            following = template.find(b"%", at)
            following = len(template) if following < 0 else following
            parts.append(template[at:following])
            at = following
            continue
        if template[at + 1 : at + 2] == b"%":
            parts.append(b"%")
            at += 2
            continue
        if used >= len(arguments):
            raise ValueError
        field = _FIELD.match(template, at + 1)
        assert field is not None
        text, at, is_number = _convert(template, field.end(), arguments[used], read, bool(field[1]))
        # The kernel forgets the width of an address, and the letters and digits that follow any pointer.
        is_address = template[at - 3 : at - 1] in (b"pi", b"pI")
        parts.append(text if is_address else _pad(text, field[0], is_number))
        while template[field.end()] == 0x70 and at < len(template) and template[at] in _ALNUM:
            at += 1
        used += 1
    return b"".join(parts)


def _convert(
    template: bytes, at: int, value: int, read: Callable[[int, int], bytes | None], has_width: bool
) -> tuple[bytes, int, bool]:
    """A conversion's text without its padding, where it ends, and whether 0 pads it."""
    kind = template[at : at + 1]
    if kind == b"p":
        return _pointer(template, at, value, read, has_width)
    if kind == b"s":
        return _string(template, at + 1, value, read)
    if kind == b"c":
        return bytes([value & 0xFF]).rstrip(b"\0") or b"\0", at + 1, False
    number = _NUMBER.match(template, at)
    if number is None:
        raise ValueError
    bits = 64 if number[1] else 32
    value &= (1 << bits) - 1
    letter = number[2]
    if letter in b"di" and value >> bits - 1:
        value -= 1 << bits
    text = b"%X" % value if letter == b"X" else b"%x" % value if letter == b"x" else b"%d" % value
    if letter in b"di" and value >= 0:
        return b"\0" + text, number.end(), True  # room for a sign that the flags may ask for
    return text, number.end(), True


def _pointer(
    template: bytes, at: int, value: int, read: Callable[[int, int], bytes | None], has_width: bool
) -> tuple[bytes, int, bool]:
    after = template[at + 1 : at + 2]
    digits = b"%x" if has_width else b"%016x"
    if not after or after in _SPACE + _PUNCTUATION:
        return digits % (value & 0xFFFFFFFFFFFFFFFF), at + 1, True
    if after in b"ku" and template[at + 2 : at + 3] == b"s":
        return _string(template, at + 3, value, read)
    if after in b"KxsSB":
        form = b"0x%x" if after in b"sSB" else digits
        return form % (value & 0xFFFFFFFFFFFFFFFF), at + 2, after not in b"sSB"
    family = template[at + 2 : at + 3]
    if after not in b"iI" or family not in (b"4", b"6"):
        raise ValueError
    size = 4 if family == b"4" else 16
    raw = read(value, size) or bytes(size)
    return _address(raw, plain=after == b"i"), at + 3, False


def _address(raw: bytes, *, plain: bool) -> bytes:
    """%pI4 1.2.3.4, %pi4 001.002.003.004, %pI6 0001:…, %pi6 without colons."""
    if len(raw) == 4:
        return ".".join(f"{byte:03d}" if plain else str(byte) for byte in raw).encode()
    exploded = ipaddress.IPv6Address(raw).exploded
    return (exploded.replace(":", "") if plain else exploded).encode()


def _string(
    template: bytes, at: int, value: int, read: Callable[[int, int], bytes | None]
) -> tuple[bytes, int, bool]:
    after = template[at : at + 1]
    if after and after not in _SPACE + _PUNCTUATION:
        raise ValueError
    return read_string(value, MAX_BUFFER, read) or b"", at, False


def read_string(address: int, room: int, read: Callable[[int, int], bytes | None]) -> bytes | None:
    """strncpy_from_kernel_nofault(): up to its end or `room` - 1 bytes; None where nothing can be read."""
    text = b""
    while len(text) < room - 1:
        byte = read(address + len(text), 1)
        if byte is None:
            return None
        if byte == b"\0":
            break
        text += byte
    return text


def _pad(text: bytes, field: bytes, is_number: bool) -> bytes:
    """Width and flags of printf."""
    digits = field.lstrip(b"0+- ")
    flags, width = field[: len(field) - len(digits)], int(digits or b"0")
    sign = b""
    if text.startswith(b"\0") and is_number:
        text = text[1:]
        sign = b"+" if b"+" in flags else b" " if b" " in flags else b""
    elif text.startswith(b"-") and is_number:
        sign, text = b"-", text[1:]
    if b"-" in flags:
        return (sign + text).ljust(width)
    if is_number and b"0" in flags:
        return sign + text.rjust(width - len(sign), b"0")
    return (sign + text).rjust(width)


def reader(environment: Environment) -> Callable[[int, int], bytes | None]:
    """Memory that the program under way may read."""
    memory = environment.running.memory
    assert memory is not None

    def read(address: int, size: int) -> bytes | None:
        address &= 0xFFFFFFFFFFFFFFFF
        if memory.refusal(address, size, 0, write=False) is not None:
            return None
        return ctypes.string_at(address, size)

    return read


def _print(machine: int, template: bytes, arguments: Sequence[int]) -> int:
    environment = Environment.at(machine)
    try:
        text = format_text(template, arguments, reader(environment))
    except ValueError:
        return -errno.EINVAL
    environment.print(text[: MAX_BUFFER - 1].decode(errors="replace"))
    return len(text)


def _words(data: int, size: int) -> list[int] | None:
    """The arguments of a vprintk; None where their size is not one."""
    if size & 7 or size > MAX_VARARGS * 8:
        return None
    raw = ctypes.string_at(data, size)
    return [int.from_bytes(raw[at : at + 8], "little") for at in range(0, size, 8)]


@external
def trace_printk(machine: int, template: int, size: int, first: int, second: int, third: int) -> int:
    """bpf_trace_printk: the length of the text, or -EINVAL."""
    raw = ctypes.string_at(template, size)
    if 0 not in raw:
        return -errno.EINVAL
    return _print(machine, raw[: raw.index(0)], (first, second, third))


@external
def trace_vprintk(machine: int, template: int, size: int, data: int, length: int) -> int:
    """bpf_trace_vprintk: with any number of arguments up to twelve."""
    arguments = _words(data, length)
    raw = ctypes.string_at(template, size)
    if arguments is None or 0 not in raw:
        return -errno.EINVAL
    return _print(machine, raw[: raw.index(0)], arguments)


@external
def snprintf(machine: int, to: int, size: int, template: int, data: int, length: int) -> int:
    """bpf_snprintf: the text to `to`, cut to `size` with its end; the room that all takes, or -errno."""
    arguments = _words(data, length)
    if arguments is None:
        return -errno.EINVAL
    try:
        text = format_text(ctypes.string_at(template), arguments, reader(Environment.at(machine)))
    except ValueError:
        return -errno.EINVAL
    if size:
        cut = text[: size - 1] + b"\0"
        ctypes.memmove(to, cut, len(cut))
    return len(text) + 1


BODIES: dict[str, Callable[..., int]] = {
    "trace_printk": trace_printk,
    "trace_vprintk": trace_vprintk,
    "snprintf": snprintf,
}
