"""A run by the native walk comes to the same counts and rows as the classifier, packet by packet."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from classic_programs import likely_valid
from clsbpf.bpf.bytecode import parse_bytecode
from clsbpf.bpf.check import check
from clsbpf.bpf.classic import SockFilter, encode_ops
from clsbpf.capture.pcap import LINKTYPE_ETHERNET, Interface, PcapHeader, format_header, format_record
from clsbpf.engine import ledger
from clsbpf.engine.plans import Setup
from clsbpf.engine.programs import Backend, ProgramTable
from clsbpf.engine.results import Batch, Results
from clsbpf.engine.run import IncompleteRun, Progress, run
from clsbpf.engine.walk_state import CLASS_LIMIT
from clsbpf.errors import BytecodeError, CaptureError
from clsbpf.link import LinkLayer
from clsbpf.profile import CURRENT, V4_13, KernelProfile
from clsbpf.tc.chain import Block
from clsbpf.tc.filter import BpfOptions
from frames import frame
from tc_fakes import Driver

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


CAPTURES: dict[str, Callable[[Random], bytes]] = {
    "microseconds": lambda random: pcap(random_packets(random)),
    "nanoseconds, big endian": lambda random: pcap(
        random_packets(random), byte_order="big", ticks_per_second=1_000_000_000
    ),
    "modified record headers": lambda random: pcap(random_packets(random), record_header=24),
    "lengths the other way round": lambda random: pcap(random_packets(random), version=(2, 2)),
    "the smaller length is captured": lambda random: pcap(random_packets(random), version=(2, 3)),
    "a snap length shorter than records": lambda random: pcap(random_packets(random), snap_len=40),
    "raw IP": lambda random: pcap([(t, d[14:], n) for t, d, n in random_packets(random)], link_type=101),
    "cooked": lambda random: pcap(random_packets(random), link_type=113),
    "BSD loopback": lambda random: pcap(
        [(t, struct.pack(random.choice("<>") + "I", random.choice((2, 24, 30, 9))) + d, n + 4)
         for t, d, n in random_packets(random)], link_type=0
    ),
    "an unknown link type": lambda random: pcap(random_packets(random), link_type=147),
    "pcapng": lambda random: pcapng(random, random_packets(random)),
    "cut": lambda random: pcap(random_packets(random))[:-3],
    "damaged": lambda random: pcap(random_packets(random)) + b"\xff" * 40,
    "pcapng, damaged": lambda random: pcapng(random, random_packets(random)) + b"\xff" * 40,
}  # fmt: skip


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


def outcome(path: Path, make: Callable[[Backend], Block], backend: str, **setup: Any) -> tuple[Any, ...]:
    """Counts, rows, and the words of the error that ended the run."""
    programs = Backend.INTERPRETER if backend == "interpreter" else Backend.JIT
    blocks: dict[int, Block] = {}

    def block(link: LinkLayer) -> Block:
        return blocks.setdefault(link.number, make(programs))

    try:
        results, failure = run([str(path)], Setup(block, **setup), backend=backend, columns=True), None
    except IncompleteRun as error:
        results, failure = error.results, str(error)
    return counts(results), results.to_arrow(), failure


@pytest.mark.parametrize("at_ingress", [True, False], ids=["ingress", "egress"])
@pytest.mark.parametrize("kind", CAPTURES)
def test_the_native_walk_and_the_classifier_agree(kind: str, at_ingress: bool, tmp_path: Path) -> None:
    for seed in range(3):
        path = tmp_path / f"{seed}.pcap"
        path.write_bytes(CAPTURES[kind](Random(f"{kind} {seed}")))
        profile = V4_13 if seed == 2 else CURRENT
        setup = {"at_ingress": at_ingress, "profile": profile, "ifindex": 7}

        def make(backend: Backend, seed: int = seed, profile: KernelProfile = profile) -> Block:
            return random_block(Random(seed), backend, profile)

        native = outcome(path, make, "native", **setup)
        assert native == outcome(path, make, "interpreter", **setup)
        assert native[0][0][0] >= 59
        assert (native[2] is None) == (kind not in ("cut", "damaged", "pcapng, damaged"))


def test_more_rows_and_classes_than_fit_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "ROWS", 1000)
    count = CLASS_LIMIT + 500
    packets = [(n, b"", n + 1) for n in range(count)] + [(count, b"", 5)]
    path = tmp_path / "many.pcap"
    path.write_bytes(pcap(packets))
    block = Block(ProgramTable())
    add(block, 1, LENGTH)
    batches: list[Batch] = []
    results = run([str(path)], Setup(lambda link: block, at_ingress=False), on_batch=batches.append)
    assert [len(batch.packet) for batch in batches[:-1]] == [1000] * (count // 1000)
    assert [int(n) for batch in batches for n in batch.packet] == list(range(count + 1))
    assert [int(n) for batch in batches for n in batch.classid] == [*range(1, count + 1), 5]
    expected = {n: (1, n) for n in range(1, count + 1)} | {5: (2, 10)}
    assert {each.classid: (each.packets, each.bytes) for each in results.classes} == expected


def test_a_batch_with_data_shows_the_packets_bytes(tmp_path: Path) -> None:
    packets = [(n, bytes([n % 251]) * (n % 1500), n % 1500) for n in range(3000)]
    path = tmp_path / "data.pcap"
    path.write_bytes(pcap(packets))
    block = Block(ProgramTable())
    add(block, 1, MATCH_ALL)
    seen: list[bytes] = []

    def look(batch: Batch) -> None:
        assert batch.data is not None
        for offset, captured in zip(batch.offset, batch.captured, strict=True):
            seen.append(bytes(batch.data[offset : offset + captured]))

    run([str(path)], Setup(lambda link: block, at_ingress=False), on_batch=look, with_data=True)
    assert seen == [data for _, data, _ in packets]


@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_a_changed_filter_is_taken_up(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "long.pcap"
    path.write_bytes(pcap([(n, bytes(1400), 1400) for n in range(2000)]))
    block = Block(ProgramTable(backend=Backend.INTERPRETER))
    add(block, 1, MATCH_ALL, classid=0x10001)

    def change(progress: Progress) -> None:
        first = block.get_chain(0).find(1)
        if first is not None:
            add(block, 9, MATCH_ALL, classid=0x10009)
            block.get_chain(0).remove(first)

    results = run([str(path)], Setup(lambda link: block), backend=backend, progress=change)
    first, second = results.filters
    assert (first.pref, second.pref) == (1, 9)
    assert first.packets > 0
    assert second.packets > 0
    assert first.packets + second.packets == results.packets == 2000
    assert [each.classid for each in results.classes] == [0x10001, 0x10009]


def test_a_replaced_filter_is_never_missing(tmp_path: Path) -> None:
    """While filters are replaced from another thread, each packet meets the old or the new one."""
    path = tmp_path / "busy.pcap"
    path.write_bytes(pcap([(n, bytes(60), 60) for n in range(4000)]))
    block = Block(ProgramTable(backend=Backend.INTERPRETER))
    add(block, 1, MATCH_ALL, classid=0x10001)
    classifier = block.get_chain(0).find(1)
    assert classifier is not None
    stop = threading.Event()

    def replace() -> None:
        ops = ops_of(MATCH_ALL)
        minor = 0
        while not stop.is_set():
            minor = minor % 5 + 1
            options = BpfOptions(ops=ops, ops_len=len(ops) // 8, classid=0x10000 | minor)
            classifier.change(options, 1, classifier.get(1))

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        results = [run([str(path)], Setup(lambda link: block), backend=b) for b in ("native", "interpreter")]
    finally:
        stop.set()
        thread.join()
    for each in results:
        assert each.packets == 4000
        assert each.undecided == 0


def test_several_captures_one_of_them_damaged(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.pcap", tmp_path / "cut.pcap"
    data = pcap([(n, bytes(60), 60) for n in range(10)])
    whole.write_bytes(data)
    cut.write_bytes(data[:-1])
    block = Block(ProgramTable())
    add(block, 1, MATCH_ALL)
    with pytest.raises(IncompleteRun) as caught:
        run([str(cut), str(tmp_path / "none.pcap"), str(whole)], Setup(lambda link: block))
    assert caught.value.results.packets == 19
    assert [str(error).split(":")[0] for error in caught.value.errors] == [
        str(cut),
        str(tmp_path / "none.pcap"),
    ]


def test_no_capture_at_all(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"none\.pcap: cannot be opened") as caught:
        run([str(tmp_path / "none.pcap")], Setup(lambda link: Block(ProgramTable())))
    assert not isinstance(caught.value, IncompleteRun)


def test_skip_sw_never_runs(tmp_path: Path) -> None:
    path = tmp_path / "one.pcap"
    path.write_bytes(pcap([(0, bytes(60), 60)]))
    block = Block(ProgramTable(), driver=Driver())
    add(block, 1, MATCH_ALL, flags_gen=SKIP_SW)
    add(block, 2, MATCH_ALL, flags_gen=SKIP_SW, flags=DIRECT)
    add(block, 3, MATCH_ALL)
    results = run([str(path)], Setup(lambda link: block))
    assert [each.packets for each in results.filters] == [0, 0, 1]
