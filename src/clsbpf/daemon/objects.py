"""Programs and maps, kept: as the bpf(2)-like calls that make them again.

A file of them is what a process would have sent: type information, maps (those that others hold first),
their contents, programs, slots that hold programs, pins.  Descriptors in it are known beforehand, for a new
process gets the lowest free one each time.  A PROG_LOAD carries the id that the program had: by that name a
kept filter asks for it.
"""

from __future__ import annotations

import ctypes
import itertools
import logging
import struct
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ..bpf.insn import decode, encode
from ..bpf.maps import MapType
from ..engine.programs import FIRST_FD, LoadedProgram
from ..errors import ClsbpfError, MapError
from ..netlink.message import iter_messages
from ..objfile import Btf, TypeRef
from ..vm.link import LinkedProgram
from ..vm.maps.header import MapAt
from ..vm.maps.map import Map
from ..vm.subset import load_i64
from . import bpf
from .host import Host, Process
from .wire import Arg, Args, Assembler, Bpf, encode_call

_FD = struct.Struct("=I")
_INDEX = struct.Struct("=I")
_READ: weakref.WeakKeyDictionary[Map, tuple[int, list[Args]]] = weakref.WeakKeyDictionary()
"""Contents of maps, and `Host.changed_maps` when they were read."""
_log = logging.getLogger("clsbpf")
_NOT_KEPT = frozenset({MapType.RINGBUF, MapType.PERF_EVENT_ARRAY, MapType.CGROUP_ARRAY, MapType.BLOOM_FILTER})
"""Types whose contents cannot be listed, or mean something only while a process waits for them."""


def kept_calls(host: Host, wanted: Iterable[LoadedProgram]) -> bytes:
    """The calls that make the wanted programs again, and all that is pinned, with what they need."""
    writer = _Writer(host)
    for program in wanted:
        if program.linked is not None:
            writer.program(program.linked)
    for path in host.pins:
        writer.pin(path, host.pins.get(path))
    writer.finish()
    return b"".join(writer.out)


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
        self.call(command, args)
        self.fds[thing] = FIRST_FD + len(self.fds)
        return self.fds[thing]

    def btf(self, btf: Btf) -> int:
        found = self.fds.get(btf)
        return found if found is not None else self.new(btf, Bpf.BTF_LOAD, {Arg.DATA: btf.raw})

    def map(self, map: Map) -> int:
        if map in self.fds:
            return self.fds[map]
        spec = map.spec
        args: dict[int, int | bytes] = {
            Arg.TYPE: spec.type,
            Arg.KEY_SIZE: spec.key_size,
            Arg.VALUE_SIZE: spec.value_size,
            Arg.MAX_ENTRIES: spec.max_entries,
            Arg.FLAGS: spec.flags,
            Arg.MAP_EXTRA: spec.map_extra,
            Arg.NAME: spec.name.encode(),
        }
        for types, arg in ((spec.key_type, Arg.KEY_TYPE), (spec.value_type, Arg.VALUE_TYPE)):
            if isinstance(types, TypeRef):
                args[Arg.BTF_FD] = self.btf(types.btf)
                args[arg] = types.id
        if spec.inner is not None:
            args[Arg.INNER_FD] = self.map(Map(spec.inner))
        fd = self.new(map, Bpf.MAP_CREATE, args)
        self.contents(map, fd)
        if map.frozen:
            self.late.append((Bpf.MAP_FREEZE, {Arg.FD: fd}))
        return fd

    def contents(self, map: Map, fd: int) -> None:
        if map.slotted:
            for key in _slots(map):
                held = map.held_at(key)
                if isinstance(held, LinkedProgram):
                    value = self.program(held)
                elif isinstance(held, Map):
                    value = self.map(held)
                else:
                    continue
                self.late.append(
                    (Bpf.MAP_UPDATE_ELEM, {Arg.FD: fd, Arg.KEY: key, Arg.VALUE: _FD.pack(value)})
                )
            return
        if map.spec.type in _NOT_KEPT:
            return
        for entry in self.entries(map):
            self.call(Bpf.MAP_UPDATE_ELEM, {Arg.FD: fd, **entry})

    def entries(self, map: Map) -> list[Args]:
        """The contents, read once as long as nobody changes any map's."""
        made_at, entries = _READ.get(map, (-1, []))
        if made_at != self.host.changed_maps:
            entries = _entries(map)
            _READ[map] = self.host.changed_maps, entries
        return entries

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


def _slots(map: Map) -> list[bytes]:
    try:
        return [key for key in map.walk() if map.held_at(key) is not None]
    except MapError:
        return []


MOST_ELEMENTS = 1 << 17
"""A map that holds more is kept empty: contents are read one by one, while everybody waits."""
_STRETCH = 4096
"""Elements of an array that are looked over at once: most are 0."""


def _entries(map: Map) -> list[Args]:
    """The elements that differ from what a new map has."""
    if map.spec.type in (MapType.QUEUE, MapType.STACK):
        values = list(itertools.islice(map.waiting(), MOST_ELEMENTS + 1))
        return [{Arg.VALUE: value} for value in values] if len(values) <= MOST_ELEMENTS else []
    try:
        keys = _array_keys(map) if map.spec.type == MapType.ARRAY else map.walk()
        found = [(key, map.lookup(key)) for key in itertools.islice(keys, MOST_ELEMENTS + 1)]
    except MapError:
        return []  # one that commands may not read, or that has no keys
    if len(found) > MOST_ELEMENTS:
        _log.warning("map %s holds more than %d elements: it is kept empty", map.name, MOST_ELEMENTS)
        return []
    if map.spec.type in (MapType.ARRAY, MapType.PERCPU_ARRAY):
        found = [(key, value) for key, value in found if any(value)]
    return [{Arg.KEY: key, Arg.VALUE: value} for key, value in found]


def _array_keys(map: Map) -> Iterator[bytes]:
    """The indices of an array's elements, without long stretches of zeros."""
    elements, stride = load_i64(map.address + MapAt.ELEMENTS), load_i64(map.address + MapAt.STRIDE)
    for first in range(0, map.max_entries, _STRETCH):
        count = min(_STRETCH, map.max_entries - first)
        if ctypes.string_at(elements + first * stride, count * stride).strip(b"\0"):
            yield from (_INDEX.pack(index) for index in range(first, first + count))


def restore_calls(process: Process, raw: bytes) -> tuple[dict[int, int], list[str]]:
    """Carry the calls out: the descriptors of the programs by the ids that they had, and what went wrong."""
    assembler = Assembler()
    by_id: dict[int, int] = {}
    wrong: list[str] = []
    for message in iter_messages(raw):
        try:
            call = assembler.take(message)
            if call is None:
                continue
            answer = bpf.carry_out(process, call)
        except ClsbpfError as error:
            wrong.append(str(error))
            continue
        if call.command == Bpf.PROG_LOAD:
            fd = answer[Arg.FD]
            assert isinstance(fd, int)
            by_id[call.number(Arg.ID, 0)] = fd
    return by_id, wrong
