"""The bpf(2)-like calls, carried out: a `Call` in, the attributes of its answer out.

Commands, their order of checks and their errnos are the kernel's (kernel/bpf/syscall.c); what is made here
is what the engine makes of an object itself: maps, and programs that the verifier has judged.  A descriptor
is one of the calling process's own (`Process.files`).

Everything but the verifier's work is done under the network's lock, so every caller sees a consistent
state; a program that takes long to verify makes nobody wait but its own process.
"""

from __future__ import annotations

import errno
import re
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..bpf.insn import Insn, decode
from ..bpf.isa import Class, Jmp, Pseudo
from ..bpf.maps import MapType
from ..bpf.spec import PROGRAM_TYPES, RUNNABLE_TYPES, FuncInfo, LineInfo, MapSpec, ProgramSpec
from ..engine.programs import LoadedProgram
from ..errors import ClsbpfError
from ..objfile import Btf, TypeRef
from ..objfile.btf import Func
from ..objfile.btf_check import check_types
from ..objfile.core_patch import POISON
from ..verifier.kept import judged
from ..vm.ids import PROGRAM_IDS
from ..vm.link import LinkedProgram, link_instructions
from ..vm.maps.map import Map
from .map_files import Change
from .wire import Arg, Args, Bpf, Call, malformed

if TYPE_CHECKING:
    from .host import Process

NOTHING: Args = {}


@dataclass(frozen=True, slots=True)
class Source:
    """What a program was loaded of: the call, and what its descriptors stood for."""

    args: Args
    maps: Mapping[int, Map]
    btf: Btf | None


OBJ_NAME_BYTES = 15
"""BPF_OBJ_NAME_LEN without the NUL."""
MAX_FILES = 4096
"""Descriptors of one process, at most (RLIMIT_NOFILE)."""

MAP_BYTES = 1 << 30
"""What one map may take when it is full (RLIMIT_MEMLOCK): the daemon's clients wait for who walks it."""
SLOT_BYTES = 8
"""What an element takes beside its key and value, at least."""

_TYPE_NAMES = {number: name for name, number in PROGRAM_TYPES.items()}
_FUNC_INFO = struct.Struct("=II")
_LINE_INFO = struct.Struct("=IIII")
_FD = struct.Struct("=I")
_IDS = struct.Struct("=I")
_OBJ_NAME = re.compile(r"[A-Za-z0-9_.]*\Z")
_BY_FD = (Pseudo.MAP_FD, Pseudo.MAP_VALUE)
_CALL = Class.JMP | Jmp.CALL


def carry_out(process: Process, call: Call) -> Args:
    """One call; ClsbpfError with an errno when it is refused, and then nothing has changed."""
    run = _COMMANDS.get(call.command)
    if run is None:
        there = ", ".join(command.name for command in Bpf)
        raise malformed(f"no bpf command {call.command}; there are: {there}")
    unknown = [arg for arg in call.args if arg not in list(Arg)]
    if unknown:
        raise malformed(f"{Bpf(call.command).name}: no attribute {unknown[0]}", errno.E2BIG)
    if call.command == Bpf.PROG_LOAD:
        return run(process, call)
    with process.host.network.lock:
        return run(process, call)


# descriptors


def _install(process: Process, file: LoadedProgram | Map | Btf, call: Call) -> Args:
    if process.restores:
        process.files[call.number(Arg.FD)] = file
        return NOTHING
    if len(process.files) >= MAX_FILES:
        raise malformed(f"a process has at most {MAX_FILES} descriptors", errno.EMFILE)
    with process.host.programs.files_of(process.files):
        return {Arg.FD: process.host.programs.open(file)}


def _file(process: Process, fd: int) -> LoadedProgram | Map | Btf:
    found = process.files.get(fd)
    if found is None:
        raise malformed(f"descriptor {fd} is not open", errno.EBADF)
    return found


def _map(process: Process, fd: int) -> Map:
    found = _file(process, fd)
    if not isinstance(found, Map):
        raise malformed(f"descriptor {fd} is no map's")
    return found


def _close(process: Process, call: Call) -> Args:
    fd = call.number(Arg.FD)
    _file(process, fd)
    del process.files[fd]
    return NOTHING


# maps


def _map_create(process: Process, call: Call) -> Args:
    """map_create()."""
    inner = call.number(Arg.INNER_FD, 0)
    key, value = call.number(Arg.KEY_TYPE, 0), call.number(Arg.VALUE_TYPE, 0)
    btf = _btf(process, call.number(Arg.BTF_FD, 0))
    if (key or value) and btf is None:
        raise malformed("MAP_CREATE: types without BTF_FD")
    spec = MapSpec(
        _object_name(call),
        call.number(Arg.TYPE),
        call.number(Arg.KEY_SIZE, 0),
        call.number(Arg.VALUE_SIZE, 0),
        call.number(Arg.MAX_ENTRIES, 0),
        call.number(Arg.FLAGS, 0),
        call.number(Arg.MAP_EXTRA, 0),
        inner=_map(process, inner).spec if inner else None,
        key_type=_type(btf, key),
        value_type=_type(btf, value),
    )
    takes = spec.max_entries * (spec.key_size + spec.value_size + SLOT_BYTES)
    if takes > MAP_BYTES:
        raise malformed(f"the map may take {takes} bytes; {MAP_BYTES} is the most", errno.ENOMEM)
    made = Map(spec, id=_earlier_id(process, call))
    process.host.maps[made.id] = made
    return _install(process, made, call)


def _earlier_id(process: Process, call: Call) -> int | None:
    """The id that something had before it was restored."""
    return call.number(Arg.ID) if process.restores and Arg.ID in call.args else None


def _object_name(call: Call) -> str:
    """bpf_obj_name_cpy()."""
    name = call.text(Arg.NAME, "").split("\0", 1)[0]
    if len(name) > OBJ_NAME_BYTES or not _OBJ_NAME.match(name):
        raise malformed(
            f"{name!r} names no map or program: at most {OBJ_NAME_BYTES} letters, digits, _ and ."
        )
    return name


def _type(btf: Btf | None, id: int) -> TypeRef | None:
    if btf is None or not id:
        return None
    if id >= len(btf):
        raise malformed(f"there is no BTF type {id}")
    return TypeRef(btf, id)


def _btf(process: Process, fd: int) -> Btf | None:
    if not fd:
        return None
    found = _file(process, fd)
    if not isinstance(found, Btf):
        raise malformed(f"descriptor {fd} is no type information's")
    return found


def _btf_load(process: Process, call: Call) -> Args:
    raw = call.bytes(Arg.DATA)
    problem = check_types(raw)
    if problem is not None:
        raise malformed(str(problem), problem.errno)
    try:
        return _install(process, Btf(raw), call)
    except ClsbpfError as error:
        raise malformed(str(error), error.errno if error.errno == errno.EMFILE else errno.EINVAL) from None


def _key(call: Call) -> bytes | None:
    return call.bytes(Arg.KEY) if Arg.KEY in call.args else None


def _lookup(process: Process, call: Call) -> Args:
    map, key = _map(process, call.number(Arg.FD)), _key(call)
    if map.spec.type == MapType.BLOOM_FILTER:
        if not map.contains(call.bytes(Arg.VALUE)):
            raise malformed("the value was not put in", errno.ENOENT)
        return NOTHING
    return {Arg.VALUE: map.lookup(key, call.number(Arg.FLAGS, 0))}


def _update(process: Process, call: Call) -> Args:
    map, key, value = _map(process, call.number(Arg.FD)), _key(call), call.bytes(Arg.VALUE)
    flags = call.number(Arg.FLAGS, 0)
    if map.slotted:
        if key is None or len(value) != _FD.size:
            raise malformed(f"{map!r} is updated with a key and a descriptor of {_FD.size} bytes")
        held = _slot(process, map, _FD.unpack(value)[0])
        map.put(key, held, flags)
        process.host.map_changed(map, Change(Bpf.MAP_UPDATE_ELEM, key, b"", flags, held))
    else:
        map.update(key, value, flags)
        process.host.map_changed(map, Change(Bpf.MAP_UPDATE_ELEM, key, value, flags))
    return NOTHING


def _slot(process: Process, map: Map, fd: int) -> LinkedProgram | Map:
    """map_fd_get_ptr: what a descriptor in a value stands for."""
    found = _file(process, fd)
    if map.spec.type == MapType.PROG_ARRAY and isinstance(found, LoadedProgram):
        if found.linked is None:
            raise malformed("a classic program is nothing for a prog_array")
        return found.linked
    if map.spec.inner is not None and isinstance(found, Map):
        return found
    raise malformed(f"descriptor {fd} is nothing that a {map.spec.type_name} holds")


def _delete(process: Process, call: Call) -> Args:
    map = _map(process, call.number(Arg.FD))
    key = call.bytes(Arg.KEY)
    map.delete(key)
    process.host.map_changed(map, Change(Bpf.MAP_DELETE_ELEM, key))
    return NOTHING


def _next_key(process: Process, call: Call) -> Args:
    found = _map(process, call.number(Arg.FD)).next_key(_key(call))
    if found is None:
        raise malformed("there is no further key", errno.ENOENT)
    return {Arg.KEY: found}


def _take(process: Process, call: Call) -> Args:
    map = _map(process, call.number(Arg.FD))
    key, flags = _key(call), call.number(Arg.FLAGS, 0)
    value = map.lookup_and_delete(key, flags)
    process.host.map_changed(map, Change(Bpf.MAP_LOOKUP_AND_DELETE_ELEM, key, b"", flags))
    return {Arg.VALUE: value}


def _freeze(process: Process, call: Call) -> Args:
    map = _map(process, call.number(Arg.FD))
    if map.frozen:
        raise malformed("the map is frozen already", errno.EBUSY)
    map.freeze()
    process.host.map_changed(map, Change(Bpf.MAP_FREEZE))
    return NOTHING


# programs


def _prog_load(process: Process, call: Call) -> Args:
    """bpf_prog_load(): references are resolved, the verifier judges, an id is given."""
    host = process.host
    with host.network.lock:
        spec, maps, btf = _program_spec(process, call)
    verified = judged(spec, profile=host.network.profile, btf=btf)
    with host.network.lock:
        linked = link_instructions(spec.insns, maps, name=spec.name, type=spec.type, kfuncs=spec.kfuncs)
        linked = replace(linked, spec=spec, poison=spec.poison, verified=verified)
        earlier = _earlier_id(process, call)
        if earlier is not None:
            linked = replace(linked, id=PROGRAM_IDS.taken(earlier))
        loaded = host.programs.load(linked)
        host.sources[linked] = Source(call.args, maps, btf)
        return _install(process, loaded, call)


def _program_spec(process: Process, call: Call) -> tuple[ProgramSpec, Mapping[int, Map], Btf | None]:
    type = _TYPE_NAMES.get(call.number(Arg.TYPE), "")
    if type not in RUNNABLE_TYPES:
        there = ", ".join(f"{PROGRAM_TYPES[name]} ({name})" for name in RUNNABLE_TYPES)
        raise malformed(f"no program of type {call.number(Arg.TYPE)} runs here; these do: {there}")
    insns = decode(call.bytes(Arg.INSNS))
    maps: dict[int, Map] = {}
    for insn in insns:
        if insn.is_ld_imm64 and insn.src in _BY_FD:
            maps[insn.imm] = _map(process, insn.imm)
    btf = _btf(process, call.number(Arg.BTF_FD, 0))
    kfuncs = call.text(Arg.KFUNCS, "").split("\0")[:-1]
    spec = ProgramSpec(
        _object_name(call),
        type,
        insns,
        license=call.text(Arg.LICENSE, "").split("\0", 1)[0],
        maps={fd: map.spec for fd, map in maps.items()},
        kfuncs=tuple(kfuncs),
        func_info=tuple(_functions(btf, call.bytes(Arg.FUNC_INFO, b""))),
        line_info=tuple(_lines(btf, call.bytes(Arg.LINE_INFO, b""))),
        poison=_poisoned(insns),
    )
    return spec, maps, btf


def with_map_numbers(insns: Iterable[Insn], numbers: Mapping[int, int]) -> list[Insn]:
    """Instructions with other descriptors in the places of maps'."""
    return [
        replace(insn, imm=numbers[insn.imm]) if insn.is_ld_imm64 and insn.src in _BY_FD else insn
        for insn in insns
    ]


def _functions(btf: Btf | None, raw: bytes) -> list[FuncInfo]:
    """check_btf_func()."""
    if len(raw) % _FUNC_INFO.size or (raw and btf is None):
        raise malformed("FUNC_INFO: not whole, or without BTF_FD")
    found = []
    for insn, id in _FUNC_INFO.iter_unpack(raw):
        if btf is None or not 0 < id < len(btf) or not isinstance(btf[id], Func):
            raise malformed(f"FUNC_INFO: BTF type {id} is no function")
        found.append(FuncInfo(insn, btf.name(id), id))
    return found


def _lines(btf: Btf | None, raw: bytes) -> list[LineInfo]:
    """check_btf_line()."""
    if len(raw) % _LINE_INFO.size or (raw and btf is None):
        raise malformed("LINE_INFO: not whole, or without BTF_FD")
    found = []
    for insn, file, line, place in _LINE_INFO.iter_unpack(raw):
        assert btf is not None
        found.append(
            LineInfo(insn, btf.string(file), place >> 10, place & 0x3FF, btf.string(line).lstrip(" \t"))
        )
    return found


def _poisoned(insns: tuple[Insn, ...]) -> dict[int, str]:
    """What libbpf could not make fit the kernel's types, as it marks it."""
    why = "it could not be made to fit the kernel's types"
    return {at: why for at, insn in enumerate(insns) if insn.code == _CALL and insn.imm == POISON}


# pins and ids


def _obj_pin(process: Process, call: Call) -> Args:
    found = _file(process, call.number(Arg.FD))
    path = call.text(Arg.PATH).split("\0", 1)[0]
    if isinstance(found, Btf):
        raise malformed("type information cannot be pinned")
    if not path.startswith(("/", "m:")):
        raise malformed(f"{path}: a pin's path begins with /", errno.EPERM)
    if path in process.host.pins:
        raise malformed(f"{path}: there is a pin of that name already", errno.EEXIST)
    process.host.pins.pin(path, found)
    process.host.changed_beside += 1
    return NOTHING


def _obj_get(process: Process, call: Call) -> Args:
    path = call.text(Arg.PATH).split("\0", 1)[0]
    if path not in process.host.pins:
        there = ", ".join(process.host.pins) or "none"
        raise malformed(f"{path}: nothing is pinned there; pins: {there}", errno.ENOENT)
    return _install(process, process.host.pins.get(path), call)


def _unpin(process: Process, call: Call) -> Args:
    path = call.text(Arg.PATH).split("\0", 1)[0]
    if path not in process.host.pins:
        raise malformed(f"{path}: nothing is pinned there", errno.ENOENT)
    process.host.pins.unpin(path)
    process.host.changed_beside += 1
    return NOTHING


def _prog_fd_by_id(process: Process, call: Call) -> Args:
    found = process.host.programs.by_id(call.number(Arg.ID))
    if found is None:
        raise malformed(f"there is no program {call.number(Arg.ID)}", errno.ENOENT)
    return _install(process, found, call)


def _map_fd_by_id(process: Process, call: Call) -> Args:
    found = process.host.maps.get(call.number(Arg.ID))
    if found is None:
        raise malformed(f"there is no map {call.number(Arg.ID)}", errno.ENOENT)
    return _install(process, found, call)


def _next_prog(process: Process, call: Call) -> Args:
    return _next_id(process.host.programs.ids(), call)


def _next_map(process: Process, call: Call) -> Args:
    return _next_id(tuple(process.host.maps), call)


def _next_id(ids: tuple[int, ...], call: Call) -> Args:
    later = [id for id in ids if id > call.number(Arg.ID, 0)]
    if not later:
        raise malformed("there is no further id", errno.ENOENT)
    return {Arg.ID: min(later)}


def _info(process: Process, call: Call) -> Args:
    """bpf_obj_get_info_by_fd()."""
    found = _file(process, call.number(Arg.FD))
    if isinstance(found, Map):
        spec = found.spec
        return {
            Arg.TYPE: spec.type,
            Arg.ID: found.id,
            Arg.KEY_SIZE: spec.key_size,
            Arg.VALUE_SIZE: spec.value_size,
            Arg.MAX_ENTRIES: found.max_entries,
            Arg.FLAGS: spec.flags,
            Arg.NAME: spec.name.encode(),
        }
    if isinstance(found, Btf):
        return {Arg.DATA: found.raw}
    return program_info(found)


def program_info(program: LoadedProgram) -> Args:
    """struct bpf_prog_info, as far as it is known here."""
    maps = program.linked.maps if program.linked is not None else ()
    return {
        Arg.TYPE: PROGRAM_TYPES[program.type],
        Arg.ID: program.id or 0,
        Arg.NAME: (program.name or "").encode(),
        Arg.TAG: program.tag or b"",
        Arg.JITED: int(program.verified is not None),
        Arg.MAP_IDS: b"".join(_IDS.pack(map.id) for map in maps),
    }


_COMMANDS: Mapping[int, Callable[[Process, Call], Args]] = {
    Bpf.MAP_CREATE: _map_create,
    Bpf.MAP_LOOKUP_ELEM: _lookup,
    Bpf.MAP_UPDATE_ELEM: _update,
    Bpf.MAP_DELETE_ELEM: _delete,
    Bpf.MAP_GET_NEXT_KEY: _next_key,
    Bpf.PROG_LOAD: _prog_load,
    Bpf.OBJ_PIN: _obj_pin,
    Bpf.OBJ_GET: _obj_get,
    Bpf.PROG_GET_NEXT_ID: _next_prog,
    Bpf.MAP_GET_NEXT_ID: _next_map,
    Bpf.PROG_GET_FD_BY_ID: _prog_fd_by_id,
    Bpf.MAP_GET_FD_BY_ID: _map_fd_by_id,
    Bpf.OBJ_GET_INFO_BY_FD: _info,
    Bpf.BTF_LOAD: _btf_load,
    Bpf.MAP_LOOKUP_AND_DELETE_ELEM: _take,
    Bpf.MAP_FREEZE: _freeze,
    Bpf.CLOSE: _close,
    Bpf.UNPIN: _unpin,
}
