"""Random policies of everything that a plan takes: programs, actions, chains, trees of qdiscs."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from clsbpf.api import Engine
from clsbpf.bpf.maps import MapType
from clsbpf.tc.qdiscs.qdisc import Qdisc
from clsbpf.vm.link import LinkedProgram
from clsbpf.vm.maps.map import Map
from clsbpf.vm.native_memory import maps_of

BUILT = Path(__file__).parents[1] / "examples" / "programs" / "build" / "O2"
OBJECTS = (
    "vlan.o", "nat.o", "accounting.o", "metadata.o", "direct.o", "firewall.o", "resize.o", "encap.o",
    "dispatch.o", "mirror.o", "sampler.o", "ratelimit.o", "seen.o", "ports.o", "checksums.o",
)  # fmt: skip
ACCEPT = "6 0 0 4294967295,6 0 0 0"
CLASSIC = (
    "1,6 0 0 4294967295",
    f"4,40 0 0 12,21 0 1 2048,{ACCEPT}",
    f"4,40 0 0 12,21 0 1 34525,{ACCEPT}",
    f"4,48 0 0 23,21 0 1 6,{ACCEPT}",
    f"4,48 0 0 23,21 0 1 17,{ACCEPT}",
    f"4,128 0 0 0,37 0 1 200,{ACCEPT}",
    f"4,48 0 0 14,69 0 1 5,{ACCEPT}",
    "2,128 0 0 0,22 0 0 0",  # the length is the classid
    "4,48 0 0 23,21 0 1 17,6 0 0 2,6 0 0 4294967295",
    "4,40 0 0 16,69 0 1 1,6 0 0 4,6 0 0 0",
    "4,32 0 0 4294963220,69 1 0 {0},6 0 0 0,6 0 0 4294967295",  # mark
    f"4,32 0 0 4294963256,37 0 1 2147483648,{ACCEPT}",  # random numbers
    f"4,40 0 0 60,69 0 1 1,{ACCEPT}",
    "4,48 0 0 23,21 0 1 6,6 0 0 {1},6 0 0 0",  # a classid of its own
)
CONTROLS = ("pass", "drop", "continue", "pipe", "reclassify", "trap", "goto chain {}", "jump {}")
IN_PYTHON = (
    "vlan push id 5",
    "vlan pop",
    "pedit ex munge ip ttl set 7",
    "csum ip",
    "skbmod swap mac",
    "simple sdata hello",
    "sample rate 3 group 5",
    "mirred egress mirror dev v1",
    "mirred ingress mirror dev v1",
)


@functools.cache
def sections() -> list[str]:
    """The objects' programs, as tc names them."""
    from clsbpf.objfile import read_object
    from clsbpf.vm.helpers import KFUNCS

    return [
        f"object-file {BUILT / name} section {each.section} program {each.name}"
        for name in OBJECTS
        for each in read_object(str(BUILT / name), kfuncs=KFUNCS).programs.values()
        if each.type == "sched_cls"
    ]


def control(random: Random, *, last: bool) -> str:
    kind = random.choice(CONTROLS if last or random.random() < 0.3 else ("pipe", "continue", "jump {}"))
    return kind.format(random.randrange(1, 4))


def gact(random: Random, *, last: bool) -> str:
    text = f"gact {control(random, last=last)}"
    if random.random() < 0.3:
        other = random.choice(("pass", "drop", "pipe", "continue", "reclassify", "jump 2"))
        text += f" random {random.choice(('determ', 'netrand'))} {other} {random.choice((1, 2, 3, 10000))}"
    return text


def skbedit(random: Random, *, last: bool) -> str:
    edits = [
        f"mark {random.randrange(8)}" + random.choice(("", "/0x3")),
        f"priority {random.choice(('1:', '2:', ''))}{random.randrange(9)}",
        f"queue_mapping {random.randrange(9)}",
        f"ptype {random.choice(('host', 'multicast', 'otherhost'))}",
        "inheritdsfield",
    ]
    return f"skbedit {' '.join(random.sample(edits, random.randrange(1, 4)))} {control(random, last=last)}"


def police(random: Random, *, last: bool) -> str:
    rate = random.choice(("8kbit", "1mbit", "100mbit"))
    limits = random.choice(
        (
            f"pkts_rate {random.choice((1, 100, 5000))} pkts_burst {random.choice((1, 10))}",
            f"rate {rate} burst 9k peakrate 2mbit mtu {random.choice((300, 900, 2000))}",
            f"rate {rate} burst 20k overhead 24 linklayer {random.choice(('atm', 'ethernet'))}",
            f"mtu {random.choice((60, 90, 1500))}",
            f"rate {rate} burst {random.choice(('1k', '3k', '100k'))}",
        )
    )
    exceed = random.choice(("drop", "pass", "pipe", "reclassify", "continue"))
    return f"police {limits} conform-exceed {exceed}/{random.choice(('pipe', 'pass', 'drop'))}"


def in_python(random: Random, *, last: bool) -> str:
    if last and random.random() < 0.3:
        return f"mirred egress redirect dev {random.choice(('v1', 'v9', 'v0'))}"
    return f"{random.choice(IN_PYTHON)} {random.choice(('pipe', 'continue', 'pass')) if last else 'pipe'}"


def actions(random: Random, kinds: list[Any]) -> str:
    count = random.choice((0, 0, 1, 1, 2, 3)) if kinds else 0
    words = [random.choice(kinds)(random, last=number == count - 1) for number in range(count)]
    return "".join(f" action {each}" for each in words)


def program(random: Random, classids: list[str], extended: float) -> str:
    """A filter's program and flags; with direct action no actions come behind it."""
    if random.random() < extended:
        text = f"bpf {random.choice(sections())}"
    else:
        own = random.choice((0x10002, 0x10001, 5, 0x20001))
        bytecode = random.choice(CLASSIC).format(random.choice((1, 6)), own)
        text = f"bpf bytecode '{bytecode}'"
    if random.random() < 0.75:
        text += f" flowid {random.choice(classids)}"
    if random.random() < 0.1:
        text += " skip_hw"
    return text + (" direct-action" if random.random() < (0.5 if "object" in text else 0.15) else "")


PROTOCOLS = ("all", "ip", "all", "ipv6", "802.1q", "all")


def filters(
    random: Random, place: str, count: int, classids: list[str], *, extended: float, kinds: list[Any]
) -> Iterator[str]:
    for _ in range(count):
        prio = random.randrange(1, 7)
        chain = random.choice((0, 0, 0, 1, 2, 3))
        words = f"filter add dev v0 {place} chain {chain} pref {prio} protocol {PROTOCOLS[prio - 1]} "
        words += program(random, classids, extended)
        yield words if "direct-action" in words else words + actions(random, kinds)


TBF = (
    "tbf rate 1mbit burst 500 limit 9k",
    "tbf rate 1mbit burst 2k limit 100",
    "tbf rate 1mbit burst 90 limit 1k",
)
FLOWS = ("codel", "fq_codel flows 7", "sfq")


def tree(random: Random, *, extended: float, kinds: list[Any]) -> Iterator[str]:
    """A root qdisc with classes, qdiscs in them, and filters on both."""
    stab = random.choice(("", "", "", "stab overhead 24 linklayer atm mtu 2000", "stab overhead -10"))
    pending = [("root", 1, 0)]
    handle = 1
    while pending:
        parent, major, depth = pending.pop()
        head = f"qdisc add dev v0 {parent} handle {major:x}: {stab if parent == 'root' else ''}"
        leaves: list[str] = []
        if random.random() < 0.35:
            bands = random.randrange(2, 6)
            priomap = " ".join(str(random.randrange(bands)) for _ in range(16))
            yield f"{head} prio bands {bands} priomap {priomap}"
            leaves = [f"{major:x}:{band:x}" for band in range(1, bands + 1)]
            parents = [f"{major:x}:"]
            classids = [*leaves, "7:2", f"{major:x}:9"]
        else:
            default = random.choice(("", "default 1", "default 4", "default 99"))
            yield f"{head} htb {default} {random.choice(('', '', 'direct_qlen 0'))}"
            above = {minor: random.randrange(minor) for minor in range(1, random.randrange(2, 9))}
            for minor, owner in above.items():
                yield (
                    f"class add dev v0 parent {major:x}:{owner or ''} classid {major:x}:{minor:x}"
                    " htb rate 8gbit quantum 2000"
                )
            leaves = [f"{major:x}:{minor:x}" for minor in above if minor not in above.values()]
            parents = [f"{major:x}:", *(f"{major:x}:{minor:x}" for minor in above)]
            classids = [*parents, *parents[1:], f"{major:x}:77", "9:1"]
        for leaf in leaves:
            kind = random.random()
            if kind < 0.15 and depth < 2:
                handle += 1
                pending.append((f"parent {leaf}", handle, depth + 1))
            elif kind < 0.3:
                handle += 1
                queue = random.choice(
                    ("pfifo limit 0", "bfifo limit 100", "pfifo_fast", "pfifo limit 9", *FLOWS, *TBF)
                )
                yield f"qdisc add dev v0 parent {leaf} handle {handle:x}: {queue}"
        for each in parents:
            few = random.choice((0, 1, 2, 3) if each.endswith(":") else (0, 0, 1, 2))
            yield from filters(random, f"parent {each}", few, classids, extended=extended, kinds=kinds)


def policy(random: Random, hook: str, profile: str = "current") -> list[str]:
    """A policy for v0; v1 has filters of its own, v9 goes before packets come.  (4.13 takes few objects.)"""
    kinds = random.choice(([], [gact], [gact, skbedit], [gact, skbedit, police], None))
    if kinds is None:
        kinds = [gact, skbedit, police, in_python, in_python]
    extended = random.choice((0, 0, 0.3, 1)) if profile == "current" else 0.0
    lines = [
        "qdisc add dev v1 clsact",
        "filter add dev v1 egress bpf bytecode '4,48 0 0 0,69 0 1 1,6 0 0 4294967295,6 0 0 0'"
        " action police rate 1mbit burst 9k conform-exceed drop",
        "filter add dev v1 ingress bpf bytecode '1,6 0 0 4294967295' action gact drop random netrand pass 3",
    ]
    below = hook == "egress" and random.random() < 0.7
    if not below or random.random() < 0.5:
        lines.append("qdisc add dev v0 clsact")
        classids = [f"1:{minor:x}" for minor in range(1, 6)]
        count = random.choice((1, 3, 8, 14))
        lines += filters(random, hook, count, classids, extended=extended, kinds=kinds)
    if below:
        lines += tree(random, extended=extended, kinds=kinds)
    return lines


def engine_of(lines: list[str], backend: str, profile: str = "current") -> Engine:
    engine = Engine(backend=backend, profile=profile)
    for name in ("v0", "v1", "v9"):
        engine.add_device(name)
    for line in lines:
        engine.tc(line)
    del engine._network._devices[4]
    return engine


KEYLESS = (MapType.QUEUE, MapType.STACK, MapType.BLOOM_FILTER, MapType.RINGBUF, MapType.PERF_EVENT_ARRAY)


def contents(map: Map) -> dict[bytes, object]:
    """What is in a map, as far as it has keys; a program by its name."""
    if map.spec.type in KEYLESS:
        return {}
    found: dict[bytes, object] = {}
    for key in map.walk():
        value = map.get(key)
        found[bytes(key)] = value.name if isinstance(value, LinkedProgram) else repr(value)
    return found


def left_behind(engine: Engine) -> Any:
    """All that packets changed: qdiscs and classes, actions and their clock, maps, random numbers."""
    around = engine._network.actions.around
    device = engine._network.device("v0")
    assert device is not None
    memories = [
        (kind, action.index, bytes(action.memory))
        for kind, table in engine._network.actions.tables.items()
        for action in table
    ]
    maps = [
        (linked.name, sorted((each.name, sorted(contents(each).items())) for each in maps_of(linked)))
        for linked in programs_of(engine)
    ]
    counted = [
        (qdisc.kind, str(qdisc.stats), getattr(qdisc, "direct_packets", 0))
        for qdisc in device.qdiscs()
        if isinstance(qdisc, Qdisc)
    ]
    rows = engine.tc("-s class show dev v0")
    clock = around.clock.now() if memories else 0  # nobody looks at it but actions
    randoms = around.random.state, engine._programs.environment.native.random
    return memories, maps, counted, rows, clock, randoms


def programs_of(engine: Engine) -> list[LinkedProgram]:
    """The eBPF programs of v0's filters."""
    device = engine._network.device("v0")
    assert device is not None
    found = []
    for qdisc in device.qdiscs():
        for block in qdisc.blocks:
            for _, chain in sorted(block.chains.items()):
                for classifier in chain.classifiers:
                    programs = [getattr(each.program, "linked", None) for each in classifier]
                    found += [each for each in programs if each is not None]
    return found
