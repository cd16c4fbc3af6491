"""Programs and maps, kept: as the bpf(2)-like calls that make them again.

A file of them is what a process would have sent: type information, maps (those that others hold first),
programs, slots that hold programs, pins.  What makes something carries the descriptor by which later calls
name it, and MAP_CREATE and PROG_LOAD the id that the map or program had: by that a kept filter asks for a
program, and by that the contents of maps are kept (`map_files`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..bpf.insn import decode, encode
from ..bpf.spec import MapSpec
from ..engine.programs import FIRST_FD, LoadedProgram
from ..errors import ClsbpfError
from ..netlink.message import iter_messages
from ..objfile import Btf, TypeRef
from ..vm.link import LinkedProgram
from ..vm.maps.map import Map
from . import bpf
from .host import Host, Process
from .map_files import MapFiles
from .wire import Arg, Args, Assembler, Bpf, encode_call

_FD = struct.Struct("=I")


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls, and what they make."""

    raw: bytes
    maps: tuple[Map, ...]
    programs: tuple[LinkedProgram, ...]


def kept_calls(host: Host, wanted: Iterable[LoadedProgram]) -> Calls:
    """What makes the wanted programs again, and all that is pinned, with what they need."""
    writer = _Writer(host)
    for program in wanted:
        if program.linked is not None:
            writer.program(program.linked)
    for path in host.pins:
        writer.pin(path, host.pins.get(path))
    writer.finish()
    maps = tuple(each for each in writer.fds if isinstance(each, Map))
    programs = tuple(each for each in writer.fds if isinstance(each, LinkedProgram))
    return Calls(b"".join(writer.out), maps, programs)


@dataclass(slots=True)
class _Writer:
    host: Host
    out: list[bytes] = field(default_factory=list)
    fds: dict[object, int] = field(default_factory=dict)
    late: list[tuple[int, Args]] = field(default_factory=list)
    """What comes after all programs: slots, freezing, pins."""

    def call(self, command: Bpf, args: Args) -> None:
        self.out += encode_call(command, args)

    def new(self, thing: object, command: Bpf, args: Args) -> int:
        self.fds[thing] = FIRST_FD + len(self.fds)
        self.call(command, {**args, Arg.FD: self.fds[thing]})
        return self.fds[thing]

    def btf(self, btf: Btf) -> int:
        found = self.fds.get(btf)
        return found if found is not None else self.new(btf, Bpf.BTF_LOAD, {Arg.DATA: btf.raw})

    def map(self, map: Map) -> int:
        if map in self.fds:
            return self.fds[map]
        fd = self.create(map, map.spec, {Arg.ID: map.id})
        if map.slotted:
            self.slots(map, fd)
        return fd

    def create(self, thing: object, spec: MapSpec, id: Args) -> int:
        args: dict[int, int | bytes] = {
            Arg.TYPE: spec.type,
            Arg.KEY_SIZE: spec.key_size,
            Arg.VALUE_SIZE: spec.value_size,
            Arg.MAX_ENTRIES: spec.max_entries,
            Arg.FLAGS: spec.flags,
            Arg.MAP_EXTRA: spec.map_extra,
            Arg.NAME: spec.name.encode(),
            **id,
        }
        for types, arg in ((spec.key_type, Arg.KEY_TYPE), (spec.value_type, Arg.VALUE_TYPE)):
            if isinstance(types, TypeRef):
                args[Arg.BTF_FD] = self.btf(types.btf)
                args[arg] = types.id
        if spec.inner is not None:
            args[Arg.INNER_FD] = self.create(object(), spec.inner, {})
        return self.new(thing, Bpf.MAP_CREATE, args)

    def slots(self, map: Map, fd: int) -> None:
        """What they hold.  The last one first: a new one goes to the front of its place in a hash map."""
        for key, held in reversed(list(map.slots())):
            if isinstance(held, LinkedProgram):
                value = self.program(held)
            elif isinstance(held, Map):
                value = self.map(held)
            else:
                continue
            self.late.append((Bpf.MAP_UPDATE_ELEM, {Arg.FD: fd, Arg.KEY: key, Arg.VALUE: _FD.pack(value)}))
        if map.frozen:
            self.late.append((Bpf.MAP_FREEZE, {Arg.FD: fd}))

    def program(self, linked: LinkedProgram) -> int:
        if linked in self.fds:
            return self.fds[linked]
        source = self.host.sources[linked]
        fds = {old: self.map(map) for old, map in source.maps.items()}
        args = dict(source.args)
        args[Arg.INSNS] = _renumbered(source, fds)
        args[Arg.ID] = linked.id
        if source.btf is not None:
            args[Arg.BTF_FD] = self.btf(source.btf)
        if linked in self.fds:  # a slot of one of its own maps holds it
            return self.fds[linked]
        return self.new(linked, Bpf.PROG_LOAD, args)

    def pin(self, path: str, file: LoadedProgram | Map) -> None:
        if isinstance(file, Map):
            fd = self.map(file)
        elif file.linked is not None:
            fd = self.program(file.linked)
        else:
            return
        self.late.append((Bpf.OBJ_PIN, {Arg.FD: fd, Arg.PATH: path.encode("utf-8", "surrogateescape")}))

    def finish(self) -> None:
        # Slots first: a frozen map takes no more.
        order = (Bpf.MAP_UPDATE_ELEM, Bpf.MAP_FREEZE, Bpf.OBJ_PIN)
        for command, args in sorted(self.late, key=lambda each: order.index(Bpf(each[0]))):
            self.call(Bpf(command), args)


def _renumbered(source: bpf.Source, fds: Mapping[int, int]) -> bytes:
    """The instructions with the descriptors that their maps will have."""
    raw = source.args[Arg.INSNS]
    assert isinstance(raw, bytes)
    return encode(bpf.with_map_numbers(decode(raw), fds))


Descriptors = Mapping[tuple[type, int], int]
"""Of what was restored, by its class (`Map`, `LoadedProgram`) and the id that it had and has."""


def restore_calls(process: Process, raw: bytes, contents: MapFiles) -> tuple[Descriptors, list[str]]:
    """Carry the calls out: what there is then, and what went wrong."""
    assembler = Assembler()
    made: dict[tuple[type, int], int] = {}
    wrong: list[str] = []
    for message in iter_messages(raw):
        try:
            call = assembler.take(message)
            if call is None:
                continue
            bpf.carry_out(process, call)
            if Arg.ID in call.args:
                fd = call.number(Arg.FD)
                file = process.files[fd]
                made[type(file), call.number(Arg.ID)] = fd
                if isinstance(file, Map) and file.has_image:
                    contents.restore(file)
        except ClsbpfError as error:
            wrong.append(str(error))
    return made, wrong
