"""gact in words and rows (tc/m_gact.c)."""

from __future__ import annotations

from ...netlink import act as wire
from ...netlink import attr as nla
from ...netlink.act import GACT_PROB, TcaGact
from ...netlink.attr import Attr
from ..errors import CommandError, incomplete
from ..numbers import U16, unsigned
from ..options import Options
from ..printer import Printer
from ..request import Lookups
from ..words import Words, matches
from .common import (
    Illegal,
    Names,
    fail,
    index_number,
    need,
    parms_attr,
    parse_control,
    show_control,
    show_tail,
)

_RANDOM = {"netrand": 1, "determ": 2}
_RANDOM_NAMES = {1: "netrand", 2: "determ"}
TITLE = "gact "
SIZES: dict[int, int] = {
    TcaGact.PARMS: wire.GEN.size,
    TcaGact.PROB: GACT_PROB.size,
    TcaGact.TM: wire.TM.size,
}

USAGE = """\
Usage: ... gact CONTROL [random netrand|determ CONTROL 0..10000] [index N]
           CONTROL: continue | drop | pass | reclassify | pipe | trap | goto chain N | jump N"""


def parse(words: Words, lookups: Lookups) -> list[Attr]:
    """parse_gact(): TCA_GACT_PARMS and, with `random`, TCA_GACT_PROB."""
    if matches(words.current, "gact"):
        words.next()
    if matches(words.current, "index"):
        return [parms_attr(TcaGact.PARMS, index_number(words), 0)]
    action = _control(words)
    prob = None
    if words.at_prefix_of("random"):
        prob = _parse_random(words)
    elif words.at_prefix_of("help"):
        raise _usage("", words.current)
    index = 0
    if words.at_prefix_of("index"):
        index = index_number(words)
    elif words.at_prefix_of("help"):
        raise _usage("", words.current)
    attrs = [parms_attr(TcaGact.PARMS, index, action)]
    if prob is not None:
        attrs.append(nla.binary(TcaGact.PROB, prob))
    return attrs


def _control(words: Words) -> int:
    word = words.current if words else ""
    try:
        return parse_control(words)
    except Illegal as illegal:
        raise _usage(str(illegal), word) from None


def _usage(message: str, word: str) -> CommandError:
    return CommandError(message, 255, word=word, ends_batch=True, usage=USAGE)


def _parse_random(words: Words) -> bytes:
    word = words.next()
    kind = next((number for name, number in _RANDOM.items() if matches(word, name)), None)
    if kind is None:
        fail('Illegal "random type"')
    words.next()
    control = _control(words)
    if not words:
        incomplete(word)  # tc reads past its last word here and crashes
    value = unsigned(words.current, U16, 10)
    if value is None:
        fail(f"Illegal probability val {words.current}")
    if value > 10000:
        fail(f"Illegal probability val  {value:#x}")
    words.skip()
    return GACT_PROB.pack(kind, value, control)


def show(out: Printer, attrs: dict[int, Attr], options: Options, names: Names) -> None:
    """print_gact()."""
    parms = wire.GenericParms.decode(need(attrs, TcaGact.PARMS, "Missing gact parameters"))
    show_control(out, "action ", parms.control)
    kind, value, other = 0, 0, 0
    if TcaGact.PROB in attrs:
        kind, value, other = GACT_PROB.unpack_from(attrs[TcaGact.PROB].payload)
    with out.object("prob"):
        out.end_line()
        random = _RANDOM_NAMES.get(kind, "none")
        out.both("random_type", f"\t random type {random}", random)
        show_control(out, " ", other, " ")
        out.both("val", f"val {value}", value)
    out.end_line()
    show_tail(out, parms, attrs.get(TcaGact.TM), options)
