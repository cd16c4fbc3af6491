"""How does an object become programs and maps that live?  `LoadedObject`: struct bpf_object of libbpf.

An `ObjectSpec` says what there is; here its maps are made, each once, filled with what the object gives
them, and its programs linked with them.  A program is verified when it is first asked for, so that one
that is refused does not spoil the others; and with it those that its tail calls may lead to, the ones that
the object puts into the prog_arrays which the program uses.  (In the arrays they are from the start.)

Maps that the object wants pinned are shared: the first to ask makes the map and pins it in `Pins`, a tree
of names like the BPF file system's, the next finds it there and must want the same.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ..bpf.spec import (
    PIN_BY_NAME,
    PIN_NONE,
    RUNNABLE_TYPES,
    MapRef,
    MapSpec,
    ObjectSpec,
    ProgramRef,
    ProgramSpec,
)
from ..errors import BytecodeError, ClsbpfError, MapError, ObjectError
from ..verifier.kept import judged
from ..vm.link import LinkedProgram, link
from ..vm.maps.map import Map
from .pins import BPFFS, Pins
from .programs import LoadedProgram, ProgramTable

GLOBALS = f"{BPFFS}/tc/globals"
"""iproute2's directory for maps that all objects share."""


def pin_path(spec: MapSpec, object_name: str) -> str:
    """Where an object's map is pinned."""
    if spec.pinning == PIN_BY_NAME:
        return f"{BPFFS}/{spec.name}" if not spec.id else f"{BPFFS}/tc/{object_name}/{spec.name}"
    return f"{GLOBALS}/{spec.name}"


class LoadedObject:
    """struct bpf_object: the maps of an object, made, and its programs as they are asked for."""

    def __init__(
        self, spec: ObjectSpec, programs: ProgramTable, pins: Pins | None = None, *, verify: bool = True
    ) -> None:
        """Makes the maps; ObjectError where one cannot be made or filled.

        Without `verify` nothing is judged: the programs run in the checked interpreter only.
        """
        self.spec = spec
        self._programs = programs
        self._verify = verify
        self._linked: dict[str, LinkedProgram] = {}
        self._loaded: dict[str, LoadedProgram] = {}
        self.maps: Mapping[str, Map] = {name: self._make_map(each, pins) for name, each in spec.maps.items()}
        for each in self.maps.values():
            self._fill(each)

    def _make_map(self, spec: MapSpec, pins: Pins | None) -> Map:
        path = pin_path(spec, self.spec.name)
        pinned = pins.find_map(path) if pins is not None and spec.pinning != PIN_NONE else None
        if pinned is not None:
            check_same(pinned.spec, spec, path)
            return pinned
        try:
            made = Map(spec)
        except MapError as error:
            raise ObjectError(f"{self.spec.name}: {error}") from None
        if pins is not None and spec.pinning != PIN_NONE:
            pins.pin(path, made)
        return made

    def _fill(self, map: Map) -> None:
        """Put the programs and maps into it that the object names; plain contents it has already."""
        for key, value in map.spec.contents:
            try:
                if isinstance(value, ProgramRef):
                    map.put(key, self._link(self.spec.program(value.name)))
                elif isinstance(value, MapRef):
                    map.put(key, self.maps[value.name])
            except (MapError, BytecodeError) as error:
                raise ObjectError(f"{self.spec.name}: map {map.spec.name!r}: {error}") from None
        if map.spec.frozen and not map.frozen:
            map.freeze()

    def linked(self, name: str) -> LinkedProgram:
        """The program of a function or section, verified, with its maps.

        ObjectError says why it cannot be had; VerifierError, why it is refused, or one that it may go on to.
        """
        spec = self.spec.program(name)
        if self._verify:
            self._judge(spec)
        return self._link(spec)

    def _link(self, spec: ProgramSpec) -> LinkedProgram:
        found = self._linked.get(spec.name)
        if found is None:
            if spec.problem is not None:
                raise ObjectError(f"{self.spec.name}: program {spec.name}: {spec.problem}")
            found = self._linked[spec.name] = link(spec, self.maps)
        return found

    def _judge(self, spec: ProgramSpec) -> None:
        """BPF_PROG_LOAD of a program and of those that its tail calls lead to, each once.

        Programs of other types than run here are left alone: nothing takes them.
        """
        todo = [spec]
        while todo:
            spec = todo.pop()
            if self._link(spec).verified is not None or spec.type not in RUNNABLE_TYPES:
                continue
            verified = judged(self._as_made(spec), btf=self.spec.btf, profile=self._programs.profile)
            unjudged = self._link(spec)
            self._linked[spec.name] = replace(unjudged, verified=verified)
            for map in self.maps.values():
                for key, _ in map.spec.contents:
                    if map.held_at(key) is unjudged:
                        map.put(key, self._linked[spec.name])
            todo.extend(self._tail_calls(spec))

    def _as_made(self, spec: ProgramSpec) -> ProgramSpec:
        """The program with its maps as they are: one that was pinned by others may have other types."""
        return replace(spec, maps={key: self.maps[each.name].spec for key, each in spec.maps.items()})

    def _tail_calls(self, spec: ProgramSpec) -> Iterator[ProgramSpec]:
        """What the object puts into the prog_arrays that a program uses, also through a map of maps."""
        seen: set[str] = set()
        todo = [each.name for each in spec.maps.values()]
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            for _, value in self.spec.maps[name].contents:
                if isinstance(value, ProgramRef):
                    yield self.spec.program(value.name)
                elif isinstance(value, MapRef):
                    todo.append(value.name)

    def program(self, name: str | None = None) -> LoadedProgram:
        """The program of a function or section, loaded; without a name the only one."""
        spec = self.spec.program(name)
        found = self._loaded.get(spec.name)
        if found is None:
            found = self._loaded[spec.name] = self._programs.load(self.linked(spec.name))
        return found


def check_same(there: MapSpec, wanted: MapSpec, path: str) -> None:
    """A pinned map must be what the object wants: type, sizes, entries and flags.

    What a frozen map holds was taken for granted when programs were verified, so it must be the same, too.
    """
    for name in ("type", "key_size", "value_size", "max_entries", "flags"):
        have, want = getattr(there, name), getattr(wanted, name)
        if have != want:
            raise ObjectError(f"{path}: the map pinned there has {name} {have}, the object wants {want}")
    if wanted.frozen and (not there.frozen or there.contents != wanted.contents):
        raise ObjectError(f"{path}: the map pinned there does not hold for good what the object wants")


def section_program(spec: ObjectSpec, section: str, program: str | None = None) -> ProgramSpec:
    """tc's way to name a program: the function `program`, or else the first one of a section.

    ClsbpfError (ENOENT) in tc's words, with what there is.
    """
    if program is not None:
        if program not in spec.programs:
            there = ", ".join(spec.programs) or "none"
            raise _absent(f"object file doesn't contain program {program} (there are: {there})")
        return spec.programs[program]
    found = next(spec.in_section(section), None)
    if found is None:
        there = ", ".join(dict.fromkeys(each.section for each in spec.programs.values())) or "none"
        raise _absent(f"object file doesn't contain sec {section} (there are: {there})")
    return found


def loaded_as(spec: ObjectSpec, type: str) -> ObjectSpec:
    """The object with all programs of one type: tc loads them as it is told, whatever their sections say."""
    return replace(spec, programs={name: replace(each, type=type) for name, each in spec.programs.items()})


def _absent(message: str) -> ClsbpfError:
    error = ObjectError(message)
    error.errno = errno.ENOENT
    return error
