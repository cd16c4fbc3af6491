"""skbmod: set or swap the link-layer addresses, set the type; mark congestion.

Mirrors net/sched/act_skbmod.c.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...skb import Skb
from ..act import TcAct
from ..result import ClassifyResult
from . import headers
from .action import Action

ETH_HLEN = 14
ARPHRD_ETHER = 1
CE = 3
"""INET_ECN_CE."""


@dataclass(frozen=True, slots=True)
class SkbmodParams:
    """struct tcf_skbmod_params: `flags` as they came, the others None where not given."""

    flags: int
    dst: bytes | None = None
    src: bytes | None = None
    etype: int | None = None
    swap: bool = False
    ecn: bool = False


class Skbmod(Action[SkbmodParams]):
    """struct tcf_skbmod."""

    kind = "skbmod"

    def act(self, skb: Skb, result: ClassifyResult) -> int:
        """tcf_skbmod_act(): a packet whose addresses are not there is dropped, as an overlimit."""
        self.used(skb)
        if self.control == TcAct.SHOT:
            self.overlimit()
            return TcAct.SHOT
        if self.params.ecn:
            _mark_congestion(skb)
            return self.control
        if skb.hatype != ARPHRD_ETHER:
            return self.control
        start = skb.mac_header - skb.data
        header = headers.read(skb, start, ETH_HLEN)
        if header is None:
            self.overlimit()
            return TcAct.SHOT
        params = self.params
        dst, src = params.dst or header[:6], params.src or header[6:12]
        etype = params.etype.to_bytes(2, "big") if params.etype is not None else header[12:14]
        if params.swap:
            dst, src = src, dst
        headers.write(skb, start, dst + src + etype)
        return self.control


def _mark_congestion(skb: Skb) -> None:
    """INET_ECN_set_ce(): an IP packet whose sender can hear of it; others stay as they are."""
    protocol, offset = headers.inner_protocol(skb)
    field = headers.dsfield(skb)
    if field is None or not field & 3:
        return
    if protocol == headers.ETH_P_IP:
        header = headers.read(skb, offset, 12)
        if header is None:
            return
        old = header[0:2]
        new = bytes((header[0], field | CE))
        total = int.from_bytes(header[10:12], "big")
        # RFC 1624: the checksum changes by what the word changes.
        total = ~headers.checksum(bytes(255 - byte for byte in old) + new, ~total & 0xFFFF) & 0xFFFF
        headers.write(skb, offset, new)
        headers.write(skb, offset + 10, total.to_bytes(2, "big"))
    else:
        start = headers.read(skb, offset, 2)
        if start is not None:
            headers.write(skb, offset, bytes((start[0], start[1] | CE << 4)))
