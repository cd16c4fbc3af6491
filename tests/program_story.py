"""What a program of examples/programs comes to, on some packets; found out in the kernel and here."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clsbpf.bpf.maps import MapType
from clsbpf.bpf.spec import MapSpec, ObjectSpec
from clsbpf.objfile import read_object
from program_cases import Case, u32

PROGRAMS = Path(__file__).parents[1] / "examples" / "programs"
SOURCES = sorted(path.stem for path in PROGRAMS.glob("*.c"))
LEVELS = ("O1", "O2")
CONTEXT = (
    "mark",
    "priority",
    "ingress_ifindex",
    "ifindex",
    "cb",
    "tstamp",
    "wire_len",
    "gso_segs",
    "hwtstamp",
)
"""What BPF_PROG_TEST_RUN gives back of struct __sk_buff."""
UNREADABLE = (
    *(MapType.PROG_ARRAY, MapType.SK_STORAGE, MapType.SOCKMAP, MapType.CGROUP_ARRAY, MapType.BLOOM_FILTER),
    *(MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS),
)
"""Maps that hold what is not bytes, or that nothing can be read out of."""

Elements = dict[bytes, bytes] | list[bytes]
"""What is in a map: pairs, or values in their order."""


@dataclass(frozen=True)
class Step:
    """What one packet came to."""

    retval: int
    packet: bytes
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Story:
    """What all packets of a case came to, and what is in the maps then."""

    steps: list[Step]
    maps: dict[str, Elements]


@functools.cache
def object_spec(level: str, name: str) -> ObjectSpec:
    """An object of examples/programs, as the compiler's optimisation `level` left it."""
    return read_object(PROGRAMS / "build" / level / f"{name}.o", kconfig={"CONFIG_HZ": "250"})


def compared(case: Case, spec: MapSpec) -> bool:
    """Can what is in a map be compared?"""
    return spec.type not in UNREADABLE and spec.name not in case.ignored


def contents_of(case: Case, spec: ObjectSpec) -> dict[str, dict[bytes, bytes]]:
    """What goes into the maps first: the case's elements, and data sections with its variables."""
    found = {name: dict(elements) for name, elements in case.contents.items()}
    for name, value in case.variables.items():
        variable = spec.variables[name]
        section = spec.maps[variable.map]
        elements = found.setdefault(variable.map, {})
        data = bytearray(elements.get(u32(0), dict(section.contents).get(u32(0), bytes(section.value_size))))
        assert len(value) == variable.size
        data[variable.offset : variable.offset + variable.size] = value
        elements[u32(0)] = bytes(data)
    return found
