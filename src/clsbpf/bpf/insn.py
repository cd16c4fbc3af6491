"""One eBPF instruction: its value, its 8 bytes, and constructors that read as assembly.

    struct bpf_insn      0        1            2-3            4-7
                       ┌──────┬───────────┬──────────────┬──────────────┐
                       │ code │ src │ dst │ off (s16 LE) │ imm (s32 LE) │
                       └──────┴───────────┴──────────────┴──────────────┘

A 64-bit immediate load (`ld_imm64`) takes two of these; the second has code 0 and the upper half in
its `imm`.  It is kept as the two instructions that it is: jump offsets and instruction numbers count
both, as the kernel counts them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import BytecodeError
from .isa import Alu, Class, Jmp, K, Mode, Pseudo, Size, X

_INSN = struct.Struct("<BBhi")
INSN_BYTES = 8


@dataclass(frozen=True, slots=True)
class Insn:
    """struct bpf_insn.  `off` is signed 16 bits, `imm` signed 32 bits."""

    code: int
    dst: int = 0
    src: int = 0
    off: int = 0
    imm: int = 0

    def __post_init__(self) -> None:
        if not (
            0 <= self.code <= 0xFF
            and 0 <= self.dst <= 15
            and 0 <= self.src <= 15
            and -0x8000 <= self.off <= 0x7FFF
            and -0x80000000 <= self.imm <= 0x7FFFFFFF
        ):
            raise BytecodeError(f"a field of {self!r} does not fit struct bpf_insn")

    @property
    def is_ld_imm64(self) -> bool:
        """Is this the first half of a 64-bit immediate load?"""
        return self.code == Class.LD | Mode.IMM | Size.DW

    @property
    def imm_u32(self) -> int:
        """The immediate, unsigned."""
        return self.imm & 0xFFFFFFFF


def encode(insns: Iterable[Insn]) -> bytes:
    """The instructions as the kernel takes them, 8 bytes each, little endian."""
    return b"".join(_INSN.pack(i.code, i.src << 4 | i.dst, i.off, i.imm) for i in insns)


def decode(raw: bytes) -> tuple[Insn, ...]:
    """The instructions in `raw`; BytecodeError unless its length is a multiple of 8."""
    if len(raw) % INSN_BYTES:
        raise BytecodeError(f"{len(raw)} bytes are not a whole number of 8-byte instructions")
    return tuple(
        Insn(code, regs & 0x0F, regs >> 4, off, imm) for code, regs, off, imm in _INSN.iter_unpack(raw)
    )


def s32(value: int) -> int:
    """`value` modulo 2**32, as a signed number: what an `imm` field holds."""
    return (value & 0xFFFFFFFF ^ 0x80000000) - 0x80000000


def alu64_imm(op: Alu, dst: int, imm: int, off: int = 0) -> Insn:
    """`dst op= imm`, 64 bits (the immediate sign-extended)."""
    return Insn(Class.ALU64 | op | K, dst, 0, off, s32(imm))


def alu64_reg(op: Alu, dst: int, src: int, off: int = 0) -> Insn:
    """`dst op= src`, 64 bits."""
    return Insn(Class.ALU64 | op | X, dst, src, off)


def alu32_imm(op: Alu, dst: int, imm: int, off: int = 0) -> Insn:
    """`w(dst) op= imm`; the upper half of dst becomes 0."""
    return Insn(Class.ALU | op | K, dst, 0, off, s32(imm))


def alu32_reg(op: Alu, dst: int, src: int, off: int = 0) -> Insn:
    """`w(dst) op= w(src)`; the upper half of dst becomes 0."""
    return Insn(Class.ALU | op | X, dst, src, off)


def mov64_imm(dst: int, imm: int) -> Insn:
    """`dst = imm`, sign-extended."""
    return alu64_imm(Alu.MOV, dst, imm)


def mov64_reg(dst: int, src: int) -> Insn:
    """`dst = src`."""
    return alu64_reg(Alu.MOV, dst, src)


def mov32_imm(dst: int, imm: int) -> Insn:
    """`w(dst) = imm`."""
    return alu32_imm(Alu.MOV, dst, imm)


def mov32_reg(dst: int, src: int) -> Insn:
    """`w(dst) = w(src)`."""
    return alu32_reg(Alu.MOV, dst, src)


def endian(dst: int, bits: int, *, to_big: bool) -> Insn:
    """`dst = be16/32/64(dst)` or `le...`; on a little-endian machine only `be` swaps."""
    return Insn(Class.ALU | Alu.END | (X if to_big else K), dst, imm=bits)


def bswap(dst: int, bits: int) -> Insn:
    """`dst = bswap16/32/64(dst)`, whatever the machine."""
    return Insn(Class.ALU64 | Alu.END, dst, imm=bits)


def ld_imm64(dst: int, value: int, pseudo: Pseudo | int = 0) -> tuple[Insn, Insn]:
    """`dst = value ll`: the two instructions of a 64-bit immediate load."""
    return (
        Insn(Class.LD | Mode.IMM | Size.DW, dst, int(pseudo), 0, s32(value)),
        Insn(0, imm=s32(value >> 32)),
    )


def ld_abs(size: Size, offset: int) -> Insn:
    """`r0 = *(size *)skb[offset]` in host order; outside the packet the program ends with 0.  R6: context."""
    return Insn(Class.LD | Mode.ABS | size, imm=s32(offset))


def ld_ind(size: Size, src: int, offset: int) -> Insn:
    """`r0 = *(size *)skb[src + offset]`; as `ld_abs`."""
    return Insn(Class.LD | Mode.IND | size, 0, src, 0, s32(offset))


def ldx(size: Size, dst: int, src: int, off: int) -> Insn:
    """`dst = *(size *)(src + off)`, zero-extended."""
    return Insn(Class.LDX | Mode.MEM | size, dst, src, off)


def ldxs(size: Size, dst: int, src: int, off: int) -> Insn:
    """`dst = *(signed size *)(src + off)`, sign-extended."""
    return Insn(Class.LDX | Mode.MEMSX | size, dst, src, off)


def st(size: Size, dst: int, off: int, imm: int) -> Insn:
    """`*(size *)(dst + off) = imm`."""
    return Insn(Class.ST | Mode.MEM | size, dst, 0, off, s32(imm))


def stx(size: Size, dst: int, off: int, src: int) -> Insn:
    """`*(size *)(dst + off) = src`."""
    return Insn(Class.STX | Mode.MEM | size, dst, src, off)


def atomic(size: Size, op: int, dst: int, off: int, src: int) -> Insn:
    """`lock *(size *)(dst + off) op= src`; `op` is an `Atomic`, with FETCH or without."""
    return Insn(Class.STX | Mode.ATOMIC | size, dst, src, off, op)


def ja(off: int) -> Insn:
    """`goto +off`."""
    return Insn(Class.JMP | Jmp.JA, off=off)


def jmp_imm(op: Jmp, dst: int, imm: int, off: int) -> Insn:
    """`if dst op imm goto +off`, 64 bits."""
    return Insn(Class.JMP | op | K, dst, 0, off, s32(imm))


def jmp_reg(op: Jmp, dst: int, src: int, off: int) -> Insn:
    """`if dst op src goto +off`, 64 bits."""
    return Insn(Class.JMP | op | X, dst, src, off)


def jmp32_imm(op: Jmp, dst: int, imm: int, off: int) -> Insn:
    """`if w(dst) op imm goto +off`."""
    return Insn(Class.JMP32 | op | K, dst, 0, off, s32(imm))


def jmp32_reg(op: Jmp, dst: int, src: int, off: int) -> Insn:
    """`if w(dst) op w(src) goto +off`."""
    return Insn(Class.JMP32 | op | X, dst, src, off)


def call(helper: int) -> Insn:
    """`call helper`, by number (BPF_FUNC_*)."""
    return Insn(Class.JMP | Jmp.CALL, imm=helper)


def exit_() -> Insn:
    """`exit`: return r0."""
    return Insn(Class.JMP | Jmp.EXIT)


def program(*parts: Insn | Sequence[Insn]) -> tuple[Insn, ...]:
    """The instructions in order, sequences (as `ld_imm64` gives) laid flat."""
    flat: list[Insn] = []
    for part in parts:
        if isinstance(part, Insn):
            flat.append(part)
        else:
            flat.extend(part)
    return tuple(flat)
