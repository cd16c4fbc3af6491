"""What does a kernel release allow?  Limits and features of its verifier, by profile.

The walk is that of a current kernel; a release that is older has less: fewer instructions and helpers,
no loops, no calls, fewer opcodes.  What an old release judged *differently* (how sharp its ranges were,
say) is not imitated: docs/limits.md says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..bpf.helpers import BY_NUMBER
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
from ..bpf.kfuncs import Kfunc
from ..bpf.prototypes import prototype_of
from ..bpf.spec import SOCKET_FILTER
from ..profile import KernelProfile

RELEASES = {"4.13": (4, 13), "4.19": (4, 19), "5.4": (5, 4), "5.15": (5, 15), "6.1": (6, 1), "6.12": (6, 12)}
_CURRENT = (99, 0)

_HELPERS_BY_RELEASE: tuple[tuple[tuple[int, int], int], ...] = (
    ((4, 13), 50),
    ((4, 14), 52),
    ((4, 19), 83),
    ((5, 4), 110),
    ((5, 15), 176),
    ((6, 1), 211),
)
"""The highest helper number that a release knows."""

_LATER_FOR_TC = {
    4: (99, 0), 14: (6, 2), 15: (6, 2), 16: (6, 2), 22: (5, 15), 35: (5, 15), 37: (5, 15), 43: (4, 19),
    46: (4, 13), 55: (5, 15), 109: (6, 12), 117: (6, 12), 120: (6, 2), 141: (5, 15), 175: (6, 1),
    176: (6, 1), 105: (5, 15), 106: (5, 15), 123: (6, 2), 191: (6, 1), 180: (6, 1), 158: (5, 15),
    149: (5, 15),
}  # fmt: skip
"""Helpers that tc programs got later than they were made."""

_SOCKET_FILTER_HELPERS = frozenset({17, 25, 26, 46, 47, 68, 122})
_BASE_HELPERS = frozenset({
    1, 2, 3, 5, 6, 7, 8, 12, 14, 15, 16, 22, 35, 37, 42, 55, 80, 87, 88, 89, 93, 94, 105, 106, 109, 112,
    113, 114, 115, 117, 118, 120, 123, 125, 130, 131, 132, 133, 134, 136, 137, 138, 139, 140, 141, 148,
    149, 153, 154, 156, 157, 158, 160, 164, 165, 169, 170, 171, 172, 175, 176, 177, 178, 180, 181, 182,
    191, 194, 195, 196, 197, 198, 199, 200, 201, 202, 203, 208, 209, 210, 211,
})  # fmt: skip
"""bpf_base_func_proto, for a privileged user."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the walk asks of a release and a program type."""

    release: tuple[int, int]
    max_insns: int
    """BPF_MAXINSNS, later BPF_COMPLEXITY_LIMIT_INSNS, of a program."""
    max_visited: int
    """BPF_COMPLEXITY_LIMIT_INSNS, of the walk."""
    packet_writable: bool
    program_type: str

    def has_helper(self, number: int) -> bool:
        """May a program of this type call it on this release?"""
        if number not in BY_NUMBER or prototype_of(number) is None:
            return False
        if self.program_type == SOCKET_FILTER and number not in _SOCKET_FILTER_HELPERS | _BASE_HELPERS:
            return False
        if self.release == _CURRENT:
            return "current" in BY_NUMBER[number].sched_cls or self.program_type == SOCKET_FILTER
        if self.release == (4, 13) and self.program_type != SOCKET_FILTER:
            return "4.13" in BY_NUMBER[number].sched_cls
        known = max((top for release, top in _HELPERS_BY_RELEASE if release <= self.release), default=0)
        return number <= known and _LATER_FOR_TC.get(number, (0, 0)) <= self.release

    def has_kfunc(self, kfunc: Kfunc) -> bool:
        """May a program of this type call this function of the kernel's?"""
        return self.program_type != SOCKET_FILTER or "tc" not in kfunc.flags

    def has_field(self, offset: int) -> bool:
        """Does struct __sk_buff reach so far, and may it be accessed there?"""
        if self.release == _CURRENT:
            return True
        since = max((release for start, release in _FIELDS_SINCE if offset >= start), default=(4, 13))
        return since <= self.release

    def missing_feature(self, insn: Insn) -> str | None:
        """What an instruction needs that this release has not."""
        if self.release == _CURRENT:
            return None
        for feature in FEATURES:
            if self.release < feature.since and feature.needed_by(insn):
                return feature.name
        return None


_FIELDS_SINCE = ((76, (4, 7)), (140, (4, 15)), (152, (5, 4)), (180, (5, 18)), (184, (5, 16)))


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that instructions need, and the release it came with."""

    name: str
    since: tuple[int, int]

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
    Feature("32-bit arithmetic shifts", (4, 20)),
    Feature("32-bit jumps", (5, 1)),
    Feature("global data (map values as constants)", (5, 2)),
    Feature("atomics other than add", (5, 12)),
    Feature("function pointers (callbacks)", (5, 13)),
    Feature("kernel functions", (5, 13)),
    Feature("signed division, sign-extending moves and loads, bswap, long jumps", (6, 6)),
    Feature("may_goto", (6, 9)),
    Feature("load-acquire and store-release", (6, 15)),
)

LOOPS_SINCE = (5, 3)
"""Before, an edge back is refused wherever it leads."""

_LIMITS: Mapping[tuple[int, int], tuple[int, int]] = {(4, 13): (4096, 98304), (4, 19): (4096, 131072)}


def rules_of(profile: KernelProfile, program_type: str) -> Rules:
    """The rules of a release for a type of program."""
    release = RELEASES.get(profile.name, _CURRENT)
    insns, visited = _LIMITS.get(release, (1_000_000, 1_000_000))
    return Rules(release, insns, visited, program_type != SOCKET_FILTER, program_type)
