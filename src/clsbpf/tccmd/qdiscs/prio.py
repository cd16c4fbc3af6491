"""prio in words and rows (tc/q_prio.c), and the rows of pfifo_fast, which has the same options."""

from __future__ import annotations

from ...netlink import attr as nla
from ...netlink import qdisc as wire
from ...netlink.attr import Attr
from ...netlink.schema import Tca
from ..errors import CommandError
from ..numbers import U32, integer, unsigned
from ..options import Options
from ..printer import Printer
from ..words import Words

USAGE = """\
Usage: ... prio [ bands N ] [ priomap BAND BAND ... ] [ multiqueue ]
priomap: the band of each of 16 priorities, from 0"""

PRIORITIES = 16
DEFAULT_PRIOMAP = (1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1)
TCA_PRIO_MQ = 1


def parse(kind: str, words: Words, device: str) -> list[Attr]:
    """prio_parse_opt()."""
    bands, priomap, at = 3, list(DEFAULT_PRIOMAP), 0
    in_map = multiqueue = False
    while words:
        word = words.current
        if word == "bands":
            if in_map:
                words.remarks.append(USAGE)  # tc shows it and goes on
            number = integer(words.next(), 10)
            if number is None:
                raise CommandError('Illegal "bands"', word=words.current)
            bands = number
        elif word == "priomap":
            if in_map:
                raise CommandError("Error: duplicate priomap", word=word)
            in_map = True
        elif word == "multiqueue":
            multiqueue = True
        elif word == "help":
            raise CommandError("", word=word, usage=USAGE)
        elif not in_map:
            raise CommandError(f'What is "{word}"?', word=word, usage=USAGE)
        else:
            priomap[_at(at)] = _band(word, bands)
            at += 1
        words.skip()
    # tc nests what is optional inside the attribute, after the struct (addattr_nest_compat).
    inside = nla.encode_attrs([nla.nest(Tca.OPTIONS, [nla.flag(TCA_PRIO_MQ)] if multiqueue else [])])
    return [nla.binary(Tca.OPTIONS, wire.encode_prio(bands, bytes(band & 0xFF for band in priomap)) + inside)]


def _band(word: str, bands: int) -> int:
    band = unsigned(word, U32, 10)
    if band is None:
        raise CommandError('Illegal "priomap" element', word=word)
    if band >= bands & U32:
        raise CommandError('"priomap" element is out of bands', word=word)
    return band


def _at(at: int) -> int:
    if at >= PRIORITIES:
        raise CommandError(f'"priomap" index > TC_PRIO_MAX={PRIORITIES - 1}')
    return at


def show(kind: str, out: Printer, options: Attr, view: Options) -> None:
    """prio_print_opt()."""
    if len(options.payload) < wire.PRIO_QOPT_LEN:
        return
    bands, priomap = wire.decode_prio(options.payload)
    out.both("bands", f"bands {bands & U32} ", bands & U32)
    out.say("priomap")
    with out.array("priomap"):
        for band in priomap:
            out.item(f" {band}", band)
    out.value("multiqueue", False)  # no kernel since 2.6.27 has it
