"""TCA_OPTIONS of sfq: struct tc_sfq_qopt and what came to stand behind it (linux/pkt_sched.h)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_QOPT = struct.Struct("=IiIII")
_MORE = struct.Struct("=IIIIIBBBBI24x")

SFQ_QOPT_LEN = _QOPT.size
SFQ_QOPT_V1_LEN = _QOPT.size + _MORE.size
RED_ECN, RED_HARDDROP = 1, 2
"""TC_RED_ECN, TC_RED_HARDDROP."""


@dataclass(frozen=True, slots=True)
class SfqQopt:
    """struct tc_sfq_qopt_v1: `perturb` in seconds, signed; from `red_limit` on what is dropped at random.

    What RED counted stands at the end; here it is 0.
    """

    quantum: int = 0
    perturb: int = 0
    limit: int = 0
    divisor: int = 0
    flows: int = 0
    depth: int = 0
    headdrop: int = 0
    red_limit: int = 0
    qth_min: int = 0
    qth_max: int = 0
    wlog: int = 0
    plog: int = 0
    scell_log: int = 0
    flags: int = 0
    max_p: int = 0

    def encode(self) -> bytes:
        """The 72 bytes."""
        first = _QOPT.pack(self.quantum, self.perturb, self.limit, self.divisor, self.flows)
        sizes = (self.depth, self.headdrop, self.red_limit, self.qth_min, self.qth_max)
        return first + _MORE.pack(*sizes, self.wlog, self.plog, self.scell_log, self.flags, self.max_p)

    @classmethod
    def decode(cls, data: bytes) -> SfqQopt:
        """The struct at the start of `data`, which may be the older, shorter one."""
        first = _QOPT.unpack_from(data)
        more = _MORE.unpack_from(data, _QOPT.size) if len(data) >= SFQ_QOPT_V1_LEN else ()
        return cls(*first, *more)
