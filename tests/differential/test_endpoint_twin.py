"""The endpoint against the kernel: the same bytes, the same replies.

Each script is a sequence of requests that build on one another; every reply to every request, and the
dumps of everything at the end, must be equal to the kernel's, byte for byte but for the socket's
address.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable

import pytest

from clsbpf.netlink import attr as nla
from clsbpf.netlink import message as nl
from clsbpf.netlink.attr import Attr
from clsbpf.netlink.message import Message
from clsbpf.netlink.schema import Rtm, Tca, TcaBpf
from clsbpf.netlink.tcmsg import TcMsg, tc_message
from netlink_twin import Twin, twin
from tc_messages import (
    ADD,
    ALL,
    BLOCK,
    CHANGE,
    CLSACT,
    DEL,
    DELETE,
    DELQ,
    DUMP,
    ECHO,
    EGRESS,
    GET,
    GETF,
    GETQ,
    INGRESS,
    REPLACE,
    RETURN_ALL,
    ROOT,
    bpf,
    program,
    qdisc,
)

Requests = Iterable[Message | bytes]

CHAIN3, CHAIN7 = nla.u32(Tca.CHAIN, 3), nla.u32(Tca.CHAIN, 7)
ADDE, REPLACEE, CHANGEE = ADD | ECHO, REPLACE | ECHO, CHANGE | ECHO


def qdisc_lifecycle(t: Twin) -> Requests:
    """Adding, asking, replacing by the other kind, deleting; before and after the queue exists."""
    yield qdisc(t.v0, **{**GETQ, "parent": CLSACT})
    yield qdisc(t.v0, **{**DELQ, "parent": CLSACT})
    yield qdisc(t.v0, flags=CHANGE)
    yield qdisc(t.v0, **{**DELQ, "parent": CLSACT})
    yield qdisc(t.v0, flags=ADDE)
    yield qdisc(t.v0)
    yield qdisc(t.v0, handle=0)
    yield qdisc(t.v0, flags=CHANGEE)
    yield qdisc(t.v0, flags=CHANGEE, kind=None)
    yield qdisc(t.v0, flags=REPLACEE)
    yield qdisc(t.v0, "ingress", flags=REPLACEE)
    yield qdisc(t.v0, "ingress", flags=REPLACEE, handle=0)
    yield qdisc(t.v0, "clsact", flags=CHANGEE, handle=0)
    yield qdisc(t.v0, "ingress", flags=ADDE, handle=0)
    yield qdisc(t.v0, "clsact", flags=REPLACE | nl.NLM_F_EXCL, handle=0)
    yield qdisc(t.v0, "ingress", flags=nl.NLM_F_REQUEST | nl.NLM_F_ACK | nl.NLM_F_CREATE, handle=0)
    for handle in (0, 0xFFFF0000, 0xFFFE0000, 0xFFFF0001, 0x10000):
        for parent in (0, CLSACT, INGRESS, 0xFFFF0000, ROOT, 0x10000, 0x10001):
            yield qdisc(t.v0, **{**GETQ, "parent": parent, "handle": handle})
            for kind in ("clsact", "ingress", "nosuch"):
                for flags in (ADD, REPLACE & ~nl.NLM_F_CREATE, CHANGE):
                    yield qdisc(t.v0, kind, flags=flags | ECHO, parent=parent, handle=handle)
    yield qdisc(t.v0, **{**DELQ, "parent": INGRESS})
    yield qdisc(t.v0, **{**DELQ, "parent": INGRESS})
    yield qdisc(t.v0, **{**DELQ, "parent": INGRESS, "kind": "clsact"})
    yield qdisc(t.v0, **{**DELQ, "parent": INGRESS, "kind": "noop"})
    yield qdisc(t.v0, **{**GETQ, "parent": INGRESS})
    yield qdisc(t.v0, **{**DELQ, "parent": INGRESS, "handle": 0xFFFF0000})
    yield qdisc(t.v0, **{**DELQ, "parent": ROOT})
    yield qdisc(t.v0, **{**DELQ, "parent": 0})
    yield qdisc(t.v0, **{**DELQ, "parent": 0x10000})


def qdisc_options(t: Twin) -> Requests:
    """Kinds, options, estimators, things that clsact does not have."""
    yield qdisc(t.v0, None)
    yield qdisc(t.v0, "nosuch")
    yield qdisc(t.v0, "clsact\0\0")
    yield qdisc(t.v0, flags=CHANGE, attrs=[nla.binary(Tca.OPTIONS, b"")])
    yield qdisc(t.v0, flags=REPLACEE, attrs=[nla.nest(Tca.OPTIONS, ())])
    yield qdisc(t.v0, flags=CHANGE, attrs=[nla.u32(Tca.INGRESS_BLOCK, 5)])
    yield qdisc(t.v1, attrs=[nla.binary(Tca.OPTIONS, b"junk")])
    yield qdisc(t.v1, **{**DELQ, "parent": CLSACT})
    for rate in (b"\0", b"\0\0", b"\0\1", b"\3\1", b"\4\1", b"\xfe\1", b"\xfd\1", b"\0\x1e", b"\0\x1f"):
        yield qdisc(t.v1, flags=ADDE, attrs=[nla.binary(Tca.RATE, rate)])
        yield qdisc(t.v1, flags=REPLACEE, attrs=[nla.binary(Tca.RATE, rate)])
        yield qdisc(t.v1, **{**DELQ, "parent": CLSACT})
    yield qdisc(t.v1, parent=ROOT, handle=0)
    yield qdisc(t.v1, parent=ROOT, handle=0x10000)
    yield qdisc(t.v1, "ingress", parent=ROOT, handle=0xFFFF0000)
    yield qdisc(9999)
    yield qdisc(9999, **{**DELQ, "parent": CLSACT})
    yield qdisc(9999, **{**GETQ, "parent": CLSACT})


def shared_blocks(t: Twin) -> Requests:
    """Blocks that two devices share, and filters in them, until the last qdisc goes."""

    def block(**more: object) -> Message:
        return bpf(BLOCK, **{"parent": 5, **more})  # type: ignore[arg-type]

    index = {5: nla.u32(Tca.INGRESS_BLOCK, 5), 6: nla.u32(Tca.EGRESS_BLOCK, 6)}
    yield qdisc(t.v0, **{**DELQ, "parent": CLSACT})
    yield qdisc(t.v0, attrs=[nla.u32(Tca.INGRESS_BLOCK, 0)])
    yield qdisc(t.v0, attrs=[nla.u32(Tca.EGRESS_BLOCK, 0)])
    yield qdisc(t.v0, attrs=[index[5], nla.u32(Tca.EGRESS_BLOCK, 5)])
    yield block(**ALL)
    yield block()
    yield qdisc(t.v0, attrs=index.values(), flags=ADDE)
    yield qdisc(t.v0, attrs=index.values(), flags=REPLACEE)
    yield qdisc(t.v0, "ingress", attrs=[index[5]], flags=REPLACEE, handle=0)
    yield qdisc(t.v1, "ingress", attrs=[index[6]])
    yield qdisc(t.v1, "ingress", attrs=[index[5]], flags=ADDE)
    yield bpf(t.v0)
    yield bpf(t.v0, parent=EGRESS)
    yield bpf(t.v1)
    yield block(flags=ADDE)
    yield block(flags=ADDE, parent=9)
    yield block(flags=ADDE, prio=0, protocol=0x86DD)
    yield block(flags=ADDE, parent=6)
    yield from (bpf(t.v0, parent=p, **ALL) for p in (INGRESS, EGRESS))
    yield block(**{**GETF, "handle": 1})
    yield block(**{**DEL, "handle": 1, "flags": DELETE | ECHO})
    yield block(flags=ADDE)
    yield qdisc(t.v0, **{**DELQ, "parent": CLSACT})
    yield from t_blocks(block)
    yield qdisc(t.v1, **{**DELQ, "parent": CLSACT})
    yield from t_blocks(block)
    yield qdisc(t.v1, attrs=[index[5]])
    yield from t_blocks(block)


def t_blocks(block: Callable[..., Message]) -> Requests:
    yield block(**ALL)
    yield block(**{**ALL, "parent": 6})


def places(t: Twin) -> Requests:
    """Parents: what an ingress qdisc takes for one, what clsact refuses, and what dumps show."""
    yield qdisc(t.v1, "ingress")
    for parent in (INGRESS, EGRESS, 0xFFFF0000, CLSACT, 0xFFFF0042, 0, 0x10000, 0x42, ROOT):
        for device in (t.v0, t.v1, 9999):
            yield bpf(device, parent=parent, flags=ADDE)
            yield bpf(device, parent=parent, flags=ADDE, handle=1)  # fails, and yet dumps name its parent
            yield bpf(device, parent=parent, **ALL)
            yield bpf(t.v1, parent=INGRESS, **ALL)
            yield bpf(device, parent=parent, **{**GETF, "handle": 1})
    for parent in (INGRESS, EGRESS, 0xFFFF0000, 0xFFFF0042):
        yield bpf(t.v1, parent=parent, **{**DEL, "handle": 1})
        yield bpf(t.v0, parent=parent, **{**DEL, "handle": 1})


def priorities(t: Twin) -> Requests:
    """Priorities given, automatic, and used up; chains that come and go."""
    for _ in range(3):
        yield bpf(t.v0, prio=0, flags=ADDE)
    yield bpf(t.v0, prio=0, flags=CHANGEE)
    yield bpf(t.v0, prio=0, flags=REPLACEE)
    yield bpf(t.v0, prio=0, flags=ADDE, attrs=[CHAIN7])
    yield bpf(t.v0, prio=3, flags=ADDE, attrs=[CHAIN3])
    yield bpf(t.v0, prio=3, flags=ADDE, attrs=[nla.u32(Tca.CHAIN, 0x10000000)])
    yield bpf(t.v0, prio=3, flags=ADDE, attrs=[nla.u32(Tca.CHAIN, 0x0FFFFFFF)])
    yield bpf(t.v0, prio=2, flags=ADDE, protocol=0x0800)
    for prio in (0, 2, 3, 49152, 9):
        for protocol in (0, 3, 0x0800):
            for attrs in ([], [CHAIN3], [CHAIN7], [nla.u32(Tca.CHAIN, 0)]):
                yield bpf(t.v0, **{**ALL, "prio": prio, "protocol": protocol}, attrs=attrs)
    yield bpf(t.v0, **{**DEL, "prio": 0, "protocol": 0})
    yield bpf(t.v0, **{**DEL, "prio": 0, "protocol": 0})
    yield bpf(t.v0, **{**DEL, "prio": 0, "protocol": 0}, attrs=[nla.u32(Tca.CHAIN, 9)])
    yield bpf(t.v0, **ALL)
    yield bpf(t.v0, prio=1, flags=ADDE)  # chain 0 is made anew, behind the others
    yield bpf(t.v0, **ALL)
    yield bpf(t.v0, **DEL)
    yield bpf(t.v0, prio=0x8001, flags=ADDE)
    yield bpf(t.v0, prio=0, flags=ADDE)
    yield bpf(t.v0, prio=0, flags=ADDE)
    yield bpf(t.v0, prio=0, flags=ADDE, kind=None)
    yield bpf(t.v0, **{**DEL, "prio": 0, "protocol": 0})
    yield bpf(t.v0, prio=60000, flags=ADDE)
    yield bpf(t.v0, prio=0, flags=ADDE)
    yield bpf(t.v0, prio=0xFFFF, flags=ADDE)
    yield bpf(t.v0, prio=0, flags=ADDE)


def identities(t: Twin) -> Requests:
    """Kinds, protocols and handles: what fits what is there, and what does not."""
    yield bpf(t.v0, flags=ADDE)
    for kind in (None, "bpf", "bpf\0\0", "bpf\0x", "nosuch", "", "x" * 15, "x" * 16, "x" * 15 + "\0"):
        for prio in (1, 5):
            yield bpf(t.v0, kind=kind, prio=prio, flags=ADDE)
            yield bpf(t.v0, kind=kind, prio=prio, flags=CHANGEE, handle=1)
            yield bpf(t.v0, **{**GETF, "kind": kind, "prio": prio, "handle": 1})
    for protocol in (0, 3, 0x0800, 0x86DD):
        yield bpf(t.v0, protocol=protocol, flags=ADDE)
        yield bpf(t.v0, protocol=protocol, flags=ADDE, prio=6)
        yield bpf(t.v0, protocol=protocol, flags=REPLACEE, handle=1)
        yield bpf(t.v0, protocol=protocol, flags=CHANGEE, handle=1)
        yield bpf(t.v0, **{**GETF, "protocol": protocol, "handle": 1})
    for handle in (0, 1, 2, 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
        yield bpf(t.v0, handle=handle, flags=ADDE)
        yield bpf(t.v0, handle=handle, flags=ADDE)
        yield bpf(t.v0, handle=handle, flags=REPLACEE)
        yield bpf(t.v0, handle=handle, flags=CHANGEE)
        yield bpf(t.v0, handle=handle, flags=nl.NLM_F_REQUEST | nl.NLM_F_ACK | nl.NLM_F_CREATE | ECHO)
    yield bpf(t.v0, **ALL)
    for more in (
        {"prio": 0},
        {"prio": 0, "protocol": 0, "handle": 1},
        {"prio": 0, "protocol": 0, "kind": "bpf"},
        {"prio": 77},
        {"protocol": 0x0800},
        {"kind": "nosuch"},
        {"handle": 99},
        {"attrs": [nla.u32(Tca.CHAIN, 9)]},
        {"handle": 2, "flags": DELETE},
        {"handle": 5, "kind": "bpf"},
        {"protocol": 0},
        {"protocol": 0},
    ):
        yield bpf(t.v0, **{**DEL, **more})
        yield bpf(t.v0, **{**GETF, **more, "flags": GET | nl.NLM_F_ACK})


def options(t: Twin) -> Requests:
    """The attributes of a bpf filter, taken and refused."""
    classid, short = nla.u32(TcaBpf.CLASSID, 0x10001), nla.binary(TcaBpf.CLASSID, b"\1")
    good: list[list[Attr]] = [
        program(),
        program(classid),
        program(nla.u32(TcaBpf.CLASSID, 0)),
        program(nla.u32(TcaBpf.FLAGS, 1)),
        program(nla.u32(TcaBpf.FLAGS, 0)),
        program(nla.u32(TcaBpf.FLAGS_GEN, 1)),
        program(nla.u32(TcaBpf.FLAGS_GEN, 0)),
        program(nla.string(TcaBpf.NAME, "ignored")),
        program(nla.nest(TcaBpf.ACT, ())),
        program(nla.binary(TcaBpf.OPS_LEN, b"\1\0\xff\xff")),
        program(nla.binary(TcaBpf.CLASSID, b"\1\0\0\0\7")),
        program(nla.binary(60, b"?"), nla.binary(TcaBpf.TAG, b"?")),
        program(ops=RETURN_ALL * 4000),
    ]
    bad: list[list[Attr] | None] = [
        None,
        [],
        [nla.u16(TcaBpf.OPS_LEN, 1)],
        [nla.binary(TcaBpf.OPS, RETURN_ALL)],
        program(short),
        program(count=0, ops=b""),
        program(count=2),
        program(count=0),
        program(ops=RETURN_ALL + b"\0"),
        program(ops=bytes(8)),
        program(ops=RETURN_ALL * 4097),
        program(ops=RETURN_ALL * 4096, count=4097),
        program(nla.u32(TcaBpf.FD, 999)),
        [nla.u32(TcaBpf.FD, 999)],
        [nla.u32(TcaBpf.FD, 0xFFFFFFFF), nla.string(TcaBpf.NAME, "x")],
        [nla.u32(TcaBpf.FD, 999), nla.binary(TcaBpf.OPS, RETURN_ALL)],
        [nla.u32(TcaBpf.FD, 999), nla.u16(TcaBpf.OPS_LEN, 1)],
        program(nla.u32(TcaBpf.FLAGS, 2)),
        program(nla.u32(TcaBpf.FLAGS_GEN, 3)),
        program(nla.u32(TcaBpf.FLAGS_GEN, 2)),
        program(nla.u32(TcaBpf.FLAGS_GEN, 4)),
        program(nla.u32(TcaBpf.FLAGS_GEN, 16)),
        program(nla.binary(TcaBpf.NAME, b"no end")),
        program(nla.string(TcaBpf.NAME, "x" * 257)),
        program(nla.nest(TcaBpf.ACT, [nla.nest(1, [nla.string(1, "nosuch")])])),
        program(nla.nest(TcaBpf.ACT, [nla.nest(1, [nla.string(1, "x" * 16)])])),
        program(nla.nest(TcaBpf.ACT, [nla.nest(1, ())])),
        program(nla.nest(TcaBpf.ACT, [nla.nest(2, [nla.string(1, "nosuch")])])),
        program(nla.nest(TcaBpf.ACT, [nla.nest(1, [nla.string(1, "nosuch")])]), nla.u32(TcaBpf.FLAGS, 2)),
        program(nla.u32(TcaBpf.FLAGS, 2), ops=bytes(8)),
    ]
    for each in [*good, *bad]:
        yield bpf(t.v0, options=each, flags=ADDE)
        yield bpf(t.v0, options=each, flags=ADDE, prio=50)  # alone in its prio
        yield bpf(t.v0, options=each, flags=REPLACEE, handle=1)
        yield bpf(t.v0, options=each, flags=CHANGEE, handle=2)
    for rate in (b"", b"\0", b"\0\1", b"\0\0\0"):
        yield bpf(t.v0, flags=ADDE, attrs=[nla.binary(Tca.RATE, rate)])
    # skip_hw cannot be changed by a replace
    for old, new in ((0, 1), (1, 0), (1, 1), (0, 0)):
        yield bpf(t.v0, prio=60, handle=7, flags=ADDE, options=program(nla.u32(TcaBpf.FLAGS_GEN, old)))
        yield bpf(t.v0, prio=60, handle=7, flags=REPLACEE, options=program(nla.u32(TcaBpf.FLAGS_GEN, new)))
        yield bpf(t.v0, **{**DEL, "prio": 60})


def attributes(t: Twin) -> Requests:
    """Attributes that fail their policy, bytes left over, messages cut: in every type of request."""
    bad = [
        nla.binary(Tca.KIND, b""),
        nla.binary(Tca.CHAIN, b"\0\0\0"),
        nla.binary(Tca.RATE, b"\0\0\0"),
        nla.binary(Tca.STAB, b"\0"),
        nla.binary(Tca.DUMP_INVISIBLE, b"\0"),
        nla.binary(Tca.INGRESS_BLOCK, b"\0"),
        nla.binary(Tca.EGRESS_BLOCK, b"\0\0\0"),
        nla.binary(Tca.DUMP_FLAGS, b"\0"),
        nla.binary(Tca.DUMP_FLAGS, struct.pack("=II", 2, 2)),
        nla.binary(Tca.DUMP_FLAGS, struct.pack("=II", 1, 0)),
    ]
    yield bpf(t.v0)
    for attr in bad:
        for flags in (GET, DUMP, DUMP | nl.NLM_F_ACK):
            yield bpf(t.v0, **{**GETF, "flags": flags}, attrs=[nla.u32(99, 1), attr])
            yield qdisc(t.v0, **{**GETQ, "flags": flags}, attrs=[attr])
        yield bpf(t.v0, attrs=[attr], flags=ADDE)
        yield bpf(t.v0, **DEL, attrs=[attr])
        yield qdisc(t.v1, attrs=[attr])
        yield qdisc(t.v1, **DELQ, attrs=[attr])
    yield bpf(t.v0, **ALL, attrs=[nla.binary(Tca.DUMP_FLAGS, struct.pack("=II", 1, 1))])
    yield bpf(t.v0, **ALL, attrs=[nla.binary(Tca.DUMP_FLAGS, struct.pack("=II", 0, 1))])
    yield bpf(t.v1, **ALL, attrs=[nla.binary(Tca.DUMP_FLAGS, struct.pack("=II", 1, 1))])
    for whole in (
        bpf(t.v0, flags=ADDE, prio=9),
        bpf(t.v0, **{**GETF, "handle": 1}),
        bpf(t.v0, **ALL),
        bpf(t.v0, **{**DEL, "prio": 9}),
        qdisc(t.v1, flags=ADDE),
        qdisc(t.v1, flags=CHANGEE),
        qdisc(t.v1, **{**GETQ, "parent": CLSACT}),
        qdisc(0, **{**GETQ, "flags": DUMP, "parent": 0}),
        qdisc(t.v1, **{**DELQ, "parent": CLSACT}),
    ):
        for more in (b"\1", b"\1\2", b"\1\2\3", b"\3\0\1\0", b"\xff\xff\1\0", b"\4\0\x63\0"):
            yield Message(whole.type, whole.flags, 3, 0, whole.payload + more).encode()
        for cut in (1, 2, 4, len(whole.payload) - 20, len(whole.payload) - 19, len(whole.payload) - 1):
            yield Message(whole.type, whole.flags, 4, 0, whole.payload[:-cut]).encode()
        yield Message(whole.type, whole.flags, 5, 0).encode()


def chains(t: Twin) -> Requests:
    """Chains that a request makes, fills and deletes, and those that come and go with their filters."""
    new = {"type": Rtm.NEWCHAIN, "kind": None, "options": None, "prio": 0, "protocol": 0}
    for device, parent in (
        (t.v0, INGRESS),
        (t.v0, EGRESS),
        (t.v0, CLSACT),
        (t.v1, INGRESS),
        (t.v0, 0),
        (99, 0),
    ):
        for index in (0, 3, 7, 0x10000000):
            attrs = [nla.u32(Tca.CHAIN, index)]
            made = {**new, "parent": parent, "attrs": attrs}
            yield bpf(device, **{**made, "flags": CHANGEE})
            for flags in (ADDE, ADDE, REPLACEE):
                yield bpf(device, **{**made, "flags": flags})
            for type, flags in ((Rtm.GETCHAIN, GET), (Rtm.GETCHAIN, CHANGEE), (Rtm.GETCHAIN, DUMP)):
                yield bpf(device, **{**made, "type": type, "flags": flags})
            yield bpf(device, parent=parent, attrs=attrs, flags=ADDE)
            yield bpf(device, **{**DEL, "attrs": attrs, "parent": parent})
            yield bpf(device, **{**made, "type": Rtm.GETCHAIN, "flags": GET})
    for kind in ("bpf", "nosuch", "x" * 16, ""):
        yield bpf(t.v0, **{**new, "kind": kind, "attrs": [nla.u32(Tca.CHAIN, 50)], "flags": ADDE})
    yield bpf(t.v0, attrs=[nla.u32(Tca.CHAIN, 9)])
    yield bpf(t.v0, **{**new, "attrs": [nla.u32(Tca.CHAIN, 9)], "flags": ADDE})
    for index in (0, 3, 3, 9, 9, 77):
        yield bpf(t.v0, prio=2, attrs=[nla.u32(Tca.CHAIN, index)], flags=ADDE)
        yield bpf(t.v0, prio=4, attrs=[nla.u32(Tca.CHAIN, index)], flags=ADDE)
        yield bpf(
            t.v0,
            **{**new, "type": Rtm.DELCHAIN, "attrs": [nla.u32(Tca.CHAIN, index)], "flags": DELETE | ECHO},
        )
        yield bpf(
            t.v0,
            **{**new, "type": Rtm.DELCHAIN, "attrs": [nla.u32(Tca.CHAIN, index)], "flags": DELETE | ECHO},
        )
        yield bpf(t.v0, **{**new, "type": Rtm.GETCHAIN, "flags": DUMP})
    yield Message(Rtm.GETCHAIN, DUMP, 1, 0, bytes(8)).encode()
    yield Message(Rtm.GETCHAIN, GET, 1, 0, bytes(8)).encode()
    yield bpf(t.v0, **{**new, "type": Rtm.GETCHAIN, "flags": DUMP, "attrs": [nla.binary(Tca.CHAIN, b"?")]})


def framing(t: Twin) -> Requests:
    """Datagrams of several messages, of cut ones; types and flags that mean nothing here."""
    one, two = bpf(t.v0, prio=100, flags=ADDE).encode(), bpf(t.v0, prio=101, flags=ADDE).encode()
    yield one + two + b"xx"
    yield one + two[:-4]
    yield one + two
    for type in (0, 1, 2, 3, 4, 15, 39, 43, 47, 99, 103, 107, 123, 124, 125, 150, 200, 0xFFFF):
        yield Message(type, CHANGE, 1, 0, bytes(20)).encode()
        yield Message(type, CHANGE, 1, 0).encode()
        yield Message(type, nl.NLM_F_ACK, 1, 0, bytes(20)).encode()
    for type in (Rtm.NEWQDISC, Rtm.NEWTFILTER, Rtm.DELTFILTER, Rtm.DELQDISC, Rtm.GETQDISC, Rtm.GETTFILTER):
        yield Message(type, nl.NLM_F_ACK, 1, 0, bytes(20)).encode()
        yield Message(type, nl.NLM_F_REQUEST | nl.NLM_F_ACK, 1, 77, bytes(20)).encode()
        yield Message(type, nl.NLM_F_REQUEST | nl.NLM_F_ACK | nl.NLM_F_BULK, 1, 0, bytes(20)).encode()
        yield Message(type, nl.NLM_F_REQUEST, 1, 0, bytes(20)).encode()
    for flags in (nl.NLM_F_ROOT, nl.NLM_F_MATCH, nl.NLM_F_ATOMIC, nl.NLM_F_DUMP | nl.NLM_F_ATOMIC):
        yield bpf(t.v0, **{**ALL, "flags": nl.NLM_F_REQUEST | nl.NLM_F_ACK | flags})
    yield tc_message(Rtm.GETTFILTER, TcMsg(7, t.v0, 1, INGRESS, 100 << 16 | 0x0300), flags=GET, seq=1)
    yield tc_message(Rtm.GETTFILTER, TcMsg(255, t.v0, 1, INGRESS, 100 << 16 | 0x0300), flags=DUMP, seq=1)


def long_dumps(t: Twin) -> Requests:
    """Dumps of more than a datagram, and a filter too long to be dumped at all."""
    for prio, count in ((1, 400), (2, 3000), (3, 4000), (4, 4035)):
        yield bpf(t.v0, prio=prio, options=program(ops=RETURN_ALL * count))
        yield bpf(t.v0, **ALL)
    for _ in range(300):
        yield bpf(t.v0, prio=9)
    yield bpf(t.v0, **ALL)
    whole = bpf(t.v0, **ALL).encode()
    # One dump at a time, others go between.  (After a change there, ours says so and the kernel does not.)
    yield whole + whole + bpf(t.v0, **{**GETF, "prio": 9, "handle": 1}).encode()
    yield bpf(t.v0, **{**ALL, "parent": EGRESS}).encode() * 2
    yield bpf(t.v0, prio=8, flags=ADDE, options=program(ops=RETURN_ALL * 4096))
    yield bpf(t.v0, **ALL)
    yield bpf(t.v0, **{**GETF, "prio": 8, "handle": 1})


SCRIPTS = [
    qdisc_lifecycle,
    qdisc_options,
    shared_blocks,
    places,
    priorities,
    identities,
    options,
    attributes,
    chains,
    framing,
    long_dumps,
]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_replies_equal_the_kernels(script: Callable[[Twin], Requests]) -> None:
    with twin(clsact=script is not qdisc_lifecycle) as both:
        for request in script(both):
            both.ask(request)
        both.dump()
        assert len(both.asked) > 10


@pytest.mark.parametrize("script", [qdisc_lifecycle, shared_blocks, priorities, chains, framing])
def test_who_asks_hears_its_own_changes_before_the_acknowledgement(
    script: Callable[[Twin], Requests],
) -> None:
    with twin(clsact=script is not qdisc_lifecycle, asker_listens=True) as both:
        for request in script(both):
            both.ask(request)
        assert len(both.asked) > 10


@pytest.mark.parametrize(("ext_ack", "cap_ack"), [(False, False), (True, True), (False, True)])
def test_socket_options(ext_ack: bool, cap_ack: bool) -> None:
    with twin(ext_ack=ext_ack, cap_ack=cap_ack) as both:
        for request in (*attributes(both), *places(both)):
            both.ask(request)


def random_request(rng: random.Random, t: Twin) -> Message:
    """A request as someone might send it: names mostly of what there is, flags of all kinds."""
    device = rng.choice([t.v0, t.v0, t.v0, t.v1, t.v1, BLOCK, 999])
    parent = rng.choice([INGRESS, INGRESS, EGRESS, CLSACT, 0xFFFF0000, 0xFFFF0007, 0, 0x10000])
    if device == BLOCK:
        parent = rng.choice([5, 6, 7])
    flags = nl.NLM_F_REQUEST | rng.choice([0, nl.NLM_F_ACK]) | rng.choice([0, ECHO])
    kinds = ["bpf", "bpf", "bpf", None, "nosuch"]
    if rng.random() < 0.15:
        attrs = [nla.u32(attr, rng.choice([5, 6])) for attr in (13, 14) if rng.random() < 0.3]
        return qdisc(
            device,
            rng.choice(["clsact", "clsact", "ingress", None, "nosuch"]),
            type=rng.choice([Rtm.NEWQDISC, Rtm.NEWQDISC, Rtm.GETQDISC, Rtm.DELQDISC]),
            flags=flags | rng.choice([0, 0x400, 0x500, 0x600, 0x600, 0x100]) if rng.random() < 0.8 else DUMP,
            parent=rng.choice([CLSACT, CLSACT, CLSACT, INGRESS, ROOT, 0]),
            handle=rng.choice([0xFFFF0000, 0xFFFF0000, 0, 0x10000]),
            attrs=attrs,
        )
    attrs = [nla.u32(Tca.CHAIN, rng.choice([0, 1, 2, 0x10000000]))] if rng.random() < 0.3 else []
    what = {
        "parent": parent,
        "prio": rng.choice([0, 0, 1, 2, 3, 0x8000, 0x8001, 0xC000, 0xBFFF]),
        "protocol": rng.choice([3, 3, 3, 3, 0x0800, 0]),
        "handle": rng.choice([0, 0, 1, 2, 3, 0x80000000]),
        "attrs": attrs,
    }
    match rng.choice(["new", "new", "new", "new", "del", "get", "dump", "chain"]):
        case "new":
            more = [
                nla.u32(number, rng.choice(values))
                for number, values in (
                    (TcaBpf.CLASSID, [0, 0x10001, 0xFFFFFFFF]),
                    (TcaBpf.FLAGS, [0, 1, 1, 2]),
                    (TcaBpf.FLAGS_GEN, [0, 1, 1, 2, 3, 4]),
                    (TcaBpf.FD, [999]),
                )
                if rng.random() < (0.05 if number == TcaBpf.FD else 0.3)
            ]
            flags |= rng.choice([0, 0x400, 0x500, 0x600, 0x600, 0x100])
            ops = rng.choice([RETURN_ALL, RETURN_ALL * 3, RETURN_ALL, bytes(8)])
            return bpf(device, flags=flags, kind=rng.choice(kinds), options=program(*more, ops=ops), **what)
        case "del":
            if rng.random() < 0.1:
                what |= {"prio": 0, "protocol": 0, "handle": 0}
            kind = rng.choice(["bpf", None, None, "nosuch"])
            return bpf(device, type=Rtm.DELTFILTER, flags=flags, kind=kind, options=None, **what)
        case "get":
            return bpf(device, **{**GETF, "flags": flags, "kind": rng.choice(kinds)}, **what)
        case "chain":
            type = rng.choice([Rtm.NEWCHAIN, Rtm.DELCHAIN, Rtm.GETCHAIN])
            flags = rng.choice([flags, flags | nl.NLM_F_CREATE, DUMP if type == Rtm.GETCHAIN else flags])
            return bpf(device, type=type, flags=flags, kind=None, options=None, **what)
        case _:
            return bpf(device, **{**ALL, **what, "prio": rng.choice([0, 0, what["prio"]])})


@pytest.mark.parametrize("seed", range(3))
def test_random_sequences(seed: int) -> None:
    """Whatever was asked before, the next reply is the kernel's, and so is everything there is."""
    rng = random.Random(seed)
    with twin() as both:
        for n in range(1500):
            both.ask(random_request(rng, both))
            if n % 100 == 99:
                both.dump()
        both.dump()


def names_actions(payload: bytes) -> bool:
    """Has it attributes of actions?  The kernel here lacks nearly all kinds (see test_actions_twin)."""
    options = [attr for attr in nla.iter_attrs(payload[20:]) if attr.type == Tca.OPTIONS]
    return any(attr.type in (TcaBpf.ACT, TcaBpf.POLICE) for nest in options for attr in nest.attrs())


@pytest.mark.parametrize("seed", range(2))
def test_mutated_requests(seed: int) -> None:
    """A filter request with some bytes changed is taken or refused as by the kernel."""
    rng = random.Random(seed)
    with twin() as both:
        for n in range(1500):
            whole = bpf(
                both.v0,
                type=rng.choice([Rtm.NEWTFILTER, Rtm.NEWTFILTER, Rtm.DELTFILTER, Rtm.GETTFILTER]),
                flags=rng.choice([ADD, REPLACE, CHANGE]) | ECHO,
                prio=rng.randrange(1, 4),
                handle=rng.randrange(3),
                attrs=[nla.u32(Tca.CHAIN, 0), nla.binary(Tca.RATE, b"\0\1")],
                options=program(nla.u32(TcaBpf.CLASSID, 1), nla.string(TcaBpf.NAME, "name")),
            )
            payload = bytearray(whole.payload)
            for _ in range(rng.choice([0, 1, 1, 2, 3])):
                byte = rng.choice([0, 1, 2, 4, 5, 8, 0xFF, rng.randrange(256)])
                payload[rng.randrange(20, len(payload))] = byte
            if not names_actions(bytes(payload)):
                both.ask(Message(whole.type, whole.flags, n, 0, bytes(payload)))
        both.dump()
