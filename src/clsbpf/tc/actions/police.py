"""police: packets over a rate get another verdict.

A token bucket: time fills it with tokens, as many nanoseconds as pass, up to the burst; a packet takes
what its length needs at the rate.  One that finds too few *exceeds* and gets the control; others
*conform* and get `result`.  A second bucket limits the peak rate, with room for one packet of `mtu`
bytes; a third counts packets instead of bytes.  A packet longer than the mtu exceeds at once.  With an
average rate (`avrate`), packets exceed while an estimator sees more than that.

Lengths are `qdisc_pkt_len`: at ingress without the link-layer header.

Mirrors net/sched/act_police.c and psched_ratecfg_precompute() of net/sched/sch_generic.c.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...skb import Skb
from ..act import TcAct
from ..result import ClassifyResult
from .action import Action
from .surroundings import NSEC_PER_SEC, Surroundings

if TYPE_CHECKING:
    from ..chain import Chain

ATM = 2
"""TC_LINKLAYER_ATM."""
ATM_CELL, ATM_PAYLOAD = 53, 48


@functools.lru_cache(maxsize=1024)
def reciprocal(rate: int) -> tuple[int, int]:
    """psched_ratecfg_precompute__(): (mult, shift) so that n * mult >> shift is n seconds / rate in ns."""
    mult, shift = 2, 1  # a rate of 0 takes a nanosecond a byte
    if rate:
        mult, shift = 1, 0
        factor = NSEC_PER_SEC
        while True:
            mult = factor // rate & 0xFFFFFFFF
            if mult & (1 << 31) or factor & (1 << 63):
                break
            factor <<= 1
            shift += 1
    return mult, shift


def packet_cost(rate: int) -> int:
    """psched_pkt2t_ns() of one packet: nanoseconds, where `rate` packets come in a second."""
    mult, shift = reciprocal(rate)
    return mult >> shift


# The arithmetic of buckets, on plain numbers that fit 64 bits: native code is made of these very functions.


def transmit_time(length: int, overhead: int, mpu: int, cells: int, mult: int, shift: int) -> int:
    """psched_l2t_ns(): nanoseconds that a packet takes.  `cells`: in ATM cells; `shift` is at least 1."""
    length += overhead
    if length < mpu:
        length = mpu
    if cells:
        length = (length + ATM_PAYLOAD - 1) // ATM_PAYLOAD * ATM_CELL
    # The product has 64 bits and no sign.
    return (length * mult >> 1 & 0x7FFFFFFFFFFFFFFF) >> shift - 1


def left_over(tokens: int, passed: int, burst: int, limit: int, cost: int) -> int:
    """What is in a bucket of `limit` when time has filled it, by no more than `burst`, and a packet has
    taken what it costs; below 0: there was not enough."""
    tokens += passed if passed < burst else burst
    return (tokens if tokens < limit else limit) - cost


@dataclass(frozen=True, slots=True)
class Rate:
    """struct psched_ratecfg: bytes a second, and what the link adds to a packet."""

    rate: int
    overhead: int = 0
    mpu: int = 0
    linklayer: int = 1

    def time(self, length: int) -> int:
        """psched_l2t_ns(): how long a packet takes, nanoseconds."""
        mult, shift = reciprocal(self.rate)
        return transmit_time(length, self.overhead, self.mpu, self.linklayer == ATM, mult, shift)


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
