"""Maps as Python mappings: bytes where types are not known, else values by field name."""

from __future__ import annotations

import errno

import pytest

from btf_writer import BtfWriter
from clsbpf.bpf.maps import MapFlag, MapType
from clsbpf.bpf.spec import MapSpec
from clsbpf.errors import MapError
from clsbpf.vm.maps import ringbuf
from clsbpf.vm.maps.map import Map


def counters(type: MapType = MapType.HASH, *, cpus: int = 1) -> Map:
    """`struct counter { u64 packets; u64 bytes; }` by an int."""
    types = BtfWriter()
    number, word = types.int(), types.int("u64", 8, signed=False)
    value = types.struct("counter", 16, ("packets", word, 0), ("bytes", word, 64))
    btf = types.btf()
    spec = MapSpec("counts", type, 4, 16, 4, key_type=btf.ref(number), value_type=btf.ref(value))
    return Map(spec, cpus=cpus)


def test_with_types() -> None:
    counts = counters()
    counts[6] = {"packets": 12, "bytes": 1800}
    counts[17] = {"packets": 1}
    counts[-1] = bytes(16)
    assert counts[17] == {"packets": 1, "bytes": 0}
    assert dict(counts.items()) == {key: counts[key] for key in counts}
    assert set(counts) == {6, 17, -1}
    assert 6 in counts
    assert 7 not in counts
    assert len(counts) == 3
    del counts[6]
    assert counts.get(6) is None
    for missing in (lambda: counts[6], lambda: counts.__delitem__(6)):
        with pytest.raises(KeyError):
            missing()


def test_without_types() -> None:
    plain = Map(MapSpec("plain", MapType.HASH, 2, 3, 4))
    plain[b"ab"] = b"xyz"
    assert list(plain.items()) == [(b"ab", b"xyz")]
    with pytest.raises(MapError, match="the key has 3 bytes, must have 2"):
        plain[b"abc"] = b"xyz"
    with pytest.raises(MapError, match="the value is 5; without a type it must be 3 bytes"):
        plain[b"ab"] = 5


def test_a_per_cpu_map_is_a_list() -> None:
    counts = counters(MapType.PERCPU_HASH, cpus=2)
    both = [{"packets": 1, "bytes": 2}, {"packets": 3, "bytes": 4}]
    counts[1] = both
    assert counts[1] == both
    with pytest.raises(MapError, match="is a list of 1, must be of 2, one a CPU"):
        counts[1] = both[:1]
    with pytest.raises(MapError, match="must be a list of 2, one a CPU"):
        counts[1] = both[0]


def test_an_array_has_every_index() -> None:
    counts = counters(MapType.ARRAY)
    assert list(counts) == [0, 1, 2, 3]
    with pytest.raises(KeyError):
        counts[4]
    with pytest.raises(MapError) as refusal:
        counts[4] = {}
    assert refusal.value.errno == errno.E2BIG


def test_a_data_section_is_its_variables() -> None:
    types = BtfWriter()
    section = types.datasec(".data", (types.var("limit", types.int()), 0, 4), size=4)
    data = Map(MapSpec(".data", MapType.ARRAY, 4, 4, 1, value_type=types.btf().ref(section)))
    data[0] = {"limit": -3}
    assert dict(data.items()) == {0: {"limit": -3}}


def test_programs_and_maps() -> None:
    jumps = Map(MapSpec("jumps", MapType.PROG_ARRAY, 4, 4, 3))
    program = object()
    jumps[bytes(4)] = program
    assert list(jumps.items()) == [(bytes(4), program)]
    assert len(jumps) == 1
    del jumps[bytes(4)]
    with pytest.raises(KeyError):
        jumps[bytes(4)]


@pytest.mark.parametrize(
    ("type", "order"), [(MapType.QUEUE, [b"a", b"b", b"c"]), (MapType.STACK, [b"c", b"b", b"a"])]
)
def test_queues_and_stacks(type: MapType, order: list[bytes]) -> None:
    waiting = Map(MapSpec("waiting", type, 0, 1, 3))
    for value in (b"x", b"a", b"b"):
        waiting.push(value)
    with pytest.raises(MapError) as full:
        waiting.push(b"c")
    assert full.value.errno == errno.E2BIG
    waiting.push(b"c", 2)  # BPF_EXIST: the oldest goes
    assert list(waiting.items()) == list(enumerate(order))
    assert len(waiting) == 3
    assert waiting.peek() == order[0]
    assert [waiting.pop() for _ in range(3)] == order
    with pytest.raises(MapError, match="empty"):
        waiting.pop()


def test_a_bloom_filter() -> None:
    seen = Map(MapSpec("seen", MapType.BLOOM_FILTER, 0, 4, 100))
    seen.push(b"1234")
    assert b"1234" in seen
    assert b"4321" not in seen
    with pytest.raises(MapError, match="cannot be listed"):
        list(seen.items())


def test_a_ring_buffer_lists_what_was_not_read() -> None:
    ring = Map(MapSpec("ring", MapType.RINGBUF, 0, 0, 4096))
    for size in (3, 8, 1):
        record = ringbuf.ringbuf_reserve(ring.address, size, 0)
        ringbuf.ringbuf_submit(record)
    assert [len(value) for _, value in ring.items()] == [3, 8, 1]
    assert len(ring) == 3


def test_what_may_not_be_read_is_not() -> None:
    secret = Map(MapSpec("secret", MapType.ARRAY, 4, 4, 2, MapFlag.WRONLY))
    secret[bytes(4)] = b"1234"
    for reading in (lambda: secret[bytes(4)], lambda: list(secret), lambda: list(secret.items())):
        with pytest.raises(MapError, match="may only be written"):
            reading()
