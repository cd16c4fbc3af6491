"""Maps against the kernel: the same commands of bpf(2), in the same order, have the same answers.

A command's answer is its result or its errno.  Hash maps are made with BPF_F_ZERO_SEED, so that even the
order of the walk must be the kernel's; the process stays on one CPU, so that what an LRU map throws out is.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

import pytest

from clsbpf.bpf.insn import exit_, mov64_imm
from clsbpf.bpf.maps import PERCPU_TYPES, MapFlag, MapType
from clsbpf.bpf.spec import MapSpec
from clsbpf.errors import ClsbpfError, MapError
from clsbpf.kernel import maps as kernel
from clsbpf.kernel.bpf import ProgType, prog_load
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
        self.fd = kernel.map_create(
            spec.type,
            spec.key_size,
            spec.value_size,
            spec.max_entries,
            spec.flags,
            map_extra=spec.map_extra,
            inner_fd=inner_fd,
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
    MapSpec("lpm_trie, 4 bytes", MapType.LPM_TRIE, 8, 8, 20, MapFlag.NO_PREALLOC),
    MapSpec("lpm_trie, 1 byte", MapType.LPM_TRIE, 5, 3, 100, MapFlag.NO_PREALLOC),
    MapSpec("lpm_trie, 16 bytes", MapType.LPM_TRIE, 20, 1, 30, MapFlag.NO_PREALLOC),
    MapSpec("lpm_trie, 11 bytes", MapType.LPM_TRIE, 15, 4, 30, MapFlag.NO_PREALLOC),
    MapSpec("devmap", MapType.DEVMAP, 4, 4, 9),
    MapSpec("devmap with programs", MapType.DEVMAP, 4, 8, 9),
    MapSpec("cpumap", MapType.CPUMAP, 4, 4, 9),
    MapSpec("queue", MapType.QUEUE, 0, 5, 9),
    MapSpec("stack", MapType.STACK, 0, 12, 9),
    MapSpec("ringbuf", MapType.RINGBUF, 0, 0, 4096),
    MapSpec("array", MapType.ARRAY, 4, 5, 9),
    MapSpec("percpu_array", MapType.PERCPU_ARRAY, 4, 12, 9),
]
"""Maps of keys and values, smaller than the keys that are tried."""


INDEXED = (MapType.ARRAY, MapType.PERCPU_ARRAY, MapType.DEVMAP, MapType.CPUMAP)


def random_prefix(random: Random, size: int) -> bytes:
    """A prefix of a few bits' variety, so that many lie in each other; now and then one that is too long."""
    length = random.choice([0, random.randrange(8 * size + 1), random.randrange(9), 8 * size, 8 * size + 1])
    data = bytearray(size)
    for _ in range(random.randrange(4)):
        bit = random.randrange(size * 8) if random.random() < 0.5 else random.randrange(min(size * 8, 6))
        data[bit // 8] |= 0x80 >> bit % 8
    return length.to_bytes(4, "little") + bytes(data)


def random_value(random: Random, pair: Twins) -> bytes:
    """Any bytes; of a map of devices or CPUs, an interface that is there or none, or a queue's length."""
    spec = pair.ours.spec
    if spec.type == MapType.DEVMAP:
        return random.choice([0, 1]).to_bytes(4, "little") + bytes(spec.value_size - 4)
    if spec.type == MapType.CPUMAP:
        return random.choice([0, 8, 16384, 16385]).to_bytes(4, "little")
    return random.randbytes(pair.ours.value_bytes)


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


def random_command(random: Random, pair: Twins, keys: list[bytes]) -> None:
    """One command at random, mostly sensible."""
    key = random.choice(keys)
    flags = random.choice([0, 0, 0, 0, 1, 2, 3, 4, 5, 8, 1 << 63])
    match random.choice("uuuuuulldntk"):
        case "u":
            pair.both("update", key, random_value(random, pair), flags)
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


@pytest.mark.parametrize("value_size", [3, 4, 12, 40])
@pytest.mark.parametrize("hashes", [0, 1, 15])
def test_a_bloom_filter_makes_the_kernels_mistakes(value_size: int, hashes: int) -> None:
    """Of any values, those that were put in and those that look as if are the same."""
    spec = MapSpec("bloom", MapType.BLOOM_FILTER, 0, value_size, 8, ZERO, map_extra=hashes)
    random = Random(f"{value_size} {hashes}")
    with twins(spec) as pair:
        mistakes = 0
        for _ in range(40):
            pair.both("update", None, random.randbytes(value_size), random.choice([0, 0, 0, 1, 2]))
        for _ in range(300):
            value = random.randbytes(value_size)
            expected = answer(kernel.map_contains, pair.theirs.fd, value) != -errno.ENOENT
            assert pair.ours.contains(value) == expected
            mistakes += expected
        assert mistakes > 0
        for command in ("delete", "next_key", "lookup_and_delete"):
            pair.both(command, b"")


def test_a_devmap_by_hash() -> None:
    """Any commands have the kernel's answers; the order of the walk is not looked at."""
    random = Random(3)
    with twins(MapSpec("devmap_hash", MapType.DEVMAP_HASH, 4, 4, 5)) as pair:
        for _ in range(300):
            key = random.randrange(8).to_bytes(4, "little")
            match random.choice("uuld"):
                case "u":
                    value = random.choice([0, 1, 1]).to_bytes(4, "little")
                    pair.both("update", key, value, random.choice([0, 0, 1, 2, 3]))
                case "l":
                    pair.both("lookup", key)
                case "d":
                    pair.both("delete", key)


ACCESS = [0, MapFlag.RDONLY, MapFlag.WRONLY, MapFlag.RDONLY_PROG, MapFlag.WRONLY_PROG]


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("flags", ACCESS)
@pytest.mark.parametrize("type", [MapType.ARRAY, MapType.HASH])
def test_what_may_be_done_to_a_map(type: int, flags: int, frozen: bool) -> None:
    """Flags of access and freezing refuse the same commands with the same errno."""
    with twins(MapSpec("access", type, 4, 4, 2, flags)) as pair:
        if frozen:
            pair.both("freeze")
            pair.both("freeze")
        key = bytes(4)
        pair.both("update", key, b"1234")
        pair.both("lookup", key)
        pair.both("next_key", None)
        pair.both("lookup_and_delete", key)
        pair.both("delete", key)


def created(spec: MapSpec) -> int:
    """0 if the kernel makes such a map, else its errno."""
    try:
        inner = spec.inner and kernel.map_create(
            spec.inner.type, spec.inner.key_size, spec.inner.value_size, spec.inner.max_entries
        )
    except ClsbpfError:
        pytest.fail("the inner map must be a good one")
    try:
        KernelMap(spec, inner_fd=inner or 0).close()
    except ClsbpfError as error:
        return error.errno or 0
    finally:
        if inner:
            os.close(inner)
    return 0


def made(spec: MapSpec) -> int:
    """0 if such a map can be made here, else the errno."""
    try:
        Map(spec)
    except MapError as error:
        return error.errno or 0
    return 0


TYPES = [
    type
    for type in MapType
    if type
    not in (
        MapType.STACK_TRACE,
        MapType.CGROUP_STORAGE,
        MapType.PERCPU_CGROUP_STORAGE,
        MapType.REUSEPORT_SOCKARRAY,
        MapType.USER_RINGBUF,
        MapType.ARENA,
        MapType.STRUCT_OPS,
    )
]
SIZES = [
    *((4, 4, 8), (0, 4, 8), (4, 0, 8), (4, 8, 8), (8, 4, 8), (4, 4, 0)),
    *((0, 0, 4096), (0, 0, 4097), (0, 0, 12288)),
    *((5, 4, 8), (260, 4, 8), (261, 4, 8), (512, 4, 1), (513, 4, 1)),
    *((4, 1 << 15, 1), (4, (1 << 15) + 1, 1), (4, 1 << 31, 1)),
    *((4, (1 << 22) - 52, 1), (4, (1 << 22) - 53, 1), (4, 1 << 22, 1), (4, (1 << 22) + 1, 1)),
    *((0, 1 << 22, 1), (0, (1 << 22) + 1, 1)),
    *((8, 1 << 22, 1), (8, (1 << 22) - 280, 1), (8, (1 << 22) - 279, 1)),
]
"""Key size, value size and max_entries: a small one, for the kernel, unlike us, takes the memory at once."""


@pytest.mark.parametrize("type", TYPES, ids=lambda type: type.name)
def test_the_same_maps_can_be_made(type: MapType) -> None:
    """For any sizes and flags, a map can be made or is refused with the same errno."""
    need_kernel()
    wrong = []
    for key_size, value_size, max_entries in SIZES:
        for flags in (0, MapFlag.NO_PREALLOC):
            if type == MapType.PERF_EVENT_ARRAY and max_entries == 0:
                continue  # a spec's way to say: as many as there are CPUs
            spec = MapSpec("sizes", type, key_size, value_size, max_entries, flags)
            if (found := made(spec)) != (expected := created(spec)):
                wrong.append((key_size, value_size, max_entries, flags, found, expected))
    random = Random(type)
    for key_size, value_size, max_entries in [(4, 4, 8), (8, 4, 8), (0, 4, 8), (0, 0, 4096)]:
        for bit in range(20):
            for flags in (
                1 << bit,
                1 << bit | 1 << random.randrange(20),
                1 << bit | 1 << random.randrange(9),
            ):
                if flags & (MapFlag.NUMA_NODE | MapFlag.TOKEN_FD):
                    continue  # these announce more arguments
                spec = MapSpec("flags", type, key_size, value_size, max_entries, flags)
                if (found := made(spec)) != (expected := created(spec)):
                    wrong.append((key_size, value_size, max_entries, flags, found, expected))
    for extra in (1, 15, 16):
        spec = MapSpec("extra", type, 0, 4, 8, map_extra=extra)
        if (found := made(spec)) != (expected := created(spec)):
            wrong.append((extra, found, expected))
    assert wrong == []


GOOD = MapSpec("inner", MapType.ARRAY, 4, 4, 2)
INNER = [
    GOOD,
    MapSpec("inner", MapType.HASH, 4, 4, 2),
    MapSpec("inner", MapType.RINGBUF, 0, 0, 4096),
    MapSpec("inner", MapType.QUEUE, 0, 4, 4),
    MapSpec("inner", MapType.PROG_ARRAY, 4, 4, 2),
    MapSpec("inner", MapType.PERF_EVENT_ARRAY, 4, 4, 2),
    MapSpec("inner", MapType.CGROUP_ARRAY, 4, 4, 2),
    MapSpec("inner", MapType.DEVMAP, 4, 4, 2),
    MapSpec("inner", MapType.CPUMAP, 4, 4, 2),
    MapSpec("inner", MapType.SOCKMAP, 4, 4, 2),
    MapSpec("inner", MapType.BLOOM_FILTER, 0, 4, 2),
]


@pytest.mark.parametrize("type", [MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS])
@pytest.mark.parametrize("inner", INNER, ids=lambda inner: inner.type.name)
def test_which_maps_can_be_inner_maps(type: int, inner: MapSpec) -> None:
    need_kernel()
    for key_size, value_size in ((4, 4), (4, 8), (8, 4)):
        spec = MapSpec("outer", type, key_size, value_size, 3, inner=inner)
        assert made(spec) == created(spec), spec


OUTER = [
    MapSpec("array_of_maps", MapType.ARRAY_OF_MAPS, 4, 4, 3, inner=GOOD),
    MapSpec("hash_of_maps", MapType.HASH_OF_MAPS, 4, 4, 3, ZERO, inner=GOOD),
    MapSpec("hash_of_maps", MapType.HASH_OF_MAPS, 8, 4, 3, ZERO | MapFlag.NO_PREALLOC, inner=GOOD),
]
CANDIDATES = [
    GOOD,
    GOOD,
    MapSpec("longer", MapType.ARRAY, 4, 4, 3),
    MapSpec("other", MapType.HASH, 4, 4, 2),
    MapSpec("flag", MapType.ARRAY, 4, 4, 2, MapFlag.RDONLY),
    MapSpec("size", MapType.ARRAY, 4, 8, 2),
]


@pytest.mark.parametrize("spec", OUTER, ids=lambda spec: f"{spec.name} {spec.key_size}")
def test_maps_of_maps(spec: MapSpec) -> None:
    """For any sequence of commands on a map of maps, each answer is the kernel's."""
    need_kernel()
    random = Random(spec.key_size + spec.type)
    ours = Map(spec)
    inner_fd = KernelMap(GOOD).fd
    theirs = KernelMap(spec, inner_fd=inner_fd)
    candidates = [(Map(one), KernelMap(one)) for one in CANDIDATES]
    keys = [index.to_bytes(spec.key_size, "little") for index in range(6)]
    for _ in range(300):
        key = random.choice(keys)
        flags = random.choice([0, 0, 0, 0, 1, 2, 3])
        match random.choice("uuuldn"):
            case "u":
                mine, others = random.choice(candidates)
                expected = answer(theirs.update, key, others.fd.to_bytes(4, "little"), flags)
                assert answer(ours.put, key, mine, flags) == expected
            case "l":
                found, expected = answer(ours.lookup, key), answer(theirs.lookup, key)
                assert found == expected if isinstance(expected, int) else isinstance(found, bytes)
            case "d":
                assert answer(ours.delete, key) == answer(theirs.delete, key)
            case "n":
                expected = answer(theirs.next_key, key)
                assert ours.next_key(key) == (None if expected == -errno.ENOENT else expected)
    for fd in (inner_fd, theirs.fd, *(other.fd for _, other in candidates)):
        os.close(fd)


def test_a_program_array() -> None:
    """For any sequence of commands on a prog_array, each answer is the kernel's."""
    need_kernel()
    random = Random(8)
    spec = MapSpec("progs", MapType.PROG_ARRAY, 4, 4, 3)
    ours, theirs = Map(spec), KernelMap(spec)
    program = prog_load([mov64_imm(0, 0), exit_()], ProgType.SCHED_CLS)
    stands_for = Map(GOOD)  # anything with an id
    for _ in range(200):
        key = random.randrange(5).to_bytes(4, "little")
        flags = random.choice([0, 0, 1, 2, 3])
        match random.choice("uuld"):
            case "u":
                expected = answer(theirs.update, key, program.to_bytes(4, "little"), flags)
                assert answer(ours.put, key, stands_for, flags) == expected
            case "l":
                found, expected = answer(ours.lookup, key), answer(theirs.lookup, key)
                assert found == expected if isinstance(expected, int) else isinstance(found, bytes)
            case "d":
                assert answer(ours.delete, key) == answer(theirs.delete, key)
    for fd in (theirs.fd, program):
        os.close(fd)
