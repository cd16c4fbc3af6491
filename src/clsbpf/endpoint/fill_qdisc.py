"""What a reply says of a qdisc or a class: values of the engine to attributes, in the kernel's order.

Mirrors tc_fill_qdisc() and tc_fill_tclass() of net/sched/sch_api.c, dump and dump_stats of htb's and
prio's classes, and the statistics of net/core/gen_stats.c.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..engine.devices import Device
from ..netlink import attr as nla
from ..netlink.attr import Attr
from ..netlink.message import Message
from ..netlink.qdisc import HtbOpt, HtbXstats, TcaHtb, TcaStab
from ..netlink.schema import Tca, TcaStats
from ..netlink.stats import encode_old_stats, encode_stats
from ..netlink.tcmsg import TcMsg, tc_message
from ..tc import ids
from ..tc.hook import HookQdisc
from ..tc.qdiscs.htb import HtbClass
from ..tc.qdiscs.prio import Band, Prio
from ..tc.qdiscs.qdisc import Qdisc, QdiscStats
from ..tc.qdiscs.tbf import Tbf
from .rates import rate_spec
from .request import Request

if TYPE_CHECKING:
    from .qdisc_kinds import QdiscKind

U32 = 0xFFFFFFFF


def qdisc_kind(kind: str) -> QdiscKind:
    """qdisc_lookup_ops(), imported where such a qdisc is met: a policy for clsact starts without."""
    from .qdisc_kinds import KINDS

    return KINDS[kind]


def qdisc_message(
    request: Request,
    type: int,
    flags: int,
    device: Device,
    qdisc: Qdisc,
    *,
    parent: int | None = None,
    references: int | None = None,
    warning: str | None = None,
) -> Message:
    """tc_fill_qdisc(): a message about a qdisc.

    `parent` is the one that the request named, by default the qdisc's own; `references` how many hold
    it, where that is not what `Device.references` says (it comes or goes just now).
    """
    attrs = [nla.string(Tca.KIND, qdisc.kind)]
    if isinstance(qdisc, HookQdisc):
        for number, block in zip((Tca.INGRESS_BLOCK, Tca.EGRESS_BLOCK), qdisc.blocks, strict=False):
            if block.index:
                attrs.append(nla.u32(number, block.index))
        attrs.append(nla.nest(Tca.OPTIONS, ()))
    else:
        options = qdisc_kind(qdisc.kind).options(qdisc)
        if options is not None:
            attrs.append(options)
    attrs.append(nla.u8(Tca.HW_OFFLOAD, 0))
    if qdisc.stab is not None:
        attrs.append(nla.nest(Tca.STAB, [nla.binary(TcaStab.BASE, qdisc.stab.spec)]))
    xstats = None if isinstance(qdisc, HookQdisc) else qdisc_kind(qdisc.kind).xstats
    attrs += _stats(qdisc.stats, xstats, first=True)
    if warning is not None:
        attrs.append(nla.string(Tca.EXT_WARN_MSG, warning))
    header = TcMsg(
        0,
        device.ifindex,
        qdisc.handle,
        qdisc.parent if parent is None else parent,
        device.references(qdisc) if references is None else references,
    )
    return tc_message(
        type, header, request.known(attrs), flags=flags, seq=request.message.seq, pid=request.portid
    )


def _stats(stats: QdiscStats | None, xstats: bytes | None = None, *, first: bool = False) -> list[Attr]:
    """gnet_stats_*: TCA_STATS2, then the same again for old readers.  A qdisc's xstats come first."""
    if stats is None:
        return [nla.nest(Tca.STATS2, ()), nla.binary(Tca.STATS, encode_old_stats(0, 0))]
    inner = encode_stats(
        stats.bytes,
        stats.packets,
        drops=stats.drops,
        overlimits=stats.overlimits,
        rates=stats.rates(),
    )
    if xstats is not None:
        inner.insert(0 if first else len(inner), nla.binary(TcaStats.APP, xstats))
    old = encode_old_stats(stats.bytes, stats.packets, drops=stats.drops, overlimits=stats.overlimits)
    attrs = [nla.nest(Tca.STATS2, inner), nla.binary(Tca.STATS, old)]
    if xstats is not None:
        attrs.append(nla.binary(Tca.XSTATS, xstats))
    return attrs


# -- Classes


@dataclass(frozen=True, slots=True)
class _ClassInfo:
    """What a kind's dump and dump_stats say of a class.  `info` is the handle of the qdisc in it."""

    handle: int
    parent: int
    info: int
    options: Attr | None
    stats: QdiscStats | None
    """None: the kind has no dump_stats."""
    xstats: bytes | None = None


def class_message(
    request: Request,
    type: int,
    flags: int,
    device: Device,
    qdisc: Qdisc,
    class_: Any,
    *,
    warning: str | None = None,
) -> Message:
    """tc_fill_tclass(): a message about a class."""
    info = _CLASS_INFO[qdisc.kind](qdisc, class_)
    attrs = [nla.string(Tca.KIND, qdisc.kind)]
    if info.options is not None:
        attrs.append(info.options)
    attrs += _stats(info.stats, info.xstats)
    if warning is not None:
        attrs.append(nla.string(Tca.EXT_WARN_MSG, warning))
    header = TcMsg(0, device.ifindex, info.handle, info.parent, info.info)
    return tc_message(
        type, header, request.known(attrs), flags=flags, seq=request.message.seq, pid=request.portid
    )


def _htb_class(qdisc: Qdisc, class_: Any) -> _ClassInfo:
    """htb_dump_class(), htb_dump_class_stats()."""
    assert isinstance(class_, HtbClass)
    options = class_.options
    parms = HtbOpt(
        rate=rate_spec(options.rate),
        ceil=rate_spec(options.ceil),
        buffer=options.buffer,
        cbuffer=options.cbuffer,
        quantum=class_.quantum,
        level=class_.level,
        prio=class_.prio,
    )
    inside = [nla.binary(TcaHtb.PARMS, parms.encode())]
    for number, rate in ((TcaHtb.RATE64, options.rate), (TcaHtb.CEIL64, options.ceil)):
        if rate.bytes_ps > U32:
            inside.append(nla.u64(number, rate.bytes_ps))
    xstats = HtbXstats(
        lends=class_.lends & U32, tokens=_signed(class_.tokens), ctokens=_signed(class_.ctokens)
    )
    return _ClassInfo(
        class_.classid,
        class_.parent.classid if class_.parent is not None else ids.TC_H_ROOT,
        class_.queue.handle if class_.queue is not None else 0,
        nla.nest(Tca.OPTIONS, inside),
        class_.stats,
        xstats.encode(),
    )


def _signed(ticks: int) -> int:
    """clamp_t(s64, ticks, INT_MIN, INT_MAX)."""
    return max(min(ticks, 0x7FFFFFFF), -0x80000000)


def _prio_class(qdisc: Qdisc, class_: Any) -> _ClassInfo:
    """prio_dump_class(), prio_dump_class_stats(): the counters are its queue's."""
    assert isinstance(qdisc, Prio)
    assert isinstance(class_, Band)
    queue = qdisc.leaf(class_)
    return _ClassInfo(ids.make(qdisc.handle, class_.number), qdisc.handle, queue.handle, None, queue.stats)


def _tbf_class(qdisc: Qdisc, class_: Any) -> _ClassInfo:
    """tbf_dump_class(); there is no dump_stats."""
    assert isinstance(qdisc, Tbf)
    return _ClassInfo(qdisc.handle | class_, qdisc.handle, qdisc.queue.handle, None, None)


def _hook_class(qdisc: Qdisc, class_: Any) -> _ClassInfo:
    """ingress_class_ops has neither dump nor dump_stats; and no class is ever walked."""
    return _ClassInfo(qdisc.handle, qdisc.handle, 0, None, None)


_CLASS_INFO: Mapping[str, Callable[[Qdisc, Any], _ClassInfo]] = {
    "htb": _htb_class,
    "prio": _prio_class,
    "tbf": _tbf_class,
    "clsact": _hook_class,
    "ingress": _hook_class,
}
