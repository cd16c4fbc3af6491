"""The assembly language of classic BPF, both ways: what the kernel's `bpf_asm` reads and `bpf_dbg` prints.

    l0:     ldh [12]                     instruction: mnemonic and operand, in any case
    l1:     jne #0x800, drop             jumps name labels; jneq, jlt, jle are jeq, jge, jgt turned round
    l2:     ld proto                     ancillary values have names (`#proto` is the same)
            ldx 4*([14]&0xf)
            ld [x + 16]
            st M[3]
            ret #-1
    drop:   ret #0                       ; comments: to the end of the line, /* or so */, and lines from #

White space and newlines separate, no more.  Numbers are decimal, 0x…, 0b… or octal with a leading 0.
One line is not `bpf_asm`'s: `.op code, jt, jf, k` gives the four fields of an instruction as numbers.  The
disassembler writes it where no other text would assemble to the same instruction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..errors import BytecodeError
from .classic import SKF_AD_OFF, U32, Ancillary, SockFilter
from .isa import CLASSIC_TAX, CLASSIC_TXA, A, Alu, Class, Jmp, K, Mode, Size, X, class_of, op_of

ANCILLARY_NAMES = {
    "proto": Ancillary.PROTOCOL,
    "type": Ancillary.PKTTYPE,
    "ifidx": Ancillary.IFINDEX,
    "nla": Ancillary.NLATTR,
    "nlan": Ancillary.NLATTR_NEST,
    "mark": Ancillary.MARK,
    "queue": Ancillary.QUEUE,
    "hatype": Ancillary.HATYPE,
    "rxhash": Ancillary.RXHASH,
    "cpu": Ancillary.CPU,
    "vlan_tci": Ancillary.VLAN_TAG,
    "vlan_avail": Ancillary.VLAN_TAG_PRESENT,
    "vlan_pr": Ancillary.VLAN_TAG_PRESENT,
    "poff": Ancillary.PAY_OFFSET,
    "rand": Ancillary.RANDOM,
    "vlan_tpid": Ancillary.VLAN_TPID,
}
_NAME_OF = {SKF_AD_OFF + what: name for name, what in reversed(ANCILLARY_NAMES.items())}


@dataclass(frozen=True, slots=True)
class _Syntax:
    """One way to write one opcode.

    `operand` are the tokens after the mnemonic; N stands for a number (k), E for the name of an
    ancillary value, T for the label of a jump if true, F if false, J for that of a `jmp`.
    """

    mnemonic: str
    operand: str
    code: int


def _loads() -> Iterator[_Syntax]:
    for mnemonic, size in (("ld", Size.W), ("ldh", Size.H), ("ldb", Size.B)):
        yield _Syntax(mnemonic, "E", Class.LD | Mode.ABS | size)
        yield _Syntax(mnemonic, "# E", Class.LD | Mode.ABS | size)
        yield _Syntax(mnemonic, "[ N ]", Class.LD | Mode.ABS | size)
        yield _Syntax(mnemonic, "[ x + N ]", Class.LD | Mode.IND | size)
        yield _Syntax(mnemonic, "[ x N ]", Class.LD | Mode.IND | size)  # [x+4], whose sign belongs to the 4
    for mnemonic, cls in (("ld", Class.LD), ("ldx", Class.LDX)):
        yield _Syntax(mnemonic, "# N", cls | Mode.IMM)
        yield _Syntax(f"{mnemonic}i", "# N", cls | Mode.IMM)
        yield _Syntax(f"{mnemonic}i", "N", cls | Mode.IMM)
        yield _Syntax(mnemonic, "# len", cls | Mode.LEN | Size.W)
        yield _Syntax(mnemonic, "# pktlen", cls | Mode.LEN | Size.W)  # tcpdump's word
        yield _Syntax(mnemonic, "len", cls | Mode.LEN | Size.W)
        yield _Syntax(mnemonic, "M [ N ]", cls | Mode.MEM)
    for mnemonic in ("ldxb", "ldx"):
        yield _Syntax(mnemonic, "4 * ( [ N ] & 0xf )", Class.LDX | Mode.MSH | Size.B)
    yield _Syntax("st", "M [ N ]", Class.ST)
    yield _Syntax("stx", "M [ N ]", Class.STX)


def _others() -> Iterator[_Syntax]:
    for op in (Alu.ADD, Alu.SUB, Alu.MUL, Alu.DIV, Alu.MOD, Alu.AND, Alu.OR, Alu.XOR, Alu.LSH, Alu.RSH):
        yield _Syntax(op.name.lower(), "# N", Class.ALU | op | K)
        yield _Syntax(op.name.lower(), "x", Class.ALU | op | X)
    yield _Syntax("neg", "", Class.ALU | Alu.NEG)
    for mnemonic in ("ja", "jmp"):
        yield _Syntax(mnemonic, "J", Class.JMP | Jmp.JA)
    for test in (Jmp.JEQ, Jmp.JGT, Jmp.JGE, Jmp.JSET):
        for operand, src in (("# N", K), ("x", X)):
            yield _Syntax(test.name.lower(), f"{operand} , T , F", Class.JMP | test | src)
            yield _Syntax(test.name.lower(), f"{operand} , T", Class.JMP | test | src)
    for mnemonic, opposite in (("jneq", Jmp.JEQ), ("jne", Jmp.JEQ), ("jlt", Jmp.JGE), ("jle", Jmp.JGT)):
        for operand, src in (("# N", K), ("x", X)):
            yield _Syntax(mnemonic, f"{operand} , F", Class.JMP | opposite | src)
    yield _Syntax("ret", "# N", Class.RET | K)
    yield _Syntax("ret", "a", Class.RET | A)
    yield _Syntax("ret", "x", Class.RET | X)
    yield _Syntax("tax", "", Class.MISC | CLASSIC_TAX)
    yield _Syntax("txa", "", Class.MISC | CLASSIC_TXA)


_BY_MNEMONIC: dict[str, list[tuple[list[str], int]]] = {}
_PRINTED: dict[int, _Syntax] = {}
for _syntax in (*_loads(), *_others()):
    _BY_MNEMONIC.setdefault(_syntax.mnemonic, []).append((_syntax.operand.split(), _syntax.code))
    if "E" not in _syntax.operand:
        _PRINTED.setdefault(_syntax.code, _syntax)
for _ways in _BY_MNEMONIC.values():
    _ways.sort(key=lambda way: -len(way[0]))  # the longest that fits is meant

# --- text → instructions ---------------------------------------------------------------------------

_TOKEN = re.compile(
    r"(?P<skip>/\*.*?\*/|;[^\n]*|(?m:^)\#[^\n]*|[\s%]+)"
    r"|(?P<number>0x[0-9a-f]+\b|0b[01]+\b|[-+]?[0-9]+\b)"
    r"|(?P<word>\.op\b|[a-z_][a-z0-9_]*)"
    r"|(?P<mark>[\[\]()#:,*&+])",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    line: int
    number: int | None = None


@dataclass(frozen=True, slots=True)
class _Statement:
    """An instruction whose jumps still name their labels (T, F, J)."""

    insn: SockFilter
    line: int
    targets: tuple[tuple[str, str], ...]


def assemble_classic(text: str) -> tuple[SockFilter, ...]:
    """The program that `text` spells, unchecked; BytecodeError with the line and what is wrong with it."""
    tokens = list(_tokens(text))
    labels: dict[str, int] = {}
    statements: list[_Statement] = []
    at = 0
    while at < len(tokens):
        token = tokens[at]
        if at + 1 < len(tokens) and tokens[at + 1].text == ":" and token.number is None:
            if token.text in labels:
                raise BytecodeError(f"line {token.line}: the label {token.text!r} is there already")
            labels[token.text] = len(statements)
            at += 2
            continue
        statement, at = _statement(tokens, at, len(statements))
        statements.append(statement)
    return tuple(_resolved(statement, pc, labels) for pc, statement in enumerate(statements))


def _tokens(text: str) -> Iterator[_Token]:
    at, line = 0, 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise BytecodeError(f"line {line}: unexpected {text[at]!r}")
        if match["number"]:
            yield _Token(match[0].lower(), line, _number(match[0].lower(), line))
        elif not match["skip"]:
            yield _Token(match[0], line)
        line += match[0].count("\n")
        at = match.end()


def _number(text: str, line: int) -> int:
    if text[:2] in ("0x", "0b"):
        value = int(text, 0)
    elif text.lstrip("+-")[0] == "0" and text.lstrip("+-") != "0":
        try:
            value = int(text, 8)
        except ValueError:
            raise BytecodeError(f"line {line}: {text[:24]!r} begins with 0 and is not octal") from None
    else:
        value = int(text) if len(text) <= 20 else U32 + 1
    if not -0x80000000 <= value <= U32:
        raise BytecodeError(f"line {line}: {text[:24]!r} does not fit 32 bits")
    return value


def _statement(tokens: Sequence[_Token], at: int, pc: int) -> tuple[_Statement, int]:
    """The instruction that begins at token `at`, and where the next begins."""
    head = tokens[at]
    if head.text.lower() == ".op":
        return _raw(tokens, at, pc)
    ways = _BY_MNEMONIC.get(head.text.lower())
    if ways is None:
        raise BytecodeError(f"line {head.line}: no instruction {head.text!r}", pc)
    for operand, code in ways:
        rest = tokens[at + 1 : at + 1 + len(operand)]
        if len(rest) == len(operand) and all(map(_fits, operand, rest)):
            return _built(code, operand, rest, head.line), at + 1 + len(operand)
    shown = " ".join(token.text for token in tokens[at : at + 8] if token.line == head.line)
    raise BytecodeError(f"line {head.line}: {shown!r} is not a way to write {head.text.lower()!r}", pc)


def _fits(want: str, token: _Token) -> bool:
    match want:
        case "N":
            return token.number is not None
        case "E":
            return token.text.lower() in ANCILLARY_NAMES
        case "T" | "F" | "J":
            return re.fullmatch(r"[A-Za-z_]\w*", token.text) is not None
        case "4" | "0xf":
            return token.number == int(want, 0)
        case _:
            return token.text.lower() == want.lower()


def _built(code: int, operand: Sequence[str], tokens: Sequence[_Token], line: int) -> _Statement:
    k = 0
    for want, token in zip(operand, tokens, strict=True):
        if want == "N":
            assert token.number is not None
            k = token.number & U32
        elif want == "E":
            k = SKF_AD_OFF + ANCILLARY_NAMES[token.text.lower()]
    targets = tuple((want, token.text) for want, token in zip(operand, tokens, strict=True) if want in "TFJ")
    return _Statement(SockFilter(code, k=k), line, targets)


def _raw(tokens: Sequence[_Token], at: int, pc: int) -> tuple[_Statement, int]:
    line = tokens[at].line
    rest = tokens[at + 1 : at + 8]
    values = [token.number for token in rest if token.number is not None]
    if len(values) != 4 or [token.text for token in rest[1::2]] != [","] * 3:
        raise BytecodeError(f"line {line}: .op takes four numbers: code, jt, jf, k", pc)
    code, jt, jf, k = values
    try:
        return _Statement(SockFilter(code, jt, jf, k & U32), line, ()), at + 8
    except BytecodeError:
        raise BytecodeError(
            f"line {line}: .op {code}, {jt}, {jf}, {k} does not fit 16, 8, 8, 32 bits", pc
        ) from None


_FIELD_OF: dict[str, Callable[[SockFilter, int], SockFilter]] = {
    "T": lambda insn, distance: replace(insn, jt=distance),
    "F": lambda insn, distance: replace(insn, jf=distance),
    "J": lambda insn, distance: replace(insn, k=distance),
}


def _resolved(statement: _Statement, pc: int, labels: dict[str, int]) -> SockFilter:
    """The instruction with the distances of its jumps."""
    insn = statement.insn
    for want, label in statement.targets:
        if label not in labels:
            raise BytecodeError(f"line {statement.line}: no label {label!r}", pc)
        distance = labels[label] - pc - 1
        most = U32 if want == "J" else 0xFF
        if not 0 <= distance <= most:
            raise BytecodeError(
                f"line {statement.line}: {label!r} is {distance} instructions on; a jump reaches 0 to {most}",
                pc,
            )
        insn = _FIELD_OF[want](insn, distance)
    return insn


# --- instructions → text ---------------------------------------------------------------------------

_HEX_OPS = (Alu.AND, Alu.OR, Alu.XOR)


def disassemble_classic(insns: Sequence[SockFilter]) -> str:
    """The program, a labelled line an instruction, as `bpf_dbg` prints it; `assemble_classic` reads it."""
    return "\n".join(f"l{pc}:\t{format_classic(insn, pc, len(insns))}" for pc, insn in enumerate(insns))


def format_classic(insn: SockFilter, pc: int, length: int) -> str:
    """The text of the instruction at `pc` of a program of `length`; jumps go to labels `l0`, `l1`, …"""
    syntax = _PRINTED.get(insn.code)
    targets = {"T": pc + 1 + insn.jt, "F": pc + 1 + insn.jf, "J": pc + 1 + insn.k}
    if syntax is None or not _says_all(insn, syntax) or _leaves(syntax, targets, length):
        return f".op {insn.code:#x}, {insn.jt}, {insn.jf}, {insn.k:#x}"
    if insn.code in _ABS_LOADS and insn.k in _NAME_OF:
        return f"{syntax.mnemonic} {_NAME_OF[insn.k]}"
    number = _shown(insn)
    operand = re.sub(r"[NTFJ]", lambda m: number if m[0] == "N" else f"l{targets[m[0]]}", syntax.operand)
    tight = re.sub(r"\s*([\[\](),#*&])\s*", r"\1", operand).replace(",", ", ")
    return f"{syntax.mnemonic} {tight}".rstrip()


_ABS_LOADS = tuple(Class.LD | Mode.ABS | size for size in (Size.W, Size.H, Size.B))


def _says_all(insn: SockFilter, syntax: _Syntax) -> bool:
    """Are the fields that the text does not show 0?"""
    words = syntax.operand.split()
    return (
        (insn.k == 0 or "N" in words or "J" in words)
        and (insn.jt == 0 or "T" in words)
        and (insn.jf == 0 or "F" in words)
    )


def _leaves(syntax: _Syntax, targets: dict[str, int], length: int) -> bool:
    """Does a jump leave the program, so that no label stands there?"""
    return any(targets[want] >= length for want in syntax.operand.split() if want in targets)


def _shown(insn: SockFilter) -> str:
    """k, as a programmer would write it: offsets and counts decimal, masks and values in hexadecimal."""
    cls = class_of(insn.code)
    signed = insn.k - (1 << 32) if insn.k >> 31 else insn.k
    if cls in (Class.ST, Class.STX) or (cls in (Class.LD, Class.LDX) and insn.code & 0xE0 != Mode.IMM):
        return str(signed)
    if cls == Class.ALU and op_of(insn.code) not in _HEX_OPS:
        return str(insn.k)
    return f"{insn.k:#x}" if insn.k else "0"
