"""Filters that see frames as captured run natively beside objects whose programs change packets."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from clsbpf.api import FilterText, filters_setup
from clsbpf.engine import plan_code
from clsbpf.engine.run import run
from policy_soup import BUILT, CLASSIC
from run_cases import counts, pcap, pcapng, random_packets

OBJECTS = (
    "vlan.o:vlan_push_two",
    "vlan.o:vlan_pop",
    "resize.o:there_and_back",
    "metadata.o:write",
    "encap.o:encap_gre",
    "trace.o:trace",
    "firewall.o",
)
LINK_TYPES = (1, 1, 101, 0, 113)


def results(filters: list[FilterText], paths: list[str], backend: str, hook: str) -> Any:
    setup = filters_setup(filters, profile="current", backend=backend, hook=hook)
    assert not setup.in_order
    found = run(paths, setup, backend=backend, columns=True)
    return counts(found), found.to_arrow()


@pytest.mark.parametrize("seed", range(3))
def test_beside_objects(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_code, "level_for", lambda sizes: 0)  # compiled sooner
    random = Random(seed)
    paths = []
    for name, data in (
        ("a.pcap", pcap(random_packets(random, 120), link_type=random.choice(LINK_TYPES))),
        ("b.pcapng", pcapng(random, random_packets(random, 60))),
    ):
        (tmp_path / name).write_bytes(data)
        paths.append(str(tmp_path / name))
    filters = []
    for _ in range(random.randrange(2, 6)):
        if random.random() < 0.4:
            text = str(BUILT / random.choice(OBJECTS))
            filters.append(FilterText("object", text, random.random() < 0.3))
        else:
            filters.append(FilterText("bytecode", random.choice(CLASSIC).format(1, 0x10001)))
    text = str(BUILT / OBJECTS[seed % len(OBJECTS)])
    filters.insert(random.randrange(3), FilterText("object", text, False))
    hook = random.choice(("ingress", "ingress", "egress"))
    native, in_order = (results(filters, paths, each, hook) for each in ("native", "interpreter"))
    assert native == in_order
