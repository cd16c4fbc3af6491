"""What a classic BPF program is: the instruction, its 8 bytes, and the loads that are not of the packet.

The machine that McCanne and Jacobson described in 1993, as Linux has it (`linux/filter.h`): an
accumulator A, an index register X, sixteen words of scratch memory M[], all 32 bits, and a packet to
read.  Jumps go forward only, so every program ends.

    struct sock_filter     0-1    2    3    4-7
                         ┌──────┬────┬────┬─────┐
                         │ code │ jt │ jf │  k  │      host byte order
                         └──────┴────┴────┴─────┘

`jt` and `jf` count the instructions that a conditional jump skips when its test is true, and false;
`k` is the constant.  There being no other way to reach a packet's metadata, Linux took the top of the
offsets: a load from `SKF_AD_OFF + n` gives an *ancillary* value (the table below), one from
`SKF_NET_OFF + n` counts from the network header and one from `SKF_LL_OFF + n` from the link-layer
header.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import IntEnum

from ..errors import BytecodeError
from .isa import CLASSIC_TAX, CLASSIC_TXA, A, Alu, Class, Jmp, K, Mode, Size, X

OP_BYTES = 8
_OP = struct.Struct("=HBBI")

U32 = 0xFFFFFFFF
SKF_AD_OFF = -0x1000 & U32
SKF_NET_OFF = -0x100000 & U32
SKF_LL_OFF = -0x200000 & U32


class Ancillary(IntEnum):
    """SKF_AD_*: what a load from `SKF_AD_OFF + n` gives, whatever the size of the load."""

    PROTOCOL = 0
    """skb->protocol, in host order."""
    PKTTYPE = 4
    """PACKET_HOST, PACKET_BROADCAST, …"""
    IFINDEX = 8
    """The device's ifindex; without a device the program returns A."""
    NLATTR = 12
    """Offset of the netlink attribute of type X in the attributes from offset A on; 0: none."""
    NLATTR_NEST = 16
    """The same inside the attribute at offset A."""
    MARK = 20
    QUEUE = 24
    """skb->queue_mapping."""
    HATYPE = 28
    """The device's ARPHRD_* type; without a device the program returns A."""
    RXHASH = 32
    """skb->hash as it is, not computed."""
    CPU = 36
    ALU_XOR_X = 40
    """Not a load: A ^= X, from before there was an instruction for it."""
    VLAN_TAG = 44
    """The tag's tci (without bit 0x1000 in 4.13)."""
    VLAN_TAG_PRESENT = 48
    """1 or 0."""
    PAY_OFFSET = 52
    """Offset of the payload after the transport header, as the flow dissector sees it."""
    RANDOM = 56
    VLAN_TPID = 60
    """The tag's type, in host order."""


@dataclass(frozen=True, slots=True)
class SockFilter:
    """struct sock_filter.  `code` is 16 bits, `jt` and `jf` are 8, `k` is 32, all unsigned."""

    code: int
    jt: int = 0
    jf: int = 0
    k: int = 0

    def __post_init__(self) -> None:
        if not (
            0 <= self.code <= 0xFFFF and 0 <= self.jt <= 0xFF and 0 <= self.jf <= 0xFF and 0 <= self.k <= U32
        ):
            raise BytecodeError(f"a field of {self!r} does not fit struct sock_filter")


RET_K = Class.RET | K
"""The code of `ret #k`."""


@dataclass(frozen=True, slots=True)
class CheckedClassic:
    """A program that the kernel would take (`bpf_check_classic`): safe to run, natively too.

    Only `check.check` makes one; whoever holds one need not look again.
    """

    insns: tuple[SockFilter, ...]

    def returning(self, answer: Callable[[int], int]) -> CheckedClassic:
        """The same program, but that `ret #k` returns `answer(k)`: it is as safe as this one."""
        changed = (replace(i, k=answer(i.k)) if i.code == RET_K else i for i in self.insns)
        return replace(self, insns=tuple(changed))


def encode_ops(insns: Iterable[SockFilter]) -> bytes:
    """The instructions as TCA_BPF_OPS and SO_ATTACH_FILTER carry them, 8 bytes each, host order."""
    return b"".join(_OP.pack(i.code, i.jt, i.jf, i.k) for i in insns)


def decode_ops(raw: bytes) -> tuple[SockFilter, ...]:
    """The instructions in `raw`; BytecodeError unless its length is a multiple of 8."""
    if len(raw) % OP_BYTES:
        raise BytecodeError(f"{len(raw)} bytes are not a whole number of 8-byte instructions")
    return tuple(SockFilter(*fields) for fields in _OP.iter_unpack(raw))


def ld_abs(size: Size, k: int) -> SockFilter:
    """`ld [k]`: A = the packet's bytes at offset k, big endian."""
    return SockFilter(Class.LD | Mode.ABS | size, k=k & U32)


def ld_ind(size: Size, k: int) -> SockFilter:
    """`ld [x + k]`."""
    return SockFilter(Class.LD | Mode.IND | size, k=k & U32)


def ld_ad(what: Ancillary, size: Size = Size.W) -> SockFilter:
    """An ancillary load; the size is of no consequence."""
    return ld_abs(size, SKF_AD_OFF + what)


def ld_imm(k: int) -> SockFilter:
    """`ld #k`: A = k."""
    return SockFilter(Class.LD | Mode.IMM, k=k & U32)


def ld_mem(word: int) -> SockFilter:
    """`ld M[word]`."""
    return SockFilter(Class.LD | Mode.MEM, k=word)


def ld_len() -> SockFilter:
    """`ld #len`: A = the packet's length on the wire."""
    return SockFilter(Class.LD | Mode.LEN | Size.W)


def ldx_imm(k: int) -> SockFilter:
    """`ldx #k`: X = k."""
    return SockFilter(Class.LDX | Mode.IMM, k=k & U32)


def ldx_mem(word: int) -> SockFilter:
    """`ldx M[word]`."""
    return SockFilter(Class.LDX | Mode.MEM, k=word)


def ldx_len() -> SockFilter:
    """`ldx #len`."""
    return SockFilter(Class.LDX | Mode.LEN | Size.W)


def ldx_msh(k: int) -> SockFilter:
    """`ldxb 4*([k]&0xf)`: X = the length of the IPv4 header at k."""
    return SockFilter(Class.LDX | Mode.MSH | Size.B, k=k & U32)


def st(word: int) -> SockFilter:
    """`st M[word]`: store A."""
    return SockFilter(Class.ST, k=word)


def stx(word: int) -> SockFilter:
    """`stx M[word]`: store X."""
    return SockFilter(Class.STX, k=word)


def alu_k(op: Alu, k: int) -> SockFilter:
    """`A op= k`."""
    return SockFilter(Class.ALU | op | K, k=k & U32)


def alu_x(op: Alu) -> SockFilter:
    """`A op= X`; division and modulo by zero end the program with 0."""
    return SockFilter(Class.ALU | op | X)


def neg() -> SockFilter:
    """`A = -A`."""
    return SockFilter(Class.ALU | Alu.NEG)


def ja(k: int) -> SockFilter:
    """`jmp`: skip k instructions."""
    return SockFilter(Class.JMP | Jmp.JA, k=k)


def jmp_k(op: Jmp, k: int, jt: int, jf: int) -> SockFilter:
    """Skip `jt` instructions if `A op k`, else `jf`; unsigned."""
    return SockFilter(Class.JMP | op | K, jt, jf, k & U32)


def jmp_x(op: Jmp, jt: int, jf: int) -> SockFilter:
    """Skip `jt` instructions if `A op X`, else `jf`; unsigned."""
    return SockFilter(Class.JMP | op | X, jt, jf)


def ret_k(k: int) -> SockFilter:
    """`ret #k`."""
    return SockFilter(Class.RET | K, k=k & U32)


def ret_a() -> SockFilter:
    """`ret a`."""
    return SockFilter(Class.RET | A)


def tax() -> SockFilter:
    """`tax`: X = A."""
    return SockFilter(Class.MISC | CLASSIC_TAX)


def txa() -> SockFilter:
    """`txa`: A = X."""
    return SockFilter(Class.MISC | CLASSIC_TXA)
