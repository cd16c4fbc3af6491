"""bpf(2) on maps: make one in the real kernel, and read and change it from outside.

Keys and values are bytes of the map's sizes; a per-CPU map's value holds one value, rounded up to eight
bytes, for each possible CPU.  A call that the kernel refuses is a ClsbpfError with its errno.
"""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path

from .bpf import LOG_BYTES, Command, bpf_call, refused

_CREATE = struct.Struct("=7I16s5IQ8x")
_ELEMENT = struct.Struct("=I4xQQQ")
_FREEZE = struct.Struct("=I")
_BTF_LOAD = struct.Struct("=QQIII4x")


def possible_cpus() -> int:
    """How many CPUs the kernel could have (num_possible_cpus): as many values has a per-CPU map."""
    count = 0
    for part in Path("/sys/devices/system/cpu/possible").read_text().strip().split(","):
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1
    return count


def map_create(
    type: int,
    key_size: int,
    value_size: int,
    max_entries: int,
    flags: int = 0,
    *,
    name: str = "",
    inner_fd: int = 0,
    map_extra: int = 0,
    btf_fd: int = 0,
    key_type_id: int = 0,
    value_type_id: int = 0,
) -> int:
    """BPF_MAP_CREATE: the map's file descriptor, the caller's to close."""
    attr = _CREATE.pack(
        type,
        key_size,
        value_size,
        max_entries,
        flags,
        inner_fd,
        0,
        name.encode()[:15],
        0,
        btf_fd,
        key_type_id,
        value_type_id,
        0,
        map_extra,
    )
    try:
        return bpf_call(Command.MAP_CREATE, attr)[0]
    except OSError as error:
        raise refused("create the map", error) from None


def btf_load(btf: bytes) -> int:
    """BPF_BTF_LOAD: the descriptor of type information, the caller's to close."""
    data = ctypes.create_string_buffer(btf, len(btf))
    log = ctypes.create_string_buffer(LOG_BYTES)
    try:
        attr = _BTF_LOAD.pack(ctypes.addressof(data), ctypes.addressof(log), len(btf), LOG_BYTES, 1)
        return bpf_call(Command.BTF_LOAD, attr)[0]
    except OSError as error:
        refusal = refused("load the type information", error)
        refusal.add_note(log.value.decode(errors="replace"))
        raise refusal from None


def _element(
    command: Command, what: str, fd: int, key: bytes | None, value: bytes, flags: int, *, room: int = 0
) -> bytes:
    """One of the element commands; what the kernel left in the value's place (0 where a command has none)."""
    key_buffer = ctypes.create_string_buffer(key, len(key)) if key else None
    size = max(len(value), room)
    buffer = ctypes.create_string_buffer(value, size) if size else ctypes.create_string_buffer(1)
    attr = _ELEMENT.pack(
        fd,
        ctypes.addressof(key_buffer) if key_buffer else 0,
        ctypes.addressof(buffer) if size else 0,
        flags,
    )
    try:
        bpf_call(command, attr)
    except OSError as error:
        raise refused(what, error) from None
    return buffer.raw[:room]


def map_lookup(fd: int, key: bytes | None, value_size: int, flags: int = 0) -> bytes:
    """BPF_MAP_LOOKUP_ELEM: the value, `value_size` bytes (of all CPUs, where there is one for each)."""
    return _element(
        Command.MAP_LOOKUP_ELEM, "look the key up", fd, key, bytes(value_size), flags, room=value_size
    )


def map_contains(fd: int, value: bytes) -> None:
    """BPF_MAP_LOOKUP_ELEM of a Bloom filter: ENOENT if the value was not put in."""
    _element(Command.MAP_LOOKUP_ELEM, "find the value", fd, None, value, 0)


def map_update(fd: int, key: bytes | None, value: bytes, flags: int = 0) -> None:
    """BPF_MAP_UPDATE_ELEM."""
    _element(Command.MAP_UPDATE_ELEM, "update the map", fd, key, value, flags)


def map_delete(fd: int, key: bytes) -> None:
    """BPF_MAP_DELETE_ELEM."""
    _element(Command.MAP_DELETE_ELEM, "delete the key", fd, key, b"", 0)


def map_next_key(fd: int, key: bytes | None, key_size: int) -> bytes:
    """BPF_MAP_GET_NEXT_KEY: the key after `key`; the first one for None."""
    return _element(Command.MAP_GET_NEXT_KEY, "find the next key", fd, key, b"", 0, room=key_size)


def map_lookup_and_delete(fd: int, key: bytes | None, value_size: int, flags: int = 0) -> bytes:
    """BPF_MAP_LOOKUP_AND_DELETE_ELEM: the value that was there (queue and stack: pop)."""
    return _element(
        Command.MAP_LOOKUP_AND_DELETE_ELEM,
        "take the element out",
        fd,
        key,
        bytes(value_size),
        flags,
        room=value_size,
    )


def map_freeze(fd: int) -> None:
    """BPF_MAP_FREEZE: no more changes from outside."""
    try:
        bpf_call(Command.MAP_FREEZE, _FREEZE.pack(fd))
    except OSError as error:
        raise refused("freeze the map", error) from None
