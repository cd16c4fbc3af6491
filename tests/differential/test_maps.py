"""Maps against the kernel: the same commands of bpf(2), in the same order, have the same answers.

A command's answer is its result or its errno.  Hash maps are made with BPF_F_ZERO_SEED, so that even the
order of the walk must be the kernel's; the process stays on one CPU, so that what an LRU map throws out is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

import pytest

from clsbpf.bpf.maps import PERCPU_TYPES, MapFlag, MapType
from clsbpf.bpf.spec import MapSpec
from clsbpf.errors import ClsbpfError
from clsbpf.kernel import maps as kernel
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

    def __init__(self, spec: MapSpec) -> None:
        self.fd = kernel.map_create(
            spec.type, spec.key_size, spec.value_size, spec.max_entries, spec.flags, map_extra=spec.map_extra
        )
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


ZERO = MapFlag.ZERO_SEED
KEYED = [
    MapSpec("hash", MapType.HASH, 4, 8, 20, ZERO),
    MapSpec("hash, no prealloc", MapType.HASH, 8, 12, 33, ZERO | MapFlag.NO_PREALLOC),
    MapSpec("hash, odd sizes", MapType.HASH, 13, 3, 40, ZERO),
    MapSpec("hash, long keys", MapType.HASH, 39, 70, 7, ZERO),
    MapSpec("hash, one", MapType.HASH, 1, 1, 1, ZERO),
    MapSpec("percpu_hash", MapType.PERCPU_HASH, 6, 12, 20, ZERO),
    MapSpec("percpu_hash, no prealloc", MapType.PERCPU_HASH, 4, 8, 20, ZERO | MapFlag.NO_PREALLOC),
    MapSpec("lru_hash", MapType.LRU_HASH, 4, 8, 20, ZERO),
    MapSpec("lru_hash, one", MapType.LRU_HASH, 4, 8, 1, ZERO),
    MapSpec("lru_hash, large", MapType.LRU_HASH, 4, 8, 700, ZERO),
    MapSpec("lru_hash, no common", MapType.LRU_HASH, 4, 8, 19, ZERO | MapFlag.NO_COMMON_LRU),
    MapSpec("lru_percpu_hash", MapType.LRU_PERCPU_HASH, 4, 4, 20, ZERO),
    MapSpec("lru_percpu, no common", MapType.LRU_PERCPU_HASH, 4, 4, 40, ZERO | MapFlag.NO_COMMON_LRU),
    MapSpec("array", MapType.ARRAY, 4, 5, 9),
    MapSpec("percpu_array", MapType.PERCPU_ARRAY, 4, 12, 9),
]
"""Maps of keys and values, smaller than the keys that are tried."""


def random_keys(random: Random, spec: MapSpec) -> list[bytes]:
    """Twice as many as fit."""
    count = spec.max_entries * 2 + 2
    if spec.type in (MapType.ARRAY, MapType.PERCPU_ARRAY):
        return [index.to_bytes(4, "little") for index in range(count)] + [b"\xff\xff\xff\xff"]
    return [random.randbytes(spec.key_size) for _ in range(count)]


def random_command(random: Random, pair: Twins, keys: list[bytes]) -> None:
    """One command at random, mostly sensible."""
    key = random.choice(keys)
    flags = random.choice([0, 0, 0, 0, 1, 2, 3, 4, 5, 8, 1 << 63])
    match random.choice("uuuuuulldntk"):
        case "u":
            pair.both("update", key, random.randbytes(pair.ours.value_bytes), flags)
        case "l":
            pair.both("lookup", key, random.choice([0, 0, 0, flags]))
        case "d":
            pair.both("delete", key)
        case "n":
            pair.both("next_key", random.choice([key, None]))
        case "t":
            pair.both("lookup_and_delete", key, random.choice([0, 0, 0, flags]))
        case "k":
            walk(pair)


def walk(pair: Twins) -> list[bytes]:
    """All keys, in the same order on both sides."""
    keys: list[bytes] = []
    key = pair.both("next_key", None)
    while isinstance(key, bytes):
        keys.append(key)
        pair.both("lookup", key)
        key = pair.both("next_key", key)
    return keys


@pytest.mark.parametrize("spec", KEYED, ids=lambda spec: spec.name)
def test_random_commands_have_the_kernels_answers(spec: MapSpec) -> None:
    """For any sequence of commands, each answer is the kernel's, and so is what is left."""
    for seed in range(3):
        random = Random(f"{spec.name} {seed}")
        keys = random_keys(random, spec)
        with twins(spec) as pair:
            for _ in range(400):
                random_command(random, pair, keys)
            walk(pair)
