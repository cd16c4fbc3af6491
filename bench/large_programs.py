"""Programs larger, or busier, than those of examples/programs: written out for bench/test_run.py.

- `rules`: 400 rules of addresses, protocol and ports, one after the other (some 5,000 instructions).
- `automaton`: every byte of the packet through a table of 32 states.
- `sketch`: a count-min sketch: four hashes of the flow, four counters, the least of them.
- `sum`: the Internet checksum of the packet, two bytes at a time.
- `pipeline`: a trie of sources, a table of flows, an LRU of talkers, counters of this CPU.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from random import Random

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.maps import MapFlag, MapType
from clsbpf.bpf.spec import MapSpec, ObjectSpec, ProgramSpec
from program_cases import Case, u32
from program_traffic import address

RULES = 400
STATES = 32
STEPS = 600
ROW = 4096

BEGIN = """
    r6 = r1
    r7 = *(u32 *)(r6 +76)
    r8 = *(u32 *)(r6 +80)
    r1 = r7
    r1 += 54
    if r1 > r8 goto out
    w2 = *(u16 *)(r7 +12)
    if w2 != 8 goto out
"""
"""An IPv4 packet with 20 bytes behind its header; r7 is where it begins, r8 where it ends."""
END = """
  out:
    r0 = 0
    exit
"""


def host(text: str) -> int:
    """An address, or its beginning, as a load gives it."""
    return int.from_bytes(address(text), "little")


def rules() -> str:
    """What passes the tests of a rule gets its number."""
    random = Random(5)
    lines = [BEGIN]
    for number in range(1, RULES + 1):
        source = random.choice(("10.0", "192.168", f"172.{number % 256}"))
        target = f"10.{random.randrange(2)}.{random.randrange(4)}.0"
        low = random.randrange(1, 60000)
        other = f"goto n{number}"
        lines += ["w1 = *(u16 *)(r7 +26)", f"if w1 != {host(source)} {other}"]
        lines += ["w1 = *(u32 *)(r7 +30)", f"w1 &= {host('255.255.255')}", f"if w1 != {host(target)} {other}"]
        lines += ["w1 = *(u8 *)(r7 +23)", f"if w1 != {random.choice((6, 17))} {other}"]
        lines += ["w1 = *(u16 *)(r7 +36)", "r1 = be16 r1", f"if w1 < {low} {other}"]
        lines += [f"if w1 > {low + 40} {other}", f"r0 = {number}", "exit", f"n{number}:"]
    return "\n".join([*lines, END])


AUTOMATON = f"""
    r6 = r1
    r7 = *(u32 *)(r6 +76)
    r8 = *(u32 *)(r6 +80)
    r2 = 0
    r3 = 0
  again:
    r4 = r7
    r4 += r2
    r5 = r4
    r5 += 1
    if r5 > r8 goto done
    r5 = *(u8 *)(r4 +0)
    r3 <<= 8
    r3 |= r5
    r3 &= {STATES * 256 - 1}
    r1 = map[fd:0][0]+0
    r1 += r3
    r3 = *(u8 *)(r1 +0)
    r3 &= {STATES - 1}
    r2 += 1
    if r2 != {STEPS} goto again
  done:
    r0 = r3
    exit
"""


def sketch() -> str:
    """murmur's mixing of the flow's words, a row for each seed."""
    lines = [BEGIN, "w9 = -1"]
    for row in range(4):
        lines.append(f"w1 = {row * 0x3C6EF35F & 0x7FFFFFFF}")
        for offset, size in ((26, "u32"), (30, "u32"), (34, "u32"), (23, "u8")):
            lines += [f"w2 = *({size} *)(r7 +{offset})", "w2 *= -862048943", "w3 = w2", "w3 <<= 15"]
            lines += ["w2 >>= 17", "w2 |= w3", "w2 *= 461845907", "w1 ^= w2"]
            lines += ["w3 = w1", "w3 <<= 13", "w1 >>= 19", "w1 |= w3", "w1 *= 5", "w1 += -430675100"]
        lines += ["w2 = w1", "w2 >>= 16", "w1 ^= w2", f"w1 &= {ROW - 1}", "r1 <<= 2"]
        lines += [f"r2 = map[fd:0][0]+{row * ROW * 4}", "r2 += r1", "r3 = 1"]
        lines += ["lock *(u32 *)(r2 +0) += r3", "w3 = *(u32 *)(r2 +0)"]
        lines += [f"if w3 >= w9 goto k{row}", "w9 = w3", f"k{row}:"]
    return "\n".join([*lines, "w0 = w9", "exit", END])


SUM = """
    r6 = r1
    r7 = *(u32 *)(r6 +76)
    r8 = *(u32 *)(r6 +80)
    r2 = 0
    r0 = 0
  again:
    r4 = r7
    r4 += r2
    r5 = r4
    r5 += 2
    if r5 > r8 goto done
    r5 = *(u16 *)(r4 +0)
    r0 += r5
    r2 += 2
    if r2 != 1200 goto again
  done:
    r1 = r0
    r1 >>= 16
    r0 &= 65535
    r0 += r1
    r1 = r0
    r1 >>= 16
    r0 += r1
    r0 &= 65535
    exit
"""

PIPELINE = f"""
    {BEGIN}
    r9 = 0
    w1 = *(u32 *)(r7 +26)
    *(u32 *)(r10 -4) = r1
    *(u32 *)(r10 -8) = 32
    r1 = map[fd:0]
    r2 = r10
    r2 += -8
    call 1
    if r0 == 0 goto flow
    w9 = *(u32 *)(r0 +0)
  flow:
    w1 = *(u32 *)(r7 +26)
    *(u32 *)(r10 -24) = r1
    w1 = *(u32 *)(r7 +30)
    *(u32 *)(r10 -20) = r1
    w1 = *(u32 *)(r7 +34)
    *(u32 *)(r10 -16) = r1
    w1 = *(u8 *)(r7 +23)
    *(u32 *)(r10 -12) = r1
    r1 = map[fd:1]
    r2 = r10
    r2 += -24
    call 1
    if r0 == 0 goto fresh
    r1 = *(u64 *)(r0 +0)
    r1 += 1
    *(u64 *)(r0 +0) = r1
    goto talker
  fresh:
    *(u64 *)(r10 -32) = 1
    r1 = map[fd:1]
    r2 = r10
    r2 += -24
    r3 = r10
    r3 += -32
    r4 = 0
    call 2
  talker:
    r1 = map[fd:2]
    r2 = r10
    r2 += -24
    call 1
    if r0 == 0 goto newcomer
    r1 = *(u64 *)(r0 +0)
    r1 += 1
    *(u64 *)(r0 +0) = r1
    goto count
  newcomer:
    *(u64 *)(r10 -32) = 1
    r1 = map[fd:2]
    r2 = r10
    r2 += -24
    r3 = r10
    r3 += -32
    r4 = 0
    call 2
  count:
    w1 = w9
    w1 &= 15
    *(u32 *)(r10 -36) = r1
    r1 = map[fd:3]
    r2 = r10
    r2 += -36
    call 1
    if r0 == 0 goto out
    r1 = *(u64 *)(r0 +0)
    r1 += 1
    *(u64 *)(r0 +0) = r1
    w1 = *(u32 *)(r6 +0)
    r2 = *(u64 *)(r0 +8)
    r2 += r1
    *(u64 *)(r0 +8) = r2
    r0 = r9
    exit
    {END}
"""


def table() -> bytes:
    """The automaton's: mostly back to the start, as a search for words has it."""
    random = Random(7)
    return bytes(
        random.choice((0, 0, 0, random.randrange(STATES))) for _ in range(STATES) for _ in range(256)
    )


def networks() -> dict[bytes, bytes]:
    random = Random(9)
    found = {u32(8) + address("10.0.0.0"): u32(1), u32(24) + address("10.0.0.0"): u32(2)}
    for number in range(500):
        place = address(f"10.{random.randrange(256)}.{random.randrange(256)}.0")
        found[u32(24) + place] = u32(number)
    return found


def _array(size: int) -> MapSpec:
    return MapSpec("table", MapType.ARRAY, 4, size, 1)


_PIPELINE_MAPS = (
    MapSpec("networks", MapType.LPM_TRIE, 8, 4, 1024, MapFlag.NO_PREALLOC),
    MapSpec("flows", MapType.HASH, 16, 8, 4096),
    MapSpec("talkers", MapType.LRU_HASH, 4, 8, 1024),
    MapSpec("counters", MapType.PERCPU_ARRAY, 4, 16, 16),
)


def large_programs() -> Iterator[tuple[Case, ObjectSpec]]:
    """The programs, each with what is in its maps."""
    parts = (
        ("rules", rules(), (), {}),
        ("automaton", AUTOMATON, (_array(STATES * 256),), {"table": {u32(0): table()}}),
        ("sketch", sketch(), (_array(4 * ROW * 4),), {}),
        ("sum", SUM, (), {}),
        ("pipeline", PIPELINE, _PIPELINE_MAPS, {"networks": networks()}),
    )
    for name, text, maps, contents in parts:
        program = ProgramSpec(name, insns=assemble(text), license="GPL", maps=dict(enumerate(maps)))
        whole = ObjectSpec("large", programs={name: program}, maps={each.name: each for each in maps})
        yield Case("large", name, contents=contents), whole


def large_packet() -> bytes:
    """A TCP segment of 1,400 bytes."""
    ip = (
        struct.pack(">BBHHHBBH", 0x45, 0, 1386, 7, 0x4000, 64, 6, 0)
        + address("10.0.0.1")
        + address("10.0.0.2")
    )
    return bytes(12) + b"\x08\x00" + ip + struct.pack(">HH", 40000, 80) + Random(3).randbytes(1362)
