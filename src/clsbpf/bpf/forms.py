"""How each eBPF instruction is written: one table, which the assembler and the disassembler both read.

The text is LLVM's and the kernel verifier's, which look like C:

    r0 = *(u32 *)(r1 +16)      w2 s>>= 3       if r1 == 0x5 goto +3      lock *(u64 *)(r1 +0) += r2

A *form* is an opcode, the fields of the instruction that are the same in all that are so written, and a
template in which the other fields have names:

    rD wD rS wS    the destination and source register, whole and lower half
    IMM HEX        the immediate, signed decimal, and as 32 bits in hexadecimal
    OFF            `off`, with its sign
    TO             the same, the distance of a jump: from the next instruction on
    TO32           `imm` as such a distance

The *shape* of a text is what is left when registers and numbers are taken out: "R += N".  Each shape
belongs to one opcode, so a line is assembled by looking up its shape.  Where LLVM and the kernel write
the same thing differently both are in the table, and the first is the one that is printed.

A 64-bit immediate load is two instructions and is written as one; `WIDE_FORMS` has these.  What has no
form (reserved opcodes, fields set that mean nothing) is written as the number that it is: `.quad 0x…`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .insn import Insn
from .isa import PSEUDO_CALL, PSEUDO_KFUNC_CALL, REGISTERS, Alu, Atomic, Class, Jmp, K, Mode, Pseudo, Size, X

REGISTER = re.compile(r"[rw](?:10|[0-9])")
NUMBER = re.compile(r"(?:[-+]\s*)*(?:0x[0-9a-fA-F]+|[0-9]+)")
_PLACEHOLDER = re.compile(r"rD|wD|rS|wS|IMM|HEX|OFF|TO32|TO")
_TOKEN = re.compile(
    rf"(?P<register>{REGISTER.pattern}\b)"
    r"|(?P<word>[A-Za-z_.$][\w.$]*)"
    r"|(?P<operator>s?(?:<<|>>|[-+*/%&|^])=|[=!]=|s?[<>]=?|s/=|s%=)"
    rf"|(?P<number>{NUMBER.pattern}\b)"
    r"|(?P<mark>[^\s,])"
    r"|(?P<space>[\s,]+)"
)
_SHAPE_OF = {"r": "R", "w": "W", "I": "N", "H": "N", "O": "N", "T": "N"}


@dataclass(frozen=True, slots=True)
class Form:
    """One way to write one kind of instruction.  A field that is None is an operand in `template`."""

    template: str
    code: int
    dst: int | None = 0
    src: int | None = 0
    off: int | None = 0
    imm: int | None = 0

    @property
    def operands(self) -> tuple[str, ...]:
        """The placeholders and literal registers of the template, in the order of the text."""
        return tuple(re.findall(rf"{_PLACEHOLDER.pattern}|\b[rw]0\b", self.template))

    @property
    def shape(self) -> str:
        """The template's shape, as `shape_of` gives it for a line written so."""
        text = _PLACEHOLDER.sub(
            lambda m: {"R": "r0", "W": "w0", "N": "+0"}[_SHAPE_OF[m[0][0]]], self.template
        )
        return shape_of(text)[0]

    def covers(self, insn: Insn) -> bool:
        """Is `insn` written so, with nothing of it lost?"""
        return (
            insn.code == self.code
            and self.dst in (None, insn.dst)
            and self.src in (None, insn.src)
            and self.off in (None, insn.off)
            and self.imm in (None, insn.imm)
            and insn.dst < REGISTERS
            and insn.src < REGISTERS
        )

    def write(self, insn: Insn) -> str:
        """The text of `insn`."""
        values = {
            "rD": f"r{insn.dst}",
            "wD": f"w{insn.dst}",
            "rS": f"r{insn.src}",
            "wS": f"w{insn.src}",
            "IMM": f"{insn.imm}",
            "HEX": f"{insn.imm_u32:#x}",
            "OFF": f"{insn.off:+d}",
            "TO": f"{insn.off:+d}",
            "TO32": f"{insn.imm:+d}",
        }
        return _PLACEHOLDER.sub(lambda m: values[m[0]], self.template)


def shape_of(text: str) -> tuple[str, list[str]]:
    """The shape of a line and the registers and numbers taken out of it, in order."""
    shape: list[str] = []
    taken: list[str] = []
    for match in _TOKEN.finditer(text):
        token = match[0]
        if match["register"]:
            shape.append(token[0].upper())
            taken.append(token)
        elif match["number"]:
            shape.append("N")
            taken.append(token)
        elif not match["space"]:
            shape.append(token)
    return " ".join(shape), taken


ALU_SYMBOLS = {
    Alu.ADD: "+=",
    Alu.SUB: "-=",
    Alu.MUL: "*=",
    Alu.DIV: "/=",
    Alu.OR: "|=",
    Alu.AND: "&=",
    Alu.LSH: "<<=",
    Alu.RSH: ">>=",
    Alu.MOD: "%=",
    Alu.XOR: "^=",
    Alu.MOV: "=",
    Alu.ARSH: "s>>=",
}
SIGNED_ALU_SYMBOLS = {Alu.DIV: "s/=", Alu.MOD: "s%="}
JMP_SYMBOLS = {
    Jmp.JEQ: "==",
    Jmp.JNE: "!=",
    Jmp.JGT: ">",
    Jmp.JGE: ">=",
    Jmp.JLT: "<",
    Jmp.JLE: "<=",
    Jmp.JSET: "&",
    Jmp.JSGT: "s>",
    Jmp.JSGE: "s>=",
    Jmp.JSLT: "s<",
    Jmp.JSLE: "s<=",
}
ATOMIC_SYMBOLS = {
    Atomic.ADD: ("+=", "add"),
    Atomic.OR: ("|=", "or"),
    Atomic.AND: ("&=", "and"),
    Atomic.XOR: ("^=", "xor"),
}
SIZES = {Size.B: "8", Size.H: "16", Size.W: "32", Size.DW: "64"}


def _arithmetic() -> Iterator[Form]:
    for cls, r in ((Class.ALU64, "r"), (Class.ALU, "w")):
        for op, symbol in ALU_SYMBOLS.items():
            yield Form(f"{r}D {symbol} {r}S", cls | op | X, dst=None, src=None)
            yield Form(f"{r}D {symbol} IMM", cls | op | K, dst=None, imm=None)
        for op, symbol in SIGNED_ALU_SYMBOLS.items():
            yield Form(f"{r}D {symbol} {r}S", cls | op | X, dst=None, src=None, off=1)
            yield Form(f"{r}D {symbol} IMM", cls | op | K, dst=None, imm=None, off=1)
        for bits in (8, 16) if cls == Class.ALU else (8, 16, 32):
            yield Form(f"{r}D = (s{bits}){r}S", cls | Alu.MOV | X, dst=None, src=None, off=bits)
        yield Form(f"{r}D = -{r}D", cls | Alu.NEG, dst=None)
    for bits in (16, 32, 64):
        yield Form(f"rD = le{bits} rD", Class.ALU | Alu.END | K, dst=None, imm=bits)
        yield Form(f"rD = be{bits} rD", Class.ALU | Alu.END | X, dst=None, imm=bits)
        yield Form(f"rD = bswap{bits} rD", Class.ALU64 | Alu.END, dst=None, imm=bits)


def _memory() -> Iterator[Form]:
    for size, bits in SIZES.items():
        yield Form(f"rD = *(u{bits} *)(rS OFF)", Class.LDX | Mode.MEM | size, dst=None, src=None, off=None)
        yield Form(f"*(u{bits} *)(rD OFF) = rS", Class.STX | Mode.MEM | size, dst=None, src=None, off=None)
        yield Form(f"*(u{bits} *)(rD OFF) = IMM", Class.ST | Mode.MEM | size, dst=None, off=None, imm=None)
        if size != Size.DW:
            # LLVM's, where it uses the lower halves: a load clears the upper half, so nothing else is meant.
            yield Form(
                f"wD = *(u{bits} *)(rS OFF)", Class.LDX | Mode.MEM | size, dst=None, src=None, off=None
            )
            yield Form(
                f"*(u{bits} *)(rD OFF) = wS", Class.STX | Mode.MEM | size, dst=None, src=None, off=None
            )
            yield Form(
                f"rD = *(s{bits} *)(rS OFF)", Class.LDX | Mode.MEMSX | size, dst=None, src=None, off=None
            )
            yield Form(f"r0 = *(u{bits} *)skb[IMM]", Class.LD | Mode.ABS | size, imm=None)
            yield Form(f"r0 = *(u{bits} *)skb[rS]", Class.LD | Mode.IND | size, src=None)
            yield Form(f"r0 = *(u{bits} *)skb[rS + IMM]", Class.LD | Mode.IND | size, src=None, imm=None)


def _atomic() -> Iterator[Form]:
    def form(template: str, size: Size, op: int) -> Form:
        return Form(template, Class.STX | Mode.ATOMIC | size, dst=None, src=None, off=None, imm=op)

    for op, (symbol, name) in ATOMIC_SYMBOLS.items():
        yield form(f"lock *(u64 *)(rD OFF) {symbol} rS", Size.DW, op)
        yield form(f"lock *(u32 *)(rD OFF) {symbol} rS", Size.W, op)
        yield form(f"lock *(u32 *)(rD OFF) {symbol} wS", Size.W, op)
        yield form(f"rS = atomic_fetch_{name}((u64 *)(rD OFF), rS)", Size.DW, op | Atomic.FETCH)
        yield form(f"rS = atomic64_fetch_{name}((u64 *)(rD OFF), rS)", Size.DW, op | Atomic.FETCH)
        yield form(f"wS = atomic_fetch_{name}((u32 *)(rD OFF), wS)", Size.W, op | Atomic.FETCH)
        yield form(f"rS = atomic_fetch_{name}((u32 *)(rD OFF), rS)", Size.W, op | Atomic.FETCH)
    yield form("rS = xchg_64(rD OFF, rS)", Size.DW, Atomic.XCHG)
    yield form("rS = atomic64_xchg((u64 *)(rD OFF), rS)", Size.DW, Atomic.XCHG)
    yield form("wS = xchg32_32(rD OFF, wS)", Size.W, Atomic.XCHG)
    yield form("rS = atomic_xchg((u32 *)(rD OFF), rS)", Size.W, Atomic.XCHG)
    yield form("r0 = cmpxchg_64(rD OFF, r0, rS)", Size.DW, Atomic.CMPXCHG)
    yield form("r0 = atomic64_cmpxchg((u64 *)(rD OFF), r0, rS)", Size.DW, Atomic.CMPXCHG)
    yield form("w0 = cmpxchg32_32(rD OFF, w0, wS)", Size.W, Atomic.CMPXCHG)
    yield form("r0 = atomic_cmpxchg((u32 *)(rD OFF), r0, rS)", Size.W, Atomic.CMPXCHG)
    for size, bits in SIZES.items():
        r = "r" if size == Size.DW else "w"
        for half in dict.fromkeys((r, "r")):
            yield form(f"{half}D = load_acquire((u{bits} *)(rS OFF))", size, Atomic.LOAD_ACQ)
            yield form(f"store_release((u{bits} *)(rD OFF), {half}S)", size, Atomic.STORE_REL)


def _jumps() -> Iterator[Form]:
    for cls, r in ((Class.JMP, "r"), (Class.JMP32, "w")):
        for op, symbol in JMP_SYMBOLS.items():
            yield Form(f"if {r}D {symbol} {r}S goto TO", cls | op | X, dst=None, src=None, off=None)
            yield Form(f"if {r}D {symbol} HEX goto TO", cls | op | K, dst=None, off=None, imm=None)
    yield Form("goto TO", Class.JMP | Jmp.JA, off=None)
    yield Form("gotol TO32", Class.JMP32 | Jmp.JA, imm=None)
    yield Form("may_goto TO", Class.JMP | Jmp.JCOND, off=None)
    yield Form("call IMM", Class.JMP | Jmp.CALL, imm=None)
    yield Form("call pcTO32", Class.JMP | Jmp.CALL, src=PSEUDO_CALL, imm=None)
    yield Form("call kfunc#IMM", Class.JMP | Jmp.CALL, src=PSEUDO_KFUNC_CALL, imm=None)
    yield Form("exit", Class.JMP | Jmp.EXIT)


FORMS: tuple[Form, ...] = (*_arithmetic(), *_memory(), *_atomic(), *_jumps())


@dataclass(frozen=True, slots=True)
class WideForm:
    """One way to write a 64-bit immediate load: by `src` (BPF_PSEUDO_*), which says what the number is.

    `template` names the first instruction's `imm` LOW, the second's HIGH, and both together FULL.
    """

    src: int
    template: str

    @property
    def pattern(self) -> re.Pattern[str]:
        """Matches the text after `rD = `."""
        escaped = re.escape(self.template).replace(r"\ ", r"\s*")
        return re.compile(re.sub(r"LOW|HIGH|FULL", lambda m: rf"(?P<{m[0]}>{NUMBER.pattern})", escaped))

    @property
    def fields(self) -> tuple[str, ...]:
        """Which of LOW, HIGH and FULL the template has."""
        return tuple(re.findall(r"LOW|HIGH|FULL", self.template))


WIDE_FORMS: tuple[WideForm, ...] = (
    WideForm(0, "FULL ll"),
    WideForm(Pseudo.MAP_FD, "map[fd:LOW]"),
    WideForm(Pseudo.MAP_VALUE, "map[fd:LOW][0]HIGH"),
    WideForm(Pseudo.BTF_ID, "btf_id[LOW]"),
    WideForm(Pseudo.FUNC, "subprog[LOW]"),
    WideForm(Pseudo.MAP_IDX, "map[idx:LOW]"),
    WideForm(Pseudo.MAP_IDX_VALUE, "map[idx:LOW][0]HIGH"),
)
