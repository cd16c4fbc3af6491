"""Requests about actions in few words, and their times taken out of replies."""

from __future__ import annotations

from collections.abc import Iterable

from clsbpf.netlink import act as wire
from clsbpf.netlink import attr as nla
from clsbpf.netlink import message as nl
from clsbpf.netlink.act import TcaAct, TcaGact, TcaMirred, TcaRoot, action_message
from clsbpf.netlink.attr import Attr
from clsbpf.netlink.message import Message
from clsbpf.netlink.schema import Rtm, Tca, TcaBpf

PIPE, STOLEN, SHOT = 3, 4, 2
ADD = nl.NLM_F_REQUEST | nl.NLM_F_ACK | nl.NLM_F_CREATE | nl.NLM_F_EXCL
REPLACE = nl.NLM_F_REQUEST | nl.NLM_F_ACK | nl.NLM_F_CREATE | nl.NLM_F_REPLACE
ASK = nl.NLM_F_REQUEST | nl.NLM_F_ACK
ECHO = nl.NLM_F_ECHO
FLUSH = ASK | nl.NLM_F_ROOT
DUMP = nl.NLM_F_REQUEST | nl.NLM_F_DUMP


def mirred(
    ifindex: int = 1,
    *,
    index: int = 0,
    control: int = PIPE,
    eaction: int = 2,
    block: int | None = None,
    more: Iterable[Attr] = (),
) -> list[Attr]:
    """The attributes of a mirred action; by default it mirrors out of a device."""
    options = [nla.binary(TcaMirred.PARMS, wire.MIRRED_PARMS.pack(index, 0, control, 0, 0, eaction, ifindex))]
    if block is not None:
        options.append(nla.u32(TcaMirred.BLOCKID, block))
    return action("mirred", options, more)


def gact(
    control: int = SHOT,
    *,
    index: int = 0,
    prob: tuple[int, int, int] | None = None,
    more: Iterable[Attr] = (),
) -> list[Attr]:
    """The attributes of a gact action; `prob` is kind, value, other control."""
    options = [nla.binary(TcaGact.PARMS, wire.GACT_PARMS.pack(index, 0, control, 0, 0))]
    if prob is not None:
        options.append(nla.binary(TcaGact.PROB, wire.GACT_PROB.pack(*prob)))
    return action("gact", options, more)


def action(kind: str, options: Iterable[Attr], more: Iterable[Attr] = ()) -> list[Attr]:
    """An action's attributes as tc orders them."""
    return [nla.string(TcaAct.KIND, kind), nla.nest(TcaAct.OPTIONS, options, flagged=True), *more]


def named(kind: str, index: int | None = None) -> list[Attr]:
    """An action by kind and index."""
    attrs = [nla.string(TcaAct.KIND, kind)]
    return attrs if index is None else [*attrs, nla.u32(TcaAct.INDEX, index)]


def listed(actions: Iterable[Iterable[Attr]], first: int = 1) -> list[Attr]:
    """Several actions, numbered."""
    return [nla.nest(number, each) for number, each in enumerate(actions, first)]


def request(
    type: int, *actions: Iterable[Attr], flags: int = ADD, more: Iterable[Attr] = (), tab: bool = True
) -> Message:
    """A request about actions."""
    tabs = [nla.nest(TcaRoot.TAB, listed(actions))] if tab else []
    return action_message(type, [*tabs, *more], flags=flags, seq=11)


def dump(kind: str, *, flags: int = 1) -> Message:
    """A dump of a kind, with TCA_ROOT_FLAGS (1: large, 2: terse)."""
    bits = nla.binary(TcaRoot.FLAGS, wire.BITFIELD32.pack(flags, flags))
    return request(Rtm.GETACTION, named(kind), flags=DUMP, more=[bits] if flags else [])


def timeless(datagram: bytes) -> bytes:
    """The datagram with the times of all actions 0."""
    return b"".join(_timeless(message).encode() for message in nl.iter_messages(datagram))


def _timeless(message: Message) -> Message:
    if message.type in (Rtm.NEWACTION, Rtm.DELACTION, Rtm.GETACTION):
        return _rewritten(message, wire.TCAMSG_LEN, (TcaRoot.TAB,))
    if message.type in (Rtm.NEWTFILTER, Rtm.DELTFILTER, Rtm.GETTFILTER):
        return _rewritten(message, 20, (Tca.OPTIONS, TcaBpf.ACT))
    return message


def _rewritten(message: Message, header: int, path: tuple[int, ...]) -> Message:
    attrs = _within(list(nla.iter_attrs(message.payload[header:])), path)
    payload = message.payload[:header] + nla.encode_attrs(attrs)
    return Message(message.type, message.flags, message.seq, message.pid, payload)


def _within(attrs: list[Attr], path: tuple[int, ...]) -> list[Attr]:
    """The attributes with what is at `path` (then in every action) rewritten."""
    if not path:
        return [Attr(a.type, nla.encode_attrs(_of_action(a.attrs())), nested=a.nested) for a in attrs]
    return [
        Attr(a.type, nla.encode_attrs(_within(a.attrs(), path[1:])), nested=a.nested)
        if a.type == path[0]
        else a
        for a in attrs
    ]


def _of_action(attrs: list[Attr]) -> list[Attr]:
    return [
        Attr(a.type, nla.encode_attrs(_no_time(a.attrs())), nested=a.nested)
        if a.type == TcaAct.OPTIONS
        else a
        for a in attrs
    ]


def _no_time(options: list[Attr]) -> list[Attr]:
    return [Attr(a.type, bytes(32), nested=a.nested) if len(a.payload) == 32 else a for a in options]
