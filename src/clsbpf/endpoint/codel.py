"""codel and fq_codel in requests and replies.

Mirrors init, change, dump and dump_stats of net/sched/sch_codel.c and net/sched/sch_fq_codel.c.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

from ..errors import NetlinkError
from ..netlink import attr as nla
from ..netlink import codel as wire
from ..netlink.attr import Attr
from ..netlink.codel import TcaCodel, TcaFqCodel
from ..netlink.policy import Policy, PolicyError, parse_attrs
from ..netlink.schema import Tca
from ..tc.qdiscs.codel import DISABLED, Codel, CodelParams, FqCodel, codel_time, microseconds
from ..tc.qdiscs.qdisc import Qdisc, QdiscHome

CODEL_XSTATS = wire.CODEL_XSTATS.pack(*[0] * 9)
FQ_CODEL_XSTATS = wire.FQ_CODEL_XSTATS_QDISC.pack(*[0] * 10)
MAX_FLOWS = 65536
SMALLEST_QUANTUM, BIGGEST_QUANTUM = 256, 1 << 20
MAX_MEMORY = 1 << 31


def _parsed(options: Attr, policy: Policy, most: int) -> Mapping[int, Attr]:
    """nla_parse_nested_deprecated() without an extack: errors have no words."""
    try:
        return parse_attrs(options.payload, policy, most).attrs
    except PolicyError as refused:
        raise NetlinkError(refused.errno or errno.EINVAL) from refused


def _change_params(params: CodelParams, found: Mapping[int, Attr], ce_threshold: int) -> None:
    """What both have; the other numbers are alike, too."""
    if TcaCodel.TARGET in found:
        params.target = codel_time(found[TcaCodel.TARGET].u32)
    if TcaCodel.INTERVAL in found:
        params.interval = codel_time(found[TcaCodel.INTERVAL].u32)
    if TcaCodel.ECN in found:
        params.ecn = bool(found[TcaCodel.ECN].u32)
    if ce_threshold in found:
        params.ce_threshold = codel_time(found[ce_threshold].u32)


# -- codel


def init_codel(kind: str, handle: int, parent: int, options: Attr | None, home: QdiscHome) -> Qdisc:
    """codel_init()."""
    qdisc = Codel(kind, handle, parent)
    if options is not None:
        change_codel(qdisc, options, home)
    return qdisc


def change_codel(qdisc: Qdisc, options: Attr, home: QdiscHome) -> None:
    """codel_change()."""
    assert isinstance(qdisc, Codel)
    found = _parsed(options, wire.CODEL, wire.TCA_CODEL_MAX)
    _change_params(qdisc.params, found, TcaCodel.CE_THRESHOLD)
    if TcaCodel.LIMIT in found:
        qdisc.limit = found[TcaCodel.LIMIT].u32


def codel_options(qdisc: Qdisc) -> Attr:
    """codel_dump()."""
    assert isinstance(qdisc, Codel)
    params = qdisc.params
    inside = [
        nla.u32(TcaCodel.TARGET, microseconds(params.target)),
        nla.u32(TcaCodel.LIMIT, qdisc.limit),
        nla.u32(TcaCodel.INTERVAL, microseconds(params.interval)),
        nla.u32(TcaCodel.ECN, params.ecn),
    ]
    if params.ce_threshold != DISABLED:
        inside.append(nla.u32(TcaCodel.CE_THRESHOLD, microseconds(params.ce_threshold)))
    return nla.nest(Tca.OPTIONS, inside)


# -- fq_codel


def init_fq_codel(kind: str, handle: int, parent: int, options: Attr | None, home: QdiscHome) -> Qdisc:
    """fq_codel_init()."""
    qdisc = FqCodel(kind, handle, parent, home=home)
    if options is not None:
        found = _fq_codel(options)
        if TcaFqCodel.FLOWS in found:
            qdisc.flows = found[TcaFqCodel.FLOWS].u32
            if not 0 < qdisc.flows <= MAX_FLOWS:
                raise NetlinkError(errno.EINVAL)
        _change_fq_codel(qdisc, found)
    return qdisc


def change_fq_codel(qdisc: Qdisc, options: Attr, home: QdiscHome) -> None:
    """fq_codel_change() of one that is there: its flows stay as many as they are."""
    assert isinstance(qdisc, FqCodel)
    found = _fq_codel(options)
    if TcaFqCodel.FLOWS in found:
        raise NetlinkError(errno.EINVAL)
    _change_fq_codel(qdisc, found)


def _fq_codel(options: Attr) -> Mapping[int, Attr]:
    return _parsed(options, wire.FQ_CODEL, wire.TCA_FQ_CODEL_MAX)


def _change_fq_codel(qdisc: FqCodel, found: Mapping[int, Attr]) -> None:
    quantum = qdisc.quantum
    if TcaFqCodel.QUANTUM in found:
        quantum = max(SMALLEST_QUANTUM, found[TcaFqCodel.QUANTUM].u32)
        if quantum > BIGGEST_QUANTUM:
            raise NetlinkError(errno.EINVAL, "Invalid quantum")
    qdisc.quantum = quantum
    _change_params(qdisc.params, found, TcaFqCodel.CE_THRESHOLD)
    if TcaFqCodel.CE_THRESHOLD_SELECTOR in found:
        qdisc.params.ce_threshold_selector = found[TcaFqCodel.CE_THRESHOLD_SELECTOR].u8
    if TcaFqCodel.CE_THRESHOLD_MASK in found:
        qdisc.params.ce_threshold_mask = found[TcaFqCodel.CE_THRESHOLD_MASK].u8
    if TcaFqCodel.LIMIT in found:
        qdisc.limit = found[TcaFqCodel.LIMIT].u32
    if TcaFqCodel.DROP_BATCH_SIZE in found:
        qdisc.drop_batch = max(1, found[TcaFqCodel.DROP_BATCH_SIZE].u32)
    if TcaFqCodel.MEMORY_LIMIT in found:
        qdisc.memory_limit = min(MAX_MEMORY, found[TcaFqCodel.MEMORY_LIMIT].u32)


def fq_codel_options(qdisc: Qdisc) -> Attr:
    """fq_codel_dump()."""
    assert isinstance(qdisc, FqCodel)
    params = qdisc.params
    inside = [
        nla.u32(TcaFqCodel.TARGET, microseconds(params.target)),
        nla.u32(TcaFqCodel.LIMIT, qdisc.limit),
        nla.u32(TcaFqCodel.INTERVAL, microseconds(params.interval)),
        nla.u32(TcaFqCodel.ECN, params.ecn),
        nla.u32(TcaFqCodel.QUANTUM, qdisc.quantum),
        nla.u32(TcaFqCodel.DROP_BATCH_SIZE, qdisc.drop_batch),
        nla.u32(TcaFqCodel.MEMORY_LIMIT, qdisc.memory_limit),
        nla.u32(TcaFqCodel.FLOWS, qdisc.flows),
    ]
    if params.ce_threshold != DISABLED:
        inside += [
            nla.u32(TcaFqCodel.CE_THRESHOLD, microseconds(params.ce_threshold)),
            nla.u8(TcaFqCodel.CE_THRESHOLD_SELECTOR, params.ce_threshold_selector),
            nla.u8(TcaFqCodel.CE_THRESHOLD_MASK, params.ce_threshold_mask),
        ]
    return nla.nest(Tca.OPTIONS, inside)
