"""`clsbpf bench`: its figures are of what `clsbpf run` counts, and wrong results are not timed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from clsbpf.cli import main
from clsbpf.engine import bench
from clsbpf.errors import ClsbpfError
from judges import need_kernel, need_libpcap

EXAMPLES = Path(__file__).parents[2] / "examples"
OFFICE, POLICY = str(EXAMPLES / "office.pcap"), str(EXAMPLES / "policy.tc")
RANDOM = "2,32 0 0 4294963256,22 0 0 0"
"""Returns a random number, for which our translation calls what no kernel has."""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough to see that it works."""
    for name, value in (("SLOW_SECONDS", 0.02), ("MANY_PACKETS", 3000), ("PROGRAM_PACKETS", 20)):
        monkeypatch.setattr(bench, name, value)


def invoke(*words: str) -> Any:
    return CliRunner().invoke(main, ["bench", *words])


def measured(*words: str) -> dict[str, Any]:
    done = invoke(*words, "--json", "--rounds", "1")
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def ran(*words: str) -> list[dict[str, Any]]:
    return list(json.loads(CliRunner().invoke(main, ["run", *words, "--json"]).stdout)["filters"])


@pytest.mark.parametrize(
    "filters", [("-b", POLICY), ("--bytecode", "4,40 0 0 12,21 0 1 2048,6 0 0 1,6 0 0 0")]
)
def test_figures_are_of_what_a_run_counts(filters: tuple[str, str]) -> None:
    found = measured(OFFICE, *filters, "--no-kernel")
    counted = ran(OFFICE, *filters)
    assert [each["packets"] for each in found["filters"]] == [each["packets"] for each in counted]
    assert [each["handle"] for each in found["filters"]] == [each["handle"] for each in counted]
    arrivals = [found["packets"]]
    for each in counted[:-1]:
        arrivals.append(arrivals[-1] - each["packets"])
    assert [each["arrivals"] for each in found["filters"]] == arrivals
    assert sum(each["share"] for each in found["filters"]) == pytest.approx(1, abs=0.01)
    assert all(each["program_ns"] > 0 for each in found["filters"])
    assert {each["kernel_ns"] for each in found["filters"]} == {None}
    assert [each["name"] for each in found["backends"]] == ["native", "jit", "interpreter"]
    assert all(each["ns"] > 0 for each in found["backends"])


def test_objects_beside_expressions() -> None:
    need_libpcap()
    found = measured(OFFICE, "-o", str(EXAMPLES / "programs/build/O2/firewall.o"), "-e", "arp", "--no-kernel")
    assert [each["name"] for each in found["backends"]] == ["native", "jit", "interpreter"]
    assert all(each["program_ns"] > 0 for each in found["filters"])


IP = "bytecode '4,40 0 0 12,21 0 1 2048,6 0 0 4294967295,6 0 0 0'"
ALL = "bytecode '1,6 0 0 4294967295'"


def test_what_actions_lead_elsewhere_does_not_come_to_the_next(tmp_path: Path) -> None:
    policy = tmp_path / "policy.tc"
    policy.write_text(
        "qdisc add dev lab0 clsact\n"
        f"filter add dev lab0 ingress prio 1 protocol all bpf {IP} flowid 1:1 action goto chain 2\n"
        f"filter add dev lab0 ingress prio 2 protocol all bpf {ALL} flowid 1:2\n"
        f"filter add dev lab0 ingress chain 2 prio 1 protocol ip bpf {ALL} flowid 1:3 action drop\n"
    )
    rows = measured(OFFICE, "-b", str(policy), "--no-kernel")["filters"]
    arrivals = {(each["chain"], each["pref"]): each["arrivals"] for each in rows}
    decided = {(each["chain"], each["pref"]): each["packets"] for each in rows}
    assert decided[2, 1] > 0
    assert decided[0, 1] == 0
    assert arrivals == {(0, 1): 2503, (0, 2): 2503 - decided[2, 1], (2, 1): decided[2, 1]}


def test_the_filters_of_a_root_qdisc(tmp_path: Path) -> None:
    policy = tmp_path / "policy.tc"
    policy.write_text(
        "qdisc add dev lab0 root handle 1: htb default 20\n"
        "class add dev lab0 parent 1: classid 1:10 htb rate 10mbit\n"
        "class add dev lab0 parent 1: classid 1:20 htb rate 10mbit\n"
        f"filter add dev lab0 parent 1: prio 1 protocol ip bpf {IP} flowid 1:10\n"
    )
    (row,) = measured(OFFICE, "-b", str(policy), "--hook", "egress", "--no-kernel")["filters"]
    assert row["parent"] == "1:"
    assert (row["flowid"], row["arrivals"], row["share"]) == ("1:10", 2503, 1.0)
    assert row["packets"] > 0


def test_the_kernel_beside_it(tmp_path: Path) -> None:
    need_kernel()
    policy = tmp_path / "policy.tc"
    program = f"object-file {EXAMPLES / 'programs/build/O2/firewall.o'} section tc direct-action"
    policy.write_text(f"qdisc add dev v0 clsact\nfilter add dev v0 ingress bpf {program}\n")
    found = measured(OFFICE, "-b", str(policy), "--kernel")
    assert found["filters"][0]["kernel_ns"] > 0
    found = measured(OFFICE, "-b", POLICY, "--kernel")
    assert all(each["kernel_ns"] > 0 for each in found["filters"])
    found = measured(OFFICE, "-o", str(EXAMPLES / "programs/build/O2/firewall.o"), "--kernel")
    assert found["filters"][0]["kernel_ns"] > 0


def test_what_the_kernel_does_not_take_is_told() -> None:
    need_kernel()
    done = invoke(OFFICE, "--bytecode", RANDOM, "--kernel", "--rounds", "1")
    assert done.exit_code == 0
    assert "warning: the kernel: the kernel refused the program" in done.stderr
    assert measured(OFFICE, "--bytecode", RANDOM)["filters"][0]["program_ns"] > 0


def test_the_table() -> None:
    done = invoke(OFFICE, "-b", POLICY, "--rounds", "1", "--no-kernel")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(OFFICE)
    assert [line.split()[0] for line in lines[2:7]] == ["backend", "native", "jit", "interpreter", "no"]
    assert "1:10" in done.stdout


def test_results_that_differ_are_not_timed() -> None:
    from clsbpf.engine.results import Results

    one = Results(packets=1, bytes=60, truncated=0, undecided=1, filters=(), verdicts={}, classes=(),
                  seconds=1.0, plan_seconds=0.0)  # fmt: skip
    bench.require_equal(one, dataclasses.replace(one, seconds=2.0))
    with pytest.raises(ClsbpfError, match="the backends differ in undecided: native 0, interpreter 1"):
        bench.require_equal(dataclasses.replace(one, undecided=0), one)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((OFFICE,), 2, "what is measured?"),
        ((OFFICE, "-b", POLICY, "--bytecode", RANDOM), 2, "what is measured?"),
        ((OFFICE, "--bytecode", RANDOM, "--dev", "lab0"), 2, "are for a policy"),
        (("/nowhere.pcap", "-b", POLICY), 1, "/nowhere.pcap: cannot be opened"),
        ((OFFICE, "-b", POLICY, "--dev", "lab9"), 1, "no device 'lab9'"),
        ((OFFICE, "-b", "/nowhere.tc"), 1, "/nowhere.tc: cannot be read"),
    ],
)
def test_what_is_wrong_is_told(words: tuple[str, ...], code: int, message: str) -> None:
    done = invoke(*words)
    assert done.exit_code == code
    assert message in done.stderr


def test_a_capture_without_packets(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pcap"
    empty.write_bytes(Path(OFFICE).read_bytes()[:24])
    done = invoke(str(empty), "-b", POLICY)
    assert done.exit_code == 1
    assert "there is no packet to measure with" in done.stderr
