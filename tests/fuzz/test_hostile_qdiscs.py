"""Whatever the options of a qdisc: a request is done, or refused with an errno and has changed nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from clsbpf.endpoint import Endpoint
from clsbpf.engine.devices import Network
from clsbpf.netlink import attr as nla
from clsbpf.netlink.attr import Attr
from clsbpf.netlink.message import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    Message,
    iter_messages,
    read_acknowledgement,
)
from clsbpf.netlink.schema import Rtm, Tca
from clsbpf.netlink.tcmsg import TcMsg, tc_message

REQUESTS = 1500
KINDS = ["htb", "prio", "tbf", "codel", "fq_codel", "sfq", "bfifo"]
FLAGS = [NLM_F_CREATE | NLM_F_EXCL, NLM_F_CREATE | NLM_F_REPLACE, NLM_F_CREATE, NLM_F_REPLACE, 0]


def options(rng: random.Random, kind: str) -> Attr:
    """Bytes, mostly small, in attributes whose lengths are often right."""

    def some(length: int) -> bytes:
        return bytes(rng.choice([0, 0, 1, 2, 255, rng.randrange(256)]) for _ in range(length))

    if kind in ("sfq", "prio", "bfifo") or rng.random() < 0.2:
        return nla.binary(Tca.OPTIONS, some(rng.choice([72, 72, 71, 20, 20, 19, 4, 0, 80])))
    lengths = [4, 4, 4, 4, 1, 8, 36, 36, 20, 3, 0]
    inside = [nla.binary(rng.randrange(14), some(rng.choice(lengths))) for _ in range(rng.randrange(6))]
    return nla.nest(Tca.OPTIONS, inside)


def request(rng: random.Random) -> Message:
    kind = rng.choice(KINDS)
    attrs = [nla.string(Tca.KIND, kind), *([options(rng, kind)] if rng.random() < 0.95 else [])]
    parent = rng.choice([0xFFFFFFFF, 0xFFFFFFFF, 0x10001])
    header = TcMsg(0, 2, rng.choice([0, 0x10000, 0x20000]), parent)
    type = rng.choice([*[Rtm.NEWQDISC] * 6, Rtm.DELQDISC])
    return tc_message(type, header, attrs, flags=NLM_F_REQUEST | NLM_F_ACK | rng.choice(FLAGS))


@pytest.mark.parametrize("seed", range(2))
def test_a_request_is_done_or_changes_nothing(seed: int) -> None:
    rng = random.Random(seed)
    network = Network()
    network.add_device("lab0", 2)
    endpoint = Endpoint(network)

    def answers(message: Message) -> Iterator[Message]:
        for datagram in endpoint.handle(message.encode()):
            yield from iter_messages(datagram)

    def everything() -> list[bytes]:
        dump = NLM_F_REQUEST | NLM_F_DUMP
        invisible = [nla.flag(Tca.DUMP_INVISIBLE)]
        return [each.payload for each in answers(tc_message(Rtm.GETQDISC, TcMsg(), invisible, flags=dump))]

    refused = 0
    for _ in range(REQUESTS):
        message, before = request(rng), everything()
        (answer,) = (each for each in answers(message) if each.type == NLMSG_ERROR)
        if read_acknowledgement(answer).errno:
            refused += 1
            assert everything() == before, message
    assert 0 < refused < REQUESTS
