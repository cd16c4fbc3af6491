"""`stab …` of a qdisc in words and rows (tc/tc_stab.c): for how many bytes packets count."""

from __future__ import annotations

from dataclasses import dataclass

from ..netlink import attr as nla
from ..netlink.attr import Attr, iter_attrs
from ..netlink.qdisc import SIZESPEC_LEN, LinkLayer, SizeSpec, TcaStab
from ..netlink.schema import Tca
from .errors import CommandError, duplicate, invalid
from .numbers import integer, unsigned
from .printer import Printer
from .rates import format_linklayer, parse_linklayer, size_table
from .words import Words, matches

USAGE = """\
Usage: ... stab [ mtu BYTES ] [ tsize SLOTS ] [ mpu BYTES ] [ overhead BYTES ] [ linklayer TYPE ] ...
 mtu, tsize: the longest packet that the table is for (2047), and its slots (512)
 mpu, overhead: the least that a packet counts for, and what each has besides
 linklayer: ethernet, atm, adsl"""


@dataclass(slots=True)
class _Said:
    """What the words have said so far; 0 is nothing."""

    mtu: int = 0
    mpu: int = 0
    overhead: int = 0
    tsize: int = 0
    linklayer: int = LinkLayer.UNAWARE


def parse_stab(words: Words) -> SizeSpec:
    """parse_size_table(): from the word `stab` to the first that is none of its own, which is not read."""
    if matches(words.next(), "help"):
        raise CommandError("", 255, word=words.current, usage=USAGE)
    said = _Said()
    while words and _word(words, said):
        words.skip()
    spec = SizeSpec(
        overhead=said.overhead, linklayer=said.linklayer, mpu=said.mpu, mtu=said.mtu, tsize=said.tsize
    )
    if not is_wanted(spec):
        raise CommandError("", 255)
    return spec


def is_wanted(spec: SizeSpec) -> bool:
    """check_size_table_opts(): is there anything to count?"""
    return spec.linklayer >= LinkLayer.ETHERNET or spec.mpu != 0 or spec.overhead != 0


def _word(words: Words, said: _Said) -> bool:
    """One word and its value; is it one of these?"""
    word = words.current
    for name in ("mtu", "mpu", "overhead", "tsize"):
        if matches(word, name):
            text = words.next()
            if getattr(said, name):
                duplicate(name, text)
            value = integer(text, 10) if name == "overhead" else unsigned(text, base=10)
            if value is None:
                # tc hands its two arguments over in the wrong order.
                what = "table size" if name == "tsize" else name
                invalid(name, text, shown=f"invalid {what}")
            setattr(said, name, value)
            return True
    if not matches(word, "linklayer"):
        return False
    text = words.next()
    if said.linklayer != LinkLayer.UNAWARE:
        duplicate("linklayer", text)
    layer = parse_linklayer(text)
    if layer is None:
        invalid("linklayer", text, shown="invalid linklayer")
    said.linklayer = layer
    return True


def stab_attr(spec: SizeSpec) -> Attr:
    """TCA_STAB."""
    whole, table = size_table(spec)
    inside = [nla.binary(TcaStab.BASE, whole.encode())]
    if table:
        inside.append(nla.binary(TcaStab.DATA, table))
    return nla.nest(Tca.STAB, inside)


def show_stab(out: Printer, stab: Attr) -> None:
    """print_size_table()."""
    base = next((attr for attr in iter_attrs(stab.payload) if attr.type == TcaStab.BASE), None)
    if base is None:
        return
    spec = SizeSpec.decode(base.payload[:SIZESPEC_LEN].ljust(SIZESPEC_LEN, b"\0"))
    with out.object("stab"):
        out.say(" ")
        if spec.linklayer:
            name = format_linklayer(spec.linklayer)
            out.both("linklayer", f"linklayer {name} ", name)
        for key, value in (
            ("overhead", spec.overhead),
            ("mpu", spec.mpu),
            ("mtu", spec.mtu),
            ("tsize", spec.tsize),
        ):
            if value:
                out.both(key, f"{key} {value} ", value)
