"""What the rows of all kinds of messages have in common."""

from __future__ import annotations

from ..netlink.attr import Attr, iter_attrs
from .printer import Printer


def attrs_of(data: bytes) -> dict[int, Attr]:
    """parse_rtattr(): by type; of one that repeats, the first counts."""
    found: dict[int, Attr] = {}
    for attr in iter_attrs(data):
        found.setdefault(attr.type, attr)
    return found


def print_change(out: Printer, deleted: bool, replaced: bool, added: bool) -> None:
    """What a notification says before the object itself."""
    for word, applies in (("deleted", deleted), ("replaced", replaced), ("added", added)):
        if applies:
            out.both(word, f"{word} ", True)
