"""Every refusal: its errno, its words, and that nothing has changed."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from clsbpf.endpoint import Endpoint
from clsbpf.engine.devices import Network
from clsbpf.netlink import attr as nla
from clsbpf.netlink import message as nl
from clsbpf.netlink.message import Message
from clsbpf.netlink.schema import Rtm, Tca, TcaBpf
from engine_state import state
from tc_messages import (
    ADD,
    BLOCK,
    CHANGE,
    CLSACT,
    DEL,
    DELQ,
    EGRESS,
    GETF,
    INGRESS,
    REPLACE,
    ROOT,
    bpf,
    program,
    qdisc,
    readable,
)

LAB0, LAB1, LAB2 = 2, 3, 4


def lab() -> Endpoint:
    """lab0: clsact with filters in two chains; lab1: ingress on the shared block 22; lab2: nothing."""
    network = Network()
    for name in ("lab0", "lab1", "lab2"):
        network.add_device(name)
    endpoint = Endpoint(network)
    for request in (
        qdisc(LAB0),
        qdisc(LAB1, "ingress", attrs=[nla.u32(Tca.INGRESS_BLOCK, 22)]),
        bpf(LAB0),
        bpf(LAB0),
        bpf(LAB0, prio=2, protocol=0x0800),
        bpf(LAB0, prio=0x8000),
        bpf(LAB0, parent=EGRESS, attrs=[nla.u32(Tca.CHAIN, 7)]),
        bpf(BLOCK, parent=22, options=program(nla.u32(TcaBpf.FLAGS_GEN, 1))),
    ):
        (reply,) = endpoint.handle(request.encode())
        assert readable(reply)[0][1].errno == 0
    return endpoint


def options(*more: nla.Attr, **how: Any) -> Message:
    return bpf(LAB0, options=program(*more, **how))


NO_WORDS = None
CHAIN = {"attrs": [nla.u32(Tca.CHAIN, 9)]}
EINVAL, ENOENT, EEXIST, EOPNOTSUPP = errno.EINVAL, errno.ENOENT, errno.EEXIST, errno.EOPNOTSUPP
MUST_CREATE = "Need both RTM_NEWTFILTER and NLM_F_CREATE to create a new filter"
NO_PRIO = "Invalid filter command with priority of zero"
MISMATCH = "Protocol mismatch for filter with specified priority"
OTHER_KIND = "Specified filter kind does not match existing one"
NO_QDISC = "Parent Qdisc doesn't exists"
BAD_ATTR = "Attribute failed policy validation"
OTHER_QDISC = "Invalid qdisc name: must match existing qdisc"

REFUSALS: dict[str, tuple[Message, int, str | None]] = {
    # where
    "no device": (bpf(99), errno.ENODEV, NO_WORDS),
    "no parent": (bpf(LAB0, parent=0), EINVAL, "Qdisc not classful"),
    "no qdisc": (bpf(LAB2), EINVAL, NO_QDISC),
    "another's qdisc": (bpf(LAB0, parent=0x10000), EINVAL, NO_QDISC),
    "no class": (bpf(LAB0, parent=CLSACT), ENOENT, "Specified class doesn't exist"),
    "no side": (bpf(LAB0, parent=0xFFFF0000), EINVAL, NO_WORDS),
    "shared": (
        bpf(LAB1),
        EOPNOTSUPP,
        "This filter block is shared. Please use the block index to manipulate the filters",
    ),
    "no block": (bpf(BLOCK, parent=5), EINVAL, "Block of given index was not found"),
    "chain number": (
        bpf(LAB0, attrs=[nla.u32(Tca.CHAIN, 0x10000000)]),
        EINVAL,
        "Specified chain index exceeds upper limit",
    ),
    # what
    "exists": (bpf(LAB0, handle=1), EEXIST, "Filter already exists"),
    "prio 0, no create": (bpf(LAB0, prio=0, flags=CHANGE), ENOENT, NO_PRIO),
    "prios used up": (bpf(LAB0, prio=0), errno.ENOSPC, "Lowest ID from auto-alloc range already in use"),
    "protocol": (bpf(LAB0, protocol=0x86DD), EINVAL, MISMATCH),
    "no kind": (bpf(LAB0, prio=9, kind=None), EINVAL, "Filter kind and protocol must be specified"),
    "no protocol": (bpf(LAB0, prio=9, protocol=0), EINVAL, "Filter kind and protocol must be specified"),
    "change nothing": (bpf(LAB0, prio=9, flags=CHANGE), ENOENT, MUST_CREATE),
    "change no handle": (bpf(LAB0, flags=CHANGE), ENOENT, MUST_CREATE),
    "kind": (bpf(LAB0, kind="flower"), EINVAL, OTHER_KIND),
    "unknown kind": (bpf(LAB0, prio=9, kind="flower"), ENOENT, "TC classifier not found"),
    "long kind": (bpf(LAB0, kind="x" * 16), EINVAL, "Specified TC filter name too long"),
    # with what
    "no options": (bpf(LAB0, prio=9, options=None), EINVAL, NO_WORDS),
    "no program": (bpf(LAB0, prio=9, options=[]), EINVAL, NO_WORDS),
    "both programs": (options(nla.u32(TcaBpf.FD, 3)), EINVAL, NO_WORDS),
    "no such fd": (bpf(LAB0, options=[nla.u32(TcaBpf.FD, 3)]), errno.EBADF, NO_WORDS),
    "no instructions": (options(count=0, ops=b""), EINVAL, NO_WORDS),
    "count": (options(count=2), EINVAL, NO_WORDS),
    "too many": (options(ops=bytes(8 * 4097)), errno.ERANGE, NO_WORDS),
    "bad program": (options(ops=bytes(8)), EINVAL, NO_WORDS),
    "bad program, alone": (bpf(LAB0, prio=9, options=program(ops=bytes(8))), EINVAL, NO_WORDS),
    "bad program, new chain": (bpf(LAB0, options=program(ops=bytes(8)), **CHAIN), EINVAL, NO_WORDS),
    "bad replacement": (
        bpf(LAB0, flags=REPLACE, handle=1, options=program(ops=bytes(8))),
        EINVAL,
        NO_WORDS,
    ),
    "flags": (options(nla.u32(TcaBpf.FLAGS, 2)), EINVAL, NO_WORDS),
    "flags_gen": (options(nla.u32(TcaBpf.FLAGS_GEN, 4)), EINVAL, NO_WORDS),
    "skip both": (options(nla.u32(TcaBpf.FLAGS_GEN, 3)), EINVAL, NO_WORDS),
    "skip_sw": (options(nla.u32(TcaBpf.FLAGS_GEN, 2)), EOPNOTSUPP, NO_WORDS),
    "skip_hw changed": (bpf(BLOCK, parent=22, flags=REPLACE, handle=1), EINVAL, NO_WORDS),
    "short classid": (options(nla.binary(TcaBpf.CLASSID, b"\1")), errno.ERANGE, NO_WORDS),
    "long name": (options(nla.string(TcaBpf.NAME, "x" * 257)), EINVAL, NO_WORDS),
    "action": (
        options(nla.nest(TcaBpf.ACT, [nla.nest(1, [nla.string(1, "nosuchkind")])])),
        ENOENT,
        "Failed to load TC action module",
    ),
    "action without kind": (
        options(nla.nest(TcaBpf.ACT, [nla.nest(1, [])])),
        EINVAL,
        "TC action kind must be specified",
    ),
    "police": (options(nla.nest(TcaBpf.POLICE, [])), EINVAL, None),
    # delete, get
    "delete no prio": (
        bpf(LAB0, **{**DEL, "prio": 9}),
        ENOENT,
        "Filter with specified priority/protocol not found",
    ),
    "delete no handle": (bpf(LAB0, **{**DEL, "handle": 9}), ENOENT, "Specified filter handle not found"),
    "delete no chain": (bpf(LAB0, **DEL, **CHAIN), ENOENT, "Cannot find specified filter chain"),
    "delete protocol": (bpf(LAB0, **{**DEL, "protocol": 0x0800}), EINVAL, MISMATCH),
    "delete kind": (bpf(LAB0, **{**DEL, "kind": "u32"}), EINVAL, OTHER_KIND),
    "flush one": (
        bpf(LAB0, **{**DEL, "prio": 0}),
        ENOENT,
        "Cannot flush filters with protocol, handle or kind set",
    ),
    "delete in bulk": (
        bpf(LAB0, **{**DEL, "flags": CHANGE | nl.NLM_F_BULK}),
        EOPNOTSUPP,
        "Bulk delete is not supported",
    ),
    "get prio 0": (bpf(LAB0, **{**GETF, "prio": 0}), ENOENT, NO_PRIO),
    "get no chain": (bpf(LAB0, **GETF, **CHAIN), EINVAL, "Cannot find specified filter chain"),
    "get no handle": (bpf(LAB0, **{**GETF, "handle": 9}), ENOENT, "Specified filter handle not found"),
    # chains
    "chain exists": (
        bpf(LAB0, type=Rtm.NEWCHAIN, kind=None, options=None),
        EEXIST,
        "Filter chain already exists",
    ),
    "chain template": (
        bpf(LAB0, type=Rtm.NEWCHAIN, options=None, **CHAIN),
        EOPNOTSUPP,
        "Chain templates are not supported with specified classifier",
    ),
    "chain not made": (
        bpf(LAB0, type=Rtm.NEWCHAIN, flags=CHANGE, kind=None, options=None, **CHAIN),
        ENOENT,
        "Need both RTM_NEWCHAIN and NLM_F_CREATE to create a new chain",
    ),
    # qdiscs
    "qdisc exists": (qdisc(LAB0), EEXIST, "Exclusivity flag on, cannot modify"),
    "qdisc of another kind": (qdisc(LAB0, "ingress", flags=REPLACE), EINVAL, OTHER_QDISC),
    "qdisc unknown": (qdisc(LAB2, "nosuch"), ENOENT, "Specified qdisc kind is unknown"),
    "qdisc of another place": (
        qdisc(LAB2, "htb"),
        EINVAL,
        "Specified parent ID is reserved for ingress and clsact Qdiscs",
    ),
    "qdisc at root": (qdisc(LAB2, parent=ROOT), EOPNOTSUPP, NO_WORDS),
    "qdisc change nothing": (
        qdisc(LAB2, flags=CHANGE),
        ENOENT,
        "Qdisc not found. To create specify NLM_F_CREATE flag",
    ),
    "qdisc options": (
        qdisc(LAB0, flags=REPLACE, attrs=[nla.nest(Tca.OPTIONS, ())]),
        EINVAL,
        "Change operation not supported by specified qdisc",
    ),
    "qdisc under clsact": (
        qdisc(LAB0, parent=INGRESS, handle=0),
        EOPNOTSUPP,
        "Cannot add children to ingress/clsact qdisc",
    ),
    "block 0": (
        qdisc(LAB2, attrs=[nla.u32(Tca.INGRESS_BLOCK, 0)]),
        EINVAL,
        "Ingress block index cannot be 0",
    ),
    "block twice": (
        qdisc(LAB2, attrs=[nla.u32(Tca.INGRESS_BLOCK, 22), nla.u32(Tca.EGRESS_BLOCK, 22)]),
        errno.EBUSY,
        "block dev insert failed",
    ),
    "egress block of ingress": (
        qdisc(LAB2, "ingress", attrs=[nla.u32(Tca.EGRESS_BLOCK, 22)]),
        EOPNOTSUPP,
        "Egress block sharing is not supported",
    ),
    "block of what it replaces": (
        qdisc(LAB1, "clsact", flags=REPLACE, handle=0, attrs=[nla.u32(Tca.EGRESS_BLOCK, 22)]),
        errno.EBUSY,
        "block dev insert failed",
    ),
    "estimator": (
        qdisc(LAB2, attrs=[nla.binary(Tca.RATE, b"\0\0")]),
        EINVAL,
        "Failed to generate new estimator",
    ),
    "size table": (
        qdisc(LAB2, attrs=[nla.nest(Tca.STAB, ())]),
        EINVAL,
        "Size table base attribute is missing",
    ),
    "delete no qdisc": (
        qdisc(LAB2, **{**DELQ, "parent": CLSACT}),
        ENOENT,
        "Cannot find specified qdisc on specified device",
    ),
    "delete root": (
        qdisc(LAB0, **{**DELQ, "parent": ROOT}),
        ENOENT,
        "Cannot delete qdisc with handle of zero",
    ),
    "delete parentless": (
        qdisc(LAB0, **{**DELQ, "parent": 0, "handle": 0xFFFF0000}),
        EINVAL,
        "Classid cannot be zero",
    ),
    "delete kind of qdisc": (
        qdisc(LAB0, **{**DELQ, "parent": CLSACT, "kind": "ingress"}),
        EINVAL,
        OTHER_QDISC,
    ),
    # messages
    "attribute": (bpf(LAB0, attrs=[nla.binary(Tca.CHAIN, b"\1")]), errno.ERANGE, BAD_ATTR),
    "cut": (Message(Rtm.NEWTFILTER, ADD, payload=bytes(19)), EINVAL, "Invalid header length"),
    "type": (Message(200, ADD, payload=bytes(20)), EOPNOTSUPP, NO_WORDS),
    "type of another": (Message(24, ADD, payload=bytes(20)), EOPNOTSUPP, NO_WORDS),
}


@pytest.mark.parametrize(("request_", "code", "words"), REFUSALS.values(), ids=REFUSALS)
def test_refused_and_nothing_changed(request_: Message, code: int, words: str | None) -> None:
    endpoint = lab()
    before = state(endpoint.network)
    (reply,) = endpoint.handle(request_.encode())
    ((_, ack),) = readable(reply)
    assert (ack.errno, ack.extack.message) == (code, words)
    assert state(endpoint.network) == before
    assert endpoint.cause is not None
    assert endpoint.cause.errno == code


CAUSES = {
    "bad program": "instruction 0",
    "count": "2 instructions do not take 8 bytes",
    "skip_sw": "no device here offloads",
    "both programs": "and not both",
}


@pytest.mark.parametrize("name", CAUSES)
def test_where_the_kernel_is_wordless_the_cause_is_not(name: str) -> None:
    endpoint = lab()
    endpoint.handle(REFUSALS[name][0].encode())
    assert CAUSES[name] in str(endpoint.cause)


def test_an_attribute_at_fault_is_named_by_offset_and_policy() -> None:
    request, _, _ = REFUSALS["attribute"]
    (reply,) = lab().handle(request.encode())
    ((_, ack),) = readable(reply)
    assert ack.extack.offset == 36 + 8, "after the kind"
    assert [attr.u32 for attr in ack.extack.policy if attr.type == 1] == [4], "NLA_U32"
