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
    """`size` bytes at `off` from what the register holds may be read or written.

    `strict`: they must be aligned; `kind`: one of "load", "signed", "store" or "atomic", which last may go
    through any kind of pointer each time.
    """

    register: int
    off: int
    size: int
    kind: str
    write: bool = False
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Atomically:
    """The register points to something that takes atomic operations."""

    register: int


@dataclass(frozen=True, slots=True)
class PacketLoad:
    """LD_ABS, LD_IND (`index` is its register): r6 is the context, and nothing is held: it may end there."""

    index: int | None = None


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
    errno: int = 22


Requirement = Readable | Access | Atomically | PacketLoad | MayEnd | MayCall | Never

_RESERVED = "uses reserved fields"


def requirements_of(insns: Sequence[Insn], at: int) -> tuple[Requirement, ...]:
    """What must hold before the instruction at `at` runs."""
    insn = insns[at]
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
    """check_reg_arg of a destination."""
    if register >= REGISTERS:
        return (Never("encoding", f"R{register} is invalid"),)
    return (Never("frame-pointer", "frame pointer is read only", 13),) if register == FP else ()


def _read(register: int) -> Requirement:
    """check_reg_arg of a source."""
    return Never("encoding", f"R{register} is invalid") if register >= REGISTERS else Readable(register)


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
        return (_read(insn.dst), *_written(insn.dst))
    if op > Alu.END:
        return (Never("encoding", f"invalid BPF_ALU opcode {op:x}"),)
    if op == Alu.MOV:
        if uses_register:
            sizes = (0, 8, 16, 32) if is64 else (0, 8, 16)
            if is64 and insn.off == 1:
                return (Never("encoding", _cast_problem(insn.imm)),)
            if insn.imm or insn.off not in sizes:
                return (Never("encoding", f"BPF_MOV {_RESERVED}"),)
            return (_read(insn.src), *_written(insn.dst))
        if insn.src or insn.off:
            return (Never("encoding", f"BPF_MOV {_RESERVED}"),)
        return _written(insn.dst)
    signed_ok = insn.off in (0, 1) if op in (Alu.DIV, Alu.MOD) else insn.off == 0
    if not signed_ok or (insn.imm if uses_register else insn.src):
        return (Never("encoding", f"BPF_ALU {_RESERVED}"),)
    needed: list[Requirement] = [_read(insn.src)] if uses_register else []
    needed.append(_read(insn.dst))
    if not uses_register:
        if op in (Alu.DIV, Alu.MOD) and insn.imm == 0:
            needed.append(Never("division", "div by zero"))
        if op in (Alu.LSH, Alu.RSH, Alu.ARSH) and not 0 <= insn.imm < (64 if is64 else 32):
            needed.append(Never("shift", f"invalid shift {insn.imm}"))
    return (*needed, *_written(insn.dst))


def _cast_problem(imm: int) -> str:
    """BPF_ADDR_SPACE_CAST: between an arena's addresses and the kernel's."""
    if imm not in (1, 1 << 16):
        return "addr_space_cast insn can only convert between address space 1 and 0"
    return "addr_space_cast insn can only be used in a program that has an associated arena"


def _jump(insn: Insn) -> tuple[Requirement, ...]:
    op, is64 = op_of(insn.code), class_of(insn.code) == Class.JMP
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
        return (Never("encoding", f"invalid BPF_JMP/JMP32 opcode {op:x}"),)
    if insn.imm if uses_register else insn.src:
        return (_read(insn.dst), Never("encoding", f"BPF_JMP/JMP32 {_RESERVED}"))
    return (_read(insn.dst), _read(insn.src)) if uses_register else (_read(insn.dst),)


def _load(insn: Insn) -> tuple[Requirement, ...]:
    size = SIZE_BYTES[Size(size_of(insn.code))]
    kind = "signed" if mode_of(insn.code) == Mode.MEMSX else "load"
    return (_read(insn.src), *_written(insn.dst), Access(insn.src, insn.off, size, kind))


def _store(insn: Insn) -> tuple[Requirement, ...]:
    mode, size = mode_of(insn.code), SIZE_BYTES[Size(size_of(insn.code))]
    access = Access(insn.dst, insn.off, size, "store", write=True)
    if class_of(insn.code) == Class.ST:
        if mode != Mode.MEM or insn.src:
            return (Never("encoding", f"BPF_ST {_RESERVED}"),)
        return (_read(insn.dst), access)
    if mode == Mode.ATOMIC:
        return _atomic(insn, size)
    if mode != Mode.MEM or insn.imm:
        return (Never("encoding", f"BPF_STX {_RESERVED}"),)
    return (_read(insn.src), _read(insn.dst), access)


_FETCHING = frozenset(int(op | Atomic.FETCH) for op in (Atomic.ADD, Atomic.OR, Atomic.AND, Atomic.XOR))
_ARITHMETIC = frozenset({int(Atomic.ADD), int(Atomic.OR), int(Atomic.AND), int(Atomic.XOR)})


def fetches(insn: Insn) -> bool:
    """Does an atomic instruction put the old value into its source register?"""
    return insn.imm in _FETCHING or insn.imm == Atomic.XCHG


def _atomic(insn: Insn, size: int) -> tuple[Requirement, ...]:
    """check_atomic."""
    if insn.imm == Atomic.LOAD_ACQ:
        return (
            _read(insn.src),
            *_written(insn.dst),
            Access(insn.src, insn.off, size, "load", strict=True),
        )  # what it loads from is looked at afterwards (`transfer`)
    if insn.imm == Atomic.STORE_REL:
        return (
            _read(insn.src),
            _read(insn.dst),
            Access(insn.dst, insn.off, size, "store", write=True, strict=True),
            Atomically(insn.dst),
        )
    if insn.imm not in _FETCHING | _ARITHMETIC | {int(Atomic.XCHG), int(Atomic.CMPXCHG)}:
        return (Never("encoding", f"BPF_ATOMIC uses invalid atomic opcode {insn.imm & 0xFFFFFFFF:02x}"),)
    if size < 4:
        return (Never("encoding", "invalid atomic operand size"),)
    needed: list[Requirement] = [_read(insn.src), _read(insn.dst)]
    if insn.imm == Atomic.CMPXCHG:
        needed.append(Readable(0))
    needed.append(Atomically(insn.dst))
    into = 0 if insn.imm == Atomic.CMPXCHG else insn.src if fetches(insn) else None
    if into is not None:
        needed.extend(_written(into))
    if into == insn.dst:
        # what is loaded replaces the address before the memory is looked at, and may be anything
        place = f"(0x0; {(1 << 64) - 1:#x})+0+{insn.off}"
        return (*needed, Never("atomic-alignment", f"misaligned access off {place} size {size}", 13))
    return (
        *needed,
        Access(insn.dst, insn.off, size, "atomic", strict=True),
        Access(insn.dst, insn.off, size, "atomic", write=True, strict=True),
    )


def _packet_or_constant(insns: Sequence[Insn], at: int) -> tuple[Requirement, ...]:
    insn, mode = insns[at], mode_of(insns[at].code)
    if insn.is_ld_imm64:
        if insn.off:
            return (Never("encoding", f"BPF_LD_IMM64 {_RESERVED}"),)
        return _written(insn.dst)
    if mode in (Mode.ABS, Mode.IND) and class_of(insn.code) == Class.LD:
        if insn.dst or insn.off or size_of(insn.code) == Size.DW or (mode == Mode.ABS and insn.src):
            return (Never("encoding", f"BPF_LD_[ABS|IND] {_RESERVED}"),)
        return (Readable(6), PacketLoad(insn.src if mode == Mode.IND else None))
    if mode == Mode.IMM:
        return (Never("encoding", "invalid BPF_LD_IMM insn"),)
    return (Never("encoding", "invalid BPF_LD mode"),)
