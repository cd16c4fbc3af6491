"""Actions at the endpoint against the kernel: the same bytes, the same replies, times aside.

The only kind that the kernel here has is mirred, which is enough for everything that kinds share: lists,
indexes, references and bindings, cookies, flags, dumps, refusals.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterable, Iterator

import pytest

import netlink_twin
from action_messages import (
    ADD,
    ASK,
    DUMP,
    ECHO,
    FLUSH,
    REPLACE,
    action,
    dump,
    listed,
    mirred,
    named,
    request,
    timeless,
)
from clsbpf.netlink import act as wire
from clsbpf.netlink import attr as nla
from clsbpf.netlink.act import TcaAct, TcaMirred, TcaRoot
from clsbpf.netlink.attr import Attr
from clsbpf.netlink.message import Message
from clsbpf.netlink.schema import Rtm, Tca, TcaBpf
from netlink_twin import Twin, twin
from tc_messages import ADD as ADD_FILTER
from tc_messages import ALL, BLOCK, CLSACT, DELETE, DELQ, GETF, bpf, program, qdisc
from tc_messages import DEL as DEL_FILTER

NEW, DEL, GET = Rtm.NEWACTION, Rtm.DELACTION, Rtm.GETACTION
GOTO3 = 0x20000003
PAUSE = object()
"""The kernel lets go of a filter's actions a moment after the filter."""

Requests = Iterable[Message | object]


@contextlib.contextmanager
def timeless_twin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Twin]:
    """A twin whose two ends forget the times of actions."""
    comparable = netlink_twin.comparable
    monkeypatch.setattr(netlink_twin, "comparable", lambda datagram: timeless(comparable(datagram)))
    with twin() as both:
        handle = both.ours.handle
        monkeypatch.setattr(both.ours, "handle", lambda *args: [timeless(d) for d in handle(*args)])
        yield both


def filter_with(t: Twin, *actions: Iterable[Attr], prio: int = 1, flags: int = ADD_FILTER) -> Message:
    """A filter on v0 with actions."""
    options = program(nla.nest(TcaBpf.ACT, listed(actions)))
    return bpf(t.v0, options=options, prio=prio, flags=flags)


def bits(number: int, value: int, selector: int | None = None) -> Attr:
    return nla.binary(number, wire.BITFIELD32.pack(value, value if selector is None else selector))


def lifecycle(t: Twin) -> Requests:
    """Made, asked for, listed, replaced, deleted, flushed."""
    w = t.v1
    yield request(NEW, mirred(w))
    yield request(NEW, mirred(w, index=7), flags=ADD | ECHO)
    yield from (dump("mirred", flags=flags) for flags in (1, 0, 3, 2))
    yield dump("gact")
    yield dump("nosuch")
    yield request(GET, named("mirred", 7), flags=ASK)
    yield request(GET, named("mirred", 8), flags=ASK)
    yield request(GET, named("mirred"), flags=ASK)
    yield request(GET, named("nosuch", 1), flags=ASK)
    yield request(GET, named("mirred", 7), named("mirred", 1), named("mirred", 7), flags=ASK)
    yield request(NEW, mirred(w, index=7))
    yield request(NEW, mirred(w, index=7, control=4, eaction=1), flags=REPLACE | ECHO)
    yield request(NEW, mirred(0, index=7, control=2, eaction=3), flags=REPLACE | ECHO)
    yield request(NEW, mirred(0, block=5, index=9), flags=ADD | ECHO)
    yield request(NEW, mirred(w), mirred(w, index=20), flags=ADD | ECHO)
    yield request(DEL, named("mirred", 1), flags=ASK | ECHO)
    yield request(DEL, named("mirred", 9), named("mirred", 9), flags=ASK | ECHO)
    yield request(DEL, named("mirred", 20), named("mirred", 99), flags=ASK | ECHO)
    yield request(NEW, mirred(w), mirred(w))
    yield dump("mirred")
    yield request(DEL, named("mirred"), flags=FLUSH | ECHO)
    yield request(DEL, named("mirred"), flags=FLUSH | ECHO)
    yield dump("mirred")


def refusals(t: Twin) -> Requests:
    """What is malformed, unknown or out of range."""
    w = t.v1
    yield request(NEW, mirred(0))
    yield request(NEW, mirred(77))
    yield from (request(NEW, mirred(w, eaction=eaction)) for eaction in (0, 5, -1))
    yield request(NEW, mirred(w, block=5))
    yield request(NEW, mirred(0, block=0))
    controls = (9, 10, -1, -2, -100, 0x10000001, 0x20000001, 0x30000000, 0x7FFFFFFF, -(2**31), 0x0FFFFFFF)
    yield from (request(NEW, mirred(w, control=control)) for control in controls)
    yield request(NEW, [nla.string(1, "mirred")])
    yield request(NEW, action("mirred", []))
    yield request(NEW, [nla.nest(2, [])])
    yield request(NEW, [nla.string(1, "mirred"), nla.nest(2, [nla.binary(TcaMirred.PARMS, bytes(20))])])
    yield request(NEW, [nla.string(1, "mirred"), nla.binary(2, b"abc")])
    yield from (request(NEW, [nla.string(1, "m" * size)]) for size in (15, 16))
    yield request(NEW, [nla.binary(1, b"")])
    yield request(NEW, [nla.binary(1, b"mirred\0x")])
    yield request(NEW)
    yield request(NEW, tab=False)
    yield request(NEW, *[mirred(w)] * 33)
    yield request(NEW, mirred(w), action("nosuch", []))
    yield request(NEW, mirred(w, index=5), mirred(w, index=5))
    yield request(NEW, mirred(w, more=[nla.binary(TcaAct.COOKIE, bytes(17))]))
    yield request(NEW, mirred(w, more=[nla.binary(TcaAct.INDEX, b"a")]))
    yield request(DEL, named("nosuch"), flags=FLUSH)
    yield request(DEL, flags=FLUSH)
    yield request(DEL, tab=False, flags=FLUSH)
    yield request(GET, flags=DUMP)
    yield request(GET, named("mirred"), flags=DUMP, more=[bits(TcaRoot.FLAGS, 4)])
    yield Message(NEW, ADD, 3, 0, b"\0\0")
    yield Message(GET, DUMP, 3, 0, b"\0\0")
    yield request(NEW, mirred(w))
    yield dump("mirred")


def settings(t: Twin) -> Requests:
    """Cookies, offload flags, hardware counters."""
    w = t.v1
    every = [nla.binary(TcaAct.COOKIE, b"abc"), bits(TcaAct.HW_STATS, 1), bits(TcaAct.FLAGS, 1)]
    yield request(NEW, mirred(w, more=every), flags=ADD | ECHO)
    yield from (
        request(NEW, mirred(w, more=[bits(TcaAct.FLAGS, flags)]), flags=ADD | ECHO)
        for flags in (0, 2, 4, 6, 8)
    )
    pairs = ((0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (1, 0), (0, 3))
    yield from (
        request(NEW, mirred(w, more=[bits(TcaAct.HW_STATS, *pair)]), flags=ADD | ECHO) for pair in pairs
    )
    yield request(NEW, mirred(w, index=1), flags=REPLACE | ECHO)
    yield request(NEW, mirred(w, index=1, more=every[:1]), flags=REPLACE | ECHO)
    yield dump("mirred")
    yield request(NEW, mirred(w, index=1), flags=REPLACE | ECHO)


def filters(t: Twin) -> Requests:
    """Actions that filters make, bind to and let go."""
    w = t.v1
    yield request(NEW, mirred(w, index=7))
    yield filter_with(t, mirred(w))
    yield filter_with(t, mirred(w, index=7), prio=2)
    yield filter_with(t, mirred(w, index=300, control=GOTO3), prio=3, flags=ADD_FILTER | ECHO)
    yield bpf(t.v0, **ALL)
    yield filter_with(t, mirred(w, control=2, index=300, more=[nla.binary(TcaAct.COOKIE, b"zz")]), prio=4)
    yield bpf(t.v0, **ALL)
    yield filter_with(t, mirred(w), mirred(w, eaction=9), prio=5)
    yield filter_with(t, mirred(w), action("nosuch", []), prio=5)
    yield filter_with(t, prio=6)
    yield filter_with(t, mirred(w, index=400), mirred(w, index=401), prio=7)
    yield from (filter_with(t, mirred(w, more=[bits(TcaAct.FLAGS, f)]), prio=8) for f in (2, 4))
    yield bpf(t.v0, options=program(nla.nest(TcaBpf.ACT, [nla.nest(2, mirred(w))])), prio=9)
    yield bpf(t.v0, options=program(nla.binary(TcaBpf.ACT, b"abc")), prio=10)
    yield bpf(t.v0, options=program(nla.nest(TcaBpf.ACT, [nla.binary(1, b"abc")])), prio=11)
    yield filter_with(t, mirred(0, block=0), prio=12)
    rated = program(nla.nest(TcaBpf.ACT, listed([mirred(w)])))
    for rate in (b"\0\2", b"\4\2", b"\4", b"\0\0"):
        yield bpf(t.v0, options=rated, prio=14, attrs=[nla.binary(Tca.RATE, rate)])
    yield filter_with(t, *[mirred(w)] * 33, prio=15)
    yield filter_with(t, *[mirred(w)] * 32, prio=15)
    yield bpf(t.v0, **{**ALL, "type": Rtm.GETCHAIN})
    yield request(DEL, named("mirred", 7), flags=ASK | ECHO)
    yield request(DEL, named("mirred", 300), flags=ASK | ECHO)
    yield dump("mirred")
    yield request(DEL, named("mirred"), flags=FLUSH | ECHO)
    yield dump("mirred")
    yield bpf(t.v0, **ALL)
    yield bpf(t.v0, type=Rtm.DELTFILTER, flags=DELETE, prio=0, protocol=0, kind=None, options=None)
    yield PAUSE
    yield dump("mirred")
    yield request(DEL, named("mirred"), flags=FLUSH | ECHO)
    yield dump("mirred")


def many(t: Twin) -> Requests:
    """More actions than fit a message, and than a message may have without LARGE_DUMP."""
    for _ in range(7):
        yield request(NEW, *[mirred(t.v1)] * 32)
    yield from (dump("mirred", flags=flags) for flags in (1, 0, 3, 2))


def chains_of_actions(t: Twin) -> Requests:
    """Chains that only actions lead to: not shown, told when somebody else holds them for a moment."""
    blocks = [nla.u32(Tca.INGRESS_BLOCK, 5)]
    yield qdisc(t.v0, **{**DELQ, "parent": CLSACT})
    yield qdisc(t.v0, attrs=blocks)
    to_chain0 = program(nla.nest(TcaBpf.ACT, listed([mirred(t.v1, control=0x20000000)])))
    yield bpf(BLOCK, parent=5, options=to_chain0, attrs=[nla.u32(Tca.CHAIN, 2)])
    yield qdisc(t.v1, attrs=blocks)
    for asked in (
        {**GETF, "handle": 1},
        {**DEL_FILTER, "handle": 1},
        {**DEL_FILTER, "prio": 0, "protocol": 0},
    ):
        yield bpf(BLOCK, parent=5, **asked)
    for type in (Rtm.GETCHAIN, Rtm.DELCHAIN, Rtm.NEWCHAIN, Rtm.NEWCHAIN, Rtm.DELCHAIN):
        yield bpf(BLOCK, parent=5, type=type, flags=ADD_FILTER, kind=None, options=None, prio=0, protocol=0)
    yield bpf(BLOCK, parent=5, **{**ALL, "type": Rtm.GETCHAIN})
    yield bpf(BLOCK, parent=5, prio=9)
    yield bpf(BLOCK, parent=5, **{**ALL, "type": Rtm.GETCHAIN})


SCRIPTS: list[Callable[[Twin], Requests]] = [lifecycle, refusals, settings, filters, many, chains_of_actions]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_replies_are_the_kernels(script: Callable[[Twin], Requests], monkeypatch: pytest.MonkeyPatch) -> None:
    with timeless_twin(monkeypatch) as t:
        for each in script(t):
            if isinstance(each, Message):
                t.ask(each)
            else:
                time.sleep(0.2)


@pytest.mark.parametrize("seed", range(3))
def test_random_sequences(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked in whatever order, every reply equals the kernel's."""
    chosen = random.Random(seed)
    with timeless_twin(monkeypatch) as t:
        for _ in range(150):
            t.ask(_random_request(t, chosen))
            # Filters let go of actions later in the kernel, so none goes here.
            if chosen.random() < 0.2:
                t.ask(dump("mirred", flags=chosen.randrange(4)))
        t.ask(bpf(t.v0, **ALL))


def _random_request(t: Twin, chosen: random.Random) -> Message:
    def one() -> list[Attr]:
        return mirred(
            chosen.choice([0, t.v0, t.v1, 99]),
            index=chosen.choice([0, 0, 1, 2, 3, 4]),
            control=chosen.choice([0, 2, 3, 4, -1, 0x10000001, GOTO3, 99]),
            eaction=chosen.randint(0, 5),
            block=chosen.choice([None, None, None, 5, 0]),
            more=[nla.binary(TcaAct.COOKIE, chosen.randbytes(4))] if chosen.random() < 0.3 else [],
        )

    echo = chosen.choice([0, ECHO])
    several = [named("mirred", chosen.randint(1, 5)) for _ in range(chosen.choice([1, 1, 2]))]
    match chosen.randrange(5):
        case 0 | 1:
            # Several actions in one request are not mixed with replacements: the kernel keeps those
            # before a mistake.
            return request(NEW, one(), flags=chosen.choice([ADD, REPLACE]) | echo)
        case 2:
            # Never two: the kernel here does not come back from a filter that names one new index twice.
            return filter_with(t, one(), prio=chosen.randint(1, 9), flags=ADD_FILTER | echo)
        case 3:
            return request(GET, *several, flags=ASK)
        case _:
            # One at a time: of several, the kernel goes on holding those after one that cannot go.
            return request(DEL, several[0], flags=ASK | echo)
