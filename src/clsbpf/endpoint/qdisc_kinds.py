"""The kinds of qdiscs that a device's packets can queue in: made, changed and shown by their TCA_OPTIONS.

A kind's `init` makes a qdisc of a request's options or raises what the kernel refuses them with, before
anything is made; `change` alters one; `options` is what a dump says of it.

Mirrors init, change and dump of struct Qdisc_ops in net/sched/sch_htb.c, sch_prio.c, sch_fifo.c and
sch_generic.c; tbf's, codel's and sfq's are in files of their own.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import NetlinkError
from ..netlink import attr as nla
from ..netlink import qdisc as wire
from ..netlink.attr import Attr
from ..netlink.policy import PolicyError, parse_attrs
from ..netlink.qdisc import TcaHtb
from ..netlink.schema import Tca
from ..tc import ids
from ..tc.qdiscs import fifo
from ..tc.qdiscs.fifo import Fifo, Queue
from ..tc.qdiscs.htb import INT_MAX, Htb
from ..tc.qdiscs.prio import Prio
from ..tc.qdiscs.qdisc import Qdisc, QdiscHome
from . import codel, sfq
from .tbf import change_tbf, init_tbf, tbf_options

Init = Callable[[str, int, int, Attr | None, QdiscHome], Qdisc]
"""kind, handle, parent, options, surroundings → a new qdisc; NetlinkError where the options are refused."""


@dataclass(frozen=True, slots=True)
class QdiscKind:
    """struct Qdisc_ops, as far as messages reach it; without `change`, options cannot be changed."""

    init: Init
    options: Callable[[Qdisc], Attr | None]
    change: Callable[[Qdisc, Attr, QdiscHome], None] | None = None
    xstats: bytes | None = None
    """What dump_stats adds: where nothing waits, it never changes."""


def _no_options(qdisc: Qdisc) -> Attr | None:
    return None


# -- Fifos


def _init_fifo(kind: str, handle: int, parent: int, options: Attr | None, home: QdiscHome) -> Qdisc:
    """fifo_init()."""
    return Fifo(kind, handle, parent, limit=_fifo_limit(kind, options, home))


def _fifo_limit(kind: str, options: Attr | None, home: QdiscHome) -> int:
    if options is None:
        return fifo.usual_limit(kind, home)
    if len(options.payload) < wire.FIFO_QOPT_LEN:
        raise NetlinkError(errno.EINVAL)
    return wire.decode_fifo(options.payload)


def _change_fifo(qdisc: Qdisc, options: Attr, home: QdiscHome) -> None:
    assert isinstance(qdisc, Fifo)
    qdisc.limit = _fifo_limit(qdisc.kind, options, home)


def _fifo_options(qdisc: Qdisc) -> Attr:
    """fifo_dump()."""
    assert isinstance(qdisc, Fifo)
    return nla.binary(Tca.OPTIONS, wire.encode_fifo(qdisc.limit))


def _init_queue(kind: str, handle: int, parent: int, options: Attr | None, home: QdiscHome) -> Qdisc:
    """pfifo_fast_init(), noqueue_init(): options are not looked at."""
    if kind == fifo.PFIFO_FAST and not home.tx_queue_len:
        raise NetlinkError(errno.EINVAL)
    return Queue(kind, handle, parent)


def _pfifo_fast_options(qdisc: Qdisc) -> Attr:
    """pfifo_fast_dump()."""
    return nla.binary(Tca.OPTIONS, wire.encode_prio(fifo.PFIFO_FAST_BANDS, fifo.PRIO2BAND))


def _init_mq(kind: str, handle: int, parent: int, options: Attr | None, home: QdiscHome) -> Qdisc:
    """mq_init(): the devices here have one queue."""
    raise NetlinkError(errno.EOPNOTSUPP)


# -- htb


def _init_htb(kind: str, handle: int, parent: int, options: Attr | None, home: QdiscHome) -> Qdisc:
    """htb_init(); it parses without an extack, so errors have no words."""
    if options is None:
        raise NetlinkError(errno.EINVAL)
    try:
        found = parse_attrs(options.payload, wire.HTB, wire.TCA_HTB_MAX).attrs
    except PolicyError as refused:
        raise NetlinkError(refused.errno or errno.EINVAL) from refused
    if TcaHtb.INIT not in found:
        raise NetlinkError(errno.EINVAL)
    glob = wire.HtbGlob.decode(found[TcaHtb.INIT].payload)
    if glob.version != wire.HTB_PROTOCOL:
        raise NetlinkError(errno.EINVAL)
    if TcaHtb.OFFLOAD in found:
        if parent != ids.TC_H_ROOT:
            raise NetlinkError(errno.EOPNOTSUPP, "HTB must be the root qdisc to use offload")
        raise NetlinkError(errno.EOPNOTSUPP, "hw-tc-offload ethtool feature flag must be on")
    direct_qlen = found[TcaHtb.DIRECT_QLEN].u32 if TcaHtb.DIRECT_QLEN in found else home.tx_queue_len
    r2q = glob.rate2quantum if 1 <= glob.rate2quantum <= INT_MAX else 1  # the kernel compares signed
    return Htb(kind, handle, parent, home=home, rate2quantum=r2q, defcls=glob.defcls, direct_qlen=direct_qlen)


def _htb_options(qdisc: Qdisc) -> Attr:
    """htb_dump()."""
    assert isinstance(qdisc, Htb)
    glob = wire.HtbGlob(
        version=wire.HTB_VERSION,
        rate2quantum=qdisc.rate2quantum,
        defcls=qdisc.defcls,
        direct_pkts=qdisc.direct_packets & 0xFFFFFFFF,
    )
    inside = [
        nla.binary(TcaHtb.INIT, glob.encode()),
        nla.u32(TcaHtb.DIRECT_QLEN, qdisc.direct_qlen),
    ]
    return nla.nest(Tca.OPTIONS, inside)


# -- prio


def _init_prio(kind: str, handle: int, parent: int, options: Attr | None, home: QdiscHome) -> Qdisc:
    """prio_init()."""
    if options is None:
        raise NetlinkError(errno.EINVAL)
    bands, priomap = _prio_qopt(options)
    qdisc = Prio(kind, handle, parent, home=home)
    qdisc.tune(bands, priomap)
    return qdisc


def _prio_qopt(options: Attr) -> tuple[int, bytes]:
    if len(options.payload) < wire.PRIO_QOPT_LEN:
        raise NetlinkError(errno.EINVAL)
    bands, priomap = wire.decode_prio(options.payload)
    Prio.check(bands, priomap)
    return bands, priomap


def _change_prio(qdisc: Qdisc, options: Attr, home: QdiscHome) -> None:
    """prio_tune()."""
    assert isinstance(qdisc, Prio)
    qdisc.tune(*_prio_qopt(options))


def _prio_options(qdisc: Qdisc) -> Attr:
    """prio_dump()."""
    assert isinstance(qdisc, Prio)
    return nla.binary(Tca.OPTIONS, wire.encode_prio(qdisc.bands, qdisc.priomap))


KINDS: Mapping[str, QdiscKind] = {
    **{kind: QdiscKind(_init_fifo, _fifo_options, _change_fifo) for kind in fifo.FIFOS},
    "pfifo_fast": QdiscKind(_init_queue, _pfifo_fast_options),
    "noqueue": QdiscKind(_init_queue, _no_options),
    "mq": QdiscKind(_init_mq, _no_options),
    "htb": QdiscKind(_init_htb, _htb_options),
    "prio": QdiscKind(_init_prio, _prio_options, _change_prio),
    "codel": QdiscKind(codel.init_codel, codel.codel_options, codel.change_codel, codel.CODEL_XSTATS),
    "fq_codel": QdiscKind(
        codel.init_fq_codel, codel.fq_codel_options, codel.change_fq_codel, codel.FQ_CODEL_XSTATS
    ),
    "sfq": QdiscKind(sfq.init_sfq, sfq.sfq_options, sfq.change_sfq),
    "tbf": QdiscKind(init_tbf, tbf_options, change_tbf),
}
"""All kinds but clsact and ingress."""
