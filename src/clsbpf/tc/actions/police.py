"""police: packets over a rate get another verdict.

A token bucket: time fills it with tokens, as many nanoseconds as pass, up to the burst; a packet takes
what its length needs at the rate.  One that finds too few *exceeds* and gets the control; others
*conform* and get `result`.  A second bucket limits the peak rate, with room for one packet of `mtu`
bytes; a third counts packets instead of bytes.  A packet longer than the mtu exceeds at once.  With an
average rate (`avrate`), packets exceed while an estimator sees more than that.

Lengths are `qdisc_pkt_len`: at ingress without the link-layer header.

Mirrors net/sched/act_police.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...skb import Skb
from ..act import TcAct
from ..rate import Rate, reciprocal
from ..result import ClassifyResult
from .action import Action
from .surroundings import Surroundings

if TYPE_CHECKING:
    from ..chain import Chain


def packet_cost(rate: int) -> int:
    """psched_pkt2t_ns() of one packet: nanoseconds, where `rate` packets come in a second."""
    mult, shift = reciprocal(rate)
    return mult >> shift


# The arithmetic of buckets, on plain numbers that fit 64 bits: native code is made of this very function.


def left_over(tokens: int, passed: int, burst: int, limit: int, cost: int) -> int:
    """What is in a bucket of `limit` when time has filled it, by no more than `burst`, and a packet has
    taken what it costs; below 0: there was not enough."""
    tokens += passed if passed < burst else burst
    return (tokens if tokens < limit else limit) - cost


@dataclass(frozen=True, slots=True)
class PoliceParams:
    """struct tcf_police_params: `burst` and `packets_burst` in nanoseconds, `packets` a second."""

    result: int = TcAct.OK
    """The answer for packets that conform."""
    mtu: int = 0xFFFFFFFF
    burst: int = 0
    rate: Rate | None = None
    peak: Rate | None = None
    packets: int = 0
    packets_burst: int = 0
    average: int = 0
    """ewma_rate, bytes a second; 0: no limit."""


class Police(Action[PoliceParams]):
    """struct tcf_police."""

    kind = "police"

    def __init__(self, index: int, control: int, params: PoliceParams, around: Surroundings) -> None:
        super().__init__(index, control, params, around)
        self._fill()

    def change(self, control: int, params: PoliceParams, goto: Chain | None) -> None:
        """A replacement begins with full buckets."""
        super().change(control, params, goto)
        self._fill()

    def _fill(self) -> None:
        params, buckets = self.params, self.memory.buckets
        buckets.filled = self.around.clock.now()
        buckets.tokens = params.burst
        buckets.peak_tokens = params.peak.time(params.mtu) if params.peak is not None else 0
        buckets.packet_tokens = params.packets_burst

    def act(self, skb: Skb, result: ClassifyResult) -> int:
        """tcf_police_act()."""
        # Read before this packet is counted, as the kernel's estimator knows only of earlier ones.
        rates = self.rates()
        self.used(skb)
        params = self.params
        too_fast = params.average and (rates is None or rates[0] >= params.average)
        if not too_fast and self._conforms(params, skb.wire_len, skb.mac_len if skb.at_ingress else 0):
            if params.result == TcAct.SHOT:
                self.dropped()
            return params.result
        self.overlimit()
        if self.control == TcAct.SHOT:
            self.dropped()
        return self.control

    def _conforms(self, params: PoliceParams, length: int, link_layer: int) -> bool:
        """Take the packet's tokens, if there are enough in every bucket.

        Only for the mtu does the link-layer header count at ingress, too (tcf_police_mtu_check).
        """
        if length + link_layer > params.mtu:
            return False
        if params.rate is None and not params.packets:
            return True
        with self.lock:
            now, buckets = self.around.clock.now(), self.memory.buckets
            passed = now - buckets.filled
            peak = packets = tokens = 0
            if params.packets:
                burst, cost = params.packets_burst, packet_cost(params.packets)
                packets = left_over(buckets.packet_tokens, passed, burst, burst, cost)
            if params.rate is not None:
                burst = params.burst
                if params.peak is not None:
                    most, cost = params.peak.time(params.mtu), params.peak.time(length)
                    peak = left_over(buckets.peak_tokens, passed, burst, most, cost)
                tokens = left_over(buckets.tokens, passed, burst, burst, params.rate.time(length))
            if min(tokens, peak, packets) < 0:
                return False
            buckets.filled, buckets.tokens = now, tokens
            buckets.peak_tokens, buckets.packet_tokens = peak, packets
            return True
