"""How fast are map operations in programs, compiled here and in the kernel?

    python bench/map_operations.py [--rounds N] [--json FILE] [NAME ...]

A program does one operation 64 times over, each time with another key (a linear congruential generator,
whose state is kept in the packet's cb from run to run), here and in the kernel (BPF_PROG_TEST_RUN, as root),
on maps with the same contents.  First both run the same number of times, and return values and what is in
the maps must be equal.  Then they take turns; of each the fastest round counts.

The figure is the time of one operation, the program around it included.
"""

from __future__ import annotations

import argparse
import json
import math
import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench"), str(ROOT / "src")]

from clsbpf.api import make_skb  # noqa: E402
from clsbpf.bpf.asm import assemble  # noqa: E402
from clsbpf.bpf.maps import PERCPU_TYPES, MapFlag, MapType  # noqa: E402
from clsbpf.bpf.spec import MapSpec, ObjectSpec, ProgramSpec  # noqa: E402
from clsbpf.kernel.bpf import prog_test_run  # noqa: E402
from clsbpf.kernel.loader import load  # noqa: E402
from clsbpf.kernel.maps import possible_cpus  # noqa: E402
from clsbpf.verifier.verify import verify  # noqa: E402
from clsbpf.vm.environment import Environment  # noqa: E402
from clsbpf.vm.link import link  # noqa: E402
from clsbpf.vm.maps.map import Map  # noqa: E402
from clsbpf.vm.native_program import native_of  # noqa: E402
from kernel_story import context_bytes, kernel_elements, on_one_cpu  # noqa: E402
from our_story import pairs  # noqa: E402

TIMES = 64
REPEAT = 5_000
CHECKED = 50
TARGET = 1.3
"""The geometric mean of the ratios may be so much."""
PACKET = bytes(64)


@dataclass(frozen=True)
class Work:
    """One operation: how the key is made of a number in r1 (16 random bits), and the operation itself.

    `keys` are in the map from the start.
    """

    name: str
    map: MapSpec
    keys: tuple[bytes, ...]
    operation: str
    mask: int
    shift: int = 0


LOOKUP = """
    r1 = map[fd:0]
    r2 = r10
    r2 += -16
    call 1
    if r0 == 0 goto missed
    r1 = *(u64 *)(r0 +0)
    r9 += r1
  missed:
"""
COUNT = """
    r1 = map[fd:0]
    r2 = r10
    r2 += -16
    call 1
    if r0 == 0 goto missed
    r1 = *(u64 *)(r0 +0)
    r1 += 1
    *(u64 *)(r0 +0) = r1
  missed:
"""
UPDATE = """
    *(u64 *)(r10 -24) = r8
    r1 = map[fd:0]
    r2 = r10
    r2 += -16
    r3 = r10
    r3 += -24
    r4 = 0
    call 2
    r9 += r0
"""
INSERT_AND_DELETE = (
    UPDATE
    + """
    r1 = map[fd:0]
    r2 = r10
    r2 += -16
    call 3
    r9 += r0
"""
)


def u32(number: int) -> bytes:
    return struct.pack("=I", number)


def keys(count: int, size: int) -> tuple[bytes, ...]:
    return tuple(u32(number) + bytes(size - 4) for number in range(count))


def prefixes(count: int) -> tuple[bytes, ...]:
    """10.0.0.0/8, and so many networks of 24 bits within, every fourth with a host of its own."""
    found = [u32(8) + bytes((10, 0, 0, 0))]
    for number in range(count):
        net = bytes((10, *divmod(number, 256)))
        found.append(u32(24) + net + bytes(1))
        if number % 4 == 0:
            found.append(u32(32) + net + b"\x07")
    return tuple(found)


def spec(type: MapType, key: int, entries: int, flags: int = 0) -> MapSpec:
    return MapSpec("map", type, key, 8, entries, flags)


WORKS: tuple[Work, ...] = (
    Work("array lookup", spec(MapType.ARRAY, 4, 4096), keys(4096, 4), LOOKUP, 0xFFF),
    Work("array update", spec(MapType.ARRAY, 4, 4096), keys(4096, 4), UPDATE, 0xFFF),
    Work("per-CPU array count", spec(MapType.PERCPU_ARRAY, 4, 4096), keys(4096, 4), COUNT, 0xFFF),
    Work("hash lookup, 4-byte key", spec(MapType.HASH, 4, 4096), keys(4096, 4), LOOKUP, 0xFFF),
    Work("hash lookup, 16-byte key", spec(MapType.HASH, 16, 4096), keys(4096, 16), LOOKUP, 0xFFF),
    Work("hash lookup, 65,536 keys", spec(MapType.HASH, 8, 65536), keys(65536, 8), LOOKUP, 0xFFFF),
    Work("hash lookup, half missing", spec(MapType.HASH, 8, 4096), keys(2048, 8), LOOKUP, 0xFFF),
    Work("hash update", spec(MapType.HASH, 8, 4096), keys(4096, 8), UPDATE, 0xFFF),
    Work("hash insert and delete", spec(MapType.HASH, 8, 4096), (), INSERT_AND_DELETE, 0xFFF),
    Work(
        "hash insert and delete, no prealloc",
        *(spec(MapType.HASH, 8, 4096, MapFlag.NO_PREALLOC), (), INSERT_AND_DELETE, 0xFFF),
    ),
    Work("per-CPU hash count", spec(MapType.PERCPU_HASH, 8, 4096), keys(4096, 8), COUNT, 0xFFF),
    Work("per-CPU hash update", spec(MapType.PERCPU_HASH, 8, 4096), keys(4096, 8), UPDATE, 0xFFF),
    Work("LRU lookup", spec(MapType.LRU_HASH, 8, 8192), keys(4096, 8), LOOKUP, 0xFFF),
    Work("LRU update", spec(MapType.LRU_HASH, 8, 8192), keys(4096, 8), UPDATE, 0xFFF),
    Work("LRU insert, oldest evicted", spec(MapType.LRU_HASH, 8, 4096), (), UPDATE, 0xFFFF),
    Work("per-CPU LRU count", spec(MapType.LRU_PERCPU_HASH, 8, 8192), keys(4096, 8), COUNT, 0xFFF),
    Work(
        "LPM lookup, 1,250 prefixes",
        *(spec(MapType.LPM_TRIE, 8, 65536, MapFlag.NO_PREALLOC), prefixes(1000), LOOKUP, 0x3FF, 1),
    ),
    Work(
        "LPM lookup, 20,000 prefixes",
        *(spec(MapType.LPM_TRIE, 8, 65536, MapFlag.NO_PREALLOC), prefixes(16384), LOOKUP, 0x3FFF, 1),
    ),
    Work(
        "LPM update, 1,250 prefixes",
        *(spec(MapType.LPM_TRIE, 8, 65536, MapFlag.NO_PREALLOC), prefixes(1000), UPDATE, 0x3FF, 1),
    ),
)


def program_text(work: Work) -> str:
    """The program: the operation, `TIMES` times."""
    if work.shift:  # a key of a trie: 32 bits of prefix, 10.HIGH.LOW.7
        key = """
        *(u32 *)(r10 -16) = 32
        *(u8 *)(r10 -12) = 10
        r2 = r1
        r2 >>= 8
        *(u8 *)(r10 -11) = r2
        *(u8 *)(r10 -10) = r1
        *(u8 *)(r10 -9) = 7
        """
    else:
        key = "*(u32 *)(r10 -16) = r1"
    return f"""
        r6 = r1
        r7 = {TIMES}
        r9 = 0
        *(u64 *)(r10 -8) = 0
        *(u64 *)(r10 -16) = 0
        r8 = *(u32 *)(r6 +48)
      again:
        w8 *= 1664525
        w8 += 1013904223
        r1 = r8
        r1 >>= 16
        r1 &= {work.mask}
        {key}
        {work.operation}
        r7 += -1
        if r7 != 0 goto again
        *(u32 *)(r6 +48) = r8
        r0 = r9
        exit
    """


@dataclass(frozen=True)
class Figure:
    """One operation: nanoseconds."""

    name: str
    kernel: float
    ours: float

    @property
    def ratio(self) -> float:
        return self.ours / self.kernel


def measure(work: Work, rounds: int) -> Figure:
    """Results first; then times."""
    program = ProgramSpec("work", insns=assemble(program_text(work)), license="GPL", maps={0: work.map})
    whole = ObjectSpec("work", programs={"work": program}, maps={"map": work.map})
    value = struct.pack("=Q", 3)
    many = value * possible_cpus() if work.map.type in PERCPU_TYPES else value
    contents: Mapping[str, Mapping[bytes, bytes]] = {"map": dict.fromkeys(work.keys, many)}
    map = Map(work.map, cpus=possible_cpus())
    for key in work.keys:
        map.update(key, many)
    native = native_of(link(program, {"map": map}, verify(program)))
    environment = Environment()
    skb = make_skb(PACKET, {})
    context = context_bytes({})
    with on_one_cpu(), load(whole, contents=contents) as loaded:
        fd = loaded.programs["work"]
        for _ in range(CHECKED):
            theirs = prog_test_run(fd, PACKET, context=context)
            context = theirs.context[: len(context)]
            assert native.run(skb, environment) == theirs.retval, work.name
            assert skb.cb[0] == struct.unpack_from("=I", context, 48)[0], work.name
        assert pairs(map) == kernel_elements(work.map, loaded.maps["map"]), work.name
        best = [math.inf, math.inf]
        for _ in range(rounds):
            best[0] = min(best[0], prog_test_run(fd, PACKET, context=context, repeat=REPEAT).duration_ns)
            best[1] = min(best[1], native.test_run(environment, skb, REPEAT)[1])
    return Figure(work.name, best[0] / TIMES, best[1] / TIMES)


def measured(names: list[str], rounds: int) -> Iterator[Figure]:
    for work in WORKS:
        if not names or any(name in work.name for name in names):
            yield measure(work, rounds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="only operations whose name contains one of these")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print("| operation | kernel, ns | clsbpf, ns | ratio |\n|-|-|-|-|")
    figures = []
    for figure in measured(options.names, options.rounds):
        figures.append(figure)
        print(f"| {figure.name} | {figure.kernel:.1f} | {figure.ours:.1f} | {figure.ratio:.2f} |", flush=True)
    mean = math.exp(sum(math.log(figure.ratio) for figure in figures) / len(figures))
    print(f"\ngeometric mean {mean:.2f} (at most {TARGET})")
    if options.json:
        options.json.write_text(
            json.dumps({each.name: [each.kernel, each.ours] for each in figures} | {"mean": mean}, indent=1)
        )
    return 0 if mean <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
