"""What an endpoint of 4.13 does otherwise: attributes and requests not there yet, errors without words.

Read off Linux 4.13: net/sched/cls_api.c, act_api.c, sch_api.c and include/uapi/linux/rtnetlink.h.
"""

from __future__ import annotations

import errno

import pytest

from action_messages import dump, gact, listed, request
from clsbpf.endpoint import Endpoint
from clsbpf.engine.devices import Network
from clsbpf.netlink import attr as nla
from clsbpf.netlink.act import TcaAct, TcaRoot
from clsbpf.netlink.attr import Attr
from clsbpf.netlink.message import Message, iter_messages, read_acknowledgement
from clsbpf.netlink.schema import Rtm, Tca, TcaBpf, TcaStats
from clsbpf.profile import CURRENT, V4_13, KernelProfile
from tc_messages import ADD, ALL, BLOCK, DEL, DUMP, ECHO, GETF, bpf, program, qdisc

LAB0 = 2


def lab(profile: KernelProfile = V4_13) -> Endpoint:
    network = Network(profile=profile)
    network.add_device("lab0")
    endpoint = Endpoint(network)
    assert errno_of(endpoint, qdisc(LAB0)) == 0
    return endpoint


def answer(endpoint: Endpoint, message: Message) -> list[Message]:
    return [each for datagram in endpoint.handle(message.encode()) for each in iter_messages(datagram)]


def errno_of(endpoint: Endpoint, message: Message) -> int:
    return read_acknowledgement(answer(endpoint, message)[-1]).errno


# A request that finds nothing: its errno under 4.13 and now.
MISSES: dict[str, tuple[Message, int, int]] = {
    "get, no such prio, kind and protocol": (
        bpf(LAB0, **{**GETF, "kind": "bpf"}),
        errno.ENOENT,
        errno.ENOENT,
    ),
    "get, no such prio, no kind": (bpf(LAB0, **GETF), errno.EINVAL, errno.ENOENT),
    "delete, no such prio, no kind": (bpf(LAB0, **DEL), errno.EINVAL, errno.ENOENT),
    "delete, no such prio, no protocol": (
        bpf(LAB0, **{**DEL, "kind": "bpf", "protocol": 0}),
        errno.EINVAL,
        errno.ENOENT,
    ),
    "delete in a chain that is not there": (
        bpf(LAB0, **{**DEL, "kind": "bpf", "attrs": [nla.u32(Tca.CHAIN, 7)]}),
        errno.EINVAL,
        errno.ENOENT,
    ),
    "flush a chain that is not there": (
        bpf(LAB0, **{**DEL, "prio": 0, "protocol": 0, "attrs": [nla.u32(Tca.CHAIN, 7)]}),
        errno.EINVAL,
        0,
    ),
    "a shared block": (bpf(BLOCK, parent=5), errno.ENODEV, errno.EINVAL),
    "a new chain": (
        bpf(LAB0, type=Rtm.NEWCHAIN, kind=None, options=None, attrs=[nla.u32(Tca.CHAIN, 7)]),
        errno.EOPNOTSUPP,
        0,
    ),
    "the chains": (
        bpf(LAB0, type=Rtm.GETCHAIN, flags=DUMP, prio=0, protocol=0, kind=None, options=None),
        errno.EOPNOTSUPP,
        0,
    ),
}


@pytest.mark.parametrize("name", MISSES)
def test_what_is_not_there(name: str) -> None:
    message, then, now = MISSES[name]
    found = []
    for profile in (V4_13, CURRENT):
        endpoint = lab(profile)
        assert errno_of(endpoint, bpf(LAB0, prio=5)) == 0
        found.append(errno_of(endpoint, message))
    assert found == [then, now]


def test_errors_have_no_words_but_the_cause_is_known() -> None:
    endpoint = lab()
    (refused,) = answer(endpoint, qdisc(LAB0))
    said = read_acknowledgement(refused)
    assert (said.errno, said.extack.message, said.extack.offset) == (errno.EEXIST, None, None)
    assert str(endpoint.cause) == "Exclusivity flag on, cannot modify"
    (refused,) = answer(endpoint, bpf(LAB0, attrs=[nla.binary(Tca.CHAIN, b"?")]))
    said = read_acknowledgement(refused)
    assert (said.extack.message, said.extack.offset, said.extack.policy) == (None, 44, None)


def test_blocks_are_each_qdiscs_own_whatever_is_asked() -> None:
    endpoint = lab()
    endpoint.handle(qdisc(LAB0, type=Rtm.DELQDISC, flags=5).encode())
    assert errno_of(endpoint, qdisc(LAB0, attrs=[nla.u32(Tca.INGRESS_BLOCK, 5)])) == 0
    assert endpoint.network.shared_block(5) is None
    assert errno_of(endpoint, bpf(LAB0)) == 0


def numbers(attrs: list[Attr]) -> set[int]:
    return {attr.type for attr in attrs}


@pytest.mark.parametrize(("profile", "last"), [(V4_13, Tca.CHAIN), (CURRENT, Tca.HW_OFFLOAD)])
def test_what_a_qdisc_tells(profile: KernelProfile, last: Tca) -> None:
    told = answer(lab(profile), qdisc(0, type=Rtm.GETQDISC, flags=DUMP, parent=0, handle=0, kind=None))
    tca = set.union(*(numbers(list(nla.iter_attrs(each.payload[20:]))) for each in told[:-1]))
    assert max(tca) <= last
    assert (Tca.HW_OFFLOAD in tca) == (last == Tca.HW_OFFLOAD)


@pytest.mark.parametrize(
    ("profile", "act", "stats"),
    [
        (V4_13, {TcaAct.KIND, TcaAct.STATS, TcaAct.COOKIE, TcaAct.OPTIONS}, {TcaStats.BASIC, TcaStats.QUEUE}),
        (
            CURRENT,
            {
                *(TcaAct.KIND, TcaAct.STATS, TcaAct.COOKIE, TcaAct.OPTIONS),
                TcaAct.IN_HW_COUNT,
                TcaAct.HW_STATS,
            },
            {TcaStats.BASIC, TcaStats.QUEUE, TcaStats.BASIC_HW},
        ),
    ],
)
def test_what_an_action_tells(profile: KernelProfile, act: set[int], stats: set[int]) -> None:
    endpoint = lab(profile)
    more = [nla.binary(TcaAct.COOKIE, b"c"), nla.binary(TcaAct.HW_STATS, b"\1\0\0\0\3\0\0\0")]
    options = program(nla.nest(TcaBpf.ACT, listed([gact(more=more)])))
    told = answer(endpoint, bpf(LAB0, options=options, flags=ADD | ECHO))[0]
    (nest,) = (attr for attr in nla.iter_attrs(told.payload[20:]) if attr.type == Tca.OPTIONS)
    (actions,) = (attr for attr in nest.attrs() if attr.type == TcaBpf.ACT)
    attrs = actions.attrs()[0].attrs()
    assert numbers(attrs) == act
    assert numbers(next(attr for attr in attrs if attr.type == TcaAct.STATS).attrs()) == stats


@pytest.mark.parametrize(
    ("profile", "root"), [(V4_13, {TcaRoot.TAB}), (CURRENT, {TcaRoot.TAB, TcaRoot.COUNT})]
)
def test_large_dumps_came_later(profile: KernelProfile, root: set[int]) -> None:
    endpoint = lab(profile)
    for _ in range(40):
        assert errno_of(endpoint, request(Rtm.NEWACTION, gact())) == 0
    told = answer(endpoint, dump("gact", flags=1))[:-1]
    assert len(told) > 1
    assert all(numbers(list(nla.iter_attrs(each.payload[4:]))) == root for each in told)


def test_everything_else_is_as_ever() -> None:
    endpoint = lab()
    assert errno_of(endpoint, bpf(LAB0)) == 0
    (header, each, _) = answer(endpoint, bpf(LAB0, **ALL))
    assert header.type == each.type == Rtm.NEWTFILTER
    assert errno_of(endpoint, bpf(LAB0, **{**DEL, "handle": 1, "flags": 5})) == 0
