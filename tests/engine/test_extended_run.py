"""Extended programs in a native run do to each packet, map and device what they do packet by packet."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from clsbpf.api import Engine, FilterText, filters_setup
from clsbpf.engine import index, parallel
from clsbpf.engine.delivery import Delivery
from clsbpf.engine.index_text import IndexText
from clsbpf.engine.planned import planned_filters
from clsbpf.engine.programs import LoadedProgram
from clsbpf.engine.run import run
from clsbpf.link import ETHERNET
from clsbpf.vm.environment import TraceLine
from clsbpf.vm.link import LinkedProgram
from clsbpf.vm.maps.map import Map
from clsbpf.vm.native_memory import maps_of
from run_cases import counts, pcap, pcapng, random_packets

ROOT = Path(__file__).parents[2] / "examples"
OFFICE = ROOT / "office.pcap"
BUILT = ROOT / "programs" / "build" / "O2"

PROGRAMS = (
    "dispatch.o:dispatch",
    "encap.o:encap_vxlan",
    "mirror.o:mirror",
    "resize.o:there_and_back",
    "sockets.o:lookup_tcp",
    "trace.o:trace",
    "meter.o:meter",
    "kernel_context.o:by_probe",
    "vlan.o:vlan_push_two",
)


def contents(map: Map) -> dict[bytes, object]:
    """What is in a map; a program by its name."""
    found: dict[bytes, object] = {}
    for key in map.walk():
        value = map.get(key)
        found[bytes(key)] = value.name if isinstance(value, LinkedProgram) else repr(value)
    return found


def maps(programs: list[LoadedProgram]) -> Any:
    """All maps that programs can reach, by name."""
    reached = {each for program in programs if program.linked is not None for each in maps_of(program.linked)}
    return sorted((each.name, sorted(contents(each).items())) for each in reached)


def one(path: Path, backend: str, program: str, hook: str, *, direct: bool) -> Any:
    traced: list[TraceLine] = []
    sent: list[Delivery] = []
    setup = filters_setup(
        [FilterText("object", str(BUILT / program), direct)],
        profile="current",
        backend=backend,
        hook=hook,
        on_trace=traced.append,
        on_delivery=sent.append,
    )
    assert not setup.in_order
    results = run([str(path)], setup, backend=backend, columns=True)
    filters = list(planned_filters(setup.block(ETHERNET)))
    assert setup.environment is not None
    state = maps([each.program for each in filters]), setup.environment.native.random
    return counts(results), results.to_arrow(), traced, sent, state


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_on_real_traffic(program: str) -> None:
    for hook, direct in (("ingress", True), ("egress", False)):
        native, in_order = (one(OFFICE, each, program, hook, direct=direct) for each in ("native", "jit"))
        assert native == in_order


@pytest.mark.parametrize("program", ["encap.o:encap_gre", "vlan.o:vlan_translate"])
def test_programs_on_hostile_traffic(program: str, tmp_path: Path) -> None:
    """Cut packets, packets of no bytes, link types that change from packet to packet."""
    random = Random(program)
    for name, data in (
        ("pcap", pcap(random_packets(random, 150))),
        ("pcapng", pcapng(random, random_packets(random, 60))),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        native, in_order = (one(path, each, program, "ingress", direct=True) for each in ("native", "jit"))
        assert native == in_order


CLASSIC = (
    "'1,6 0 0 4294967295'",
    "'4,40 0 0 12,21 0 1 2048,6 0 0 4294967295,6 0 0 0'",
    "'4,48 0 0 23,21 0 1 6,6 0 0 4294967295,6 0 0 0'",
    "'4,32 0 0 4294963220,69 1 0 1,6 0 0 0,6 0 0 4294967295'",
)
ACTIONS = (
    "",
    "",
    "action skbedit mark 1 continue",
    "action gact pass random determ continue 3",
    "action police rate 5mbit burst 20k conform-exceed continue",
    "action vlan push id 9 continue",
    "action goto chain 1",
    "action gact reclassify random netrand continue 4",
)


def sections() -> list[str]:
    """The objects' programs, as tc names them."""
    from clsbpf.objfile import read_object
    from clsbpf.vm.helpers import KFUNCS

    names = ("vlan.o", "nat.o", "accounting.o", "metadata.o", "direct.o", "firewall.o", "resize.o", "encap.o")
    found = []
    for name in names:
        spec = read_object(str(BUILT / name), kfuncs=KFUNCS)
        programs = [each for each in spec.programs.values() if each.type == "sched_cls"]
        found += [
            f"object-file {BUILT / name} section {each.section} program {each.name}" for each in programs
        ]
    return found


@pytest.mark.parametrize("seed", range(4))
def test_mixed_policies(seed: int) -> None:
    """Classic and extended programs, with and without direct action, and actions between them."""
    objects = sections()
    found = []
    for backend in ("native", "jit"):
        random = Random(seed)
        engine = Engine(backend=backend)
        engine.add_device("v0")
        engine.tc("qdisc add dev v0 clsact")
        for _ in range(9):
            prio = random.randrange(1, 6)
            protocol = ("all", "ip", "802.1q", "all", "all")[prio - 1]
            words = f"filter add dev v0 ingress chain {random.choice((0, 0, 1))}"
            words += f" pref {prio} protocol {protocol} bpf"
            if random.random() < 0.6:
                words += f" {random.choice(objects)} {random.choice(('direct-action', ''))} flowid 1:{prio}"
            else:
                words += f" bytecode {random.choice(CLASSIC)} flowid 1:{prio}"
            if "direct-action" not in words:
                words += " " + random.choice(ACTIONS)
            engine.tc(words)
        block = engine._block(engine._pick_device(None), "ingress")
        results = engine.run(OFFICE, columns=True)
        filters = [each.program for each in planned_filters(block)]
        memory = [bytes(a.memory) for t in engine._network.actions.tables.values() for a in t]
        found.append((counts(results), results.to_arrow(), maps(filters), memory))
    assert found[0] == found[1]


def narrow(random: Random) -> str:
    """Bytecode for packets of one protocol and port (or address) of the office's traffic."""
    port, proto = random.choice((22, 53, 80, 443, 5353, 8080)), random.choice((6, 17, 17, 6, 1))
    if random.random() < 0.3:
        answer = random.choice((7, 0xFFFFFFFF))
        return f"'6,40 0 0 12,21 0 3 2048,48 0 0 23,21 0 1 {proto},6 0 0 {answer},6 0 0 0'"
    at = random.choice((14, 16))
    return (
        f"'9,40 0 0 12,21 0 6 2048,48 0 0 23,21 0 4 {proto},177 0 0 14,72 0 0 {at},21 0 1 {port},"
        "6 0 0 4294967295,6 0 0 0'"
    )


LOOKED_UP = (
    "",
    "action gact pass",
    "action skbedit mark 1 continue",
    "action gact continue random determ drop 5",
    "action police rate 1mbit burst 20k conform-exceed drop/continue",
    "action goto chain 1",
    "action skbedit priority 1:3 pipe action gact reclassify random netrand continue 4",
)


@pytest.mark.parametrize("seed", range(3))
def test_runs_of_filters_are_looked_up_among_others(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters with actions, between extended programs that change packets, in two chains."""
    made: list[IndexText] = []
    plainly = IndexText.segment
    monkeypatch.setattr(index, "tries_are_faster", lambda *_: False)
    monkeypatch.setattr(
        IndexText, "segment", lambda self, *given, **more: made.append(self) or plainly(self, *given, **more)
    )
    objects = sections()
    found = []
    for backend in ("native", "jit"):
        random = Random(seed)
        engine = Engine(backend=backend)
        engine.add_device("v0")
        engine.tc("qdisc add dev v0 clsact")
        for prio in range(1, 91):
            words = f"filter add dev v0 ingress chain {prio // 60} pref {prio}"
            words += f" protocol {random.choice(('all', 'all', 'ip', '802.1q'))} bpf flowid 1:{prio} "
            if prio in (30, 61):
                words += f"{random.choice(objects)} {random.choice(('direct-action', ''))}"
                words += "" if "direct-action" in words else " action continue"
            else:
                words += f"bytecode {narrow(random)} {random.choice(LOOKED_UP)}"
            engine.tc(words)
        block = engine._block(engine._pick_device(None), "ingress")
        results = engine.run(OFFICE, columns=True)
        memory = [bytes(a.memory) for t in engine._network.actions.tables.values() for a in t]
        found.append(
            (counts(results), results.to_arrow(), maps([p.program for p in planned_filters(block)]), memory)
        )
    assert found[0] == found[1]
    assert len(made) >= 2
    assert sum(each[4] > 0 for each in found[0][0][1]) > 5


STATELESS = (
    "checksums.o:port_shift",
    "direct.o:write",
    "metadata.o:hash",
    "nat.o:nat_out",
    "metadata.o:write",
)


@pytest.mark.parametrize("program", STATELESS)
def test_several_workers_for_what_only_looks_at_the_packet(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in (("MIN_PIECE_BYTES", 40_000), ("PIECE_BYTES_WITH_ROWS", 40_000)):
        monkeypatch.setattr(parallel, name, size)
    found = []
    for jobs in (1, 3):
        setup = filters_setup(
            [FilterText("object", str(BUILT / program))], profile="current", backend="native"
        )
        results = run([str(OFFICE)], setup, jobs=jobs, columns=True)
        found.append((counts(results), results.to_arrow()))
    assert found[0] == found[1]
    assert found[1][0][5] == ()
