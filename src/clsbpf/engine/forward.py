"""Where packets go that mirred sends to another device.

A packet that goes to a device meets that device's own filters: those of its egress side if it is sent
out there, and then its root qdisc; those of its ingress side if it is to have come in.  What they let
through is handed to whoever listens (`Forwarding.deliver`); nothing more becomes of it here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..skb import Skb
from ..tc.act import TcAct
from ..tc.actions.surroundings import Sent
from ..tc.result import ClassifyResult
from .queueing import transmit

if TYPE_CHECKING:
    from .devices import Device, Network

Deliver = Callable[["Device", Skb, bool], None]
"""Called with the device, the packet, and whether it came in there (else: was sent out)."""

_GONE = frozenset({TcAct.STOLEN, TcAct.QUEUED, TcAct.TRAP, TcAct.REDIRECT})
"""Verdicts after which the packet is with somebody else: no error to who sent it."""


def _nobody(device: Device, skb: Skb, ingress: bool) -> None:
    """Nobody listens."""


class Forwarding:
    """A `Forwarder` (clsbpf.tc.actions.surroundings) over the devices of a network."""

    def __init__(self, network: Network, deliver: Deliver = _nobody) -> None:
        self._network = network
        self.deliver = deliver

    def forward(self, skb: Skb, ifindex: int, *, ingress: bool) -> Sent:
        """dev_queue_xmit() and netif_receive_skb(), as far as the device's filters and qdiscs."""
        device = self._network.devices.get(ifindex)
        if device is None or not device.up:
            return Sent.IMPOSSIBLE
        skb.at_ingress = ingress
        skb.hatype = device.hatype
        skb.wire_len = skb.len
        if device.ingress is not None:
            answer = device.ingress.classify(skb, ClassifyResult())
            if answer == TcAct.SHOT:
                return Sent.DROPPED
            if answer in _GONE:
                return Sent.TAKEN
        if not ingress and device.root.handle:
            passage = transmit(device.root, skb)
            if passage.dropped:
                return Sent.TAKEN if passage.stolen else Sent.DROPPED
        self.deliver(device, skb, ingress)
        return Sent.TAKEN

    def expects_link_header(self, ifindex: int) -> bool:
        """dev_is_mac_header_xmit()."""
        device = self._network.devices.get(ifindex)
        return device is None or device.link.header_len > 0

    def ports(self, block: int) -> tuple[int, ...]:
        """The devices of a shared block, by ifindex."""
        return tuple(sorted(self._network.ports(block)))
