"""mirred: a copy of the packet, or the packet itself, goes to another device.

*Mirror* sends a copy and goes on; *redirect* sends the packet away, and the verdict is then that it is
gone.  *Egress* means sent out of the device, *ingress* as if it had come in there.  The target is a
device, or a shared block: then every device that is bound to it, except the one where the packet is.

A packet caught on its way in has `data` at its network header, one on its way out at the link layer;
the target may expect the other (`_aligned`).  A target that is gone or down counts as an overlimit, and
a redirect there drops the packet.  Mirred within mirred goes four deep.

Mirrors net/sched/act_mirred.c.
"""

from __future__ import annotations

import copy
import enum
from dataclasses import dataclass

from ...skb import Skb
from ..act import TcAct
from ..result import ClassifyResult
from .action import Action
from .surroundings import Sent

MIRRED_NEST_LIMIT = 4


class Eaction(enum.IntEnum):
    """TCA_EGRESS_REDIR and its like: what is done."""

    EGRESS_REDIR = 1
    EGRESS_MIRROR = 2
    INGRESS_REDIR = 3
    INGRESS_MIRROR = 4

    @property
    def redirects(self) -> bool:
        """tcf_mirred_is_act_redirect()."""
        return self in (Eaction.EGRESS_REDIR, Eaction.INGRESS_REDIR)

    @property
    def to_ingress(self) -> bool:
        """tcf_mirred_act_wants_ingress()."""
        return self in (Eaction.INGRESS_REDIR, Eaction.INGRESS_MIRROR)

    @property
    def mirrored(self) -> Eaction:
        """The same direction, but only a copy."""
        return Eaction.INGRESS_MIRROR if self.to_ingress else Eaction.EGRESS_MIRROR


_REINSERTED = frozenset({TcAct.SHOT, TcAct.STOLEN, TcAct.QUEUED, TcAct.TRAP})
"""tcf_mirred_can_reinsert(): controls after which nobody needs the packet, so that it goes itself."""


@dataclass(frozen=True, slots=True)
class MirredParams:
    """struct tcf_mirred: the target is the device `ifindex`, or with `block` a shared block."""

    eaction: Eaction
    ifindex: int = 0
    block: int = 0


class Mirred(Action[MirredParams]):
    """struct tcf_mirred."""

    kind = "mirred"

    def act(self, skb: Skb, result: ClassifyResult) -> int:
        """tcf_mirred_act()."""
        around = self.around
        if around.nesting == MIRRED_NEST_LIMIT:
            return TcAct.SHOT
        around.nesting += 1
        try:
            self.used(skb)
            params = self.params
            if params.block:
                return self._to_block(skb, params)
            return self._to_device(skb, params.ifindex, params.eaction)
        finally:
            around.nesting -= 1

    def _to_block(self, skb: Skb, params: MirredParams) -> int:
        """tcf_blockcast(): to each of the block's devices but the packet's own; the last one gets a
        redirected packet itself, the others copies."""
        ports = self.around.forwarder.ports(params.block)
        if not ports:
            self.overlimit()
            return self.control
        answer = self.control
        others = [ifindex for ifindex in ports if ifindex != skb.ifindex]
        for number, ifindex in enumerate(others, 1):
            last = number == len(others)
            sent = self._to_device(skb, ifindex, params.eaction if last else params.eaction.mirrored)
            if last and params.eaction.redirects:
                answer = sent
        return answer

    def _to_device(self, skb: Skb, ifindex: int, eaction: Eaction) -> int:
        """tcf_mirred_to_dev()."""
        clone = self._aligned(skb, ifindex, eaction)
        sent = self.around.forwarder.forward(clone, ifindex, ingress=eaction.to_ingress)
        if sent is not Sent.TAKEN:
            self.overlimit()
        if sent is Sent.IMPOSSIBLE:
            return TcAct.SHOT if eaction.redirects else self.control
        if eaction.redirects and skb.at_ingress and self.control in _REINSERTED:
            # TC_ACT_CONSUMED: to whoever counts verdicts, the packet is gone.
            return TcAct.STOLEN
        return self.control

    def _aligned(self, skb: Skb, ifindex: int, eaction: Eaction) -> Skb:
        """A clone with `data` where the target expects it: at the network header, if the packet is to
        come in or the device's frames have no link-layer header."""
        clone = copy.copy(skb)
        clone.buffer = bytearray(skb.buffer)
        clone.cb = list(skb.cb)
        wants_network = eaction.to_ingress or not self.around.forwarder.expects_link_header(ifindex)
        at_network = skb.data >= skb.network_header  # more: where the capture ends within the link layer
        if at_network != wants_network:
            size = skb.mac_len if skb.at_ingress else skb.network_header - skb.data
            if wants_network:
                clone.pull(size)
            else:
                clone.push(size)
        clone.ingress_ifindex = skb.ifindex
        clone.ifindex = ifindex
        return clone
