"""What must hold before an instruction runs?  A list of values, read off the instruction alone.

Nothing is decided here: `requirements_of` says of each instruction what it needs, in the order in which
the kernel looks, and `checks` finds out whether that holds where the walk has come to.  What is wrong
whatever the values are (`Never`) needs no walk, but is only told when the walk gets there: code that no
path reaches may be as it likes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..bpf.insn import Insn
from ..bpf.isa import (
    FP,
    PSEUDO_CALL,
    PSEUDO_KFUNC_CALL,
    REGISTERS,
    SIZE_BYTES,
    Alu,
    Atomic,
    Class,
    Jmp,
    Mode,
    Size,
    X,
    class_of,
    mode_of,
    op_of,
    size_of,
    src_of,
)


@dataclass(frozen=True, slots=True)
class Readable:
    """The register was written."""

    register: int


@dataclass(frozen=True, slots=True)
class Access:
    """`size` bytes at `off` from what the register holds may be read or written."""

    register: int
    off: int
    size: int
    write: bool
    signed: bool = False


@dataclass(frozen=True, slots=True)
class Atomically:
    """An atomic operation: the register points to something that takes it, at a multiple of the size."""

    register: int
    off: int
    size: int


@dataclass(frozen=True, slots=True)
class Whole:
    """The register is a number, not an address that would be stored or computed with in part."""

    register: int


@dataclass(frozen=True, slots=True)
class PacketLoad:
    """LD_ABS, LD_IND: r6 is the context, and nothing is held: the program may end there."""


@dataclass(frozen=True, slots=True)
class MayEnd:
    """The program, or the function, may end here, and with what is in r0."""


@dataclass(frozen=True, slots=True)
class MayCall:
    """A function may be called here: no lock is held, unless it is the one that releases it."""

    helper: int | None


@dataclass(frozen=True, slots=True)
class Never:
    """The instruction itself is wrong."""

    kind: str
    message: str


Requirement = Readable | Access | Atomically | Whole | PacketLoad | MayEnd | MayCall | Never

_RESERVED = "uses reserved fields"


def requirements_of(insns: Sequence[Insn], at: int) -> tuple[Requirement, ...]:
    """What must hold before the instruction at `at` runs."""
    insn = insns[at]
    if insn.dst >= REGISTERS or insn.src >= REGISTERS:
        register = insn.dst if insn.dst >= REGISTERS else insn.src
        return (Never("encoding", f"R{register} is invalid"),)
    cls = class_of(insn.code)
    match cls:
        case Class.ALU | Class.ALU64:
            return _alu(insn)
        case Class.JMP | Class.JMP32:
            return _jump(insn)
        case Class.LDX:
            return _load(insn)
        case Class.ST | Class.STX:
            return _store(insn)
        case _:
            return _packet_or_constant(insns, at)


def _written(register: int) -> tuple[Requirement, ...]:
    return (Never("frame-pointer", "frame pointer is read only"),) if register == FP else ()


def _alu(insn: Insn) -> tuple[Requirement, ...]:
    op, is64 = op_of(insn.code), class_of(insn.code) == Class.ALU64
    uses_register = src_of(insn.code) == X
    if op in (Alu.END, Alu.NEG):
        if op == Alu.NEG:
            bad = uses_register or insn.src or insn.off or insn.imm
        else:
            bad = insn.src or insn.off or insn.imm not in (16, 32, 64) or (is64 and uses_register)
        if bad:
            return (Never("encoding", f"BPF_{'NEG' if op == Alu.NEG else 'END'} {_RESERVED}"),)
        return (Readable(insn.dst), *_written(insn.dst))
    if op > Alu.END:
        return (Never("encoding", f"invalid BPF_ALU opcode {op:x}"),)
    if op == Alu.MOV:
        if uses_register:
            sizes = (0, 8, 16, 32) if is64 else (0, 8, 16)
            if insn.imm or insn.off not in sizes:
                return (Never("encoding", f"BPF_MOV {_RESERVED}"),)
            return (Readable(insn.src), *_written(insn.dst))
        if insn.src or insn.off:
            return (Never("encoding", f"BPF_MOV {_RESERVED}"),)
        return _written(insn.dst)
    signed_ok = insn.off in (0, 1) if op in (Alu.DIV, Alu.MOD) else insn.off == 0
    if not signed_ok or (insn.imm if uses_register else insn.src):
        return (Never("encoding", f"BPF_ALU {_RESERVED}"),)
    needed: list[Requirement] = [Readable(insn.src)] if uses_register else []
    needed.append(Readable(insn.dst))
    if not uses_register:
        if op in (Alu.DIV, Alu.MOD) and insn.imm == 0:
            needed.append(Never("division", "div by zero"))
        if op in (Alu.LSH, Alu.RSH, Alu.ARSH) and not 0 <= insn.imm < (64 if is64 else 32):
            needed.append(Never("shift", f"invalid shift {insn.imm}"))
    return (*needed, *_written(insn.dst))


def _jump(insn: Insn) -> tuple[Requirement, ...]:
    op, is64 = op_of(insn.code), class_of(insn.code) == Class.JMP
    name = "BPF_JMP" if is64 else "BPF_JMP32"
    uses_register = src_of(insn.code) == X
    if op == Jmp.CALL:
        bad = uses_register or not is64 or insn.dst or (insn.off and insn.src != PSEUDO_KFUNC_CALL)
        if bad or insn.src not in (0, PSEUDO_CALL, PSEUDO_KFUNC_CALL):
            return (Never("encoding", f"BPF_CALL {_RESERVED}"),)
        return (MayCall(insn.imm if not insn.src else None),)
    if op == Jmp.EXIT:
        if uses_register or not is64 or insn.imm or insn.src or insn.dst:
            return (Never("encoding", f"BPF_EXIT {_RESERVED}"),)
        return (MayEnd(),)
    if op == Jmp.JA:
        if uses_register or insn.src or insn.dst or (insn.imm if is64 else insn.off):
            return (Never("encoding", f"BPF_JA {_RESERVED}"),)
        return ()
    if op == Jmp.JCOND:
        if not is64 or uses_register or insn.src or insn.dst or insn.imm:
            return (Never("encoding", f"invalid may_goto imm {insn.imm}"),)
        return ()
    if op > Jmp.JCOND:
        return (Never("encoding", f"invalid BPF_JMP opcode {op:x}"),)
    if insn.imm if uses_register else insn.src:
        return (Never("encoding", f"{name} {_RESERVED}"),)
    return (Readable(insn.dst), Readable(insn.src)) if uses_register else (Readable(insn.dst),)


def _load(insn: Insn) -> tuple[Requirement, ...]:
    mode = mode_of(insn.code)
    if mode not in (Mode.MEM, Mode.MEMSX) or insn.imm:
        return (Never("encoding", f"BPF_LDX {_RESERVED}"),)
    if mode == Mode.MEMSX and size_of(insn.code) == Size.DW:
        return (Never("encoding", f"BPF_LDX {_RESERVED}"),)
    size = SIZE_BYTES[Size(size_of(insn.code))]
    return (
        Readable(insn.src),
        *_written(insn.dst),
        Access(insn.src, insn.off, size, False, mode == Mode.MEMSX),
    )


def _store(insn: Insn) -> tuple[Requirement, ...]:
    mode, size = mode_of(insn.code), SIZE_BYTES[Size(size_of(insn.code))]
    if class_of(insn.code) == Class.ST:
        if mode != Mode.MEM or insn.src:
            return (Never("encoding", f"BPF_ST {_RESERVED}"),)
        return (Readable(insn.dst), Access(insn.dst, insn.off, size, write=True))
    if mode == Mode.MEM:
        if insn.imm:
            return (Never("encoding", f"BPF_STX {_RESERVED}"),)
        return (Readable(insn.src), Readable(insn.dst), Access(insn.dst, insn.off, size, write=True))
    if mode == Mode.ATOMIC:
        return _atomic(insn, size)
    return (Never("encoding", f"BPF_STX {_RESERVED}"),)


_FETCHING = frozenset(int(op | Atomic.FETCH) for op in (Atomic.ADD, Atomic.OR, Atomic.AND, Atomic.XOR))
_ARITHMETIC = frozenset({int(Atomic.ADD), int(Atomic.OR), int(Atomic.AND), int(Atomic.XOR)})


def fetches(insn: Insn) -> bool:
    """Does an atomic instruction put the old value into its source register?"""
    return insn.imm in _FETCHING or insn.imm == Atomic.XCHG


def _atomic(insn: Insn, size: int) -> tuple[Requirement, ...]:
    if insn.imm == Atomic.LOAD_ACQ:
        return (
            Readable(insn.src),
            *_written(insn.dst),
            Atomically(insn.src, insn.off, size),
            Access(insn.src, insn.off, size, write=False),
        )
    if insn.imm == Atomic.STORE_REL:
        return (
            Readable(insn.src),
            Readable(insn.dst),
            Atomically(insn.dst, insn.off, size),
            Access(insn.dst, insn.off, size, write=True),
        )
    if insn.imm not in _FETCHING | _ARITHMETIC | {int(Atomic.XCHG), int(Atomic.CMPXCHG)}:
        return (Never("encoding", f"BPF_ATOMIC uses invalid atomic opcode {insn.imm & 0xFFFFFFFF:02x}"),)
    if size < 4:
        return (Never("encoding", "invalid atomic operand size"),)
    needed: list[Requirement] = [Readable(insn.src), Readable(insn.dst)]
    if insn.imm == Atomic.CMPXCHG:
        needed.append(Readable(0))
    into = 0 if insn.imm == Atomic.CMPXCHG else insn.src if fetches(insn) else None
    if fetches(insn):
        needed.extend(_written(insn.src))
    return (
        *needed,
        Whole(insn.src),
        Atomically(insn.dst, insn.off, size),
        Access(insn.dst, insn.off, size, write=False),
        # what is loaded replaces the address before the store is looked at
        Never("not-a-pointer", f"R{insn.dst} invalid mem access 'scalar'")
        if into == insn.dst
        else Access(insn.dst, insn.off, size, write=True),
    )


def _packet_or_constant(insns: Sequence[Insn], at: int) -> tuple[Requirement, ...]:
    insn, mode = insns[at], mode_of(insns[at].code)
    if insn.is_ld_imm64:
        if at + 1 >= len(insns) or insns[at + 1] != Insn(0, imm=insns[at + 1].imm):
            return (Never("encoding", "invalid bpf_ld_imm64 insn"),)
        if insn.off:
            return (Never("encoding", f"BPF_LD_IMM64 {_RESERVED}"),)
        return _written(insn.dst)
    if mode in (Mode.ABS, Mode.IND) and class_of(insn.code) == Class.LD:
        if insn.dst or insn.off or size_of(insn.code) == Size.DW or (mode == Mode.ABS and insn.src):
            return (Never("encoding", f"BPF_LD_[ABS|IND] {_RESERVED}"),)
        if mode == Mode.IND:
            return (Readable(6), Readable(insn.src), PacketLoad())
        return (Readable(6), PacketLoad())
    return (Never("encoding", "invalid BPF_LD mode"),)
