"""police in words and rows (tc/m_police.c, tc/tc_core.c): also a filter's own `police …`.

tc gives, beside rate and burst, a table of how long frames of each size take (`rate_table`), which
kernels have not looked at since 3.8 but still want.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import ClsbpfError
from ...netlink import act as wire
from ...netlink import attr as nla
from ...netlink.act import POLICE_TBF, RATESPEC, TcaPolice
from ...netlink.attr import Attr
from ...netlink.qdisc import LINKLAYER_MASK, LinkLayer
from ..errors import duplicate, invalid
from ..numbers import U16, U32, ULONG, rate, size, size_and_cell, unsigned
from ..options import Options
from ..printer import Printer
from ..rates import format_linklayer, parse_linklayer, rate_table, transmit_size, transmit_ticks
from ..request import Lookups
from ..stats import format_rate, format_size
from ..words import Words, matches, matches_any
from .common import (
    TC_ACT_RECLASSIFY,
    Names,
    control_named,
    fail,
    help_wanted,
    parse_control,
    show_control,
    show_times,
)

USAGE = """\
Usage: ... police [rate RATE burst SIZE[/CELL]] [pkts_rate N pkts_burst N] [mtu SIZE[/CELL]] [peakrate RATE]
                  [avrate RATE] [overhead N] [mpu SIZE] [linklayer TYPE] [index N]
                  [CONTROL | conform-exceed EXCEED[/CONFORM]]"""

TITLE = ""
SIZES: dict[int, int] = {
    TcaPolice.TBF: POLICE_TBF.size,
    TcaPolice.TM: wire.TM.size,
    TcaPolice.AVRATE: 4,
    TcaPolice.RESULT: 4,
}


@dataclass(slots=True)
class _Said:
    """What police's words have said so far; 0 is nothing."""

    index: int = 0
    burst: int = 0
    burst_cell: int = -1
    mtu: int = 0
    mtu_cell: int = -1
    mpu: int = 0
    rate: int = 0
    avrate: int = 0
    peakrate: int = 0
    control: int = TC_ACT_RECLASSIFY
    result: int = 0
    overhead: int = 0
    linklayer: int = 1
    packets: int = 0
    packets_burst: int = 0


def parse(words: Words, lookups: Lookups) -> list[Attr]:
    """act_parse_police() of an action: the word `police` is stepped over."""
    words.next()
    return parse_police(words)


def parse_police(words: Words) -> list[Attr]:
    """act_parse_police(): the attributes, which for a filter's own policer are those of TCA_BPF_POLICE."""
    said = _Said()
    if not words:
        fail("")
    any_word = False
    while words and _word(words, said):
        any_word = True
    if not any_word or (said.rate and said.avrate):
        fail("")
    _check(said)
    return _attrs(said)


def _word(words: Words, said: _Said) -> bool:
    """One of police's words and what belongs to it; was it one?"""
    word = words.current
    if matches(word, "index"):
        number = words.next()
        index = unsigned(number, base=10)
        if index is None:
            invalid("index", number)
        said.index = index
    elif matches(word, "burst") or word in ("buffer", "maxburst"):
        said.burst, said.burst_cell = _size_and_cell(words, said.burst, "buffer/burst", "buffer")
    elif word in ("mtu", "minburst"):
        said.mtu, said.mtu_cell = _size_and_cell(words, said.mtu, "mtu/minburst", "mtu")
    elif word == "mpu":
        text = words.next()
        if said.mpu:
            duplicate("mpu", text)
        found = size(text)
        if found is None:
            invalid("mpu", text)
        said.mpu = found
    elif word == "rate":
        said.rate = _rate(words, said.rate, "rate", ULONG)
    elif word == "avrate":
        said.avrate = _rate(words, said.avrate, "avrate", U32)
    elif matches(word, "peakrate"):
        said.peakrate = _rate(words, said.peakrate, "peakrate", ULONG)
    elif control_named(word) is not None and not matches_any(word, "jump", "trap"):
        said.control = parse_control(words)
        return True
    elif word == "conform-exceed":
        words.next()
        _conform_exceed(words, said)
        return True
    elif matches(word, "overhead"):
        number = words.next()
        overhead = unsigned(number, U16, 10)
        if overhead is None:
            invalid("overhead", number)
        said.overhead = overhead
    elif matches(word, "linklayer"):
        name = words.next()
        layer = parse_linklayer(name)
        if layer is None:
            invalid("linklayer", name)
        said.linklayer = layer
    elif matches(word, "pkts_rate"):
        said.packets = _count(words, said.packets, "pkts_rate")
    elif matches(word, "pkts_burst"):
        said.packets_burst = _count(words, said.packets_burst, "pkts_burst")
    elif word == "help":
        raise help_wanted(USAGE, word)
    else:
        return False
    words.skip()
    return True


def _size_and_cell(words: Words, before: int, key: str, name: str) -> tuple[int, int]:
    text = words.next()
    if before:
        duplicate(key, text)
    found = size_and_cell(text)
    if found is None:
        invalid(name, text)
    return found


def _rate(words: Words, before: int, key: str, most: int) -> int:
    text = words.next()
    if before:
        duplicate(key, text)
    found = rate(text, most)
    if found is None:
        invalid(key, text)
    return found


def _count(words: Words, before: int, key: str) -> int:
    text = words.next()
    if before:
        duplicate(key, text)
    found = unsigned(text, ULONG, 10)
    if found is None:
        invalid(key, text)
    return found


def _conform_exceed(words: Words, said: _Said) -> None:
    """parse_action_control_slash(): `EXCEED`, `EXCEED/CONFORM`, or with blanks around the slash."""
    word = words.current
    first, slash, second = word.partition("/")
    if slash:
        for text, field in ((first, "control"), (second, "result")):
            value = control_named(text, numbers=True)
            if value is None:
                fail("")
            setattr(said, field, value)
        words.skip()
        return
    said.control = parse_control(words, numbers=True)
    if words.at("/"):
        words.next()
        said.result = parse_control(words, numbers=True)


def _check(said: _Said) -> None:
    if not (said.rate or said.avrate or said.index or said.mtu or said.packets):
        fail("'rate' or 'avrate' or 'mtu' or 'pkts_rate' MUST be specified.")
    if said.rate and not said.burst and not said.avrate:
        fail("'burst' requires 'rate'.")
    if said.packets and not said.packets_burst:
        fail("'pkts_burst' requires 'pkts_rate'.")
    if said.packets and said.rate:
        fail("'rate' and 'pkts_rate' are not allowed in same action.")
    if said.peakrate and not said.rate:
        fail("'peakrate' requires 'rate'.")
    if said.peakrate and not said.mtu:
        fail("'mtu' is required, if 'peakrate' is requested.")


def _attrs(said: _Said) -> list[Attr]:
    spec, peak = bytes(RATESPEC.size), bytes(RATESPEC.size)
    attrs: list[Attr] = []
    burst = 0
    if said.rate:
        spec, table = _rate_table(said, said.rate, said.burst_cell)
        burst = transmit_ticks(said.rate, said.burst)
        attrs.append(nla.binary(TcaPolice.RATE, table))
        if said.rate > U32:
            attrs.append(nla.u64(TcaPolice.RATE64, said.rate))
    if said.peakrate:
        peak, table = _rate_table(said, said.peakrate, said.mtu_cell)
        attrs.append(nla.binary(TcaPolice.PEAKRATE, table))
        if said.peakrate > U32:
            attrs.append(nla.u64(TcaPolice.PEAKRATE64, said.peakrate))
    if said.avrate:
        attrs.append(nla.u32(TcaPolice.AVRATE, said.avrate))
    if said.result:
        attrs.append(nla.u32(TcaPolice.RESULT, said.result & U32))
    if said.packets:
        attrs.append(nla.u64(TcaPolice.PKTRATE64, said.packets))
        ticks = transmit_ticks(said.packets, said.packets_burst & U32)
        attrs.append(nla.u64(TcaPolice.PKTBURST64, ticks))
    tbf = POLICE_TBF.pack(said.index, said.control, 0, burst, said.mtu, spec, peak, 0, 0, 0)
    return [nla.binary(TcaPolice.TBF, tbf), *attrs]


def _rate_table(said: _Said, bytes_per_second: int, cell_log: int) -> tuple[bytes, bytes]:
    """tc_calc_rtable_64(): struct tc_ratespec and the ticks that 256 sizes take."""
    spec, table = rate_table(
        bytes_per_second,
        mtu=said.mtu,
        mpu=said.mpu,
        overhead=said.overhead,
        linklayer=said.linklayer,
        cell_log=cell_log,
    )
    return spec.encode(), table


def show(out: Printer, attrs: dict[int, Attr], options: Options, names: Names) -> None:
    """print_police()."""
    if TcaPolice.TBF not in attrs:
        raise ClsbpfError("[NULL police tbf]")
    index, control, _, burst, mtu, spec, peak, references, bindings, _ = POLICE_TBF.unpack_from(
        attrs[TcaPolice.TBF].payload
    )
    _, linklayer, overhead, _, _, rate32 = RATESPEC.unpack(spec)
    iec = bool(options.iec)
    rate64 = _u64(attrs, TcaPolice.RATE64) or rate32
    out.say(f" police {index:#x} ")
    out.value("index", index)
    out.say(f"rate {format_rate(rate64, iec=iec)} ")
    out.say(f"burst {format_size(transmit_size(rate64, burst))} ")
    out.say(f"mtu {format_size(mtu)} ")
    if options.raw:
        out.say(f"[{burst:08x}] ")
    peak64 = _u64(attrs, TcaPolice.PEAKRATE64) or RATESPEC.unpack(peak)[5]
    if peak64:
        out.say(f"peakrate {format_rate(peak64, iec=iec)} ")
    if TcaPolice.AVRATE in attrs:
        out.say(f"avrate {format_rate(attrs[TcaPolice.AVRATE].u32, iec=iec)} ")
    packets, packets_burst = _u64(attrs, TcaPolice.PKTRATE64), _u64(attrs, TcaPolice.PKTBURST64)
    if packets is not None and packets_burst is not None:
        count = transmit_size(packets, packets_burst & U32)
        out.both("pkts_rate", f"pkts_rate {packets} ", packets)
        out.both("pkts_burst", f"pkts_burst {count} ", count)
    show_control(out, "action ", control)
    if TcaPolice.RESULT in attrs:
        result = attrs[TcaPolice.RESULT].u32
        show_control(out, "/", result - (1 << 32) if result >> 31 else result, " ")
    else:
        out.say(" ")
    out.both("overhead", f"overhead {format_size(overhead)} ", overhead)
    layer = linklayer & LINKLAYER_MASK
    if layer > LinkLayer.ETHERNET or options.details:
        name = format_linklayer(layer)
        out.both("linklayer", f"linklayer {name} ", name)
    out.end_line()
    out.both("ref", f"\tref {references} ", references)
    out.both("bind", f"bind {bindings} ", bindings)
    show_times(out, attrs.get(TcaPolice.TM), options)
    out.end_line()


def _u64(attrs: dict[int, Attr], number: int) -> int | None:
    found = attrs.get(number)
    return found.u64 if found is not None and len(found.payload) >= 8 else None
