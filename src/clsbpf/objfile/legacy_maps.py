"""Maps as they were before BTF: each a struct in the section `maps` (or `maps/NAME`), by its bytes.

All of these structs begin with the same words; how they go on is told by their length, as nothing else
tells it:

    bytes   words
    16..20  type, key_size, value_size, max_entries, map_flags          struct bpf_map_def of libbpf
    24..36  … id, pinning, inner_id, inner_idx                          struct bpf_elf_map of iproute2
    28      … inner_map_idx, numa_node                                  kernel samples (bpf_load.h)
    280     … pinning, a name space of 256 bytes                        gobpf

The two of 28 bytes differ in meaning only for maps of maps, which iproute2's of that length could not
describe, and where the flags ask for a NUMA node.  If BTF describes the struct, its members' names
decide instead.

In iproute2's scheme a map has an `id`.  A map of maps is made of the map whose id is its `inner_id`,
which it also holds at that one's `inner_idx`; and the program in a section named `ID/SLOT` is what the
prog_array of that id holds in that slot.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..bpf.maps import MapFlag, MapType
from ..bpf.spec import Initial, MapRef, MapSpec, ProgramRef
from ..errors import ObjectError
from .btf import Btf, Composite, Kind, TypeRef
from .btf_maps import MAPS_OF_MAPS, MAX_MAPS, MAX_MEMBERS, PlacedMap
from .elf import Elf, Section

SECTION = "maps"
SMALLEST = 16

_START = ("type", "key_size", "value_size", "max_entries", "map_flags")
_IPROUTE2 = (*_START, "id", "pinning", "inner_id", "inner_idx")
_SAMPLES = (*_START, "inner_map_idx", "numa_node")
_GOBPF = (*_START, "pinning")
_GOBPF_BYTES = 280

_SPELLINGS = {
    "map_type": "type",
    "size_key": "key_size",
    "size_value": "value_size",
    "max_elem": "max_entries",
    "flags": "map_flags",
}
_KNOWN = frozenset((*_IPROUTE2, *_SAMPLES, "map_extra"))
_NO_SLOT = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class _Entry:
    """One struct: its words by name, and where it is."""

    name: str
    section: int
    offset: int
    size: int
    words: Mapping[str, int]
    types: tuple[TypeRef | None, TypeRef | None] = field(default=(None, None))

    def __getitem__(self, word: str) -> int:
        return self.words.get(word, 0)


def legacy_maps(elf: Elf, btf: Btf | None) -> tuple[PlacedMap, ...]:
    """bpf_fetch_maps_end() of iproute2, bpf_object__init_user_maps() of old libbpf."""
    entries = [
        entry
        for section in elf.sections
        if (section.name == SECTION or section.name.startswith(f"{SECTION}/"))
        and section.type == "SHT_PROGBITS"
        and not section.executable
        for entry in _entries(elf, section, btf)
    ]
    if len(entries) > MAX_MAPS:
        raise ObjectError(f"{elf.name}: {len(entries)} maps; at most {MAX_MAPS} are read")
    ids: dict[int, _Entry] = {}
    for entry in entries:
        if entry["id"]:
            ids.setdefault(entry["id"], entry)
    return tuple(
        PlacedMap(_spec(elf, entry, entries, ids), entry.section, entry.offset, entry.size)
        for entry in entries
    )


def _entries(elf: Elf, section: Section, btf: Btf | None) -> Iterator[_Entry]:
    if not section.size:
        return
    data = elf.data(section)
    types = btf.variables_of(section.name) if btf else {}
    starts: dict[int, str] = {}
    for symbol in elf.symbols_in(section):
        if symbol.type in ("STT_OBJECT", "STT_NOTYPE") and symbol.value < section.size:
            starts.setdefault(symbol.value, symbol.name)
    if not starts or min(starts):
        raise ObjectError(f"{elf.name}: section {section.name!r} has no symbol for the map at its beginning")
    order = sorted(starts)
    for offset, end in zip(order, [*order[1:], section.size], strict=True):
        name = starts[offset]
        struct = _described(btf, types[name]) if btf and name in types else None
        yield _entry(elf, name, section.index, offset, data[offset:end], struct, btf)


def _described(btf: Btf, id: int) -> Composite | None:
    """The struct of a variable."""
    struct = btf.resolve(id)
    return struct if isinstance(struct, Composite) and len(struct.members) <= MAX_MEMBERS else None


def _entry(
    elf: Elf, name: str, section: int, offset: int, raw: bytes, struct: Composite | None, btf: Btf | None
) -> _Entry:
    where = f"{elf.name}: map {name!r}"
    words = [int.from_bytes(raw[at : at + 4], "little") for at in range(0, len(raw) // 4 * 4, 4)]
    if len(raw) < SMALLEST:
        raise ObjectError(f"{where}: a definition of {len(raw)} bytes; the shortest has {SMALLEST}")
    fields: dict[str, int] = {}
    if struct is not None:
        for member in struct.members:
            word = _SPELLINGS.get(member.name, member.name)
            if word in _KNOWN and member.bit_offset % 32 == 0 and member.bit_offset // 32 < len(words):
                fields[word] = words[member.bit_offset // 32]
    if not {"type", "key_size", "value_size", "max_entries"} <= set(fields):
        fields = dict(zip(_layout(words, len(raw), where), words, strict=False))
    return _Entry(name, section, offset, len(raw), fields, _key_and_value(btf, name))


def _layout(words: Sequence[int], size: int, where: str) -> Sequence[str]:
    """What the words of an entry are, by its length."""
    if size == _GOBPF_BYTES:
        return _GOBPF
    if size == 28 and (words[0] in MAPS_OF_MAPS or words[4] & MapFlag.NUMA_NODE):
        return _SAMPLES
    if size > 4 * len(_IPROUTE2) and any(words[len(_START) :]):
        raise ObjectError(
            f"{where}: a definition of {size} bytes; those of 16 to {4 * len(_IPROUTE2)} bytes are known"
        )
    return _IPROUTE2


def _key_and_value(btf: Btf | None, name: str) -> tuple[TypeRef | None, TypeRef | None]:
    """BPF_ANNOTATE_KV_PAIR(): the struct `____btf_map_NAME` has a member `key` and one `value`."""
    found = btf.find(f"____btf_map_{name}", Kind.STRUCT) if btf else None
    struct = btf[found] if btf and found else None
    if btf is None or not isinstance(struct, Composite):
        return None, None
    members = {member.name: btf.ref(member.type) for member in struct.members}
    return members.get("key"), members.get("value")


def _spec(elf: Elf, entry: _Entry, entries: Sequence[_Entry], ids: Mapping[int, _Entry]) -> MapSpec:
    where = f"{elf.name}: map {entry.name!r}"
    inner: _Entry | None = None
    contents: list[tuple[bytes, Initial]] = []
    if entry["type"] in MAPS_OF_MAPS:
        if entry["inner_id"]:
            inner = ids.get(entry["inner_id"])
            if inner is None:
                raise ObjectError(f"{where}: no map has the id {entry['inner_id']}, which is its inner_id")
            if entry["key_size"] != 4:
                raise ObjectError(f"{where}: key_size is {entry['key_size']}; a map of maps by ids has 4")
            contents = list(_inner_maps(entry, entries))
        elif "inner_map_idx" in entry.words:
            if entry["inner_map_idx"] >= len(entries):
                raise ObjectError(
                    f"{where}: its inner map is number {entry['inner_map_idx']} of {len(entries)}"
                )
            inner = entries[entry["inner_map_idx"]]
        if inner is not None and inner["type"] in MAPS_OF_MAPS:
            raise ObjectError(f"{where}: its inner map {inner.name!r} is a map of maps too")
    key, value = entry.types
    sizes = (("key", key, entry["key_size"]), ("value", value, entry["value_size"]))
    for what, type, size in sizes:
        if type is not None and type.size != size:
            raise ObjectError(f"{where}: its {what} has {size} bytes, but the type of its {what} {type.size}")
    return MapSpec(
        *(entry.name, entry["type"], entry["key_size"], entry["value_size"], entry["max_entries"]),
        flags=entry["map_flags"],
        map_extra=entry["map_extra"],
        numa_node=entry["numa_node"] if entry["map_flags"] & MapFlag.NUMA_NODE else None,
        pinning=entry["pinning"],
        inner=None if inner is None else _spec(elf, inner, entries, ids),
        contents=tuple(contents),
        key_type=key,
        value_type=value,
        id=entry["id"],
    )


def _inner_maps(outer: _Entry, entries: Iterable[_Entry]) -> Iterator[tuple[bytes, Initial]]:
    """bpf_maps_attach_all(): the maps with the id that is the outer one's inner_id, at their inner_idx."""
    for each in entries:
        if each["id"] == outer["inner_id"] and not each["inner_id"] and each["inner_idx"] != _NO_SLOT:
            yield each["inner_idx"].to_bytes(4, "little"), MapRef(each.name)


_INTEGER = r"[ \t]*([-+]?)(0[xX][0-9a-fA-F]+|[0-9]+)"
_SLOT = re.compile(rf"{_INTEGER}/{_INTEGER}")


def tail_call_slot(section: str) -> tuple[int, int] | None:
    """What `sscanf("%i/%i")` finds in a section's name: (map id, slot); None when it is not so named."""
    match = _SLOT.match(section)
    if match is None:
        return None
    sign, number, slot_sign, slot = match.groups()
    return _integer(sign, number), _integer(slot_sign, slot)


def _integer(sign: str, digits: str) -> int:
    if digits[:2] in ("0x", "0X"):
        value = int(digits, 16)
    else:
        octal = re.match("0[0-7]*", digits)
        value = int(octal[0], 8) if octal else int(digits[:20])
    return -value if sign == "-" else value


def with_tail_calls(
    maps: Sequence[PlacedMap], programs: Iterable[tuple[str, str]], where: str
) -> list[PlacedMap]:
    """bpf_fill_prog_arrays(): `programs` are (section, name); those named `ID/SLOT` go into the array."""
    slots: dict[int, list[tuple[bytes, Initial]]] = {}
    taken = set()
    for section, name in programs:
        place = tail_call_slot(section)
        if place is not None and 0 <= place[1] <= _NO_SLOT and section not in taken:
            taken.add(section)
            slots.setdefault(place[0], []).append((place[1].to_bytes(4, "little"), ProgramRef(name)))
    filled = []
    for each in maps:
        if each.spec.id and each.spec.type == MapType.PROG_ARRAY and each.spec.id in slots:
            added = tuple(slots.pop(each.spec.id))
            for key, held in added:
                if int.from_bytes(key, "little") >= each.spec.max_entries and isinstance(held, ProgramRef):
                    raise ObjectError(
                        f"{where}: program {held.name!r} is for slot {int.from_bytes(key, 'little')} of map "
                        f"{each.spec.name!r}, which has {each.spec.max_entries}"
                    )
            each = replace(each, spec=replace(each.spec, contents=each.spec.contents + added))
        filled.append(each)
    return filled
