"""Requests to rtnetlink in few words, as bytes of any client might be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from clsbpf.netlink import attr as nla
from clsbpf.netlink import message as nl
from clsbpf.netlink import schema as tca
from clsbpf.netlink.act import TCAMSG_LEN, TcaRoot
from clsbpf.netlink.attr import Attr
from clsbpf.netlink.message import Message
from clsbpf.netlink.schema import Rtm, Tca, TcaBpf
from clsbpf.netlink.tcmsg import TCM_IFINDEX_MAGIC_BLOCK, TcMsg, tc_message

CLSACT = 0xFFFFFFF1
INGRESS = 0xFFFFFFF2
EGRESS = 0xFFFFFFF3
ROOT = 0xFFFFFFFF
BLOCK = TCM_IFINDEX_MAGIC_BLOCK
ETH_P_ALL = 3
RETURN_ALL = bytes.fromhex("06000000ffffffff")

ADD = nl.NLM_F_REQUEST | nl.NLM_F_ACK | nl.NLM_F_CREATE | nl.NLM_F_EXCL
REPLACE = nl.NLM_F_REQUEST | nl.NLM_F_ACK | nl.NLM_F_CREATE | nl.NLM_F_REPLACE
CHANGE = DELETE = nl.NLM_F_REQUEST | nl.NLM_F_ACK
GET = nl.NLM_F_REQUEST
DUMP = nl.NLM_F_REQUEST | nl.NLM_F_DUMP
ECHO = nl.NLM_F_ECHO

ALL: dict[str, Any] = {
    "type": Rtm.GETTFILTER,
    "flags": DUMP,
    "prio": 0,
    "protocol": 0,
    "kind": None,
    "options": None,
}
"""The words that make `bpf` a dump of all filters of a place."""
DEL: dict[str, Any] = {"type": Rtm.DELTFILTER, "kind": None, "options": None, "flags": DELETE | ECHO}
GETF: dict[str, Any] = {"type": Rtm.GETTFILTER, "kind": None, "options": None, "flags": GET}
GETQ: dict[str, Any] = {"type": Rtm.GETQDISC, "kind": None, "flags": GET | nl.NLM_F_ACK | ECHO, "handle": 0}
DELQ: dict[str, Any] = {"type": Rtm.DELQDISC, "kind": None, "flags": DELETE | ECHO, "handle": 0}


def qdisc(
    ifindex: int,
    kind: str | None = "clsact",
    *,
    type: int = Rtm.NEWQDISC,
    flags: int = ADD,
    parent: int = CLSACT,
    handle: int = 0xFFFF0000,
    attrs: Iterable[Attr] = (),
) -> Message:
    """A request about a qdisc; by default `qdisc add dev … clsact`."""
    kinds = [nla.string(Tca.KIND, kind)] if kind is not None else []
    return tc_message(type, TcMsg(0, ifindex, handle, parent), [*kinds, *attrs], flags=flags, seq=7)


def bpf(
    ifindex: int,
    *,
    type: int = Rtm.NEWTFILTER,
    flags: int = ADD,
    parent: int = INGRESS,
    prio: int = 1,
    protocol: int = ETH_P_ALL,
    handle: int = 0,
    kind: str | None = "bpf",
    options: Iterable[Attr] | None = (
        nla.u16(TcaBpf.OPS_LEN, 1),
        nla.binary(TcaBpf.OPS, RETURN_ALL),
        nla.u32(TcaBpf.CLASSID, 0x10001),
    ),
    attrs: Iterable[Attr] = (),
) -> Message:
    """A request about a filter; by default `add … ingress prio 1 bpf bytecode '1,6 0 0 -1' flowid 1:1`."""
    kinds = [nla.string(Tca.KIND, kind)] if kind is not None else []
    nests = [nla.nest(Tca.OPTIONS, options)] if options is not None else []
    header = TcMsg.of_filter(ifindex, parent, prio=prio, protocol=protocol, handle=handle)
    return tc_message(type, header, [*kinds, *attrs, *nests], flags=flags, seq=9)


def program(*more: Attr, ops: bytes = RETURN_ALL, count: int | None = None) -> list[Attr]:
    """Filter options with a classic program and more."""
    count = len(ops) // 8 if count is None else count
    return [nla.u16(TcaBpf.OPS_LEN, count), nla.binary(TcaBpf.OPS, ops), *more]


def actions(payload: bytes) -> list[Any]:
    """What a message about actions holds: of its list, each action's attributes."""
    return [
        [{attr.type: attr.payload.hex() for attr in action.attrs()} for action in each.attrs()]
        if each.type == TcaRoot.TAB
        else each
        for each in nla.iter_attrs(payload)
    ]


def readable(datagram: bytes) -> list[Any]:
    """A datagram as values that a failing test can show."""
    out: list[Any] = []
    for message in nl.iter_messages(datagram):
        if message.type in (nl.NLMSG_ERROR, nl.NLMSG_DONE):
            out.append((hex(message.flags), nl.read_acknowledgement(message)))
            continue
        if message.type in (Rtm.NEWACTION, Rtm.DELACTION, Rtm.GETACTION):
            out.append((message.type, hex(message.flags), message.seq, actions(message.payload[TCAMSG_LEN:])))
            continue
        schema = tca.QDISC if message.type in (Rtm.NEWQDISC, Rtm.DELQDISC) else tca.BPF_FILTER
        header, attrs = TcMsg.decode(message.payload), list(nla.iter_attrs(message.payload[20:]))
        out.append((message.type, hex(message.flags), message.seq, header, tca.to_named(attrs, schema)))
    return out
