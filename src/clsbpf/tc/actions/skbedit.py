"""skbedit: what the packet carries beside its bytes: priority, mark, queue, type.

Mirrors net/sched/act_skbedit.c.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...skb import Skb
from ..act import TcAct
from ..result import ClassifyResult
from . import headers
from .action import Action

_HEADER_BYTES = {headers.ETH_P_IP: 20, headers.ETH_P_IPV6: 40}


@dataclass(frozen=True, slots=True)
class SkbeditParams:
    """struct tcf_skbedit_params; None is left as it is.

    `queue_most`: the queue is chosen by the packet's hash from `queue` to this one.
    """

    priority: int | None = None
    queue: int | None = None
    queue_most: int | None = None
    mark: int | None = None
    mask: int | None = None
    ptype: int | None = None
    inherit_dsfield: bool = False


class Skbedit(Action[SkbeditParams]):
    """struct tcf_skbedit."""

    kind = "skbedit"

    def act(self, skb: Skb, result: ClassifyResult) -> int:
        """tcf_skbedit_act(): SHOT for a packet that shall give its DS field and has no whole IP header."""
        self.used(skb)
        params = self.params
        if params.priority is not None:
            skb.priority = params.priority
        if params.inherit_dsfield:
            protocol, offset = headers.inner_protocol(skb)
            size = _HEADER_BYTES.get(protocol)
            if size is not None:
                if headers.read(skb, offset, size) is None:
                    self.dropped()
                    return TcAct.SHOT
                dsfield = headers.dsfield(skb)
                assert dsfield is not None
                skb.priority = dsfield >> 2
        if params.queue is not None:
            queue = params.queue
            if params.queue_most is not None:
                queue += skb.hash % (params.queue_most - params.queue + 1)
            skb.queue_mapping = queue
        if params.mark is not None:
            mask = 0xFFFFFFFF if params.mask is None else params.mask
            skb.mark = skb.mark & ~mask | params.mark & mask
        if params.ptype is not None:
            skb.pkt_type = params.ptype
        return self.control
