"""Maps as libbpf has them: each a variable in the section `.maps`, defined by the *type* of it.

    struct {
        __uint(type, BPF_MAP_TYPE_HASH);      int (*type)[BPF_MAP_TYPE_HASH];     a number: an array's length
        __type(key, struct flow);             struct flow *key;                   a type: what is pointed to
        __array(values, struct inner);        struct inner *values[];             what its slots point to
    } flows SEC(".maps");

The variable's bytes are zero but for relocations: in the `values` of an array of programs or of maps,
each names what its slot holds from the start.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

from ..bpf.maps import MapType
from ..bpf.spec import PIN_BY_NAME, Initial, MapRef, MapSpec, ProgramRef
from ..errors import ObjectError
from .btf import Array, Btf, Composite, Enum, FuncProto, Kind, Member, Ptr, Var
from .elf import SHN_UNDEF, Elf, Relocation, Section, Symbol

SECTION = ".maps"
PAGE = 4096
MAX_MAPS = 4096
"""Maps of one object that are read; iproute2 takes 64."""
MAX_MEMBERS = 64
"""Fields of a map's definition."""
MAPS_OF_MAPS = (MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS)
RING_BUFFERS = (MapType.RINGBUF, MapType.USER_RINGBUF)

_NUMBERS = ("type", "max_entries", "map_flags", "numa_node", "key_size", "value_size", "map_extra", "pinning")

FunctionAt = Callable[[int, int], str | None]
"""(section, offset) → the name of the program that begins there."""


@dataclass(frozen=True, slots=True)
class PlacedMap:
    """A map, and where in the object the variable is that defines it."""

    spec: MapSpec
    section: int
    offset: int
    size: int
    values_at: int | None = None
    """Where in the variable its `values` begin."""


def btf_maps(elf: Elf, btf: Btf | None, function_at: FunctionAt) -> tuple[PlacedMap, ...]:
    """bpf_object__init_user_btf_maps(): the maps of `.maps`, in the order of the section's BTF."""
    section = elf.section(SECTION)
    if section is None or not section.size:
        return ()
    found = btf.find(SECTION, Kind.DATASEC) if btf else None
    if btf is None or found is None:
        raise ObjectError(
            f"{elf.name}: the maps in section .maps are defined by BTF, and there is none: compile with -g"
        )
    listed = getattr(btf[found], "variables", ())
    if len(listed) > MAX_MAPS:
        raise ObjectError(f"{elf.name}: {len(listed)} maps in section .maps; at most {MAX_MAPS} are read")
    symbols = {symbol.name: symbol for symbol in elf.symbols_in(section)}
    placed = [_placed(elf, btf, section, symbols, variable.type) for variable in listed]
    return tuple(_with_values(placed, elf, section, function_at))


def _placed(elf: Elf, btf: Btf, section: Section, symbols: dict[str, Symbol], id: int) -> PlacedMap:
    variable = btf[id]
    where = f"{elf.name}: map {variable.name!r}"
    if not isinstance(variable, Var):
        raise ObjectError(f"{where}: in section .maps, but no variable")
    symbol = symbols.get(variable.name)
    if symbol is None:
        raise ObjectError(f"{where}: no symbol says where in section .maps it is")
    definition = btf.resolve(variable.target)
    if not isinstance(definition, Composite) or definition.is_union:
        raise ObjectError(f"{where}: defined by a {type(definition).__name__.lower()}, not by a struct")
    if symbol.value + definition.size > section.size:
        raise ObjectError(
            f"{where}: {definition.size} bytes at {symbol.value} do not fit section .maps of {section.size}"
        )
    spec = _definition(btf, definition, variable.name, where)
    values = next((member for member in definition.members if member.name == "values"), None)
    return PlacedMap(
        *(spec, section.index, symbol.value, definition.size),
        None if values is None else values.bit_offset // 8,
    )


def _definition(btf: Btf, definition: Composite, name: str, where: str, *, inner: bool = False) -> MapSpec:
    """parse_btf_map_def()."""
    if len(definition.members) > MAX_MEMBERS:
        raise ObjectError(f"{where}: a definition with {len(definition.members)} fields")
    members = {member.name: member for member in definition.members}
    unknown = [each for each in members if each not in (*_NUMBERS, "key", "value", "values")]
    if unknown:
        known = ", ".join((*_NUMBERS, "key", "value", "values"))
        raise ObjectError(f"{where}: no field {unknown[0]!r} in a map's definition; there are: {known}")
    numbers = {each: _number(btf, members[each], where) for each in _NUMBERS if each in members}
    kind = numbers.get("type", 0)
    if not kind:
        raise ObjectError(f"{where}: its definition has no type")
    types = {each: _pointed_to(btf, members[each], where) for each in ("key", "value") if each in members}
    sizes = {}
    for each in ("key", "value"):
        sizes[each] = numbers.get(f"{each}_size", 0)
        if each in types:
            size = btf.size_of(types[each])
            if sizes[each] and sizes[each] != size:
                raise ObjectError(f"{where}: {each}_size is {sizes[each]}, but the {each}'s type has {size}")
            sizes[each] = size
    if inner and ("values" in members or numbers.get("pinning")):
        raise ObjectError(f"{where}: a map inside of a map has neither values nor pinning")
    if numbers.get("pinning", 0) > PIN_BY_NAME:
        raise ObjectError(f"{where}: pinning is {numbers['pinning']}; 0 (none) and 1 (by name) are allowed")
    inner_spec = None
    if "values" in members:
        inner_spec = _slots(btf, members["values"], kind, name, where)
        if sizes["value"] not in (0, 4):
            raise ObjectError(f"{where}: value_size is {sizes['value']}, but what `values` holds has 4 bytes")
        sizes["value"] = 4
    entries = numbers.get("max_entries", 0)
    return MapSpec(
        name=name,
        type=kind,
        key_size=sizes["key"],
        value_size=sizes["value"],
        max_entries=ring_size(entries) if kind in RING_BUFFERS else entries,
        flags=numbers.get("map_flags", 0),
        map_extra=numbers.get("map_extra", 0),
        numa_node=numbers.get("numa_node"),
        pinning=numbers.get("pinning", 0),
        inner=inner_spec,
        key_type=btf.ref(types["key"]) if "key" in types else None,
        value_type=btf.ref(types["value"]) if "value" in types else None,
    )


def _number(btf: Btf, member: Member, where: str) -> int:
    """get_map_field_int(): the length of the array pointed to; or (`__ulong`) an enum's only value."""
    pointer = btf.resolve(member.type)
    if isinstance(pointer, Enum) and pointer.values:
        return pointer.values[0].value
    array = btf.resolve(pointer.target) if isinstance(pointer, Ptr) else pointer
    if not isinstance(pointer, Ptr) or not isinstance(array, Array):
        raise ObjectError(f"{where}: {member.name} is not written with __uint: a pointer to an array")
    return array.count


def _pointed_to(btf: Btf, member: Member, where: str) -> int:
    pointer = btf.resolve(member.type)
    if not isinstance(pointer, Ptr):
        raise ObjectError(f"{where}: {member.name} is not written with __type: a pointer to the type")
    return pointer.target


def _slots(btf: Btf, member: Member, kind: int, name: str, where: str) -> MapSpec | None:
    """What the slots of `values` point to: the inner maps' definition; None where they are programs."""
    array = btf.resolve(member.type)
    pointer = btf.resolve(array.element) if isinstance(array, Array) else array
    target = btf.resolve(pointer.target) if isinstance(pointer, Ptr) else pointer
    if not isinstance(array, Array) or not isinstance(pointer, Ptr) or array.count:
        raise ObjectError(f"{where}: values is not written with __array: an open array of pointers")
    if kind in MAPS_OF_MAPS and isinstance(target, Composite) and not target.is_union:
        return _definition(btf, target, f"{name}.inner", f"{where}: its inner map", inner=True)
    if kind == MapType.PROG_ARRAY and isinstance(target, FuncProto):
        return None
    raise ObjectError(
        f"{where}: only a map of maps and a prog_array have values, "
        f"and they point to a map's definition resp. a function"
    )


def ring_size(entries: int) -> int:
    """adjust_ringbuf_sz(): a ring buffer has a power of two of pages."""
    size = PAGE
    while entries > 0 and size < min(entries, 1 << 31):
        size *= 2
    return size if entries else 0


def _with_values(
    placed: Sequence[PlacedMap], elf: Elf, section: Section, function_at: FunctionAt
) -> Iterator[PlacedMap]:
    """bpf_object__collect_map_relos(): each map with what its slots hold from the start."""
    contents: dict[str, list[tuple[bytes, Initial]]] = {}
    by_offset = {each.offset: each.spec.name for each in placed}
    holders = sorted(
        (
            (each.offset + each.values_at, each.spec.name, each)
            for each in placed
            if each.values_at is not None
        ),
        key=itemgetter(0),
    )
    for relocation in elf.relocations.get(section.index, ()):
        index = bisect_right(holders, relocation.offset, key=itemgetter(0)) - 1
        if index < 0:
            raise ObjectError(
                f"{elf.name}: a relocation in section .maps, at {relocation.offset}, is in no map's values"
            )
        begin, name, holder = holders[index]
        slot, rest = divmod(relocation.offset - begin, 8)
        where = f"{elf.name}: map {name!r}: slot {slot}"
        if rest or relocation.offset + 8 > section.size:
            raise ObjectError(f"{where}: a relocation at byte {relocation.offset}, where no pointer is")
        if slot >= holder.spec.max_entries:
            raise ObjectError(f"{where}: filled from the start, but max_entries is {holder.spec.max_entries}")
        value = _value(by_offset, section, holder.spec, relocation, function_at, where)
        contents.setdefault(name, []).append((slot.to_bytes(4, "little"), value))
    for each in placed:
        held = contents.get(each.spec.name)
        yield replace(each, spec=replace(each.spec, contents=tuple(held))) if held else each


def _value(
    maps: Mapping[int, str],
    section: Section,
    holder: MapSpec,
    relocation: Relocation,
    function_at: FunctionAt,
    where: str,
) -> Initial:
    symbol = relocation.symbol
    if symbol.section == SHN_UNDEF:
        raise ObjectError(f"{where}: holds {symbol.name!r}, which is not in the object")
    if holder.type == MapType.PROG_ARRAY:
        program = function_at(symbol.section, symbol.value)
        if program is None:
            raise ObjectError(f"{where}: holds {symbol.name!r}, which is no program")
        return ProgramRef(program)
    if symbol.section != section.index or symbol.value not in maps:
        raise ObjectError(f"{where}: holds {symbol.name!r}, which is no map")
    return MapRef(maps[symbol.value])
