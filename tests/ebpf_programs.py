"""Random eBPF programs that the verifier takes: arithmetic, jumps forward, the stack, packet loads."""

from __future__ import annotations

from random import Random

from clsbpf.bpf.insn import (
    Insn,
    alu32_imm,
    alu32_reg,
    alu64_imm,
    alu64_reg,
    atomic,
    bswap,
    endian,
    exit_,
    jmp32_imm,
    jmp32_reg,
    jmp_imm,
    jmp_reg,
    ld_abs,
    ld_imm64,
    ld_ind,
    ldx,
    ldxs,
    mov64_reg,
    program,
    st,
    stx,
)
from clsbpf.bpf.isa import FP, R0, R1, R6, SIZE_BYTES, Alu, Atomic, Jmp, Size

DATA = (0, 2, 3, 4, 5, 7, 8, 9)
"""Registers of numbers; r6 is the context, r1 is left alone after it was copied."""
SLOTS = 4
"""8-byte stack slots in use, all written at the start."""

NUMBERS = (0, 1, 2, 7, 31, 32, 63, 64, 0x7F, 0x80, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
WIDE = (*NUMBERS, 0x100000000, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF)
ALU = (Alu.ADD, Alu.SUB, Alu.MUL, Alu.DIV, Alu.OR, Alu.AND, Alu.LSH, Alu.RSH, Alu.MOD, Alu.XOR, Alu.ARSH)
JMP = (
    *(Jmp.JEQ, Jmp.JGT, Jmp.JGE, Jmp.JSET, Jmp.JNE, Jmp.JSGT, Jmp.JSGE),
    *(Jmp.JLT, Jmp.JLE, Jmp.JSLT, Jmp.JSLE),
)
ATOMIC = (Atomic.ADD, Atomic.OR, Atomic.AND, Atomic.XOR)
SIZES = (Size.B, Size.H, Size.W, Size.DW)


def wide(random: Random) -> int:
    """A 64-bit number, often an interesting one."""
    return random.choice(WIDE) if random.random() < 0.6 else random.getrandbits(random.choice((8, 32, 64)))


def narrow(random: Random) -> int:
    """A 32-bit immediate."""
    value = random.choice(NUMBERS) if random.random() < 0.6 else random.getrandbits(32)
    return value if random.random() < 0.7 else -value


def arithmetic(random: Random) -> Insn:
    """One ALU or ALU64 instruction."""
    dst, src = random.choice(DATA), random.choice(DATA)
    is_wide = random.random() < 0.5
    by_imm, by_reg = (alu64_imm, alu64_reg) if is_wide else (alu32_imm, alu32_reg)
    kind = random.random()
    if kind < 0.08:
        return by_imm(Alu.NEG, dst, 0)
    if kind < 0.18:
        bits = random.choice((16, 32, 64))
        return bswap(dst, bits) if random.random() < 0.3 else endian(dst, bits, to_big=random.random() < 0.7)
    if kind < 0.28:
        return by_reg(Alu.MOV, dst, src, random.choice((0, 8, 16, 32) if is_wide else (0, 8, 16)))
    op = random.choice(ALU)
    signed = int(op in (Alu.DIV, Alu.MOD) and random.random() < 0.5)
    if random.random() < 0.5:
        return by_reg(op, dst, src, signed)
    imm = narrow(random)
    if op in (Alu.DIV, Alu.MOD):
        imm = imm if imm & 0xFFFFFFFF else 3
    elif op in (Alu.LSH, Alu.RSH, Alu.ARSH):
        imm %= 64 if is_wide else 32
    return by_imm(op, dst, imm, signed)


def stack(random: Random) -> Insn:
    """A load, store or atomic operation on the stack."""
    size = random.choice(SIZES)
    step = SIZE_BYTES[size]
    off = -random.randrange(step, SLOTS * 8 + 1, step)
    register = random.choice(DATA)
    kind = random.random()
    if kind < 0.3:
        return ldx(size, register, FP, off)
    if kind < 0.45 and size != Size.DW:
        return ldxs(size, register, FP, off)
    if kind < 0.6:
        return st(size, FP, off, narrow(random))
    if kind < 0.8 or size in (Size.B, Size.H):
        return stx(size, FP, off, register)
    op = random.choice(ATOMIC)
    choice = random.choice((op, op | Atomic.FETCH, int(Atomic.XCHG), int(Atomic.CMPXCHG)))
    return atomic(size, choice, FP, off, register)


def packet_load(random: Random) -> tuple[Insn, ...]:
    """LD_ABS or LD_IND; r1 to r5, which it clobbers, are given values again."""
    size = random.choice((Size.B, Size.H, Size.W))
    base = random.choice((0, 0, 0, -0x100000, -0x200000))
    offset = base + random.choice((0, 5, 12, 40, 60, 76, 78, 79, 80, 200))
    if random.random() < 0.4:
        register = random.choice((0, 7, 8, 9))
        load: tuple[Insn, ...] = (alu64_imm(Alu.AND, register, 0x1F), ld_ind(size, register, offset))
    else:
        load = (ld_abs(size, offset),)
    return (*load, *(alu64_imm(Alu.MOV, register, narrow(random)) for register in (2, 3, 4, 5)))


def jump(random: Random, over: int) -> Insn:
    """A conditional jump over `over` instructions."""
    op, dst, src = random.choice(JMP), random.choice(DATA), random.choice(DATA)
    if random.random() < 0.5:
        return random.choice((jmp_reg, jmp32_reg))(op, dst, src, over)
    return random.choice((jmp_imm, jmp32_imm))(op, dst, narrow(random), over)


def random_program(random: Random, most: int = 40) -> tuple[Insn, ...]:
    """Registers and stack slots get values, then random instructions; r0 gathers all registers at the end."""
    start = program(
        mov64_reg(R6, R1),
        *(ld_imm64(register, wide(random)) for register in DATA),
        *(st(Size.DW, FP, -8 * (slot + 1), narrow(random)) for slot in range(SLOTS)),
    )
    body: list[tuple[Insn, ...]] = []
    for _ in range(random.randrange(most)):
        kind = random.random()
        if kind < 0.55:
            body.append((arithmetic(random),))
        elif kind < 0.75:
            body.append((stack(random),))
        elif kind < 0.8:
            body.append(packet_load(random))
        else:
            body.append(())  # a jump, when it is known how far
    flat: list[Insn] = []
    for part in reversed(body):
        if part:
            flat[:0] = part
        else:
            flat.insert(0, jump(random, landing(random, flat)))
    gather = [alu64_reg(Alu.XOR, R0, register) for register in DATA if register]
    fold = (mov64_reg(2, R0), alu64_imm(Alu.RSH, 2, 32), alu32_reg(Alu.XOR, R0, 2))
    return (*start, *flat, *gather, *fold, exit_())


def landing(random: Random, following: list[Insn]) -> int:
    """How many of the instructions that follow to jump over."""
    return random.randint(0, min(len(following), 12))
