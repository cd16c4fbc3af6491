"""What is to be loaded, before anything looked at it: programs, maps, and the object that brought them.

A spec is a value.  It comes from tc's bytecode text, a tcpdump expression, raw instructions or an ELF
object, and says nothing about where it will run; checking or verifying it gives a program that may.

A program of an object is *linked*: its own instructions first, then those of every subprogram that it
calls, each once, in the order in which libbpf lays them out (depth first, at the first call), so that
its tag is the one that the kernel would compute.  What an instruction refers to is written into it:

    ld_imm64 src MAP_FD       imm: key into `ProgramSpec.maps`
    ld_imm64 src MAP_VALUE    imm: key into `ProgramSpec.maps`; imm of the second half: offset in the value
    ld_imm64 src FUNC         imm: distance to the function, from the next instruction on
    call     src PSEUDO_CALL  imm: the same
    call     src KFUNC_CALL   imm: index into `ProgramSpec.kfuncs`
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from ..errors import BytecodeError, ObjectError
from .classic import SockFilter
from .insn import Insn
from .maps import type_name

SCHED_CLS = "sched_cls"
SCHED_ACT = "sched_act"
SOCKET_FILTER = "socket_filter"

_PROGRAM_TYPES = (
    *("socket_filter", "kprobe", "sched_cls", "sched_act", "tracepoint", "xdp", "perf_event", "cgroup_skb"),
    *("cgroup_sock", "lwt_in", "lwt_out", "lwt_xmit", "sock_ops", "sk_skb", "cgroup_device", "sk_msg"),
    *("raw_tracepoint", "cgroup_sock_addr", "lwt_seg6local", "lirc_mode2", "sk_reuseport"),
    *("flow_dissector", "cgroup_sysctl", "raw_tracepoint_writable", "cgroup_sockopt", "tracing"),
    *("struct_ops", "ext", "lsm", "sk_lookup", "syscall", "netfilter"),
)
PROGRAM_TYPES: Mapping[str, int] = MappingProxyType(
    {name: number for number, name in enumerate(_PROGRAM_TYPES, 1)}
)
"""Every BPF_PROG_TYPE_* by name, without the prefix, in lower case.  An object may hold any of them."""

RUNNABLE_TYPES = (SOCKET_FILTER, SCHED_CLS, SCHED_ACT)
"""The types whose context is a packet as tc hands it over: those that run here."""

PIN_NONE = 0
PIN_BY_NAME = 1
"""libbpf's LIBBPF_PIN_BY_NAME; iproute2's PIN_OBJECT_NS, a directory of the object's own."""
PIN_GLOBAL_NS = 2
"""iproute2's PIN_GLOBAL_NS: one directory for all objects."""


class TypeInfo(Protocol):
    """A BTF type, as far as a spec knows it; what is there is an `objfile.btf.TypeRef`."""

    @property
    def size(self) -> int:
        """Bytes of a value."""


@dataclass(frozen=True, slots=True)
class ProgramRef:
    """Stands for a program in the initial contents of a prog_array: its name in the object."""

    name: str


@dataclass(frozen=True, slots=True)
class MapRef:
    """Stands for a map in the initial contents of a map of maps: its name in the object."""

    name: str


Initial = bytes | ProgramRef | MapRef


@dataclass(frozen=True, slots=True)
class MapSpec:
    """A map to be created (BPF_MAP_CREATE).  `type` is BPF_MAP_TYPE_*; sizes are in bytes.

    `max_entries` is as the object has it: 0 in a perf_event_array stands for the number of CPUs.
    """

    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0
    """BPF_F_* of creation."""
    map_extra: int = 0
    numa_node: int | None = None
    pinning: int = PIN_NONE
    inner: MapSpec | None = None
    """What the maps in a map of maps look like."""
    contents: tuple[tuple[bytes, Initial], ...] = ()
    """Pairs of key and value that are in it from the start; what is not there is 0."""
    frozen: bool = False
    """Is it closed to writing (from Python and system calls too) once the contents are in?"""
    key_type: TypeInfo | None = None
    value_type: TypeInfo | None = None
    id: int = 0
    """iproute2's number of the map in its object (`struct bpf_elf_map`), 0: none."""

    @property
    def type_name(self) -> str:
        """The type in words: `lpm_trie`."""
        return type_name(self.type)


@dataclass(frozen=True, slots=True)
class LineInfo:
    """struct bpf_line_info: from the instruction `insn` on, the code is that of a source line.

    `line` and `column` count from 1; `text` is the line itself, without the blanks that it begins with.
    """

    insn: int
    file: str
    line: int
    column: int
    text: str


@dataclass(frozen=True, slots=True)
class FuncInfo:
    """struct bpf_func_info: at instruction `insn` the function `name` begins.

    `type_id` is its BTF FUNC in the object's BTF, 0 where the object does not say.
    """

    insn: int
    name: str
    type_id: int = 0


@dataclass(frozen=True, slots=True)
class ProgramSpec:
    """A program to be loaded: extended (`insns`) or classic (`classic`), never both.

    `maps` says, by the immediate of a map reference in `insns`, which map is meant; a map of an object
    is the one in `ObjectSpec.maps` under the spec's name.
    """

    name: str
    type: str = SCHED_CLS
    insns: tuple[Insn, ...] = ()
    classic: tuple[SockFilter, ...] | None = None
    license: str = ""
    section: str = ""
    maps: Mapping[int, MapSpec] = field(default_factory=dict)
    kfuncs: tuple[str, ...] = ()
    """The kernel functions that are called, by the immediate of the call."""
    line_info: tuple[LineInfo, ...] = ()
    """In the order of the instructions."""
    func_info: tuple[FuncInfo, ...] = ()
    """In the order of the instructions; the program itself is first."""
    poison: Mapping[int, str] = field(default_factory=dict)
    """Instructions that could not be made to fit the kernel's types (CO-RE), and why.

    As libbpf does, each is a call of a helper that does not exist: a program that never gets there runs.
    """
    core_relocations: int = 0
    """How many of its instructions depend on the kernel's types."""
    problem: str | None = None
    """Why the program cannot be used at all, in words for its user; the instructions are as far as known."""
    autoload: bool = True
    """False where the section's name begins with `?`: libbpf loads it only when asked."""

    def __post_init__(self) -> None:
        if self.type not in PROGRAM_TYPES:
            raise BytecodeError(f"no program type {self.type!r}; there are: {', '.join(PROGRAM_TYPES)}")
        if bool(self.insns) == (self.classic is not None):
            raise BytecodeError(
                f"program {self.name!r} must have extended or classic instructions, one of the two"
            )

    @property
    def has_function_types(self) -> bool:
        """Is the type of each of its functions known?  Only then does a loader tell the kernel of them."""
        return bool(self.func_info) and all(each.type_id for each in self.func_info)

    def line_at(self, insn: int) -> LineInfo | None:
        """The source line that an instruction comes from, if the object says."""
        lines = self.line_info
        low, high = 0, len(lines)
        while low < high:
            middle = (low + high) // 2
            if lines[middle].insn <= insn:
                low = middle + 1
            else:
                high = middle
        return lines[low - 1] if low else None


@dataclass(frozen=True, slots=True)
class VariableSpec:
    """A global variable: `size` bytes at `offset` in the value of the data map `map`."""

    name: str
    map: str
    offset: int
    size: int
    type: TypeInfo | None = None


@dataclass(frozen=True, slots=True)
class ObjectSpec:
    """What an object holds: its programs (by function), maps and variables, each by name.

    Data sections are maps under the section's name.  `btf` is the object's own (`objfile.btf.Btf`).
    """

    name: str
    programs: Mapping[str, ProgramSpec] = field(default_factory=dict)
    maps: Mapping[str, MapSpec] = field(default_factory=dict)
    variables: Mapping[str, VariableSpec] = field(default_factory=dict)
    license: str = ""
    version: int = 0
    """What the section `version` holds: the kernel that old kprobe programs were made for."""
    btf: Any = None
    settings: tuple[str, ...] = ()
    """The kernel's settings that it asks for (`__kconfig`)."""
    missing: tuple[str, ...] = ()
    """What it declares weak and is not there."""

    def in_section(self, section: str) -> Iterator[ProgramSpec]:
        """The programs of a section, in their order."""
        return (program for program in self.programs.values() if program.section == section)

    def names_one(self, name: str) -> bool:
        """Is it the name of a function, or of a section that holds only one program?"""
        return name in self.programs or len(list(self.in_section(name))) == 1

    def program(self, name: str | None = None) -> ProgramSpec:
        """The program of a function or of a section that holds only one; without a name the only one.

        ObjectError says which there are.
        """
        if name is not None and name in self.programs:
            return self.programs[name]
        found = list(self.in_section(name) if name is not None else self.programs.values())
        if len(found) == 1:
            return found[0]
        there = ", ".join(_described(program) for program in found or self.programs.values()) or "none"
        if name is None:
            raise ObjectError(f"{self.name}: which program is meant? There are: {there}")
        if found:
            raise ObjectError(f"{self.name}: section {name!r} holds several programs: {there}")
        raise ObjectError(f"{self.name}: no program or section {name!r}; there are: {there}")


def _described(program: ProgramSpec) -> str:
    name, section = (each if each.isprintable() else repr(each) for each in (program.name, program.section))
    return name if program.section in ("", program.name) else f"{name} (section {section})"
