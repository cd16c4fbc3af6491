"""Numbers as tc reads them: C's strtoul and strtod, and the helpers of lib/utils.c on top of them.

tc takes what the C library takes: blanks and a sign in front, `0x` and a leading `0` where the base
is open, a minus that wraps around in 64 bits.  `None` means that the text is no such number; the
caller knows what tc says then.
"""

from __future__ import annotations

import math
import re

U16 = 0xFFFF
U32 = 0xFFFFFFFF
ULONG = 0xFFFFFFFFFFFFFFFF

_SPACES = " \t\n\v\f\r"
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def strtoul(text: str, base: int) -> tuple[int, str]:
    """strtoul(3): the value, and what is left of `text` (all of it when there are no digits).

    Too large gives ULONG_MAX; a minus negates modulo 2**64.
    """
    rest = text.lstrip(_SPACES)
    negative = rest.startswith("-")
    rest = rest[1:] if rest[:1] in ("-", "+") else rest
    digits = rest.lower()
    hexadecimal = digits[:2] == "0x" and digits[2:3] in tuple(_DIGITS[:16])
    if hexadecimal and base in (0, 16):
        base, rest, digits = 16, rest[2:], digits[2:]
    elif base == 0:
        base = 8 if digits[:1] == "0" else 10
    size = 0
    while size < len(digits) and digits[size] in _DIGITS[:base]:
        size += 1
    if size == 0:
        return 0, text
    value = _bounded(digits[:size], base)
    if value > ULONG:
        value = ULONG
    elif negative:
        value = -value & ULONG
    return value, rest[size:]


def _bounded(digits: str, base: int) -> int:
    """The number, or something above ULONG without the work that a hostile length would cost."""
    significant = digits.lstrip("0")
    return ULONG + 1 if len(significant) > 64 else int(significant or "0", base)


def unsigned(text: str, most: int = U32, base: int = 0) -> int | None:
    """get_u32(), get_u16(): the whole text as a number of at most `most`."""
    value, rest = strtoul(text, base)
    return None if text == "" or rest or value > most else value


def integer(text: str, base: int = 0) -> int | None:
    """get_integer(): the whole text as a signed number of 32 bits."""
    value, rest = strtoul(text, base)
    negative = text.lstrip(_SPACES).startswith("-")
    # strtol(3) stops at the ends of its range, where strtoul wraps around.
    number = value - (1 << 64) if negative and value >> 63 else value
    return None if text == "" or rest or not -(1 << 31) <= number < 1 << 31 else number


_DOUBLE = re.compile(
    r"[ \t\n\v\f\r]*([-+]?(?:0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)(?:[pP][-+]?[0-9]+)?"
    r"|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?|[nN][aA][nN]"
    r"|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?))",
    re.ASCII,
)


def strtod(text: str) -> tuple[float, str]:
    """strtod(3): the value, and what is left of `text` (all of it when there is no number)."""
    found = _DOUBLE.match(text)
    if found is None:
        return 0.0, text
    try:
        value = float.fromhex(found[1]) if "x" in found[1].lower() else float(found[1])
    except OverflowError:
        value = math.inf
    return value, text[found.end() :]


_MICROSECONDS = {
    "": 1.0,
    "s": 1e6,
    "sec": 1e6,
    "secs": 1e6,
    "ms": 1e3,
    "msec": 1e3,
    "msecs": 1e3,
    "us": 1.0,
    "usec": 1.0,
    "usecs": 1.0,
}


def microseconds(text: str) -> int | None:
    """get_time(): a time with its unit (s, ms, us; none: us), as 32 bits of microseconds."""
    value, unit = strtod(text)
    scale = _MICROSECONDS.get(unit.lower())
    if unit == text or scale is None:
        return None
    value *= scale
    # Converting what does not fit is left open by C; x86-64 gives 2**63, of which 32 bits are kept.
    return int(value) & U32 if math.isfinite(value) and abs(value) < 2**63 else 0


def estimator(interval: int, time_constant: int) -> tuple[int, int] | None:
    """tc_setup_estimator(): (interval, ewma_log) of struct tc_estimator, None when out of range.

    The interval is 2**interval seconds, from a quarter to eight; `ewma_log` the largest weight whose
    average is no slower than the time constant.  Both arguments are in microseconds.
    """
    steps = next((step for step in range(6) if interval <= (1 << step) * 250_000), None)
    if steps is None:
        return None
    for log in range(1, 31):
        if interval / -math.log(1.0 - 1.0 / (1 << log)) > time_constant:
            return (steps - 2, log - 1) if log > 1 else None
    return None


_SIZE_UNITS = {
    "": 1.0,
    "b": 1.0,
    "k": 1024.0,
    "kb": 1024.0,
    "m": 1024.0**2,
    "mb": 1024.0**2,
    "g": 1024.0**3,
    "gb": 1024.0**3,
    "kbit": 1024.0 / 8,
    "mbit": 1024.0**2 / 8,
    "gbit": 1024.0**3 / 8,
}

_RATE_UNITS = {"": 1.0, "bit": 1.0, "bps": 8.0} | {
    f"{prefix}{infix}{unit}": scale * base**power
    for power, prefix in enumerate("kmgt", 1)
    for infix, base in (("", 1000.0), ("i", 1024.0))
    for unit, scale in (("bit", 1.0), ("bps", 8.0))
}


def size(text: str) -> int | None:
    """get_size(): bytes with their unit (k is 1024), as 32 bits."""
    value, unit = strtod(text)
    scale = _SIZE_UNITS.get(unit.lower())
    if unit == text or scale is None or not math.isfinite(value):
        return None
    found = int(value * scale)
    return found if 0 <= found <= U32 else None


def size_and_cell(text: str) -> tuple[int, int] | None:
    """get_size_and_cell(): `SIZE` or `SIZE/CELL`, with the cell's logarithm (-1: none)."""
    first, slash, second = text.partition("/")
    bytes_, cell = size(first), unsigned(second) if slash else None
    if bytes_ is None:
        return None
    if not slash:
        return bytes_, -1
    if cell is None or cell & (cell - 1) or not cell:
        return None
    return bytes_, cell.bit_length() - 1


def rate(text: str, most: int = ULONG) -> int | None:
    """get_rate64(): bits a second with their unit (k is 1000, ki 1024, bps bytes), as bytes a second."""
    value, unit = strtod(text)
    scale = _RATE_UNITS.get(unit.lower())
    if unit == text or scale is None or not math.isfinite(value) or value < 0:
        return None
    found = int(value * scale / 8)
    return found if found <= most else None
