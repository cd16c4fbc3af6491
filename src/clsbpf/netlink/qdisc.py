"""What is inside TCA_OPTIONS of qdiscs and classes, and TCA_STAB: numbers, policies, structs both ways.

The structs are fixed and in the machine's order; what outgrew them (rates of 32 Gbit/s and more)
stands beside them in 64 bits.

Mirrors linux/pkt_sched.h, htb_policy of net/sched/sch_htb.c, tbf_policy of net/sched/sch_tbf.c and
stab_policy of net/sched/sch_api.c.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from .policy import Nla, Policy, Rule


class TcaHtb(IntEnum):
    """enum in linux/pkt_sched.h: the attributes inside TCA_OPTIONS of htb and its classes."""

    PARMS = 1
    INIT = 2
    CTAB = 3
    RTAB = 4
    DIRECT_QLEN = 5
    RATE64 = 6
    CEIL64 = 7
    PAD = 8
    OFFLOAD = 9


TCA_HTB_MAX = TcaHtb.OFFLOAD
TC_RTAB_SIZE = 1024
HTB_VERSION = 0x30011
"""HTB_VER: what the kernel says; of what a request says, only the upper half must agree."""
HTB_PROTOCOL = HTB_VERSION >> 16

_RATESPEC = struct.Struct("=BBHhHI")
_HTB_OPT = struct.Struct("=12s12sIIIII")
_HTB_GLOB = struct.Struct("=IIIII")
_HTB_XSTATS = struct.Struct("=IIIii")
_TBF_QOPT = struct.Struct("=12s12sIII")
_FIFO_QOPT = struct.Struct("=I")
_PRIO_QOPT = struct.Struct("=i16s")
_SIZESPEC = struct.Struct("=BBhiIIII")

HTB_OPT_LEN = _HTB_OPT.size
HTB_GLOB_LEN = _HTB_GLOB.size
TBF_QOPT_LEN = _TBF_QOPT.size
FIFO_QOPT_LEN = _FIFO_QOPT.size
PRIO_QOPT_LEN = _PRIO_QOPT.size
SIZESPEC_LEN = _SIZESPEC.size

HTB: Policy = {
    TcaHtb.PARMS: Rule(Nla.UNSPEC, HTB_OPT_LEN),
    TcaHtb.INIT: Rule(Nla.UNSPEC, HTB_GLOB_LEN),
    TcaHtb.CTAB: Rule(Nla.BINARY, TC_RTAB_SIZE),
    TcaHtb.RTAB: Rule(Nla.BINARY, TC_RTAB_SIZE),
    TcaHtb.DIRECT_QLEN: Rule(Nla.U32),
    TcaHtb.RATE64: Rule(Nla.U64),
    TcaHtb.CEIL64: Rule(Nla.U64),
    TcaHtb.OFFLOAD: Rule(Nla.FLAG),
}
"""htb_policy."""


class TcaTbf(IntEnum):
    """enum in linux/pkt_sched.h: the attributes inside TCA_OPTIONS of tbf."""

    PARMS = 1
    RTAB = 2
    PTAB = 3
    RATE64 = 4
    PRATE64 = 5
    BURST = 6
    PBURST = 7
    PAD = 8


TCA_TBF_MAX = TcaTbf.PAD

TBF: Policy = {
    TcaTbf.PARMS: Rule(Nla.UNSPEC, TBF_QOPT_LEN),
    TcaTbf.RTAB: Rule(Nla.BINARY, TC_RTAB_SIZE),
    TcaTbf.PTAB: Rule(Nla.BINARY, TC_RTAB_SIZE),
    TcaTbf.RATE64: Rule(Nla.U64),
    TcaTbf.PRATE64: Rule(Nla.U64),
    TcaTbf.BURST: Rule(Nla.U32),
    TcaTbf.PBURST: Rule(Nla.U32),
}
"""tbf_policy."""


class TcaStab(IntEnum):
    """enum in linux/pkt_sched.h: the attributes inside TCA_STAB."""

    BASE = 1
    DATA = 2


TCA_STAB_MAX = TcaStab.DATA

STAB: Policy = {TcaStab.BASE: Rule(Nla.UNSPEC, SIZESPEC_LEN), TcaStab.DATA: Rule(Nla.BINARY)}
"""stab_policy."""


class LinkLayer(IntEnum):
    """enum tc_link_layer: how a packet's bytes fill the link."""

    UNAWARE = 0
    """An old tc, which hides it in its rate table."""
    ETHERNET = 1
    ATM = 2
    """In cells of 53 bytes for every 48."""


LINKLAYER_MASK = 0x0F


@dataclass(frozen=True, slots=True)
class RateSpec:
    """struct tc_ratespec: a rate in bytes a second, and how long a packet counts.

    `mpu` is the least length, `overhead` what is added to it; `cell_log` and `cell_align` describe a
    rate table.  `overhead` and `mpu` are 16 bits unsigned, `cell_align` 16 bits signed.
    """

    rate: int
    overhead: int = 0
    mpu: int = 0
    linklayer: int = 0
    cell_log: int = 0
    cell_align: int = 0

    def encode(self) -> bytes:
        """The 12 bytes."""
        return _RATESPEC.pack(
            self.cell_log, self.linklayer, self.overhead, self.cell_align, self.mpu, self.rate
        )

    @classmethod
    def decode(cls, data: bytes) -> RateSpec:
        """The struct at the start of `data`, which is long enough."""
        cell_log, linklayer, overhead, cell_align, mpu, rate = _RATESPEC.unpack_from(data)
        return cls(rate, overhead, mpu, linklayer, cell_log, cell_align)


@dataclass(frozen=True, slots=True)
class HtbOpt:
    """struct tc_htb_opt: a class.  `buffer` and `cbuffer` are in ticks of the packet scheduler (64 ns)."""

    rate: RateSpec
    ceil: RateSpec
    buffer: int = 0
    cbuffer: int = 0
    quantum: int = 0
    level: int = 0
    prio: int = 0

    def encode(self) -> bytes:
        """The 44 bytes."""
        numbers = (self.buffer, self.cbuffer, self.quantum, self.level, self.prio)
        return _HTB_OPT.pack(self.rate.encode(), self.ceil.encode(), *numbers)

    @classmethod
    def decode(cls, data: bytes) -> HtbOpt:
        """The struct at the start of `data`, which is long enough."""
        rate, ceil, *numbers = _HTB_OPT.unpack_from(data)
        return cls(RateSpec.decode(rate), RateSpec.decode(ceil), *numbers)


@dataclass(frozen=True, slots=True)
class HtbGlob:
    """struct tc_htb_glob: the qdisc."""

    version: int = HTB_PROTOCOL
    rate2quantum: int = 10
    defcls: int = 0
    debug: int = 0
    direct_pkts: int = 0

    def encode(self) -> bytes:
        """The 20 bytes."""
        return _HTB_GLOB.pack(self.version, self.rate2quantum, self.defcls, self.debug, self.direct_pkts)

    @classmethod
    def decode(cls, data: bytes) -> HtbGlob:
        """The struct at the start of `data`, which is long enough."""
        return cls(*_HTB_GLOB.unpack_from(data))


@dataclass(frozen=True, slots=True)
class HtbXstats:
    """struct tc_htb_xstats: what htb counts of a class; tokens in ticks, signed."""

    lends: int = 0
    borrows: int = 0
    giants: int = 0
    tokens: int = 0
    ctokens: int = 0

    def encode(self) -> bytes:
        """The 20 bytes."""
        return _HTB_XSTATS.pack(self.lends, self.borrows, self.giants, self.tokens, self.ctokens)

    @classmethod
    def decode(cls, data: bytes) -> HtbXstats:
        """The struct at the start of `data`, which is long enough."""
        return cls(*_HTB_XSTATS.unpack_from(data))


HTB_XSTATS_LEN = _HTB_XSTATS.size


@dataclass(frozen=True, slots=True)
class TbfQopt:
    """struct tc_tbf_qopt: `limit` in bytes, `buffer` and `mtu` in ticks of the packet scheduler (64 ns)."""

    rate: RateSpec
    peakrate: RateSpec
    limit: int = 0
    buffer: int = 0
    mtu: int = 0

    def encode(self) -> bytes:
        """The 36 bytes."""
        return _TBF_QOPT.pack(self.rate.encode(), self.peakrate.encode(), self.limit, self.buffer, self.mtu)

    @classmethod
    def decode(cls, data: bytes) -> TbfQopt:
        """The struct at the start of `data`, which is long enough."""
        rate, peakrate, *numbers = _TBF_QOPT.unpack_from(data)
        return cls(RateSpec.decode(rate), RateSpec.decode(peakrate), *numbers)


def encode_fifo(limit: int) -> bytes:
    """struct tc_fifo_qopt: the limit of a fifo, in packets or bytes."""
    return _FIFO_QOPT.pack(limit)


def decode_fifo(data: bytes) -> int:
    """The limit, from the start of `data`, which is long enough."""
    return int(_FIFO_QOPT.unpack_from(data)[0])


def encode_prio(bands: int, priomap: bytes) -> bytes:
    """struct tc_prio_qopt: how many bands (signed), and the band of each of 16 priorities."""
    return _PRIO_QOPT.pack(bands, priomap)


def decode_prio(data: bytes) -> tuple[int, bytes]:
    """The bands and the map, from the start of `data`, which is long enough."""
    bands, priomap = _PRIO_QOPT.unpack_from(data)
    return bands, priomap


@dataclass(frozen=True, slots=True)
class SizeSpec:
    """struct tc_sizespec: how a size table is looked up (`qdisc … stab`)."""

    cell_log: int = 0
    size_log: int = 0
    cell_align: int = 0
    overhead: int = 0
    linklayer: int = 0
    mpu: int = 0
    mtu: int = 0
    tsize: int = 0

    def encode(self) -> bytes:
        """The 24 bytes."""
        return _SIZESPEC.pack(
            self.cell_log,
            self.size_log,
            self.cell_align,
            self.overhead,
            self.linklayer,
            self.mpu,
            self.mtu,
            self.tsize,
        )

    @classmethod
    def decode(cls, data: bytes) -> SizeSpec:
        """The struct at the start of `data`, which is long enough."""
        return cls(*_SIZESPEC.unpack_from(data))
