"""The opcodes and registers of BPF, classic and extended.

One byte says what an instruction does.  Its low three bits are the *class*; the rest depends on it:

    ALU, ALU64, JMP, JMP32     oooo s ccc     operation, source (K immediate, X register), class
    LD, LDX, ST, STX           mmm zz ccc     mode, size, class

The values are those of `linux/filter.h`, `linux/bpf_common.h` and `linux/bpf.h`.  Classic BPF shares
most of them: classes LD..ALU mean the same, JMP has only JA, JEQ, JGT, JGE and JSET, and two classes
are its own (RET where eBPF has JMP32, MISC where it has ALU64).
"""

from __future__ import annotations

from enum import IntEnum


class Class(IntEnum):
    """The low three bits: BPF_CLASS(code)."""

    LD = 0x00
    LDX = 0x01
    ST = 0x02
    STX = 0x03
    ALU = 0x04
    JMP = 0x05
    RET = 0x06  # classic only
    JMP32 = 0x06
    MISC = 0x07  # classic only
    ALU64 = 0x07


class Size(IntEnum):
    """Bits 3-4 of a load or store: BPF_SIZE(code)."""

    W = 0x00
    H = 0x08
    B = 0x10
    DW = 0x18


SIZE_BYTES = {Size.W: 4, Size.H: 2, Size.B: 1, Size.DW: 8}


class Mode(IntEnum):
    """Bits 5-7 of a load or store: BPF_MODE(code)."""

    IMM = 0x00
    ABS = 0x20
    IND = 0x40
    MEM = 0x60
    LEN = 0x80  # classic only
    MEMSX = 0x80  # sign-extending load
    MSH = 0xA0  # classic only: 4 * (byte & 0xf)
    ATOMIC = 0xC0


class Alu(IntEnum):
    """Bits 4-7 of ALU and ALU64: BPF_OP(code)."""

    ADD = 0x00
    SUB = 0x10
    MUL = 0x20
    DIV = 0x30  # signed when off is 1
    OR = 0x40
    AND = 0x50
    LSH = 0x60
    RSH = 0x70
    NEG = 0x80
    MOD = 0x90  # signed when off is 1
    XOR = 0xA0
    MOV = 0xB0  # sign-extending when off is 8, 16 or 32
    ARSH = 0xC0
    END = 0xD0  # byte swap


class Jmp(IntEnum):
    """Bits 4-7 of JMP and JMP32: BPF_OP(code)."""

    JA = 0x00
    JEQ = 0x10
    JGT = 0x20
    JGE = 0x30
    JSET = 0x40
    JNE = 0x50
    JSGT = 0x60
    JSGE = 0x70
    CALL = 0x80
    EXIT = 0x90
    JLT = 0xA0
    JLE = 0xB0
    JSLT = 0xC0
    JSLE = 0xD0
    JCOND = 0xE0  # may_goto


K = 0x00
"""Source: the immediate (BPF_K).  In END: to little endian (BPF_TO_LE)."""
X = 0x08
"""Source: a register (BPF_X).  In END: to big endian (BPF_TO_BE)."""
A = 0x10
"""Classic RET: return the accumulator (BPF_A)."""

CLASSIC_TAX = 0x00
CLASSIC_TXA = 0x80


class Atomic(IntEnum):
    """The immediate of an ATOMIC store; FETCH may be added to the first four."""

    ADD = 0x00
    OR = 0x40
    AND = 0x50
    XOR = 0xA0
    FETCH = 0x01
    XCHG = 0xE1
    CMPXCHG = 0xF1
    LOAD_ACQ = 0x100
    STORE_REL = 0x110


class Pseudo(IntEnum):
    """`src_reg` of a 64-bit immediate load (BPF_PSEUDO_MAP_FD, ...)."""

    MAP_FD = 1
    MAP_VALUE = 2
    BTF_ID = 3
    FUNC = 4
    MAP_IDX = 5
    MAP_IDX_VALUE = 6


PSEUDO_CALL = 1
"""`src_reg` of a call to a function of the same program."""
PSEUDO_KFUNC_CALL = 2
"""`src_reg` of a call to a kernel function, by BTF id."""

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = range(11)
FP = R10
REGISTERS = 11
STACK_BYTES = 512
"""MAX_BPF_STACK: of one frame."""

BPF_MAXINSNS = 4096
"""The most instructions of a classic program."""
BPF_MEMWORDS = 16
"""Words of scratch memory of a classic program."""


def class_of(code: int) -> int:
    """BPF_CLASS(code)."""
    return code & 0x07


def size_of(code: int) -> int:
    """BPF_SIZE(code)."""
    return code & 0x18


def mode_of(code: int) -> int:
    """BPF_MODE(code)."""
    return code & 0xE0


def op_of(code: int) -> int:
    """BPF_OP(code)."""
    return code & 0xF0


def src_of(code: int) -> int:
    """BPF_SRC(code)."""
    return code & 0x08
