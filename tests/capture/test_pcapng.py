"""The pcapng format: sections, interfaces and the three kinds of packet blocks, sound and damaged."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture_bytes import PACKETS, BytesSource, read
from clsbpf.capture import Capture
from clsbpf.capture.pcapng import (
    BINARY_RESOLUTION,
    CODECS,
    INTERFACE,
    OBSOLETE_PACKET,
    SECTION_HEADER,
    SIMPLE_PACKET,
    PcapngReader,
    Section,
    format_block,
    format_interface,
    format_option,
    format_packet,
    format_section,
    resolution,
    resolution_octet,
)
from clsbpf.capture.record import TIME_MAX, TIME_MIN, Interface, Record

NS = 1_000_000_000
ORDERS = ("little", "big")

BLOCKS = [
    (
        format_section("little"),
        "0a0d0d0a 1c000000 4d3c2b1a 0100 0000 ffffffffffffffff 1c000000",
    ),
    (
        format_section("big", (1, 2)),
        "0a0d0d0a 0000001c 1a2b3c4d 0001 0002 ffffffffffffffff 0000001c",
    ),
    (
        format_interface(Interface(1, 262144, NS, name="lab0")),
        "01000000 28000000 0100 0000 00000400 0200 0400 6c616230 0900 0100 09000000 0000 0000 28000000",
    ),
    (
        format_interface(Interface(276, 0, 1 << 20, -3600, 4), "big"),
        "00000001 00000034 0114 0000 00000000 0009 0001 94000000 000d 0001 04000000"
        "000e 0008 fffffffffffff1f0 0000 0000 00000034",
    ),
    (
        format_packet(2, 0x1122334455667788, b"abcde", 60),
        "06000000 28000000 02000000 44332211 88776655 05000000 3c000000 6162636465 000000 28000000",
    ),
]
"""Blocks as they are written, and their bytes by the specification."""


@pytest.mark.parametrize(("written", "hexadecimal"), BLOCKS)
def test_blocks_as_specified(written: bytes, hexadecimal: str) -> None:
    assert written == bytes.fromhex(hexadecimal)


INTERFACES = [
    Interface(1, 262144),
    Interface(101, 0, 1),
    Interface(105, 96, NS, name="wlan0 with ä"),
    Interface(1, 1500, 10**19, -1),
    Interface(0xFFFF, 0xFFFFFFFF, 1 << 63, (1 << 63) - 1),
    Interface(113, 65535, 1, -(1 << 63), 255),
]


@pytest.mark.parametrize("order", ORDERS)
def test_interfaces_come_back_as_written(order: str) -> None:
    data = format_section(order) + b"".join(format_interface(interface, order) for interface in INTERFACES)
    capture = Capture(BytesSource(data, 1))
    assert list(capture) == []
    assert capture.interfaces == INTERFACES
    assert capture.reader.section == Section(order, (1, 0), 0)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("step", [1, 3, 1 << 20])
def test_packets_come_back_as_written(order: str, step: int) -> None:
    interface = Interface(1, 262144, NS)
    data = format_section(order) + format_interface(interface, order)
    data += b"".join(format_packet(0, *packet, order) for packet in PACKETS)
    packets, error = read(data, step)
    assert error is None
    assert [(record.time_ns, packet, record.length) for record, packet in packets] == PACKETS
    for record, packet in packets:
        assert data[record.offset : record.offset + record.captured] == packet


def simple(length: int, data: bytes) -> bytes:
    return format_block(SIMPLE_PACKET, struct.pack("<I", length) + data, "little")


def obsolete(number: int, ticks: int, data: bytes, length: int) -> bytes:
    fields = struct.pack("<HHIIII", number, 0xFFFF, ticks >> 32, ticks & 0xFFFFFFFF, len(data), length)
    return format_block(OBSOLETE_PACKET, fields + data, "little")


def option(code: int, value: bytes) -> bytes:
    return format_option(code, value, CODECS["little"])


def interface_block(*options: bytes, link_type: int = 1) -> bytes:
    return format_block(INTERFACE, struct.pack("<HHI", link_type, 0, 0) + b"".join(options), "little")


START = format_section() + format_interface(Interface(1, 100))

KINDS = [
    # what follows the first interface (Ethernet, 100 bytes, microseconds); the packets, counted from there
    (simple(40, b"x" * 40), [Record(12, 40, 40, 0)]),
    (simple(1000, b"x" * 100), [Record(12, 100, 1000, 0)]),  # cut to the snap length
    (obsolete(0, 5, b"x" * 40, 41), [Record(28, 40, 41, 5000)]),
    (format_packet(0, 5, b"x" * 40, 41), [Record(28, 40, 41, 5000)]),
    (format_packet(0, 5, b"x" * 120, 130), [Record(28, 100, 130, 5000)]),  # longer than it may be
    (format_packet(0, 5, b"x" * 40, 10), [Record(28, 40, 40, 5000)]),
    (format_block(4, b"names", "little") + simple(1, b"x"), [Record(32, 1, 1, 0)]),
    (format_block(0xBAD, b"custom, of any length" * 9, "little"), []),
    (format_interface(Interface(1, 100)) + format_packet(1, 0, b"", 0), [Record(60, 0, 0, 0, 0)]),
    (format_interface(Interface(101)) + format_packet(1, 0, b"", 0), [Record(60, 0, 0, 0, 1)]),
]


@pytest.mark.parametrize(("blocks", "records"), KINDS)
def test_kinds_of_blocks(blocks: bytes, records: list[Record]) -> None:
    packets, error = read(START + blocks)
    assert error is None
    assert [record for record, _ in packets] == [
        replace(record, offset=len(START) + record.offset) for record in records
    ]


def test_a_section_forgets_interfaces_and_may_change_the_byte_order() -> None:
    """Equal interfaces of different sections are one; numbers begin anew."""
    first, second, third = Interface(1, 100), Interface(101, 200, NS), Interface(1, 100, name="other")
    data = b"".join(
        (
            format_section("little"),
            format_interface(first),
            format_interface(second),
            format_packet(1, 7, b"a", 1),
            format_section("big"),
            format_interface(second, "big"),
            format_interface(first, "big"),
            format_interface(third, "big"),
            format_packet(0, 8, b"b", 1, "big"),
            format_packet(1, 9, b"c", 1, "big"),
            format_packet(2, 9, b"d", 1, "big"),
        )
    )
    capture = Capture(BytesSource(data, 1))
    packets = [(bytes(packet), record.interface, record.time_ns) for record, packet in capture]
    assert packets == [(b"a", 1, 7), (b"b", 1, 8), (b"c", 0, 9000), (b"d", 2, 9000)]
    assert capture.interfaces == [first, second, third]
    assert isinstance(capture.reader, PcapngReader)
    assert capture.reader.numbers == [1, 0, 2]


TIMES = [
    # ticks, ticks per second, offset in seconds, nanoseconds
    (1_500_000, 10**6, 0, 1_500_000_000),
    (1_500_000_001, NS, 0, 1_500_000_001),
    (15, 10, 2, 3_500_000_000),
    (123, 1, -200, -77_000_000_000),
    (1_999_999_999_999, 10**12, 0, 1_999_999_999),  # rounded down
    (3, 2, -2, -500_000_000),
    ((5 << 32) + 1, 1 << 32, 0, 5_000_000_000),
    ((1 << 63) + (1 << 62), 1 << 63, 0, 1_500_000_000),
    ((1 << 64) - 1, 10**19, 0, 1_844_674_407),
    ((1 << 64) - 1, 10**6, 0, TIME_MAX),
    ((1 << 64) - 1, 1, (1 << 63) - 1, TIME_MAX),
    (0, 1, -(1 << 63), TIME_MIN),
]


@pytest.mark.parametrize(("ticks", "per_second", "offset", "time_ns"), TIMES)
def test_times(ticks: int, per_second: int, offset: int, time_ns: int) -> None:
    data = format_section() + format_interface(Interface(1, 0, per_second, offset))
    packets, _ = read(data + format_packet(0, ticks, b"", 0))
    assert packets[0][0].time_ns == time_ns


def test_every_resolution_both_ways() -> None:
    for octet in (*range(20), *range(BINARY_RESOLUTION + 1, BINARY_RESOLUTION + 64)):
        assert resolution_octet(resolution(octet)) == octet
    assert resolution(BINARY_RESOLUTION) == 1


DAMAGE = [
    # what follows the first interface, how many packets come before the damage, and what is said of it
    (struct.pack("<III", 6, 8, 8), 0, "a block of type 0x6 says that it has 8 bytes, less than its frame"),
    (struct.pack("<III", 6, 33, 0), 0, "a block of type 0x6 has 33 bytes, not a multiple of 4"),
    (
        struct.pack("<II", 6, 0xFFFFFFFC),
        0,
        "a block of type 0x6 claims 4294967292 bytes, at most 16777216 are possible",
    ),
    (
        struct.pack("<III", 5, 12, 16),
        0,
        "a block of type 0x5 says 12 bytes before its body and 16 after it",
    ),
    (
        format_packet(0, 0, b"abc", 3) + format_block(6, bytes(16), "little"),
        1,
        "a block for one enhanced packet has 16 bytes of body, it needs 20",
    ),
    (format_block(3, b"", "little"), 0, "a block for one simple packet has 0 bytes of body, it needs 4"),
    (format_block(2, bytes(12), "little"), 0, "a block for one packet has 12 bytes of body, it needs 20"),
    (format_block(1, bytes(4), "little"), 0, "a block for one interface has 4 bytes of body, it needs 8"),
    (
        format_block(SECTION_HEADER, struct.pack("<I", 0x1A2B3C4D), "little"),
        0,
        "a block for one section header has 4 bytes of body, it needs 16",
    ),
    (format_section(version=(2, 0)), 0, "pcapng version 2.0; 1.0 and 1.2 can be read"),
    (format_section(version=(1, 1)), 0, "pcapng version 1.1; 1.0 and 1.2 can be read"),
    (
        format_block(SECTION_HEADER, bytes(16), "little"),
        0,
        "a section's byte-order magic is 00 00 00 00",
    ),
    (format_packet(1, 0, b"", 0), 0, "record 1 is of interface 1, the section has 1"),
    (format_section() + format_packet(0, 0, b"", 0), 0, "record 1 is of interface 0, the section has 0"),
    (format_section() + simple(0, b""), 0, "record 1 is of interface 0, the section has 0"),
    (
        format_block(6, struct.pack("<IIIII", 0, 0, 0, 5, 5) + bytes(4), "little"),
        0,
        "record 1 claims to hold 5 bytes, its block has 4",
    ),
    (
        format_block(6, struct.pack("<IIIII", 0, 0, 0, 262145, 5), "little"),
        0,
        "record 1 claims to hold 262145 bytes, at most 262144 are possible",
    ),
    (simple(99, bytes(4)), 0, "record 1 claims to hold 99 bytes, its block has 4"),
    (interface_block(option(9, b"\x06\x06")), 0, "an interface's option 9 has 2 bytes, not 1"),
    (interface_block(option(14, bytes(4))), 0, "an interface's option 14 has 4 bytes, not 8"),
    (interface_block(option(0, b"end")), 0, "an interface's option 0 has 3 bytes, not 0"),
    (interface_block(option(9, b"\x06"), option(9, b"\x06")), 0, "an interface has option 9 twice"),
    (
        interface_block(option(9, b"\x14")),
        0,
        "a time resolution of 10^-20 seconds; at most 10^-19 can be read",
    ),
    (interface_block(option(9, b"\xc0")), 0, "a time resolution of 2^-64 seconds; at most 2^-63 can be read"),
    (
        interface_block(struct.pack("<HH", 2, 5) + b"abcd"),
        0,
        "option 2 claims 5 bytes, 4 are left in its block",
    ),
]


@pytest.mark.parametrize(("blocks", "count", "message"), DAMAGE, ids=[message for *_, message in DAMAGE])
def test_damage_is_told(blocks: bytes, count: int, message: str) -> None:
    for step in (1, 1 << 20):
        packets, error = read(START + blocks, step)
        assert len(packets) == count
        assert error is not None
        place, _, reason = error.partition(": damaged at byte ")[2].partition(": ")
        assert reason == message
        assert len(START) <= int(place) < len(START + blocks)


def test_a_name_without_padding_left_is_not_an_error_of_ours() -> None:
    data = format_section() + interface_block(option(2, b"\xff\xfe name"))
    capture = Capture(BytesSource(data, 1))
    assert list(capture) == []
    assert capture.interfaces == [Interface(1, name="\ufffd\ufffd name")]


def test_too_many_interfaces_are_refused() -> None:
    many = b"".join(format_interface(Interface(1, 0, offset_seconds=n)) for n in range(65537))
    packets, error = read(format_section() + many)
    assert packets == []
    assert error is not None
    assert error.endswith(": more than 65536 interfaces")


def test_a_large_link_type_allows_large_blocks() -> None:
    data = (
        format_section() + format_interface(Interface(231)) + format_packet(0, 0, bytes(20 << 20), 20 << 20)
    )
    packets, error = read(data)
    assert error is None
    assert [record.captured for record, _ in packets] == [20 << 20]


def test_cut_at_every_byte() -> None:
    """Whatever is left, the packets that are whole come first, then an error that says what is missing."""
    blocks = [
        format_section(),
        format_interface(Interface(1)),
        format_packet(0, 0, b"one", 3),
        format_block(5, bytes(8), "little"),
        format_packet(0, 0, b"two", 3),
    ]
    whole = b"".join(blocks)
    ends = [sum(map(len, blocks[:count])) for count in range(len(blocks) + 1)]
    for cut in range(1, len(whole)):
        packets, error = read(whole[:cut], step=3)
        assert len(packets) == (cut >= ends[3])
        if cut in ends:
            assert error is None
        elif cut < 4:
            assert error is not None
            assert "not a pcap or pcapng capture" in error
        else:
            assert error is not None
            assert error.startswith(
                f"test.pcap: cut at byte {cut}: the block after record {len(packets)} needs "
            )


@settings(max_examples=200)
@given(
    st.sampled_from(ORDERS),
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
    st.binary(max_size=40),
)
def test_fuzz(order: str, step: int, changes: list[tuple[int, int]], tail: bytes) -> None:
    """Any bytes give packets that lie one behind the other in the capture, of interfaces that are known,
    then at most a CaptureError, and the same ones in whatever pieces they are shown."""
    data = bytearray(
        format_section(order)
        + format_interface(Interface(1, 262144, NS, 5, 4, "lab0"), order)
        + format_interface(Interface(101), order)
        + format_packet(0, 1 << 60, bytes(60), 60, order)
        + format_packet(1, 1 << 50, bytes(30), 1000, order)
        + tail
    )
    for at, value in changes:
        data[at % len(data)] = value
    whole = read(bytes(data))
    assert read(bytes(data), step) == whole
    end = 0
    for record, packet in whole[0]:
        assert record.offset >= end
        assert record.captured == len(packet)
        assert record.length >= record.captured
        assert TIME_MIN <= record.time_ns <= TIME_MAX
        assert record.interface in (0, 1)
        end = record.offset + record.captured
    assert end <= len(data)
