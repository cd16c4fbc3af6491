"""sample: one packet in so many is shown to whoever listens to psample.

Mirrors net/sched/act_sample.c and net/psample/psample.c.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...skb import Skb
from ..result import ClassifyResult
from .action import Action
from .surroundings import Sample as Taken
from .surroundings import Surroundings


@dataclass(frozen=True, slots=True)
class SampleParams:
    """struct tcf_sample: one in `rate` packets, at most `truncate` bytes of it (None: all)."""

    rate: int
    group: int
    truncate: int | None = None


class Sample(Action[SampleParams]):
    """struct tcf_sample."""

    kind = "sample"

    def __init__(self, index: int, control: int, params: SampleParams, around: Surroundings) -> None:
        super().__init__(index, control, params, around)
        self.sequence = 0

    def act(self, skb: Skb, result: ClassifyResult) -> int:
        """tcf_sample_act(): the sample begins at the link-layer header."""
        self.used(skb)
        params = self.params
        if params.rate and self.around.random.below(params.rate) == 0:
            at_ingress = skb.at_ingress
            start = skb.mac_header if at_ingress else skb.data
            length = skb.len + (skb.data - start)
            size = length if params.truncate is None else min(length, params.truncate)
            data = bytes(skb.buffer[start : min(start + size, skb.tail)])
            in_ifindex = skb.ifindex if at_ingress else skb.ingress_ifindex
            out_ifindex = 0 if at_ingress else skb.ifindex
            self.sequence += 1
            taken = Taken(params.group, self.sequence, params.rate, data, length, in_ifindex, out_ifindex)
            self.around.sample(taken)
        return self.control
