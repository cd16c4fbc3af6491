"""Classic → eBPF, as the kernel runs a classic program: `bpf_convert_filter` of `net/core/filter.c`.

Since Linux 3.15 there is one machine.  A classic program becomes an extended one when it is attached:

    A            r0           X            r7
    the context  r6           M[i]         *(u32 *)(r10 - 4 * (i + 1))
    scratch      r2           packet loads LD_ABS, LD_IND (result in r0, context in r6)

A and X start as 0: by moves, where the kernel has `w0 ^= w0`, which its verifier would refuse, so that a
translation is a program like any other.  eBPF registers are 64 bits wide and A and X are 32; every
instruction here leaves the upper halves 0, so 64-bit comparisons compare what was meant.  What classic
programs load at `SKF_AD_OFF` is a field of `struct __sk_buff` where there is one (the kernel's own
translation reads struct sk_buff; the values are the same), else the result of one of the internal
functions in `helpers`.

Where a classic instruction has two targets and neither is the next, two eBPF jumps do it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..profile import CURRENT, KernelProfile
from . import insn as e
from .classic import SKF_AD_OFF, Ancillary, CheckedClassic, SockFilter
from .context import offset_of
from .helpers import CPU, HATYPE, NLATTR, NLATTR_NEST, PAY_OFFSET, RANDOM
from .insn import Insn
from .isa import (
    CLASSIC_TAX,
    CLASSIC_TXA,
    FP,
    R0,
    R1,
    R2,
    R3,
    R6,
    R7,
    Alu,
    Class,
    Jmp,
    K,
    Mode,
    Size,
    X,
    class_of,
    mode_of,
    op_of,
    size_of,
    src_of,
)
from .isa import A as RET_A

REG_A, REG_X, REG_CTX, REG_TMP = R0, R7, R6, R2

PROLOGUE = -1
"""`source` of the instructions that belong to no classic one."""


@dataclass(frozen=True, slots=True)
class TranslatedClassic:
    """A checked classic program as eBPF."""

    insns: tuple[Insn, ...]
    ctx_accesses: frozenset[int]
    """Indexes of the instructions that read `struct __sk_buff`."""
    source: tuple[int, ...]
    """For each instruction the index of the classic one that it came from; PROLOGUE for the first three."""


@dataclass(frozen=True, slots=True)
class _Jump:
    """A jump whose distance is not yet known: `target` is an index in the classic program."""

    insn: Insn
    target: int


_Piece = Insn | _Jump


def translate(program: CheckedClassic, profile: KernelProfile = CURRENT) -> TranslatedClassic:
    """The eBPF program that does what `program` does."""
    pieces: list[_Piece] = [
        e.mov32_imm(REG_A, 0),
        e.mov32_imm(REG_X, 0),
        e.mov64_reg(REG_CTX, R1),
    ]
    source = [PROLOGUE] * len(pieces)
    starts: list[int] = []
    for pc, insn in enumerate(program.insns):
        starts.append(len(pieces))
        pieces += _BY_CLASS[class_of(insn.code)](insn, pc, profile)
        source += [pc] * (len(pieces) - len(source))
    insns = tuple(
        replace(piece.insn, off=starts[piece.target] - at - 1) if isinstance(piece, _Jump) else piece
        for at, piece in enumerate(pieces)
    )
    return TranslatedClassic(
        insns,
        frozenset(at for at, i in enumerate(insns) if class_of(i.code) == Class.LDX and i.src == REG_CTX),
        tuple(source),
    )


def _field(name: str, dst: int = REG_A) -> Insn:
    return e.ldx(Size.W, dst, REG_CTX, offset_of(name))


def _scratch(word: int) -> int:
    return -4 * (word + 1)


def _load(insn: SockFilter, pc: int, profile: KernelProfile) -> list[_Piece]:
    """ld, ldh, ldb: into A."""
    size = Size(size_of(insn.code))
    match mode_of(insn.code):
        case Mode.IMM:
            return [e.mov32_imm(REG_A, insn.k)]
        case Mode.MEM:
            return [e.ldx(Size.W, REG_A, FP, _scratch(insn.k))]
        case Mode.LEN:
            return [_field("len")]
        case Mode.IND:
            return [e.ld_ind(size, REG_X, insn.k)]
        case _ if insn.k >= SKF_AD_OFF:
            return _ancillary(Ancillary(insn.k - SKF_AD_OFF), profile)
        case _:
            return [e.ld_abs(size, insn.k)]


def _load_x(insn: SockFilter, pc: int, profile: KernelProfile) -> list[_Piece]:
    """ldx, and `ldxb 4*([k]&0xf)`, which may not touch A though LD_ABS loads into it."""
    match mode_of(insn.code):
        case Mode.IMM:
            return [e.mov32_imm(REG_X, insn.k)]
        case Mode.MEM:
            return [e.ldx(Size.W, REG_X, FP, _scratch(insn.k))]
        case Mode.LEN:
            return [_field("len", REG_X)]
        case _:
            return [
                e.mov64_reg(REG_X, REG_A),
                e.ld_abs(Size.B, insn.k),
                e.alu32_imm(Alu.AND, REG_A, 0xF),
                e.alu32_imm(Alu.LSH, REG_A, 2),
                e.mov64_reg(REG_TMP, REG_X),
                e.mov64_reg(REG_X, REG_A),
                e.mov64_reg(REG_A, REG_TMP),
            ]


_FIELD_OF = {
    Ancillary.PKTTYPE: "pkt_type",
    Ancillary.MARK: "mark",
    Ancillary.QUEUE: "queue_mapping",
    Ancillary.RXHASH: "hash",
    Ancillary.VLAN_TAG: "vlan_tci",
    Ancillary.VLAN_TAG_PRESENT: "vlan_present",
}
_NETWORK_ORDER_FIELD_OF = {
    Ancillary.PROTOCOL: "protocol",
    Ancillary.VLAN_TPID: "vlan_proto",
}
_HELPER_OF = {
    Ancillary.PAY_OFFSET: PAY_OFFSET,
    Ancillary.NLATTR: NLATTR,
    Ancillary.NLATTR_NEST: NLATTR_NEST,
    Ancillary.CPU: CPU,
    Ancillary.RANDOM: RANDOM,
    Ancillary.HATYPE: HATYPE,
}

_RETURN_A_WITHOUT_DEVICE: list[_Piece] = [
    _field("ifindex", REG_TMP),
    e.jmp_imm(Jmp.JNE, REG_TMP, 0, 1),
    e.exit_(),
]


def _ancillary(what: Ancillary, profile: KernelProfile) -> list[_Piece]:
    """convert_bpf_extensions()."""
    if what is Ancillary.VLAN_TAG and profile.vlan_tci_clears_cfi:
        return [_field("vlan_tci"), e.alu32_imm(Alu.AND, REG_A, ~0x1000)]
    if what in _FIELD_OF:
        return [_field(_FIELD_OF[what])]
    if what in _NETWORK_ORDER_FIELD_OF:
        return [_field(_NETWORK_ORDER_FIELD_OF[what]), e.endian(REG_A, 16, to_big=True)]
    if what is Ancillary.IFINDEX:
        return [*_RETURN_A_WITHOUT_DEVICE, e.mov64_reg(REG_A, REG_TMP)]
    if what is Ancillary.ALU_XOR_X:
        return [e.alu32_reg(Alu.XOR, REG_A, REG_X)]
    call: list[_Piece] = [
        e.mov64_reg(R1, REG_CTX),
        e.mov64_reg(R2, REG_A),
        e.mov64_reg(R3, REG_X),
        e.call(_HELPER_OF[what]),
    ]
    return [*_RETURN_A_WITHOUT_DEVICE, *call] if what is Ancillary.HATYPE else call


def _store(insn: SockFilter, pc: int, profile: KernelProfile) -> list[_Piece]:
    """st, stx."""
    register = REG_A if class_of(insn.code) == Class.ST else REG_X
    return [e.stx(Size.W, FP, _scratch(insn.k), register)]


def _arithmetic(insn: SockFilter, pc: int, profile: KernelProfile) -> list[_Piece]:
    """A op= k, A op= X, A = -A.  Division by an X of 0 returns 0, whatever the profile says of eBPF's."""
    op = Alu(op_of(insn.code))
    if op is Alu.NEG:
        return [e.alu32_imm(Alu.NEG, REG_A, 0)]
    if src_of(insn.code) == K:
        return [e.alu32_imm(op, REG_A, insn.k)]
    divide: list[_Piece] = [e.alu32_reg(op, REG_A, REG_X)]
    if op not in (Alu.DIV, Alu.MOD):
        return divide
    return [
        e.mov32_reg(REG_X, REG_X),
        e.jmp_imm(Jmp.JNE, REG_X, 0, 2),
        e.mov32_imm(REG_A, 0),
        e.exit_(),
        *divide,
    ]


_OPPOSITE = {Jmp.JEQ: Jmp.JNE, Jmp.JGT: Jmp.JLE, Jmp.JGE: Jmp.JLT}
"""JSET has none."""


def _jump(insn: SockFilter, pc: int, profile: KernelProfile) -> list[_Piece]:
    """jmp and the conditional jumps."""
    op = Jmp(op_of(insn.code))
    if op is Jmp.JA:
        return [_Jump(e.ja(0), pc + 1 + insn.k)]
    if_true, if_false = pc + 1 + insn.jt, pc + 1 + insn.jf
    if insn.jf == 0:
        return _compare(insn, op, if_true)
    if insn.jt == 0 and op in _OPPOSITE:
        return _compare(insn, _OPPOSITE[op], if_false)
    return [*_compare(insn, op, if_true), _Jump(e.ja(0), if_false)]


def _compare(insn: SockFilter, op: Jmp, target: int) -> list[_Piece]:
    if src_of(insn.code) == X:
        return [_Jump(e.jmp_reg(op, REG_A, REG_X, 0), target)]
    if insn.k <= 0x7FFFFFFF:
        return [_Jump(e.jmp_imm(op, REG_A, insn.k, 0), target)]
    # eBPF sign-extends the immediate of a 64-bit comparison.
    return [e.mov32_imm(REG_TMP, insn.k), _Jump(e.jmp_reg(op, REG_A, REG_TMP, 0), target)]


def _return(insn: SockFilter, pc: int, profile: KernelProfile) -> list[_Piece]:
    """ret #k, ret a: A is where eBPF returns from."""
    if insn.code == Class.RET | RET_A:
        return [e.exit_()]
    return [e.mov32_imm(R0, insn.k), e.exit_()]


_TRANSFERS: dict[int, Insn] = {CLASSIC_TAX: e.mov64_reg(REG_X, REG_A), CLASSIC_TXA: e.mov64_reg(REG_A, REG_X)}


def _transfer(insn: SockFilter, pc: int, profile: KernelProfile) -> list[_Piece]:
    """tax, txa."""
    return [_TRANSFERS[insn.code & ~0x07]]


_BY_CLASS: dict[int, Callable[[SockFilter, int, KernelProfile], list[_Piece]]] = {
    Class.LD: _load,
    Class.LDX: _load_x,
    Class.ST: _store,
    Class.STX: _store,
    Class.ALU: _arithmetic,
    Class.JMP: _jump,
    Class.RET: _return,
    Class.MISC: _transfer,
}
