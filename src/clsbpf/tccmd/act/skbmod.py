"""skbmod in words and rows (tc/m_skbmod.c).  Its JSON is that of tc 6.9 on; before, tc's is none."""

from __future__ import annotations

import re
import struct

from ...netlink import act as wire
from ...netlink import attr as nla
from ...netlink.act import SKBMOD_PARMS, SkbmodFlag, TcaSkbmod
from ...netlink.attr import Attr
from ..errors import invalid
from ..numbers import U16, unsigned
from ..options import Options
from ..printer import Printer
from ..request import Lookups
from ..words import Words, matches, matches_any
from .common import (
    TC_ACT_PIPE,
    Names,
    control_or,
    fail,
    format_link_address,
    help_wanted,
    maybe_index,
    need,
    parms_attr,
    show_control,
    show_holders,
    show_times,
)

USAGE = "Usage: ... skbmod set [dmac MAC] [smac MAC] [etype N] | swap mac | ecn  [CONTROL] [index N]"

_MAC = re.compile(":".join(["([0-9a-fA-F]{1,2})"] * 6))
TITLE = None
SIZES: dict[int, int] = {TcaSkbmod.PARMS: SKBMOD_PARMS.size, TcaSkbmod.TM: wire.TM.size, TcaSkbmod.ETYPE: 2}


def parse(words: Words, lookups: Lookups) -> list[Attr]:
    """parse_skbmod()."""
    flags = SkbmodFlag(0)
    dmac = smac = None
    etype = 0
    while words:
        word = words.current
        if matches_any(word, "skbmod", "swap") or matches(word, "set"):
            words.next()
            continue
        if matches(word, "mac"):
            flags |= SkbmodFlag.SWAPMAC
        elif matches(word, "etype"):
            text = words.next()
            number = unsigned(text, U16)
            if number is None:
                invalid("ethertype is invalid", text)
            etype = number
            words.remarks.append(f"skbmod etype {etype:#x}")
            flags |= SkbmodFlag.ETYPE
        elif matches(word, "dmac"):
            dmac = _address(words.next(), "Invalid dst mac address")
            words.remarks.append(f"dst MAC address <{words.current}>")
            flags |= SkbmodFlag.DMAC
        elif matches(word, "smac"):
            smac = _address(words.next(), "Invalid smac address")
            words.remarks.append(f"src MAC address <{words.current}>")
            flags |= SkbmodFlag.SMAC
        elif matches(word, "ecn"):
            flags |= SkbmodFlag.ECN
        elif matches(word, "help"):
            raise help_wanted(USAGE, word)
        else:
            break
        words.skip()
    control = control_or(words, TC_ACT_PIPE)
    index = maybe_index(words, 'skbmod: Illegal "index"', base=0)
    if not flags and index is None:
        raise help_wanted(f"skbmod requires at least one option\n{USAGE}", "skbmod")
    attrs = [parms_attr(TcaSkbmod.PARMS, index, control, struct.pack("=4xQ", flags))]
    if dmac is not None:
        attrs.append(nla.binary(TcaSkbmod.DMAC, dmac))
    if etype:
        attrs.append(nla.u16(TcaSkbmod.ETYPE, etype))
    if smac is not None:
        attrs.append(nla.binary(TcaSkbmod.SMAC, smac))
    return attrs


def _address(text: str, complaint: str) -> bytes:
    """sscanf("%hhx:…"): what follows the sixth number is not looked at."""
    found = _MAC.match(text)
    if found is None:
        fail(f"{complaint} {text}")
    return bytes(int(part, 16) for part in found.groups())


def show(out: Printer, attrs: dict[int, Attr], options: Options, names: Names) -> None:
    """print_skbmod()."""
    payload = need(attrs, TcaSkbmod.PARMS, "Missing skbmod parameters")
    parms = wire.GenericParms.decode(payload)
    flags = SKBMOD_PARMS.unpack_from(payload)[-1]
    out.say("skbmod ")
    show_control(out, "", parms.control, " ")
    if TcaSkbmod.ETYPE in attrs:
        etype = attrs[TcaSkbmod.ETYPE].u16
        out.both("etype", f"set etype 0x{etype:X} ", f"{etype:#x}")
        out.say("\n\t ")
    for which, key in ((TcaSkbmod.DMAC, "dmac"), (TcaSkbmod.SMAC, "smac")):
        if which in attrs:
            address = format_link_address(attrs[which].payload)
            out.both(key, f"set {key} {address} ", address)
    if flags & SkbmodFlag.SWAPMAC:
        out.both("swapmac", "swap mac ", None)
    if flags & SkbmodFlag.ECN:
        out.both("ecn", "ecn ", None)
    out.both("index", f"\n\t index {parms.index}", parms.index)
    show_holders(out, parms.references, parms.bindings)
    show_times(out, attrs.get(TcaSkbmod.TM), options)
    out.say("\n")
