"""A map here and the same one in the kernel, for tests that give both the same commands."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from clsbpf.bpf.maps import PERCPU_TYPES, MapType
from clsbpf.bpf.spec import MapSpec
from clsbpf.errors import ClsbpfError
from clsbpf.kernel import maps as kernel
from clsbpf.objfile.btf import TypeRef
from clsbpf.vm.maps.map import Map
from judges import need_kernel

Answer = bytes | int | None
"""What a command gave: bytes, None for nothing, or a negative errno."""


@contextmanager
def one_cpu() -> Iterator[None]:
    """This thread on CPU 0, which programs and commands then see."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {0})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class KernelMap:
    """The kernel's map of a spec, with the commands of `Map`."""

    def __init__(self, spec: MapSpec, *, inner_fd: int = 0) -> None:
        types = [each for each in (spec.key_type, spec.value_type) if isinstance(each, TypeRef)]
        btf_fd = kernel.btf_load(types[0].btf.raw) if types else 0
        self.fd = kernel.map_create(
            spec.type,
            spec.key_size,
            spec.value_size,
            spec.max_entries,
            spec.flags,
            map_extra=spec.map_extra,
            inner_fd=inner_fd,
            btf_fd=btf_fd,
            key_type_id=types[0].id if types else 0,
            value_type_id=types[1].id if types else 0,
        )
        if btf_fd:
            os.close(btf_fd)
        self.key_size = spec.key_size
        stride = (spec.value_size + 7) & ~7
        self.value_bytes = stride * kernel.possible_cpus() if spec.type in PERCPU_TYPES else spec.value_size

    def close(self) -> None:
        os.close(self.fd)

    def lookup(self, key: bytes | None, flags: int = 0) -> bytes:
        return kernel.map_lookup(self.fd, key, self.value_bytes, flags)

    def update(self, key: bytes | None, value: bytes, flags: int = 0) -> None:
        kernel.map_update(self.fd, key, value, flags)

    def delete(self, key: bytes) -> None:
        kernel.map_delete(self.fd, key)

    def next_key(self, key: bytes | None = None) -> bytes:
        return kernel.map_next_key(self.fd, key, self.key_size)

    def lookup_and_delete(self, key: bytes | None = None, flags: int = 0) -> bytes:
        return kernel.map_lookup_and_delete(self.fd, key, self.value_bytes, flags)

    def freeze(self) -> None:
        kernel.map_freeze(self.fd)


def answer(command: Callable[..., bytes | None], *arguments: object) -> Answer:
    """What a command gave, an errno negative."""
    try:
        return command(*arguments)
    except ClsbpfError as error:
        return -(error.errno or 0)


class Twins:
    """A map here and the same one in the kernel; every command goes to both."""

    def __init__(self, spec: MapSpec) -> None:
        self.ours = Map(spec, cpus=kernel.possible_cpus())
        self.theirs = KernelMap(spec)
        self.history: list[str] = []

    def both(self, command: str, *arguments: object) -> Answer:
        self.history.append(f"{command}{arguments}")
        expected = answer(getattr(self.theirs, command), *arguments)
        found = answer(getattr(self.ours, command), *arguments)
        if command == "next_key" and found is None:
            found = -2  # ENOENT: the walk is over
        assert found == expected, self.history[-20:]
        return expected


@contextmanager
def twins(spec: MapSpec) -> Iterator[Twins]:
    need_kernel()
    with one_cpu():
        pair = Twins(spec)
        try:
            yield pair
        finally:
            pair.theirs.close()


def walk(pair: Twins) -> list[bytes]:
    """All keys, in the same order on both sides."""
    keys: list[bytes] = []
    key = pair.both("next_key", None)
    while isinstance(key, bytes):
        keys.append(key)
        pair.both("lookup", key)
        key = pair.both("next_key", key)
    return keys


INDEXED = (MapType.ARRAY, MapType.PERCPU_ARRAY, MapType.DEVMAP, MapType.CPUMAP)


def random_prefix(random: Random, size: int) -> bytes:
    """A prefix of a few bits' variety, so that many lie in each other; now and then one that is too long."""
    length = random.choice([0, random.randrange(8 * size + 1), random.randrange(9), 8 * size, 8 * size + 1])
    data = bytearray(size)
    for _ in range(random.randrange(4)):
        bit = random.randrange(size * 8) if random.random() < 0.5 else random.randrange(min(size * 8, 6))
        data[bit // 8] |= 0x80 >> bit % 8
    return length.to_bytes(4, "little") + bytes(data)


def random_keys(random: Random, spec: MapSpec) -> list[bytes]:
    """Twice as many as fit."""
    count = spec.max_entries * 2 + 2
    if spec.key_size == 0:
        return [b""]
    if spec.type == MapType.LPM_TRIE:
        return [random_prefix(random, spec.key_size - 4) for _ in range(count)]
    if spec.type in INDEXED:
        return [index.to_bytes(4, "little") for index in range(count)] + [b"\xff\xff\xff\xff"]
    return [random.randbytes(spec.key_size) for _ in range(count)]
