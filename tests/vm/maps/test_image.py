"""A map that was brought back is the map: what it holds, in which order, and what it does next."""

from __future__ import annotations

import os
import random
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clsbpf.bpf.maps import MapFlag, MapType
from clsbpf.bpf.spec import MapSpec
from clsbpf.errors import MapError
from clsbpf.vm.maps import image
from clsbpf.vm.maps.map import COMMANDS, Map


def number(value: int) -> bytes:
    return struct.pack("=I", value)


KEYLESS = (MapType.QUEUE, MapType.STACK, MapType.BLOOM_FILTER)
SPECS = [
    (MapSpec("array", MapType.ARRAY, 4, 8, 40), 1),
    (MapSpec("percpu_array", MapType.PERCPU_ARRAY, 4, 6, 40), 3),
    (MapSpec("hash", MapType.HASH, 4, 8, 40), 1),
    (MapSpec("hash_large", MapType.HASH, 4, 100, 5000), 1),
    (MapSpec("percpu_hash", MapType.PERCPU_HASH, 4, 8, 40), 2),
    (MapSpec("lru_hash", MapType.LRU_HASH, 4, 8, 300), 1),
    (MapSpec("lru_cpus", MapType.LRU_HASH, 4, 8, 300), 4),
    (MapSpec("lru_own_lists", MapType.LRU_HASH, 4, 8, 300, MapFlag.NO_COMMON_LRU), 4),
    (MapSpec("lru_percpu_hash", MapType.LRU_PERCPU_HASH, 4, 8, 300), 2),
    (MapSpec("trie", MapType.LPM_TRIE, 8, 4, 60, MapFlag.NO_PREALLOC), 1),
    (MapSpec("queue", MapType.QUEUE, 0, 8, 20), 1),
    (MapSpec("stack", MapType.STACK, 0, 8, 20), 1),
    (MapSpec("bloom", MapType.BLOOM_FILTER, 0, 8, 200), 1),
    (MapSpec("devmap", MapType.DEVMAP, 4, 4, 20), 1),
    (MapSpec("devmap_hash", MapType.DEVMAP_HASH, 4, 4, 20), 1),
    (MapSpec("cpumap", MapType.CPUMAP, 4, 4, 4), 4),
]
NAMES = [spec.name for spec, _ in SPECS]


def change(map: Map, rng: random.Random) -> object:
    """One change from outside: what it gave."""
    spec = map.spec
    entries = spec.max_entries * 2
    key: bytes | None = struct.pack("=I", rng.randrange(entries))
    if spec.type == MapType.LPM_TRIE:
        key = struct.pack("=I", rng.randrange(33)) + rng.choice(["\x0a\x00", "\xc0\xa8"]).encode("latin-1")
        key += bytes([rng.randrange(4), rng.randrange(4)])
    elif spec.type in KEYLESS:
        key = None
    if spec.type in (MapType.DEVMAP, MapType.CPUMAP, MapType.DEVMAP_HASH):
        value = struct.pack("=I", rng.randrange(9))
    else:
        value = rng.randrange(1, 999).to_bytes(2, "little") * (map.value_bytes // 2)
    try:
        if rng.random() < 0.7 or spec.type == MapType.BLOOM_FILTER:
            return map.update(key, value, rng.choice([0, 0, 0, 1, 2]))
        if key is None or rng.random() < 0.3:
            return map.lookup_and_delete(key)
        return map.delete(key)
    except MapError as error:
        return error.errno


def contents(map: Map) -> Any:
    """What can be seen from outside, in its order."""
    if map.spec.type == MapType.BLOOM_FILTER:
        return [map.contains(struct.pack("=H", n) * 4) for n in range(1000)]
    if map.spec.type in KEYLESS:
        return list(map.waiting())
    found = []
    for key in map.walk():
        try:
            found.append((key, map.lookup(key)))
        except MapError as error:
            found.append((key, error.errno or 0))
    return found


def image_of(map: Map, directory: Path) -> memoryview:
    path = directory / "image"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    map.image().write(descriptor)
    os.close(descriptor)
    return memoryview(path.read_bytes())


def changed(spec: MapSpec, cpus: int) -> tuple[Map, random.Random]:
    map, rng = Map(spec, cpus=cpus), random.Random(spec.name)
    for _ in range(600):
        map.cpu = rng.randrange(cpus)
        change(map, rng)
    return map, rng


@pytest.mark.parametrize(("spec", "cpus"), SPECS, ids=NAMES)
def test_it_is_the_same_and_goes_on_the_same(spec: MapSpec, cpus: int, tmp_path: Path) -> None:
    there, rng = changed(spec, cpus)
    again = Map(spec, cpus=cpus)
    again.bring_back(image_of(there, tmp_path))
    assert (again.id, again.cpu, again.frozen) == (max(again.id, there.id), there.cpu, False)
    assert contents(again) == contents(there)
    seed = rng.random()
    told = []
    for each in (there, again):
        rng = random.Random(seed)
        told.append([change(each, rng) for _ in range(900)])
    assert told[0] == told[1]
    assert contents(again) == contents(there)


def test_all_types_that_commands_change_have_images() -> None:
    changeable = {type for type, commands in COMMANDS.items() if commands.update is not None}
    slots = {type for type in changeable if Map(_slots(type)).slotted} if changeable else set()
    assert changeable - slots == image.IMAGED - {MapType.RINGBUF}


def _slots(type: int) -> MapSpec:
    known = next((spec for spec, _ in SPECS if spec.type == type), None)
    inner = MapSpec("inner", MapType.ARRAY, 4, 4, 1)
    return known or MapSpec("slots", type, 4, 4, 4, inner=inner)


def test_a_frozen_map_is_frozen(tmp_path: Path) -> None:
    map = Map(SPECS[0][0])
    map.freeze()
    again = Map(SPECS[0][0])
    again.bring_back(image_of(map, tmp_path))
    assert again.frozen


def damaged(raw: bytes) -> Iterator[bytes]:
    """Each byte of the first ones and each 50th changed, and every length it could be cut to."""
    for at in (*range(60), *range(60, len(raw), 50)):
        yield raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
    yield from (raw[:length] for length in range(0, len(raw), 37))


def test_a_damaged_image_is_refused(tmp_path: Path) -> None:
    there, _ = changed(*SPECS[2])
    for raw in damaged(bytes(image_of(there, tmp_path))):
        with pytest.raises(MapError, match=r"image of map 'hash' \(hash\): it is "):
            Map(SPECS[2][0]).bring_back(memoryview(raw))
    with pytest.raises(MapError, match="of another type or size"):
        Map(SPECS[3][0]).bring_back(image_of(there, tmp_path))


def test_an_image_of_a_sparse_map_is_small() -> None:
    map = Map(MapSpec("sparse", MapType.ARRAY, 4, 8, 100_000_000))
    map.update(struct.pack("=I", 50_000_000), bytes(8))
    assert map.image().size < 100_000


IMAGES = Path(__file__).parent / "images"
WRITTEN = {
    "hash": (
        MapSpec("hash", MapType.HASH, 4, 8, 4, MapFlag.ZERO_SEED),
        [(number(1), b"changed."), (number(3), b"third...")],
    ),
    "lru_hash": (
        MapSpec("lru_hash", MapType.LRU_HASH, 4, 8, 4, MapFlag.ZERO_SEED),
        [(number(1), b"changed."), (number(3), b"third...")],
    ),
    "trie": (
        MapSpec("trie", MapType.LPM_TRIE, 8, 8, 4, MapFlag.NO_PREALLOC),
        [(number(24) + b"\x0a\1\0\0", b"changed."), (number(8) + b"\x0a\0\0\0", b"third...")],
    ),
}


@pytest.mark.skipif(sys.byteorder != "little", reason="they were written on a little-endian machine")
@pytest.mark.parametrize("name", WRITTEN)
def test_images_that_were_written_before_are_read(name: str) -> None:
    """Whoever changes the layout keeps reading this one: it is what daemons have kept."""
    spec, expected = WRITTEN[name]
    map = Map(spec)
    map.bring_back(memoryview((IMAGES / f"{name}.1").read_bytes()))
    assert contents(map) == expected
    key = expected[0][0]
    map.delete(key)
    map.update(key, b"again...")
    assert dict(contents(map)) == {**dict(expected), key: b"again..."}
