"""Where is a field of the packet that results show as a column?  In an `Skb`, in a NativeSkb."""

from __future__ import annotations

from ..skb import Skb
from ..vm.native_skb import At


def left_in(skb: Skb, column: str) -> int:
    """What programs left in a field (`written.COLUMNS`)."""
    if column.startswith("cb"):
        return skb.cb[int(column[2:])]
    value: int = getattr(skb, column)
    return value


def field_at(column: str) -> int:
    """The offset of the field in a NativeSkb."""
    if column.startswith("cb"):
        return At.CB + 4 * int(column[2:])
    return int(At[column.upper()])
