"""Requests about classes: add, change, replace, delete, get, dump.

A class is named by its classid (the request's handle), of which either half can be left to the parent
or to the device's root qdisc.  Filters bind to classes; a class that a filter is bound to stays.

Mirrors __tc_ctl_tclass(), tc_bind_tclass() and tc_dump_tclass() of net/sched/sch_api.c, and
htb_change_class() of net/sched/sch_htb.c.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

from ..engine.devices import Device, Network
from ..errors import NetlinkError
from ..netlink import qdisc as wire
from ..netlink.attr import NLA_HDRLEN
from ..netlink.message import NLM_F_CREATE, NLM_F_EXCL, NLM_F_MULTI, Message
from ..netlink.policy import parse_attrs
from ..netlink.qdisc import HtbOpt, TcaHtb
from ..netlink.schema import Rtm, Tca
from ..tc import ids
from ..tc.qdiscs.htb import ClassOptions, Htb, HtbClass
from ..tc.qdiscs.qdisc import Qdisc
from .fill_qdisc import class_message
from .notify import notify, notify_needed
from .qdiscs import valid_estimator
from .rates import rate_of
from .request import Datagram, Request


def new_class(network: Network, request: Request) -> list[Datagram]:
    """tc_ctl_tclass() for RTM_NEWTCLASS."""
    device, qdisc, parent, classid = _find_qdisc(network, request)
    class_ = qdisc.find(classid) if classid else None
    if not class_ and not request.has(NLM_F_CREATE):
        raise NetlinkError(errno.ENOENT)
    if class_ and request.has(NLM_F_EXCL):
        raise NetlinkError(errno.EEXIST)
    if Tca.INGRESS_BLOCK in request.attrs or Tca.EGRESS_BLOCK in request.attrs:
        raise NetlinkError(errno.EOPNOTSUPP, "Shared blocks are not supported for classes")
    if classid == ids.TC_H_ROOT:
        raise NetlinkError(errno.EINVAL, "Cannot create traffic class with classid TC_H_ROOT")
    if not isinstance(qdisc, Htb):
        raise NetlinkError(errno.EOPNOTSUPP)
    made = _change_htb(network, request, qdisc, class_, classid, parent)
    network.generation += 1
    _tell(network, request, Rtm.NEWTCLASS, device, qdisc, made)
    if made is not class_ and request.profile.rebinds_filters:
        qdisc.bind_class(classid, made)
    return []


def delete_class(network: Network, request: Request) -> list[Datagram]:
    """tc_ctl_tclass() for RTM_DELTCLASS.

    Filters of inner classes let go of it even where it cannot be deleted.
    """
    device, qdisc, _, classid = _find_qdisc(network, request)
    class_ = qdisc.find(classid) if classid else None
    if not class_:
        raise NetlinkError(errno.ENOENT)
    wanted = notify_needed(network, request)
    told = (_told(request, Rtm.DELTCLASS, device, qdisc, class_),) if wanted else ()
    try:
        qdisc.delete_class(class_)
        if told:
            notify(network, request, told)
    finally:
        if request.profile.rebinds_filters:
            qdisc.bind_class(classid, None)
        network.generation += 1
    return []


def get_class(network: Network, request: Request) -> list[Datagram]:
    """tc_ctl_tclass() for RTM_GETTCLASS: a notification, as with qdiscs."""
    device, qdisc, _, classid = _find_qdisc(network, request)
    class_ = qdisc.find(classid) if classid else None
    if not class_:
        raise NetlinkError(errno.ENOENT)
    _tell(network, request, Rtm.NEWTCLASS, device, qdisc, class_)
    return []


def dump_classes(network: Network, request: Request) -> Iterator[Message]:
    """tc_dump_tclass(): the classes of a device's qdiscs, or of the one whose handle the parent has."""
    device = network.devices.get(request.tcm.ifindex)
    if device is None:
        return
    parent = request.tcm.parent
    for qdisc in tuple(device.qdiscs()):
        if qdisc.invisible or not qdisc.has_classes or (parent and ids.major(parent) != qdisc.handle):
            continue
        for class_ in tuple(qdisc.walk()):
            yield class_message(request, Rtm.NEWTCLASS, NLM_F_MULTI, device, qdisc, class_)


def _find_qdisc(network: Network, request: Request) -> tuple[Device, Qdisc, int, int]:
    """The device, the qdisc that a request is about, and its parent and classid made whole."""
    device = network.devices.get(request.tcm.ifindex)
    if device is None:
        raise NetlinkError(errno.ENODEV)
    parent, classid = request.tcm.parent, request.tcm.handle
    handle = ids.major(classid)
    if parent != ids.TC_H_ROOT:
        of_parent = ids.major(parent)
        if handle and of_parent and handle != of_parent:
            raise NetlinkError(errno.EINVAL)
        handle = handle or of_parent or device.root.handle
        if parent:
            parent = ids.make(handle, parent)
    else:
        handle = handle or device.root.handle
    qdisc = device.qdisc(handle)
    if qdisc is None:
        raise NetlinkError(errno.ENOENT)
    if not qdisc.has_classes:
        raise NetlinkError(errno.EINVAL)
    if classid:
        classid = ids.make(handle, classid)
    elif parent == ids.TC_H_ROOT:
        classid = handle
    return device, qdisc, parent, classid


def _change_htb(
    network: Network, request: Request, qdisc: Htb, class_: HtbClass | None, classid: int, parent: int
) -> HtbClass:
    """htb_change_class()."""
    options = _htb_options(request)
    rate = request.attrs.get(Tca.RATE)
    valid = rate is None or valid_estimator(rate.payload)
    if class_ is None:
        qdisc.check_new_class(classid, parent)
        if not valid:
            raise NetlinkError(errno.EINVAL)
        class_, remark = qdisc.create_class(classid, parent, options)
    else:
        if not valid:
            raise NetlinkError(errno.EINVAL)
        remark = qdisc.change_class(class_, options)
    if rate is not None:
        class_.stats.estimate(rate.payload, network.clock)
    request.warn(remark)
    return class_


def _htb_options(request: Request) -> ClassOptions:
    """What a request wants a class to be."""
    nest = request.attrs.get(Tca.OPTIONS)
    if nest is None:
        raise NetlinkError(errno.EINVAL)
    parsed = parse_attrs(nest.payload, wire.HTB, wire.TCA_HTB_MAX, offset=nest.offset + NLA_HDRLEN)
    request.warn(parsed.warning)
    found = parsed.attrs
    if TcaHtb.PARMS not in found:
        raise NetlinkError(errno.EINVAL)
    opt = HtbOpt.decode(found[TcaHtb.PARMS].payload)
    if not opt.rate.rate or not opt.ceil.rate:
        raise NetlinkError(errno.EINVAL)
    return ClassOptions(
        rate=rate_of(opt.rate, found.get(TcaHtb.RTAB), found.get(TcaHtb.RATE64)),
        ceil=rate_of(opt.ceil, found.get(TcaHtb.CTAB), found.get(TcaHtb.CEIL64)),
        buffer=opt.buffer,
        cbuffer=opt.cbuffer,
        quantum=opt.quantum,
        prio=opt.prio,
    )


def _tell(network: Network, request: Request, type: Rtm, device: Device, qdisc: Qdisc, class_: Any) -> None:
    """tclass_notify()."""
    if notify_needed(network, request):
        notify(network, request, (_told(request, type, device, qdisc, class_),))


def _told(request: Request, type: Rtm, device: Device, qdisc: Qdisc, class_: Any) -> Message:
    return class_message(request, type, 0, device, qdisc, class_, warning=request.warning)
