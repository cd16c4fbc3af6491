"""Replies about qdiscs to text and JSON: what `tc qdisc show` prints (print_qdisc() of tc/tc_qdisc.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ClsbpfError
from ..netlink.attr import Attr
from ..netlink.message import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Message
from ..netlink.schema import Rtm, Tca
from ..netlink.tcmsg import TCMSG_LEN, TcMsg
from .ids import TC_H_ROOT
from .options import Options
from .printer import Printer
from .qdiscs import kind_words
from .request import View
from .rows import attrs_of, print_change
from .size_table_words import show_stab
from .stats import print_stats

if TYPE_CHECKING:
    from .render import Names


def print_qdisc(out: Printer, message: Message, view: View, names: Names) -> None:
    """print_qdisc(): one qdisc, unless others are selected."""
    header = TcMsg.decode(message.payload)
    selected = ((view.ifindex, header.ifindex), (view.handle, header.handle), (view.parent, header.parent))
    if any(wanted and wanted != has for wanted, has in selected):
        return
    attrs = attrs_of(message.payload[TCMSG_LEN:])
    if Tca.KIND not in attrs:
        raise ClsbpfError("print_qdisc: NULL kind")
    kind = attrs[Tca.KIND].string
    with out.object():
        created = message.type == Rtm.NEWQDISC and bool(message.flags & NLM_F_CREATE)
        replaced = created and bool(message.flags & NLM_F_REPLACE)
        added = created and bool(message.flags & NLM_F_EXCL)
        print_change(out, message.type == Rtm.DELQDISC, replaced, added)
        out.both("kind", f"qdisc {kind}", kind)
        handle = f"{header.handle >> 16:x}:"
        out.both("handle", f" {handle}", handle)
        out.say(f"[{header.handle:08x}] " if view.options.raw else " ")
        if view.ifindex == 0:
            device = names.device_name(header.ifindex)
            out.device(device)
        if header.parent == TC_H_ROOT:
            out.both("root", "root ", True)
        elif header.parent:
            parent = names.classid(header.parent)
            out.both("parent", f"parent {parent} ", parent)
        if header.info != 1:
            out.both("refcnt", f"refcnt {header.info} ", header.info)
        if Tca.HW_OFFLOAD in attrs and attrs[Tca.HW_OFFLOAD].u8:
            out.both("offloaded", "offloaded ", True)
        for number, word in ((Tca.INGRESS_BLOCK, "ingress_block"), (Tca.EGRESS_BLOCK, "egress_block")):
            if number in attrs and attrs[number].u32:
                out.both(word, f"{word} {attrs[number].u32} ", attrs[number].u32)
        with out.object("options"):
            if Tca.OPTIONS in attrs:
                _print_options(out, kind, attrs[Tca.OPTIONS], view.options)
        if view.options.details and Tca.STAB in attrs:
            out.end_line()
            show_stab(out, attrs[Tca.STAB])
        out.end_line()
        if view.options.stats:
            _print_stats(out, kind, attrs, view)


def _print_options(out: Printer, kind: str, options: Attr, view: Options) -> None:
    words = kind_words(kind)
    if words is not None and words.print_qopt is not None:
        words.print_qopt(kind, out, options, view)
    elif kind == "ingress":
        out.say("---------------- ")
    elif kind != "clsact" and options.payload:
        out.say(f"[Unknown qdisc, optlen={len(options.payload)}] ")


def _print_stats(out: Printer, kind: str, attrs: dict[int, Attr], view: View) -> None:
    """print_tcstats_attr(), then what only the kind counts."""
    if not (Tca.STATS in attrs or Tca.STATS2 in attrs or Tca.XSTATS in attrs):
        return
    xstats = print_stats(out, attrs, " ", iec=bool(view.options.iec))
    out.end_line()
    words = kind_words(kind)
    if xstats is not None and words is not None and words.print_xstats is not None:
        words.print_xstats(kind, out, xstats, view.options)
        out.end_line()
