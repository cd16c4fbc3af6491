"""What does a program run with?  `link` puts a program and the maps it names together.

A spec's instructions refer to maps by a key into `ProgramSpec.maps`; those of a `LinkedProgram` have the
map's address there, as the kernel's verifier leaves them (resolve_pseudo_ldimm64, then the address of the
map, or for MAP_VALUE of a place in the map's only value, in the two halves of the immediate).  It holds
the maps, so that they live as long as the program does, and what the verifier said of it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..bpf.helpers import BY_NUMBER
from ..bpf.insn import Insn, s32
from ..bpf.isa import PSEUDO_CALL, PSEUDO_KFUNC_CALL, Class, Jmp, Pseudo
from ..bpf.maps import MapFlag, MapType
from ..bpf.spec import LineInfo, ProgramSpec
from ..errors import BytecodeError, ProgramFault
from ..verifier.program import VerifiedProgram
from .helpers import BODIES, CONTROLLED, KFUNCS, REFUSED
from .ids import PROGRAM_IDS
from .maps.header import MapAt
from .maps.map import Map
from .memory import Region
from .program_cell import new_cell
from .subset import load_i64

_CALL = Class.JMP | Jmp.CALL
_BY_KEY = (Pseudo.MAP_FD, Pseudo.MAP_IDX)
_VALUE_BY_KEY = (Pseudo.MAP_VALUE, Pseudo.MAP_IDX_VALUE)


@dataclass(frozen=True, eq=False)
class LinkedProgram:
    """struct bpf_prog as the interpreter takes it: references resolved, maps held.

    `regions` are the values that instructions have the address of.  `kfuncs` are the names of kernel
    functions by the immediate of their calls.
    """

    insns: tuple[Insn, ...]
    name: str = ""
    maps: tuple[Map, ...] = ()
    regions: tuple[Region, ...] = ()
    kfuncs: tuple[str, ...] = ()
    type: str = "sched_cls"
    poison: Mapping[int, str] = field(default_factory=dict)
    spec: ProgramSpec | None = None
    verified: VerifiedProgram | None = None
    """The verifier's judgement; without it only the checked interpreter may run the program."""
    references: Mapping[int, Map] = field(default_factory=dict)
    """The map that an instruction (the first half of a 64-bit immediate) refers to."""
    native: dict[str, object] = field(default_factory=dict, init=False)
    """Its machine code, by the profile's name (native_program.py)."""
    id: int = field(default_factory=PROGRAM_IDS.next)
    """What a slot of a prog_array holds for it; not 0."""

    @functools.cached_property
    def address(self) -> int:
        """Where the program is for a prog_array's slot: its cell (program_cell.py)."""
        return new_cell()

    def line_at(self, insn: int) -> LineInfo | None:
        """The source line that an instruction comes from, if the object says."""
        return self.spec.line_at(insn) if self.spec is not None else None

    @functools.cached_property
    def missing(self) -> str | None:
        """What the program calls that is not there, in words; None when all of it is."""
        for at, insn in enumerate(self.insns):
            if insn.is_ld_imm64 and insn.src == Pseudo.BTF_ID:
                return f"instruction {at}: takes the address of {_kernel_name(insn.imm)}: no kernel runs here"
            if insn.code != _CALL or at in self.poison:
                continue
            reason = call_refusal(insn, self.kfuncs)
            if reason is not None:
                return f"instruction {at}: {reason}"
        return None

    def require_helpers(self) -> None:
        """Raises ProgramFault, with its name, when the program calls what is not there."""
        if self.missing is not None:
            at = int(self.missing.split()[1].rstrip(":"))
            who = f"program {self.name}: " if self.name else ""
            raise ProgramFault(who + self.missing, at)


def _kernel_name(id: int) -> str:
    """What an id in the running kernel's BTF is the name of, in words."""
    from ..objfile.files import machine_btf

    types = machine_btf()
    return f"the kernel's {types.name(id)!r}" if types and 0 < id < len(types) else f"the kernel's type {id}"


def call_refusal(insn: Insn, kfuncs: Sequence[str]) -> str | None:
    """Why a call cannot be made, in words; None when it can."""
    if insn.src == PSEUDO_CALL:
        return None
    if insn.src == PSEUDO_KFUNC_CALL:
        if not 0 <= insn.imm < len(kfuncs):
            return f"there is no kernel function {insn.imm}"
        name = kfuncs[insn.imm]
        return None if name in KFUNCS else f"the kernel function {name} is not there"
    if insn.src == 0 and (insn.imm in BODIES or insn.imm in CONTROLLED):
        return None
    helper = BY_NUMBER.get(insn.imm)
    if insn.src or helper is None:
        return f"there is no helper {insn.imm}"
    if helper.name in REFUSED:
        return f"{helper.symbol} (helper {insn.imm}) is not there: {REFUSED[helper.name]}"
    if not helper.sched_cls:
        return f"{helper.symbol} (helper {insn.imm}) is not for tc programs"
    return f"{helper.symbol} (helper {insn.imm}) is not there"


def link(
    spec: ProgramSpec, maps: Mapping[str, Map], verified: VerifiedProgram | None = None
) -> LinkedProgram:
    """The program of a spec, with maps by name; BytecodeError names one that is missing.

    `verified` is what the verifier made of the very same spec, if it was asked.
    """
    assert verified is None or verified.insns == spec.insns
    by_key: dict[int, Map] = {}
    for key, wanted in spec.maps.items():
        if wanted.name not in maps:
            there = ", ".join(maps) or "none"
            raise BytecodeError(f"program {spec.name}: no map {wanted.name!r}; there are: {there}")
        by_key[key] = maps[wanted.name]
    linked = link_instructions(spec.insns, by_key, name=spec.name, type=spec.type, kfuncs=spec.kfuncs)
    return replace(linked, spec=spec, poison=spec.poison, verified=verified)


def link_instructions(
    insns: Iterable[Insn],
    maps: Mapping[int, Map],
    *,
    name: str = "",
    type: str = "sched_cls",
    kfuncs: tuple[str, ...] = (),
) -> LinkedProgram:
    """Instructions with the maps that their map references name by key."""
    linked = list(insns)
    used: dict[Map, None] = {}
    regions: dict[int, Region] = {}
    references: dict[int, Map] = {}
    for at, insn in enumerate(linked):
        if not insn.is_ld_imm64 or insn.src not in (*_BY_KEY, *_VALUE_BY_KEY):
            continue
        if at + 1 == len(linked):
            raise BytecodeError(f"instruction {at}: the second half of a 64-bit immediate is missing", at)
        found = maps.get(insn.imm)
        if found is None:
            there = ", ".join(str(key) for key in maps) or "none"
            raise BytecodeError(f"instruction {at}: no map {insn.imm}; there are: {there}", at)
        used[found] = None
        references[at] = found
        address = found.address
        if insn.src in _VALUE_BY_KEY:
            address = _value_address(at, found, linked[at + 1].imm)
            region = value_region(found, load_i64(found.address + MapAt.ELEMENTS))
            regions[region.base] = region
        linked[at] = Insn(insn.code, insn.dst, 0, insn.off, s32(address))
        linked[at + 1] = Insn(0, 0, 0, 0, s32(address >> 32))
    return LinkedProgram(
        tuple(linked), name, tuple(used), tuple(regions.values()), kfuncs, type, references=references
    )


def _value_address(at: int, map: Map, offset: int) -> int:
    """array_map_direct_value_addr: a place in the value of an array that has only one."""
    if map.spec.type != MapType.ARRAY or map.spec.max_entries != 1:
        raise BytecodeError(f"instruction {at}: map {map.spec.name!r} is not an array of one value", at)
    if not 0 <= offset < map.spec.value_size:
        raise BytecodeError(
            f"instruction {at}: offset {offset} in map {map.spec.name!r}, whose value has"
            f" {map.spec.value_size} bytes",
            at,
        )
    return load_i64(map.address + MapAt.ELEMENTS) + offset


def value_region(map: Map, address: int) -> Region:
    """The memory of one value of a map, for a program."""
    flags = map.spec.flags
    return Region(
        f"value of map {map.spec.name}",
        address,
        map.spec.value_size,
        writable=not flags & MapFlag.RDONLY_PROG,
        readable=not flags & MapFlag.WRONLY_PROG,
    )
