"""Requests about qdiscs: add, replace, change, delete, get, dump, of clsact and ingress.

A device has its root qdisc (`noqueue`, which cannot be addressed) and one place for clsact or ingress.
The kernel's look-up makes fine distinctions between "not there", "there under another name" and
"there, but not to be changed"; they are kept, message for message.  A qdisc of any other kind is
unknown.

Mirrors __tc_modify_qdisc(), __tc_get_qdisc(), qdisc_create() and tc_dump_qdisc() of
net/sched/sch_api.c, and net/sched/sch_ingress.c.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from ..engine.devices import Device, Network, RootQdisc
from ..errors import NetlinkError
from ..netlink.message import NLM_F_CREATE, NLM_F_EXCL, NLM_F_MULTI, NLM_F_REPLACE, Message
from ..netlink.schema import Rtm, Tca
from ..tc import ids
from ..tc.hook import CLSACT, INGRESS, Qdisc
from .fill import qdisc_message
from .notify import notify, notify_needed
from .request import Datagram, Request

NOOP = "noop"
"""The kind of what is in a device's ingress queue when nothing is; it has handle 0."""


def new_qdisc(network: Network, request: Request) -> list[Datagram]:
    """tc_modify_qdisc(): add, replace or change."""
    device = _device(network, request)
    existing = _to_change(device, request)
    if existing is None:
        return _create(network, device, request)
    if request.has(NLM_F_EXCL):
        raise NetlinkError(errno.EEXIST, "Exclusivity flag on, cannot modify")
    _check_same_kind(request, existing.kind)
    _change(device, request)
    if notify_needed(network, request):
        notify(network, request, (_told(request, Rtm.NEWQDISC, 0, device, existing),))
    return []


def _to_change(device: Device, request: Request) -> Qdisc | None:
    """The qdisc that the request means to change, None where it means to make one.

    The long condition in __tc_modify_qdisc(): NetlinkError where it can mean neither.
    """
    parent, handle = request.tcm.parent, request.tcm.handle
    if not parent:
        if not handle:
            raise NetlinkError(errno.EINVAL, "Handle cannot be zero")
        found = device.qdisc(handle)
        if found is None:
            raise NetlinkError(errno.ENOENT, "Specified qdisc not found")
        return found
    here = _child(device, parent)
    if handle and (here is None or here.handle != handle):
        if here is not None and not request.has(NLM_F_REPLACE):
            raise NetlinkError(errno.EEXIST, "NLM_F_REPLACE needed to override")
        if ids.minor(handle):
            raise NetlinkError(errno.EINVAL, "Invalid minor handle")
        named = device.qdisc(handle)
        if named is not None:
            raise _cannot_move(request, named)
        _must_create(request)
        return None
    if here is None:
        _must_create(request)
        return None
    if not handle and request.kind is not None and not request.kind_is(here.kind):
        # Another kind in its place: with CREATE and REPLACE or EXCL, or with no flag at all ("change").
        if request.has(NLM_F_CREATE | NLM_F_REPLACE) or request.has(NLM_F_CREATE | NLM_F_EXCL):
            return None
        if not request.message.flags & (NLM_F_CREATE | NLM_F_REPLACE | NLM_F_EXCL):
            return None
    return here


def _child(device: Device, parent: int) -> Qdisc | None:
    """What is grafted at a parent now; a qdisc with handle 0 counts as nothing."""
    if parent == ids.TC_H_ROOT:
        return None
    if parent == ids.TC_H_INGRESS:
        device.has_ingress_queue = True
        return device.ingress
    if device.qdisc(ids.major(parent)) is None:
        raise NetlinkError(errno.ENOENT, "Failed to find specified qdisc")
    raise NetlinkError(errno.EOPNOTSUPP, "Cannot add children to ingress/clsact qdisc")


def _cannot_move(request: Request, named: Qdisc) -> NetlinkError:
    """Why a qdisc that exists elsewhere cannot be grafted at the request's parent."""
    if named.parent != request.tcm.parent:
        return NetlinkError(errno.EINVAL, "Cannot move an existing qdisc to a different parent")
    if request.has(NLM_F_EXCL):
        return NetlinkError(errno.EEXIST, "Exclusivity flag on, cannot override")
    if request.kind is not None and not request.kind_is(named.kind):
        return _other_kind()
    return NetlinkError(errno.EINVAL, "Cannot regraft ingress or clsact Qdiscs")


def _must_create(request: Request) -> None:
    if not request.has(NLM_F_CREATE):
        raise NetlinkError(errno.ENOENT, "Qdisc not found. To create specify NLM_F_CREATE flag")


def _create(network: Network, device: Device, request: Request) -> list[Datagram]:
    """qdisc_create() and qdisc_graft(): a new qdisc in the place of what was there."""
    kind = next((kind for kind in (CLSACT, INGRESS) if request.kind_is(kind)), None)
    if kind is None:
        raise NetlinkError(errno.ENOENT, "Specified qdisc kind is unknown")
    ingress_block = _block_index(request, Tca.INGRESS_BLOCK, "Ingress block index cannot be 0")
    egress_block = _block_index(request, Tca.EGRESS_BLOCK, "Egress block index cannot be 0")
    if egress_block and kind == INGRESS:
        raise NetlinkError(errno.EOPNOTSUPP, "Egress block sharing is not supported")
    _refuse_size_table(request)
    if request.tcm.parent != ids.TC_H_CLSACT:
        raise NetlinkError(errno.EOPNOTSUPP)
    # The old qdisc is still there while the new one is made: a block that it has bound is busy.
    network.check_ports(device, ingress_block, egress_block)
    rate = request.attrs.get(Tca.RATE)
    if rate is not None and not _valid_estimator(rate.payload):
        raise NetlinkError(errno.EINVAL, "Failed to generate new estimator")
    old = device.ingress
    told = [] if old is None else [_told(request, Rtm.DELQDISC, 0, device, old, gone=True)]

    def announce(new: Qdisc) -> None:
        if notify_needed(network, request):
            # What was there before was at least the noop qdisc, so that the kernel always says "replaced".
            made = _told(request, Rtm.NEWQDISC, NLM_F_REPLACE, device, new, estimator=rate is not None)
            notify(network, request, (*told, made))

    network.attach(device, kind, ingress_block=ingress_block, egress_block=egress_block, announce=announce)
    device.ingress_estimator = rate is not None
    return []


def _block_index(request: Request, attr: Tca, zero: str) -> int:
    """TCA_INGRESS_BLOCK, TCA_EGRESS_BLOCK: the number of a shared block; 0: a block of its own."""
    index = request.number(attr)
    if index == 0:
        raise NetlinkError(errno.EINVAL, zero)
    return index or 0


def _change(device: Device, request: Request) -> None:
    """qdisc_change(): neither kind has anything to change but its estimator."""
    if Tca.OPTIONS in request.attrs:
        raise NetlinkError(errno.EINVAL, "Change operation not supported by specified qdisc")
    _refuse_size_table(request)
    rate = request.attrs.get(Tca.RATE)
    if rate is not None and _valid_estimator(rate.payload):
        # A bad one is passed over without a word: what was changed before cannot be taken back.
        device.ingress_estimator = True


def _refuse_size_table(request: Request) -> None:
    if Tca.STAB in request.attrs:
        raise NetlinkError(errno.EOPNOTSUPP, "Size tables are not supported")


def _valid_estimator(rate: bytes) -> bool:
    """gen_new_estimator(): is the payload of TCA_RATE well formed?

    struct tc_estimator is an interval (log2 of quarter seconds, -2 to 3) and an averaging constant.
    """
    if len(rate) < 2:
        return False
    interval, ewma_log = rate[0], rate[1]
    return (interval + 2) % 256 <= 5 and 0 < ewma_log < 31


def delete_qdisc(network: Network, request: Request) -> list[Datagram]:
    """tc_get_qdisc() for RTM_DELQDISC."""
    device = _device(network, request)
    found = _find(device, request)
    if not request.tcm.parent:
        raise NetlinkError(errno.EINVAL, "Classid cannot be zero")
    if not isinstance(found, Qdisc):
        raise NetlinkError(errno.ENOENT, "Cannot delete qdisc with handle of zero")
    told = _told(request, Rtm.DELQDISC, 0, device, found, gone=True)
    if notify_needed(network, request):
        notify(network, request, (told,))
    network.detach(device)
    return []


def get_qdisc(network: Network, request: Request) -> list[Datagram]:
    """tc_get_qdisc() for RTM_GETQDISC.

    The kernel answers with a notification to those who listen: who asks hears it only with NLM_F_ECHO.
    """
    device = _device(network, request)
    found = _find(device, request)
    if found is not None and notify_needed(network, request):
        parent = request.tcm.parent
        notify(network, request, (qdisc_message(request, Rtm.NEWQDISC, 0, device, found, parent=parent),))
    return []


def _find(device: Device, request: Request) -> Qdisc | RootQdisc | None:
    """__tc_get_qdisc(): the qdisc that the request names; None is the noop qdisc in the ingress queue."""
    parent, handle = request.tcm.parent, request.tcm.handle
    found: Qdisc | RootQdisc | None
    if not parent:
        found = device.qdisc(handle)
        if found is None:
            raise NetlinkError(errno.ENOENT, "Failed to find qdisc with specified handle")
    elif parent == ids.TC_H_ROOT:
        found = device.root
    elif ids.major(parent) != ids.major(ids.TC_H_INGRESS):
        raise NetlinkError(errno.ENOENT, "Failed to find qdisc with specified classid")
    elif not device.has_ingress_queue:
        raise NetlinkError(errno.ENOENT, "Cannot find specified qdisc on specified device")
    else:
        found = device.ingress
    if parent and handle and handle != (found.handle if found is not None else 0):
        raise NetlinkError(errno.EINVAL, "Invalid handle")
    _check_same_kind(request, found.kind if found is not None else NOOP)
    return found


def dump_qdiscs(network: Network, request: Request) -> Iterator[Message]:
    """tc_dump_qdisc(): the qdiscs of all devices; whoever asks for one device looks for it in them."""
    for device in tuple(network.devices.values()):
        yield qdisc_message(request, Rtm.NEWQDISC, NLM_F_MULTI, device, device.root)
        if device.ingress is not None:
            yield qdisc_message(request, Rtm.NEWQDISC, NLM_F_MULTI, device, device.ingress)


def _device(network: Network, request: Request) -> Device:
    device = network.devices.get(request.tcm.ifindex)
    if device is None:
        raise NetlinkError(errno.ENODEV)
    return device


def _check_same_kind(request: Request, kind: str) -> None:
    if request.kind is not None and not request.kind_is(kind):
        raise _other_kind()


def _other_kind() -> NetlinkError:
    return NetlinkError(errno.EINVAL, "Invalid qdisc name: must match existing qdisc")


def _told(
    request: Request,
    type: Rtm,
    flags: int,
    device: Device,
    qdisc: Qdisc,
    *,
    gone: bool = False,
    estimator: bool = False,
) -> Message:
    """qdisc_notify(): the parent is the one that the request named."""
    return qdisc_message(
        request,
        type,
        flags,
        device,
        qdisc,
        parent=request.tcm.parent,
        gone=gone,
        warning=request.warning,
        estimator=estimator,
    )
