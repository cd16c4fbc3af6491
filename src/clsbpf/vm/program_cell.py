"""Where does machine code find a program that may be called in another's place?  In its cell.

A cell is native memory of 8 bytes: where the program's machine code begins (struct bpf_prog's bpf_func), 0
while there is none.  Cells are taken from blocks that are never given back: a thread may still look at the
cell of a program that has just been replaced.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator

BLOCK = 512
_blocks: list[ctypes.Array[ctypes.c_uint64]] = []


def _cells() -> Iterator[int]:
    while True:
        block = (ctypes.c_uint64 * BLOCK)()
        _blocks.append(block)
        yield from itertools.islice(itertools.count(ctypes.addressof(block), 8), BLOCK)


_fresh = _cells()


def new_cell() -> int:
    """The address of an empty cell."""
    return next(_fresh)


EMPTY = new_cell()
"""The cell of what is no program: nothing native begins there."""


def write_cell(cell: int, entry: int) -> None:
    """Say where the machine code begins, or (0) that there is none."""
    ctypes.c_uint64.from_address(cell).value = entry


def read_cell(cell: int) -> int:
    """Where the machine code begins, or 0."""
    return ctypes.c_uint64.from_address(cell).value
