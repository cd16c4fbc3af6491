"""Replies about classes to text: what `tc class show` prints (print_class() of tc/tc_class.c).

tc 6.1 has no JSON for classes: `tc -j class show` prints text.  The rows are as later versions of tc
print them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ClsbpfError
from ..netlink.message import Message
from ..netlink.schema import Rtm, Tca
from ..netlink.tcmsg import TCMSG_LEN, TcMsg
from .ids import TC_H_ROOT
from .numbers import U16
from .printer import Printer
from .qdiscs import kind_words
from .request import View
from .rows import attrs_of
from .stats import print_stats

if TYPE_CHECKING:
    from .render import Names


def print_class(out: Printer, message: Message, view: View, names: Names) -> None:
    """print_class(): one class, unless others are selected."""
    header = TcMsg.decode(message.payload)
    if view.qdisc and (header.handle ^ view.qdisc) >> 16:
        return
    if view.classid and header.handle != view.classid:
        return
    attrs = attrs_of(message.payload[TCMSG_LEN:])
    if Tca.KIND not in attrs:
        raise ClsbpfError("print_class: NULL kind")
    kind = attrs[Tca.KIND].string
    words = kind_words(kind)
    # Within one qdisc only the minor says anything.
    mask = U16 if view.qdisc else 0xFFFFFFFF
    with out.object():
        if message.type == Rtm.DELTCLASS:
            out.both("deleted", "deleted ", True)
        handle = names.classid(header.handle & mask) if header.handle else ""
        out.both("class", f"class {kind} ", kind)
        out.both("handle", f"{handle} ", handle)
        if view.ifindex == 0:
            device = names.device_name(header.ifindex)
            out.device(device)
        if header.parent == TC_H_ROOT:
            out.both("root", "root ", True)
        else:
            parent = names.classid(header.parent & mask)
            out.both("parent", f"parent {parent} ", parent)
        if header.info:
            leaf = f"{header.info >> 16:x}:"
            out.both("leaf", f"leaf {leaf} ", leaf)
        if Tca.OPTIONS in attrs and words is not None and words.print_copt is not None:
            words.print_copt(kind, out, attrs[Tca.OPTIONS], view.options)
        out.say("\n")
        if not view.options.stats:
            return
        with out.object("stats"):
            xstats = attrs.get(Tca.XSTATS)
            if Tca.STATS2 in attrs or Tca.STATS in attrs:
                xstats = print_stats(out, attrs, " ", iec=bool(view.options.iec))
                out.say("\n")
            if xstats is not None and words is not None and words.print_xstats is not None:
                words.print_xstats(kind, out, xstats, view.options)
                out.say("\n")
