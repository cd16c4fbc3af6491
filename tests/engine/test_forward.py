"""What mirred sends to another device meets that device's filters, and then whoever listens."""

from __future__ import annotations

import pytest

from action_fakes import frame_of, incoming
from clsbpf.endpoint import Endpoint
from clsbpf.engine.devices import Network
from clsbpf.engine.forward import Forwarding
from clsbpf.skb import Skb
from clsbpf.tc.act import TcAct
from clsbpf.tc.result import ClassifyResult
from clsbpf.tccmd.command import parse_command
from clsbpf.tccmd.perform import perform
from clsbpf.tccmd.words import split_words
from tc_fakes import FRAME
from tc_lines import PASS

DROP = "'1,6 0 0 2'"
REDIRECT = f"filter add dev v0 ingress bpf bytecode {PASS} action mirred"

CASES = [
    ("sent out", [f"{REDIRECT} egress redirect dev v1"], TcAct.STOLEN, [("v1", False)], 0),
    ("come in", [f"{REDIRECT} ingress redirect dev v1"], TcAct.STOLEN, [("v1", True)], 0),
    (
        "dropped at the other's ingress",
        [f"{REDIRECT} ingress redirect dev v1", f"filter add dev v1 ingress bpf da bytecode {DROP}"],
        TcAct.STOLEN,
        [],
        1,
    ),
    (
        "dropped at its egress, a copy",
        [f"{REDIRECT} egress mirror dev v1 drop", f"filter add dev v1 egress bpf da bytecode {DROP}"],
        TcAct.SHOT,
        [],
        1,
    ),
    (
        "and sent on from there",
        [
            f"{REDIRECT} egress mirror dev v1",
            f"filter add dev v1 egress bpf bytecode {PASS} action mirred ingress redirect dev v2",
        ],
        TcAct.PIPE,
        [("v2", True)],
        0,
    ),
    # Four mirred actions, one within the other; the fifth drops its packet.
    (
        "in a circle",
        [
            f"{REDIRECT} ingress mirror dev v1 ok",
            f"filter add dev v1 ingress bpf bytecode {PASS} action mirred ingress mirror dev v0 ok",
        ],
        TcAct.OK,
        [("v1", True), ("v0", True), ("v1", True)],
        0,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_where_packets_go(case: tuple[str, list[str], int, list[tuple[str, bool]], int]) -> None:
    _, lines, answer, delivered, overlimits = case
    network = Network()
    for name in ("v0", "v1", "v2"):
        network.add_device(name)
    endpoint = Endpoint(network)
    for line in ["qdisc add dev v0 clsact", "qdisc add dev v1 clsact", *lines]:
        perform(parse_command(split_words(line), network.ifindex), endpoint.handle)
    seen: list[tuple[str, bool]] = []
    forwarder = network.actions.around.forwarder
    assert isinstance(forwarder, Forwarding)

    def deliver(device: object, skb: Skb, ingress: bool) -> None:
        assert frame_of(skb) == FRAME
        seen.append((device.name, ingress))  # type: ignore[attr-defined]

    forwarder.deliver = deliver
    qdisc = network.device("v0").ingress  # type: ignore[union-attr]
    assert qdisc is not None
    skb = incoming(FRAME)
    assert qdisc.classify(skb, ClassifyResult()) == answer
    assert seen == delivered
    first = next(iter(network.actions.tables["mirred"]))
    assert first.counters.overlimits == overlimits
