"""Rates in requests and replies: struct tc_ratespec, and what stands beside it.

Mirrors psched_ratecfg_precompute() and psched_ratecfg_getrate() of net/sched, and __detect_linklayer() of
net/sched/sch_api.c.
"""

from __future__ import annotations

import struct
from typing import Any

from ..netlink import qdisc as wire
from ..netlink.attr import Attr
from ..netlink.qdisc import LinkLayer, RateSpec
from ..tc.rate import Rate

U32 = 0xFFFFFFFF


def rate_of(spec: RateSpec, table: Attr | None, rate64: Attr | None) -> Rate:
    """psched_ratecfg_precompute(): the rate of a request, with its old table and its 64 bits."""
    linklayer = spec.linklayer
    if linklayer == LinkLayer.UNAWARE:
        linklayer = _detect_linklayer(spec, table)
    return Rate(
        max(spec.rate, rate64.u64 if rate64 is not None else 0),
        spec.overhead,
        spec.mpu,
        linklayer & wire.LINKLAYER_MASK,
    )


def _detect_linklayer(spec: RateSpec, table: Attr | None) -> int:
    """qdisc_get_rtab() and __detect_linklayer(): an old tc says ATM with a table in steps of 48 bytes."""
    if table is None or len(table.payload) != wire.TC_RTAB_SIZE or not 0 < spec.cell_log < 32:
        return LinkLayer.UNAWARE
    entries: tuple[Any, ...] = struct.unpack("=256I", table.payload)
    if spec.rate > 100_000_000 // 8 or not entries[0]:
        return LinkLayer.ETHERNET
    low = -(-spec.mpu // 48) * 48
    high = -(-(low + 1) // 48) * 48
    cell_low, cell_high = low >> spec.cell_log, (high >> spec.cell_log) - 1
    if cell_low < cell_high < 256 and entries[cell_low] == entries[cell_high]:
        return LinkLayer.ATM
    return LinkLayer.ETHERNET


def rate_spec(rate: Rate) -> RateSpec:
    """psched_ratecfg_getrate(): as a reply has it."""
    return RateSpec(min(rate.bytes_ps, U32), rate.overhead, rate.mpu, rate.linklayer)
