"""One program, interpreted and compiled: on the same packets, each with maps of its own.

What may not be compared is what depends on addresses: a program may return or store one.  Such a program is
told by the interpreter itself, which does not agree with a second run of its own elsewhere in memory.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random

from clsbpf.bpf.maps import MapType
from clsbpf.bpf.spec import ProgramSpec
from clsbpf.errors import ProgramFault
from clsbpf.skb import Skb
from clsbpf.verifier.program import VerifiedProgram
from clsbpf.vm.environment import Environment
from clsbpf.vm.interp import run
from clsbpf.vm.link import LinkedProgram, link
from clsbpf.vm.maps.map import Map
from clsbpf.vm.maps.perf import PerfBuffer
from clsbpf.vm.native_program import native_of
from our_story import pairs, records, samples

CPUS = 2
STEPS = 1 << 18
FILLED = frozenset(
    {MapType.HASH, MapType.ARRAY, MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_HASH}
    | {MapType.LRU_PERCPU_HASH}
)


class TooLong(Exception):
    """The interpreter gave up: nothing can be said."""


@dataclass(frozen=True)
class After:
    """What the packets came to: of each r0, its bytes and metadata; in the end the maps, random numbers."""

    packets: tuple[object, ...]
    maps: tuple[object, ...]
    random: int


Execute = Callable[[LinkedProgram, Skb, Environment], int]


def interpreted(linked: LinkedProgram, skb: Skb, environment: Environment) -> int:
    try:
        return run(linked, skb, environment=environment, step_limit=STEPS)
    except ProgramFault as fault:
        if "still running" in str(fault):
            raise TooLong from None
        raise


def compiled(linked: LinkedProgram, skb: Skb, environment: Environment) -> int:
    return native_of(linked).run(skb, environment)


def after(
    spec: ProgramSpec, verified: VerifiedProgram, packets: Sequence[bytes], seed: int, execute: Execute
) -> After:
    """Run the program on all packets, with maps that are filled halfway."""
    maps = {each.name: Map(each, cpus=CPUS) for each in spec.maps.values()}
    linked = link(spec, maps, verified)
    readers = {}
    for each in maps.values():
        if each.spec.type == MapType.PROG_ARRAY:
            each.put(bytes(4), linked)
        elif each.spec.type == MapType.PERF_EVENT_ARRAY:
            readers[each] = PerfBuffer(1 << 16)
            each.put(bytes(4), readers[each])
    random = Random(seed)
    environment = Environment(seed=seed, ktime_ns=1_000_000_007)
    found: list[object] = []
    for number, packet in enumerate(packets):
        if number == len(packets) // 2:
            fill(maps.values(), random)
        skb = Skb.from_frame(packet)
        result = execute(linked, skb, environment)
        fields = tuple(getattr(skb, name) for name in Skb.__slots__ if name not in ("buffer", "cb"))
        found.append((result, skb.packet, fields, tuple(skb.cb)))
    elements = [list(samples(readers[each])) if each in readers else contents(each) for each in maps.values()]
    return After(tuple(found), tuple(map(repr, elements)), environment.native.random)


def contents(map: Map) -> object:
    """What is in a map."""
    match map.spec.type:
        case MapType.RINGBUF:
            return list(records(map))
        case MapType.QUEUE | MapType.STACK:
            return list(map.waiting())
        case MapType.PROG_ARRAY | MapType.CGROUP_ARRAY | MapType.BLOOM_FILTER | MapType.SK_STORAGE:
            return None
        case MapType.ARRAY_OF_MAPS | MapType.HASH_OF_MAPS | MapType.TASK_STORAGE | MapType.CGRP_STORAGE:
            return None
        case _:
            return pairs(map)


def fill(maps: Iterable[Map], random: Random) -> None:
    """Some elements in every map that takes bytes."""
    for each in maps:
        if each.spec.type in FILLED:
            for number in range(6):
                key = number.to_bytes(max(each.spec.key_size, 1), "little")[: each.spec.key_size]
                if each.spec.type not in (MapType.ARRAY, MapType.PERCPU_ARRAY) or number < each.max_entries:
                    each.update(key, random.randbytes(each.value_bytes))


def difference(
    spec: ProgramSpec, verified: VerifiedProgram, packets: Sequence[bytes], seed: int = 1
) -> tuple[After, After] | None:
    """What the interpreter and machine code disagree on; None where they agree or cannot be compared."""
    try:
        expected = after(spec, verified, packets, seed, interpreted)
        found = after(spec, verified, packets, seed, compiled)
        if found == expected:
            return None
        elsewhere = [ctypes.create_string_buffer(size) for size in (16, 48, 512, 1 << 12, 1 << 17) * 3]
        again = after(spec, verified, packets, seed, interpreted)
        del elsewhere
    except TooLong:
        return None
    return None if again != expected else (expected, found)
