"""An ELF object → `ObjectSpec`: reads it, finds what is in it, and puts each program together.

    sections ─▶ functions ─▶ references ─▶ linked programs ─┐
             ├▶ maps (.maps, maps, data sections) ──────────┼─▶ ObjectSpec
    .BTF ────┴▶ externs, CO-RE relocations, lines ──────────┘

Damage to the file itself is an ObjectError.  What only one program suffers from (a relocation that
cannot be had, a type that the kernel does not have) is that program's `problem` or `poison`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Container, Mapping

from ..bpf.insn import INSN_BYTES
from ..bpf.spec import FuncInfo, LineInfo, MapSpec, ObjectSpec, ProgramSpec
from ..errors import ObjectError
from .btf import Btf
from .btf_ext import BtfExt, LineRecord, read_btf_ext
from .btf_fixup import fixed_up
from .btf_maps import PlacedMap, btf_maps
from .core_patch import Patches, find_patches
from .data_maps import data_maps, variables
from .decl_tags import exception_callbacks
from .elf import Elf, read_elf
from .externs import KCONFIG, KernelNames, resolve_externs, unset
from .functions import Function, Functions, find_functions
from .legacy_maps import legacy_maps, with_tail_calls
from .link import Linked, Linker
from .sections import is_autoloaded, program_type

KernelBtf = Btf | Callable[[], Btf | None] | None
"""The types that programs are made to fit: given, to be had when one is needed, or none."""


def load_object(
    raw: bytes,
    name: str,
    *,
    kernel_btf: KernelBtf = None,
    kconfig: Mapping[str, str] | None = None,
    kfuncs: Container[str] | None = None,
    symbols: Callable[[], Mapping[str, int] | None] = lambda: None,
) -> ObjectSpec:
    """bpf_object__open_mem() and all of loading that needs no kernel.

    `name` is for messages.  `kconfig` are settings of the kernel by name ("CONFIG_HZ": "250"), before
    the usual ones; `kfuncs` the names of the kernel functions that there are, `symbols` is asked for the
    addresses of the kernel's symbols (see `externs.KernelNames`).
    """
    elf = read_elf(raw, name)
    btf, ext = _read_btf(elf)
    functions = find_functions(elf)
    names = _program_names(functions, elf)
    by_place = {(each.section.index, each.start): label for each, label in names.items()}
    maps = [
        *btf_maps(elf, btf, lambda section, at: by_place.get((section, at // INSN_BYTES))),
        *legacy_maps(elf, btf),
        *data_maps(elf, btf),
    ]
    sections = ((each.section.name, label) for each, label in names.items())
    maps = with_tail_calls(maps, sections, elf.name)

    def kernel() -> Btf | None:
        return kernel_btf() if callable(kernel_btf) else kernel_btf

    externs = resolve_externs(elf, btf, kconfig or {}, KernelNames(kernel, symbols, kfuncs))
    linker = Linker(elf, functions, maps, externs)
    license = _text(elf, "license")
    debug = _Debug(btf, ext)
    patches = find_patches(functions, btf, ext, kernel) if btf else {}
    catchers = exception_callbacks(btf)
    programs = {}
    for function, label in names.items():
        catcher = catchers.get(debug.type_id(function))
        linked = linker.link(function, patches, catcher)
        programs[label] = _program(function, label, linked, license, debug, patches)
    return ObjectSpec(
        name=name,
        programs=programs,
        maps=_by_name(maps, externs.kconfig, elf.name),
        variables=variables(elf, btf),
        license=license,
        version=_version(elf),
        btf=btf,
        settings=tuple(each.name for each in externs.by_name.values() if each.offset is not None),
        missing=tuple(unset(externs)),
    )


def _read_btf(elf: Elf) -> tuple[Btf | None, BtfExt]:
    section = elf.section(".BTF")
    if section is None or not section.size:
        return None, BtfExt()
    btf = fixed_up(Btf(elf.data(section), elf.name), elf)
    ext = elf.section(".BTF.ext")
    if ext is None or not ext.size:
        return btf, BtfExt()
    return btf, read_btf_ext(elf.data(ext), btf, elf.name)


def _program_names(functions: Functions, elf: Elf) -> dict[Function, str]:
    """The programs, each under a name of its own: a second of a name is called SECTION:NAME."""
    names: dict[Function, str] = {}
    taken: set[str] = set()
    for function in functions.programs():
        name = function.name
        if name in taken:
            name = f"{function.section.name}:{name}"
        if name in taken:
            raise ObjectError(f"{elf.name}: section {function.section.name!r} has two programs {name!r}")
        taken.add(name)
        names[function] = name
    return names


def _by_name(maps: list[PlacedMap], kconfig: MapSpec | None, where: str) -> dict[str, MapSpec]:
    found: dict[str, MapSpec] = {}
    for each in maps:
        if found.setdefault(each.spec.name, each.spec) is not each.spec:
            raise ObjectError(f"{where}: two maps are called {each.spec.name!r}")
    if kconfig is not None:
        found[KCONFIG] = kconfig
    return found


def _text(elf: Elf, section: str) -> str:
    """The C string that a section holds; "" without that section."""
    found = elf.section(section)
    return elf.data(found)[:4096].split(b"\0")[0].decode("utf-8", "replace") if found else ""


def _version(elf: Elf) -> int:
    found = elf.section("version")
    return int.from_bytes(elf.data(found)[:4], "little") if found else 0


class _Debug:
    """What .BTF.ext says of functions and lines, by function."""

    def __init__(self, btf: Btf | None, ext: BtfExt) -> None:
        self._btf = btf
        self._lines = {
            name: sorted(records, key=lambda record: record.offset) for name, records in ext.lines.items()
        }
        self._types = {
            (name, record.offset): record.type
            for name, records in ext.functions.items()
            for record in records
        }
        self._read: dict[Function, tuple[LineInfo, ...]] = {}

    def lines(self, function: Function) -> tuple[LineInfo, ...]:
        """The lines of a function; their instructions count from its beginning."""
        found = self._read.get(function)
        if found is None:
            records = self._lines.get(function.section.name, [])
            first, last = (
                bisect_left(records, insn * INSN_BYTES, key=lambda record: record.offset)
                for insn in (function.start, function.end)
            )
            # a line an instruction, as the kernel wants it: the last that is told
            by_insn = {each.offset // INSN_BYTES: each for each in records[first:last]}
            found = tuple(self._line(each, function.start) for each in by_insn.values())
            self._read[function] = found
        return found

    def _line(self, record: LineRecord, start: int) -> LineInfo:
        assert self._btf is not None
        line, column = record.line_column >> 10, record.line_column & 0x3FF
        text = self._btf.string(record.text).strip()
        return LineInfo(
            record.offset // INSN_BYTES - start, self._btf.string(record.file), line, column, text
        )

    def type_id(self, function: Function) -> int:
        """The BTF FUNC of a function, 0 if it is not told."""
        return self._types.get((function.section.name, function.start * INSN_BYTES), 0)


def _program(
    function: Function,
    name: str,
    linked: Linked,
    license: str,
    debug: _Debug,
    patches: Mapping[Function, Patches],
) -> ProgramSpec:
    lines: list[LineInfo] = []
    infos: list[FuncInfo] = []
    for part, base in linked.layout:
        infos.append(FuncInfo(base, part.name, debug.type_id(part)))
        for line in debug.lines(part):
            lines.append(LineInfo(base + line.insn, line.file, line.line, line.column, line.text))
    return ProgramSpec(
        name=name,
        type=program_type(function.section.name),
        insns=linked.insns,
        license=license,
        section=function.section.name,
        maps=linked.maps,
        kfuncs=linked.kfuncs,
        line_info=tuple(lines),
        func_info=tuple(infos),
        poison=linked.poison,
        core_relocations=sum(patches[part].count for part, _ in linked.layout if part in patches),
        problem=linked.problem,
        autoload=is_autoloaded(function.section.name),
    )
