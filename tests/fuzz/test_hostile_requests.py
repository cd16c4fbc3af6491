"""Requests of every kind, damaged: nothing raises, and what is refused has changed nothing.

The kernel judges those that it knows (`netlink_storm`, `qdisc_storm`); here are the others too: all kinds of
actions, prio, and bytes that no client would send.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import pytest

from action_messages import dump as dump_of
from action_messages import timeless
from clsbpf.endpoint import Endpoint
from clsbpf.engine.devices import Network
from clsbpf.netlink import attr as nla
from clsbpf.netlink.message import (
    NLM_F_REQUEST,
    NLMSG_ERROR,
    Message,
    iter_messages,
    read_acknowledgement,
)
from clsbpf.netlink.schema import Rtm
from clsbpf.tc.actions.clock import CaptureClock
from clsbpf.tc.actions.surroundings import Surroundings
from clsbpf.tccmd.command import parse_command
from clsbpf.tccmd.errors import CommandError
from clsbpf.tccmd.options import parse_options
from clsbpf.tccmd.perform import perform
from clsbpf.tccmd.render import Names
from clsbpf.tccmd.words import split_words
from netlink_storm import unplaced
from tc_action_lines import SPECS
from tc_lines import PASS
from tc_messages import ALL, BLOCK, DUMP, EGRESS, INGRESS, bpf, qdisc
from tc_qdisc_lines import REQUEST_LINES

V0, V1 = 2, 3
PLACES = [(V0, INGRESS), (V0, EGRESS), (V1, INGRESS), (V1, 0x10000), (V1, 0x10001), (BLOCK, 5)]
REQUESTS = 1000

LINES = [
    "qdisc replace dev v0 clsact",
    "qdisc replace dev v0 clsact ingress_block 5",
    "qdisc replace dev v1 ingress",
    "qdisc replace dev v1 root handle 1: htb default 1",
    "class replace dev v1 parent 1: classid 1:1 htb rate 1mbit",
    "class replace dev v1 parent 1:1 classid 1:2 htb rate 1mbit ceil 2mbit",
    "qdisc del dev v0 clsact",
    "qdisc del dev v1 root",
    "class del dev v1 classid 1:2",
    f"filter add dev v1 parent 1: pref 1 bpf bytecode {PASS} flowid 1:1",
    f"filter add dev v0 ingress pref 2 chain 3 bpf bytecode {PASS} da",
    f"filter add block 5 pref 2 bpf bytecode {PASS}",
    "filter del dev v0 ingress pref 1",
    "filter del dev v0 ingress",
    "chain add dev v0 ingress chain 7",
    "chain del dev v0 ingress chain 7",
    "actions flush action gact",
    *REQUEST_LINES,
    *(f"filter replace dev v0 ingress pref 1 handle 1 bpf bytecode {PASS} action {spec}" for spec in SPECS),
    *(f"actions replace action {spec}" for spec in SPECS),
]


class Lab:
    """An endpoint in which time stands still."""

    def __init__(self) -> None:
        self.network = Network(around=Surroundings(clock=CaptureClock()))
        self.network.add_device("v0", V0)
        self.network.add_device("v1", V1)
        self.endpoint = Endpoint(self.network)

    def requests(self, line: str) -> list[bytes]:
        """What tc would send for a line, which is carried out."""
        sent: list[bytes] = []

        def handle(request: bytes) -> list[bytes]:
            sent.append(request)
            return self.endpoint.handle(request)

        with contextlib.suppress(CommandError):
            options, words = parse_options(split_words(line))
            perform(parse_command(words, self.network.ifindex, options=options), handle, Names({}.get))
        return sent

    def everything(self) -> list[list[bytes]]:
        """The dump of all there is, but for what asking for it leaves behind."""
        actions = [each for table in self.network.actions.tables.values() for each in table]
        asked = [(each.tells_hw_stats, each.used_hw_stats) for each in actions]
        dumped = [
            [timeless(unplaced(each)) for each in self.endpoint.handle(message.encode())]
            for message in self._dumps()
        ]
        for each, (tells, used) in zip(actions, asked, strict=True):
            each.tells_hw_stats, each.used_hw_stats = tells, used
        return dumped

    def _dumps(self) -> Iterator[Message]:
        yield qdisc(0, type=Rtm.GETQDISC, flags=DUMP, parent=0, handle=0, kind=None)
        for device in (V0, V1):
            yield qdisc(device, type=Rtm.GETTCLASS, flags=DUMP, parent=0, handle=0, kind=None)
        for device, parent in PLACES:
            yield bpf(device, parent=parent, **ALL)
            yield bpf(device, parent=parent, **{**ALL, "type": Rtm.GETCHAIN})
        for kind in self.network.actions.tables:
            yield dump_of(kind)


def damaged(rng: random.Random, request: bytes) -> bytes:
    """Some bytes changed, cut out, put in, or nested once more."""
    out = bytearray(request)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(16, len(out) + 1) if len(out) > 16 else len(out)
        match rng.randrange(7):
            case 0 | 1 | 2 if at < len(out):
                out[at] = rng.choice([0, 1, 2, 4, 8, 0x7F, 0x80, 0xFF, rng.randrange(256)])
            case 3:
                del out[at:]
            case 4:
                del out[at : at + 4]
            case 5:
                out[at:at] = nla.encode_attrs([nested(rng, rng.choice([1, 3, 40]))])
            case _:
                out[at:at] = rng.randbytes(rng.choice([1, 4, 20]))
    out[:4] = rng.choice([len(out), len(out), len(out), rng.randrange(len(out) + 9)]).to_bytes(4, "little")
    return bytes(out)


def nested(rng: random.Random, depth: int) -> nla.Attr:
    """An attribute within an attribute, and so on."""
    attr = nla.binary(rng.randrange(12), rng.randbytes(4))
    for _ in range(depth):
        attr = nla.nest(rng.randrange(12), [attr], flagged=rng.random() < 0.5)
    return attr


@pytest.mark.parametrize("seed", range(2))
def test_nothing_raises_and_what_is_refused_changed_nothing(seed: int) -> None:
    rng = random.Random(seed)
    lab = Lab()
    corpus = [request for line in LINES for request in lab.requests(line)]
    assert len(corpus) > len(SPECS)
    refused = 0
    for n in range(REQUESTS):
        if n % 10 == 0:
            lab.requests(rng.choice(LINES))
        request = damaged(rng, rng.choice(corpus))
        before = lab.everything() if n % 5 == 0 else None
        replies = [each for datagram in lab.endpoint.handle(request) for each in iter_messages(datagram)]
        errors = [read_acknowledgement(each).errno for each in replies if each.type == NLMSG_ERROR]
        if any(errors):
            refused += 1
            assert before is None or lab.everything() == before, request.hex()
    assert refused > REQUESTS // 3


@pytest.mark.parametrize("seed", range(2))
def test_random_bytes(seed: int) -> None:
    """Bytes that are no request at all are not answered, or refused."""
    rng = random.Random(seed)
    lab = Lab()
    lab.requests(LINES[0])
    before = lab.everything()
    for _ in range(1000):
        body = rng.randbytes(rng.choice([0, 1, 4, 20, 40, 100]))
        type, flags = rng.choice([rng.randrange(16, 110), rng.randrange(1 << 16)]), NLM_F_REQUEST | 4
        for request in (body, Message(type, flags, payload=body).encode()):
            if type not in (Rtm.NEWLINK, Rtm.DELLINK):
                lab.endpoint.handle(request)
    assert lab.everything() == before
