"""A policy that was compiled before is not lowered again; another one is not taken for it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clsbpf.engine import kept_plans
from clsbpf.engine.kept_plans import plan_key
from clsbpf.engine.plan import Plan
from clsbpf.engine.plans import Setup
from clsbpf.engine.programs import ProgramTable
from clsbpf.engine.run import run
from clsbpf.engine.view import View
from clsbpf.link import link_layer
from clsbpf.profile import CURRENT, V4_13
from clsbpf.tc.chain import Block
from clsbpf.vm import jit
from clsbpf.vm.environment import Environment
from run_cases import DIRECT, IP, LENGTH, MATCH_ALL, add, counts

EXAMPLES = Path(__file__).parents[2] / "examples"
VIEW = View(link_layer(1), at_ingress=True)
SYMBOLS = ("walk",)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("CLSBPF_CACHE", str(tmp_path / "cache"))
    jit.compile_object.cache_clear()
    yield tmp_path / "cache"
    jit.compile_object.cache_clear()


def block_of(*filters: tuple[int, str, dict[str, Any]]) -> Block:
    block = Block(ProgramTable())
    for prio, program, given in filters:
        add(block, prio, program, **given)
    return block


def key_of(block: Block, view: View = VIEW, **given: Any) -> bytes | None:
    plan = Plan(block, view, given.get("profile", CURRENT), Environment())
    return plan_key(plan, given.get("symbols", SYMBOLS))


BASE: tuple[tuple[int, str, dict[str, Any]], ...] = ((1, IP, {"classid": 0x10001}), (2, LENGTH, {}))


def test_one_policy_has_one_key() -> None:
    assert key_of(block_of(*BASE)) == key_of(block_of(*BASE)) is not None


def test_every_difference_in_what_is_compiled_is_in_the_key() -> None:
    first, second = BASE
    keys = [
        key_of(block_of(*BASE)),
        key_of(block_of(second, (3, IP, {"classid": 0x10001}))),
        key_of(block_of(first)),
        key_of(block_of((1, IP, {"classid": 0x10002}), second)),
        key_of(block_of((1, IP, {"classid": 0x10001, "flags": DIRECT}), second)),
        key_of(block_of((1, IP, {"classid": 0x10001, "protocol": 0x0800}), second)),
        key_of(block_of((1, MATCH_ALL, {"classid": 0x10001}), second)),
        key_of(block_of(*BASE), View(link_layer(1), at_ingress=False)),
        key_of(block_of(*BASE), View(link_layer(1), at_ingress=True, ifindex=2)),
        key_of(block_of(*BASE), View(link_layer(101), at_ingress=True)),
        key_of(block_of(*BASE), profile=V4_13),
        key_of(block_of(*BASE), symbols=("another",)),
    ]
    assert None not in keys
    assert len(set(keys)) == len(keys)


def test_another_release_has_other_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    here = key_of(block_of(*BASE))
    monkeypatch.setattr(kept_plans, "release", lambda: b"another")
    assert key_of(block_of(*BASE)) not in (here, None)
    monkeypatch.setattr(kept_plans, "release", lambda: None)
    assert key_of(block_of(*BASE)) is None


def test_an_edit_is_another_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in kept_plans.WRITERS:
        (tmp_path / "package" / name).mkdir(parents=True, exist_ok=True)
    code = tmp_path / "package" / "vm" / "some.py"
    code.write_text("1")
    monkeypatch.setattr(kept_plans, "PACKAGE", tmp_path / "package")
    stamps = []
    for text in ("1", "22", None):
        if text is not None:
            code.write_text(text)
        else:
            monkeypatch.setattr(kept_plans, "PACKAGE", tmp_path / "absent")
        kept_plans.release.cache_clear()
        stamps.append(kept_plans.release())
    kept_plans.release.cache_clear()
    assert stamps[0] != stamps[1]
    assert stamps[2] is None


def test_what_was_kept_decides_alike() -> None:
    def results() -> Any:
        jit.compile_object.cache_clear()
        block = block_of((1, IP, {"classid": 0x10001}), (2, LENGTH, {"flags": DIRECT}))
        return counts(run([str(EXAMPLES / "office.pcap")], Setup(lambda link: block)))

    assert results() == results()


def test_a_warm_start_needs_no_compiler() -> None:
    program = (
        "import sys; from clsbpf.cli import main; main(sys.argv[1:], standalone_mode=False);"
        "print([name for name in ('numpy', 'clsbpf.vm.lower', 'clsbpf.vm.helpers', 'clsbpf.vm.maps')"
        " if name in sys.modules], file=sys.stderr)"
    )
    words = ["run", str(EXAMPLES / "office.pcap"), "-b", str(EXAMPLES / "policy.tc"), "--json"]
    runs = [
        subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert "clsbpf.vm.lower" in runs[0].stderr
    assert runs[1].stderr.strip() == "[]"
    cold, warm = (json.loads(each.stdout) for each in runs)
    assert {**cold, "seconds": 0, "plan_seconds": 0} == {**warm, "seconds": 0, "plan_seconds": 0}
