"""A verdict as values: accepted with the work it took, or refused with the four parts; JSON and SARIF."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ..bpf.spec import ProgramSpec
from ..errors import NOT_COVERED, VerifierError
from ..profile import CURRENT, KernelProfile
from .explain import Report
from .kept import verdict_on
from .program import VerifiedProgram, Work
from .verify import verify

__all__ = ["NOT_COVERED", "Verdict", "as_sarif", "judge"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of one program.  `work` is None where it was refused, `report` where it was not.

    `problem` is why it was not judged at all (its type, its object), else empty.  `kept` says that it was
    judged before, and `work` is what that took.
    """

    program: str
    accepted: bool
    work: Work | None = None
    report: Report | None = None
    problem: str = ""
    log: str = ""
    kept: bool = False

    @property
    def text(self) -> str:
        """For a terminal: one line, and the parts of a refusal below it."""
        if self.work is not None:
            w = self.work
            return (
                f"{self.program}: accepted  ({w.insns} instructions visited, {w.states} states stored,"
                f" {w.stack_depth} bytes of stack, {w.seconds * 1000:.0f} ms"
                f"{' when it was judged' if self.kept else ''})"
            )
        if self.accepted:
            return f"{self.program}: accepted"
        if self.report is None:
            return f"{self.program}: not judged: {self.problem}"
        return "\n".join(
            [f"{self.program}: refused", *(f"  {line}" for line in str(self.report).splitlines())]
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "program": self.program,
            "verdict": "accepted"
            if self.accepted
            else "refused"
            if self.report is not None
            else "not judged",
            "work": asdict(self.work) if self.work is not None else None,
            "refusal": asdict(self.report) if self.report is not None else None,
            "problem": self.problem or None,
            "kept": self.kept,
        }


def judge(
    spec: ProgramSpec, *, btf: Any = None, profile: KernelProfile = CURRENT, verbose: bool = False
) -> Verdict:
    """`verify`, with a refusal as a value; what was judged before is not judged again, unless `verbose`."""
    verdict, kept = _verbose(spec, btf, profile) if verbose else verdict_on(spec, btf=btf, profile=profile)
    if isinstance(verdict, VerifiedProgram):
        return Verdict(spec.name, True, work=verdict.work, log=verdict.log, kept=kept)
    if not verdict.is_judgement:
        problem = str(verdict.args[0]).removeprefix(f"{spec.name}: ")
        return Verdict(spec.name, False, problem=problem, log=verdict.log, kept=kept)
    return Verdict(spec.name, False, report=verdict.report, log=verdict.log, kept=kept)


def _verbose(
    spec: ProgramSpec, btf: Any, profile: KernelProfile
) -> tuple[VerifiedProgram | VerifierError, bool]:
    """With the whole log, which is not kept."""
    try:
        return verify(spec, btf=btf, profile=profile, verbose=True), False
    except VerifierError as error:
        return error, False


def as_sarif(verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """The refusals as a SARIF 2.1.0 log: one result each, at its source line where that is known."""
    results = []
    rules = {}
    for verdict in verdicts:
        report = verdict.report
        if report is None:
            continue
        rules[report.kind] = {"id": report.kind, "help": {"text": report.suggestion or report.message}}
        result: dict[str, Any] = {
            "ruleId": report.kind,
            "level": "error",
            "message": {"text": f"{verdict.program}: {report.reason}. {report.suggestion}".strip()},
        }
        if report.at is not None and report.at.file:
            result["locations"] = [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": report.at.file.removeprefix("./")},
                        "region": {"startLine": max(report.at.line, 1)},
                    },
                    "logicalLocations": [{"name": verdict.program, "kind": "function"}],
                }
            ]
        results.append(result)
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": {"name": "clsbpf", "rules": list(rules.values())}}, "results": results}],
    }
