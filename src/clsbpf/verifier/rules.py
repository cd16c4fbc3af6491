"""What does a kernel release allow?  Limits and features of its verifier, by profile.

The walk is that of a current kernel; a release that is older has less: fewer instructions and helpers,
no loops, no calls, fewer opcodes.  What an old release judged *differently* (how sharp its ranges were,
say) is not imitated: docs/limits.md says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..bpf.helpers import BY_NUMBER
from ..bpf.insn import Insn
from ..bpf.isa import Pseudo
from ..bpf.kfuncs import Kfunc
from ..bpf.prototypes import prototype_of
from ..bpf.spec import SOCKET_FILTER, MapSpec
from ..profile import KernelProfile
from .releases import FEATURES, LIMITS, field_since, helper_since, map_since

RELEASES = {"4.13": (4, 13), "4.19": (4, 19), "5.4": (5, 4), "5.15": (5, 15), "6.1": (6, 1), "6.12": (6, 12)}
_CURRENT = (99, 0)

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
    max_pending: int
    """BPF_COMPLEXITY_LIMIT_JMP_SEQ: branches that wait to be walked."""
    packet_writable: bool
    program_type: str

    def has_helper(self, number: int) -> bool:
        """May a program of this type call it on this release?"""
        if number not in BY_NUMBER or prototype_of(number) is None:
            return False
        of_socket_filters = self.program_type == SOCKET_FILTER
        if of_socket_filters and number not in _SOCKET_FILTER_HELPERS | _BASE_HELPERS:
            return False
        if not of_socket_filters and "current" not in BY_NUMBER[number].sched_cls:
            return False
        return helper_since(number, self.program_type) <= self.release

    def has_kfunc(self, kfunc: Kfunc) -> bool:
        """May a program of this type call this function of the kernel's?"""
        return self.program_type != SOCKET_FILTER or "tc" not in kfunc.flags

    def has_field(self, offset: int) -> bool:
        """Does struct __sk_buff reach so far, and may it be accessed there?"""
        return field_since(offset) <= self.release

    def missing_feature(self, insn: Insn, maps: Mapping[int, MapSpec]) -> str | None:
        """What an instruction needs that this release has not."""
        if self.release == _CURRENT:
            return None
        if insn.is_ld_imm64 and insn.src in _OF_MAPS and insn.imm in maps:
            spec = maps[insn.imm]
            if self.release < map_since(spec.type):
                return f"a map of type {spec.type_name}"
        for feature in FEATURES:
            if self.release < feature.since and feature.needed_by(insn):
                return feature.name
        return None


_OF_MAPS = frozenset({Pseudo.MAP_FD, Pseudo.MAP_IDX, Pseudo.MAP_VALUE, Pseudo.MAP_IDX_VALUE})


def rules_of(profile: KernelProfile, program_type: str) -> Rules:
    """The rules of a release for a type of program."""
    release = RELEASES.get(profile.name, _CURRENT)
    insns, visited, pending = next(limits for since, limits in LIMITS if since <= release)
    return Rules(release, insns, visited, pending, program_type != SOCKET_FILTER, program_type)
