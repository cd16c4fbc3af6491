"""What programs send, as user space reads it: ring buffers and perf event arrays."""

from __future__ import annotations

import ctypes
import errno

import pytest

from clsbpf.bpf.maps import MapType
from clsbpf.bpf.spec import MapSpec
from clsbpf.errors import MapError
from clsbpf.vm.maps.map import Map
from clsbpf.vm.maps.perf import CURRENT_CPU, perf_output
from clsbpf.vm.maps.readers import PerfReader, PerfSample, RingReader
from clsbpf.vm.maps.ringbuf import (
    Query,
    ringbuf_discard,
    ringbuf_output,
    ringbuf_query,
    ringbuf_reserve,
    ringbuf_submit,
)


def ring() -> Map:
    return Map(MapSpec("events", MapType.RINGBUF, 0, 0, 4096))


def events(cpus: int = 2) -> Map:
    return Map(MapSpec("events", MapType.PERF_EVENT_ARRAY, 4, 4, 0), cpus=cpus)


def output(map: Map, data: bytes, *, flags: int = CURRENT_CPU, cpu: int = 0, more: bytes = b"") -> int:
    first, second = ctypes.create_string_buffer(data), ctypes.create_string_buffer(more)
    at, after = ctypes.addressof(first), ctypes.addressof(second)
    return perf_output(map.address, flags, at, len(data), cpu, after, len(more))


def send(map: Map, data: bytes) -> int:
    buffer = ctypes.create_string_buffer(data, len(data))
    return ringbuf_output(map.address, ctypes.addressof(buffer), len(data), 0)


def test_records_come_in_the_order_in_which_they_were_begun() -> None:
    """The reader stops at a record that is being written, and passes over one that was thrown away."""
    map = ring()
    first, second, third = (ringbuf_reserve(map.address, 4, 0) for _ in range(3))
    for record, data in ((first, b"one_"), (second, b"two_"), (third, b"tri_")):
        ctypes.memmove(record, data, 4)
    ringbuf_submit(third)
    assert list(RingReader(map)) == []
    ringbuf_discard(second)
    ringbuf_submit(first)
    assert list(RingReader(map)) == [b"one_", b"tri_"]
    assert list(RingReader(map)) == []
    assert RingReader(map).available == 0


@pytest.mark.parametrize("size", [1, 7, 100, 999, 4000])
def test_records_run_on_over_the_end(size: int) -> None:
    """However often the ring went round, what was sent is what is read."""
    map = ring()
    reader = RingReader(map)
    for turn in range(3 * 4096 // size):
        data = bytes((turn + at) & 0xFF for at in range(size))
        assert send(map, data) == 0
        assert list(reader) == [data]
    assert ringbuf_query(map.address, Query.PROD_POS) == ringbuf_query(map.address, Query.CONS_POS) > 4096


def test_a_full_ring_takes_more_when_it_was_read() -> None:
    map = ring()
    sent = 0
    while send(map, bytes(56)) == 0:
        sent += 1
    assert sent == 63  # 64 would be all of it, and the positions must differ by less
    assert send(map, bytes(56)) == -errno.EAGAIN
    assert len(list(RingReader(map))) == 63
    assert send(map, bytes(56)) == 0


@pytest.mark.parametrize("size", [-1, 1 << 40, 4096, 4089])
def test_records_that_can_never_fit(size: int) -> None:
    assert ringbuf_reserve(ring().address, size, 0) == 0


def test_samples_of_each_cpu() -> None:
    map = events()
    assert output(map, b"too early") == -errno.ENOENT
    reader = PerfReader(map)
    assert output(map, b"one", more=b"packet") == 0
    assert output(map, b"two", cpu=1) == 0
    assert output(map, b"here", flags=1, cpu=1) == 0
    assert output(map, b"there", flags=1, cpu=0) == -errno.EOPNOTSUPP
    assert output(map, b"nowhere", flags=2) == -errno.E2BIG
    expected = [PerfSample(0, b"onepacket"), PerfSample(1, b"two"), PerfSample(1, b"here")]
    assert list(reader) == expected
    assert list(reader) == []
    reader.close()
    assert output(map, b"too late") == -errno.ENOENT


def test_samples_that_do_not_fit_are_lost_and_counted() -> None:
    map = events(1)
    reader = PerfReader(map, size=64)
    assert [output(map, bytes([turn] * 12)) for turn in range(4)] == [0, 0, -errno.ENOSPC, -errno.ENOSPC]
    assert [sample.data for sample in reader] == [bytes(12), b"\1" * 12]
    assert reader.lost == 2
    for turn in range(20):
        assert output(map, bytes([turn] * 30)) == 0
        assert [sample.data for sample in reader] == [bytes([turn] * 30)]


def test_readers_read_what_they_are_for() -> None:
    with pytest.raises(MapError, match="is a perf_event_array, this reads a ringbuf"):
        RingReader(events())
    with pytest.raises(MapError, match="is a ringbuf, this reads a perf_event_array"):
        PerfReader(ring())
    with pytest.raises(MapError, match="power of two"):
        PerfReader(events(), size=1000)
