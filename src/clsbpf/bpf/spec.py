"""What is to be loaded, before anything looked at it: programs, maps, and the object that brought them.

A spec is a value.  It comes from tc's bytecode text, a tcpdump expression, raw instructions or an ELF
object, and says nothing about where it will run; checking or verifying it gives a program that may.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ..errors import BytecodeError
from .classic import SockFilter
from .insn import Insn

SCHED_CLS = "sched_cls"
SCHED_ACT = "sched_act"
SOCKET_FILTER = "socket_filter"

PROGRAM_TYPES: Mapping[str, int] = MappingProxyType({SOCKET_FILTER: 1, SCHED_CLS: 3, SCHED_ACT: 4})
"""The program types that are known here, with their BPF_PROG_TYPE_* numbers."""


@dataclass(frozen=True, slots=True)
class MapSpec:
    """A map to be created (BPF_MAP_CREATE).  `type` is BPF_MAP_TYPE_*; sizes are in bytes."""

    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0


@dataclass(frozen=True, slots=True)
class ProgramSpec:
    """A program to be loaded: extended (`insns`) or classic (`classic`), never both.

    `maps` says, by the immediate of a map reference in `insns`, which map of the object is meant.
    """

    name: str
    type: str = SCHED_CLS
    insns: tuple[Insn, ...] = ()
    classic: tuple[SockFilter, ...] | None = None
    license: str = ""
    section: str = ""
    maps: Mapping[int, MapSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.type not in PROGRAM_TYPES:
            raise BytecodeError(f"no program type {self.type!r}; there are: {', '.join(PROGRAM_TYPES)}")
        if bool(self.insns) == (self.classic is not None):
            raise BytecodeError(
                f"program {self.name!r} must have extended or classic instructions, one of the two"
            )


@dataclass(frozen=True, slots=True)
class ObjectSpec:
    """What an object holds: its programs and maps, each by name."""

    name: str
    programs: Mapping[str, ProgramSpec] = field(default_factory=dict)
    maps: Mapping[str, MapSpec] = field(default_factory=dict)
