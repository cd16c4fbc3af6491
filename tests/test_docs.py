"""The documents are true where that can be asked of a program."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from clsbpf.cli import main
from clsbpf.profile import CURRENT, V4_13

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CI = (ROOT / ".ci/run").read_text(encoding="utf-8")


def blocks(text: str, language: str = "") -> list[str]:
    """The fenced blocks of a language."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block for name, block in fenced if name == language]


def test_the_python_of_the_readme_runs() -> None:
    (code,) = blocks(README, "python")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert "'flowid': '1:10'" in run.stdout


def test_ci_runs_the_two_commands_of_the_readme() -> None:
    commands = [
        line for block in blocks(README) for line in block.splitlines() if line.startswith("python3 ")
    ]
    assert len(commands) == 2
    for command in commands:
        assert command in CI


def test_the_readme_names_only_options_that_exist() -> None:
    shown = CliRunner().invoke(main, ["run", "--help"]).output
    lines = re.findall(r"clsbpf run ([^#|\n]*)", "\n".join(blocks(README)))
    named = {option for line in lines for option in re.findall(r"(?:^|\s)(--?[a-z][a-z-]*)", line)}
    assert {"-b", "-e", "--results"} <= named
    assert [option for option in sorted(named) if not re.search(rf"{option}\b", shown)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def test_every_difference_between_the_kernels_is_in_the_limits() -> None:
    limits = (ROOT / "docs/limits.md").read_text(encoding="utf-8")
    fields = {field.name for field in dataclasses.fields(CURRENT)} - {"name"}
    differing = {name for name in fields if getattr(CURRENT, name) != getattr(V4_13, name)}
    told = set(re.findall(r"\| `(\w+)` \|$", limits, re.MULTILINE))
    assert told == differing == fields
