"""The kinds of qdiscs in tc's words and rows: struct qdisc_util of tc/q_*.c.

A kind reads its options (of a qdisc, of a class) and shows them; what it lacks, tc says so of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...netlink.attr import Attr
from ..options import Options
from ..printer import Printer
from ..words import Words
from . import codel, fifo, htb, prio, sfq, tbf

Parse = Callable[[str, Words, str], list[Attr]]
"""The kind, its words, to the end, and the device's name ("": none said) → attributes of the request.

CommandError where tc refuses them.
"""
Show = Callable[[str, Printer, Attr, Options], None]
"""The kind, and TCA_OPTIONS or the statistics' TCA_STATS_APP, to rows."""


@dataclass(frozen=True, slots=True)
class KindWords:
    """struct qdisc_util."""

    parse_qopt: Parse | None = None
    print_qopt: Show | None = None
    parse_copt: Parse | None = None
    print_copt: Show | None = None
    print_xstats: Show | None = None


KINDS: Mapping[str, KindWords] = {
    "pfifo": KindWords(fifo.parse, fifo.show),
    "bfifo": KindWords(fifo.parse, fifo.show),
    "pfifo_head_drop": KindWords(fifo.parse, fifo.show),
    "pfifo_fast": KindWords(None, prio.show),
    "prio": KindWords(prio.parse, prio.show),
    "codel": KindWords(codel.parse, codel.show, print_xstats=codel.show_xstats),
    "fq_codel": KindWords(codel.parse, codel.show, print_xstats=codel.show_xstats),
    "sfq": KindWords(sfq.parse, sfq.show, print_xstats=sfq.show_xstats),
    "tbf": KindWords(tbf.parse, tbf.show),
    "htb": KindWords(htb.parse, htb.show, htb.parse_class, htb.show, htb.show_xstats),
}
"""The kinds that have options, but clsact and ingress."""
