"""What is inside TCA_OPTIONS of codel and fq_codel, and what they count: numbers, policies, structs.

Mirrors linux/pkt_sched.h, codel_policy of net/sched/sch_codel.c and fq_codel_policy of
net/sched/sch_fq_codel.c.
"""

from __future__ import annotations

import struct
from enum import IntEnum

from .policy import Nla, Policy, Rule


class TcaCodel(IntEnum):
    """enum in linux/pkt_sched.h: the attributes inside TCA_OPTIONS of codel; times in microseconds."""

    TARGET = 1
    LIMIT = 2
    INTERVAL = 3
    ECN = 4
    CE_THRESHOLD = 5


class TcaFqCodel(IntEnum):
    """enum in linux/pkt_sched.h: the attributes inside TCA_OPTIONS of fq_codel; times in microseconds."""

    TARGET = 1
    LIMIT = 2
    INTERVAL = 3
    ECN = 4
    FLOWS = 5
    QUANTUM = 6
    CE_THRESHOLD = 7
    DROP_BATCH_SIZE = 8
    MEMORY_LIMIT = 9
    CE_THRESHOLD_SELECTOR = 10
    CE_THRESHOLD_MASK = 11


TCA_CODEL_MAX = TcaCodel.CE_THRESHOLD
TCA_FQ_CODEL_MAX = TcaFqCodel.CE_THRESHOLD_MASK
_BYTES = (TcaFqCodel.CE_THRESHOLD_SELECTOR, TcaFqCodel.CE_THRESHOLD_MASK)

CODEL: Policy = {number: Rule(Nla.U32) for number in TcaCodel}
"""codel_policy."""
FQ_CODEL: Policy = {number: Rule(Nla.U8 if number in _BYTES else Nla.U32) for number in TcaFqCodel}
"""fq_codel_policy."""

CODEL_XSTATS = struct.Struct("=IIIIiIIII")
"""struct tc_codel_xstats: maxpacket, count, lastcount, ldelay, drop_next, drop_overlimit, ecn_mark, dropping,
ce_mark."""
FQ_CODEL_XSTATS_LEN = 40
FQ_CODEL_XSTATS_QDISC = struct.Struct("=IIIIIIIIII")
"""struct tc_fq_codel_xstats of type 0: type, maxpacket, drop_overlimit, ecn_mark, new_flow_count,
new_flows_len, old_flows_len, ce_mark, memory_usage, drop_overmemory."""
FQ_CODEL_XSTATS_CLASS = struct.Struct("=IiIIIIi12x")
"""The same of type 1: type, deficit, ldelay, count, lastcount, dropping, drop_next."""
