"""Maps against the kernel: the same commands of bpf(2), in the same order, have the same answers.

A command's answer is its result or its errno.  Hash maps are made with BPF_F_ZERO_SEED, so that even the
order of the walk must be the kernel's; the process stays on one CPU, so that what an LRU map throws out is.
"""

from __future__ import annotations

import errno
import os
from random import Random

import pytest

from clsbpf.bpf.insn import exit_, mov64_imm
from clsbpf.bpf.maps import MapFlag, MapType
from clsbpf.bpf.spec import MapSpec
from clsbpf.errors import ClsbpfError, MapError
from clsbpf.kernel import maps as kernel
from clsbpf.kernel.bpf import ProgType, prog_load
from clsbpf.vm.maps.map import Map
from judges import need_kernel
from map_twins import KernelMap, Twins, answer, random_keys, twins, walk
from map_types import locked_types, timer_types

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


def random_value(random: Random, pair: Twins) -> bytes:
    """Any bytes; of a map of devices or CPUs, an interface that is there or none, or a queue's length."""
    spec = pair.ours.spec
    if spec.type == MapType.DEVMAP:
        return random.choice([0, 1]).to_bytes(4, "little") + bytes(spec.value_size - 4)
    if spec.type == MapType.CPUMAP:
        return random.choice([0, 8, 16384, 16385]).to_bytes(4, "little")
    return random.randbytes(pair.ours.value_bytes)


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


LOCK_KEY, LOCK_VALUE = locked_types()
TIMER_KEY, TIMER_VALUE = timer_types()
SPECIAL = [
    MapSpec("locked hash", MapType.HASH, 4, 16, 4, ZERO, key_type=LOCK_KEY, value_type=LOCK_VALUE),
    MapSpec("locked array", MapType.ARRAY, 4, 16, 4, key_type=LOCK_KEY, value_type=LOCK_VALUE),
    MapSpec("hash with timers", MapType.HASH, 4, 32, 4, ZERO, key_type=TIMER_KEY, value_type=TIMER_VALUE),
    MapSpec("lru with timers", MapType.LRU_HASH, 4, 32, 4, ZERO, key_type=TIMER_KEY, value_type=TIMER_VALUE),
    MapSpec("array with timers", MapType.ARRAY, 4, 32, 4, key_type=TIMER_KEY, value_type=TIMER_VALUE),
]


@pytest.mark.parametrize("spec", SPECIAL, ids=lambda spec: spec.name)
def test_fields_that_are_the_kernels_own(spec: MapSpec) -> None:
    """A lock or timer in a value is neither read nor written by any command; F_LOCK needs a lock."""
    random = Random(spec.name)
    with twins(spec) as pair:
        keys = [index.to_bytes(4, "little") for index in range(6)]
        for _ in range(300):
            random_command(random, pair, keys)
        walk(pair)
        pair.both("freeze")
