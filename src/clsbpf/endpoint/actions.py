"""Requests about actions on their own: add, change, get, delete, flush, dump.

An action that a request makes is held by that alone until filters bind to it; it can be deleted while no
filter does.  A dump shows the actions of one kind, many in a message.

Mirrors tc_ctl_action() and tc_dump_action() of net/sched/act_api.c.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator

from ..engine.actions import Request as ActionsRequest
from ..engine.actions import listed, parse_action
from ..engine.devices import Network
from ..errors import NetlinkError
from ..netlink import act as wire
from ..netlink import attr as nla
from ..netlink.act import TcaAct, TcaRoot, action_message
from ..netlink.attr import Attr
from ..netlink.message import NLM_F_MULTI, NLM_F_REPLACE, NLM_F_ROOT, NLMSG_HDRLEN, Message
from ..netlink.schema import Rtm, Tca
from ..tc.actions.action import AnyAction
from ..tc.actions.table import ActionTable
from ..tc.refusal import refusal
from .notify import notify, notify_needed
from .request import DUMP_ROOM, Datagram, Request

NS_PER_MS = 1_000_000

_FIRST_ROOM = 3776
"""NLMSG_GOODSIZE, with pages of 4 KiB."""

_DUMP_HEAD = NLMSG_HDRLEN + wire.TCAMSG_LEN + 12
"""What a message of a dump has beside its actions."""


def new_action(network: Network, request: Request) -> list[Datagram]:
    """tcf_action_add(): every flag but NLM_F_REPLACE means "make it if it is not there"."""
    net = network.actions
    made = net.init(_tab(request), ActionsRequest(bind=False, replace=request.has(NLM_F_REPLACE)))
    request.warn(net.take_warning())
    if notify_needed(network, request):
        # Those that were replaced are held by the request, which the message shows.
        message = _message(
            network,
            request,
            Rtm.NEWACTION,
            [each.action for each in made],
            flags=request.message.flags,
            warning=request.warning,
        )
        notify(network, request, (message,))
    for each in made:
        if not each.created:
            net.tables[each.action.kind].put(each.action, bind=False)
    return []


def get_action(network: Network, request: Request) -> list[Datagram]:
    """tca_action_gd() of RTM_GETACTION.  The answer has the type of the question."""
    return [(_message(network, request, Rtm.GETACTION, _found(network, request), hidden=1),)]


def delete_action(network: Network, request: Request) -> list[Datagram]:
    """tca_action_gd() of RTM_DELACTION, with NLM_F_ROOT all of one kind.

    When one of several cannot go, those before it are gone: so it is in the kernel.
    """
    if request.has(NLM_F_ROOT):
        return _flush(network, request)
    actions = _found(network, request)
    needed = notify_needed(network, request)
    if needed:
        told = _message(network, request, Rtm.DELACTION, actions, hidden=2, warning=request.warning)
    for action in actions:
        table = network.actions.tables[action.kind]
        if table.find(action.index) is not action:
            continue  # named twice
        if action.bindings:
            raise NetlinkError(errno.EPERM, "Failed to delete TC action")
        table.delete(action)
    if needed:
        notify(network, request, (told,))
    return []


def _flush(network: Network, request: Request) -> list[Datagram]:
    """tca_action_flush(): the actions of a kind, as far as the first that a filter is bound to."""
    first = next(iter(listed(_tab(request), request.warn)), None)
    if first is None:
        raise NetlinkError(errno.EINVAL, "Invalid netlink attributes while flushing TC action")
    table = _table(network, parse_action(first, request.warn), "Cannot flush unknown TC action")
    gone = 0
    for action in table:
        if action.bindings:
            if not gone:
                raise refusal(errno.EPERM, f"{action.kind} {action.index} is bound to a filter")
            request.warn("Unable to flush all TC actions")
            break
        table.delete(action)
        gone += 1
    if gone and notify_needed(network, request):
        nest = nla.nest(0, [nla.string(TcaAct.KIND, table.kind), nla.u32(Tca.FCNT, gone)])
        told = action_message(
            Rtm.DELACTION,
            [nla.nest(TcaRoot.TAB, [nest])],
            flags=NLM_F_ROOT,
            seq=request.message.seq,
            pid=request.portid,
        )
        notify(network, request, (told,))
    return []


def dump_actions(network: Network, request: Request) -> Iterator[Datagram]:
    """tc_dump_action(): those of one kind, as many in a message (a datagram) as there is room for, or 32.

    tc counts the actions of each message, so it shows how large the kernel makes them: the first two,
    written before tc has received anything into a buffer of its own, have less room (_FIRST_ROOM).

    TCA_ROOT_TIME_DELTA selects those that were used in so many milliseconds.  Where the request does not
    name a kind, there is nothing to show.
    """
    table = _dumped_table(network, request)
    if table is None:
        return
    flags = request.number(TcaRoot.FLAGS) or 0
    large = bool(flags & wire.TCA_ACT_FLAG_LARGE_DUMP_ON)
    terse = bool(flags & wire.TCA_ACT_FLAG_TERSE_DUMP)
    since = network.actions.around.clock.now() - (request.number(TcaRoot.TIME_DELTA) or 0) * NS_PER_MS
    first = (_FIRST_ROOM, _FIRST_ROOM) if request.max_recvmsg_len < DUMP_ROOM else ()
    rooms = itertools.chain(first, itertools.repeat(DUMP_ROOM))
    room = next(rooms) - _DUMP_HEAD
    nests: list[Attr] = []
    size = 0
    for action in table:
        if request.number(TcaRoot.TIME_DELTA) and action.times.last_use < since:
            continue
        network.actions.ask_hardware(action)
        nest = nla.nest(len(nests), network.actions.dump(action, terse=terse, with_index=terse))
        length = nla.NLA_HDRLEN + len(nest.payload)
        if nests and (size + length > room or (not large and len(nests) == wire.TCA_ACT_MAX_PRIO)):
            yield (_dumped(request, nests, large),)
            nest = nla.nest(0, nest.attrs())
            nests, size = [], 0
            room = next(rooms) - _DUMP_HEAD
        nests.append(nest)
        size += length
    if nests:
        yield (_dumped(request, nests, large),)


def _dumped(request: Request, nests: list[Attr], large: bool) -> Message:
    """One message of a dump.  Only a large dump counts its actions."""
    return action_message(
        Rtm.GETACTION,
        _known(request, [nla.u32(TcaRoot.COUNT, len(nests) if large else 0), nla.nest(TcaRoot.TAB, nests)]),
        flags=NLM_F_MULTI,
        seq=request.message.seq,
        pid=request.portid,
    )


def _dumped_table(network: Network, request: Request) -> ActionTable | None:
    """find_dump_kind(): the kind of the first action that is named."""
    tab = request.attrs.get(TcaRoot.TAB)
    if tab is None:
        return None
    try:
        first = next(iter(listed(tab, request.warn)), None)
        attrs = parse_action(first, request.warn) if first is not None else {}
    except NetlinkError:
        return None
    return network.actions.tables.get(_kind_name(attrs))


def _kind_name(attrs: dict[int, Attr]) -> str:
    """tc_lookup_action(), which compares by nla_strcmp(): trailing NULs do not count, one inside does."""
    if TcaAct.KIND not in attrs:
        return ""
    return attrs[TcaAct.KIND].payload.rstrip(b"\0").decode("latin-1")


def _tab(request: Request) -> Attr:
    tab = request.attrs.get(TcaRoot.TAB)
    if tab is None:
        raise NetlinkError(errno.EINVAL, "Netlink action attributes missing")
    return tab


def _table(network: Network, attrs: dict[int, Attr], unknown: str) -> ActionTable:
    table = network.actions.tables.get(_kind_name(attrs))
    if table is None:
        raise NetlinkError(errno.EINVAL, unknown)
    return table


def _found(network: Network, request: Request) -> list[AnyAction]:
    """tcf_action_get_1(), for each: the actions that a request names by kind and index."""
    found: list[AnyAction] = []
    for each in listed(_tab(request), request.warn):
        attrs = parse_action(each, request.warn)
        if TcaAct.INDEX not in attrs:
            raise NetlinkError(errno.EINVAL, "Invalid TC action index value")
        table = _table(network, attrs, "Specified TC action kind not found")
        action = table.find(attrs[TcaAct.INDEX].u32)
        if action is None:
            raise NetlinkError(errno.ENOENT, "TC action with specified index not found")
        found.append(action)
    return found


def _message(
    network: Network,
    request: Request,
    type: Rtm,
    actions: list[AnyAction],
    *,
    flags: int = 0,
    hidden: int = 0,
    warning: str | None = None,
) -> Message:
    """tca_get_fill(): a message about actions, in the order of the request.

    To get and to delete, the kernel holds each action as often as it is named, and hides a fixed number.
    """
    attrs = [nla.string(TcaRoot.EXT_WARN_MSG, warning)] if warning is not None else []
    nests = [
        nla.nest(
            order,
            network.actions.dump(action, holders=hidden - actions.count(action) if hidden else 0),
        )
        for order, action in enumerate(actions, 1)
    ]
    attrs.append(nla.nest(TcaRoot.TAB, nests))
    return action_message(
        type, _known(request, attrs), flags=flags, seq=request.message.seq, pid=request.portid
    )


def _known(request: Request, attrs: list[Attr]) -> list[Attr]:
    """Those of TCA_ROOT_* that the profile's kernel has."""
    return [attr for attr in attrs if attr.type <= request.profile.last_tca_root]
