"""tc's text form of a classic program: `N,code jt jf k,code jt jf k,…`, decimal.

What `tc filter … bpf bytecode '…'` takes and prints, and, with newlines for the commas, what
`tcpdump -ddd` prints and `bytecode-file` reads.  Messages begin with tc's own words.

tc reads with sscanf(), which turns `0x10` into 0, 300 into 44 where 8 bits are wanted, and stops
silently at whatever follows the fourth number.  Here these are errors: the program that was meant
would not be the program that runs.  A negative `k` is taken, as tc takes it: `-1` is 4294967295.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..errors import BytecodeError
from .classic import U32, SockFilter
from .isa import BPF_MAXINSNS

_LENGTH = re.compile(r"\s*(\+?[0-9]+),", re.ASCII)
_INSN = re.compile(r"\s*(\+?[0-9]+)\s+(\+?[0-9]+)\s+(\+?[0-9]+)\s+([-+]?[0-9]+)\s*", re.ASCII)

_FIELDS = (("code", 0xFFFF), ("jt", 0xFF), ("jf", 0xFF), ("k", U32))


def parse_bytecode(text: str, *, newlines: bool = True) -> tuple[SockFilter, ...]:
    """The program that `text` spells, unchecked; BytecodeError with the instruction's index if it does not.

    With `newlines`, as in a `bytecode-file`, a newline does what a comma does; without, as on tc's
    command line, it is white space like any other.
    """
    if newlines:
        text = re.sub(r",?\n+", ",", text)
    length = _LENGTH.match(text)
    if length is None:
        raise BytecodeError(
            f"bytecode begins with the number of instructions and a comma, not {_shown(text)}"
        )
    wanted = _number(length[1], BPF_MAXINSNS)
    if not 0 < wanted <= BPF_MAXINSNS:
        raise BytecodeError(f"bytecode of {_shown(length[1])} instructions; 1 to {BPF_MAXINSNS} are allowed")

    parts = text[length.end() :].split(",")
    if parts[-1] == "":
        parts.pop()
    program = tuple(_parse_insn(index, part, wanted) for index, part in enumerate(parts))
    if len(program) < wanted:
        raise BytecodeError(
            "Parsed program length is less than encoded length parameter!"
            f" {wanted} instructions are announced, {len(program)} are there"
        )
    return program


def _parse_insn(index: int, part: str, wanted: int) -> SockFilter:
    if index >= wanted:
        raise BytecodeError(
            "Real program length exceeds encoded length parameter!"
            f" {wanted} instructions are announced, then comes {_shown(part)}",
            index,
        )
    match = _INSN.fullmatch(part)
    if match is None:
        raise BytecodeError(
            f"Error at instruction {index}! Wanted: four decimal numbers, code jt jf k; found {_shown(part)}",
            index,
        )
    values = []
    for (name, most), digits in zip(_FIELDS, match.groups(), strict=True):
        value = _number(digits, most)
        least = -0x80000000 if name == "k" else 0
        if not least <= value <= most:
            raise BytecodeError(
                f"Error at instruction {index}! {name} is {_shown(digits)}; {least} to {most} are allowed",
                index,
            )
        values.append(value & most)
    return SockFilter(*values)


def _number(digits: str, most: int) -> int:
    """The number, or one over `most` where it is far too long to be any that is allowed."""
    return int(digits) if len(digits.lstrip("+-0")) <= 10 else most + 1


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


def format_bytecode(insns: Iterable[SockFilter]) -> str:
    """The program as `tc filter show` prints it between the quotes (bpf_print_ops)."""
    program = tuple(insns)
    return ",".join([str(len(program)), *(f"{i.code} {i.jt} {i.jf} {i.k}" for i in program)])
