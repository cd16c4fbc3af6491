"""csum in words and rows (tc/m_csum.c)."""

from __future__ import annotations

import struct

from ...netlink import act as wire
from ...netlink.act import CSUM_PARMS, CsumFlag, TcaCsum
from ...netlink.attr import Attr
from ..options import Options
from ..printer import Printer
from ..request import Lookups
from ..words import Words, matches_any
from .common import (
    TC_ACT_OK,
    Names,
    control_or,
    fail,
    help_wanted,
    index_number,
    maybe_index,
    need,
    parms_attr,
    show_control,
    show_tail,
)

USAGE = "Usage: ... csum iph|icmp|igmp|tcp|udp|udplite|sctp [and|or|+ …] [CONTROL] [index N]"

_TARGETS = (
    (("iph", "ip4h", "ipv4h"), CsumFlag.IPV4HDR),
    (("icmp",), CsumFlag.ICMP),
    (("igmp",), CsumFlag.IGMP),
    (("tcp",), CsumFlag.TCP),
    (("udp",), CsumFlag.UDP),
    (("udplite",), CsumFlag.UDPLITE),
    (("sctp",), CsumFlag.SCTP),
    (("and", "or", "+"), CsumFlag(0)),
)
"""In tc's order of looking: `i` is the IP header, `u` is UDP."""
TITLE = "csum "
SIZES: dict[int, int] = {TcaCsum.PARMS: CSUM_PARMS.size, TcaCsum.TM: wire.TM.size}


def parse(words: Words, lookups: Lookups) -> list[Attr]:
    """parse_csum(): as newer versions than 6.1 have it, which take `index N` alone, too."""
    flags = CsumFlag(0)
    while words and not words.at_prefix_of("help"):
        if not words.at_prefix_of("csum"):
            break
        if words.next() == "index":
            index = index_number(words, f'Illegal "index" ({_after(words)}) <csum>')
            return [parms_attr(TcaCsum.PARMS, index, 0, struct.pack("=I", flags))]
        flags |= _targets(words)
    if words.at_prefix_of("help"):
        raise help_wanted(USAGE, words.current)
    if not flags:
        fail("Illegal csum construct, empty <UPDATE> list")
    control = control_or(words, TC_ACT_OK)
    found = maybe_index(words, f'Illegal "index" ({_after(words)}) <csum>')
    return [parms_attr(TcaCsum.PARMS, found, control, struct.pack("=I", flags))]


def _targets(words: Words) -> CsumFlag:
    """parse_csum_args()."""
    flags = CsumFlag(0)
    while words:
        target = next((flag for names, flag in _TARGETS if matches_any(words.current, *names)), None)
        if target is None:
            break
        flags |= target
        words.skip()
    return flags


def _after(words: Words) -> str:
    """The word after the current one, for a message."""
    return words.ahead or ""


def show(out: Printer, attrs: dict[int, Attr], options: Options, names: Names) -> None:
    """print_csum()."""
    payload = need(attrs, TcaCsum.PARMS, "Missing csum parameters")
    parms = wire.GenericParms.decode(payload)
    flags = CSUM_PARMS.unpack_from(payload)[-1]
    targets = ", ".join(keys[0] for keys, flag in _TARGETS if flag and flags & flag) or "?empty"
    out.both("csum", f"({targets}) ", targets)
    show_control(out, "action ", parms.control)
    out.end_line()
    show_tail(out, parms, attrs.get(TcaCsum.TM), options, before="\t")
