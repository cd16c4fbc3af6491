"""sample in words and rows (tc/m_sample.c)."""

from __future__ import annotations

from ...errors import ClsbpfError
from ...netlink import act as wire
from ...netlink import attr as nla
from ...netlink.act import TcaSample
from ...netlink.attr import Attr
from ..errors import CommandError
from ..numbers import unsigned
from ..options import Options
from ..printer import Printer
from ..request import Lookups
from ..words import Words, matches
from .common import (
    TC_ACT_PIPE,
    Names,
    control_or,
    help_wanted,
    maybe_index,
    parms_attr,
    show_control,
    show_tail,
)

USAGE = "Usage: ... sample rate N group N [trunc SIZE] [CONTROL] [index N]"

TITLE = "sample "
SIZES: dict[int, int] = {
    TcaSample.PARMS: wire.GEN.size,
    TcaSample.TM: wire.TM.size,
    TcaSample.RATE: 4,
    TcaSample.TRUNC_SIZE: 4,
    TcaSample.PSAMPLE_GROUP: 4,
}
_NUMBERS = (
    ("rate", TcaSample.RATE, "Illegal rate {}"),
    ("group", TcaSample.PSAMPLE_GROUP, "Illegal group num {}"),
    ("trunc", TcaSample.TRUNC_SIZE, "Illegal truncation size {}"),
)


def parse(words: Words, lookups: Lookups) -> list[Attr]:
    """parse_sample()."""
    if words.left <= 1:
        raise _usage(f"sample bad argument count {words.left}", words.current)
    words.next()
    said: dict[int, Attr] = {}
    while words:
        word = words.current
        found = next((each for each in _NUMBERS if matches(word, each[0])), None)
        if found is None:
            if matches(word, "help"):
                raise help_wanted(USAGE, word)
            break
        _, number, complaint = found
        text = words.next()
        value = unsigned(text, base=10)
        if value is None:
            raise _usage(complaint.format(text), text)
        said[number] = nla.u32(number, value)
        words.skip()
    control = control_or(words, TC_ACT_PIPE)
    index = maybe_index(words, 'sample: Illegal "index"')
    for name, number in (("group", TcaSample.PSAMPLE_GROUP), ("rate", TcaSample.RATE)):
        if not index and number not in said:
            raise _usage(f'param "{name}" not set', "sample")
    order = (TcaSample.RATE, TcaSample.PSAMPLE_GROUP, TcaSample.TRUNC_SIZE)
    return [
        parms_attr(TcaSample.PARMS, index, control),
        *(said[number] for number in order if number in said),
    ]


def _usage(message: str, word: str) -> CommandError:
    return CommandError(message, 255, word=word, ends_batch=True, usage=USAGE)


def show(out: Printer, attrs: dict[int, Attr], options: Options, names: Names) -> None:
    """print_sample()."""
    if not {TcaSample.PARMS, TcaSample.RATE, TcaSample.PSAMPLE_GROUP} <= attrs.keys():
        raise ClsbpfError("Missing sample parameters")
    parms = wire.GenericParms.decode(attrs[TcaSample.PARMS].payload)
    rate, group = attrs[TcaSample.RATE].u32, attrs[TcaSample.PSAMPLE_GROUP].u32
    out.both("rate", f"rate 1/{rate} ", rate)
    out.both("group", f"group {group}", group)
    if TcaSample.TRUNC_SIZE in attrs:
        size = attrs[TcaSample.TRUNC_SIZE].u32
        out.both("trunc_size", f" trunc_size {size}", size)
    show_control(out, " ", parms.control)
    out.end_line()
    show_tail(out, parms, attrs.get(TcaSample.TM), options)
