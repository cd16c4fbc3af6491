"""A datagram of rtnetlink requests in, datagrams of replies out.

Each message in a datagram is a request of its own.  A plain one is answered with what it asked for, if
anything, then with an acknowledgement if it failed or wanted one.  A dump is answered with as many
datagrams of messages as it takes and an NLMSG_DONE, and is never acknowledged.  Its first datagram is
made at once, the others when the asker has room for them; if something changes in between, the messages
after that are marked (NLM_F_DUMP_INTR), for they may not fit those before.

Mirrors netlink_rcv_skb(), netlink_ack() and netlink_dump() of net/netlink/af_netlink.c and
rtnetlink_rcv_msg() of net/core/rtnetlink.c.
"""

from __future__ import annotations

import errno
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from ..engine.devices import Network
from ..engine.multicast import Deliver
from ..errors import ClsbpfError, NetlinkError
from ..netlink.act import ROOT
from ..netlink.message import (
    NLM_F_ACK,
    NLM_F_BULK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_MIN_TYPE,
    ExtAck,
    Message,
    acknowledge,
    done,
    iter_messages,
)
from ..netlink.policy import RTM_TCA, TFILTER_DUMP, Policy, PolicyError, describe
from ..netlink.schema import RTM_MAX, Rtm
from ..netlink.tcmsg import TCMSG_LEN
from ..profile import KernelProfile
from . import actions, chains, classes, filters, links, qdiscs
from .request import DUMP_ROOM, Datagram, Request, parse_action_request, parse_request

Doit = Callable[[Network, Request], list[Datagram]]
Dumpit = Callable[[Network, Request], Iterator[Message]]
PagedDumpit = Callable[[Network, Request], Iterator[Datagram]]
Parse = Callable[[Message, Policy, int, KernelProfile], Request]


@dataclass(frozen=True, slots=True)
class _Dump:
    """How a type is dumped: its policy, and whether a request cut short has an empty dump (or an error).

    Most give their messages one by one, and datagrams are filled with them; `paged` gives datagrams itself.
    """

    policy: Policy
    short_is_empty: bool
    dumpit: Dumpit | None = None
    paged: PagedDumpit | None = None
    parse: Parse = parse_request


_DOIT: dict[int, Doit] = {
    Rtm.NEWLINK: links.new_link,
    Rtm.DELLINK: links.delete_link,
    Rtm.GETLINK: links.get_link,
    Rtm.SETLINK: links.set_link,
    Rtm.NEWQDISC: qdiscs.new_qdisc,
    Rtm.DELQDISC: qdiscs.delete_qdisc,
    Rtm.GETQDISC: qdiscs.get_qdisc,
    Rtm.NEWTCLASS: classes.new_class,
    Rtm.DELTCLASS: classes.delete_class,
    Rtm.GETTCLASS: classes.get_class,
    Rtm.NEWTFILTER: filters.new_filter,
    Rtm.DELTFILTER: filters.delete_filter,
    Rtm.GETTFILTER: filters.get_filter,
    Rtm.NEWCHAIN: chains.new_chain,
    Rtm.DELCHAIN: chains.delete_chain,
    Rtm.GETCHAIN: chains.get_chain,
    Rtm.NEWACTION: actions.new_action,
    Rtm.DELACTION: actions.delete_action,
    Rtm.GETACTION: actions.get_action,
}
_CHAINS = (Rtm.NEWCHAIN, Rtm.DELCHAIN, Rtm.GETCHAIN)
_ACTIONS = (Rtm.NEWACTION, Rtm.DELACTION, Rtm.GETACTION)
_NO_POLICY: Policy = {}
_DUMPIT: dict[int, _Dump] = {
    Rtm.GETLINK: _Dump(_NO_POLICY, False, links.dump_links, parse=links.parse_link_request),
    Rtm.GETQDISC: _Dump(RTM_TCA, False, qdiscs.dump_qdiscs),
    Rtm.GETTCLASS: _Dump(_NO_POLICY, True, classes.dump_classes),
    Rtm.GETTFILTER: _Dump(TFILTER_DUMP, True, filters.dump_filters),
    Rtm.GETCHAIN: _Dump(RTM_TCA, True, paged=chains.dump_chains),
    Rtm.GETACTION: _Dump(ROOT, False, paged=actions.dump_actions, parse=parse_action_request),
}
_KIND_MASK, _KIND_DEL, _KIND_GET = 3, 1, 2
"""rtnetlink's types come in fours: NEW, DEL, GET, SET (rtnl_msgtype_kind)."""


class Endpoint:
    """The kernel's end of an AF_NETLINK socket of protocol NETLINK_ROUTE, over a `Network`.

    `ext_ack` and `cap_ack` are the socket options NETLINK_EXT_ACK and NETLINK_CAP_ACK; `max_recvmsg_len` is
    the most that the socket has been ready to receive so far: nothing, where it is as new as tc's.
    """

    def __init__(
        self, network: Network, *, ext_ack: bool = True, cap_ack: bool = False, max_recvmsg_len: int = 0
    ) -> None:
        self.network = network
        network.on_chain = functools.partial(chains.notify_chain, network)
        self.ext_ack = ext_ack
        self.cap_ack = cap_ack
        self.max_recvmsg_len = max_recvmsg_len
        self.cause: ClsbpfError | None = None
        """Why the last request that was refused was: in more words than the kernel has on the wire."""

    def subscribe(self, groups: Iterable[int], deliver: Deliver, portid: int = 0) -> Callable[[], None]:
        """NETLINK_ADD_MEMBERSHIP: `deliver` is given every datagram that goes to these RTNLGRP_*.

        It is called while the network is locked and must neither block nor raise.  The groups are the
        network's: all its endpoints have the same.  A socket that asks as well gives its `portid`, and
        then hears what its own requests change among their replies.  Returns what ends the subscription.
        """
        with self.network.lock:
            cancel = self.network.multicast.subscribe(groups, deliver, portid)

        def locked() -> None:
            with self.network.lock:
                cancel()

        return locked

    def handle(self, request: bytes, portid: int = 0) -> list[bytes]:
        """The replies, one by one, to a datagram from the socket with address `portid`.

        Bytes that are no message are not answered, as by the kernel; nothing raises.
        """
        return list(self.replies(request, portid))

    def replies(self, request: bytes, portid: int = 0) -> Iterator[bytes]:
        """The same, with the rest of a long dump made as it is taken.

        The requests are done when this returns, also if nobody takes the replies.
        """
        at_once: list[bytes] = []
        running: Iterator[Datagram] | None = None
        with self.network.lock, self.network.multicast.answering(portid, at_once):
            for message in iter_messages(request):
                dump = self._answer(message, portid, at_once, dumping=running is not None)
                if dump is not None:
                    first = next(dump)
                    at_once.append(_encoded(first))
                    running = dump if first[-1].type != NLMSG_DONE else None
        return itertools.chain(at_once, self._rest(running))

    def _rest(self, dump: Iterator[Datagram] | None) -> Iterator[bytes]:
        """netlink_recvmsg() of a socket with a dump under way."""
        while dump is not None:
            with self.network.lock:
                datagram = next(dump, None)
            if datagram is None:
                return
            yield _encoded(datagram)

    def _answer(
        self, message: Message, portid: int, replies: list[bytes], *, dumping: bool
    ) -> Iterator[Datagram] | None:
        """netlink_rcv_skb() and rtnetlink_rcv_msg(), for one message: a dump, or None once it is answered.

        `dumping`: is the socket still at an earlier dump?
        """
        if not message.flags & NLM_F_REQUEST or message.type < NLMSG_MIN_TYPE:
            self._acknowledge(message, portid, replies)
            return None
        kind = message.type & _KIND_MASK
        profile = self.network.profile
        request: Request | None = None
        try:
            if not message.payload and message.type <= RTM_MAX:
                # Not even a family: rtnetlink ignores it and calls that a success.
                self._acknowledge(message, portid, replies)
                return None
            if message.type in _CHAINS and not profile.has_chain_requests:
                raise NetlinkError(errno.EOPNOTSUPP, f"Linux {profile.name} has no requests about chains")
            if kind == _KIND_GET and message.flags & NLM_F_DUMP:
                if message.type not in _DUMPIT:
                    raise NetlinkError(errno.EOPNOTSUPP)
                if dumping:
                    raise NetlinkError(errno.EBUSY)
                return self._dump(message, portid, _DUMPIT[message.type])
            if message.type not in _DOIT:
                raise NetlinkError(errno.EOPNOTSUPP)
            if kind == _KIND_DEL and message.flags & NLM_F_BULK:
                raise NetlinkError(errno.EOPNOTSUPP, "Bulk delete is not supported")
            if message.type in _ACTIONS:
                request = parse_action_request(message, _NO_POLICY, portid, profile)
            elif message.type in links.LINK_TYPES:
                request = links.parse_link_request(message, _NO_POLICY, portid, profile)
            else:
                request = parse_request(message, RTM_TCA, portid, profile)
            request.replies = replies
            if kind != _KIND_GET:
                self.network.changes += 1
            answers = _DOIT[message.type](self.network, request)
        except ClsbpfError as refusal:
            warning = self.network.actions.take_warning()
            if warning is None and request is not None:
                warning = request.warning
            replies.append(_encoded(self._refused(message, portid, refusal, warning)))
            return None
        replies += map(_encoded, answers)
        self._acknowledge(message, portid, replies, request.warning)
        return None

    def _acknowledge(
        self, message: Message, portid: int, replies: list[bytes], warning: str | None = None
    ) -> None:
        """netlink_ack() of success, where NLM_F_ACK asks for it."""
        if message.flags & NLM_F_ACK:
            extack = ExtAck(warning if self.network.profile.explains else None)
            said = acknowledge(message, 0, extack, portid=portid, ext_ack=self.ext_ack, cap_ack=self.cap_ack)
            replies.append(said.encode())

    def _refused(self, message: Message, portid: int, refusal: ClsbpfError, warning: str | None) -> Datagram:
        """netlink_ack() of an error."""
        code, extack = self._explain(refusal, warning)
        return (
            acknowledge(message, code, extack, portid=portid, ext_ack=self.ext_ack, cap_ack=self.cap_ack),
        )

    def _explain(self, refusal: ClsbpfError, warning: str | None) -> tuple[int, ExtAck]:
        """The errno and extack of a refusal, which is kept for whoever can make use of more.

        One without words lets an earlier warning stand.
        """
        self.cause = refusal
        code = refusal.errno or errno.EINVAL
        if not self.network.profile.explains:
            return code, ExtAck(offset=refusal.offset if isinstance(refusal, PolicyError) else None)
        if isinstance(refusal, PolicyError):
            return code, ExtAck(refusal.extack, refusal.offset, describe(refusal.rule))
        if isinstance(refusal, NetlinkError):
            return code, ExtAck(refusal.extack or warning, refusal.offset)
        return code, ExtAck(warning)

    def _dump(self, message: Message, portid: int, dump: _Dump) -> Iterator[Datagram]:
        """netlink_dump(): full datagrams, then the end in one of its own."""
        code, extack = 0, ExtAck()
        began = self.network.changes
        try:
            if len(message.payload) >= TCMSG_LEN or not dump.short_is_empty:
                request = dump.parse(message, dump.policy, portid, self.network.profile)
                request.max_recvmsg_len = self.max_recvmsg_len
                extack = ExtAck(request.warning if self.network.profile.explains else None)
                for datagram in _datagrams(dump, self.network, request):
                    yield self._checked(datagram, began)
        except ClsbpfError as refusal:
            code, extack = self._explain(refusal, extack.message)
        end = done(message, code, extack, portid=portid, ext_ack=self.ext_ack)
        yield self._checked((end,), began)

    def _checked(self, datagram: Datagram, began: int) -> Datagram:
        """nl_dump_check_consistent(): messages of a dump that began before a change say so."""
        if self.network.changes == began:
            return datagram
        return tuple(replace(each, flags=each.flags | NLM_F_DUMP_INTR) for each in datagram)


def _encoded(datagram: Datagram) -> bytes:
    return b"".join(message.encode() for message in datagram)


def _datagrams(dump: _Dump, network: Network, request: Request) -> Iterator[Datagram]:
    if dump.paged is not None:
        return dump.paged(network, request)
    assert dump.dumpit is not None
    return _packed(dump.dumpit(network, request))


def _packed(messages: Iterator[Message]) -> Iterator[Datagram]:
    """As many messages in each datagram as there is room for; EMSGSIZE for one that fits in none."""
    held: list[Message] = []
    size = 0
    try:
        for message in messages:
            length = len(message.encode())
            if length > DUMP_ROOM:
                raise NetlinkError(errno.EMSGSIZE)
            if size + length > DUMP_ROOM:
                yield tuple(held)
                held, size = [], 0
            held.append(message)
            size += length
    except NetlinkError:
        if held:
            yield tuple(held)
        raise
    if held:
        yield tuple(held)
