"""A small office's traffic, byte for byte known: for tests that want captures, but not real ones."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Sequence
from pathlib import Path

from clsbpf.capture import Interface
from clsbpf.capture.writer import PcapWriter

START = 1_700_000_000_000_000_000
MACS = bytes.fromhex("020000000001 020000000002")


def frame(ethertype: int, payload: bytes, *, vlan: int | None = None) -> bytes:
    """An Ethernet frame, with a tag if asked, padded to 60 bytes."""
    tag = b"" if vlan is None else struct.pack(">HH", 0x8100, vlan)
    return (MACS + tag + struct.pack(">H", ethertype) + payload).ljust(60, b"\0")


def ipv4(protocol: int, payload: bytes) -> bytes:
    """An IPv4 packet without options."""
    start = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0)
    return start + bytes((10, 0, 0, 1, 10, 0, 0, 2)) + payload


def tcp(source: int, destination: int, size: int = 0) -> bytes:
    """A TCP segment in an IPv4 packet."""
    return ipv4(6, struct.pack(">HHIIHHHH", source, destination, 0, 0, 0x5010, 1000, 0, 0) + bytes(size))


def udp(source: int, destination: int, size: int = 0) -> bytes:
    """A UDP datagram in an IPv4 packet."""
    return ipv4(17, struct.pack(">HHHH", source, destination, 8 + size, 0) + bytes(size))


FRAMES: tuple[bytes, ...] = (
    frame(0x0800, tcp(40000, 443, 500)),
    frame(0x0800, tcp(443, 40000, 1400)),
    frame(0x0800, tcp(40001, 80, 100)),
    frame(0x0800, udp(40002, 53, 30)),
    frame(0x0806, bytes(28)),
    frame(0x0800, tcp(40003, 443), vlan=7),
    frame(0x86DD, b"\x60" + bytes(59)),
    frame(0x0800, tcp(40004, 22, 50)),
)


def write_pcap(
    path: Path, frames: Sequence[bytes] = FRAMES, *, link_type: int = 1, snap_len: int = 262144
) -> Path:
    """A pcap file of the frames, a millisecond apart, cut to `snap_len`."""
    with PcapWriter(str(path), Interface(link_type, snap_len)) as writer:
        for number, data in enumerate(frames):
            writer.write(START + number * 1_000_000, data[:snap_len], len(data))
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(path.read_bytes()))
    return path


RECORD = 16
FILE_HEADER = 24
