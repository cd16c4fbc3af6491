"""simple in words and rows (tc/m_simple.c).  Its JSON is that of tc 6.9 on; before, tc's is none."""

from __future__ import annotations

from ...netlink import act as wire
from ...netlink import attr as nla
from ...netlink.act import SIMP_MAX_DATA, TcaDef
from ...netlink.attr import Attr
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
    show_holders,
    show_times,
)

USAGE = "Usage: ... simple [sdata STRING] [CONTROL] [index N]"

TITLE = None
SIZES: dict[int, int] = {TcaDef.PARMS: wire.GEN.size, TcaDef.TM: wire.TM.size}


def parse(words: Words, lookups: Lookups) -> list[Attr]:
    """parse_simple()."""
    data: bytes | None = None
    while words:
        word = words.current
        if matches(word, "simple"):
            words.next()
        elif matches(word, "sdata"):
            data = words.next().encode("utf-8", "surrogateescape")
            words.skip()
        elif matches(word, "help"):
            raise help_wanted(USAGE, word)
        else:
            break
    control = control_or(words, TC_ACT_PIPE)
    index = maybe_index(words, f'simple: Illegal "index" ({words.ahead})')
    if data is None and index is None:
        raise Illegal("", USAGE)
    if data is not None and len(data) > SIMP_MAX_DATA - 1:
        text = data.decode("utf-8", "surrogateescape")
        fail(f"simple: Illegal string len {len(data)} <{text}>")
    attrs = [parms_attr(TcaDef.PARMS, index, control)]
    if data is not None:
        # tc sends the 32 bytes from the word on, whatever is behind it; the text ends at its NUL.
        attrs.append(nla.binary(TcaDef.DATA, data.ljust(SIMP_MAX_DATA, b"\0")))
    return attrs


def show(out: Printer, attrs: dict[int, Attr], options: Options, names: Names) -> None:
    """print_simple()."""
    parms = wire.GenericParms.decode(need(attrs, TcaDef.PARMS, "Missing simple parameters"))
    need(attrs, TcaDef.DATA, "Missing simple string")
    text = attrs[TcaDef.DATA].string
    out.both("simple", f"Simple <{text}>\n", text)
    out.both("index", f"\t index {parms.index}", parms.index)
    show_holders(out, parms.references, parms.bindings)
    show_times(out, attrs.get(TcaDef.TM), options)
    out.end_line()
