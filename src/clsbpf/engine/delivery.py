"""Where do packets go that a program or an action sends elsewhere?  To a device, and so to whoever asked.

A packet that is redirected, mirrored or cloned to another device of the policy meets that device's filters
(`forward.py`); what they let through becomes a `Delivery`, which the run hands out (`clsbpf run --split`
writes a capture a device of them).  Where no policy says which devices there are, every ifindex is one.
Mirrors what skb_do_redirect() and dev_queue_xmit() are given.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..skb import Skb
from ..tc.actions.surroundings import Sent
from ..vm.environment import Redirect
from ..vm.net import NetDevice

if TYPE_CHECKING:
    from .devices import Device, Network

BPF_F_INGRESS = 1


@dataclass(frozen=True, slots=True)
class Delivery:
    """A packet as it reaches another device.

    `packet` is the number of the packet that it came of, `time` the capture's (ns); `data` begins at the
    link layer, a VLAN tag in place; `length` is that on the wire.  `ingress`: it comes in there, rather than
    going out.
    """

    packet: int
    time: int
    ifindex: int
    device: str
    ingress: bool
    data: bytes
    length: int
    link_type: int


OnDelivery = Callable[[Delivery], None]


class AnyDevice(dict[int, NetDevice]):
    """The devices where nobody said which there are: every ifindex has one, `if7`."""

    def get(self, ifindex: int, default: object = None) -> NetDevice:
        return super().get(ifindex) or NetDevice(ifindex, f"if{ifindex}")


class Courier:
    """Takes what is sent elsewhere during a run; `network` has the devices there are, None: any."""

    def __init__(self, network: Network | None, on_delivery: OnDelivery | None) -> None:
        self._network = network
        self._on_delivery = on_delivery
        self._packet = self._time = 0
        self._link_type = 1
        if network is not None:
            network.forwarding.deliver = self._arrived

    @property
    def devices(self) -> dict[int, NetDevice]:
        """The devices that programs find."""
        if self._network is None:
            return AnyDevice()
        return {ifindex: NetDevice(ifindex, each.name) for ifindex, each in self._network.devices.items()}

    def begin(self, packet: int, time: int, link_type: int) -> None:
        """The packet that is under way."""
        self._packet, self._time, self._link_type = packet, time, link_type

    def deliver(self, skb: Skb, ifindex: int, flags: int) -> int:
        """bpf_clone_redirect's: a copy for a device; 0, or -EINVAL where there is no such device."""
        sent = self._send(skb, ifindex, ingress=bool(flags & BPF_F_INGRESS))
        return -errno.EINVAL if sent is Sent.IMPOSSIBLE else 0

    def redirect(self, skb: Skb, target: Redirect) -> None:
        """skb_do_redirect(): the packet itself, after the verdict.  Without the device it is dropped."""
        self._send(skb, target.ifindex, ingress=bool(target.flags & BPF_F_INGRESS))

    def _send(self, skb: Skb, ifindex: int, *, ingress: bool) -> Sent:
        if self._network is not None:
            return self._network.forwarding.forward(skb, ifindex, ingress=ingress)
        self._hand_out(ifindex, f"if{ifindex}", skb, ingress)
        return Sent.TAKEN

    def _arrived(self, device: Device, skb: Skb, ingress: bool) -> None:
        self._hand_out(device.ifindex, device.name, skb, ingress)

    def _hand_out(self, ifindex: int, name: str, skb: Skb, ingress: bool) -> None:
        if self._on_delivery is None:
            return
        data = on_the_wire(skb)
        length = len(data) + max(skb.len - skb.captured, 0)
        self._on_delivery(
            Delivery(self._packet, self._time, ifindex, name, ingress, data, length, self._link_type)
        )


def on_the_wire(skb: Skb) -> bytes:
    """The captured bytes from the link layer on, with the tag in place that the metadata hold."""
    data = bytes(skb.buffer[min(skb.mac_header, skb.data) : skb.tail])
    if not skb.vlan_present:
        return data
    tag = skb.vlan_proto.to_bytes(2, "big") + skb.vlan_tci.to_bytes(2, "big")
    return data[:12] + tag + data[12:]
