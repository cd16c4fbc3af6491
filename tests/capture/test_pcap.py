"""The pcap format: what each header means, and what becomes of a file that is damaged or cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture_bytes import PACKETS, in_resolution, pcap, read
from clsbpf.capture.pcap import LengthOrder, PcapHeader, format_header, format_record, parse_header
from clsbpf.capture.record import Interface
from clsbpf.errors import CaptureError

NS = 1_000_000_000

HEADERS = [
    (
        "d4c3b2a1 0200 0400 00000000 00000000 00000400 01000000",
        PcapHeader(Interface(1, 262144)),
    ),
    (
        "a1b2c3d4 0002 0004 00000000 00000000 0000ffff 00000065",
        PcapHeader(Interface(101, 65535), "big"),
    ),
    (
        "4d3cb2a1 0200 0400 00000000 00000000 60000000 14010000",
        PcapHeader(Interface(276, 96, NS)),
    ),
    (
        "a1b23c4d 0002 0004 00000000 00000000 00000000 00000001",
        PcapHeader(Interface(1, 0, NS), "big"),
    ),
    (
        "34cdb2a1 0200 0400 00000000 00000000 dc050000 01000000",
        PcapHeader(Interface(1, 1500), "little", 24),
    ),
    (
        "a1b2cd34 0002 0004 00000000 00000000 000005dc 00000069",
        PcapHeader(Interface(105, 1500), "big", 24),
    ),
    (
        "d4c3b2a1 0200 0200 00000000 00000000 44000000 01000000",
        PcapHeader(Interface(1, 68), version=(2, 2)),
    ),
    (
        "d4c3b2a1 0200 0300 00000000 00000000 44000000 01000000",
        PcapHeader(Interface(1, 68), version=(2, 3)),
    ),
    (
        "a1b2c3d4 021f 0000 00000000 00000000 00000044 00000001",
        PcapHeader(Interface(1, 68), "big", version=(543, 0)),
    ),
    (
        "d4c3b2a1 0200 0400 00000000 00000000 00000400 01000024",
        PcapHeader(Interface(1, 262144, fcs_len=4)),
    ),
]
"""The bytes of file headers and what they mean, both ways."""


@pytest.mark.parametrize(("hexadecimal", "header"), HEADERS, ids=[text[:18] for text, _ in HEADERS])
def test_header_both_ways(hexadecimal: str, header: PcapHeader) -> None:
    data = bytes.fromhex(hexadecimal)
    assert parse_header(data, "x") == header
    assert format_header(header) == data


def test_what_a_header_says() -> None:
    header = parse_header(bytes.fromhex(HEADERS[2][0]), "x")
    assert (header.link_type, header.snap_len, header.nanoseconds) == (276, 96, True)
    assert header.length_order is LengthOrder.CAPTURED_FIRST
    assert not parse_header(bytes.fromhex(HEADERS[0][0]), "x").nanoseconds


SNAP_LIMITS = [
    (Interface(1, 96), 16, 96),
    (Interface(1, 0), 16, 262144),  # none given
    (Interface(1, 0x80000000), 16, 262144),  # libpcap: no signed int, so none
    (Interface(1, 0x7FFFFFFF), 16, 262144),
    (Interface(231, 0), 16, 128 << 20),  # D-Bus messages are large
    (Interface(279, 0), 16, 8 << 20),
    (Interface(1, 96), 24, 110),  # modified libpcap made up 14 bytes of Ethernet header
    (Interface(105, 96), 24, 96),
]


@pytest.mark.parametrize(("interface", "record_header", "limit"), SNAP_LIMITS)
def test_how_much_of_a_packet_there_can_be(interface: Interface, record_header: int, limit: int) -> None:
    assert PcapHeader(interface, record_header=record_header).snap_limit == limit


ALL_HEADERS = [header for _, header in HEADERS]


@pytest.mark.parametrize("header", ALL_HEADERS, ids=[text[:18] for text, _ in HEADERS])
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_records_come_back_as_written(header: PcapHeader, step: int) -> None:
    packets, error = read(pcap(header, PACKETS), step)
    assert error is None
    assert [(record.time_ns, data, record.length) for record, data in packets] == [
        (
            in_resolution(time, header.interface.ticks_per_second),
            data[: header.snap_limit],
            max(length, len(data)),
        )
        for time, data, length in PACKETS
    ]


def test_a_record_says_where_its_bytes_are() -> None:
    for header in ALL_HEADERS:
        data = pcap(header, PACKETS)
        for record, packet in read(data)[0]:
            assert data[record.offset : record.offset + record.captured] == packet


LENGTHS = [
    # version, the two numbers as they stand in the record, captured and length that they mean
    ((2, 4), (40, 60), (40, 60)),
    ((2, 4), (60, 40), (60, 60)),  # never shorter on the wire than in the file
    ((2, 3), (40, 60), (40, 60)),
    ((2, 3), (60, 40), (40, 60)),
    ((2, 2), (60, 40), (40, 60)),
    ((2, 0), (60, 40), (40, 60)),
    ((543, 0), (60, 40), (40, 60)),
]


@pytest.mark.parametrize(("version", "stored", "meant"), LENGTHS)
def test_the_order_of_the_lengths(
    version: tuple[int, int], stored: tuple[int, int], meant: tuple[int, int]
) -> None:
    header = PcapHeader(Interface(1, 1000), version=version)
    record = bytes(8) + stored[0].to_bytes(4, "little") + stored[1].to_bytes(4, "little") + bytes(meant[0])
    packets, error = read(format_header(header) + record)
    assert error is None
    assert [(record.captured, record.length) for record, _ in packets] == [meant]


def test_a_packet_longer_than_the_snap_length_is_cut_to_it() -> None:
    header = PcapHeader(Interface(1, 100))
    packets, error = read(pcap(header, [(0, b"a" * 150, 150), (0, b"b" * 50, 50)]))
    assert error is None
    assert [(data, record.length) for record, data in packets] == [(b"a" * 100, 150), (b"b" * 50, 50)]


def test_a_fraction_beyond_a_second_carries() -> None:
    record = (7).to_bytes(4, "little") + (2_500_000).to_bytes(4, "little") + bytes(8)
    packets, _ = read(format_header(PcapHeader(Interface(1))) + record)
    assert packets[0][0].time_ns == 9_500_000_000


def test_times_that_a_record_cannot_say_are_held() -> None:
    header = PcapHeader(Interface(1, ticks_per_second=NS))
    packets, _ = read(pcap(header, [(-5, b"", 0), (1 << 62, b"", 0)]))
    assert [record.time_ns for record, _ in packets] == [0, (1 << 32) * NS - 1]


@pytest.mark.parametrize("header", ALL_HEADERS, ids=[text[:18] for text, _ in HEADERS])
def test_cut_at_every_byte(header: PcapHeader) -> None:
    """Whatever is left, the packets that are whole come first, then an error that says what is missing."""
    sizes = [0, 17, 60]
    records = [format_record(header, 0, bytes(size), size) for size in sizes]
    whole = pcap(header, [(0, bytes(size), size) for size in sizes])
    ends = list(itertools.accumulate((len(record) for record in records), initial=24))
    for cut in range(len(whole)):
        packets, error = read(whole[:cut], step=5)
        assert len(packets) == max(sum(end <= cut for end in ends) - 1, 0)
        if cut in ends:
            assert error is None
        elif cut == 0:
            assert error == "test.pcap: empty: not even a file header"
        elif cut < 4:
            assert error is not None
            assert error.startswith("test.pcap: not a pcap or pcapng capture: it starts with")
        elif cut < 24:
            assert error == f"test.pcap: cut at byte {cut}: the pcap file header needs 24 bytes"
        else:
            number = len(packets)
            start = ends[number]
            known = cut - start >= header.record_header
            need = len(records[number]) if known else header.record_header
            missing = f"record {number + 1} needs {need} bytes, {cut - start} are left"
            assert error == f"test.pcap: cut at byte {cut}: {missing}"


DAMAGE = [
    (
        format_header(PcapHeader(Interface(1, 262144)))
        + format_record(PcapHeader(Interface(1)), 0, b"abc", 3)
        + bytes(8)
        + b"\x01\x00\x04\x00\xff\xff\xff\xff",
        1,
        "test.pcap: damaged at byte 43: record 2 claims to hold 262145 bytes, at most 262144 are possible",
    ),
    (
        bytes.fromhex("d4c3b2a1 0200 0500 00000000 00000000 00000400 01000000"),
        0,
        "test.pcap: pcap version 2.5; 2.0 to 2.4 and 543.0 can be read",
    ),
    (
        bytes.fromhex("d4c3b2a1 0100 0000 00000000 00000000 00000400 01000000"),
        0,
        "test.pcap: pcap version 1.0; 2.0 to 2.4 and 543.0 can be read",
    ),
    (b"\xfd7zXZ\x00rest of an xz file....", 0, "test.pcap: an xz file: unpack it first"),
    (b"\x28\xb5\x2f\xfdrest of a zstd file....", 0, "test.pcap: a zstd file: unpack it first"),
    (
        b"snoop\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x04",
        0,
        "test.pcap: a snoop capture: convert it to pcap first",
    ),
    (
        b"\x4d\x3c\x2b\xa1" + bytes(20),
        0,
        "test.pcap: a pcap file in Navtel's format (magic a12b3c4d)",
    ),
    (
        b"Hello, this is no capture at all.",
        0,
        "test.pcap: not a pcap or pcapng capture: it starts with 48 65 6c 6c 6f 2c 20 74",
    ),
]


@pytest.mark.parametrize(("data", "count", "message"), DAMAGE, ids=[message[11:40] for *_, message in DAMAGE])
def test_damage_is_told(data: bytes, count: int, message: str) -> None:
    for step in (1, 1 << 20):
        packets, error = read(data, step)
        assert (len(packets), error) == (count, message)


def test_only_pcap_has_a_pcap_header() -> None:
    with pytest.raises(CaptureError, match="x: not a pcap file: it starts with 00 01 02 03"):
        parse_header(bytes(range(24)), "x")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.sampled_from(ALL_HEADERS),
    st.binary(max_size=400),
    st.integers(1, 60),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
)
def test_fuzz(header: PcapHeader, tail: bytes, step: int, changes: list[tuple[int, int]]) -> None:
    """Any bytes give packets that lie one behind the other in the file, then at most a CaptureError, and
    the same ones in whatever pieces they are shown."""
    data = bytearray(pcap(header, [(5 * NS, bytes(60), 60), (6 * NS, bytes(30), 1000)]) + tail)
    for at, value in changes:
        data[at % len(data)] = value
    whole = read(bytes(data))
    assert read(bytes(data), step) == whole
    end = 24
    for record, packet in whole[0]:
        assert record.offset >= end
        assert record.captured == len(packet)
        assert record.length >= record.captured
        end = record.offset + record.captured
    assert end <= len(data)
