"""What tests of actions put around them: a clock that is told the time, a forwarder that remembers."""

from __future__ import annotations

from dataclasses import dataclass, field

from clsbpf.skb import Skb, receive
from clsbpf.tc.act import TcAct
from clsbpf.tc.actions.action import Action
from clsbpf.tc.actions.surroundings import Random, Sample, Sent, Surroundings
from clsbpf.tc.result import ClassifyResult

MS = 1_000_000


@dataclass
class ToldClock:
    """Time stands still until it is told otherwise."""

    time: int = 0

    def now(self) -> int:
        return self.time


@dataclass
class Devices:
    """A Forwarder: devices that are up take what they get; `raw` ones have no link-layer header."""

    up: frozenset[int] = frozenset({2, 3, 4})
    raw: frozenset[int] = frozenset()
    drops: frozenset[int] = frozenset()
    blocks: dict[int, tuple[int, ...]] = field(default_factory=dict)
    taken: list[tuple[int, bool, bytes]] = field(default_factory=list)

    def forward(self, skb: Skb, ifindex: int, *, ingress: bool) -> Sent:
        if ifindex not in self.up:
            return Sent.IMPOSSIBLE
        self.taken.append((ifindex, ingress, skb.packet))
        return Sent.DROPPED if ifindex in self.drops else Sent.TAKEN

    def expects_link_header(self, ifindex: int) -> bool:
        return ifindex not in self.raw

    def ports(self, block: int) -> tuple[int, ...]:
        return self.blocks.get(block, ())


@dataclass
class World:
    """Surroundings and what came of them."""

    clock: ToldClock = field(default_factory=ToldClock)
    devices: Devices = field(default_factory=Devices)
    said: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.around = Surroundings(
            clock=self.clock,
            random=Random(1),
            forwarder=self.devices,
            say=self.said.append,
            sample=self.samples.append,
        )


class Answers(Action[list[int]]):
    """An action that gives its answers one after the other (the last for ever), and counts its packets."""

    kind = "answers"

    def act(self, skb: Skb, result: ClassifyResult) -> int:
        self.used(skb)
        return self.params.pop(0) if len(self.params) > 1 else self.params[0]


def answers(*values: int, world: World | None = None) -> Answers:
    return Answers(1, TcAct.PIPE, list(values), (world or World()).around)


def incoming(frame: bytes, length: int | None = None) -> Skb:
    """A frame as ingress has it."""
    skb = receive(frame, length=length)
    assert skb is not None
    skb.ifindex = 2
    return skb


def frame_of(skb: Skb) -> bytes:
    """The bytes from the link-layer header on."""
    return bytes(skb.buffer[skb.mac_header : skb.tail])
