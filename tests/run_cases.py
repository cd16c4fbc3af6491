"""Captures and blocks of filters for tests of whole runs, and the counts to compare."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from random import Random
from typing import Any

from classic_programs import likely_valid
from clsbpf.bpf.bytecode import parse_bytecode
from clsbpf.bpf.check import check
from clsbpf.bpf.classic import SockFilter, encode_ops
from clsbpf.capture.pcap import LINKTYPE_ETHERNET, Interface, PcapHeader, format_header, format_record
from clsbpf.engine.programs import Backend, ProgramTable
from clsbpf.engine.results import Results
from clsbpf.errors import BytecodeError
from clsbpf.profile import KernelProfile
from clsbpf.tc.chain import Block
from clsbpf.tc.filter import BpfOptions
from frames import frame

ETH_P_ALL = 3
MATCH_ALL = "1,6 0 0 4294967295"
IP = "4,40 0 0 12,21 0 1 2048,6 0 0 4294967295,6 0 0 0"
LENGTH = "2,128 0 0 0,22 0 0 0"
"""Returns the length: a classid for every length."""
DIRECT = 1
SKIP_SW = 2


def ops_of(text: str | Sequence[SockFilter]) -> bytes:
    return encode_ops(parse_bytecode(text) if isinstance(text, str) else text)


def add(
    block: Block, prio: int, program: str | Sequence[SockFilter], *, protocol: int = ETH_P_ALL, **given: Any
) -> None:
    """A filter at the front of its prio, which is made if need be."""
    ops = ops_of(program)
    chain = block.get_chain(0)
    classifier = chain.find(prio) or chain.insert(prio, protocol)
    classifier.change(BpfOptions(ops=ops, ops_len=len(ops) // 8, **given))


def random_block(random: Random, backend: Backend, profile: KernelProfile) -> Block:
    block = Block(ProgramTable(backend=backend, profile=profile), profile=profile)
    for prio in range(1, random.randrange(2, 6)):
        protocol = random.choice((ETH_P_ALL, ETH_P_ALL, 0x0800, 0x86DD, 0x8100, 0x88A8, 0x0004, 0x0001))
        for _ in range(random.randrange(1, 4)):
            program: Any = likely_valid(random)
            try:
                check(tuple(program), profile)
            except BytecodeError:
                program = random.choice((MATCH_ALL, IP, LENGTH))
            classid = random.choice((None, 0x10001, 0x10000 + prio, 0xFFFF0000))
            add(block, prio, program, protocol=protocol, classid=classid, flags=random.choice((0, 0, DIRECT)))
    return block


def random_packets(random: Random, count: int = 60) -> list[tuple[int, bytes, int]]:
    """Time, bytes, length on the wire: Ethernet frames, some tagged, cut, or very short."""
    packets = []
    for number in range(count):
        data = frame(random, bytes((random.choice((0, 1, 2, 255)), *random.randbytes(5))))
        if random.random() < 0.1:
            data = data[: random.randrange(24)]
        length = len(data) + random.choice((0, 0, 0, 1, 5, 1000))
        packets.append((1_700_000_000_000_000_000 + number * 1_000_007, data, length))
    return packets


# Captures -----------------------------------------------------------------------------------------


def pcap(packets: list[tuple[int, bytes, int]], **header: Any) -> bytes:
    link_type = header.pop("link_type", LINKTYPE_ETHERNET)
    snap_len = header.pop("snap_len", 262144)
    ticks = header.pop("ticks_per_second", 1_000_000)
    file_header = PcapHeader(Interface(link_type, snap_len, ticks), **header)
    records = (format_record(file_header, *packet) for packet in packets)
    return format_header(file_header) + b"".join(records)


def block_of(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def interface(order: str, link_type: int, resolution: int = 6, snap_len: int = 0, offset: int = 0) -> bytes:
    options = struct.pack(order + "HHB3x", 9, 1, resolution) + struct.pack(order + "HHq", 14, 8, offset)
    return block_of(order, 1, struct.pack(order + "HHI", link_type, 0, snap_len) + options + bytes(4))


def enhanced(order: str, number: int, ticks: int, data: bytes, length: int) -> bytes:
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), length)
    return block_of(order, 6, head + data)


def obsolete(order: str, number: int, ticks: int, data: bytes, length: int) -> bytes:
    head = struct.pack(order + "HHIIII", number, 7, ticks >> 32, ticks & 0xFFFFFFFF, len(data), length)
    return block_of(order, 2, head + data)


def simple(order: str, data: bytes) -> bytes:
    return block_of(order, 3, struct.pack(order + "I", len(data)) + data)


def section(order: str) -> bytes:
    return block_of(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))


RESOLUTIONS = (6, 9, 3, 0, 12, 19, 0x80 | 10, 0x80 | 33, 0x80 | 40, 0x80 | 63)


def pcapng(random: Random, packets: list[tuple[int, bytes, int]]) -> bytes:
    """Sections in both byte orders, interfaces of all resolutions and two link types, all packet blocks."""
    parts = []
    for order in "<>":
        parts.append(section(order))
        for resolution in RESOLUTIONS:
            link_type = random.choice((1, 1, 101, 113))
            offset = random.choice((0, 0, 1_700_000_000, -5, 1 << 62, -(1 << 63)))
            snap_len = random.choice((0, 0, 64))
            parts.append(interface(order, link_type, resolution, snap_len, offset))
        for time, data, length in packets:
            kind = random.randrange(5)
            if kind == 0:
                parts.append(block_of(order, random.choice((4, 5, 0xBAD)), random.randbytes(8)))
            if kind == 1:
                parts.append(simple(order, data))
            else:
                ticks = random.choice((time, time // 1000, random.getrandbits(64), (1 << 64) - 1))
                writer = obsolete if kind == 2 else enhanced
                parts.append(writer(order, random.randrange(len(RESOLUTIONS)), ticks, data, length))
    return b"".join(parts)


def counts(results: Results) -> tuple[Any, ...]:
    filters = [(f.chain, f.pref, f.protocol, f.handle, f.packets, f.bytes) for f in results.filters]
    return (
        (results.packets, results.bytes, results.truncated, results.undecided),
        filters,
        dict(results.verdicts),
        results.classes,
        results.link_types,
        results.warnings,
    )
