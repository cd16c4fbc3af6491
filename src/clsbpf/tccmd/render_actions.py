"""Actions to text and JSON: tc_print_action() and print_action() of tc/m_action.c."""

from __future__ import annotations

from ..errors import ClsbpfError
from ..netlink import act as wire
from ..netlink.act import BITFIELD32, ActFlag, TcaAct, TcaRoot
from ..netlink.attr import Attr, iter_attrs
from ..netlink.message import NLM_F_CREATE, NLM_F_REPLACE, NLM_F_ROOT, Message
from ..netlink.schema import Rtm, Tca
from .act import KINDS
from .act.common import Names, by_type
from .actions import HW_STATS
from .options import Options
from .printer import Printer
from .stats import print_stats2

_SIZES: dict[int, int] = {
    TcaAct.FLAGS: 8,
    TcaAct.HW_STATS: 8,
    TcaAct.USED_HW_STATS: 8,
    TcaAct.INDEX: 4,
    TcaAct.IN_HW_COUNT: 4,
}


def print_actions(
    out: Printer,
    nest: Attr,
    options: Options,
    names: Names,
    *,
    most: int = wire.TCA_ACT_MAX_PRIO,
    of_filter: bool = True,
) -> None:
    """The actions in their order; with `of_filter` what belongs to the filter is left out."""
    actions = {attr.type: attr for attr in reversed(nest.attrs()) if attr.type <= most}
    with out.array("actions"):
        for order in sorted(actions):
            with out.object():
                out.end_line()
                out.both("order", f"\taction order {order}: ", order)
                _print_one(out, actions[order], options, names, of_filter)


def print_action_message(out: Printer, message: Message, options: Options, names: Names) -> None:
    """print_action(): a message about actions on their own."""
    if len(message.payload) < wire.TCAMSG_LEN:
        raise ClsbpfError("Wrong len")
    attrs = {attr.type: attr for attr in reversed(list(iter_attrs(message.payload[wire.TCAMSG_LEN :])))}
    total = attrs[TcaRoot.COUNT].u32 if TcaRoot.COUNT in attrs else 0
    with out.object():
        out.both("total acts", f"total acts {total}", total)
        out.end_line()
    tab = attrs.get(TcaRoot.TAB)
    if tab is None:
        if message.type != Rtm.GETACTION:
            raise ClsbpfError("print_action: NULL kind")
        return
    flushed = message.type == Rtm.DELACTION and bool(message.flags & NLM_F_ROOT)
    if message.type == Rtm.DELACTION:
        out.say("Flushed table " if flushed else "Deleted action ")
    elif message.type == Rtm.NEWACTION:
        if message.flags & NLM_F_REPLACE:
            out.say("Replaced action ")
        elif message.flags & NLM_F_CREATE:
            out.say("Added action ")
    with out.object():
        inside = tab.attrs()
        if flushed and [attr.type for attr in inside] == [0]:
            _print_flush(out, inside[0])
            return
        print_actions(out, tab, options, names, most=total or wire.TCA_ACT_MAX_PRIO, of_filter=False)


def _print_flush(out: Printer, nest: Attr) -> None:
    """tc_print_action_flush()."""
    attrs = by_type(nest, {Tca.FCNT: 4})
    if TcaAct.KIND not in attrs or Tca.FCNT not in attrs:
        raise ClsbpfError("NULL Action!")
    out.say(f" {attrs[TcaAct.KIND].string} ({attrs[Tca.FCNT].u32} entries)\n")


def print_options(out: Printer, name: str, inside: Attr | None, options: Options, names: Names) -> None:
    """print_aopt(): what a kind that tc knows has in TCA_ACT_OPTIONS."""
    kind = KINDS[name]
    if kind.TITLE is not None:
        out.both("kind", kind.TITLE, name)
    if inside is not None:
        kind.show(out, by_type(inside, kind.SIZES), options, names)


def _print_one(out: Printer, action: Attr, options: Options, names: Names, of_filter: bool) -> None:
    """tc_print_one_action()."""
    attrs = by_type(action, _SIZES)
    if TcaAct.KIND not in attrs:
        raise ClsbpfError("NULL Action!")
    inside = attrs.get(TcaAct.OPTIONS)
    name = attrs[TcaAct.KIND].string
    if name in KINDS:
        print_options(out, name, inside, options, names)
    elif inside is not None and inside.payload:
        out.say(f"[Unknown action, optlen={len(inside.payload)}] ")
    if options.brief and TcaAct.INDEX in attrs:
        index = attrs[TcaAct.INDEX].u32
        out.both("index", f"\t index {index}", index)
        out.end_line()
    if options.stats and TcaAct.STATS in attrs:
        out.say("\tAction statistics:")
        out.end_line()
        with out.object("stats"):
            print_stats2(out, attrs[TcaAct.STATS], "\t", iec=bool(options.iec))
        out.end_line()
    if TcaAct.COOKIE in attrs:
        cookie = attrs[TcaAct.COOKIE].payload.hex()
        out.both("cookie", f"\tcookie {cookie}", cookie)
        out.end_line()
    _print_flags(out, attrs, of_filter)
    for number, word in ((TcaAct.HW_STATS, "hw_stats"), (TcaAct.USED_HW_STATS, "used_hw_stats")):
        if number in attrs:
            _print_hw_stats(out, attrs[number], word)


def _print_flags(out: Printer, attrs: dict[int, Attr], of_filter: bool) -> None:
    """Flags, and of an action on its own where it runs."""
    value = selector = 0
    if TcaAct.FLAGS in attrs:
        value, selector = BITFIELD32.unpack_from(attrs[TcaAct.FLAGS].payload)
    said = False
    shown = [(ActFlag.NO_PERCPU_STATS, "no_percpu")]
    if not of_filter:
        shown += [(ActFlag.SKIP_HW, "skip_hw"), (ActFlag.SKIP_SW, "skip_sw")]
    for flag, word in shown:
        if selector & flag:
            out.both(word, f"\t{word}", bool(value & flag))
            said = True
    if TcaAct.IN_HW_COUNT in attrs and not of_filter and not selector & value & ActFlag.SKIP_HW:
        count = attrs[TcaAct.IN_HW_COUNT].u32
        said = True
        if count:
            out.both("in_hw", "\tin_hw", True)
            out.both("in_hw_count", f" in_hw_count {count}", count)
        else:
            out.both("not_in_hw", "\tnot_in_hw", True)
    if said:
        out.end_line()


def _print_hw_stats(out: Printer, attr: Attr, word: str) -> None:
    value, selector = BITFIELD32.unpack_from(attr.payload)
    bits = value & selector
    out.say(f"\t{word}")
    with out.array(word):
        for name, bit in HW_STATS.items():
            if bits & bit or (not bits and not bit):
                out.item(f" {name}", name)
    out.end_line()
