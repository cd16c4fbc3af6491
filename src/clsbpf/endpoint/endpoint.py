"""A datagram of rtnetlink requests in, datagrams of replies out.

Each message in a datagram is a request of its own.  A plain one is answered with what it asked for, if
anything, then with an acknowledgement if it failed or wanted one.  A dump is answered with as many
datagrams of messages as it takes and an NLMSG_DONE, and is never acknowledged.

Mirrors netlink_rcv_skb(), netlink_ack() and netlink_dump() of net/netlink/af_netlink.c and
rtnetlink_rcv_msg() of net/core/rtnetlink.c.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ..engine.devices import Network
from ..errors import ClsbpfError, NetlinkError
from ..netlink.act import ROOT
from ..netlink.message import (
    NLM_F_ACK,
    NLM_F_BULK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
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
from . import actions, chains, filters, qdiscs
from .request import DUMP_ROOM, Datagram, Request, parse_action_request, parse_request

Doit = Callable[[Network, Request], list[Datagram]]
Dumpit = Callable[[Network, Request], Iterator[Message]]
Parse = Callable[[Message, Policy, int], Request]


@dataclass(frozen=True, slots=True)
class _Dump:
    """How a type is dumped: its policy, and whether a request cut short has an empty dump (or an error).

    `one_each`: every message goes out in a datagram of its own.
    """

    dumpit: Dumpit
    policy: Policy
    short_is_empty: bool
    parse: Parse = parse_request
    one_each: bool = False


_DOIT: dict[int, Doit] = {
    Rtm.NEWQDISC: qdiscs.new_qdisc,
    Rtm.DELQDISC: qdiscs.delete_qdisc,
    Rtm.GETQDISC: qdiscs.get_qdisc,
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
_ACTIONS = (Rtm.NEWACTION, Rtm.DELACTION, Rtm.GETACTION)
_NO_POLICY: Policy = {}
_DUMPIT: dict[int, _Dump] = {
    Rtm.GETQDISC: _Dump(qdiscs.dump_qdiscs, RTM_TCA, short_is_empty=False),
    Rtm.GETTFILTER: _Dump(filters.dump_filters, TFILTER_DUMP, short_is_empty=True),
    Rtm.GETCHAIN: _Dump(chains.dump_chains, RTM_TCA, short_is_empty=True),
    Rtm.GETACTION: _Dump(
        actions.dump_actions, ROOT, short_is_empty=False, parse=parse_action_request, one_each=True
    ),
}
_KIND_MASK, _KIND_DEL, _KIND_GET = 3, 1, 2
"""rtnetlink's types come in fours: NEW, DEL, GET, SET (rtnl_msgtype_kind)."""


class Endpoint:
    """The kernel's end of an AF_NETLINK socket of protocol NETLINK_ROUTE, over a `Network`.

    `ext_ack` and `cap_ack` are the socket options NETLINK_EXT_ACK and NETLINK_CAP_ACK.
    """

    def __init__(self, network: Network, *, ext_ack: bool = True, cap_ack: bool = False) -> None:
        self.network = network
        self.ext_ack = ext_ack
        self.cap_ack = cap_ack
        self.cause: ClsbpfError | None = None
        """Why the last request that was refused was: in more words than the kernel has on the wire."""

    def handle(self, request: bytes, portid: int = 0) -> list[bytes]:
        """The replies, one by one, to a datagram from the socket with address `portid`.

        Bytes that are no message are not answered, as by the kernel; nothing raises.
        """
        with self.network.lock:
            return [
                b"".join(message.encode() for message in datagram)
                for message in iter_messages(request)
                for datagram in self._answer(message, portid)
            ]

    def _answer(self, message: Message, portid: int) -> Iterable[Datagram]:
        """netlink_rcv_skb() and rtnetlink_rcv_msg(), for one message."""
        if not message.flags & NLM_F_REQUEST or message.type < NLMSG_MIN_TYPE:
            return self._acknowledged(message, portid)
        kind = message.type & _KIND_MASK
        warning: str | None = None
        try:
            if not message.payload and message.type <= RTM_MAX:
                # Not even a family: rtnetlink ignores it and calls that a success.
                return self._acknowledged(message, portid)
            if kind == _KIND_GET and message.flags & NLM_F_DUMP:
                if message.type not in _DUMPIT:
                    raise NetlinkError(errno.EOPNOTSUPP)
                return self._dump(message, portid, _DUMPIT[message.type])
            if message.type not in _DOIT:
                raise NetlinkError(errno.EOPNOTSUPP)
            if kind == _KIND_DEL and message.flags & NLM_F_BULK:
                raise NetlinkError(errno.EOPNOTSUPP, "Bulk delete is not supported")
            if message.type in _ACTIONS:
                request = parse_action_request(message, _NO_POLICY, portid)
            else:
                request = parse_request(message, RTM_TCA, portid)
            warning = request.warning
            replies = _DOIT[message.type](self.network, request)
            warning = request.warning
        except ClsbpfError as refusal:
            warning = self.network.actions.take_warning() or warning
            return [self._refused(message, portid, refusal, warning)]
        return [*replies, *self._acknowledged(message, portid, warning)]

    def _acknowledged(self, message: Message, portid: int, warning: str | None = None) -> list[Datagram]:
        """netlink_ack() of success, where NLM_F_ACK asks for it."""
        if not message.flags & NLM_F_ACK:
            return []
        said = acknowledge(
            message, 0, ExtAck(warning), portid=portid, ext_ack=self.ext_ack, cap_ack=self.cap_ack
        )
        return [(said,)]

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
        if isinstance(refusal, PolicyError):
            return code, ExtAck(refusal.extack, refusal.offset, describe(refusal.rule))
        if isinstance(refusal, NetlinkError):
            return code, ExtAck(refusal.extack or warning, refusal.offset)
        return code, ExtAck(warning)

    def _dump(self, message: Message, portid: int, dump: _Dump) -> Iterator[Datagram]:
        """netlink_dump(): full datagrams, then the end in one of its own."""
        code, extack = 0, ExtAck()
        try:
            if len(message.payload) >= TCMSG_LEN or not dump.short_is_empty:
                request = dump.parse(message, dump.policy, portid)
                extack = ExtAck(request.warning)
                messages = dump.dumpit(self.network, request)
                yield from ((each,) for each in messages) if dump.one_each else _packed(messages)
        except ClsbpfError as refusal:
            code, extack = self._explain(refusal, extack.message)
        yield (done(message, code, extack, portid=portid, ext_ack=self.ext_ack),)


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
