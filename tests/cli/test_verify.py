"""`clsbpf prog verify` from command line to exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from clsbpf.bpf import insn as e
from clsbpf.cli import main
from clsbpf.verifier import types
from elf_writer import program

OBJECTS = Path(__file__).parents[2] / "examples" / "programs" / "build" / "O2"


def verify(*words: str) -> Result:
    return CliRunner().invoke(main, ["prog", "verify", *words])


def test_an_accepted_program_tells_its_work() -> None:
    result = verify(str(OBJECTS / "firewall.o"))
    assert result.exit_code == 0
    assert result.output.startswith("firewall: accepted  (")
    assert "bytes of stack" in result.output


def test_a_release_without_a_feature_refuses_in_four_parts() -> None:
    result = verify(str(OBJECTS / "firewall.o"), "firewall", "--profile", "4.13")
    assert result.exit_code == 1
    lines = [line.strip().partition(":")[0] for line in result.output.splitlines()]
    assert lines[:3] == ["firewall", "Reason", "At"]
    assert "32-bit jumps" in result.output
    assert "firewall.c:" in result.output


def test_json_and_sarif(tmp_path: Path) -> None:
    sarif = tmp_path / "found.sarif"
    result = verify(str(OBJECTS / "firewall.o"), "--profile", "4.13", "--json", "--sarif", str(sarif))
    assert result.exit_code == 1
    (told,) = json.loads(result.output)["programs"]
    assert told["verdict"] == "refused"
    assert told["refusal"]["at"]["line"] > 0
    (found,) = json.loads(sarif.read_text())["runs"][0]["results"]
    assert found["ruleId"] == told["refusal"]["kind"]
    place = found["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "firewall.c"
    assert place["region"]["startLine"] == told["refusal"]["at"]["line"]


def test_verbose_prints_the_log_state_by_state() -> None:
    result = verify(str(OBJECTS / "firewall.o"), "-v")
    assert "R1=ctx()" in result.output
    assert "processed " in result.output


@pytest.fixture
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where there is no kernel, there is none whose types a program could look into."""
    monkeypatch.setenv("CLSBPF_CACHE", "off")
    types.kernel_struct.cache_clear()
    monkeypatch.setattr(types, "kernel_btf", lambda: None)
    yield
    types.kernel_struct.cache_clear()


@pytest.mark.usefixtures("no_kernel")
def test_what_is_not_covered_is_not_called_refused() -> None:
    path = str(OBJECTS / "kernel_context.o")
    result = verify(path)
    assert result.exit_code == 1
    assert "kernel_context: not judged: access to struct sk_buff" in result.output
    run = CliRunner().invoke(main, ["prog", "run", path, "kernel_context"])
    assert (run.exit_code, run.stdout) == (1, "")
    hint = run.stderr.splitlines()[1]
    assert hint.startswith("  What is not verified runs in the checked interpreter only")
    assert "--no-verify" in run.stderr


@pytest.mark.parametrize("words", [("nothing.o",), (str(OBJECTS / "firewall.o"), "no_such_program")])
def test_what_is_not_there(words: tuple[str, ...]) -> None:
    result = verify(*words)
    assert result.exit_code == 1
    assert "Traceback" not in result.output


def test_an_object_without_programs_for_tc(tmp_path: Path) -> None:
    path = tmp_path / "other.o"
    path.write_bytes(program(e.mov64_imm(0, 0), e.exit_(), section="kprobe/x").build())
    result = verify(str(path))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "other.o: no program of a type that is judged: socket_filter, sched_cls" in result.stderr
