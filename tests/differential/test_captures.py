"""Captures as tcpdump and Wireshark read them: the same packets, times and lengths, the same damage."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from capture_bytes import pcap
from clsbpf.capture import Interface, PcapngWriter, PcapWriter, open_capture
from clsbpf.capture.pcap import VERSIONS, PcapHeader, format_header
from clsbpf.capture.pcapng import format_interface, format_packet, format_section
from clsbpf.errors import CaptureError
from judges import need_tool

NS = 1_000_000_000
ROOT = Path(__file__).parents[2]
CAPTURES = sorted((ROOT / "examples").glob("*.pcap*")) + sorted(
    (ROOT.parent / "shared/captures").glob("*.*cap*")
)
"""The examples, and whatever real traffic lies beside the project."""

FRAMES = [
    (1_700_000_000_123_456_789, bytes.fromhex("ffffffffffff0200000000010800") + b"\x45" + bytes(45), 60),
    (1_700_000_001_999_999_999, bytes.fromhex("02000000000202000000000186dd") + b"\x60" + bytes(85), 1514),
    (1_700_000_002_000_000_000, bytes.fromhex("0200000000020200000000010806") + bytes(28), 42),
]

Packet = tuple[int, int, int]
"""Time, captured, length."""


def ours(path: Path) -> tuple[list[Packet], bool]:
    """The packets as we read them, and whether they end in damage."""
    packets: list[Packet] = []
    try:
        with open_capture(str(path)) as capture:
            for record, _ in capture:
                packets.append((record.time_ns, record.captured, record.length))
    except CaptureError:
        return packets, True
    return packets, False


def wireshark(path: Path) -> Iterator[Packet]:
    """The packets as Wireshark reads them."""
    fields = ["-e", "frame.time_epoch", "-e", "frame.cap_len", "-e", "frame.len"]
    command = [need_tool("tshark"), "-n", "-r", path, "-T", "fields", *fields]
    for line in subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines():
        time, captured, length = line.split("\t")
        seconds, _, fraction = time.partition(".")
        yield int(seconds or 0) * NS + int(fraction.ljust(9, "0")), int(captured), int(length)


def tcpdump(path: Path) -> tuple[list[tuple[int, bytes]], bool]:
    """Time and bytes of each packet as libpcap reads them, and whether they end in damage.

    tcpdump writes them to a pcap file of nanoseconds, which is read here by its 24 and 16 bytes.
    """
    command = [need_tool("tcpdump"), "-r", path, "-w", "-", "--time-stamp-precision=nano", "-s", "262144"]
    done = subprocess.run(command, capture_output=True, check=False)
    packets = []
    at = 24
    while at < len(done.stdout):
        seconds, fraction, captured, _ = (
            int.from_bytes(done.stdout[at + skip : at + skip + 4], "little") for skip in (0, 4, 8, 12)
        )
        packets.append((seconds * NS + fraction, done.stdout[at + 16 : at + 16 + captured]))
        at += 16 + captured
    return packets, done.returncode != 0


@pytest.mark.parametrize("path", CAPTURES, ids=[path.name for path in CAPTURES])
def test_real_captures_as_libpcap_reads_them(path: Path) -> None:
    with_bytes = []
    try:
        with open_capture(str(path)) as capture:
            with_bytes.extend((record.time_ns, bytes(data)) for record, data in capture)
        damaged = False
    except CaptureError:
        damaged = True
    assert (with_bytes, damaged) == tcpdump(path)


HEADERS = [
    PcapHeader(Interface(1, snap_len, resolution), order, record_header, version)
    for snap_len, resolution, order, record_header, version in itertools.product(
        (65535, 50, 0), (10**6, NS), ("little", "big"), (16, 24), VERSIONS
    )
    if record_header == 16 or resolution == 10**6
]


def test_every_kind_of_pcap_header(tmp_path: Path) -> None:
    for number, header in enumerate(HEADERS):
        path = tmp_path / f"{number}.pcap"
        path.write_bytes(pcap(header, FRAMES))
        with open_capture(str(path)) as capture:
            mine = [(record.time_ns, bytes(data)) for record, data in capture]
        assert (mine, False) == tcpdump(path), header


DAMAGED = [
    ("a cut record", pcap(HEADERS[0], FRAMES)[:-1]),
    ("a cut record header", pcap(HEADERS[0], FRAMES) + bytes(15)),
    ("an absurd length", pcap(HEADERS[0], FRAMES) + bytes(8) + b"\x01\x00\x04\x00" * 2 + bytes(300000)),
    ("a cut file header", format_header(HEADERS[0])[:23]),
    ("another version", format_header(HEADERS[0])[:6] + b"\x05\x00" + format_header(HEADERS[0])[8:]),
    (
        "a block that is too short",
        format_section() + format_interface(Interface(1)) + b"\x06\0\0\0\x08\0\0\0",
    ),
    ("no padding", format_section() + format_interface(Interface(1)) + b"\x05\0\0\0\x0d\0\0\0" + bytes(5)),
    ("another size", format_section() + format_interface(Interface(1)) + b"\x05\0\0\0\x0c\0\0\0\x10\0\0\0"),
    ("no interface", format_section() + format_packet(0, 0, b"", 0)),
    ("an unknown one", format_section() + format_interface(Interface(1)) + format_packet(1, 0, b"", 0)),
    ("a cut block", format_section() + format_interface(Interface(1)) + format_packet(0, 0, b"abcd", 4)[:-4]),
]


@pytest.mark.parametrize(("data"), [data for _, data in DAMAGED], ids=[name for name, _ in DAMAGED])
def test_what_counts_as_damage(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "damaged"
    path.write_bytes(data)
    packets, damaged = ours(path)
    theirs, theirs_damaged = tcpdump(path)
    assert damaged
    assert theirs_damaged
    assert len(packets) == len(theirs)


PCAPNG = {
    "resolutions and offsets": b"".join(
        format_interface(Interface(1, 262144, ticks, offset))
        + format_packet(number, 1_234_567_890, FRAMES[0][1], 60)
        for number, (ticks, offset) in enumerate(
            [(10**6, 0), (10**3, 7), (10**9, 1000), (10**7, 0), (1 << 10, 5)]
        )
    ),
    "link types and snap lengths": b"".join(
        format_interface(Interface(link, snap)) + format_packet(number, 5, FRAMES[1][1][14:], 500)
        for number, (link, snap) in enumerate([(101, 65535), (229, 1000), (101, 0)])
    ),
    "sections": format_interface(Interface(1))
    + format_packet(0, 1, FRAMES[0][1], 60)
    + format_section("big")
    + format_interface(Interface(101), "big")
    + format_packet(0, 2, FRAMES[0][1][14:], 60, "big"),
}


@pytest.mark.parametrize("blocks", PCAPNG.values(), ids=PCAPNG.keys())
def test_what_only_wireshark_reads(tmp_path: Path, blocks: bytes) -> None:
    path = tmp_path / "x.pcapng"
    path.write_bytes(format_section() + blocks)
    packets, damaged = ours(path)
    assert not damaged
    assert packets == list(wireshark(path))


def test_what_we_write(tmp_path: Path) -> None:
    """Both judges read back what went into each of our formats."""
    for writer in (
        PcapWriter(str(tmp_path / "x.pcap"), Interface(1, 262144)),
        PcapngWriter(str(tmp_path / "x.pcapng")),
    ):
        with writer:
            for packet in FRAMES:
                if isinstance(writer, PcapngWriter):
                    writer.write(Interface(1, 262144), *packet)
                else:
                    writer.write(*packet)
        path = Path(writer.path)
        assert list(wireshark(path)) == [(time, len(data), length) for time, data, length in FRAMES]
        assert tcpdump(path) == ([(time, data) for time, data, _ in FRAMES], False)
