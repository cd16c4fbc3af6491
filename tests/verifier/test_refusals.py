"""Each reason to refuse a program: what is said, and that the kernel refuses it, too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.spec import LineInfo, ObjectSpec, ProgramSpec
from clsbpf.errors import VerifierError
from clsbpf.kernel import loader
from clsbpf.kernel.loader import LoadedObject
from clsbpf.profile import CURRENT
from clsbpf.verifier import verify as verification
from clsbpf.verifier.rules import rules_of
from clsbpf.verifier.verify import verify
from kernel_verifier import need_current_kernel
from verifier_programs import MAPS
from verifier_refusals import END, REFUSED, SETUP


def spec_of(text: str, **more: object) -> ProgramSpec:
    insns = tuple(assemble(text))
    return ProgramSpec("test", insns=insns, license="GPL", maps=MAPS, **more)  # type: ignore[arg-type]


def refusal(spec: ProgramSpec) -> VerifierError:
    with pytest.raises(VerifierError) as caught:
        verify(spec)
    return caught.value


@pytest.fixture(scope="module")
def kernel_maps() -> Iterator[LoadedObject]:
    need_current_kernel()
    with loader.load(ObjectSpec("test", {}, {m.name: m for m in MAPS.values()}), []) as loaded:
        yield loaded


@pytest.mark.parametrize(("what", "kind", "text"), REFUSED, ids=[what for what, *_ in REFUSED])
def test_the_reason_is_the_rule(what: str, kind: str, text: str) -> None:
    error = refusal(spec_of(text))
    assert error.report.kind == kind
    assert error.report.reason
    assert error.report.message in error.log
    assert error.report.at is None or error.report.at.insn == error.insn


@pytest.mark.parametrize(("what", "kind", "text"), REFUSED, ids=[what for what, *_ in REFUSED])
def test_the_kernel_refuses_it_too(what: str, kind: str, text: str, kernel_maps: LoadedObject) -> None:
    with pytest.raises(VerifierError):
        loader._load_program(spec_of(text), kernel_maps.maps, 0, kernel_maps.calls)


def test_the_four_parts() -> None:
    """Reason with the values, the place, the branches that lead there, and what to write instead."""
    lines = (
        LineInfo(0, "a.c", 3, 1, "void *data = (void *)(long)skb->data;"),
        LineInfo(2, "a.c", 5, 1, "if (data + 14 > data_end)"),
        LineInfo(5, "a.c", 7, 1, "return ((u32 *)data)[3];"),
    )
    text = f"{SETUP}r4 = r2\nr4 += 14\nif r4 > r3 goto +1\nr0 = *(u32 *)(r2 +12)\n{END}"
    report = refusal(spec_of(text, line_info=lines)).report
    assert report.reason == "accesses 4 bytes at packet offset 12, but only 14 bytes are known to be there"
    assert (report.at.insn, report.at.file, report.at.line) == (5, "a.c", 7)
    assert [(step.place.insn, step.taken) for step in report.path] == [(4, False)]
    assert report.changed is not None
    assert report.changed.insn == 0
    assert "data_end" in report.suggestion


def test_a_licence_that_is_not_gpl() -> None:
    text = f"r1 = r10\nr1 += -8\nr2 = 8\ncall 6\n{END}"
    spec = ProgramSpec("test", insns=tuple(assemble(text)), license="MIT")
    assert refusal(spec).report.kind == "licence"


def test_work_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two million rounds where 5000 instructions may be visited: a refusal, not a hang."""
    rules = rules_of(CURRENT, "sched_cls")
    monkeypatch.setattr(verification, "rules_of", lambda *_: replace(rules, max_visited=5000))
    spec = spec_of("r0 = 0\nr1 = 0\nl:\nr1 += 1\nif r1 != 2000000 goto l\nexit")
    assert refusal(spec).report.kind == "complexity"
