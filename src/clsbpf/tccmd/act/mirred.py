"""mirred in words and rows (tc/m_mirred.c); `blockid N` as from iproute2 6.8 on."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ...netlink import act as wire
from ...netlink import attr as nla
from ...netlink.act import MIRRED_PARMS, MirredAction, TcaMirred
from ...netlink.attr import Attr
from ..errors import CommandError
from ..numbers import unsigned
from ..options import Options
from ..printer import Printer
from ..request import DEVICE_NAME_BYTES, Lookups, cut
from ..words import Words, matches, matches_any
from .common import (
    TC_ACT_PIPE,
    TC_ACT_STOLEN,
    Illegal,
    Names,
    control_or,
    fail,
    help_wanted,
    index_number,
    need,
    parms_attr,
    show_control,
    show_tail,
)

USAGE = "Usage: ... mirred ingress|egress mirror|redirect [index N] dev NAME | blockid N [CONTROL]"

_NAMES = {
    MirredAction.EGRESS_REDIR: ("Egress Redirect", "redirect", "egress"),
    MirredAction.EGRESS_MIRROR: ("Egress Mirror", "mirror", "egress"),
    MirredAction.INGRESS_REDIR: ("Ingress Redirect", "redirect", "ingress"),
    MirredAction.INGRESS_MIRROR: ("Ingress Mirror", "mirror", "ingress"),
}
_UNKNOWN = ("unknown", "unknown", "unknown")
_ACTIONS = {
    ("egress", "redirect"): (MirredAction.EGRESS_REDIR, TC_ACT_STOLEN),
    ("egress", "mirror"): (MirredAction.EGRESS_MIRROR, TC_ACT_PIPE),
    ("ingress", "redirect"): (MirredAction.INGRESS_REDIR, TC_ACT_STOLEN),
    ("ingress", "mirror"): (MirredAction.INGRESS_MIRROR, TC_ACT_PIPE),
}
TITLE = "mirred "
SIZES: dict[int, int] = {
    TcaMirred.PARMS: MIRRED_PARMS.size,
    TcaMirred.TM: wire.TM.size,
    TcaMirred.BLOCKID: 4,
}


@dataclass(slots=True)
class _Said:
    """What mirred's words have said so far."""

    direction: str | None = None
    mode: str | None = None
    index: int | None = None
    device: str = ""
    block: int | None = None

    def choose(self, field: str, word: str, other: str) -> None:
        """Set direction or mode, each once and for all."""
        if getattr(self, field) is not None:
            raise Illegal(f"Can't have both {other}")
        setattr(self, field, word)


def parse(words: Words, lookups: Lookups) -> list[Attr]:
    """parse_mirred() and parse_direction(): TCA_MIRRED_PARMS."""
    first = words.next()
    if matches(first, "help"):
        raise help_wanted(USAGE, first)
    if not matches_any(first, "egress", "ingress", "index"):
        fail(f"mirred option not supported {first}")
    said = _Said()
    while words and _word(words, said):
        words.next()
    eaction, action = _ACTIONS.get((said.direction or "", said.mode or ""), (0, 0))
    try:
        ifindex = lookups.ifindex(said.device) if said.device else 0
    except CommandError as error:
        raise Illegal(error.reason) from None
    if said.mode == "mirror":
        action = control_or(words, action)
    if words.at_prefix_of("index"):
        if said.index is not None:
            fail("mirred: Illegal double index")
        said.index = index_number(words, 'mirred: Illegal "index"')
    attrs = [parms_attr(TcaMirred.PARMS, said.index, action, struct.pack("=iI", eaction, ifindex))]
    if said.block is not None:
        attrs.append(nla.u32(TcaMirred.BLOCKID, said.block))
    return attrs


def _word(words: Words, said: _Said) -> bool:
    """One of mirred's words; is another wanted?"""
    word = words.current
    if matches(word, "action"):
        words.next()
        return False
    if said.direction != "egress" and matches(word, "egress"):
        said.choose("direction", "egress", "egress and ingress")
    elif said.direction != "ingress" and matches(word, "ingress"):
        said.choose("direction", "ingress", "ingress and egress")
    elif matches(word, "index"):
        said.index = unsigned(words.next(), base=10)
        if said.index is None:
            fail('Illegal "index"')
        if said.direction is None:
            words.skip()
            return False
    elif said.mode != "mirror" and matches(word, "mirror"):
        said.choose("mode", "mirror", "mirror and redir")
    elif said.mode != "redirect" and matches(word, "redirect"):
        said.choose("mode", "redirect", "mirror and redir")
    elif said.mode and matches(word, "dev"):
        said.device = cut(words.next(), DEVICE_NAME_BYTES)
        words.skip()
        return False
    elif said.mode and word == "blockid":
        said.block = unsigned(words.next())
        if not said.block:
            fail("invalid block ID index value")
        words.skip()
        return False
    return True


def show(out: Printer, attrs: dict[int, Attr], options: Options, names: Names) -> None:
    """print_mirred()."""
    payload = need(attrs, TcaMirred.PARMS, "Missing mirred parameters")
    parms = wire.GenericParms.decode(payload)
    *_, eaction, ifindex = MIRRED_PARMS.unpack_from(payload)
    text, what, direction = _NAMES.get(eaction, _UNKNOWN)
    out.say(f"({text}")
    out.value("mirred_action", what)
    out.value("direction", direction)
    if TcaMirred.BLOCKID in attrs:
        block = attrs[TcaMirred.BLOCKID].u32
        out.both("to_blockid", f" to blockid {block})", block)
    else:
        name = names.device(ifindex)
        out.both("to_dev", f" to device {name})", name)
    show_control(out, " ", parms.control)
    out.end_line()
    show_tail(out, parms, attrs.get(TcaMirred.TM), options, before="\t")
