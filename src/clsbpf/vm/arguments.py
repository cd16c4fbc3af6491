"""May a helper be called with these registers?  What its prototype says of each, checked.

check_func_arg of the kernel's verifier, at run time: bodies trust their pointers, so whatever a body will
read or write is checked here first.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..bpf.isa import R1
from ..bpf.maps import PERCPU_TYPES, MapType
from ..bpf.prototypes import Arg, Prototype, Ret
from .arithmetic import unsigned
from .environment import TASK_BYTES
from .helpers.socket_image import SOCK_BYTES, TCP_BYTES
from .maps.map import map_at
from .memory import Region, count
from .subset import wrap

if TYPE_CHECKING:
    from .machine import Machine

MAX_SIZE = 1 << 29
"""BPF_MAX_VAR_SIZ: no memory that a helper is given is longer."""
STRING_MAX = 1 << 16


_QUEUES = frozenset({MapType.QUEUE, MapType.STACK, MapType.BLOOM_FILTER})
_MAP_TYPES: dict[str, frozenset[MapType]] = {
    "bpf_tail_call": frozenset({MapType.PROG_ARRAY}),
    "bpf_for_each_map_elem": PERCPU_TYPES | {MapType.HASH, MapType.ARRAY, MapType.LRU_HASH},
    "bpf_map_lookup_percpu_elem": PERCPU_TYPES,
    **dict.fromkeys(("bpf_map_push_elem", "bpf_map_peek_elem"), _QUEUES),
    "bpf_map_pop_elem": _QUEUES - {MapType.BLOOM_FILTER},
    **dict.fromkeys(
        ("bpf_perf_event_output", "bpf_perf_event_read", "bpf_perf_event_read_value"),
        frozenset({MapType.PERF_EVENT_ARRAY}),
    ),
    **dict.fromkeys(
        (
            *("bpf_ringbuf_output", "bpf_ringbuf_reserve", "bpf_ringbuf_query"),
            "bpf_ringbuf_reserve_dynptr",
        ),
        frozenset({MapType.RINGBUF}),
    ),
    **dict.fromkeys(
        ("bpf_skb_under_cgroup", "bpf_current_task_under_cgroup"), frozenset({MapType.CGROUP_ARRAY})
    ),
    **dict.fromkeys(("bpf_sk_storage_get", "bpf_sk_storage_delete"), frozenset({MapType.SK_STORAGE})),
    **dict.fromkeys(("bpf_task_storage_get", "bpf_task_storage_delete"), frozenset({MapType.TASK_STORAGE})),
    **dict.fromkeys(("bpf_cgrp_storage_get", "bpf_cgrp_storage_delete"), frozenset({MapType.CGRP_STORAGE})),
    "bpf_user_ringbuf_drain": frozenset({MapType.USER_RINGBUF}),
}
"""check_map_func_compatibility(): the maps that a helper is for, where it is not for all."""


def check_arguments(machine: Machine, name: str, prototype: Prototype) -> list[int]:
    """The values of r1, r2, … for a body, signed; ProgramFault says which may not be."""
    values: list[int] = []
    machine.helper = name
    kinds = prototype.arguments
    for at, kind in enumerate(kinds):
        register = R1 + at
        if kind is Arg.REST:
            value = machine.registers[register] or 0
        else:
            value = machine.read(register)
            check = _CHECKS.get(kind)
            if check is not None:
                refusal = check(machine, register, value, kind)
                if refusal is not None:
                    raise machine.fault(f"{name}: {refusal}", register)
        values.append(wrap(value))
    return values


def _context(machine: Machine, register: int, value: int, kind: Arg) -> str | None:
    return None if value == machine.context else f"r{register} is not the context"


def _map(machine: Machine, register: int, value: int, kind: Arg) -> str | None:
    found = map_at(value)
    if found is None:
        return f"r{register} is not a map"
    types = _MAP_TYPES.get(machine.helper)
    if types is not None and found.spec.type not in types:
        return f"r{register} is map {found.spec.name}, a {found.spec.type_name}: it is not for those"
    return None


def _sized_by_map(machine: Machine, register: int, value: int, kind: Arg) -> str | None:
    """A key or value: the map is r1."""
    if value == 0 and kind is Arg.VALUE_OR_NULL:
        return None
    found = machine.map(machine.read(R1))
    size = found.spec.key_size if kind is Arg.KEY else found.spec.value_size
    return _memory(machine, register, value, size, write=kind is Arg.VALUE_OUT)


def _sized_by_next(machine: Machine, register: int, value: int, kind: Arg) -> str | None:
    if value == 0 and kind in _OR_NULL:
        return None  # the helper looks
    size = machine.read(register + 1)
    if size == 0:
        return None  # whether that may be is the next argument's matter; 0 is a pointer to nothing
    if size > MAX_SIZE:
        return _size(machine, register + 1, size, Arg.SIZE)
    write = kind in _WRITTEN
    return _memory(machine, register, value, size, write=write)


_OR_NULL = frozenset({Arg.BUFFER_OR_NULL, Arg.MEM_OR_NULL, Arg.OUT_OR_NULL})
_WRITTEN = frozenset({Arg.RW, Arg.OUT, Arg.OUT_OR_NULL, Arg.BUFFER_OR_NULL})


def _size(machine: Machine, register: int, value: int, kind: Arg) -> str | None:
    if value > MAX_SIZE:
        return f"r{register} is a size of {value:#x}, at most {MAX_SIZE:#x} bytes go"
    if value == 0 and kind is Arg.SIZE:
        return f"r{register} is a size of 0 bytes"
    return None


def _memory(machine: Machine, register: int, address: int, size: int, *, write: bool) -> str | None:
    if size == 0:
        return None
    if machine.in_context(address):
        return f"{count(size)} through r{register}: the context is no memory"
    return machine.memory.refusal(address, size, register, write=write)


DYNPTR_BYTES = 16
_FIXED = {
    Arg.OUT4: 4,
    Arg.RW4: 4,
    Arg.OUT8: 8,
    Arg.LOCK: 4,
    Arg.TIMER: 16,
    Arg.IP4: 20,
    Arg.IP6: 40,
    Arg.TCP: 20,
    Arg.DYNPTR: DYNPTR_BYTES,
    Arg.DYNPTR_OUT: DYNPTR_BYTES,
}


def _fixed(machine: Machine, register: int, value: int, kind: Arg) -> str | None:
    size = _FIXED[kind]
    if kind in (Arg.OUT4, Arg.RW4, Arg.OUT8, Arg.LOCK) and value % size:
        return f"r{register} is {value:#x}, not a multiple of {size}"
    return _memory(machine, register, value, size, write=kind not in (Arg.IP4, Arg.IP6, Arg.TCP))


def _dynptr(machine: Machine, register: int, value: int, kind: Arg) -> str | None:
    """A dynptr that a helper made, as the helper left it: it holds an address that bodies will follow."""
    refusal = _fixed(machine, register, value, kind)
    if refusal is None and machine.dynptrs.get(value) != ctypes.string_at(value, DYNPTR_BYTES):
        return f"r{register} is not a dynptr"
    return refusal


def _string(machine: Machine, register: int, value: int, kind: Arg) -> str | None:
    """A string: it ends within its region, and nothing can write there."""
    region = machine.memory.find(value)
    if region is None or region.gone or not region.readable:
        return _memory(machine, register, value, 1, write=False)
    if machine.text(value, region.end - value) is None:
        return f"the string that r{register} points to has no end"
    return None


def _function(machine: Machine, register: int, value: int, kind: Arg) -> str | None:
    return None if machine.is_function(value) else f"r{register} is not a function"


def _record(machine: Machine, register: int, value: int, kind: Arg) -> str | None:
    return None if value in machine.held else f"r{register} is not a reserved ring buffer record"


def _socket(machine: Machine, register: int, value: int, kind: Arg) -> str | None:
    if value == 0 and kind is Arg.SOCKET_OR_NULL:
        return None
    region = machine.memory.at(value)
    if region is None or region.gone or "sock" not in region.name:
        return f"r{register} is not a socket"
    return None


_CHECKS: dict[Arg, Callable[[Machine, int, int, Arg], str | None]] = {
    Arg.CTX: _context,
    Arg.MAP: _map,
    **dict.fromkeys((Arg.KEY, Arg.VALUE, Arg.VALUE_OR_NULL, Arg.VALUE_OUT), _sized_by_map),
    **dict.fromkeys((Arg.MEM, Arg.MEM_OR_NULL, Arg.RW, Arg.OUT, Arg.OUT_OR_NULL), _sized_by_next),
    Arg.BUFFER_OR_NULL: _sized_by_next,
    **dict.fromkeys((Arg.SIZE, Arg.SIZE_OR_ZERO, Arg.RECORD_SIZE), _size),
    **dict.fromkeys(_FIXED, _fixed),
    Arg.DYNPTR: _dynptr,
    Arg.STRING: _string,
    Arg.FUNC: _function,
    Arg.RECORD: _record,
    **dict.fromkeys((Arg.SOCK_COMMON, Arg.SOCKET, Arg.SOCKET_OR_NULL), _socket),
}


def learn_result(
    machine: Machine, name: str, prototype: Prototype, arguments: list[int], result: int
) -> None:
    """Let the program touch what a helper gave it, and no longer what it gave back."""
    for kind, value in zip(prototype.arguments, arguments, strict=True):
        if kind in (Arg.DYNPTR, Arg.DYNPTR_OUT):
            machine.dynptrs[unsigned(value, 64)] = ctypes.string_at(value, DYNPTR_BYTES)
    if name in ("bpf_ringbuf_submit", "bpf_ringbuf_discard", "bpf_sk_release"):
        machine.give_back(unsigned(arguments[0], 64), name)
    elif name in ("bpf_ringbuf_submit_dynptr", "bpf_ringbuf_discard_dynptr"):
        machine.give_back_dynptr(unsigned(arguments[0], 64), name)
    elif name == "bpf_ringbuf_reserve_dynptr" and result == 0:
        machine.take_dynptr(unsigned(arguments[3], 64))
    if result == 0:
        return
    if prototype.returns is Ret.VALUE_OR_NULL:
        machine.learn_value(arguments[0], result)
    elif name == "bpf_ringbuf_reserve":
        machine.take(result, Region("ring buffer record", result, arguments[1]))
    elif name in _SHOWN:
        structure, size = _SHOWN[name]
        machine.memory.add(Region(structure, unsigned(result, 64), size, writable=False))
        if name in _TO_RELEASE:
            machine.hold(unsigned(result, 64), "a socket")


_TO_RELEASE = frozenset({"bpf_sk_lookup_tcp", "bpf_sk_lookup_udp", "bpf_skc_lookup_tcp"})
_SHOWN: dict[str, tuple[str, int]] = {
    **dict.fromkeys(_TO_RELEASE, ("struct bpf_sock", SOCK_BYTES)),
    "bpf_tcp_sock": ("struct bpf_tcp_sock", TCP_BYTES),
    **dict.fromkeys(("bpf_get_current_task", "bpf_get_current_task_btf"), ("struct task_struct", TASK_BYTES)),
}
"""Structures that helpers give, to read."""
