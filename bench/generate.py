"""Makes a large capture: many hosts and ports, mixed sizes, the same for the same seed.

    python bench/generate.py big.pcap --bytes 1.2e9

Packets are made a hundred thousand at a time, each field of all of them at once.  What is in it (by
packets): TCP and UDP over IPv4 and IPv6, some of it in a VLAN, ICMP, ARP; about 4,000 clients and 500
servers; ports as servers have them and ephemeral ones; 60 to 1514 bytes, small and full-sized packets
most often, 640 on average.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

CHUNK = 100_000
"""Packets made at once."""
RECORD_HEADER = 16
FIRST_TIME = 1_700_000_000_000_000_000

SIZES = (60, 66, 74, 90, 134, 214, 342, 576, 1000, 1314, 1514)
SIZE_SHARES = (0.16, 0.18, 0.05, 0.06, 0.05, 0.04, 0.04, 0.06, 0.04, 0.04, 0.28)
SERVER_PORTS = (443, 80, 53, 22, 8080, 123, 993, 5432, 6379, 3306)
SERVER_PORT_SHARES = (0.45, 0.15, 0.12, 0.08, 0.06, 0.04, 0.03, 0.03, 0.02, 0.02)
CLIENTS, SERVERS = 4096, 512
SERVER_NET = 1
"""Clients are 10.0.x.y and 2001:db8::xy, servers 10.1.x.y and 2001:db8:1::xy."""


def fields(*parts: str) -> bytes:
    """Hexadecimal text as bytes."""
    return bytes.fromhex("".join(parts))


ETHERNET = fields("020000000001", "020000000002")
IPV4 = fields("4500 0000 0000 4000 40 06 0000 0a000000 0a000000")
IPV6 = fields("60000000 0000 06 40", "20010db8000000000000000000000000", "20010db8000000000000000000000000")
TCP = fields("0000 0000 00000000 00000000 5010 2000 0000 0000")
UDP = fields("0000 0000 0000 0000")
ICMP = fields("08 00 0000 0001 0000")
ARP = fields("0001 0800 06 04 0001 020000000001 0a000000 000000000000 0a000000")


@dataclass(frozen=True)
class Kind:
    """One sort of packet: its share of all, its headers, and where in them fields are (None: nowhere)."""

    share: float
    template: bytes
    network: int
    ip_version: int | None = None
    transport: int | None = None
    udp: bool = False
    has_ports: bool = False


def ethernet(share: float, ethertype: str, *layers: bytes, vlan: bool = False, **where: object) -> Kind:
    """A kind from its layers after the Ethernet header."""
    header = ETHERNET + (fields("8100 0007") if vlan else b"") + fields(ethertype)
    return Kind(share, header + b"".join(layers), len(header), **where)  # type: ignore[arg-type]


def ip(share: float, version: int, transport: bytes, protocol: int, *, vlan: bool = False) -> Kind:
    """A kind of IP packet."""
    network = bytearray(IPV4 if version == 4 else IPV6)
    network[9 if version == 4 else 6] = protocol
    kind = ethernet(share, "0800" if version == 4 else "86dd", bytes(network), transport, vlan=vlan)
    return Kind(
        share,
        kind.template,
        kind.network,
        ip_version=version,
        transport=kind.network + len(network),
        udp=protocol == 17,
        has_ports=protocol in (6, 17),
    )


KINDS = (
    ip(0.60, 4, TCP, 6),
    ip(0.15, 4, UDP, 17),
    ip(0.12, 6, TCP, 6),
    ip(0.04, 6, UDP, 17),
    ip(0.05, 4, TCP, 6, vlan=True),
    ip(0.03, 4, ICMP, 1),
    ethernet(0.01, "0806", ARP),
)


def big_endian(out: Bytes, at: Ints, value: Ints, width: int) -> None:
    """Write a field of `width` bytes at each place."""
    for byte in range(width):
        out[at + byte] = (value >> (8 * (width - 1 - byte))).astype(np.uint8)


def little_endian_32(out: Bytes, at: Ints, value: Ints) -> None:
    """Write a 32-bit field of a record header at each place."""
    for byte in range(4):
        out[at + byte] = (value >> (8 * byte)).astype(np.uint8)


def ipv4_checksum(out: Bytes, at: Ints) -> None:
    """Fill in the header checksums."""
    words = [(out[at + i].astype(np.int64) << 8) + out[at + i + 1] for i in range(0, 20, 2)]
    total = np.sum(words, axis=0)
    total = (total >> 16) + (total & 0xFFFF)
    total = (total >> 16) + (total & 0xFFFF)
    big_endian(out, at + 10, ~total & 0xFFFF, 2)


def packets(rng: np.random.Generator, count: int, first_time: int) -> tuple[Bytes, int]:
    """So many packets as pcap records, and the time after the last."""
    sizes = rng.choice(SIZES, count, p=SIZE_SHARES)
    kinds = rng.choice(len(KINDS), count, p=[kind.share for kind in KINDS])
    shortest = np.array([len(kind.template) for kind in KINDS])
    sizes = np.maximum(sizes, shortest[kinds])
    sizes[kinds == len(KINDS) - 1] = 60
    starts = np.concatenate(([0], np.cumsum(sizes + RECORD_HEADER)))
    payload = rng.integers(0, 256, 1 << 16, dtype=np.uint8)
    out = np.resize(payload, starts[-1])
    records, frames = starts[:-1], starts[:-1] + RECORD_HEADER

    times = first_time + np.cumsum(rng.integers(50, 5000, count))
    for at, value in enumerate((times // 10**9, times % 10**9, sizes, sizes)):
        little_endian_32(out, records + 4 * at, value)

    client, server = rng.integers(0, CLIENTS, count), SERVER_NET << 16 | rng.integers(0, SERVERS, count)
    client_port = rng.integers(1024, 65536, count)
    server_port = rng.choice(SERVER_PORTS, count, p=SERVER_PORT_SHARES)
    outward = rng.random(count) < 0.5
    for number, kind in enumerate(KINDS):
        rows = np.flatnonzero(kinds == number)
        write_headers(
            out,
            kind,
            frames[rows],
            sizes[rows],
            (np.where(outward, client, server)[rows], np.where(outward, server, client)[rows]),
            (
                np.where(outward, client_port, server_port)[rows],
                np.where(outward, server_port, client_port)[rows],
            ),
        )
    return out, int(times[-1])


def write_headers(
    out: Bytes, kind: Kind, at: Ints, sizes: Ints, hosts: tuple[Ints, Ints], ports: tuple[Ints, Ints]
) -> None:
    """The headers of packets of one kind, and in them what differs.

    Hosts are source and destination, a subnet in the upper and a host in the lower 16 bits.
    """
    out[at[:, None] + np.arange(len(kind.template))] = np.frombuffer(kind.template, np.uint8)
    network = at + kind.network
    match kind.ip_version:
        case 4:
            big_endian(out, network + 2, sizes - kind.network, 2)
            big_endian(out, network + 13, hosts[0], 3)
            big_endian(out, network + 17, hosts[1], 3)
            ipv4_checksum(out, network)
        case 6:
            big_endian(out, network + 4, sizes - kind.network - 40, 2)
            for host, address in zip(hosts, (network + 8, network + 24), strict=True):
                big_endian(out, address + 4, host >> 16, 2)
                big_endian(out, address + 14, host & 0xFFFF, 2)
        case None:
            big_endian(out, network + 15, hosts[0], 3)
            big_endian(out, network + 25, hosts[1], 3)
    if kind.transport is not None and kind.has_ports:
        big_endian(out, at + kind.transport, ports[0], 2)
        big_endian(out, at + kind.transport + 2, ports[1], 2)
        if kind.udp:
            big_endian(out, at + kind.transport + 4, sizes - kind.transport, 2)


def write_capture(file: IO[bytes], size: int, seed: int) -> int:
    """A pcap file of nanosecond resolution of at least `size` bytes; returns its packets."""
    header = np.array([0xA1B23C4D, 4 << 16 | 2, 0, 0, 262144, 1], "<u4").tobytes()
    file.write(header)
    rng = np.random.default_rng(seed)
    written, count, time = len(header), 0, FIRST_TIME
    while written < size:
        out, time = packets(rng, CHUNK, time)
        file.write(out.data)
        written += len(out)
        count += CHUNK
    return count


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("capture", type=Path)
    parser.add_argument("--bytes", type=float, default=1.2e9)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    part = options.capture.with_name(options.capture.name + ".part")
    with open(part, "wb") as file:
        count = write_capture(file, int(options.bytes), options.seed)
    os.replace(part, options.capture)
    print(f"{options.capture}: {count:,} packets, {options.capture.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
