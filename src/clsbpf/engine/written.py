"""Which fields of the packet may a program write?  Results show those as columns.

Without the verifier nobody has followed a program's pointers, so this is an upper bound: a register that
anywhere holds a copy of the context is taken to hold it everywhere.  A field too many is a column too
many; none is ever missed.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..bpf.context import FIELDS
from ..bpf.insn import Insn
from ..bpf.isa import FP, R1, SIZE_BYTES, Alu, Class, Mode, Size, X, class_of, mode_of, op_of, size_of, src_of

CB_WORDS = 5
COLUMNS = ("mark", "priority", "tc_index", "queue_mapping", "tstamp", *(f"cb{n}" for n in range(CB_WORDS)))
"""The columns there may be, in their order."""

_AT = {field.name: field.offset for field in FIELDS if field.writable}
_COLUMN_AT = {
    **{
        _AT[name] + byte: name
        for name in COLUMNS
        if name in _AT
        for byte in range(8 if name == "tstamp" else 4)
    },
    **{_AT["cb"] + 4 * word + byte: f"cb{word}" for word in range(CB_WORDS) for byte in range(4)},
}


def written_columns(programs: Iterable[Iterable[Insn]]) -> tuple[str, ...]:
    """The columns that programs may write, in the order of `COLUMNS`."""
    found = {column for insns in programs for column in _written(tuple(insns))}
    return tuple(column for column in COLUMNS if column in found)


def _written(insns: tuple[Insn, ...]) -> set[str]:
    holders = _context_holders(insns)
    found: set[str] = set()
    for insn in insns:
        is_store = class_of(insn.code) in (Class.ST, Class.STX) and mode_of(insn.code) == Mode.MEM
        if is_store and insn.dst in holders:
            size = SIZE_BYTES[Size(size_of(insn.code))]
            found |= {_COLUMN_AT[at] for at in range(insn.off, insn.off + size) if at in _COLUMN_AT}
    return found


def _context_holders(insns: tuple[Insn, ...]) -> set[int]:
    """Registers that may hold the context: r1, its copies, and what comes back from the stack."""
    holders = {R1}
    before = 0
    while len(holders) > before:
        before = len(holders)
        for insn in insns:
            kind = class_of(insn.code)
            copies = kind == Class.ALU64 and op_of(insn.code) == Alu.MOV and src_of(insn.code) == X
            fills = kind == Class.LDX and insn.src == FP and size_of(insn.code) == Size.DW
            if fills or (copies and insn.src in holders):
                holders.add(insn.dst)
    return holders
