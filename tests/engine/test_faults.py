"""What goes wrong in Python with one packet, called by native code, is told, or counted, of that packet."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

import clsbpf
from clsbpf.api import Engine
from clsbpf.api.engine import setup_of
from clsbpf.bpf import insn as e
from clsbpf.bpf.asm import assemble
from clsbpf.vm.native_memory import maps_of
from policy_soup import BUILT, engine_of, left_behind, programs_of
from run_cases import counts, pcap, pcapng, random_packets

FAULTS = """
    r2 = *(u32 *)(r1 +76)
    w0 = *(u8 *)(r2 +200)
    w0 = 0
    exit
"""
"""Reads byte 200 of the packet without looking how long it is."""
STAGES = f"object-file {BUILT}/dispatch.o section tc program dispatch"
UDP, ICMP = 1, 2
CLASSIC = "bytecode '4,40 0 0 16,69 0 1 1,6 0 0 4294967295,6 0 0 0'"
FILTERS = [
    f"pref 1 protocol all bpf {CLASSIC} flowid 1:1 action gact continue random determ drop 3",
    f"pref 2 protocol all bpf {STAGES} direct-action flowid 1:2",
    f"pref 3 protocol all bpf {CLASSIC} flowid 1:3 action police rate 1mbit burst 9k conform-exceed drop",
]
TREE = [
    "qdisc add dev v0 root handle 1: htb default 2",
    "class add dev v0 parent 1: classid 1:1 htb rate 1mbit",
    "class add dev v0 parent 1: classid 1:2 htb rate 1mbit",
]
PLACES = {
    "at a hook": (
        "ingress",
        ["qdisc add dev v0 clsact", *(f"filter add dev v0 ingress {each}" for each in FILTERS)],
    ),
    "in a root qdisc": ("egress", [*TREE, *(f"filter add dev v0 parent 1: {each}" for each in FILTERS)]),
    "before a root qdisc": (
        "egress",
        [*TREE, "qdisc add dev v0 clsact", *(f"filter add dev v0 egress {each}" for each in FILTERS)],
    ),
}


def engine_with_faults(lines: list[str], backend: str) -> Engine:
    """The programs for UDP and ICMP were not verified."""
    engine = engine_of(lines, backend)
    unverified = clsbpf.Program.from_instructions(e.encode(assemble(FAULTS)), verify=False)._loaded.linked
    for map in maps_of(*programs_of(engine)):
        if map.name == "stages":
            for slot in (UDP, ICMP):
                map.put(slot.to_bytes(4, "little"), unverified)
    return engine


@pytest.mark.parametrize(
    ("place", "ending"),
    [("at a hook", "pcapng"), ("in a root qdisc", "pcap"), ("before a root qdisc", "pcap")],
)
def test_faults_are_counted_or_told(place: str, ending: str, tmp_path: Path) -> None:
    random = Random(5)
    packets = random_packets(random, 200)
    capture = tmp_path / f"some.{ending}"
    capture.write_bytes(pcap(packets) if ending == "pcap" else pcapng(random, packets))
    hook, lines = PLACES[place]
    found: list[Any] = []
    for backend in ("native", "interpreter"):
        engine = engine_with_faults(lines, backend)
        assert setup_of(engine, dev="v0", hook=hook).in_order is None
        results = engine.run([capture, capture], dev="v0", hook=hook, columns=True, keep_going=True)
        assert 2 < results.faulted < results.packets
        seen = [results.faulted, counts(results), results.to_arrow(), left_behind(engine)]
        engine = engine_with_faults(lines, backend)
        with pytest.raises(clsbpf.ProgramFault, match=r"some\.pcap(ng)?: packet \d+: ") as caught:
            engine.run(capture, dev="v0", hook=hook)
        found.append([*seen, str(caught.value), left_behind(engine)])
    assert found[0] == found[1]
