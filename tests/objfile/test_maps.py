"""Maps of every convention: BTF's `.maps`, the structs of `maps`, data sections; and what is refused."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import pytest

import elf_writer as elf
from btf_writer import BtfWriter
from clsbpf.bpf import insn as e
from clsbpf.bpf.maps import MapFlag, MapType
from clsbpf.bpf.spec import MapRef, MapSpec, ObjectSpec, ProgramRef
from clsbpf.errors import ObjectError
from clsbpf.objfile import load_object
from clsbpf.objfile.btf_maps import ring_size
from clsbpf.objfile.legacy_maps import tail_call_slot
from compiled import compiled
from elf_writer import ElfWriter, program

CODE = (e.mov64_imm(0, 2), e.exit_())


def slots(spec: MapSpec) -> dict[int, object]:
    """The initial contents, by the number that the key is."""
    return {int.from_bytes(key, "little"): value for key, value in spec.contents}


# .maps --------------------------------------------------------------------------------------------


def test_maps_defined_by_types() -> None:
    maps = load_object(compiled("parts.c", "-O2", "-g"), "parts.o").maps
    flows = maps["flows"]
    assert (flows.type, flows.key_size, flows.value_size, flows.max_entries) == (MapType.HASH, 16, 16, 1024)
    assert (flows.flags, flows.pinning) == (MapFlag.NO_PREALLOC, 1)
    assert flows.key_type is not None
    assert flows.key_type.type.name == "flow"  # type: ignore[attr-defined]
    outer = maps["outer"]
    assert (outer.type, outer.value_size, outer.max_entries) == (MapType.ARRAY_OF_MAPS, 4, 8)
    assert outer.inner is not None
    assert (outer.inner.type, outer.inner.value_size, outer.inner.max_entries) == (MapType.ARRAY, 8, 4)
    assert slots(outer) == {1: MapRef("first"), 5: MapRef("second")}
    assert slots(maps["stages"]) == {2: ProgramRef("stage_two")}
    assert maps["events"].max_entries == 8192  # 5000, made a power of two of pages


@pytest.mark.parametrize(
    ("asked", "given"), [(0, 0), (1, 4096), (4096, 4096), (4097, 8192), (12288, 16384), (1 << 31, 1 << 31)]
)
def test_a_ring_buffer_has_a_power_of_two_of_pages(asked: int, given: int) -> None:
    assert ring_size(asked) == given


def with_map(
    numbers: Mapping[str, int], types: Mapping[str, str] | None = None, *, btf: bool = True
) -> bytes:
    """An object with one map in `.maps`, defined by these."""
    writer = BtfWriter()
    named = {"int": writer.int(), "big": writer.struct("big", 24), "open": writer.fwd("open")}
    definition = writer.map_definition("", numbers, {k: named[v] for k, v in (types or {}).items()})
    variable = writer.var("m", definition)
    writer.datasec(".maps", (variable, 0, 0))
    made = program(*CODE)
    size = 8 * (len(numbers) + len(types or {}))
    section = made.section(".maps", bytes(size), flags=elf.ALLOC | elf.WRITE)
    made.symbol("m", section, 0, size, type=elf.OBJECT)
    if btf:
        made.section(".BTF", writer.raw(), flags=0)
    return made.build()


def test_the_fields_of_a_definition() -> None:
    numbers = {"type": 1, "max_entries": 9, "map_flags": 4, "numa_node": 1, "map_extra": 5, "key_size": 4}
    spec = load_object(with_map(numbers, {"value": "big"}), "p.o").maps["m"]
    assert (spec.type, spec.max_entries, spec.flags, spec.numa_node, spec.map_extra) == (1, 9, 4, 1, 5)
    assert (spec.key_size, spec.value_size, spec.key_type) == (4, 24, None)
    assert spec.value_type is not None
    assert spec.value_type.size == 24


WRONG_DEFINITIONS = [
    (with_map({"max_entries": 1}), "map 'm': its definition has no type"),
    (
        with_map({"type": 1, "colour": 3}),
        "map 'm': no field 'colour' in a map's definition; there are: type, max",
    ),
    (
        with_map({"type": 1, "key_size": 8}, {"key": "int"}),
        "map 'm': key_size is 8, but the key's type has 4",
    ),
    (with_map({"type": 1, "pinning": 3}), "map 'm': pinning is 3; 0 (none) and 1 (by name) are allowed"),
    (with_map({"type": 1}, {"key": "open"}), "type 3 (fwd) has no size"),
    (with_map({"type": 1}, {"max_entries": "int"}), "map 'm': max_entries is not written with __uint"),
    (with_map({"type": 1}, {"values": "int"}), "map 'm': values is not written with __array"),
    (with_map({"type": 1}, btf=False), "the maps in section .maps are defined by BTF, and there is none"),
]


@pytest.mark.parametrize(("raw", "message"), WRONG_DEFINITIONS, ids=range(len(WRONG_DEFINITIONS)))
def test_definitions_that_are_refused(raw: bytes, message: str) -> None:
    with pytest.raises(ObjectError) as refusal:
        load_object(raw, "p.o")
    assert message in str(refusal.value)


# maps ---------------------------------------------------------------------------------------------


def legacy(
    *entries: bytes | list[int], sections: tuple[str, ...] = (), map_section: str = "maps"
) -> ObjectSpec:
    """An object with the section `maps` of these entries (words), called a, b, …; and programs."""
    made = program(*CODE)
    for name in sections:
        made.symbol(f"f{len(made.sections)}", made.code(name, CODE))
    data = [e if isinstance(e, bytes) else struct.pack(f"<{len(e)}I", *e) for e in entries]
    section = made.section(map_section, b"".join(data), flags=elf.ALLOC | elf.WRITE)
    at = 0
    for name, entry in zip("abcdefgh", data, strict=False):
        made.symbol(name, section, at, len(entry), type=elf.OBJECT)
        at += len(entry)
    return load_object(made.build(), "p.o")


HASH = [1, 4, 8, 100]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (HASH, MapSpec("a", 1, 4, 8, 100)),
        ([*HASH, 1], MapSpec("a", 1, 4, 8, 100, flags=1)),
        ([*HASH, 1, 7], MapSpec("a", 1, 4, 8, 100, flags=1, id=7)),
        ([*HASH, 1, 7, 2], MapSpec("a", 1, 4, 8, 100, flags=1, id=7, pinning=2)),
        ([*HASH, 4, 0, 1], MapSpec("a", 1, 4, 8, 100, flags=4, numa_node=1)),
        ([*HASH, 0, 7, 1, 0, 0], MapSpec("a", 1, 4, 8, 100, id=7, pinning=1)),
        ([*HASH, 0, 2, *[0] * 64], MapSpec("a", 1, 4, 8, 100, pinning=2)),
        ([*HASH, 1, *[0] * 10], MapSpec("a", 1, 4, 8, 100, flags=1)),
    ],
    ids=["16", "20", "24", "28", "28 with a node", "36", "280", "60 zeros"],
)
def test_the_lengths_of_a_definition(words: list[int], expected: MapSpec) -> None:
    assert legacy(words).maps["a"] == expected
    assert legacy(words, map_section="maps/a").maps["a"] == expected


def test_several_maps_each_of_its_length() -> None:
    maps = legacy([*HASH, 1], [2, 4, 4, 1, 0, 5, 2, 0, 0], HASH).maps
    assert list(maps) == ["a", "b", "c"]
    assert (maps["b"].type, maps["b"].id, maps["c"].max_entries) == (2, 5, 100)


def test_an_inner_map_by_its_number() -> None:
    """The kernel samples' 28 bytes: the inner map is number 1 of the section."""
    maps = legacy([12, 4, 4, 5, 0, 1, 0], [2, 4, 16, 3, 0, 0, 0]).maps
    assert maps["a"].inner == maps["b"]
    assert maps["a"].contents == ()


def test_inner_maps_by_their_id() -> None:
    """iproute2's 36 bytes: of the id 42 the map is made, and every map of that id has its place in it."""
    outer = [12, 4, 4, 5, 0, 0, 0, 42, 0]
    maps = legacy(
        outer,
        [2, 4, 16, 3, 0, 42, 0, 0, 1],
        [2, 4, 16, 3, 0, 42, 0, 0, 4],
        [2, 4, 16, 3, 0, 42, 0, 0, 0xFFFFFFFF],
    ).maps
    assert maps["a"].inner == maps["b"]
    assert slots(maps["a"]) == {1: MapRef("b"), 4: MapRef("c")}


def test_iproute2s_maps_as_clang_writes_them() -> None:
    for debug in ("-g0", "-g"):
        read = load_object(compiled("legacy.c", "-O2", debug), "legacy.o")
        assert slots(read.maps["jumps"]) == {1: ProgramRef("cls_one"), 3: ProgramRef("cls_three")}
        assert slots(read.maps["outer"]) == {1: MapRef("inner")}
        assert (read.maps["counters"].flags, read.maps["counters"].pinning) == (1, 2)
        assert [each.name for each in read.programs["cls_main"].maps.values()] == [
            "counters",
            "jumps",
            "outer",
        ]


@pytest.mark.parametrize(
    ("section", "place"),
    [
        ("2/1", (2, 1)),
        ("0x10/0x3", (16, 3)),
        ("010/8", (8, 8)),
        (" 1/ 2 and more", (1, 2)),
        ("-1/1", (-1, 1)),
        ("2", None),
        ("a/1", None),
        ("1/b", None),
        ("", None),
    ],
)
def test_tail_calls_by_the_name_of_a_section(section: str, place: tuple[int, int] | None) -> None:
    assert tail_call_slot(section) == place


def test_only_the_prog_array_of_the_id_is_filled() -> None:
    maps = legacy(
        [3, 4, 4, 5, 0, 1], [3, 4, 4, 5, 0, 2], [1, 4, 4, 5, 0, 3], sections=("2/4", "3/1", "9/9")
    ).maps
    assert [slots(maps[name]) for name in "abc"] == [{}, {4: ProgramRef("f2")}, {}]


WRONG_ENTRIES = [
    (([1, 4],), "map 'a': a definition of 8 bytes; the shortest has 16"),
    (([*HASH, 0, 0, 0, 0, 0, 9],), "map 'a': a definition of 40 bytes; those of 16 to 36 bytes are known"),
    (([12, 4, 4, 5, 0, 0, 0, 42, 0],), "map 'a': no map has the id 42, which is its inner_id"),
    (([12, 4, 4, 5, 0, 7, 0],), "map 'a': its inner map is number 7 of 1"),
    (([12, 4, 4, 5, 0, 0, 0],), "map 'a': its inner map 'a' is a map of maps too"),
]


@pytest.mark.parametrize(("entries", "message"), WRONG_ENTRIES, ids=range(len(WRONG_ENTRIES)))
def test_entries_that_are_refused(entries: tuple[list[int], ...], message: str) -> None:
    with pytest.raises(ObjectError) as refusal:
        legacy(*entries)
    assert message in str(refusal.value)


def test_a_tail_call_beyond_its_map() -> None:
    with pytest.raises(ObjectError, match="program 'f2' is for slot 5 of map 'a', which has 5"):
        legacy([3, 4, 4, 5, 0, 2], sections=("2/5",))


# Data ---------------------------------------------------------------------------------------------


def test_data_sections_are_maps_of_one_value() -> None:
    read = load_object(compiled("parts.c", "-O2", "-g"), "parts.o")
    rodata, data, bss = (read.maps[name] for name in (".rodata", ".data", ".bss"))
    assert {each.type for each in (rodata, data, bss)} == {MapType.ARRAY}
    assert {(each.key_size, each.max_entries) for each in (rodata, data, bss)} == {(4, 1)}
    assert (rodata.frozen, data.frozen, bss.frozen) == (True, False, False)
    assert bool(rodata.flags & MapFlag.RDONLY_PROG)
    assert not data.flags & MapFlag.RDONLY_PROG
    assert slots(rodata) == {0: struct.pack("<I8s", 100, b"parts")}
    assert slots(data) == {0: struct.pack("<QI", 7, 3)}
    assert bss.contents == ()  # all of it is zero
    assert bss.value_size == 68


def test_variables_have_a_place_and_a_type() -> None:
    read = load_object(compiled("parts.c", "-O2", "-g"), "parts.o")
    places = {each.name: (each.map, each.offset, each.size) for each in read.variables.values()}
    assert places == {
        "limit": (".rodata", 0, 4),
        "label": (".rodata", 4, 8),
        "seen": (".data", 0, 8),
        "hidden": (".data", 8, 4),
        "initial": (".data.config", 0, 16),
        "dropped": (".bss", 0, 4),
        "scratch": (".bss", 4, 64),
    }
    assert {each.type.size for each in read.variables.values() if each.type} == {4, 8, 16, 64}


def test_the_types_of_a_data_section_have_their_places() -> None:
    """clang leaves sizes and offsets open; they are filled in, for Python's use and for a kernel's."""
    read = load_object(compiled("parts.c", "-O2", "-g"), "parts.o")
    section = read.maps[".data"].value_type
    assert section is not None
    assert section.size == 12
    variables = section.type.variables  # type: ignore[attr-defined]
    assert [(read.btf.name(each.type), each.offset) for each in variables] == [("seen", 0), ("hidden", 8)]


def test_data_without_types() -> None:
    read = load_object(compiled("parts.c", "-O2", "-g0", "-DNO_MAPS"), "parts.o")
    assert slots(read.maps[".data"])[0] == struct.pack("<QI", 7, 3)
    assert read.maps[".data"].value_type is None
    assert read.variables["seen"].type is None


def test_two_maps_of_one_name() -> None:
    made = ElfWriter()
    made.symbol("main", made.code("tc", CODE))
    for name in (".data", ".data"):
        made.section(name, b"1234", flags=elf.ALLOC | elf.WRITE)
    with pytest.raises(ObjectError, match=r"two maps are called '\.data'"):
        load_object(made.build(), "p.o")
