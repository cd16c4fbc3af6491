"""sfq in requests and replies: sfq_init(), sfq_change() and sfq_dump() of net/sched/sch_sfq.c."""

from __future__ import annotations

import errno

from ..errors import NetlinkError
from ..netlink import attr as nla
from ..netlink.attr import Attr
from ..netlink.schema import Tca
from ..netlink.sfq import SFQ_QOPT_LEN, SFQ_QOPT_V1_LEN, SfqQopt
from ..tc.qdiscs.qdisc import Qdisc, QdiscHome
from ..tc.qdiscs.sfq import BIGGEST_DIVISOR, Red, Sfq

HZ = 250
"""Jiffies a second, of which a period has 31 bits."""
U32 = 0xFFFFFFFF


def init_sfq(kind: str, handle: int, parent: int, options: Attr | None, home: QdiscHome) -> Qdisc:
    """sfq_init()."""
    qdisc = Sfq(kind, handle, parent, home=home)
    if options is not None:
        change_sfq(qdisc, options, home)
    return qdisc


def change_sfq(qdisc: Qdisc, options: Attr, home: QdiscHome) -> None:
    """sfq_change()."""
    assert isinstance(qdisc, Sfq)
    if len(options.payload) < SFQ_QOPT_LEN:
        raise NetlinkError(errno.EINVAL)
    qopt = SfqQopt.decode(options.payload)
    if qopt.divisor and (qopt.divisor & (qopt.divisor - 1) or qopt.divisor > BIGGEST_DIVISOR):
        raise NetlinkError(errno.EINVAL)
    if qopt.quantum >> 31:
        raise NetlinkError(errno.EINVAL, "sch_sfq: invalid quantum")
    if not 0 <= qopt.perturb <= 0x7FFFFFFF // HZ:
        raise NetlinkError(errno.EINVAL, "sch_sfq: invalid perturb period")
    is_long = len(options.payload) >= SFQ_QOPT_V1_LEN
    if is_long and not _red_fits(qopt):
        raise NetlinkError(errno.EINVAL)
    qdisc.size(limit=qopt.limit, flows=qopt.flows, depth=qopt.depth, divisor=qopt.divisor)
    qdisc.quantum = qopt.quantum or qdisc.quantum
    qdisc.perturb = qopt.perturb
    if is_long:
        qdisc.flags, qdisc.headdrop = qopt.flags, bool(qopt.headdrop)
        qdisc.red = _red(qopt) if qopt.qth_min else qdisc.red


def _red_fits(qopt: SfqQopt) -> bool:
    """red_check_params()."""
    return (
        qopt.qth_min.bit_length() + qopt.wlog < 32
        and qopt.qth_max.bit_length() + qopt.wlog < 32
        and qopt.scell_log < 32
        and qopt.qth_max >= qopt.qth_min
    )


def _red(qopt: SfqQopt) -> Red:
    """red_set_parms(); without a probability, one by the logarithm."""
    max_p = qopt.max_p
    if not max_p:
        most = U32 >> qopt.plog if qopt.plog < 32 else U32
        max_p = most * max(qopt.qth_max - qopt.qth_min, 1) & U32
    return Red(qopt.qth_min, qopt.qth_max, qopt.wlog, qopt.plog, qopt.scell_log, max_p)


def sfq_options(qdisc: Qdisc) -> Attr:
    """sfq_dump()."""
    assert isinstance(qdisc, Sfq)
    red = qdisc.red or Red(0, 0, 0, 0, 0, 0)
    qopt = SfqQopt(
        quantum=qdisc.quantum,
        perturb=qdisc.perturb,
        limit=qdisc.limit,
        divisor=qdisc.divisor,
        flows=qdisc.flows,
        depth=qdisc.depth,
        headdrop=int(qdisc.headdrop),
        qth_min=red.qth_min,
        qth_max=red.qth_max,
        wlog=red.wlog,
        plog=red.plog,
        scell_log=red.scell_log,
        flags=qdisc.flags,
        max_p=red.max_p,
    )
    return nla.binary(Tca.OPTIONS, qopt.encode())
