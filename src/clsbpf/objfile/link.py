"""From functions to whole programs: what each instruction refers to, and the subprograms laid behind.

A relocation says that an instruction refers to a symbol; by the symbol's section that is a map, a
variable, a function, or something outside.  First each function's references are found, once; then each
program is put together: its instructions, behind them those of every function that it reaches, in
libbpf's order, and in each reference the number that the reference has in this program.

What is wrong in one function spoils the programs that contain it, not the object: it becomes the
`problem` of those programs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..bpf.insn import INSN_BYTES, Insn, s32
from ..bpf.isa import PSEUDO_CALL, PSEUDO_KFUNC_CALL, Class, Jmp, Pseudo
from ..bpf.spec import MapSpec
from ..errors import ObjectError
from .btf_maps import PlacedMap
from .core_patch import Patches
from .data_maps import is_data
from .elf import SHN_ABS, SHN_COMMON, SHN_UNDEF, Elf, Relocation, Symbol
from .externs import KCONFIG, Extern, Externs
from .functions import MAX_INSNS, Function, Functions

_CALL = Class.JMP | Jmp.CALL
_MISSING_KFUNC = 2002000000
"""libbpf's POISON_CALL_KFUNC_BASE: a helper that does not exist, called instead of a missing weak kfunc."""

_UNPATCHED = Patches()

MAX_LINKED = 2 * MAX_INSNS
"""Instructions of all programs of an object together, subprograms counted each time."""


@dataclass(frozen=True, slots=True)
class ToMap:
    """A map, or with an `offset` a place in the value of a data map."""

    name: str
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class ToFunction:
    """A function of the object: called, or its address taken."""

    function: Function


@dataclass(frozen=True, slots=True)
class ToKernelFunction:
    """A function of the kernel, called."""

    name: str


@dataclass(frozen=True, slots=True)
class ToKernelVariable:
    """A variable of the kernel, by its id in the kernel's BTF."""

    id: int


@dataclass(frozen=True, slots=True)
class ToNumber:
    """An address that is just a number: 0 for what is weak and missing."""

    value: int


@dataclass(frozen=True, slots=True)
class Missing:
    """A weak kernel function that is not there is called: fine, unless the program gets there."""

    name: str


Reference = ToMap | ToFunction | ToKernelFunction | ToKernelVariable | ToNumber | Missing


@dataclass(slots=True)
class References:
    """What a function's instructions refer to, by their index in the function, and what is wrong."""

    found: dict[int, Reference] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Linked:
    """A program put together.  `layout`: its functions, with the instruction at which each begins."""

    insns: tuple[Insn, ...]
    maps: Mapping[int, MapSpec]
    kfuncs: tuple[str, ...]
    layout: tuple[tuple[Function, int], ...]
    poison: Mapping[int, str]
    problem: str | None


class Linker:
    """Puts programs together; knows everything that an instruction can refer to."""

    def __init__(self, elf: Elf, functions: Functions, maps: Sequence[PlacedMap], externs: Externs) -> None:
        self._elf = elf
        self._functions = functions
        self._specs = {each.spec.name: each.spec for each in maps}
        if externs.kconfig is not None:
            self._specs[KCONFIG] = externs.kconfig
        self._map_at = {(each.section, each.offset): each.spec.name for each in maps}
        self._externs = externs
        self._relocations: dict[tuple[int, int], Relocation] = {}
        for section, relocations in elf.relocations.items():
            if section in functions.by_section:
                for each in relocations:
                    self._relocations.setdefault((section, each.offset), each)
        self._references: dict[Function, References] = {}
        self._linked = 0

    def references(self, function: Function) -> References:
        """What the instructions of a function refer to."""
        found = self._references.get(function)
        if found is None:
            found = self._references[function] = References()
            for at, insn in enumerate(function.insns):
                try:
                    reference = self._reference(function, at, insn)
                except ObjectError as error:
                    found.problem = found.problem or str(error)
                    continue
                if reference is not None:
                    found.found[at] = reference
        return found

    def _reference(self, function: Function, at: int, insn: Insn) -> Reference | None:
        """bpf_program__record_reloc(), for one instruction."""
        relocation = self._relocations.get((function.section.index, (function.start + at) * INSN_BYTES))
        is_call = insn.code == _CALL and insn.src in (0, PSEUDO_CALL)
        if relocation is None:
            if insn.code == _CALL and insn.src == PSEUDO_CALL:
                return self._within_section(function, at, insn)
            if insn.is_ld_imm64 and insn.src == Pseudo.FUNC:
                return self._within_section(function, at, insn)
            if insn.is_ld_imm64 and insn.src:
                raise self._wrong(function, at, f"refers to number {insn.imm}, which only a loader can know")
            return None
        symbol = relocation.symbol
        if not is_call and not insn.is_ld_imm64:
            raise self._wrong(
                function, at, f"a relocation for {_named(symbol)} where no instruction takes an address"
            )
        if insn.is_ld_imm64 and at + 1 >= len(function.insns):
            raise self._wrong(function, at, "a 64-bit immediate load cut in two")
        if symbol.section == SHN_UNDEF:
            return self._outside(function, at, insn, symbol)
        addend = insn.imm if relocation.addend is None else relocation.addend
        if symbol.section in self._functions.by_section:
            return self._code(function, at, insn, symbol, relocation.addend)
        if is_call:
            raise self._wrong(function, at, f"calls {_named(symbol)}, which is no function")
        return self._data(function, at, symbol, symbol.value + addend)

    def _within_section(self, function: Function, at: int, insn: Insn) -> Reference | None:
        """A call without relocation goes to a function of the same section (or stays in its own)."""
        target = function.start + at + insn.imm + 1
        callee = self._functions.at(function.section.index, target)
        if callee is not None:
            return ToFunction(callee)
        if function.start <= target < function.end:
            return None
        raise self._wrong(
            function, at, f"calls instruction {target} of its section; no function begins there"
        )

    def _code(self, function: Function, at: int, insn: Insn, symbol: Symbol, addend: int | None) -> Reference:
        """A function of the object.  In place a call has its distance less one, an address its bytes."""
        if addend is not None:
            distance = addend // INSN_BYTES
        elif insn.code == _CALL:
            distance = insn.imm + 1
        else:
            distance = insn.imm // INSN_BYTES
        target = symbol.value // INSN_BYTES + distance
        callee = self._functions.at(symbol.section, target)
        if callee is None:
            name = self._elf.sections[symbol.section].name
            raise self._wrong(
                function, at, f"refers to instruction {target} of section {name!r}; no function begins there"
            )
        return ToFunction(callee)

    def _outside(self, function: Function, at: int, insn: Insn, symbol: Symbol) -> Reference:
        extern = self._externs.by_name.get(symbol.name, Extern(symbol.name))
        if extern.problem is not None:
            raise self._wrong(function, at, extern.problem)
        if insn.code == _CALL:
            if extern.kfunc is not None:
                return ToKernelFunction(extern.kfunc)
            if extern.is_weak:
                return Missing(symbol.name)
            raise self._wrong(function, at, f"calls {symbol.name!r}, which is not in the object")
        if extern.offset is not None:
            return ToMap(KCONFIG, extern.offset + insn.imm)
        if extern.kfunc is not None:
            return ToNumber(1)  # only ever compared with 0: is the function there?
        if extern.variable is not None:
            return ToKernelVariable(extern.variable)
        if extern.address is not None:
            return ToNumber(extern.address + insn.imm)
        if extern.is_weak:
            return ToNumber(0)
        raise self._wrong(function, at, f"uses {symbol.name!r}, which is not in the object")

    def _data(self, function: Function, at: int, symbol: Symbol, place: int) -> Reference:
        if symbol.section == SHN_COMMON:
            raise self._wrong(
                function, at, f"uses {symbol.name!r}, a common symbol: compile with -fno-common"
            )
        if symbol.section == SHN_ABS:
            raise self._wrong(function, at, f"uses {symbol.name!r}, an absolute symbol")
        section = self._elf.sections[symbol.section]
        if is_data(section):
            if not 0 <= place <= section.size:
                raise self._wrong(
                    function, at, f"uses byte {place} of section {section.name!r}, which has {section.size}"
                )
            if section.name not in self._specs:
                raise self._wrong(function, at, f"uses section {section.name!r}, which is empty")
            return ToMap(section.name, place)
        if place == 2 * symbol.value and symbol.type != "STT_SECTION":
            place = symbol.value  # binutils before 2.41, for gcc, leaves the symbol's value in place as well
        name = self._map_at.get((symbol.section, place))
        if name is None:
            raise self._wrong(
                function, at, f"uses {_named(symbol)} at byte {place} of section {section.name!r}: no map"
            )
        return ToMap(name)

    def _wrong(self, function: Function, at: int, what: str) -> ObjectError:
        return ObjectError(f"{self._elf.name}: function {function.name!r}, instruction {at}: {what}")

    def link(self, main: Function, patches: Mapping[Function, Patches], catcher: str | None = None) -> Linked:
        """bpf_object__relocate_calls(): the whole program, with the instructions that CO-RE changed.

        `catcher` names the function of the object that exceptions go to: it is there though nobody calls it.
        """
        base: dict[Function, int] = {}
        roots: list[Reference] = [ToFunction(main)]
        problem: str | None = None
        if catcher is not None:
            found = self._functions.subprogram(catcher)
            if found is None or not found.is_global or found.is_hidden:
                what = "no function" if found is None else "a static or hidden function"
                problem = f"{self._elf.name}: program {main.name!r}: {what} {catcher!r} for its exceptions"
            else:
                roots.append(ToFunction(found))
        size = 0
        # depth first, each function where it is first called: an iterator a function not yet done with
        pending: list[Iterator[Reference]] = [iter(roots)]
        while pending:
            reference = next(pending[-1], None)
            if reference is None:
                pending.pop()
            elif isinstance(reference, ToFunction) and (callee := reference.function) not in base:
                base[callee] = size
                size += len(callee.insns)
                self._linked += len(callee.insns)
                if size > MAX_INSNS or self._linked > MAX_LINKED:
                    raise ObjectError(
                        f"{self._elf.name}: program {main.name!r} has {size} instructions in all, "
                        f"all programs {self._linked}; {MAX_INSNS} and {MAX_LINKED} are allowed"
                    )
                references = self.references(callee)
                problem = problem or references.problem or patches.get(callee, _UNPATCHED).problem
                pending.append(iter(list(references.found.values())))
        writer = _Writer(self._specs, base)
        for function in base:
            writer.write(function, self.references(function).found, patches.get(function, _UNPATCHED))
        return Linked(
            tuple(writer.insns),
            {number: self._specs[name] for name, number in writer.maps.items()},
            tuple(writer.kfuncs),
            tuple(base.items()),
            writer.poison,
            problem,
        )


@dataclass(slots=True)
class _Writer:
    """The instructions of one program, as they are written one function after the other."""

    specs: Mapping[str, MapSpec]
    base: Mapping[Function, int]
    insns: list[Insn] = field(default_factory=list)
    maps: dict[str, int] = field(default_factory=dict)
    kfuncs: dict[str, int] = field(default_factory=dict)
    poison: dict[int, str] = field(default_factory=dict)

    def write(self, function: Function, references: Mapping[int, Reference], patches: Patches) -> None:
        """Add a function with its references filled in."""
        begin = len(self.insns)
        self.insns.extend(function.insns)
        for at, insn in patches.insns.items():
            self.insns[begin + at] = insn
        self.poison.update({begin + at: why for at, why in patches.poison.items()})
        for at, reference in references.items():
            self._fill(begin + at, reference)

    def _fill(self, at: int, reference: Reference) -> None:
        insns, insn = self.insns, self.insns[at]
        match reference:
            case ToFunction(function):
                distance = self.base[function] - at - 1
                if insn.code == _CALL:
                    insns[at] = replace(insn, src=PSEUDO_CALL, imm=distance)
                else:
                    insns[at] = replace(insn, src=Pseudo.FUNC, imm=distance)
                    insns[at + 1] = replace(insns[at + 1], imm=0)
            case ToMap(name, None):
                insns[at] = replace(insn, src=Pseudo.MAP_FD, imm=self.maps.setdefault(name, len(self.maps)))
                insns[at + 1] = replace(insns[at + 1], imm=0)
            case ToMap(name, int(offset)):
                number = self.maps.setdefault(name, len(self.maps))
                insns[at] = replace(insn, src=Pseudo.MAP_VALUE, imm=number)
                insns[at + 1] = replace(insns[at + 1], imm=s32(offset))
            case ToKernelFunction(name):
                number = self.kfuncs.setdefault(name, len(self.kfuncs))
                insns[at] = replace(insn, src=PSEUDO_KFUNC_CALL, imm=number)
            case ToNumber(value):
                insns[at] = replace(insn, src=0, imm=s32(value))
                insns[at + 1] = replace(insns[at + 1], imm=s32(value >> 32))
            case ToKernelVariable(id):
                insns[at] = replace(insn, src=Pseudo.BTF_ID, imm=id)
                insns[at + 1] = replace(insns[at + 1], imm=0)
            case Missing(name):
                insns[at] = Insn(_CALL, imm=_MISSING_KFUNC)
                self.poison[at] = f"calls the kernel function {name!r}, which is weak and not there"


def _named(symbol: Symbol) -> str:
    return repr(symbol.name) if symbol.name else "a section"
