"""Random classic programs for tests: valid ones, nearly valid ones, and noise."""

from __future__ import annotations

from random import Random

from clsbpf.bpf import classic as c
from clsbpf.bpf.classic import SKF_AD_OFF, SKF_LL_OFF, SKF_NET_OFF, U32, Ancillary, SockFilter
from clsbpf.bpf.isa import Alu, Jmp, Size

SIZES = (Size.W, Size.H, Size.B)
ALU_OPS = (Alu.ADD, Alu.SUB, Alu.MUL, Alu.DIV, Alu.MOD, Alu.AND, Alu.OR, Alu.XOR, Alu.LSH, Alu.RSH)
JMP_OPS = (Jmp.JEQ, Jmp.JGT, Jmp.JGE, Jmp.JSET)

CONSTANTS = (0, 1, 2, 4, 12, 14, 15, 16, 20, 23, 31, 32, 33, 64, 0x7FFFFFFF, 0x80000000, 0xFFFFFF00, U32)
OFFSETS = (0, 1, 12, 14, 16, 20, 23, 26, 30, 36, 64, 0x7FFF, 0x8000, 0x7FFFFFFF, 0x80000000)


def constant(random: Random) -> int:
    """A 32-bit number, often an interesting one."""
    return random.choice(CONSTANTS) if random.random() < 0.6 else random.getrandbits(random.randint(1, 32))


def offset(random: Random) -> int:
    """Where a load may read: the packet, from a header, an ancillary value, near the edges of these."""
    kind = random.random()
    if kind < 0.55:
        return random.randrange(80)
    if kind < 0.65:
        return random.choice(OFFSETS)
    if kind < 0.85:
        return SKF_AD_OFF + random.choice(list(Ancillary))
    return (random.choice((SKF_NET_OFF, SKF_LL_OFF)) + random.randrange(-4, 64)) & U32


def valid_insn(random: Random, after: int, written: set[int]) -> SockFilter:
    """An instruction that may stand where `after` instructions follow and `written` words are written."""
    kind = random.randrange(20)
    if kind < 5:
        return c.ld_abs(random.choice(SIZES), offset(random))
    if kind < 6:
        return c.ld_ind(random.choice(SIZES), offset(random))
    if kind < 7:
        return random.choice(
            (c.ld_imm(constant(random)), c.ldx_imm(constant(random)), c.ld_len(), c.ldx_len())
        )
    if kind < 8:
        return c.ldx_msh(offset(random) if random.random() < 0.5 else 14)
    if kind < 9:
        word = random.randrange(16)
        written.add(word)
        return random.choice((c.st, c.stx))(word)
    if kind < 10 and written:
        return random.choice((c.ld_mem, c.ldx_mem))(random.choice(sorted(written)))
    if kind < 14:
        return valid_alu(random)
    if kind < 15:
        return random.choice((c.tax(), c.txa(), c.neg()))
    if kind < 16 or after < 2:
        return random.choice((c.ret_a(), c.ret_k(constant(random)))) if random.random() < 0.2 else c.tax()
    reach = min(after - 1, 255, random.choice((1, 3, 10, 255)))
    if kind < 17:
        return c.ja(random.randint(0, min(reach, 4)))
    jt, jf = random.choice(((0, reach), (reach, 0), (random.randint(0, reach), random.randint(0, reach))))
    if random.random() < 0.7:
        return c.jmp_k(random.choice(JMP_OPS), constant(random), jt, jf)
    return c.jmp_x(random.choice(JMP_OPS), jt, jf)


def valid_alu(random: Random) -> SockFilter:
    """An arithmetic instruction that the checker takes."""
    op = random.choice(ALU_OPS)
    if random.random() < 0.4:
        return c.alu_x(op)
    k = constant(random)
    if op in (Alu.LSH, Alu.RSH):
        k %= 32
    elif op in (Alu.DIV, Alu.MOD):
        k = k or 1
    return c.alu_k(op, k)


def likely_valid(random: Random, most: int = 24) -> list[SockFilter]:
    """A program that keeps every rule, but that a jump may skip a store before a read."""
    length = random.randint(0, most)
    written: set[int] = set()
    program = [valid_insn(random, length - at, written) for at in range(length)]
    return [*program, random.choice((c.ret_a(), c.ret_k(constant(random))))]


def spoiled(random: Random) -> list[SockFilter]:
    """A valid program in which one to three fields were changed."""
    program = likely_valid(random)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(program))
        i = program[at]
        program[at] = random.choice(
            (
                SockFilter(random.randrange(0x100), i.jt, i.jf, i.k),
                SockFilter(i.code ^ 1 << random.randrange(16), i.jt, i.jf, i.k),
                SockFilter(i.code, random.randrange(0x100), i.jf, i.k),
                SockFilter(i.code, i.jt, random.randrange(0x100), i.k),
                SockFilter(i.code, i.jt, i.jf, constant(random)),
                SockFilter(i.code, i.jt, i.jf, (SKF_AD_OFF + random.randrange(-4, 80)) & U32),
            )
        )
    return program


def scratch_puzzle(random: Random) -> list[SockFilter]:
    """Mostly stores, reads and jumps over a few words: what check_load_and_stores() is about."""
    length = random.randint(2, 14)
    program: list[SockFilter] = []
    for at in range(length):
        after = length - at - 1
        kind = random.random()
        word = random.randrange(3)
        if kind < 0.4:
            program.append(random.choice((c.st, c.stx))(word))
        elif kind < 0.65:
            program.append(random.choice((c.ld_mem, c.ldx_mem))(word))
        elif kind < 0.75:
            program.append(c.ja(random.randint(0, after)))
        elif kind < 0.95:
            program.append(c.jmp_k(Jmp.JEQ, 1, random.randint(0, after), random.randint(0, after)))
        else:
            program.append(c.ret_a())
    return [*program, c.ret_a()]


def noise(random: Random) -> list[SockFilter]:
    """Instructions of random fields."""
    return [
        SockFilter(
            random.randrange(random.choice((0x100, 0x10000))),
            random.randrange(4),
            random.randrange(4),
            constant(random),
        )
        for _ in range(random.randint(0, 3))
    ] + [c.ret_a()]
