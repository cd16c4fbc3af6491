"""The 32-bit names of traffic control: class ids, parents, handles (TC_H_*).

A class id is two 16-bit halves, `major:minor`.  The major is the handle of the qdisc that owns the
class, written `1:`; the minor is the class within it.  A filter's *parent* is the class id it hangs
on, and the special qdiscs clsact and ingress have reserved ones.  A filter's *handle* is a plain
number without halves, chosen for each classifier.
"""

from __future__ import annotations

import re

from ..errors import ClsbpfError

TC_H_UNSPEC = 0
TC_H_ROOT = 0xFFFFFFFF
TC_H_INGRESS = 0xFFFFFFF1
TC_H_CLSACT = TC_H_INGRESS
TC_H_MIN_INGRESS = 0xFFF2
TC_H_MIN_EGRESS = 0xFFF3

TC_H_MAJ_MASK = 0xFFFF0000
TC_H_MIN_MASK = 0x0000FFFF


def major(classid: int) -> int:
    """TC_H_MAJ(): the major half, in place (`1:10` gives 0x10000)."""
    return classid & TC_H_MAJ_MASK


def minor(classid: int) -> int:
    """TC_H_MIN(): the minor half."""
    return classid & TC_H_MIN_MASK


def make(major_of: int, minor_of: int) -> int:
    """TC_H_MAKE(): the major half of the one with the minor half of the other."""
    return (major_of & TC_H_MAJ_MASK) | (minor_of & TC_H_MIN_MASK)


PARENT_INGRESS = make(TC_H_CLSACT, TC_H_MIN_INGRESS)
"""Where `tc filter … ingress` hangs its filters."""
PARENT_EGRESS = make(TC_H_CLSACT, TC_H_MIN_EGRESS)
"""Where `tc filter … egress` hangs its filters."""


def format_classid(classid: int) -> str:
    """A class id as tc prints it: `1:10`, `ffff:`, `:1`, `root`, `none`; the halves in hexadecimal."""
    if classid == TC_H_ROOT:
        return "root"
    if classid == TC_H_UNSPEC:
        return "none"
    maj, mnr = classid >> 16, minor(classid)
    if not maj:
        return f":{mnr:x}"
    return f"{maj:x}:{mnr:x}" if mnr else f"{maj:x}:"


_HEX = "(?:0[xX])?[0-9a-fA-F]+"
_HALVES = re.compile(f"(?P<major>{_HEX})?:(?P<minor>{_HEX})?")
_WHOLE = re.compile(_HEX)


def parse_classid(text: str) -> int:
    """The class id that tc takes for `text`: what `format_classid` prints, or one whole hex number.

    ClsbpfError for anything else, also for a half above ffff.
    """
    match text:
        case "root":
            return TC_H_ROOT
        case "none":
            return TC_H_UNSPEC
    if _WHOLE.fullmatch(text):
        value = int(text, 16)
        if value <= 0xFFFFFFFF:
            return value
    elif halves := _HALVES.fullmatch(text):
        maj, mnr = int(halves["major"] or "0", 16), int(halves["minor"] or "0", 16)
        if maj <= 0xFFFF and mnr <= 0xFFFF:
            return maj << 16 | mnr
    raise ClsbpfError(
        f"{text!r} is not a class id; written MAJOR:MINOR in hexadecimal up to ffff:ffff, or root, or none"
    )


def format_handle(handle: int) -> str:
    """A filter's handle as tc prints it: `0x1`."""
    return f"{handle:#x}"


def parse_handle(text: str) -> int:
    """A filter's handle as tc takes it: an unsigned 32-bit number, decimal, hexadecimal (0x) or octal (0)."""
    octal = re.fullmatch("0[0-7]+", text)
    value = -1
    if octal or re.fullmatch("0[xX][0-9a-fA-F]+|0|[1-9][0-9]*", text):
        value = int(text, 8 if octal else 0)
    if not 0 <= value <= 0xFFFFFFFF:
        raise ClsbpfError(f"{text!r} is not a filter handle: a number from 0 to 0xffffffff")
    return value
