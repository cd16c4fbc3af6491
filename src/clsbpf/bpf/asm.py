"""Text → eBPF instructions: LLVM's and the kernel verifier's notation, as `forms` has it.

One instruction a line.  A line may begin with labels (`out:`), and jumps and calls may name one
(`goto out`) where the text form has a distance.  What a disassembler puts around an instruction is
skipped: a number, the bytes or `(bf)` before it, `<LBB0_2>` and comments (from `;`, `//` or ` #` on) after
it.  So the instructions of `llvm-objdump -d` and of a verifier log can be read back; only that the log
shows a 64-bit immediate like any other, and a map by an address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..errors import BytecodeError
from .forms import FORMS, WIDE_FORMS, Form, shape_of
from .helpers import BY_NAME
from .insn import INSN_BYTES, Insn, call, decode, ld_imm64, s32
from .isa import PSEUDO_CALL, PSEUDO_KFUNC_CALL, Class, Jmp

_BY_SHAPE: dict[str, Form] = {form.shape: form for form in FORMS}

_LABEL = r"[A-Za-z_.$][\w.$]*"
_AROUND = re.compile(r"//.*|;.*|(?:^|\s)#.*|<[^<>]*>\s*$")
_DUMP_PREFIX = re.compile(r"\s*[0-9]+:\s+(?:(?:[0-9a-f]{2}\s)+\s*|\([0-9a-f]{2}\)\s)?")
_LABEL_LINE = re.compile(rf"\s*({_LABEL}):(?=\s|$)|\s*[0-9a-f]+ <({_LABEL})>:\s*$")
_BRANCH = re.compile(rf"(?P<verb>.*\b(?:goto|gotol|may_goto))\s+(?:pc(?=[-+])|(?P<label>{_LABEL})$)")
_CALL = re.compile(rf"call\s+(?:(?P<name>bpf_\w+|{_LABEL})(?:#(?P<number>[0-9]+))?)$")
_QUAD = re.compile(r"\.(?:quad|8byte)\s+(0x[0-9a-fA-F]+|[0-9]+)$")
_WIDE = re.compile(r"r(?P<dst>10|[0-9])\s*=\s*(?P<value>.*)$")

_TOO_MUCH = 1 << 200
"""Stands for any number that is so long that it fits nowhere."""

_WIDE_PATTERNS = tuple((form, form.pattern) for form in WIDE_FORMS)


@dataclass(frozen=True, slots=True)
class _Statement:
    """What one line assembles to.  `label`: where it jumps, in `field` ('off' or 'imm')."""

    line: int
    insns: tuple[Insn, ...]
    label: str | None = None
    field: str = "off"


def assemble(text: str) -> tuple[Insn, ...]:
    """The program that `text` spells; BytecodeError with the line and what is wrong with it."""
    labels: dict[str, int] = {}
    statements: list[_Statement] = []
    at = 0
    for number, line in enumerate(text.splitlines(), 1):
        rest = _AROUND.sub("", line) if not _LABEL_LINE.fullmatch(line) else line
        while match := _LABEL_LINE.match(rest):
            label = match[1] or match[2]
            if label in labels:
                raise BytecodeError(f"line {number}: the label {label!r} is there already")
            labels[label] = at
            rest = rest[match.end() :]
        if prefix := _DUMP_PREFIX.match(rest):
            rest = rest[prefix.end() :]
        if rest.strip():
            statement = _statement(number, at, rest.strip())
            statements.append(statement)
            at += len(statement.insns)
    return tuple(_resolved(statements, labels))


def _resolved(statements: list[_Statement], labels: dict[str, int]) -> Iterator[Insn]:
    """The instructions, jumps to labels filled in."""
    at = 0
    for statement in statements:
        if statement.label is None:
            yield from statement.insns
        else:
            if statement.label not in labels:
                raise BytecodeError(f"line {statement.line}: no label {statement.label!r}", at)
            distance = labels[statement.label] - at - 1
            if statement.field == "imm":
                yield replace(statement.insns[0], imm=distance)
            else:
                _within(distance, -0x8000, 0x7FFF, f"the distance to {statement.label!r}", statement.line, at)
                yield replace(statement.insns[0], off=distance)
        at += len(statement.insns)


def _statement(line: int, at: int, text: str) -> _Statement:
    if match := _QUAD.match(text):
        value = _within(_number(match[1]), 0, 0xFFFFFFFFFFFFFFFF, "the number", line, at)
        return _Statement(line, decode(value.to_bytes(INSN_BYTES, "little")))
    if match := _CALL.match(text):
        return _call(line, at, match)
    wide = _wide(line, at, text)
    if wide is not None:
        return wide
    label, field = None, "off"
    if match := _BRANCH.match(text):
        label = match["label"]
        field = "imm" if match["verb"] == "gotol" else "off"
        text = f"{match['verb']} {'+0' if label else ''}{text[match.end() :]}"
    shape, taken = shape_of(text)
    form = _BY_SHAPE.get(shape)
    if form is None:
        raise BytecodeError(f"line {line}: no instruction is written {text!r}", at)
    return _Statement(line, (_filled(form, taken, text, line, at),), label, field)


def _call(line: int, at: int, match: re.Match[str]) -> _Statement:
    """`call bpf_redirect`, `call bpf_redirect#23`, or `call label`, a function of the same program."""
    name = match["name"].removeprefix("bpf_")
    if match["name"] == "kfunc" and match["number"]:
        imm = _within(_number(match["number"]), 0, 0x7FFFFFFF, "the function's BTF id", line, at)
        return _Statement(line, (Insn(Class.JMP | Jmp.CALL, src=PSEUDO_KFUNC_CALL, imm=imm),))
    if match["number"]:
        number = _within(_number(match["number"]), 0, 0x7FFFFFFF, "the helper's number", line, at)
        if name in BY_NAME and BY_NAME[name].number != number:
            raise BytecodeError(
                f"line {line}: helper {match['name']!r} is number {BY_NAME[name].number}, not {number}", at
            )
        return _Statement(line, (call(number),))
    if name in BY_NAME:
        return _Statement(line, (call(BY_NAME[name].number),))
    return _Statement(line, (Insn(Class.JMP | Jmp.CALL, src=PSEUDO_CALL),), match["name"], "imm")


def _wide(line: int, at: int, text: str) -> _Statement | None:
    """A 64-bit immediate load, or None if it is none."""
    target = _WIDE.match(text)
    if target is None:
        return None
    for form, pattern in _WIDE_PATTERNS:
        if match := pattern.fullmatch(target["value"].strip()):
            dst = int(target["dst"])
            if "FULL" in form.fields:
                value = _within(_number(match["FULL"]), -(1 << 63), (1 << 64) - 1, "the number", line, at)
                return _Statement(line, ld_imm64(dst, value))
            low = _imm(match["LOW"], line, at)
            high = _imm(match["HIGH"], line, at) if "HIGH" in form.fields else 0
            return _Statement(line, ld_imm64(dst, (high & 0xFFFFFFFF) << 32 | low & 0xFFFFFFFF, form.src))
    return None


def _filled(form: Form, taken: list[str], text: str, line: int, at: int) -> Insn:
    """The form with its operands filled in.  A register that is named twice must be the same twice."""
    values: dict[str, int] = {}
    for operand, token in zip(form.operands, taken, strict=True):
        if operand in ("r0", "w0"):
            if token != operand:
                raise BytecodeError(f"line {line}: {operand} must stand where {text!r} has {token}", at)
            continue
        if operand in ("OFF", "TO"):
            field, value = "off", _within(_number(token), -0x8000, 0x7FFF, "the offset", line, at)
        elif operand in ("IMM", "HEX", "TO32"):
            field, value = "imm", _imm(token, line, at)
        else:
            field, value = {"D": "dst", "S": "src"}[operand[1]], int(token[1:])
        if values.setdefault(field, value) != value:
            raise BytecodeError(f"line {line}: {text!r} must name one register twice", at)
    return Insn(
        form.code,
        values.get("dst", form.dst or 0),
        values.get("src", form.src or 0),
        values.get("off", form.off or 0),
        values.get("imm", form.imm or 0),
    )


def _number(text: str) -> int:
    """A number with any signs before it: `+ -0x5`."""
    digits = text.lstrip("+- \t")
    value = _TOO_MUCH if len(digits) > 40 else int(digits, 16 if digits.startswith("0x") else 10)
    return -value if text[: -len(digits)].count("-") % 2 else value


def _imm(text: str, line: int, at: int) -> int:
    """A 32-bit immediate; what is written unsigned (0xffffffff) means the same bits."""
    return s32(_within(_number(text), -0x80000000, 0xFFFFFFFF, "the immediate", line, at))


def _within(value: int, least: int, most: int, what: str, line: int, at: int) -> int:
    if not least <= value <= most:
        shown = value if abs(value) < _TOO_MUCH else "far too long"
        raise BytecodeError(f"line {line}: {what} is {shown}; {least} to {most} are allowed", at)
    return value
