"""`bpf object-file`: the real tc and kernel, and ours, show the same filters for the same lines."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import clsbpf
from judges import inside, need_tool, network_namespace

OBJECTS = Path(__file__).parents[2] / "examples" / "programs" / "build" / "O2"

LINES = (
    "filter add dev lab0 ingress pref 10 handle 7 bpf direct-action object-file firewall.o section tc",
    "filter add dev lab0 ingress pref 11 protocol ip bpf obj balancer.o flowid 1:4",
    "filter add dev lab0 ingress pref 12 bpf da obj vlan.o section tc/pop skip_hw",
    "filter add dev lab0 egress pref 1 bpf da obj accounting.o section tc program account",
    "filter add dev lab0 ingress pref 13 bpf da obj globals.o section tc classid ffff:2",
    "filter replace dev lab0 ingress pref 11 handle 1 protocol ip bpf obj balancer.o flowid 1:5",
    "filter del dev lab0 ingress pref 12",
)
"""`OBJECTS` is where they run."""


def filters_of_tc(namespace: str, place: str) -> list[dict[str, Any]]:
    shown = subprocess.run(
        [need_tool("tc"), "-n", namespace, "-j", "filter", "show", "dev", "lab0", place],
        capture_output=True,
        text=True,
        check=True,
    )
    return without_what_differs(json.loads(shown.stdout))


def without_what_differs(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ids are the kernel's and ours; nothing here is jited until programs are verified."""
    for row in rows:
        program = row.get("options", {}).get("prog", {})
        program.pop("id", None)
        program.pop("jited", None)
    return rows


def test_lines_with_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    tc = need_tool("tc")
    monkeypatch.chdir(OBJECTS)
    engine = clsbpf.Engine()
    engine.add_device("lab0")
    with network_namespace() as namespace:
        subprocess.run(
            ["ip", "-n", namespace, "link", "add", "lab0", "type", "veth", "peer", "name", "lab1"], check=True
        )
        for line in ("qdisc add dev lab0 clsact", *LINES):
            with inside(namespace):
                subprocess.run([tc, *line.split()], check=True, capture_output=True)
            engine.tc(line)
            for place in ("ingress", "egress"):
                ours = engine.tc(f"filter show dev lab0 {place}")
                assert ours is not None
                assert without_what_differs(ours) == filters_of_tc(namespace, place), line


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("obj firewall.o section nosuch", "object file doesn't contain sec nosuch (there are: tc)"),
        ("obj firewall.o", "object file doesn't contain sec classifier (there are: tc)"),
        ("obj vlan.o section tc/pop program nosuch", "doesn't contain program nosuch (there are: vlan_push,"),
        ("obj nosuch.o", "nosuch.o: cannot be read: No such file or directory"),
        ("obj ../../../README.md", "README.md: not an ELF file"),
        ("pinned /sys/fs/bpf/x", "/sys/fs/bpf/x: nothing is pinned there; pins: none"),
    ],
)
def test_refusals_leave_everything_as_it_was(
    line: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(OBJECTS)
    engine = clsbpf.Engine()
    engine.add_device("lab0")
    engine.tc("qdisc add dev lab0 clsact")
    engine.tc("filter add dev lab0 ingress pref 1 handle 1 bpf da obj firewall.o section tc")
    before = engine.tc("filter show dev lab0 ingress")
    with pytest.raises(clsbpf.TcError) as caught:
        engine.tc(f"filter replace dev lab0 ingress pref 1 handle 1 bpf da {line}")
    assert message in str(caught.value)
    assert caught.value.exit_code == 1
    assert engine.tc("filter show dev lab0 ingress") == before


def test_an_action_is_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A descriptor of another program type is refused, as by the kernel."""
    from clsbpf.bpf import insn as e
    from clsbpf.bpf.isa import R0
    from clsbpf.engine.devices import Network
    from clsbpf.engine.programs import ProgramTable
    from clsbpf.errors import NetlinkError
    from clsbpf.vm.link import link_instructions

    table = ProgramTable()
    Network(programs=table)
    action = link_instructions(e.program(e.mov64_imm(R0, 0), e.exit_()), {}, type="sched_act")
    fd = table.open(table.load(action))
    with pytest.raises(NetlinkError) as caught:
        table.from_fd(fd)
    assert caught.value.errno == 22
    table.close(fd)
    with pytest.raises(NetlinkError) as caught:
        table.from_fd(fd)
    assert caught.value.errno == 9
