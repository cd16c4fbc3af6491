"""What came with which kernel release?  The history of what tc programs and socket filters may use.

Read off the sources of the releases (net/core/filter.c, kernel/bpf/helpers.c, the uapi headers); where a
stable series got something later than its first release, the series counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..bpf.insn import Insn
from ..bpf.isa import (
    PSEUDO_CALL,
    PSEUDO_KFUNC_CALL,
    Alu,
    Atomic,
    Class,
    Jmp,
    Mode,
    Pseudo,
    class_of,
    mode_of,
    op_of,
)
from ..bpf.maps import MapType
from ..bpf.spec import SOCKET_FILTER

Release = tuple[int, int]

# Helpers ---------------------------------------------------------------------------------------------

_NUMBERED: tuple[tuple[int, Release], ...] = (
    (50, (4, 13)), (53, (4, 14)), (57, (4, 15)), (59, (4, 16)), (64, (4, 17)), (80, (4, 18)), (83, (4, 19)),
    (90, (4, 20)), (92, (5, 0)), (98, (5, 1)), (108, (5, 2)), (109, (5, 3)), (110, (5, 4)), (115, (5, 5)),
    (118, (5, 6)), (124, (5, 7)), (135, (5, 8)), (141, (5, 9)), (155, (5, 10)), (162, (5, 11)),
    (163, (5, 12)), (165, (5, 13)), (168, (5, 14)), (175, (5, 15)), (179, (5, 16)), (185, (5, 17)),
    (193, (5, 18)), (203, (5, 19)), (207, (6, 0)), (209, (6, 1)), (211, (6, 2)),
)  # fmt: skip
"""The highest helper number of a release."""
_LATER: dict[int, Release] = {
    14: (6, 1), 15: (6, 16), 16: (6, 16), 22: (6, 16), 35: (5, 12), 37: (6, 16), 43: (5, 8), 55: (6, 16),
    80: (6, 2), 105: (5, 19), 106: (5, 19), 109: (6, 16), 117: (6, 16), 120: (6, 1), 122: (6, 13),
    123: (6, 2), 141: (6, 16), 148: (6, 16), 156: (6, 16), 157: (6, 16), 158: (5, 15), 176: (6, 16),
    180: (6, 16), 191: (6, 16),
}  # fmt: skip
"""Helpers that tc programs got later than they were made."""
_LATER_FOR_SOCKET_FILTERS: dict[int, Release] = {**_LATER, 17: (6, 16), 25: (5, 4), 122: (6, 15)}


def helper_since(number: int, program_type: str) -> Release:
    """The release that first let programs of a type call a helper."""
    made = next((release for top, release in _NUMBERED if number <= top), (99, 0))
    later = _LATER_FOR_SOCKET_FILTERS if program_type == SOCKET_FILTER else _LATER
    return max(made, later.get(number, made))


# The context and maps --------------------------------------------------------------------------------

_FIELDS: tuple[tuple[int, Release], ...] = (
    (184, (5, 16)), (180, (5, 18)), (176, (5, 7)), (164, (5, 1)), (152, (5, 0)), (144, (4, 20)),
    (140, (4, 15)),
)  # fmt: skip
"""From this offset on struct __sk_buff is of that release (the last of the list first)."""


def field_since(offset: int) -> Release:
    """The release that struct __sk_buff reaches so far since."""
    return next((release for start, release in _FIELDS if offset >= start), (4, 13))


_MAPS: dict[MapType, Release] = {
    MapType.DEVMAP: (4, 14), MapType.SOCKMAP: (4, 14), MapType.CPUMAP: (4, 15), MapType.XSKMAP: (4, 18),
    MapType.SOCKHASH: (4, 18), MapType.CGROUP_STORAGE: (4, 19), MapType.REUSEPORT_SOCKARRAY: (4, 19),
    MapType.PERCPU_CGROUP_STORAGE: (4, 20), MapType.QUEUE: (4, 20), MapType.STACK: (4, 20),
    MapType.SK_STORAGE: (5, 2), MapType.DEVMAP_HASH: (5, 4), MapType.STRUCT_OPS: (5, 6),
    MapType.RINGBUF: (5, 8), MapType.INODE_STORAGE: (5, 10), MapType.TASK_STORAGE: (5, 11),
    MapType.BLOOM_FILTER: (5, 16), MapType.USER_RINGBUF: (6, 1), MapType.CGRP_STORAGE: (6, 2),
    MapType.ARENA: (6, 9),
}  # fmt: skip


def map_since(type: int) -> Release:
    """The release that first had maps of a type."""
    return next((release for made, release in _MAPS.items() if made == type), (4, 13))


# Instructions ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that instructions need, and the release it came with."""

    name: str
    since: Release

    def needed_by(self, insn: Insn) -> bool:
        return _NEEDS[self.name](insn)


def _is_call(insn: Insn, src: int) -> bool:
    return insn.code == Class.JMP | Jmp.CALL and insn.src == src


_NEEDS: dict[str, Callable[[Insn], bool]] = {
    "bpf-to-bpf calls": lambda i: _is_call(i, PSEUDO_CALL),
    "kernel functions": lambda i: _is_call(i, PSEUDO_KFUNC_CALL),
    "function pointers (callbacks)": lambda i: i.is_ld_imm64 and i.src == Pseudo.FUNC,
    "global data (map values as constants)": lambda i: i.is_ld_imm64 and i.src == Pseudo.MAP_VALUE,
    "the JLT, JLE, JSLT and JSLE jumps": lambda i: (
        class_of(i.code) in (Class.JMP, Class.JMP32)
        and op_of(i.code) in (Jmp.JLT, Jmp.JLE, Jmp.JSLT, Jmp.JSLE)
    ),
    "32-bit jumps": lambda i: class_of(i.code) == Class.JMP32 and op_of(i.code) != Jmp.JA,
    "32-bit arithmetic shifts": lambda i: class_of(i.code) == Class.ALU and op_of(i.code) == Alu.ARSH,
    "atomics other than add": lambda i: (
        class_of(i.code) == Class.STX and mode_of(i.code) == Mode.ATOMIC and i.imm != Atomic.ADD
    ),
    "signed division, sign-extending moves and loads, bswap, long jumps": lambda i: (
        (
            class_of(i.code) in (Class.ALU, Class.ALU64)
            and op_of(i.code) in (Alu.DIV, Alu.MOD, Alu.MOV)
            and i.off != 0
        )
        or i.code == Class.ALU64 | Alu.END
        or (class_of(i.code) == Class.LDX and mode_of(i.code) == Mode.MEMSX)
        or i.code == Class.JMP32 | Jmp.JA
    ),
    "may_goto": lambda i: i.code == Class.JMP | Jmp.JCOND,
    "load-acquire and store-release": lambda i: (
        class_of(i.code) == Class.STX
        and mode_of(i.code) == Mode.ATOMIC
        and i.imm in (Atomic.LOAD_ACQ, Atomic.STORE_REL)
    ),
}

FEATURES: tuple[Feature, ...] = (
    Feature("the JLT, JLE, JSLT and JSLE jumps", (4, 14)),
    Feature("bpf-to-bpf calls", (4, 16)),
    Feature("32-bit arithmetic shifts", (5, 0)),
    Feature("32-bit jumps", (5, 1)),
    Feature("global data (map values as constants)", (5, 2)),
    Feature("atomics other than add", (5, 12)),
    Feature("function pointers (callbacks)", (5, 13)),
    Feature("kernel functions", (5, 18)),
    Feature("signed division, sign-extending moves and loads, bswap, long jumps", (6, 6)),
    Feature("may_goto", (6, 9)),
    Feature("load-acquire and store-release", (6, 15)),
)

# Rules -----------------------------------------------------------------------------------------------

LOOPS = (5, 3)
"""Before, an edge back is refused wherever it leads."""
GLOBAL_FUNCTIONS = (5, 6)
"""Before, every function is walked where it is called."""
MIXED_CALLS = (5, 10)
"""Before, a program has functions or tail calls and packet loads, not both."""
SURE_LOOKUPS = (6, 14)
"""Before, what is looked up in an array may be 0 also where the key is known."""
LIMITS: tuple[tuple[Release, tuple[int, int, int]], ...] = (
    ((5, 2), (1_000_000, 1_000_000, 8192)),
    ((4, 15), (4096, 131072, 1024)),
    ((4, 13), (4096, 98304, 1024)),
)
"""BPF_MAXINSNS, BPF_COMPLEXITY_LIMIT_INSNS and BPF_COMPLEXITY_LIMIT_JMP_SEQ, since when."""
