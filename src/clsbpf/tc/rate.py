"""How long a packet takes at a rate, in whole nanoseconds and without division, as the kernel reckons.

What the link adds counts: a packet is at least `mpu` bytes, has `overhead` more, and on ATM is cut into
cells of 53 bytes for every 48.

Mirrors struct psched_ratecfg of net/sch_generic.h, psched_ratecfg_precompute() of
net/sched/sch_generic.c and psched_ns_t2l() of net/sched/sch_tbf.c.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

NSEC_PER_SEC = 1_000_000_000
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


def transmit_time(length: int, overhead: int, mpu: int, cells: int, mult: int, shift: int) -> int:
    """psched_l2t_ns(): nanoseconds that a packet takes.  `cells`: in ATM cells; `shift` is at least 1.

    On plain numbers that fit 64 bits: native code is made of this very function.  Lengths have 32 bits,
    and one near their end (a policer's mtu may be) wraps around.
    """
    length = length + overhead & 0xFFFFFFFF
    if length < mpu:
        length = mpu
    if cells:
        length = (length + ATM_PAYLOAD - 1 & 0xFFFFFFFF) // ATM_PAYLOAD * ATM_CELL & 0xFFFFFFFF
    # The product has 64 bits and no sign.
    return (length * mult >> 1 & 0x7FFFFFFFFFFFFFFF) >> shift - 1


@dataclass(frozen=True, slots=True)
class Rate:
    """struct psched_ratecfg: bytes a second, and what the link adds to a packet."""

    bytes_ps: int
    overhead: int = 0
    mpu: int = 0
    linklayer: int = 1

    def time(self, length: int) -> int:
        """psched_l2t_ns(): how long a packet takes, nanoseconds."""
        mult, shift = reciprocal(self.bytes_ps)
        return transmit_time(length, self.overhead, self.mpu, self.linklayer == ATM, mult, shift)

    def length(self, time: int) -> int:
        """psched_ns_t2l(): the longest packet that takes so many nanoseconds."""
        length = (time * self.bytes_ps & 0xFFFFFFFFFFFFFFFF) // NSEC_PER_SEC
        if self.linklayer == ATM:
            length = length // ATM_CELL * ATM_PAYLOAD
        return max(length - self.overhead, 0)
