"""tbf in requests and replies: tbf_init(), tbf_change() and tbf_dump() of net/sched/sch_tbf.c."""

from __future__ import annotations

import errno

from ..errors import NetlinkError
from ..netlink import attr as nla
from ..netlink import qdisc as wire
from ..netlink.attr import Attr
from ..netlink.policy import PolicyError, parse_attrs
from ..netlink.qdisc import RateSpec, TbfQopt, TcaTbf
from ..netlink.schema import Tca
from ..tc.qdiscs.htb import TICK_SHIFT
from ..tc.qdiscs.qdisc import Qdisc, QdiscHome
from ..tc.qdiscs.tbf import Tbf, TbfParams
from .rates import rate_of, rate_spec

U32 = 0xFFFFFFFF


def init_tbf(kind: str, handle: int, parent: int, options: Attr | None, home: QdiscHome) -> Qdisc:
    """tbf_init()."""
    if options is None:
        raise NetlinkError(errno.EINVAL)
    return Tbf(kind, handle, parent, home=home, params=_params(options))


def change_tbf(qdisc: Qdisc, options: Attr, home: QdiscHome) -> None:
    """tbf_change()."""
    assert isinstance(qdisc, Tbf)
    qdisc.tune(_params(options))


def _params(options: Attr) -> TbfParams:
    """What tbf_change() makes of a request, which it parses without an extack: errors have no words."""
    try:
        found = parse_attrs(options.payload, wire.TBF, wire.TCA_TBF_MAX).attrs
    except PolicyError as refused:
        raise NetlinkError(refused.errno or errno.EINVAL) from refused
    if TcaTbf.PARMS not in found:
        raise NetlinkError(errno.EINVAL)
    qopt = TbfQopt.decode(found[TcaTbf.PARMS].payload)
    buffer, mtu = qopt.buffer << TICK_SHIFT, qopt.mtu << TICK_SHIFT
    rate = rate_of(qopt.rate, found.get(TcaTbf.RTAB), found.get(TcaTbf.RATE64))
    if TcaTbf.BURST in found:
        max_size = found[TcaTbf.BURST].u32
        buffer = rate.time(max_size)
    else:
        max_size = min(rate.length(min(buffer, U32)), U32)
    peak = None
    if qopt.peakrate.rate:
        peak = rate_of(qopt.peakrate, found.get(TcaTbf.PTAB), found.get(TcaTbf.PRATE64))
        if peak.bytes_ps <= rate.bytes_ps:
            raise NetlinkError(errno.EINVAL)
        if TcaTbf.PBURST in found:
            max_size = min(max_size, found[TcaTbf.PBURST].u32)
            mtu = peak.time(found[TcaTbf.PBURST].u32)
        else:
            max_size = min(max_size, peak.length(min(mtu, U32)))
    elif TcaTbf.PBURST in found:
        mtu = min(mtu, U32)  # not looked at, but it shows
    if not max_size:
        raise NetlinkError(errno.EINVAL)
    return TbfParams(rate, peak, qopt.limit, buffer, mtu, max_size)


def tbf_options(qdisc: Qdisc) -> Attr:
    """tbf_dump()."""
    assert isinstance(qdisc, Tbf)
    params = qdisc.params
    qopt = TbfQopt(
        rate_spec(params.rate),
        rate_spec(params.peak) if params.peak is not None else RateSpec(0),
        params.limit,
        params.buffer >> TICK_SHIFT & U32,
        params.mtu >> TICK_SHIFT & U32,
    )
    inside = [nla.binary(TcaTbf.PARMS, qopt.encode())]
    for number, rate in ((TcaTbf.RATE64, params.rate), (TcaTbf.PRATE64, params.peak)):
        if rate is not None and rate.bytes_ps > U32:
            inside.append(nla.u64(number, rate.bytes_ps))
    return nla.nest(Tca.OPTIONS, inside)
