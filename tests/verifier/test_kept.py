"""A verdict that was kept is the verdict that was given; for anything else there is a new one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clsbpf.bpf import insn as e
from clsbpf.bpf.asm import assemble
from clsbpf.bpf.isa import Pseudo
from clsbpf.bpf.maps import MapFlag, MapType
from clsbpf.bpf.spec import FuncInfo, LineInfo, MapSpec, ProgramSpec
from clsbpf.errors import VerifierError
from clsbpf.objfile import read_object
from clsbpf.profile import CURRENT, V4_13
from clsbpf.store import PrivateStore
from clsbpf.verifier import kept
from clsbpf.verifier.kept import judged, verdict_on
from clsbpf.verifier.program import VerifiedProgram
from clsbpf.verifier.verify import verify

OBJECTS = Path(__file__).parents[2] / "examples" / "programs" / "build" / "O2"
REFUSED = """
    r2 = *(u32 *)(r1 +76)
    r0 = 0
    if r0 == 0 goto +1
    r0 = 1
    r0 = *(u8 *)(r2 +34)
    exit
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PrivateStore:
    monkeypatch.setattr(kept, "WORTH_KEEPING", 0.0)
    return PrivateStore(tmp_path / "verdicts")


def entries(store: PrivateStore) -> list[Path]:
    assert store.directory is not None
    return sorted(each for each in store.directory.iterdir() if not each.name.startswith("."))


def test_the_fields_of_a_verified_program_are_known() -> None:
    """Whatever is added to VerifiedProgram must be kept, too."""
    assert [field.name for field in dataclasses.fields(VerifiedProgram)] == [
        *(
            "insns",
            "ctx_accesses",
            "type",
            "classic",
            "spec",
            "pointer_kinds",
            "reached",
            "stacks",
            "work",
            "log",
        )
    ]


@pytest.mark.parametrize("name", ["firewall", "globals", "locks", "subprograms", "dns", "dispatch"])
def test_an_acceptance_comes_back_whole(store: PrivateStore, name: str) -> None:
    spec = read_object(OBJECTS / f"{name}.o")
    program = next(iter(spec.programs.values()))
    first, second = (verdict_on(program, btf=spec.btf, store=store) for _ in range(2))
    assert (first[1], second[1]) == (False, True)
    assert isinstance(first[0], VerifiedProgram)
    assert first[0].pointer_kinds
    assert second[0] == first[0]


def test_a_refusal_comes_back_whole(store: PrivateStore) -> None:
    spec = ProgramSpec("bad", insns=tuple(assemble(REFUSED)), line_info=(LineInfo(0, "bad.c", 7, 3, "x"),))
    errors: list[VerifierError] = []
    for _ in range(2):
        with pytest.raises(VerifierError) as caught:
            judged(spec, store=store)
        errors.append(caught.value)
    first, second = errors
    assert first.report.at.line == 7
    assert first.report.path
    assert len(entries(store)) == 1
    for name in ("args", "insn", "errno", "log", "report"):
        assert getattr(second, name) == getattr(first, name)
    assert str(second) == str(first)


READER = e.program(e.ld_imm64(1, 3, Pseudo.MAP_VALUE), e.mov64_imm(0, 0), e.exit_())
DATA = MapSpec(".rodata", MapType.ARRAY, 4, 8, 1, flags=MapFlag.RDONLY_PROG, frozen=True)
BASE = ProgramSpec("reader", insns=READER, license="GPL", maps={3: DATA})


def with_map(**changes: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {"spec": dataclasses.replace(BASE, maps={3: dataclasses.replace(DATA, **changes)})}


def with_spec(**changes: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {"spec": dataclasses.replace(BASE, **changes)}


OTHERS: dict[str, Callable[[], dict[str, Any]]] = {
    "instructions": with_spec(insns=e.program(*READER[:2], e.mov64_imm(0, 1), e.exit_())),
    "name": with_spec(name="other"),
    "type": with_spec(type="socket_filter"),
    "licence": with_spec(license="MIT"),
    "lines": with_spec(line_info=(LineInfo(0, "a.c", 1, 1, "x"),)),
    "functions": with_spec(func_info=(FuncInfo(0, "f", 1),)),
    "poison": with_spec(poison={2: "no such type"}),
    "kernel functions": with_spec(kfuncs=("bpf_x",)),
    "what a frozen map holds": with_map(contents=((bytes(4), b"12345678"),)),
    "a map that is not frozen": with_map(frozen=False),
    "a map's size": with_map(value_size=16),
    "a map's flags": with_map(flags=0),
    "a map's inner map": with_map(inner=DATA),
    "the release": lambda: {"profile": V4_13},
    "types": lambda: {"btf": read_object(OBJECTS / "globals.o").btf},
    "another object's types": lambda: {"btf": read_object(OBJECTS / "firewall.o").btf},
}


def test_whatever_a_verdict_depends_on_is_in_its_key() -> None:
    base: dict[str, Any] = {"spec": BASE, "profile": CURRENT, "btf": None, "judge": b"judge"}
    keys = {what: kept._key(**{**base, **make()}) for what, make in OTHERS.items()}
    keys["nothing"] = kept._key(**base)
    keys["the judge"] = kept._key(**{**base, "judge": b"another"})
    assert len(set(keys.values())) == len(OTHERS) + 2
    again = dataclasses.replace(BASE, maps={3: dataclasses.replace(DATA)})
    assert kept._key(**{**base, "spec": again}) == keys["nothing"]


def test_a_damaged_entry_is_judged_anew(store: PrivateStore) -> None:
    spec = read_object(OBJECTS / "firewall.o")
    (program,) = spec.programs.values()
    judged(program, btf=spec.btf, store=store)
    (path,) = entries(store)
    path.write_bytes(path.read_bytes().replace(b'"reached": [0', b'"reached": [1'))
    assert verdict_on(program, btf=spec.btf, store=store)[1] is False
    assert verdict_on(program, btf=spec.btf, store=store)[1] is True


def test_what_is_quick_to_judge_is_not_kept(tmp_path: Path) -> None:
    store = PrivateStore(tmp_path / "verdicts")
    judged(BASE, store=store)
    assert not (tmp_path / "verdicts").exists()


def test_without_a_store_it_is_just_verify() -> None:
    without = PrivateStore(None)
    found = judged(BASE, store=without)
    assert dataclasses.replace(found, work=None, proof=_proof()) == dataclasses.replace(
        verify(BASE), work=None, proof=_proof()
    )


def _proof() -> object:
    from clsbpf.verifier import program

    return program._PROOF
