"""vlan: push, take off or change the outermost VLAN tag; put an Ethernet header on or take it off.

The outermost tag may be in the packet's metadata (as it is at ingress) or in its bytes.  Pushing a
second tag moves the one in the metadata into the bytes.

Mirrors net/sched/act_vlan.c and skb_vlan_push(), skb_vlan_pop(), skb_eth_push(), skb_eth_pop() of
net/core/skbuff.c.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ...skb import Skb
from ..act import TcAct
from ..result import ClassifyResult
from . import headers
from .action import Action

ETH_HLEN = 14
VLAN_HLEN = 4
VID_MASK = 0x0FFF
PRIO_MASK = 0xE000
PRIO_SHIFT = 13


class VlanWhat(enum.IntEnum):
    """TCA_VLAN_ACT_*."""

    POP = 1
    PUSH = 2
    MODIFY = 3
    POP_ETH = 4
    PUSH_ETH = 5


@dataclass(frozen=True, slots=True)
class VlanParams:
    """struct tcf_vlan_params; `protocol` is the tag's type, `prio` None: not said."""

    what: VlanWhat
    vid: int = 0
    protocol: int = 0x8100
    prio: int | None = None
    dst: bytes = bytes(6)
    src: bytes = bytes(6)


class Vlan(Action[VlanParams]):
    """struct tcf_vlan."""

    kind = "vlan"

    def act(self, skb: Skb, result: ClassifyResult) -> int:
        """tcf_vlan_act(): SHOT for a packet that it cannot be done to."""
        self.used(skb)
        at_ingress = skb.at_ingress
        if at_ingress:
            skb.push(skb.mac_len)
        done = _DOES[self.params.what](skb, self.params)
        if at_ingress:
            skb.pull(skb.mac_len)
        if not done:
            self.dropped()
            return TcAct.SHOT
        return self.control


def _pop(skb: Skb, params: VlanParams) -> bool:
    """skb_vlan_pop(): the tag goes; one in the bytes behind it takes its place in the metadata."""
    if skb.vlan_present:
        _set_tag(skb, None)
    elif skb.protocol in headers.VLAN_TYPES:
        if _take_tag(skb) is None:
            return False
    else:
        return True
    if skb.protocol in headers.VLAN_TYPES:
        protocol = skb.protocol
        tci = _take_tag(skb)
        if tci is None:
            return False
        _set_tag(skb, (protocol, tci))
    return True


def _push(skb: Skb, params: VlanParams) -> bool:
    """skb_vlan_push(): a tag in the metadata goes into the bytes, the new one takes its place."""
    if skb.vlan_present:
        if not _insert_tag(skb, skb.vlan_proto, skb.vlan_tci):
            return False
        skb.protocol = skb.vlan_proto
    _set_tag(skb, (params.protocol, params.vid | (params.prio or 0) << PRIO_SHIFT & 0xFFFF))
    return True


def _modify(skb: Skb, params: VlanParams) -> bool:
    """The tag's number and, if it was said, priority; a packet without a tag stays as it is."""
    if skb.vlan_present:
        tci = skb.vlan_tci
    elif skb.protocol in headers.VLAN_TYPES:
        taken = _take_tag(skb)
        if taken is None:
            return False
        tci = taken
    else:
        return True
    tci = tci & ~VID_MASK | params.vid
    if params.prio is not None:
        tci = tci & ~PRIO_MASK | params.prio << PRIO_SHIFT & 0xFFFF
    _set_tag(skb, (params.protocol, tci))
    return True


def _pop_eth(skb: Skb, params: VlanParams) -> bool:
    """skb_eth_pop(): not from under a tag."""
    if skb.vlan_present or skb.network_header - skb.data < ETH_HLEN:
        return False
    skb.pull(ETH_HLEN)
    skb.mac_header = skb.data
    skb.mac_len = skb.network_header - skb.mac_header
    return True


def _push_eth(skb: Skb, params: VlanParams) -> bool:
    """skb_eth_push(): not over a tag."""
    if skb.vlan_present or (skb.network_header != skb.mac_header and skb.mac_len):
        return False
    headers.make_room(skb, ETH_HLEN)
    skb.push(ETH_HLEN)
    skb.mac_header = skb.data
    skb.mac_len = ETH_HLEN
    headers.write(skb, 0, params.dst + params.src + skb.protocol.to_bytes(2, "big"))
    return True


_DOES = {
    VlanWhat.POP: _pop,
    VlanWhat.PUSH: _push,
    VlanWhat.MODIFY: _modify,
    VlanWhat.POP_ETH: _pop_eth,
    VlanWhat.PUSH_ETH: _push_eth,
}


def _set_tag(skb: Skb, tag: tuple[int, int] | None) -> None:
    """__vlan_hwaccel_put_tag(), __vlan_hwaccel_clear_tag(): (type, tci)."""
    skb.vlan_present = int(tag is not None)
    skb.vlan_proto, skb.vlan_tci = tag if tag is not None else (0, 0)


def _take_tag(skb: Skb) -> int | None:
    """__skb_vlan_pop(): the tag in the bytes, which it leaves, with `data` at the link layer."""
    start = headers.read(skb, 0, ETH_HLEN + VLAN_HLEN)
    if start is None:
        return None
    skb.buffer[skb.data + VLAN_HLEN : skb.data + 16] = start[:12]
    skb.pull(VLAN_HLEN)
    skb.mac_header = skb.data
    skb.protocol = int.from_bytes(start[16:18], "big")
    skb.network_header = skb.mac_header + ETH_HLEN
    skb.mac_len = ETH_HLEN
    return int.from_bytes(start[14:16], "big")


def _insert_tag(skb: Skb, protocol: int, tci: int) -> bool:
    """__vlan_insert_tag(): the tag goes into the bytes behind the addresses."""
    if headers.read(skb, 0, 12) is None:
        return False
    headers.make_room(skb, VLAN_HLEN)
    skb.push(VLAN_HLEN)
    buffer, start = skb.buffer, skb.data
    buffer[start : start + 12] = buffer[start + 4 : start + 16]
    buffer[start + 12 : start + 16] = protocol.to_bytes(2, "big") + tci.to_bytes(2, "big")
    skb.mac_header = start
    # The tag counts as part of the link-layer header.
    skb.mac_len += VLAN_HLEN
    return True
