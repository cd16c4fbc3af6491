"""Counters on the wire: what gen_stats puts inside TCA_STATS2 and TCA_ACT_STATS.

Packets are 32 bits in BASIC; those that have more stand once more, whole, in PKT64.

Mirrors net/core/gen_stats.c.
"""

from __future__ import annotations

import struct

from . import attr as nla
from .attr import Attr
from .schema import TcaStats

U32 = 0xFFFFFFFF

_BASIC = struct.Struct("=QI4x")  # struct gnet_stats_basic
_RATE_EST = struct.Struct("=II")  # struct gnet_stats_rate_est: bytes/s, packets/s
_RATE_EST64 = struct.Struct("=QQ")
_QUEUE = struct.Struct("=IIIII")  # struct gnet_stats_queue: qlen, backlog, drops, requeues, overlimits
_TC_STATS = struct.Struct("=QIIIIIII4x")  # struct tc_stats


def encode_stats(
    size: int,
    packets: int,
    *,
    drops: int = 0,
    overlimits: int = 0,
    rates: tuple[int, int] | None = None,
    hardware: tuple[int, int] | None = None,
) -> list[Attr]:
    """The attributes; `rates` are an estimator's bytes and packets a second.

    `hardware`: the bytes and packets that hardware counted, which actions tell apart as well.
    """
    attrs = [nla.binary(TcaStats.BASIC, _BASIC.pack(size, packets & U32))]
    if packets > U32:
        attrs.append(nla.u64(TcaStats.PKT64, packets))
    if hardware is not None:
        attrs.append(nla.binary(TcaStats.BASIC_HW, _BASIC.pack(hardware[0], hardware[1] & U32)))
    if rates is not None:
        attrs.append(nla.binary(TcaStats.RATE_EST, _RATE_EST.pack(min(rates[0], U32), rates[1] & U32)))
        if rates[0] > U32:
            attrs.append(nla.binary(TcaStats.RATE_EST64, _RATE_EST64.pack(*rates)))
    attrs.append(nla.binary(TcaStats.QUEUE, _QUEUE.pack(0, 0, drops & U32, 0, overlimits & U32)))
    return attrs


def encode_old_stats(size: int, packets: int, *, drops: int = 0, overlimits: int = 0) -> bytes:
    """struct tc_stats, for old readers."""
    return _TC_STATS.pack(size, packets & U32, drops & U32, overlimits & U32, 0, 0, 0, 0)
