"""Is a format string one that bpf_snprintf takes?  bpf_bprintf_prepare, where it only looks.

The string is known before the program runs, so the kernel refuses a program with a wrong one: with a
conversion that there is not, or more of them than arguments.
"""

from __future__ import annotations

import re
import string

_PUNCTUATION = re.escape(string.punctuation)
_END = rf"(?=$|[\s{_PUNCTUATION}])"
_CONVERSION = re.compile(
    r"%[0+\- ]*(?:[1-9][0-9]*)?"
    rf"(?:p(?:[ku]s{_END}|[KxsS]|B|[iI][46]|{_END})|s{_END}|c|l{{0,2}}[iduxX])"
)


def format_problem(format: bytes, arguments: int) -> str:
    """Why the format (without its zero byte) will not do with so many arguments; empty if it will."""
    if any(not (0x20 <= byte < 0x7F or 9 <= byte <= 13) for byte in format):
        return "it holds a byte that is not printable"
    text, at = format.decode("ascii"), 0
    while (at := text.find("%", at)) >= 0:
        if text.startswith("%%", at):
            at += 2
            continue
        if not arguments:
            return "it has more conversions than there are arguments"
        found = _CONVERSION.match(text, at)
        if found is None:
            return f"{text[at : at + 4]!r} is no conversion"
        arguments -= 1
        at = found.end()
    return ""
