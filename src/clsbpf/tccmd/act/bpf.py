"""bpf as an action, in words and rows (tc/m_bpf.c)."""

from __future__ import annotations

from ...bpf.spec import SCHED_ACT
from ...netlink import act as wire
from ...netlink.act import TcaActBpf
from ...netlink.attr import Attr
from ..errors import CommandError, duplicate
from ..options import Options
from ..printer import Printer
from ..program import UNPARSABLE, parse_program, program_attrs, show_ops
from ..request import Lookups
from ..words import Words, matches
from .common import (
    TC_ACT_PIPE,
    Illegal,
    Names,
    control_or,
    maybe_index,
    need,
    parms_attr,
    show_control,
    show_holders,
    show_times,
)

USAGE = """\
Usage: ... bpf [run] bytecode 'N,CODE JT JF K,…' | bytecode-file FILE | object-file FILE [section NAME]
               | object-pinned FILE  [CONTROL] [index N]"""

TITLE = "bpf "
SIZES: dict[int, int] = {TcaActBpf.PARMS: wire.GEN.size, TcaActBpf.TM: wire.TM.size, TcaActBpf.ID: 4}


def parse(words: Words, lookups: Lookups) -> list[Attr]:
    """bpf_parse_opt() of an action."""
    words.next()
    attrs: list[Attr] = []
    seen = False
    while words:
        word = words.current
        if matches(word, "run"):
            words.next()
            if seen:
                duplicate("run", words.current)
        elif matches(word, "help"):
            raise Illegal("", USAGE)
        elif seen or matches(word, "index"):
            break
        try:
            program = parse_program(words, lookups, SCHED_ACT)
            attrs += program_attrs(program, lookups, _NUMBERS)
        except CommandError as error:
            if error.ends_batch:
                raise
            # What the filter's own bpf says beside the reason, the action's does not.
            raise Illegal(error.reason.removesuffix(f"\n{UNPARSABLE}")) from None
        seen = True
    control = control_or(words, TC_ACT_PIPE)
    index = maybe_index(words, 'bpf: Illegal "index"')
    return [*attrs, parms_attr(TcaActBpf.PARMS, index, control)]


_NUMBERS = (TcaActBpf.OPS_LEN, TcaActBpf.OPS, TcaActBpf.FD, TcaActBpf.NAME)


def show(out: Printer, attrs: dict[int, Attr], options: Options, names: Names) -> None:
    """bpf_print_opt() of an action."""
    parms = wire.GenericParms.decode(need(attrs, TcaActBpf.PARMS, "Missing bpf parameters"))
    if TcaActBpf.NAME in attrs:
        name = attrs[TcaActBpf.NAME].string
        out.both("bpf_name", f"{name} ", name)
    if TcaActBpf.OPS in attrs and TcaActBpf.OPS_LEN in attrs:
        show_ops(out, attrs[TcaActBpf.OPS].payload, attrs[TcaActBpf.OPS_LEN].u16)
        out.say(" ")
    known = TcaActBpf.ID in attrs and names.program(out, attrs[TcaActBpf.ID].u32, options)
    if not known and TcaActBpf.TAG in attrs:
        tag = attrs[TcaActBpf.TAG].payload.hex()
        out.both("tag", f"tag {tag} ", tag)
    show_control(out, "default-action ", parms.control)
    out.end_line()
    out.both("index", f"\t index {parms.index}", parms.index)
    show_holders(out, parms.references, parms.bindings)
    show_times(out, attrs.get(TcaActBpf.TM), options)
    out.say("\n ")
