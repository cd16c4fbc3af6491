"""htb and its classes in words and rows (tc/q_htb.c)."""

from __future__ import annotations

from dataclasses import dataclass

from ...netlink import attr as nla
from ...netlink.attr import Attr, iter_attrs
from ...netlink.qdisc import (
    HTB_GLOB_LEN,
    HTB_OPT_LEN,
    HTB_XSTATS_LEN,
    LINKLAYER_MASK,
    HtbGlob,
    HtbOpt,
    HtbXstats,
    LinkLayer,
    TcaHtb,
)
from ...netlink.schema import Tca
from ..errors import CommandError
from ..numbers import U16, U32, rate, size_and_cell, unsigned
from ..options import Options
from ..printer import Printer
from ..rates import (
    HZ,
    format_linklayer,
    parse_linklayer,
    rate_table,
    transmit_size,
    transmit_ticks,
    unknown_speed,
)
from ..stats import format_rate, format_size
from ..words import Words, matches

USAGE = """\
Usage: ... qdisc add ... htb [ default MINOR ] [ r2q N ] [ direct_qlen PACKETS ] [ offload ]
 default: the class of packets that no filter gives one, in hexadecimal (0: they pass by the classes)
 r2q: a leaf's quantum is its rate in bytes a second over this (10)
... class add ... htb rate RATE [ ceil RATE ] [ burst SIZE ] [ cburst SIZE ] [ prio N ] [ quantum BYTES ]
                      [ mtu BYTES ] [ mpu BYTES ] [ overhead BYTES ] [ linklayer TYPE ]
 rate: what the class is sure of; ceil: what it has at most, by borrowing
 burst, cburst: what may go at once
 prio: classes of a lower one are served first (0)"""

DIRECT_QLEN_UNSET = U32
DEFAULT_MTU = 1600


def parse(kind: str, words: Words, device: str) -> list[Attr]:
    """htb_parse_opt()."""
    r2q, default, debug, direct_qlen, offload = 10, 0, 0, DIRECT_QLEN_UNSET, False
    while words:
        word = words.current
        if matches(word, "r2q"):
            r2q = _number(words, "r2q")
        elif matches(word, "default"):
            default = _number(words, "default", base=16)
        elif matches(word, "debug"):
            debug |= _debug(words.next())
        elif matches(word, "direct_qlen"):
            direct_qlen = _number(words, "direct_qlen")
        elif matches(word, "offload"):
            offload = True
        else:
            raise CommandError(f'What is "{word}"?', word=word, usage=USAGE)
        words.skip()
    glob = HtbGlob(rate2quantum=r2q, defcls=default, debug=debug)
    inside = [nla.binary(TcaHtb.INIT, glob.encode())]
    if direct_qlen != DIRECT_QLEN_UNSET:
        inside.append(nla.u32(TcaHtb.DIRECT_QLEN, direct_qlen))
    if offload:
        inside.append(nla.flag(TcaHtb.OFFLOAD))
    return [nla.nest(Tca.OPTIONS, inside)]


def _debug(text: str) -> int:
    """Two bits a digit, up to what is none."""
    value = 0
    for place, digit in enumerate(text[:16]):
        if digit not in "0123":
            break
        value |= int(digit) << 2 * place
    return value


def _illegal(name: str, word: str) -> CommandError:
    return CommandError(f'Illegal "{name}"', word=word, usage=USAGE)


def _number(words: Words, name: str, *, most: int = U32, base: int = 10) -> int:
    text = words.next()
    value = unsigned(text, most, base)
    if value is None:
        raise _illegal(name, text)
    return value


@dataclass(slots=True)
class _Said:
    """What the words of a class have said so far; 0 is nothing."""

    rate: int = 0
    ceil: int = 0
    burst: int = 0
    burst_cell: int = -1
    cburst: int = 0
    cburst_cell: int = -1
    mtu: int = DEFAULT_MTU
    mpu: int = 0
    overhead: int = 0
    linklayer: int = LinkLayer.ETHERNET
    prio: int = 0
    quantum: int = 0


def parse_class(kind: str, words: Words, device: str) -> list[Attr]:
    """htb_parse_class_opt()."""
    said = _Said()
    while words:
        _class_word(words, said, device)
        words.skip()
    if not said.rate:
        raise CommandError('"rate" is required.')
    ceil = said.ceil or said.rate
    burst = said.burst or said.rate // HZ + said.mtu & U32
    cburst = said.cburst or ceil // HZ + said.mtu & U32
    # The tables know rates of 32 bits only; those of the bursts are whole.
    how = {"mtu": said.mtu, "mpu": said.mpu, "overhead": said.overhead, "linklayer": said.linklayer}
    rate_spec, rtab = rate_table(min(said.rate, U32), cell_log=said.burst_cell, **how)
    ceil_spec, ctab = rate_table(min(ceil, U32), cell_log=said.cburst_cell, **how)
    opt = HtbOpt(
        rate_spec,
        ceil_spec,
        buffer=transmit_ticks(said.rate, burst),
        cbuffer=transmit_ticks(ceil, cburst),
        quantum=said.quantum,
        prio=said.prio,
    )
    inside: list[Attr] = []
    for number, value in ((TcaHtb.RATE64, said.rate), (TcaHtb.CEIL64, ceil)):
        if value > U32:
            inside.append(nla.u64(number, value))
    inside.append(nla.binary(TcaHtb.PARMS, opt.encode()))
    inside.append(nla.binary(TcaHtb.RTAB, rtab))
    inside.append(nla.binary(TcaHtb.CTAB, ctab))
    return [nla.nest(Tca.OPTIONS, inside)]


def _class_word(words: Words, said: _Said, device: str) -> None:
    """One word of a class's and its value, up to the last word that belongs to it."""
    word = words.current
    if matches(word, "prio"):
        said.prio = _number(words, "prio")
    elif matches(word, "mtu"):
        said.mtu = _number(words, "mtu")
    elif matches(word, "mpu"):
        said.mpu = _number(words, "mpu", most=U16)
    elif matches(word, "overhead"):
        said.overhead = _number(words, "overhead", most=U16)
    elif matches(word, "linklayer"):
        layer = parse_linklayer(words.next())
        if layer is None:
            raise _illegal("linklayer", words.current)
        said.linklayer = layer
    elif matches(word, "quantum"):
        said.quantum = _number(words, "quantum")
    elif matches(word, "burst") or word in ("buffer", "maxburst"):
        said.burst, said.burst_cell = _size(words, word, said.burst_cell)
    elif matches(word, "cburst") or word in ("cbuffer", "cmaxburst"):
        said.cburst, said.cburst_cell = _size(words, word, said.cburst_cell)
    elif word == "ceil":
        said.ceil = _rate(words, "ceil", said.ceil, device)
    elif word == "rate":
        said.rate = _rate(words, "rate", said.rate, device)
    elif word == "help":
        raise CommandError("", word=word, usage=USAGE)
    else:
        raise CommandError(f'What is "{word}"?', word=word, usage=USAGE)


def _size(words: Words, name: str, cell: int) -> tuple[int, int]:
    text = words.next()
    found = size_and_cell(text)
    if found is None:
        raise _illegal(name, text)
    # A size without a cell leaves an earlier cell as it was.
    return found if "/" in text else (found[0], cell)


def _rate(words: Words, name: str, before: int, device: str) -> int:
    text = words.next()
    if before:
        raise CommandError(f'Double "{name}" spec', word=text)
    if "%" in text:
        raise CommandError(f'{unknown_speed(device)}\nIllegal "{name}"', word=text, usage=USAGE)
    found = rate(text)
    if found is None:
        raise _illegal(name, text)
    return found


def show(kind: str, out: Printer, options: Attr, view: Options) -> None:
    """htb_print_opt(): of the qdisc, or of a class."""
    attrs: dict[int, Attr] = {}
    for attr in iter_attrs(options.payload):
        attrs.setdefault(attr.type, attr)
    if TcaHtb.PARMS in attrs:
        if len(attrs[TcaHtb.PARMS].payload) < HTB_OPT_LEN:
            return
        _show_class(out, HtbOpt.decode(attrs[TcaHtb.PARMS].payload), attrs, view)
    if TcaHtb.INIT in attrs:
        if len(attrs[TcaHtb.INIT].payload) < HTB_GLOB_LEN:
            return
        glob = HtbGlob.decode(attrs[TcaHtb.INIT].payload)
        r2q = _signed(glob.rate2quantum)
        out.both("r2q", f"r2q {r2q}", r2q)
        default = f"{glob.defcls:#x}" if glob.defcls else "0"
        out.both("default", f" default {default}", default)
        out.both("direct_packets_stat", f" direct_packets_stat {glob.direct_pkts}", glob.direct_pkts)
        if view.details:
            version = f"{glob.version >> 16}.{glob.version & U16}"
            out.both("ver", f" ver {version}", version)
    if TcaHtb.DIRECT_QLEN in attrs and len(attrs[TcaHtb.DIRECT_QLEN].payload) >= 4:
        direct_qlen = attrs[TcaHtb.DIRECT_QLEN].u32
        out.both("direct_qlen", f" direct_qlen {direct_qlen}", direct_qlen)
    if TcaHtb.OFFLOAD in attrs:
        out.both("offload", " offload", None)


def _show_class(out: Printer, opt: HtbOpt, attrs: dict[int, Attr], view: Options) -> None:
    if not opt.level:
        prio, quantum = _signed(opt.prio), _signed(opt.quantum)
        out.both("prio", f"prio {prio} ", prio)
        if view.details:
            out.both("quantum", f"quantum {quantum} ", quantum)
    rates = [
        attrs[number].u64 if number in attrs and len(attrs[number].payload) >= 8 else spec.rate
        for number, spec in ((TcaHtb.RATE64, opt.rate), (TcaHtb.CEIL64, opt.ceil))
    ]
    burst, cburst = transmit_size(rates[0], opt.buffer), transmit_size(rates[1], opt.cbuffer)
    iec = bool(view.iec)
    out.both("rate", f"rate {format_rate(rates[0], iec=iec)} ", rates[0])
    if opt.rate.overhead:
        out.both("overhead", f"overhead {opt.rate.overhead} ", opt.rate.overhead)
    out.both("ceil", f"ceil {format_rate(rates[1], iec=iec)} ", rates[1])
    layer = opt.rate.linklayer & LINKLAYER_MASK
    if layer > LinkLayer.ETHERNET or view.details:
        out.both("linklayer", f"linklayer {format_linklayer(layer)} ", format_linklayer(layer))
    if view.details:
        for name, size, spec in (("burst", burst, opt.rate), ("cburst", cburst, opt.ceil)):
            cell = 1 << (spec.cell_log & 31)
            out.both(name, f"{name} {format_size(size)}/", size)
            out.both(f"{name}_cell", f"{cell} ", cell)
            out.both(
                f"mpu_{'rate' if spec is opt.rate else 'ceil'}", f"mpu {format_size(spec.mpu)} ", spec.mpu
            )
        out.both("level", f"level {_signed(opt.level)} ", _signed(opt.level))
    else:
        out.both("burst", f"burst {format_size(burst)} ", burst)
        out.both("cburst", f"cburst {format_size(cburst)} ", cburst)
    if view.raw:
        out.say(f"buffer [{opt.buffer:08x}] cbuffer [{opt.cbuffer:08x}] ")


def _signed(value: int) -> int:
    """(int)value."""
    return value - (1 << 32) if value >> 31 else value


def show_xstats(kind: str, out: Printer, xstats: Attr, view: Options) -> None:
    """htb_print_xstats()."""
    if len(xstats.payload) < HTB_XSTATS_LEN:
        return
    stats = HtbXstats.decode(xstats.payload)
    out.both("lended", f" lended: {stats.lends} ", stats.lends)
    out.both("borrowed", f"borrowed: {stats.borrows} ", stats.borrows)
    out.both("giants", f"giants: {stats.giants}\n", stats.giants)
    out.both("tokens", f" tokens: {stats.tokens} ", stats.tokens)
    out.both("ctokens", f"ctokens: {stats.ctokens}\n", stats.ctokens)
