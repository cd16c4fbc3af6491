"""An object in the real kernel: its maps made and filled, its programs loaded, through bpf(2).

What libbpf does after it has read an object, for a spec that has been read already (`objfile/`): type
information first, because maps and programs refer to it; then the maps, those that others hold before
those that hold them; then the programs, whose map references become descriptors; last the slots of jump
tables, which hold programs.

    with load(spec) as loaded:
        prog_test_run(loaded.programs["firewall"], packet)
        map_lookup(loaded.maps["verdicts"], key, 8)

Descriptors stay open until the object is closed.  A kernel that refuses something is a ClsbpfError (for a
program a VerifierError with the verifier's log) that says what it refused.
"""

from __future__ import annotations

import dataclasses
import errno
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from ..bpf.insn import Insn
from ..bpf.isa import PSEUDO_KFUNC_CALL, Class, Jmp, Pseudo
from ..bpf.maps import MapType
from ..bpf.spec import (
    PIN_BY_NAME,
    PIN_NONE,
    PROGRAM_TYPES,
    MapRef,
    MapSpec,
    ObjectSpec,
    ProgramRef,
    ProgramSpec,
)
from ..errors import ClsbpfError, ObjectError
from ..objfile.btf import Datasec, Kind, TypeRef
from ..objfile.btf_kernel import is_laid_out, kernel_types
from ..objfile.files import machine_btf
from .calls import KERNEL, Calls

_FD = struct.Struct("=I")
_FUNC_INFO = struct.Struct("=II")
_CALL = Class.JMP | Jmp.CALL
BPFFS = "/sys/fs/bpf"

UNTYPED = frozenset(
    {
        *(MapType.PERF_EVENT_ARRAY, MapType.CGROUP_ARRAY, MapType.STACK_TRACE, MapType.ARRAY_OF_MAPS),
        *(MapType.HASH_OF_MAPS, MapType.DEVMAP, MapType.DEVMAP_HASH, MapType.CPUMAP, MapType.XSKMAP),
        *(MapType.SOCKMAP, MapType.SOCKHASH, MapType.QUEUE, MapType.STACK, MapType.PROG_ARRAY),
    }
)
"""Map types that are made without type information: the kernel does not take it, or has no use for it."""


@dataclass(slots=True)
class LoadedObject:
    """Descriptors of an object's programs and maps in the kernel, by name.  Closing it closes them."""

    programs: dict[str, int] = field(default_factory=dict)
    maps: dict[str, int] = field(default_factory=dict)
    calls: Calls = KERNEL
    _others: list[int] = field(default_factory=list)

    def close(self) -> None:
        """Give all descriptors back; what nobody else holds is gone then."""
        for fd in (*self.programs.values(), *self.maps.values(), *self._others):
            self.calls.close_fd(fd)
        self.programs.clear()
        self.maps.clear()
        self._others.clear()

    def __enter__(self) -> LoadedObject:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def load(
    spec: ObjectSpec,
    programs: Iterable[str] | None = None,
    *,
    contents: Mapping[str, Mapping[bytes, bytes]] | None = None,
    calls: Calls = KERNEL,
    pin: bool = False,
) -> LoadedObject:
    """bpf_object__load(): all maps of an object and its programs, or those of them that are named.

    `contents`: elements by map and key, put in after the object's own and before a map is frozen; a
    data section is one element with the key 0.  `calls`: who is asked.  `pin`: maps that want to be pinned
    are, or are found where they are pinned already.
    """
    there = {name: spec.program(name) for name in (spec.programs if programs is None else programs)}
    loaded = LoadedObject(calls=calls)
    try:
        btf_fd = 0
        if spec.btf is not None:
            try:
                btf_fd = calls.btf_load(kernel_types(spec.btf))
                loaded._others.append(btf_fd)
            except ClsbpfError:
                pass  # an object does without types where it can; who cannot is refused by what needs them
        for each in _inner_first(spec.maps.values()):
            path = pin_path(each, spec.name) if pin else None
            found = _pinned(path, calls)
            loaded.maps[each.name] = _create(each, btf_fd, calls) if found is None else found
            if found is None:
                _fill(each, loaded, (contents or {}).get(each.name, {}))
                if path is not None:
                    calls.obj_pin(loaded.maps[each.name], path)
        for name, program in there.items():
            loaded.programs[name] = _load_program(program, loaded.maps, btf_fd, calls)
        for each in spec.maps.values():
            for key, value in each.contents:
                if isinstance(value, ProgramRef) and value.name in loaded.programs:
                    calls.map_update(loaded.maps[each.name], key, _FD.pack(loaded.programs[value.name]))
    except BaseException:
        loaded.close()
        raise
    return loaded


def _inner_first(maps: Iterable[MapSpec]) -> list[MapSpec]:
    """Maps that hold maps come after all others."""
    return sorted(maps, key=lambda spec: spec.inner is not None)


def pin_path(spec: MapSpec, object_name: str) -> str | None:
    """Where a map is pinned, None where it is not: as libbpf and iproute2 have it."""
    if spec.pinning == PIN_NONE:
        return None
    if spec.pinning == PIN_BY_NAME:
        return f"{BPFFS}/{spec.name}" if not spec.id else f"{BPFFS}/tc/{object_name}/{spec.name}"
    return f"{BPFFS}/tc/globals/{spec.name}"


def _pinned(path: str | None, calls: Calls) -> int | None:
    """The map that is pinned at a path, if there is one."""
    if path is None:
        return None
    try:
        return calls.obj_get(path)
    except ClsbpfError as error:
        if error.errno == errno.ENOENT:
            return None
        raise


def _create(spec: MapSpec, btf_fd: int, calls: Calls) -> int:
    """bpf_object__create_map()."""
    entries = spec.max_entries
    if spec.type == MapType.PERF_EVENT_ARRAY and not entries:
        entries = calls.possible_cpus()
    inner_fd = _create(dataclasses.replace(spec.inner, name=""), btf_fd, calls) if spec.inner else 0
    value = _type_id(spec.value_type) if btf_fd and spec.type not in UNTYPED else 0

    def create(typed: bool) -> int:
        return calls.map_create(
            *(spec.type, spec.key_size, spec.value_size, entries, spec.flags),
            name=kernel_name(spec.name),
            inner_fd=inner_fd,
            map_extra=spec.map_extra,
            btf_fd=btf_fd if typed else 0,
            key_type_id=_type_id(spec.key_type) if typed else 0,
            value_type_id=value if typed else 0,
        )

    try:
        if not value:
            return create(typed=False)
        try:
            return create(typed=True)
        except ClsbpfError:  # types of another size, or of the value only: as libbpf, without them then
            return create(typed=False)
    except ClsbpfError as error:
        error.add_note(f"map {spec.name!r}: {spec.type_name}")
        raise
    finally:
        if inner_fd:
            calls.close_fd(inner_fd)


def _type_id(type: object) -> int:
    """The BTF id of a key's or value's type; 0 where there is none that the kernel could use."""
    if not isinstance(type, TypeRef):
        return 0
    section = type.btf[type.id]
    return 0 if isinstance(section, Datasec) and not is_laid_out(type.btf, section) else type.id


def _fill(spec: MapSpec, loaded: LoadedObject, more: Mapping[bytes, bytes]) -> None:
    """The contents that the object gives its map, then those that the caller does."""
    fd = loaded.maps[spec.name]
    for key, value in spec.contents:
        if isinstance(value, MapRef):
            loaded.calls.map_update(fd, key, _FD.pack(loaded.maps[value.name]))
        elif isinstance(value, bytes):
            loaded.calls.map_update(fd, key, value)
    for key, value in more.items():
        loaded.calls.map_update(fd, key, value)
    if spec.frozen:
        loaded.calls.map_freeze(fd)


def kernel_name(name: str) -> str:
    """What a name becomes where the kernel takes only letters, digits, `_` and `.`, and 15 of them."""
    return re.sub(r"[^A-Za-z0-9_.]", "_", name)[:15]


def _load_program(spec: ProgramSpec, maps: Mapping[str, int], btf_fd: int, calls: Calls) -> int:
    """bpf_object_load_prog()."""
    if spec.problem is not None:
        raise ObjectError(f"program {spec.name!r}: {spec.problem}")
    described = bool(btf_fd) and spec.has_function_types
    return calls.prog_load(
        _resolved(spec, maps),
        PROGRAM_TYPES[spec.type],
        license=spec.license,
        name=kernel_name(spec.name),
        btf_fd=btf_fd if described else 0,
        func_info=b"".join(_FUNC_INFO.pack(each.insn, each.type_id) for each in spec.func_info)
        if described
        else b"",
        kfuncs=spec.kfuncs,
    )


def _resolved(spec: ProgramSpec, maps: Mapping[str, int]) -> list[Insn]:
    """The instructions with descriptors for maps."""
    insns = list(spec.insns)
    for at, insn in enumerate(insns):
        if insn.is_ld_imm64 and insn.src in (Pseudo.MAP_FD, Pseudo.MAP_VALUE):
            insns[at] = dataclasses.replace(insn, imm=maps[spec.maps[insn.imm].name])
    return insns


def with_kernel_functions(insns: Iterable[Insn], kfuncs: Sequence[str]) -> list[Insn]:
    """The instructions with the kernel's own numbers for its functions."""
    return [
        dataclasses.replace(insn, imm=kernel_function(kfuncs[insn.imm]))
        if insn.code == _CALL and insn.src == PSEUDO_KFUNC_CALL
        else insn
        for insn in insns
    ]


def kernel_function(name: str) -> int:
    """The number of a function of the kernel that programs may call: its BTF id."""
    types = machine_btf()
    found = types.find(name, Kind.FUNC) if types is not None else None
    if found is None:
        raise ObjectError(f"the kernel has no function {name!r} for programs")
    return found
