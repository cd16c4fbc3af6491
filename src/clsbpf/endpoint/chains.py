"""Requests about chains: make one before it has filters, delete it with them, get, dump.

A chain usually comes with its first filter and goes with its last.  One that a request made stays until
a request deletes it.  A chain can have a template, which bpf filters do not know.

Mirrors tc_ctl_chain() and tc_dump_chain() of net/sched/cls_api.c.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from ..engine.devices import Network
from ..errors import NetlinkError
from ..netlink.message import NLM_F_CREATE, NLM_F_EXCL, NLM_F_MULTI, Message
from ..netlink.schema import RTNLGRP_TC, Rtm, Tca
from ..tc.chain import Block, Chain
from ..tc.filter import Classifier
from .fill import chain_message
from .filters import flush_chain
from .places import Place, chain_index, dump_place, find_place
from .request import DUMP_ROOM, IFNAMSIZ, Datagram, Request


def new_chain(network: Network, request: Request) -> list[Datagram]:
    """tc_ctl_chain() for RTM_NEWCHAIN.  The notification is for listeners only, whatever the asker wants."""
    place = find_place(network, request, for_filter=False)
    index = chain_index(request)
    if _visible(place.block, index) is not None:
        raise NetlinkError(errno.EEXIST, "Filter chain already exists")
    if index not in place.block.chains and not request.has(NLM_F_CREATE):
        raise NetlinkError(errno.ENOENT, "Need both RTM_NEWCHAIN and NLM_F_CREATE to create a new chain")
    block = place.block
    chain = block.create_chain(index)
    try:
        block.create_chain(index).explicitly_created = True
        try:
            _refuse_template(request)
        except NetlinkError:
            block.forget_explicit(chain)
            raise
        notify_chain(network, chain, True, request.warning)
    finally:
        block.put_chain(chain)
    return []


def delete_chain(network: Network, request: Request) -> list[Datagram]:
    """tc_ctl_chain() for RTM_DELCHAIN: the chain's filters go, and what made it no longer holds it."""
    place, chain = _find(network, request)
    # Held while it is emptied, for it may go with its last filter.
    place.block.create_chain(chain.index)
    flush_chain(network, request, place, chain)
    place.block.forget_explicit(chain)
    place.block.put_chain(chain)
    return []


def notify_chain(network: Network, chain: Chain, seen: bool, warning: str | None = None) -> None:
    """tc_chain_notify(), tc_chain_notify_delete(): users see a chain from now on, or no longer.

    It is no answer to anybody's request: sequence number and address are 0.
    """
    if not network.multicast.has_listeners(RTNLGRP_TC):
        return
    type, flags = (Rtm.NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL) if seen else (Rtm.DELCHAIN, 0)
    message = chain_message(chain, type, flags, warning=warning)
    network.multicast.send(message.encode(), RTNLGRP_TC)


def get_chain(network: Network, request: Request) -> list[Datagram]:
    """tc_ctl_chain() for RTM_GETCHAIN.  The answer has the type of the question, not RTM_NEWCHAIN."""
    _, chain = _find(network, request)
    message, pid = request.message, request.portid
    answer = chain_message(
        chain, Rtm.GETCHAIN, message.flags, seq=message.seq, pid=pid, warning=request.warning
    )
    return [(answer,)]


def dump_chains(network: Network, request: Request) -> Iterator[Datagram]:
    """tc_dump_chain(): the chains of a place, or the one that TCA_CHAIN names.

    Each datagram goes on after as many chains as were shown.  There the kernel counts those that only
    actions hold as well, which it does not show: so where there are such, the last are shown again.
    """
    place = dump_place(network, request)
    if place is None:
        return
    start = 0
    while True:
        shown, index = _page(place.block, request, start)
        if not shown:
            return
        yield shown
        start = index


def _page(block: Block, request: Request, start: int) -> tuple[Datagram, int]:
    """A datagram of a dump from the chain at `start` on, and where the next one begins."""
    only, message = request.number(Tca.CHAIN), request.message
    shown: list[Message] = []
    index = size = 0
    for chain in block.chains.values():
        if only not in (None, chain.index):
            continue
        if index < start:
            index += 1
            continue
        if chain.held_by_actions_only:
            continue
        told = chain_message(chain, Rtm.NEWCHAIN, NLM_F_MULTI, seq=message.seq, pid=request.portid)
        size += len(told.encode())
        if size > DUMP_ROOM:
            break
        shown.append(told)
        index += 1
    return tuple(shown), index


def _find(network: Network, request: Request) -> tuple[Place, Chain]:
    place = find_place(network, request, for_filter=False)
    chain = _visible(place.block, chain_index(request))
    if chain is None:
        raise NetlinkError(errno.EINVAL, "Cannot find specified filter chain")
    return place, chain


def _visible(block: Block, index: int) -> Chain | None:
    """The chain, unless it is there only because actions go to it."""
    chain = block.chains.get(index)
    return chain if chain is not None and not chain.held_by_actions_only else None


def _refuse_template(request: Request) -> None:
    """tc_chain_tmplt_add(): no kind of filter here has templates."""
    if request.kind is None:
        return
    name = request.kind.payload.removesuffix(b"\0")
    if len(name) >= IFNAMSIZ:
        raise NetlinkError(errno.EINVAL, "Specified TC chain template name too long")
    if name.split(b"\0", 1)[0] != Classifier.kind.encode():
        raise NetlinkError(errno.ENOENT, "TC classifier not found")
    raise NetlinkError(errno.EOPNOTSUPP, "Chain templates are not supported with specified classifier")
