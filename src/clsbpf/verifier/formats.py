"""Is a format string one that bpf_snprintf takes?  bpf_bprintf_prepare, where it only looks.

The string is known before the program runs, so the kernel refuses a program with a wrong one: with a
conversion that there is not, or more of them than arguments.
"""

from __future__ import annotations

import re
import string

_PUNCTUATION = re.escape(string.punctuation.encode()) + rb"\xa1-\xbf\xd7\xf7"
_END = rb"(?=\Z|[ \t-\r\xa0" + _PUNCTUATION + rb"])"
"""isspace() and ispunct() of the kernel, which has Latin-1."""
_CONVERSION = re.compile(
    rb"%[0+\- ]*(?:[1-9][0-9]*)?"
    rb"(?:p(?:[ku]s" + _END + rb"|[KxsS]|B|[iI][46]|" + _END + rb")|s" + _END + rb"|c|l{0,2}[iduxX])"
)


def format_problem(format: bytes, arguments: int) -> str:
    """Why the format (without its zero byte) will not do with so many arguments; empty if it will."""
    if any(byte < 0x80 and not (0x20 <= byte < 0x7F or 9 <= byte <= 13) for byte in format):
        return "it holds a byte that is not printable"
    at = 0
    while (at := format.find(b"%", at)) >= 0:
        if format.startswith(b"%%", at):
            at += 2
            continue
        if not arguments:
            return "it has more conversions than there are arguments"
        found = _CONVERSION.match(format, at)
        if found is None:
            return f"{format[at : at + 4].decode('latin-1')!r} is no conversion"
        arguments -= 1
        at = found.end()
    return ""
