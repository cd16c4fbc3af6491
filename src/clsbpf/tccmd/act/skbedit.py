"""skbedit in words and rows (tc/m_skbedit.c)."""

from __future__ import annotations

from ...netlink import act as wire
from ...netlink import attr as nla
from ...netlink.act import SKBEDIT_F_INHERITDSFIELD, TcaSkbedit
from ...netlink.attr import Attr
from ..ids import parse_classid
from ..numbers import U16, unsigned
from ..options import Options
from ..printer import Printer
from ..request import Lookups
from ..words import Words, matches
from .common import (
    TC_ACT_PIPE,
    Illegal,
    Names,
    control_or,
    fail,
    help_wanted,
    maybe_index,
    need,
    parms_attr,
    show_control,
    show_tail,
)

USAGE = """\
Usage: ... skbedit [queue_mapping N] [priority MAJ:MIN] [mark N[/MASK]] [inheritdsfield]
                   [ptype host|otherhost|broadcast|multicast] [CONTROL] [index N]"""

_PTYPES = {"host": 0, "broadcast": 1, "multicast": 2, "otherhost": 3}
TITLE = "skbedit "
SIZES: dict[int, int] = {
    TcaSkbedit.PARMS: wire.GEN.size,
    TcaSkbedit.TM: wire.TM.size,
    TcaSkbedit.QUEUE_MAPPING: 2,
    TcaSkbedit.PRIORITY: 4,
    TcaSkbedit.MARK: 4,
    TcaSkbedit.MASK: 4,
    TcaSkbedit.PTYPE: 2,
    TcaSkbedit.FLAGS: 8,
}


def parse(words: Words, lookups: Lookups) -> list[Attr]:
    """parse_skbedit()."""
    words.next()
    said: dict[int, Attr] = {}
    while words and _word(words, said):
        words.skip()
    control = control_or(words, TC_ACT_PIPE)
    index = maybe_index(words, 'skbedit: Illegal "index"')
    if not said and index is None:
        raise Illegal("", USAGE)
    order = (
        TcaSkbedit.QUEUE_MAPPING,
        TcaSkbedit.PRIORITY,
        TcaSkbedit.MARK,
        TcaSkbedit.MASK,
        TcaSkbedit.PTYPE,
        TcaSkbedit.FLAGS,
    )
    attrs = [said[number] for number in order if number in said]
    return [parms_attr(TcaSkbedit.PARMS, index, control), *attrs]


def _word(words: Words, said: dict[int, Attr]) -> bool:
    """One of skbedit's words; was it one?"""
    word = words.current
    if matches(word, "queue_mapping"):
        queue = unsigned(words.next(), base=10)
        if queue is None or queue > U16:
            fail("Illegal queue_mapping")
        said[TcaSkbedit.QUEUE_MAPPING] = nla.u16(TcaSkbedit.QUEUE_MAPPING, queue)
    elif matches(word, "priority"):
        priority = parse_classid(words.next())
        if priority is None:
            fail("Illegal priority")
        said[TcaSkbedit.PRIORITY] = nla.u32(TcaSkbedit.PRIORITY, priority)
    elif matches(word, "mark"):
        first, slash, second = words.next().partition("/")
        mark = unsigned(first)
        if mark is None:
            fail("Illegal mark")
        said[TcaSkbedit.MARK] = nla.u32(TcaSkbedit.MARK, mark)
        if slash:
            mask = unsigned(second)
            if mask is None:
                fail("Illegal mask")
            said[TcaSkbedit.MASK] = nla.u32(TcaSkbedit.MASK, mask)
    elif matches(word, "ptype"):
        name = words.next()
        kind = next((value for key, value in _PTYPES.items() if matches(name, key)), None)
        if kind is None:
            fail(f"Illegal ptype ({name})")
        said[TcaSkbedit.PTYPE] = nla.u16(TcaSkbedit.PTYPE, kind)
    elif matches(word, "inheritdsfield"):
        said[TcaSkbedit.FLAGS] = nla.u64(TcaSkbedit.FLAGS, SKBEDIT_F_INHERITDSFIELD)
    elif matches(word, "help"):
        raise help_wanted(USAGE, word)
    else:
        return False
    return True


def show(out: Printer, attrs: dict[int, Attr], options: Options, names: Names) -> None:
    """print_skbedit()."""
    parms = wire.GenericParms.decode(need(attrs, TcaSkbedit.PARMS, "Missing skbedit parameters"))
    if TcaSkbedit.QUEUE_MAPPING in attrs:
        queue = attrs[TcaSkbedit.QUEUE_MAPPING].u16
        out.both("queue_mapping", f"queue_mapping {queue}", queue)
    if TcaSkbedit.PRIORITY in attrs:
        priority = names.classid(attrs[TcaSkbedit.PRIORITY].u32)
        out.both("priority", f" priority {priority}", priority)
    if TcaSkbedit.MARK in attrs:
        mark = attrs[TcaSkbedit.MARK].u32
        out.both("mark", f" mark {mark}", mark)
    if TcaSkbedit.MASK in attrs:
        mask = attrs[TcaSkbedit.MASK].u32
        out.both("mask", f"/{mask:#x}" if mask else "/0", f"{mask:x}")
    if TcaSkbedit.PTYPE in attrs:
        number = attrs[TcaSkbedit.PTYPE].u16
        name: str | int = next((key for key, value in _PTYPES.items() if value == number), number)
        out.both("ptype", f" ptype {name}", name)
    if TcaSkbedit.FLAGS in attrs and attrs[TcaSkbedit.FLAGS].u64 & SKBEDIT_F_INHERITDSFIELD:
        out.both("inheritdsfield", " inheritdsfield", None)
    show_control(out, " ", parms.control)
    out.end_line()
    show_tail(out, parms, attrs.get(TcaSkbedit.TM), options)
