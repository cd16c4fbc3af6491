"""Which block a request is about: device and qdisc, class, block; or a shared block by its number.

Mirrors __tcf_qdisc_find(), __tcf_qdisc_cl_find() and __tcf_block_find() of net/sched/cls_api.c, and what
tc_dump_tfilter() does in their stead.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from ..engine.devices import Device, Network
from ..errors import NetlinkError
from ..netlink.schema import Tca
from ..netlink.tcmsg import TcMsg
from ..tc import ids
from ..tc.chain import Block
from ..tc.filter import Classifier
from ..tc.qdiscs.qdisc import Qdisc
from .request import IFNAMSIZ, Request

CHAIN_MAX = 0x0FFFFFFF
"""TC_ACT_EXT_VAL_MASK: a `goto chain` verdict has no room for more."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where filters are: a block, and the device and parent that a message names (None: a shared block)."""

    block: Block
    device: Device | None
    parent: int

    def header(self, classifier: Classifier, handle: int) -> TcMsg:
        """struct tcmsg of a message about a classifier or one of its filters."""
        prio, protocol = classifier.prio, classifier.protocol
        if self.device is None:
            return TcMsg.of_block(self.block.index, prio=prio, protocol=protocol, handle=handle)
        return TcMsg.of_filter(self.device.ifindex, self.parent, prio=prio, protocol=protocol, handle=handle)


def find_place(network: Network, request: Request, *, for_filter: bool = True) -> Place:
    """The place of a request; NetlinkError where there is none.

    The length of a filter's kind is checked on the way, where the kernel does it.
    """
    tcm = request.tcm
    if tcm.is_block and request.profile.has_blocks:
        if for_filter:
            _check_kind_length(request)
        block = network.shared_block(tcm.block_index)
        if block is None:
            raise NetlinkError(errno.EINVAL, "Block of given index was not found")
        return Place(block, None, tcm.parent)
    device = network.devices.get(tcm.ifindex)
    if device is None:
        raise NetlinkError(errno.ENODEV)
    qdisc = _find_qdisc(device, tcm.parent)
    parent = tcm.parent or qdisc.handle
    if for_filter:
        _check_kind_length(request)
    class_ = None
    if ids.minor(parent):
        class_ = qdisc.find(parent)
        if not class_:
            raise NetlinkError(errno.ENOENT, "Specified class doesn't exist")
    own = qdisc.block(class_)
    if own is None:
        raise NetlinkError(errno.EINVAL)
    if own.index:
        raise NetlinkError(
            errno.EOPNOTSUPP,
            "This filter block is shared. Please use the block index to manipulate the filters",
        )
    return Place(own, device, parent)


def dump_place(network: Network, request: Request) -> Place | None:
    """The place of a dump, or None.

    It shows the parent that the last new filter named, and a shared block as such.
    """
    tcm = request.tcm
    block: Block | None
    if tcm.is_block and request.profile.has_blocks:
        block = network.shared_block(tcm.block_index)
        return Place(block, None, 0) if block is not None else None
    device = network.devices.get(tcm.ifindex)
    qdisc = None
    if device is not None:
        qdisc = device.qdisc(ids.major(tcm.parent)) if tcm.parent else device.root
    block = qdisc.block_of(tcm.parent) if qdisc is not None else None
    if block is None:
        return None
    return Place(block, None if block.index else device, block.classid)


def chain_index(request: Request) -> int:
    """TCA_CHAIN, 0 by default."""
    index = request.number(Tca.CHAIN) or 0
    if index > CHAIN_MAX:
        raise NetlinkError(errno.EINVAL, "Specified chain index exceeds upper limit")
    return index


def _find_qdisc(device: Device, parent: int) -> Qdisc:
    """__tcf_qdisc_find(): the qdisc that owns a parent; without a parent the root qdisc."""
    qdisc = device.qdisc(ids.major(parent)) if parent else device.root
    if qdisc is None:
        raise NetlinkError(errno.EINVAL, "Parent Qdisc doesn't exists")
    if not qdisc.has_classes:
        raise NetlinkError(errno.EINVAL, "Qdisc not classful")
    if not qdisc.takes_filters:
        raise NetlinkError(errno.EOPNOTSUPP, "Class doesn't support blocks")
    return qdisc


def _check_kind_length(request: Request) -> None:
    """tcf_proto_check_kind(): a kind has at most 15 bytes, not counting one NUL at its end."""
    if request.kind is not None and len(request.kind.payload.removesuffix(b"\0")) >= IFNAMSIZ:
        raise NetlinkError(errno.EINVAL, "Specified TC filter name too long")
