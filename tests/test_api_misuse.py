"""What wrong uses of `Program`, `Object` and `Engine` meet, and which uses are not wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import clsbpf
from clsbpf.api import FilterText, filters_setup
from clsbpf.bpf import insn as e
from elf_writer import program

OBJECTS = Path(__file__).parents[1] / "examples" / "programs" / "build" / "O2"
OFFICE = Path(__file__).parents[1] / "examples" / "office.pcap"
IP_FRAME = bytes.fromhex("020000000001 020000000002 0800") + bytes(50)


def lab() -> clsbpf.Engine:
    engine = clsbpf.Engine()
    engine.add_device("lab0")
    engine.tc("qdisc add dev lab0 clsact")
    return engine


@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview])
def test_a_packet_is_any_buffer(buffer: Callable[[bytes], Any]) -> None:
    ran = clsbpf.Program.from_bytecode("2,40 0 0 12,22 0 0 0").test_run(buffer(IP_FRAME))
    assert (ran.retval, ran.packet) == (0x800, IP_FRAME)


def test_names_of_an_object_are_those_of_a_mapping() -> None:
    firewall = clsbpf.Object.load(OBJECTS / "firewall.o")
    assert ("tc" in firewall.programs, "firewall" in firewall.programs) == (True, True)
    assert ("nosuch" in firewall.programs, None in firewall.programs) == (False, False)
    assert "nosuch" not in firewall.maps
    assert (firewall.programs.get("nosuch"), firewall.maps.get("nosuch")) == (None, None)
    assert firewall.programs.get("tc") is firewall.programs["firewall"]
    variables = clsbpf.Object.load(OBJECTS / "globals.o").variables
    assert ("mark_base" in variables, "nosuch" in variables, variables.get("nosuch", 7)) == (True, False, 7)
    with pytest.raises(clsbpf.ObjectError, match=r"no map 'nosuch'; there are: rules4, rules6, verdicts"):
        firewall.maps["nosuch"]


@pytest.mark.parametrize(
    ("section", "type_"), [("action", "sched_act"), ("xdp", "xdp"), ("socket", "socket_filter")]
)
def test_a_filter_is_refused_a_program_of_another_type(tmp_path: Path, section: str, type_: str) -> None:
    path = tmp_path / "other.o"
    path.write_bytes(program(e.mov64_imm(0, 0), e.exit_(), section=section).build())
    why = f"program main is of type {type_}; a filter needs sched_cls"
    with pytest.raises(clsbpf.ObjectError, match=f"other.o: {why}"):
        filters_setup([FilterText("object", str(path))], profile="current", backend="native")
    # tc loads it as what a filter needs, whatever its section says.
    engine = lab()
    engine.tc(f"filter add dev lab0 ingress bpf da object-file {path} section {section}")
    engine.tc(f"actions add action bpf object-file {path} section {section} index 1")
    engine._pins.pin("/sys/fs/bpf/act", engine._network.actions.tables["bpf"].find(1).params.program)  # type: ignore[union-attr]
    with pytest.raises(clsbpf.TcError, match="program main is of type sched_act; a filter needs sched_cls"):
        engine.tc("filter add dev lab0 ingress bpf da pinned /sys/fs/bpf/act")


@pytest.mark.parametrize("capture", [b"office.pcap", 3, None])
def test_a_capture_is_given_by_its_path(capture: Any) -> None:
    with pytest.raises(clsbpf.ClsbpfError, match=f"given by its path, not as {type(capture).__name__}"):
        lab().run([str(OFFICE), capture])


def test_a_network_without_devices_says_so() -> None:
    with pytest.raises(clsbpf.RunError, match="there is no device"):
        clsbpf.Engine().run(OFFICE)
