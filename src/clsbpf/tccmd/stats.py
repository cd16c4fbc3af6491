"""TCA_STATS2 to text and JSON: print_tcstats2_attr() of tc/tc_util.c.

The counters of a qdisc or an action (struct gnet_stats_basic, gnet_stats_queue), and where there is
an estimator the rate (struct gnet_stats_rate_est64).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from ..netlink.attr import Attr, iter_attrs
from ..netlink.schema import Tca, TcaStats
from .printer import Printer

_BASIC = struct.Struct("=QI")
_QUEUE = struct.Struct("=IIIII")
_RATE_EST = struct.Struct("=II")
_RATE_EST64 = struct.Struct("=QQ")


def _unpack(layout: struct.Struct, payload: bytes) -> tuple[int, ...]:
    """The fields; what a shorter payload lacks is 0."""
    return layout.unpack(payload[: layout.size].ljust(layout.size, b"\0"))


def print_stats(out: Printer, attrs: Mapping[int, Attr], prefix: str, *, iec: bool = False) -> Attr | None:
    """print_tcstats_attr(): TCA_STATS2, or the older TCA_STATS; gives what only the object's kind counts."""
    if Tca.STATS2 not in attrs:
        if Tca.STATS in attrs:
            print_old_stats(out, attrs[Tca.STATS], prefix, iec=iec)
        return attrs.get(Tca.XSTATS)
    print_stats2(out, attrs[Tca.STATS2], prefix, iec=iec)
    inside = (attr for attr in iter_attrs(attrs[Tca.STATS2].payload) if attr.type == TcaStats.APP)
    return next(inside, attrs.get(Tca.XSTATS))


def print_stats2(out: Printer, stats: Attr, prefix: str, *, iec: bool = False) -> None:
    """The counters, each line after the first begun with `prefix`, without a newline at the end."""
    attrs = {attr.type: attr for attr in iter_attrs(stats.payload)}
    if TcaStats.BASIC in attrs:
        size, packets = _unpack(_BASIC, attrs[TcaStats.BASIC].payload)
        if TcaStats.PKT64 in attrs:
            packets = attrs[TcaStats.PKT64].u64 or packets
        out.say(prefix)
        out.both("bytes", f"Sent {size} bytes", size)
        out.both("packets", f" {packets} pkt", packets)
    queue = _unpack(_QUEUE, attrs[TcaStats.QUEUE].payload) if TcaStats.QUEUE in attrs else None
    if queue is not None:
        _, _, drops, requeues, overlimits = queue
        out.both("drops", f" (dropped {drops}", drops)
        out.both("overlimits", f", overlimits {overlimits}", overlimits)
        out.both("requeues", f" requeues {requeues}) ", requeues)
    _print_hardware(out, attrs, prefix)
    rate = _rate(attrs)
    if rate is not None:
        out.say(f"\n{prefix}")  # a newline with tc -o too
        out.both("rate", f"rate {format_rate(rate[0], iec=iec)}", rate[0])
        out.both("pps", f" {rate[1]}pps", rate[1])
    if queue is not None:
        qlen, backlog, _, requeues, _ = queue
        if TcaStats.RATE_EST not in attrs:
            out.end_line()
        out.say(prefix)
        out.both("backlog", f"backlog {format_size(backlog)}", backlog)
        out.both("qlen", f" {qlen}p", qlen)
        out.say(f" requeues {requeues}")


def _print_hardware(out: Printer, attrs: Mapping[int, Attr], prefix: str) -> None:
    """print_tcstats_basic_hw(): what hardware counted, where it counted any, and software beside it."""
    if TcaStats.BASIC_HW not in attrs:
        return
    hw_size, hw_packets = _unpack(_BASIC, attrs[TcaStats.BASIC_HW].payload)
    if not hw_size and not hw_packets:
        return
    if TcaStats.BASIC in attrs:
        size, packets = _unpack(_BASIC, attrs[TcaStats.BASIC].payload)
        if size >= hw_size and packets >= hw_packets:
            out.end_line()
            out.say(prefix)
            out.both("sw_bytes", f"Sent software {size - hw_size} bytes", size - hw_size)
            out.both("sw_packets", f" {packets - hw_packets} pkt", packets - hw_packets)
    out.end_line()
    out.say(prefix)
    out.both("hw_bytes", f"Sent hardware {hw_size} bytes", hw_size)
    out.both("hw_packets", f" {hw_packets} pkt", hw_packets)


_OLD = struct.Struct("=QIIIIIII")
"""struct tc_stats: bytes, packets, drops, overlimits, bytes and packets a second, qlen, backlog."""


def print_old_stats(out: Printer, stats: Attr, prefix: str, *, iec: bool = False) -> None:
    """print_tcstats_attr() of TCA_STATS, which is what an old policer has.  It has no JSON."""
    size, packets, drops, overlimits, bps, pps, qlen, backlog = _unpack(_OLD, stats.payload)
    out.say(f"{prefix}Sent {size} bytes {packets} pkts (dropped {drops}, overlimits {overlimits}) ")
    if bps or pps or qlen or backlog:
        out.say(f"\n{prefix}")
    if bps or pps:
        out.say("rate ")
    if bps:
        out.say(f"{format_rate(bps, iec=iec)} ")
    if pps:
        out.say(f"{pps}pps ")
    if qlen or backlog:
        out.say("backlog ")
    if backlog:
        out.say(f"{format_size(backlog)} ")
    if qlen:
        out.say(f"{qlen}p ")


def _rate(attrs: dict[int, Attr]) -> tuple[int, ...] | None:
    """Bytes and packets a second."""
    if TcaStats.RATE_EST64 in attrs:
        return _unpack(_RATE_EST64, attrs[TcaStats.RATE_EST64].payload)
    if TcaStats.RATE_EST in attrs:
        return _unpack(_RATE_EST, attrs[TcaStats.RATE_EST].payload)
    return None


def format_rate(rate: int, *, iec: bool = False) -> str:
    """tc_print_rate(): bytes a second as bits, in the largest unit that stays exact or above 1000."""
    kilo = 1024 if iec else 1000
    bits = rate * 8 & 0xFFFFFFFFFFFFFFFF
    units = ["", "K", "M", "G", "T"]
    at = 0
    while at < len(units) - 1:
        if bits < kilo or (bits % kilo and bits < 1000 * kilo):
            break
        bits //= kilo
        at += 1
    return f"{bits}{units[at]}{'i' if iec and at else ''}bit"


def format_size(size: int) -> str:
    """print_size(): bytes, or Kb and Mb (of 1024) where that is nearly exact."""
    mega, kilo = 1024 * 1024, 1024
    if size >= mega and abs(mega * round(size / mega) - size) < kilo:
        return f"{_g(round(size / mega))}Mb"
    if size >= kilo and abs(kilo * round(size / kilo) - size) < 16:
        return f"{_g(round(size / kilo))}Kb"
    return f"{size}b"


def _g(value: int) -> str:
    return f"{value:g}"
