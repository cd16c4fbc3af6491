"""Maps from outside: commands, what they refuse and in which words.  The kernel judges the same elsewhere."""

from __future__ import annotations

import ctypes
import errno
import gc

import pytest

from clsbpf.bpf.maps import MapFlag, MapType, UpdateFlag
from clsbpf.bpf.spec import MapSpec, ProgramRef
from clsbpf.errors import MapError
from clsbpf.vm.maps import operations
from clsbpf.vm.maps.jhash import jhash
from clsbpf.vm.maps.map import Map, map_at

HASH = MapSpec("counts", MapType.HASH, 4, 8, 3)
ARRAY = MapSpec("slots", MapType.ARRAY, 4, 4, 3)


def key(number: int) -> bytes:
    return number.to_bytes(4, "little")


@pytest.mark.parametrize(
    ("text", "seed", "hash"),
    [
        (b"", 0, 0xDEADBEEF),
        (b"Four score and seven years ago", 0, 0x17770551),
        (b"Four score and seven years ago", 1, 0xCD628161),
    ],
)
def test_the_hash_is_lookup3(text: bytes, seed: int, hash: int) -> None:
    """The numbers that Bob Jenkins publishes with it."""
    assert jhash(ctypes.addressof(ctypes.create_string_buffer(text)), len(text), seed) == hash


REFUSED = [
    (HASH, "update", (key(9)[:3], bytes(8)), errno.EINVAL, "the key has 3 bytes, the map's have 4"),
    (HASH, "update", (key(9), bytes(9)), errno.EINVAL, "the value has 9 bytes, the map's have 8"),
    (
        HASH,
        "update",
        (key(1), bytes(8), UpdateFlag.NOEXIST),
        errno.EEXIST,
        "update key 01000000 with flags 0x1",
    ),
    (HASH, "update", (key(9), bytes(8), UpdateFlag.EXIST), errno.ENOENT, "No such file"),
    (HASH, "update", (key(9), bytes(8)), errno.E2BIG, "update key 09000000"),
    (HASH, "update", (key(1), bytes(8), UpdateFlag.F_LOCK), errno.EINVAL, "needs a spin lock"),
    (HASH, "lookup", (key(9),), errno.ENOENT, "there is no key 09000000"),
    (HASH, "lookup", (key(1), 8), errno.EINVAL, "only F_LOCK is known"),
    (HASH, "delete", (key(9),), errno.ENOENT, "delete key 09000000"),
    (HASH, "put", (key(1), object()), errno.EINVAL, "holds values, nothing else"),
    (ARRAY, "delete", (key(1),), errno.EINVAL, "delete key 01000000"),
    (ARRAY, "lookup_and_delete", (key(1),), 524, "nothing can be taken out of a array"),
    (ARRAY, "contains", (bytes(4),), 524, "only a Bloom filter"),
]


@pytest.mark.parametrize(("spec", "command", "arguments", "code", "words"), REFUSED)
def test_what_is_refused_says_why(
    spec: MapSpec, command: str, arguments: tuple[object, ...], code: int, words: str
) -> None:
    full = Map(spec)
    for number in range(3):
        full.update(key(number), bytes(spec.value_size))
    with pytest.raises(MapError, match=words) as refusal:
        getattr(full, command)(*arguments)
    assert refusal.value.errno == code
    assert str(refusal.value).startswith(f"map '{spec.name}' ({spec.type_name}): ")
    assert list(full.walk()) == sorted(full.walk()) or spec is HASH
    assert len(full) == 3


UNMADE = [
    (MapSpec("m", MapType.HASH, 0, 8, 3), errno.EINVAL, "key_size is 0, must be at least 1"),
    (MapSpec("m", MapType.ARRAY, 8, 8, 3), errno.EINVAL, "key_size is 8, must be 4"),
    (MapSpec("m", MapType.ARRAY, 4, 8, 3, MapFlag.NO_PREALLOC), errno.EINVAL, "NO_PREALLOC"),
    (MapSpec("m", MapType.ARRAY, 4, 8, 3, 1 << 25), errno.EINVAL, "0x2000000"),
    (MapSpec("m", MapType.RINGBUF, 0, 0, 5000), errno.EINVAL, "must be 4096 times a power of two"),
    (
        MapSpec("m", MapType.PERCPU_ARRAY, 4, 40000, 3),
        errno.E2BIG,
        "value_size is 40000, may be at most 32768",
    ),
    (MapSpec("m", MapType.STACK_TRACE, 4, 8, 3), errno.EINVAL, "cannot be made here"),
    (MapSpec("m", 77, 4, 8, 3), errno.EINVAL, "cannot be made here"),
    (MapSpec("m", MapType.HASH, 4, -1, 3), errno.EINVAL, "value_size -1 does not fit in 32 bits"),
    (MapSpec("m", MapType.ARRAY, 4, (1 << 31) - 8, (1 << 32) - 1), errno.ENOMEM, "no memory"),
]


@pytest.mark.parametrize(("spec", "code", "words"), UNMADE)
def test_maps_that_cannot_be_made(spec: MapSpec, code: int, words: str) -> None:
    with pytest.raises(MapError, match=words) as refusal:
        Map(spec)
    assert refusal.value.errno == code


def test_memory_is_taken_when_it_is_used() -> None:
    """A map of two billion entries is there at once, and works."""
    for type in (MapType.HASH, MapType.LRU_HASH, MapType.ARRAY):
        large = Map(MapSpec("large", type, 4, 8, 1 << 31))
        large.update(key(1 << 30), b"12345678")
        assert large.lookup(key(1 << 30)) == b"12345678"


def test_contents_and_freezing() -> None:
    """A spec's contents are in from the start; a frozen map changes only by programs."""
    spec = MapSpec("data", MapType.ARRAY, 4, 4, 1, contents=((key(0), b"abcd"),), frozen=True)
    frozen = Map(spec)
    assert frozen.lookup(key(0)) == b"abcd"
    with pytest.raises(MapError, match="frozen"):
        frozen.update(key(0), b"efgh")
    with pytest.raises(MapError):
        frozen.freeze()
    value = ctypes.create_string_buffer(b"efgh", 4)
    index = ctypes.create_string_buffer(key(0), 4)
    assert operations.map_update(frozen.address, ctypes.addressof(index), ctypes.addressof(value), 0) == 0
    assert frozen.lookup(key(0)) == b"efgh"


def test_references_in_contents_are_left_to_who_has_them() -> None:
    spec = MapSpec(
        "jumps", MapType.PROG_ARRAY, 4, 4, 2, contents=((key(0), ProgramRef("main")),), frozen=True
    )
    jumps = Map(spec)
    assert not jumps.frozen
    program = object()
    jumps.put(key(1), program)
    assert (jumps.program_at(0), jumps.program_at(1), jumps.program_at(7)) == (None, program, None)
    jumps.delete(key(1))
    assert jumps.program_at(1) is None


@pytest.mark.parametrize("type", [MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH])
def test_a_program_sees_its_cpus_value(type: MapType) -> None:
    """Commands see all, rounded up to 8 bytes each; a new element is 0 on the other CPUs."""
    counts = Map(MapSpec("counts", type, 4, 4, 4), cpus=3)
    index, value = ctypes.create_string_buffer(key(1), 4), ctypes.create_string_buffer(b"here", 4)
    counts.cpu = 2
    assert (
        operations.map_update(
            counts.address, ctypes.addressof(index), ctypes.addressof(value), UpdateFlag.ANY
        )
        == 0
    )
    assert counts.lookup(key(1)) == bytes(16) + b"here" + bytes(4)
    counts.update(key(1), b"one_____two_____three___")
    seen = {
        cpu: operations.map_lookup_percpu(counts.address, ctypes.addressof(index), cpu)
        for cpu in (-1, 0, 1, 3)
    }
    assert (seen[-1], seen[3]) == (0, 0)
    assert ctypes.string_at(seen[1], 4) == b"two_"
    own = operations.map_lookup(counts.address, ctypes.addressof(index))
    assert ctypes.string_at(own, 4) == b"thre"
    with pytest.raises(MapError, match="24 \\(3 CPUs\\)"):
        counts.update(key(1), bytes(4))
    with pytest.raises(MapError, match="no CPU 3"):
        counts.cpu = 3


def test_an_update_leaves_the_value_that_was_looked_up() -> None:
    """The kernel puts the new value elsewhere: what a program holds the address of stays as it was."""
    counts = Map(HASH)
    counts.update(key(1), b"old_____")
    index = ctypes.create_string_buffer(key(1), 4)
    held = operations.map_lookup(counts.address, ctypes.addressof(index))
    counts.update(key(1), b"new_____")
    assert ctypes.string_at(held, 8) == b"old_____"
    assert counts.lookup(key(1)) == b"new_____"


@pytest.mark.parametrize("entries", [1, 2, 10, 300])
def test_an_lru_map_never_holds_more_and_always_takes_one_more(entries: int) -> None:
    """After any number of insertions the newest key is there, and at most max_entries are."""
    recent = Map(MapSpec("recent", MapType.LRU_HASH, 4, 4, entries))
    for number in range(3 * entries):
        recent.update(key(number), bytes(4))
        assert recent.lookup(key(number)) == bytes(4)
    assert 1 <= len(recent) <= entries


@pytest.mark.parametrize("flags", [0, MapFlag.NO_COMMON_LRU])
def test_lru_cpus_rob_each_other_or_do_not(flags: int) -> None:
    """With common lists a CPU can use all elements; with its own it has its share."""
    shared = Map(MapSpec("shared", MapType.LRU_HASH, 4, 4, 8, flags), cpus=4)
    for cpu in range(4):
        shared.cpu = cpu
        for number in range(50):
            shared.update(key(100 * cpu + number), bytes(4))
    there = {int.from_bytes(each, "little") // 100 for each in shared.walk()}
    assert len(shared) <= 8
    assert there == {0, 1, 2, 3} if flags else 3 in there


def test_the_walk_is_that_of_next_key() -> None:
    """All keys at once are in the order in which they come one by one, for every way to have keys."""
    for spec in (HASH, ARRAY, MapSpec("m", MapType.LPM_TRIE, 8, 4, 9, MapFlag.NO_PREALLOC)):
        each = Map(spec, seed=7)
        for number in range(3):
            each.update((key(number) + bytes(4))[: spec.key_size], bytes(spec.value_size))
        one_by_one, following = [], each.next_key()
        while following is not None:
            one_by_one.append(following)
            following = each.next_key(following)
        assert list(each.walk()) == one_by_one != []


def test_the_seed_decides_the_order_unless_it_is_zero() -> None:
    def order(seed: int, flags: int) -> list[bytes]:
        each = Map(MapSpec("m", MapType.HASH, 4, 4, 50, flags), seed=seed)
        for number in range(50):
            each.update(key(number), bytes(4))
        return list(each.walk())

    assert order(1, 0) != order(2, 0)
    assert order(1, MapFlag.ZERO_SEED) == order(2, MapFlag.ZERO_SEED) == order(0, 0)


def test_a_map_is_found_by_its_address_while_it_lives() -> None:
    found = Map(HASH)
    address = found.address
    assert map_at(address) is found
    del found
    gc.collect()
    assert map_at(address) is None


def test_inner_maps_must_be_alike() -> None:
    outer = Map(MapSpec("outer", MapType.ARRAY_OF_MAPS, 4, 4, 2, inner=ARRAY))
    inner = Map(ARRAY)
    outer.put(key(0), inner)
    index = ctypes.create_string_buffer(key(0), 4)
    assert operations.map_lookup(outer.address, ctypes.addressof(index)) == inner.address
    assert outer.held_at(key(0)) is inner
    with pytest.raises(MapError, match="its max_entries is 4, must be 3"):
        outer.put(key(1), Map(MapSpec("other", MapType.ARRAY, 4, 4, 4)))
    with pytest.raises(MapError, match="holds maps, nothing else"):
        outer.put(key(1), object())
    with pytest.raises(MapError, match="a descriptor is no value here"):
        outer.update(key(1), bytes(4))
