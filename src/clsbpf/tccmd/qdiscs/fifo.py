"""pfifo, bfifo and pfifo_head_drop in words and rows (tc/q_fifo.c)."""

from __future__ import annotations

from ...netlink import attr as nla
from ...netlink import qdisc as wire
from ...netlink.attr import Attr
from ...netlink.schema import Tca
from ..errors import CommandError
from ..numbers import size
from ..options import Options
from ..printer import Printer
from ..stats import format_size
from ..words import Words

USAGE = """\
Usage: ... pfifo|bfifo|pfifo_head_drop [ limit SIZE ]
SIZE: packets; of bfifo bytes, also as 10kb"""


def parse(kind: str, words: Words, device: str) -> list[Attr]:
    """fifo_parse_opt()."""
    limit: int | None = None
    while words:
        word = words.current
        if word == "limit":
            text = words.next()
            limit = size(text)
            if limit is None:
                raise CommandError(f'{kind}: Illegal value for "limit": "{text}"', word=text)
        elif word == "help":
            raise CommandError("", word=word, usage=USAGE)
        else:
            raise CommandError(f'{kind}: unknown parameter "{word}"', word=word, usage=USAGE)
        words.skip()
    return [] if limit is None else [nla.binary(Tca.OPTIONS, wire.encode_fifo(limit))]


def show(kind: str, out: Printer, options: Attr, view: Options) -> None:
    """fifo_print_opt()."""
    if len(options.payload) < wire.FIFO_QOPT_LEN:
        return
    limit = wire.decode_fifo(options.payload)
    out.both("limit", f"limit {format_size(limit) if kind == 'bfifo' else f'{limit}p'}", limit)
