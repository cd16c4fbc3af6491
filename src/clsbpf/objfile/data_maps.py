"""Global variables: each data section is an array map of one value, the section's bytes.

`.rodata*` cannot be written (nor changed once it is loaded), `.data*` and `.bss*` can; of `.bss` the
file holds nothing, as all of it is zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..bpf.maps import MapFlag, MapType
from ..bpf.spec import MapSpec, VariableSpec
from .btf import Btf, Kind
from .btf_maps import PlacedMap
from .elf import Elf, Section

READ_ONLY = ".rodata"
SECTIONS = (READ_ONLY, ".data", ".bss")
KEY = bytes(4)


def is_data(section: Section) -> bool:
    """Is it `.data`, `.rodata` or `.bss`, or one of these with a suffix (`.data.config`)?"""
    return section.type in ("SHT_PROGBITS", "SHT_NOBITS") and any(
        section.name == name or section.name.startswith(f"{name}.") for name in SECTIONS
    )


def data_maps(elf: Elf, btf: Btf | None) -> tuple[PlacedMap, ...]:
    """bpf_object__init_global_data_maps(): the data sections that are not empty, as maps."""
    return tuple(
        PlacedMap(_map(elf, section, btf), section.index, 0, section.size)
        for section in elf.sections
        if is_data(section) and section.size
    )


def _map(elf: Elf, section: Section, btf: Btf | None) -> MapSpec:
    constant = section.name.startswith(READ_ONLY)
    type = btf.find(section.name, Kind.DATASEC) if btf else None
    return MapSpec(
        *(section.name, MapType.ARRAY, len(KEY), section.size, 1),
        flags=MapFlag.MMAPABLE | (MapFlag.RDONLY_PROG if constant else 0),
        contents=((KEY, elf.data(section)),) if section.in_file else (),
        frozen=constant,
        value_type=btf.ref(type) if btf and type else None,
    )


def variables(elf: Elf, btf: Btf | None) -> Mapping[str, VariableSpec]:
    """The variables of the data sections, by their symbols; of one name that comes twice the first."""
    found: dict[str, VariableSpec] = {}
    for section in elf.sections:
        if is_data(section):
            for each in _in_section(elf, section, btf):
                found.setdefault(each.name, each)
    return found


def _in_section(elf: Elf, section: Section, btf: Btf | None) -> Iterator[VariableSpec]:
    types = btf.variables_of(section.name) if btf else {}
    for symbol in elf.symbols_in(section):
        if symbol.type != "STT_OBJECT" or symbol.value + symbol.size > section.size:
            continue
        type = btf.ref(types[symbol.name]) if btf and symbol.name in types else None
        yield VariableSpec(symbol.name, section.name, symbol.value, symbol.size, type)
