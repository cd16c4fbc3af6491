"""Requests about qdiscs: add, replace, change, delete, get, dump.

A device has a root qdisc, under which there can be others (each in a class of the one above), and one
place for clsact or ingress.  The kernel's look-up makes fine distinctions between "not there", "there
under another name" and "there, but not to be changed"; they are kept, message for message.

Mirrors __tc_modify_qdisc(), __tc_get_qdisc(), qdisc_create(), qdisc_graft() and tc_dump_qdisc() of
net/sched/sch_api.c, and net/sched/sch_ingress.c.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

from ..engine.devices import Device, Network
from ..errors import NetlinkError
from ..netlink.message import NLM_F_CREATE, NLM_F_EXCL, NLM_F_MULTI, NLM_F_REPLACE, Message
from ..netlink.schema import Rtm, Tca
from ..tc import ids
from ..tc.hook import CLSACT, INGRESS
from ..tc.qdiscs.qdisc import Qdisc, SizeTable
from .fill_qdisc import qdisc_kind, qdisc_message
from .notify import notify, notify_needed
from .request import Datagram, Request
from .size_table import size_table

NOOP = "noop"
"""The kind of what is in a device's ingress queue when nothing is; it has handle 0."""
NOQUEUE = "noqueue"


def new_qdisc(network: Network, request: Request) -> list[Datagram]:
    """tc_modify_qdisc(): add, replace or change."""
    device = _device(network, request)
    existing = _to_change(device, request)
    if existing is None:
        _create(network, device, request)
        return []
    if request.has(NLM_F_EXCL):
        raise NetlinkError(errno.EEXIST, "Exclusivity flag on, cannot modify")
    _check_same_kind(request, existing.kind)
    _change(network, device, existing, request)
    _tell(network, request, device, new=existing)
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
    if here is not None and not here.handle:
        here = None  # what came by default
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
    """What is grafted at a parent now."""
    if parent == ids.TC_H_ROOT:
        return device.root
    if parent == ids.TC_H_INGRESS:
        device.has_ingress_queue = True
        return device.ingress
    owner = device.qdisc(ids.major(parent))
    if owner is None:
        raise NetlinkError(errno.ENOENT, "Failed to find specified qdisc")
    if owner.is_ingress:
        raise NetlinkError(errno.EOPNOTSUPP, "Cannot add children to ingress/clsact qdisc")
    return _leaf(owner, parent)


def _leaf(owner: Qdisc, classid: int) -> Qdisc | None:
    """qdisc_leaf(): the qdisc in a class."""
    if not owner.has_classes:
        raise NetlinkError(errno.EOPNOTSUPP, "Parent qdisc is not classful")
    class_ = owner.find(classid)
    if not class_:
        raise NetlinkError(errno.ENOENT, "Specified class not found")
    return owner.leaf(class_)


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


def _create(network: Network, device: Device, request: Request) -> None:
    """qdisc_create() and qdisc_graft(): a new qdisc in the place of what was there."""
    if any(request.kind_is(kind) for kind in (CLSACT, INGRESS)):
        _create_hook(network, device, request)
        return
    from .qdisc_kinds import KINDS

    kind = next((kind for kind in KINDS if request.kind_is(kind)), None)
    if kind is None:
        raise NetlinkError(errno.ENOENT, "Specified qdisc kind is unknown")
    parent = request.tcm.parent
    if parent == ids.TC_H_INGRESS:
        raise NetlinkError(errno.EINVAL, "Specified parent ID is reserved for ingress and clsact Qdiscs")
    handle = request.tcm.handle or network.allocate_handle(device)
    for attr, side in ((Tca.INGRESS_BLOCK, "Ingress"), (Tca.EGRESS_BLOCK, "Egress")):
        if attr in request.attrs:
            _block_index(request, attr, f"{side} block index cannot be 0")
            raise NetlinkError(errno.EOPNOTSUPP, f"{side} block sharing is not supported")
    stab = _stab(request)
    new = qdisc_kind(kind).init(kind, handle, parent, request.attrs.get(Tca.OPTIONS), network.home(device))
    new.stab = stab
    try:
        _estimate(network, request, new)
        _graft(network, device, request, new)
    except NetlinkError:
        new.destroy()
        raise


def _graft(network: Network, device: Device, request: Request, new: Qdisc | None) -> None:
    """qdisc_graft(): `new` (None: what is there by default) at the parent that the request names."""
    parent = request.tcm.parent
    if parent == ids.TC_H_ROOT:
        # While the old one is told of, the device's queues have let go of it, unless the new one takes
        # them later (ops->attach).
        attaches = new is not None and new.attaches
        held = device.references(device.root) if attaches else 1
        old = network.graft_root(device, new)
        _tell(network, request, device, old=old, new=new, old_references=held)
    else:
        owner = device.qdisc(ids.major(parent))
        assert owner is not None
        class_ = owner.find(parent)
        if not class_:
            raise NetlinkError(errno.ENOENT, "Specified class not found")
        if new is not None and new.kind == NOQUEUE:
            raise NetlinkError(errno.EINVAL, "Cannot assign noqueue to a class")
        if new is not None and new.stab is not None:
            raise NetlinkError(errno.EINVAL, "STAB not supported on a non root")
        old = network.graft(device, owner, class_, new)
        _tell(network, request, device, old=old, new=new)
    network.put(device, old)


def _create_hook(network: Network, device: Device, request: Request) -> None:
    """qdisc_create() and qdisc_graft() of clsact or ingress."""
    kind = CLSACT if request.kind_is(CLSACT) else INGRESS
    ingress_block = _block_index(request, Tca.INGRESS_BLOCK, "Ingress block index cannot be 0")
    egress_block = _block_index(request, Tca.EGRESS_BLOCK, "Egress block index cannot be 0")
    if egress_block and kind == INGRESS:
        raise NetlinkError(errno.EOPNOTSUPP, "Egress block sharing is not supported")
    stab = _stab(request)
    if request.tcm.parent != ids.TC_H_CLSACT:
        raise NetlinkError(errno.EOPNOTSUPP)
    # The old qdisc is still there while the new one is made: a block that it has bound is busy.
    network.check_ports(device, ingress_block, egress_block)
    _check_estimator(request)
    old = device.ingress
    told = [] if old is None else [_told(request, Rtm.DELQDISC, 0, device, old, references=0)]

    def announce(new: Qdisc) -> None:
        new.stab = stab
        _estimate(network, request, new)
        if notify_needed(network, request):
            # What was there before was at least the noop qdisc, so that the kernel always says "replaced".
            notify(network, request, (*told, _told(request, Rtm.NEWQDISC, NLM_F_REPLACE, device, new)))

    network.attach(device, kind, ingress_block=ingress_block, egress_block=egress_block, announce=announce)


def _block_index(request: Request, attr: Tca, zero: str) -> int:
    """TCA_INGRESS_BLOCK, TCA_EGRESS_BLOCK: the number of a shared block; 0: a block of its own."""
    index = request.number(attr)
    if index == 0:
        raise NetlinkError(errno.EINVAL, zero)
    return index or 0


def _change(network: Network, device: Device, qdisc: Qdisc, request: Request) -> None:
    """qdisc_change(): what its kind lets be changed, its size table (none: it goes) and its estimator."""
    options = request.attrs.get(Tca.OPTIONS)
    if options is not None:
        change = None if qdisc.is_ingress else qdisc_kind(qdisc.kind).change
        if change is None:
            raise NetlinkError(errno.EINVAL, "Change operation not supported by specified qdisc")
        if Tca.INGRESS_BLOCK in request.attrs or Tca.EGRESS_BLOCK in request.attrs:
            raise NetlinkError(errno.EOPNOTSUPP, "Change of blocks is not supported")
        change(qdisc, options, network.home(device))
    qdisc.stab = _stab(request)
    if Tca.RATE in request.attrs and valid_estimator(request.attrs[Tca.RATE].payload):
        # A bad one is passed over without a word: what was changed before cannot be taken back.
        qdisc.stats.estimate(request.attrs[Tca.RATE].payload, network.clock)


def _stab(request: Request) -> SizeTable | None:
    """TCA_STAB."""
    attr = request.attrs.get(Tca.STAB)
    return size_table(request, attr) if attr is not None else None


def _check_estimator(request: Request) -> None:
    rate = request.attrs.get(Tca.RATE)
    if rate is not None and not valid_estimator(rate.payload):
        raise NetlinkError(errno.EINVAL, "Failed to generate new estimator")


def _estimate(network: Network, request: Request, new: Qdisc) -> None:
    """gen_new_estimator()."""
    _check_estimator(request)
    if Tca.RATE in request.attrs:
        new.stats.estimate(request.attrs[Tca.RATE].payload, network.clock)


def valid_estimator(rate: bytes) -> bool:
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
    if found is None or not found.handle:
        raise NetlinkError(errno.ENOENT, "Cannot delete qdisc with handle of zero")
    if found.is_ingress:
        if notify_needed(network, request):
            notify(network, request, (_told(request, Rtm.DELQDISC, 0, device, found, references=0),))
        network.detach(device)
    else:
        _graft(network, device, request, None)
    return []


def get_qdisc(network: Network, request: Request) -> list[Datagram]:
    """tc_get_qdisc() for RTM_GETQDISC.

    The kernel answers with a notification to those who listen: who asks hears it only with NLM_F_ECHO.
    """
    device = _device(network, request)
    found = _find(device, request)
    if found is not None and not found.invisible and notify_needed(network, request):
        parent = request.tcm.parent
        notify(network, request, (qdisc_message(request, Rtm.NEWQDISC, 0, device, found, parent=parent),))
    return []


def _find(device: Device, request: Request) -> Qdisc | None:
    """__tc_get_qdisc(): the qdisc that the request names; None is the noop qdisc in the ingress queue."""
    parent, handle = request.tcm.parent, request.tcm.handle
    found: Qdisc | None
    if not parent:
        found = device.qdisc(handle)
        if found is None:
            raise NetlinkError(errno.ENOENT, "Failed to find qdisc with specified handle")
    elif parent == ids.TC_H_ROOT:
        found = device.root
    elif ids.major(parent) != ids.major(ids.TC_H_INGRESS):
        owner = device.qdisc(ids.major(parent))
        if owner is None:
            raise NetlinkError(errno.ENOENT, "Failed to find qdisc with specified classid")
        found = _leaf(owner, parent)
        if found is None:
            raise NetlinkError(errno.ENOENT, "Cannot find specified qdisc on specified device")
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
    invisible = Tca.DUMP_INVISIBLE in request.attrs
    for device in tuple(network.devices.values()):
        for qdisc in tuple(device.qdiscs()):
            if invisible or not qdisc.invisible:
                yield qdisc_message(request, Rtm.NEWQDISC, NLM_F_MULTI, device, qdisc)


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


def _tell(
    network: Network,
    request: Request,
    device: Device,
    *,
    old: Qdisc | None = None,
    new: Qdisc | None = None,
    old_references: int = 1,
) -> None:
    """qdisc_notify(): that one qdisc goes, or one comes (in its place)."""
    if not notify_needed(network, request):
        return
    told: list[Message] = []
    if old is not None and not old.invisible:
        told.append(_told(request, Rtm.DELQDISC, 0, device, old, references=old_references))
    if new is not None and not new.invisible:
        flags = NLM_F_REPLACE if old is not None else 0
        held = 1 if new.attaches and old is not None and new.parent == ids.TC_H_ROOT else None
        told.append(_told(request, Rtm.NEWQDISC, flags, device, new, references=held))
    if told:
        notify(network, request, tuple(told))


def _told(request: Request, type: Rtm, flags: int, device: Device, qdisc: Qdisc, **more: Any) -> Message:
    """One message of qdisc_notify(): the parent is the one that the request named."""
    return qdisc_message(
        request, type, flags, device, qdisc, parent=request.tcm.parent, warning=request.warning, **more
    )
