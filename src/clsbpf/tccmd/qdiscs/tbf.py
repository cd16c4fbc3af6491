"""tbf in words and rows (tc/q_tbf.c)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ...netlink import attr as nla
from ...netlink.attr import Attr, iter_attrs
from ...netlink.qdisc import LINKLAYER_MASK, TBF_QOPT_LEN, LinkLayer, RateSpec, TbfQopt, TcaTbf
from ...netlink.schema import Tca
from ..errors import CommandError
from ..numbers import U16, U32, microseconds, rate, size, size_and_cell, unsigned
from ..options import Options
from ..printer import Printer
from ..rates import (
    USEC_PER_SEC,
    format_linklayer,
    format_time,
    parse_linklayer,
    rate_table,
    tick_microseconds,
    transmit_size,
    transmit_ticks,
    unknown_speed,
)
from ..stats import format_rate, format_size
from ..words import Words, matches

T = TypeVar("T")

USAGE = """\
Usage: ... tbf rate RATE burst SIZE limit SIZE | latency TIME [ peakrate RATE mtu SIZE ]
               [ mpu SIZE ] [ overhead BYTES ] [ linklayer TYPE ]
 rate: of all packets; burst: how many bytes may go at once
 limit: what may wait, in bytes; latency: for how long a packet may
 peakrate: at what rate a burst goes, mtu: how many bytes of it at once"""


@dataclass(slots=True)
class _Said:
    """What the words have said so far; 0 is nothing."""

    limit: int = 0
    latency: int = 0
    burst: int = 0
    burst_cell: int = -1
    mtu: int = 0
    mtu_cell: int = -1
    mpu: int = 0
    rate: int = 0
    peakrate: int = 0
    overhead: int = 0
    linklayer: int = LinkLayer.ETHERNET


def parse(kind: str, words: Words, device: str) -> list[Attr]:
    """tbf_parse_opt()."""
    said = _Said()
    while words:
        _word(words, said, device)
        words.skip()
    missing = [text for lacks, text in _missing(said) if lacks]
    if missing:
        raise CommandError("\n".join(f"tbf: {text}" for text in missing), usage=USAGE)
    how = {"mtu": said.mtu, "mpu": said.mpu, "overhead": said.overhead, "linklayer": said.linklayer}
    spec, rtab = rate_table(min(said.rate, U32), cell_log=said.burst_cell, **how)
    peak, ptab, mtu = RateSpec(0), b"", 0
    if said.peakrate:
        peak, ptab = rate_table(min(said.peakrate, U32), cell_log=said.mtu_cell, **how)
        mtu = transmit_ticks(peak.rate, said.mtu)
    qopt = TbfQopt(spec, peak, _limit(said), transmit_ticks(spec.rate, said.burst), mtu)
    inside = [nla.binary(TcaTbf.PARMS, qopt.encode()), nla.u32(TcaTbf.BURST, said.burst)]
    if said.rate > U32:
        inside.append(nla.u64(TcaTbf.RATE64, said.rate))
    inside.append(nla.binary(TcaTbf.RTAB, rtab))
    if said.peakrate:
        if said.peakrate > U32:
            inside.append(nla.u64(TcaTbf.PRATE64, said.peakrate))
        inside.append(nla.u32(TcaTbf.PBURST, said.mtu))
        inside.append(nla.binary(TcaTbf.PTAB, ptab))
    return [nla.nest(Tca.OPTIONS, inside)]


def _missing(said: _Said) -> list[tuple[bool, str]]:
    return [
        (not said.rate, 'the "rate" parameter is mandatory.'),
        (not said.burst, 'the "burst" parameter is mandatory.'),
        (
            bool(said.peakrate) and not said.mtu,
            'when "peakrate" is specified, "mtu" must also be specified.',
        ),
        (not said.limit and not said.latency, 'either "limit" or "latency" is required.'),
    ]


def _limit(said: _Said) -> int:
    """What waits no longer than the latency."""
    if said.limit:
        return said.limit
    limit = said.rate * float(said.latency) / USEC_PER_SEC + said.burst
    if said.peakrate:
        limit = min(limit, said.peakrate * float(said.latency) / USEC_PER_SEC + said.mtu)
    return int(limit) & U32


def _word(words: Words, said: _Said, device: str) -> None:
    """One word and its value."""
    word = words.current
    if matches(word, "limit"):
        words.next()
        _once(said.limit, "limit")
        if said.latency:
            raise CommandError('tbf: specifying both "latency" and "limit" is not allowed', word=word)
        said.limit = _value(words, "limit", size)
    elif matches(word, "latency"):
        words.next()
        _once(said.latency, "latency")
        if said.limit:
            raise CommandError('tbf: specifying both "limit" and "/latency" is not allowed', word=word)
        said.latency = _value(words, "latency", microseconds)
    elif matches(word, "burst") or word in ("buffer", "maxburst"):
        words.next()
        _once(said.burst, "buffer/burst/maxburst")
        said.burst, said.burst_cell = _sized(words, word, said.burst_cell)
    elif word in ("mtu", "minburst"):
        words.next()
        _once(said.mtu, "mtu/minburst")
        said.mtu, said.mtu_cell = _sized(words, word, said.mtu_cell)
    elif word == "mpu":
        words.next()
        _once(said.mpu, "mpu")
        said.mpu = _value(words, "mpu", size)
    elif word == "rate":
        words.next()
        _once(said.rate, "rate")
        said.rate = _rate(words, "rate", device)
    elif matches(word, "peakrate"):
        words.next()
        _once(said.peakrate, "peakrate")
        said.peakrate = _rate(words, "peakrate", device)
    elif matches(word, "overhead"):
        words.next()
        _once(said.overhead, "overhead")
        said.overhead = _value(words, "overhead", lambda text: unsigned(text, U16, 10))
    elif matches(word, "linklayer"):
        words.next()
        said.linklayer = _value(words, "linklayer", parse_linklayer)
    elif word == "help":
        raise CommandError("", word=word, usage=USAGE)
    else:
        raise CommandError(f'tbf: unknown parameter "{word}"', word=word, usage=USAGE)


def _once(before: int, name: str) -> None:
    if before:
        raise CommandError(f'tbf: duplicate "{name}" specification')


def _value(words: Words, name: str, read: Callable[[str], T | None], why: str = "") -> T:
    """explain1()."""
    text = words.current
    value = read(text)
    if value is None:
        lines = [why] if why else []
        raise CommandError("\n".join([*lines, f'tbf: illegal value for "{name}": "{text}"']), word=text)
    return value


def _rate(words: Words, name: str, device: str) -> int:
    return _value(words, name, rate, unknown_speed(device) if "%" in words.current else "")


def _sized(words: Words, name: str, cell: int) -> tuple[int, int]:
    found = _value(words, name, size_and_cell)
    return found if found[1] >= 0 else (found[0], cell)


def show(kind: str, out: Printer, options: Attr, view: Options) -> None:
    """tbf_print_opt()."""
    attrs: dict[int, Attr] = {}
    for attr in iter_attrs(options.payload):
        attrs.setdefault(attr.type, attr)
    if TcaTbf.PARMS not in attrs or len(attrs[TcaTbf.PARMS].payload) < TBF_QOPT_LEN:
        return
    qopt = TbfQopt.decode(attrs[TcaTbf.PARMS].payload)
    wide, peak = (
        attrs[number].u64 if number in attrs and len(attrs[number].payload) >= 8 else spec.rate
        for number, spec in ((TcaTbf.RATE64, qopt.rate), (TcaTbf.PRATE64, qopt.peakrate))
    )
    out.both("rate", f"rate {format_rate(wide, iec=bool(view.iec))} ", wide)
    _show_bucket(out, view, ("burst", "burst"), transmit_size(wide, qopt.buffer), qopt.rate, qopt.buffer)
    if peak:
        out.say(f"peakrate {format_rate(peak, iec=bool(view.iec))} ")  # JSON has none of it
        if qopt.mtu or qopt.peakrate.mpu:
            names = ("mtu", "minburst")
            _show_bucket(out, view, names, transmit_size(peak, qopt.mtu), qopt.peakrate, qopt.mtu)
    latency = _latency(qopt.limit, wide, qopt.buffer)
    if peak:
        latency = max(latency, _latency(qopt.limit, peak, qopt.mtu))
    if latency >= 0:
        whole = int(latency) if latency < math.inf else 0
        out.both("lat", f"lat {format_time(whole & U32)} ", whole)
    if view.raw or latency < 0:
        out.both("limit", f"limit {format_size(qopt.limit)} ", qopt.limit)
    if qopt.rate.overhead:
        out.both("overhead", f"overhead {qopt.rate.overhead} ", qopt.rate.overhead)
    layer = qopt.rate.linklayer & LINKLAYER_MASK
    if layer > LinkLayer.ETHERNET or view.details:
        out.both("linklayer", f"linklayer {format_linklayer(layer)} ", format_linklayer(layer))


def _show_bucket(
    out: Printer, view: Options, names: tuple[str, str], bytes_: int, spec: RateSpec, ticks: int
) -> None:
    """How much a bucket holds; `names` are those with and without details."""
    if view.details:
        text = f"{format_size(bytes_)}/{1 << (spec.cell_log & 31)}"
        out.both(names[0], f"{names[0]} {text} ", text)
        out.both("mpu", f"mpu {format_size(spec.mpu)} ", spec.mpu)
    else:
        out.both(names[1], f"{names[1]} {format_size(bytes_)} ", bytes_)
    if view.raw:
        out.both(f"{names[0]}_raw", f"[{ticks:08x}] ", f"{ticks:x}")


def _latency(limit: int, bytes_ps: int, ticks: int) -> float:
    """How long the last byte of the limit waits, in microseconds: without a rate, for ever."""
    if not bytes_ps:
        return math.inf if limit else math.nan
    return USEC_PER_SEC * (limit / bytes_ps) - tick_microseconds(ticks)
