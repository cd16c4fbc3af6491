"""What is a map?  An address that programs know, and an object that Python knows.

A program has a map's address and calls operations with it (`operations.py`).  From outside, bpf(2) gives
commands: look a key up, update, delete, walk the keys, freeze.  `Map` has them, with the kernel's checks in
the kernel's order: a command that the kernel would refuse is a `MapError` with its errno.  A command sees
all CPUs' values of a per-CPU map, where a program sees that of the CPU it runs on, and the flags RDONLY
and WRONLY are about commands, RDONLY_PROG and WRONLY_PROG about programs.

Maps of descriptors (prog_array, array_of_maps, …) hold Python objects here: `update_object`.

A map is used by one thread at a time.
"""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import os
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ...bpf.maps import PERCPU_TYPES, MapFlag, MapType, UpdateFlag
from ...bpf.spec import MapSpec
from ...errors import MapError
from ...objfile.btf import TypeRef
from ..ids import MAP_IDS
from ..program_cell import EMPTY
from . import array, devices, hash, image, lpm, lru, queue, ringbuf
from .build import SLOTTED, build
from .check import ENOTSUPP, check
from .face import Face
from .header import SPECIALS_MAX, MapAt, clear_specials
from .perf import PerfBuffer
from .values import SPIN_LOCK, special_fields

_MAPS: weakref.WeakValueDictionary[int, Map] = weakref.WeakValueDictionary()


@dataclass(frozen=True, slots=True)
class Commands:
    """What bpf(2) does to a map of some type; None where the kernel has nothing."""

    lookup: Callable[[int, int], int] | None = None
    """(map, key) -> the address of the value or values, or 0.  Unlike a program's, it leaves no trace."""
    update: Callable[[int, int, int, int], int] | None = None
    """(map, key, value or values, flags) -> 0 or -errno.  In maps of slots: the content itself."""
    delete: Callable[[int, int], int] | None = None
    """(map, key) -> 0 or -errno."""
    next_key: Callable[[int, int, int], int] | None = None
    """(map, key or 0, next key) -> 0 or -errno."""
    take: bool = False
    """Is there BPF_MAP_LOOKUP_AND_DELETE_ELEM?"""
    absent: int = ENOTSUPP
    """The errno of a command that is None."""


_SLOTS = Commands(
    array.array_lookup_slot, array.array_update_slot, array.array_delete_slot, array.array_next_key
)
_NO_SOCKETS = Commands(devices.nothing_lookup, next_key=array.array_next_key, absent=errno.EOPNOTSUPP)
_INDEXED_SLOTS = SLOTTED - {MapType.HASH_OF_MAPS}
_DEVICES = Commands(devices.device_lookup, devices.devmap_update, devices.device_delete, array.array_next_key)

COMMANDS: dict[int, Commands] = {
    MapType.HASH: Commands(
        hash.hash_lookup, hash.hash_update, hash.hash_delete, hash.hash_next_key, take=True
    ),
    MapType.PERCPU_HASH: Commands(
        hash.hash_lookup, hash.hash_update_all, hash.hash_delete, hash.hash_next_key, take=True
    ),
    MapType.LRU_HASH: Commands(
        hash.hash_lookup, lru.lru_update, lru.lru_delete, hash.hash_next_key, take=True
    ),
    MapType.LRU_PERCPU_HASH: Commands(
        hash.hash_lookup, lru.lru_update_all, lru.lru_delete, hash.hash_next_key, take=True
    ),
    MapType.ARRAY: Commands(array.array_lookup, array.array_update, array.array_delete, array.array_next_key),
    MapType.PERCPU_ARRAY: Commands(
        array.array_lookup, array.array_update_all, array.array_delete, array.array_next_key
    ),
    MapType.LPM_TRIE: Commands(lpm.trie_lookup, lpm.trie_update, lpm.trie_delete, lpm.trie_next_key),
    MapType.PROG_ARRAY: _SLOTS,
    MapType.PERF_EVENT_ARRAY: _SLOTS,
    MapType.CGROUP_ARRAY: _SLOTS,
    MapType.ARRAY_OF_MAPS: _SLOTS,
    MapType.HASH_OF_MAPS: Commands(
        hash.hash_lookup_slot, hash.hash_update_slot, hash.hash_delete, hash.hash_next_key
    ),
    MapType.QUEUE: Commands(update=queue.keyless_push, take=True, absent=errno.EINVAL),
    MapType.STACK: Commands(update=queue.keyless_push, take=True, absent=errno.EINVAL),
    MapType.BLOOM_FILTER: Commands(update=queue.keyless_add, absent=errno.EOPNOTSUPP),
    MapType.DEVMAP: _DEVICES,
    MapType.DEVMAP_HASH: Commands(
        hash.hash_lookup, devices.devmap_hash_update, hash.hash_delete, hash.hash_next_key
    ),
    MapType.CPUMAP: dataclasses.replace(_DEVICES, update=devices.cpumap_update),
    MapType.SOCKMAP: _NO_SOCKETS,
    MapType.XSKMAP: _NO_SOCKETS,
    MapType.SOCKHASH: dataclasses.replace(_NO_SOCKETS, next_key=devices.nothing_next_key),
}
"""By type; a type that is missing has no commands (ring buffers, storage of sockets)."""

_PEEKED: dict[int, Callable[[int, int], int]] = {
    MapType.QUEUE: queue.queue_peek,
    MapType.STACK: queue.queue_peek,
}
"""Maps that values come out of without a key: (map, where the value goes) -> 0 or -errno."""


def map_at(address: int) -> Map | None:
    """The map that a program's map pointer is, or None."""
    return _MAPS.get(address)


def inner_difference(wanted: MapSpec, found: MapSpec) -> str | None:
    """Why a map cannot be in a map of maps, in words (bpf_map_meta_equal, array_map_meta_equal)."""
    compared = ["type", "key_size", "value_size", "flags"]
    if wanted.type in (MapType.ARRAY, MapType.PERCPU_ARRAY) and not wanted.flags & MapFlag.INNER_MAP:
        compared.append("max_entries")
    for what in compared:
        theirs, ours = getattr(found, what), getattr(wanted, what)
        if what == "flags":  # bpf_map_flags_retain_permanent: what commands may do is no part of the map
            theirs, ours = (flags & ~(MapFlag.RDONLY | MapFlag.WRONLY) for flags in (theirs, ours))
        if theirs != ours:
            return f"its {what} is {theirs}, must be {ours}"
    return None


class Map(Face):
    """struct bpf_map, and struct file where the kernel keeps what a descriptor may do."""

    def __init__(self, spec: MapSpec, *, cpus: int = 1, seed: int = 0, id: int | None = None) -> None:
        """An empty map with the contents that the spec gives it.

        `cpus`: possible CPUs.  `seed`: of the hash (a u32); with BPF_F_ZERO_SEED it is 0.  `id`: the one
        that it had before, in an earlier process.
        Raises MapError where BPF_MAP_CREATE would fail.
        """
        if spec.type == MapType.PERF_EVENT_ARRAY and spec.max_entries == 0:
            spec = dataclasses.replace(spec, max_entries=cpus)
        check(spec)
        self.spec = spec
        self.cpus = cpus
        self.id = MAP_IDS.next() if id is None else MAP_IDS.taken(id)
        """What dumps call the map by."""
        self._storage = build(spec, cpus=cpus, seed=seed)
        self._storage[MapAt.ID] = self.id
        self._set_specials()
        self.address = self._storage.address
        """What a program's map pointer is."""
        self.frozen = False
        self._held: dict[bytes, object] = {}
        self._commands = COMMANDS.get(spec.type, Commands())
        _MAPS[self.address] = self
        for key, value in spec.contents:
            if isinstance(value, bytes):  # what refers to programs and maps is filled in by who has them
                self.update(key, value)
        self.frozen = spec.frozen and all(isinstance(value, bytes) for _, value in spec.contents)

    def _set_specials(self) -> None:
        """map_check_btf: the value's fields that are the kernel's own."""
        if not isinstance(self.spec.value_type, TypeRef):
            return
        specials = special_fields(self.spec.value_type)
        if len(specials) > SPECIALS_MAX:
            raise self._error(errno.E2BIG, f"{len(specials)} locks, timers and such; {SPECIALS_MAX} may be")
        if specials and specials[-1].offset + specials[-1].size > self.spec.value_size:
            raise self._error(errno.EINVAL, "the value's type is larger than the value")
        for at, special in enumerate(specials):
            self._storage[MapAt.SPECIAL + 16 * at] = special.offset
            self._storage[MapAt.SPECIAL + 16 * at + 8] = special.size
        self._storage[MapAt.SPECIALS] = len(specials)
        self._storage[MapAt.LOCK] = any(special.name == SPIN_LOCK for special in specials)

    def __repr__(self) -> str:
        spec = self.spec
        return (
            f"<Map {spec.name!r} {spec.type_name}: key {spec.key_size}, value {spec.value_size}, "
            f"at most {self.max_entries} entries>"
        )

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def max_entries(self) -> int:
        """As the kernel has it: an LRU map with NO_COMMON_LRU gets a multiple of the CPUs."""
        return self._storage[MapAt.MAX_ENTRIES]

    @property
    def per_cpu(self) -> bool:
        """Has an element one value for each possible CPU?"""
        return self.spec.type in PERCPU_TYPES

    @property
    def value_bytes(self) -> int:
        """Bytes of a value in a command: those of all CPUs, each rounded up to 8, in a per-CPU map."""
        return self._storage[MapAt.STRIDE] * self.cpus if self.per_cpu else self.spec.value_size

    @property
    def cpu(self) -> int:
        """The CPU that programs run on, whose values they see; below `cpus`."""
        return self._storage[MapAt.CPU]

    @cpu.setter
    def cpu(self, cpu: int) -> None:
        if not 0 <= cpu < self.cpus:
            raise self._error(errno.EINVAL, f"there is no CPU {cpu}, only 0 to {self.cpus - 1}")
        self._storage[MapAt.CPU] = cpu

    # commands of bpf(2)

    def lookup(self, key: bytes | None, flags: int = 0) -> bytes:
        """BPF_MAP_LOOKUP_ELEM: the value; in a per-CPU map those of all CPUs, `value_bytes`.

        Of a slot: the number of what it holds.

        Raises MapError: ENOENT where the key is not there, and what else the kernel says.
        """
        if flags & ~UpdateFlag.F_LOCK:
            raise self._error(errno.EINVAL, f"lookup flags {flags:#x}: only F_LOCK is known")
        self._may_read()
        self._may_lock(flags)
        return self._look_up(self._key(key))

    def update(self, key: bytes | None, value: bytes, flags: int = 0) -> None:
        """BPF_MAP_UPDATE_ELEM.  Raises MapError (EEXIST, ENOENT, E2BIG, EINVAL, …)."""
        self._may_write()
        self._may_lock(flags)
        update = self._has(self._commands.update, "updated")
        key_buffer = self._key(key)
        if self.slotted:
            raise self._error(errno.EBADF, "a descriptor is no value here; put() takes what it stands for")
        value_buffer = self._value(value)
        self._done(update(self.address, _at(key_buffer), _at(value_buffer), flags), "update", key, flags)

    def contains(self, value: bytes) -> bool:
        """BPF_MAP_LOOKUP_ELEM of a Bloom filter: may the value have been put in?"""
        self._may_read()
        if self.spec.type != MapType.BLOOM_FILTER:
            raise self._error(ENOTSUPP, "only a Bloom filter is asked for a value")
        buffer = self._value(value)
        return queue.bloom_peek(self.address, ctypes.addressof(buffer)) == 0

    def delete(self, key: bytes) -> None:
        """BPF_MAP_DELETE_ELEM.  Raises MapError (ENOENT, EINVAL)."""
        self._may_write()
        delete = self._has(self._commands.delete, "deleted from")
        key_buffer = self._key(key)  # a name keeps it alive during the call
        self._done(delete(self.address, _at(key_buffer)), "delete", key)
        self._held.pop(key, None)

    def next_key(self, key: bytes | None = None) -> bytes | None:
        """BPF_MAP_GET_NEXT_KEY: the key after `key` (the first one for None); None after the last."""
        self._may_read()
        next_key = self._has(self._commands.next_key, "walked")
        key_buffer = self._key(key) if key is not None else None
        if next_key is hash.hash_next_key:
            return hash.key_after(self.address, _at(key_buffer))
        following = ctypes.create_string_buffer(self.spec.key_size)
        result = next_key(self.address, _at(key_buffer), _at(following))
        if result == -errno.ENOENT:
            return None
        self._done(result, "walk past", key)
        return following.raw

    def lookup_and_delete(self, key: bytes | None = None, flags: int = 0) -> bytes:
        """BPF_MAP_LOOKUP_AND_DELETE_ELEM: the value that was there; without a key, of a queue or stack."""
        if flags & ~UpdateFlag.F_LOCK:
            raise self._error(errno.EINVAL, f"lookup flags {flags:#x}: only F_LOCK is known")
        self._may_read()
        self._may_write()
        self._may_lock(flags)
        key_buffer = self._key(key)
        if not self._commands.take:
            raise self._error(ENOTSUPP, f"nothing can be taken out of a {self.spec.type_name}")
        if self.spec.type in _PEEKED:
            return self._peek(queue.queue_pop)
        value = self._look_up(key_buffer)
        delete = self._has(self._commands.delete, "deleted from")
        self._done(delete(self.address, _at(key_buffer)), "delete", key)
        return value

    def freeze(self) -> None:
        """BPF_MAP_FREEZE: commands change nothing any more; programs may."""
        if self._storage[MapAt.SPECIALS]:
            raise self._error(ENOTSUPP, "a map with locks or timers cannot be frozen")
        self._may_write()
        self.frozen = True

    @property
    def has_image(self) -> bool:
        """Is its state bytes, and no objects of this process?"""
        return self.spec.type in image.IMAGED

    def image(self) -> image.Image:
        """All that it holds and knows, as it is now."""
        return image.take(self._storage, frozen=self.frozen)

    def bring_back(self, raw: memoryview) -> None:
        """Become what the map was that an image is of.  It must be new; MapError: use it no more."""
        self.frozen = image.bring_back(self._storage, self.spec, raw)

    def walk(self) -> Iterator[bytes]:
        """The keys as bytes, in the map's order.  It may change meanwhile; the walk ends all the same."""
        self._may_read()
        next_key = self._has(self._commands.next_key, "walked")
        if next_key is array.array_next_key:
            yield from (index.to_bytes(4, sys.byteorder) for index in range(self.max_entries))
        elif next_key is hash.hash_next_key:
            yield from hash.all_keys(self.address)
        else:
            key = self.next_key()
            for _ in range(self.max_entries):
                if key is None:
                    return
                yield key
                key = self.next_key(key)

    def waiting(self) -> Iterator[bytes]:
        """What a map without keys would give, in that order, without taking it out."""
        self._may_read()
        match self.spec.type:
            case MapType.QUEUE | MapType.STACK:
                yield from queue.all_values(self.address)
            case MapType.RINGBUF:
                yield from ringbuf.all_records(self.address)
            case _:
                raise self._error(self._commands.absent, f"a {self.spec.type_name} cannot be listed")

    # slots: what a descriptor in a value stands for

    @property
    def slotted(self) -> bool:
        """Does the map hold programs, maps, … instead of bytes?"""
        return self.spec.type in SLOTTED

    def put(self, key: bytes, held: object, flags: int = 0) -> None:
        """BPF_MAP_UPDATE_ELEM of a map of slots: `held` is what the descriptor stands for.

        Raises MapError: EINVAL for a map that is not like the inner maps must be, and what else the
        kernel says.  Whether programs fit each other is for who loads them to check.
        """
        self._may_write()
        self._may_lock(flags)
        if not self.slotted:
            raise self._error(errno.EINVAL, "the map holds values, nothing else")
        key_buffer = self._key(key)
        if self.spec.type in _INDEXED_SLOTS:
            self._done(array.array_slot_refusal(self.address, _at(key_buffer), flags), "update", key, flags)
        if self.spec.inner is not None:
            if not isinstance(held, Map):
                raise self._error(errno.EINVAL, "the map holds maps, nothing else")
            difference = inner_difference(self.spec.inner, held.spec)
            if difference:
                raise self._error(errno.EINVAL, f"map {held.name!r} does not fit: {difference}")
        content = self._content(held)
        update = self._has(self._commands.update, "updated")
        self._done(update(self.address, _at(key_buffer), content, flags), "update", key, flags)
        self._held[key] = held

    def _content(self, held: object) -> int:
        """What stands in the slot: an address that machine code knows what to do with, not 0."""
        if isinstance(held, Map | PerfBuffer):
            return held.address
        if self.spec.type == MapType.PROG_ARRAY:
            return int(getattr(held, "address", EMPTY))
        return id(held)

    def held(self) -> Iterator[object]:
        """All that the slots hold."""
        return iter(tuple(self._held.values()))

    def slots(self) -> Iterator[tuple[bytes, object]]:
        """Keys and what they hold, in a hash map's own order, whatever commands may do."""
        indexed = self.spec.type in _INDEXED_SLOTS
        keys = sorted(self._held) if indexed else hash.all_keys(self.address)
        return ((key, self._held[key]) for key in keys)

    def held_at(self, key: bytes) -> object | None:
        """What the slot of `key` holds, or None."""
        return self._held.get(key)

    def program_at(self, index: int) -> Any:
        """What a tail call to `index` finds: the program, or None."""
        return self._held.get(index.to_bytes(4, sys.byteorder))

    # what commands check

    def _error(self, code: int, what: str) -> MapError:
        return MapError(code, f"map {self.spec.name!r} ({self.spec.type_name}): {what}")

    def _may_read(self) -> None:
        """FMODE_CAN_READ."""
        if self.spec.flags & MapFlag.WRONLY:
            raise self._error(errno.EPERM, "the map may only be written")

    def _may_write(self) -> None:
        """FMODE_CAN_WRITE, and not frozen."""
        if self.spec.flags & MapFlag.RDONLY or self.frozen:
            raise self._error(errno.EPERM, "the map is frozen" if self.frozen else "the map may only be read")

    def _may_lock(self, flags: int) -> None:
        if flags & UpdateFlag.F_LOCK and not self._storage[MapAt.LOCK]:
            raise self._error(errno.EINVAL, "the flag F_LOCK needs a spin lock in the value")

    def _has(self, command: Callable[..., int] | None, what: str) -> Callable[..., int]:
        if command is None:
            raise self._error(self._commands.absent, f"a {self.spec.type_name} cannot be {what} from outside")
        return command

    def _key(self, key: bytes | None) -> ctypes.Array[ctypes.c_char] | None:
        """The key in native memory.  A size that is not the map's is named beside the map's."""
        size = len(key) if key is not None else 0
        if size != self.spec.key_size:
            raise self._error(errno.EINVAL, f"the key has {size} bytes, the map's have {self.spec.key_size}")
        return ctypes.create_string_buffer(key, size) if key else None

    def _value(self, value: bytes) -> ctypes.Array[ctypes.c_char]:
        if len(value) != self.value_bytes:
            of = f" ({self.cpus} CPUs)" if self.per_cpu else ""
            raise self._error(
                errno.EINVAL, f"the value has {len(value)} bytes, the map's have {self.value_bytes}{of}"
            )
        return ctypes.create_string_buffer(value, len(value))

    def _look_up(self, key: ctypes.Array[ctypes.c_char] | None) -> bytes:
        if self.spec.type in _PEEKED:
            return self._peek(_PEEKED[self.spec.type])
        lookup = self._has(self._commands.lookup, "looked into")
        if self.spec.type in (MapType.PERF_EVENT_ARRAY, MapType.CGROUP_ARRAY):
            raise self._error(ENOTSUPP, "what the slots hold has no number to show")
        address = lookup(self.address, _at(key))
        if not address:
            shown = key.raw.hex() if key is not None else ""
            raise self._error(errno.ENOENT, f"there is no key {shown}")
        if self.slotted:
            assert key is not None
            return int(getattr(self._held[key.raw], "id", address)).to_bytes(4, sys.byteorder)
        value = ctypes.create_string_buffer(ctypes.string_at(address, self.value_bytes), self.value_bytes)
        for cpu in range(self.cpus if self.per_cpu else 1):
            clear_specials(self.address, ctypes.addressof(value) + cpu * self._storage[MapAt.STRIDE])
        return value.raw

    def _peek(self, operation: Callable[[int, int], int]) -> bytes:
        """A value out of a queue or stack."""
        buffer = ctypes.create_string_buffer(self.spec.value_size)
        result = operation(self.address, ctypes.addressof(buffer))
        if result:
            raise self._error(-result, "the map is empty")
        return buffer.raw

    def _done(self, result: int, what: str, key: bytes | None, flags: int = 0) -> None:
        """Raises MapError when an operation gave -errno."""
        if result:
            shown = f" {key.hex()}" if key else ""
            how = f" with flags {flags:#x}" if flags else ""
            raise self._error(-result, f"cannot {what} key{shown}{how}: {os.strerror(-result)}")


def _at(buffer: ctypes.Array[ctypes.c_char] | None) -> int:
    return ctypes.addressof(buffer) if buffer is not None else 0
