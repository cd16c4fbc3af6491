"""`tc -g class show`: the classes as a tree (graph_cls_show() of tc/tc_class.c).

    +---(1:1) htb rate 10Mbit ceil 10Mbit burst 1600b cburst 1600b
         +---(1:10) htb prio 0 rate 1Mbit ceil 1Mbit burst 1600b cburst 1600b

The lines between are tc's, down to their oddities: it draws them by pointers that it leaves behind
(`right`), also through classes that it has done with, which always look as if one came after them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..netlink.message import Message
from ..netlink.schema import Tca
from ..netlink.tcmsg import TCMSG_LEN, TcMsg
from .ids import TC_H_ROOT
from .printer import Printer
from .qdiscs import kind_words
from .request import View
from .rows import attrs_of
from .stats import print_stats

if TYPE_CHECKING:
    from .render import Names


@dataclass(slots=True, eq=False)
class _Node:
    """struct graph_node.  `more`: does another class come after it (hlist.next)?"""

    id: int
    parent_id: int
    message: Message
    parent: _Node | None = None
    right: _Node | None = None
    children: int = 0
    more: bool = False


def print_graph(out: Printer, messages: Sequence[Message], view: View, names: Names) -> None:
    """The classes of a dump, as a tree."""
    roots: list[_Node] = []
    others: list[_Node] = []
    for message in messages:
        header = TcMsg.decode(message.payload)
        node = _Node(header.handle, header.parent, message)
        (roots if node.parent_id == TC_H_ROOT else others).insert(0, node)
    _show(out, roots, others, view, names)


def _show(out: Printer, level: list[_Node], others: list[_Node], view: View, names: Names) -> None:
    """graph_cls_show(): the classes of one level, each with those below it."""
    for at, node in enumerate(level):
        node.more = at + 1 < len(level)
    for node in level:
        children: list[_Node] = []
        for each in tuple(others):
            if each.parent_id == node.id:
                others.remove(each)
                children.insert(0, each)
                node.children += 1
                each.parent = node
        out.say(_indent(node))
        more = node.more
        with out.object():
            after = _show_node(out, node, view, names)
        out.say(f"{after}\n")
        _show(out, children, others, view, names)
        if not more:
            out.say(f"{_indent(node)}\n")
        node.more = True  # tc has freed it by now: what is left there is not nothing


def _show_node(out: Printer, node: _Node, view: View, names: Names) -> str:
    """One class; gives what stands before the next line."""
    attrs = attrs_of(node.message.payload[TCMSG_LEN:])
    classid = names.classid(node.id)
    out.both("handle", f"+---({classid})", classid)
    if Tca.KIND not in attrs:
        out.say(" [unknown qdisc kind] ")
        return ""
    kind = attrs[Tca.KIND].string
    out.both("class", f" {kind} ", kind)
    words = kind_words(kind)
    if words is not None and words.print_copt is not None and Tca.OPTIONS in attrs:
        words.print_copt(kind, out, attrs[Tca.OPTIONS], view.options)
    if not view.options.stats:
        return ""
    prefix = _indent(node, newline=True, spaces=len(kind) - 2 + len(classid))
    if Tca.STATS2 in attrs or Tca.STATS in attrs:
        out.say("\n")
        print_stats(out, attrs, prefix, iec=bool(view.options.iec))
        prefix = ""
    if node.more or node.children:
        prefix += "\n" + _indent(node, newline=True)
    return prefix


def _indent(node: _Node, *, newline: bool = False, spaces: int = 0) -> str:
    """graph_indent(): what stands before a class, or before another line of it."""
    while node.parent is not None:
        node.parent.right = node
        node = node.parent
    out = ""
    while node.right is not None:
        out += "|    " if node.more else "     "
        node = node.right
    if newline:
        out += {
            (True, True): "|    |",
            (True, False): "|     ",
            (False, True): "     |",
            (False, False): "      ",
        }[node.more, bool(node.children)]
    return out + " " * max(spaces, 0)
