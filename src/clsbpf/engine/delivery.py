"""Where do packets go that a program or an action sends elsewhere?  To a device, and so to whoever asked.

A run has nobody at the other end of a device.  A packet that is redirected or cloned there becomes a
`Delivery`, which the run hands out (`clsbpf run --split` writes a capture a device of them); filters of that
other device do not run.  Mirrors what skb_do_redirect() and dev_queue_xmit() are given.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..skb import Skb
from ..vm.environment import Redirect
from ..vm.net import NetDevice

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
    """Takes what is sent elsewhere during a run.  `devices` are those that exist."""

    def __init__(self, devices: Mapping[int, NetDevice], on_delivery: OnDelivery | None) -> None:
        self.devices = devices
        self._on_delivery = on_delivery
        self._packet = self._time = 0
        self._link_type = 1

    def begin(self, packet: int, time: int, link_type: int) -> None:
        """The packet that is under way."""
        self._packet, self._time, self._link_type = packet, time, link_type

    def deliver(self, skb: Skb, ifindex: int, flags: int) -> int:
        """bpf_clone_redirect's: a copy for a device; 0, or -EINVAL where there is no such device."""
        return 0 if self._send(skb, ifindex, ingress=bool(flags & BPF_F_INGRESS)) else -errno.EINVAL

    def redirect(self, skb: Skb, target: Redirect) -> None:
        """skb_do_redirect(): the packet itself, after the verdict.  Without the device it is dropped."""
        self._send(skb, target.ifindex, ingress=bool(target.flags & BPF_F_INGRESS))

    def _send(self, skb: Skb, ifindex: int, *, ingress: bool) -> bool:
        device = self.devices.get(ifindex)
        if device is None:
            return False
        if self._on_delivery is not None:
            data = on_the_wire(skb)
            length = max(len(data), len(data) + skb.len - skb.captured)
            delivery = Delivery(
                self._packet, self._time, ifindex, device.name, ingress, data, length, self._link_type
            )
            self._on_delivery(delivery)
        return True


def on_the_wire(skb: Skb) -> bytes:
    """The captured bytes from the link layer on, with the tag in place that the metadata hold."""
    data = bytes(skb.buffer[min(skb.mac_header, skb.data) : skb.tail])
    if not skb.vlan_present:
        return data
    tag = skb.vlan_proto.to_bytes(2, "big") + skb.vlan_tci.to_bytes(2, "big")
    return data[:12] + tag + data[12:]
