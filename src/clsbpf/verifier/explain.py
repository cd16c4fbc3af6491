"""Why was it refused, in words that help?  Four parts: reason, place, path, suggestion.

Each kind of refusal (`Refused.kind`) has a sentence for the reason, with the values, and where the
mistake is a known one, one for what to write instead.  The path is that of the walk: the branches it
took, as source lines where the object has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..bpf.disasm import format_insn
from ..bpf.isa import Class, Jmp
from ..bpf.spec import ProgramSpec
from .last_change import last_change
from .precision import backwards
from .reasons import REASONS, REMEDIES
from .refusal import Refused

if TYPE_CHECKING:
    from .walk import Walk


@dataclass(frozen=True, slots=True)
class Place:
    """An instruction: its number and text, and the source line it comes from (file "" where unknown)."""

    insn: int
    text: str
    file: str = ""
    line: int = 0
    source: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: {self.source}  " if self.file else ""
        return f"{where}[{self.insn}: {self.text}]"


@dataclass(frozen=True, slots=True)
class Branch:
    """A decision on the way: at `place` the jump was taken, or not."""

    place: Place
    taken: bool

    def __str__(self) -> str:
        return f"{self.place} {'jumps' if self.taken else 'does not jump'}"


@dataclass(frozen=True, slots=True)
class Report:
    """A refusal, told.  `kind` names the rule, `message` is the kernel's own line.

    `at` is None where no instruction is at fault; `path` has the latest branches last, `changed` is where
    the value at fault last changed; `suggestion` is empty where the mistake is not a known one.
    """

    kind: str
    message: str
    reason: str
    at: Place | None
    path: tuple[Branch, ...] = ()
    changed: Place | None = None
    suggestion: str = ""

    def __str__(self) -> str:
        lines = [f"Reason: {self.reason}"]
        if self.at is not None:
            lines.append(f"At: {self.at}")
        if self.path or self.changed is not None:
            lines.append("Path:")
            lines.extend(f"  {branch}" for branch in self.path)
            if self.changed is not None:
                lines.append(f"  last changed: {self.changed}")
        if self.suggestion:
            lines.append(f"Suggestion: {self.suggestion}")
        return "\n".join(lines)


def place_of(spec: ProgramSpec, insn: int) -> Place:
    """The instruction and where it comes from."""
    line = spec.line_at(insn)
    text = format_insn(spec.insns, insn) if 0 <= insn < len(spec.insns) else "?"
    if line is None:
        return Place(insn, text)
    return Place(insn, text, line.file, line.line, line.text)


MAX_PATH = 12
"""Branches that are told; the ones before are left out."""


def explain(spec: ProgramSpec, walk: Walk | None, refused: Refused, at: int | None) -> Report:
    """The report of a refusal that happened at instruction `at`."""
    path: list[Branch] = []
    changed = None
    if walk is not None and refused.kind not in ("stack-depth", "recursion"):
        path = _branches(spec, walk)
        if refused.register is not None and at is not None:
            written = last_change(spec.insns, walk, refused.register)
            changed = place_of(spec, written) if written is not None else None
    tell, suggestion = REASONS.get(refused.kind, (str, REMEDIES.get(refused.kind, "")))
    if at is not None and at in spec.poison:
        reason = f"the instruction could not be made to fit the kernel's types: {spec.poison[at]}"
    else:
        reason = tell(refused)
    return Report(
        refused.kind,
        refused.message,
        reason,
        place_of(spec, at) if at is not None else None,
        tuple(path),
        changed,
        suggestion if isinstance(suggestion, str) else suggestion(refused),
    )


def _branches(spec: ProgramSpec, walk: Walk) -> list[Branch]:
    """The latest decisions on the path, the last of them last."""
    found: list[Branch] = []
    later = walk.pc
    for at in backwards(walk):
        insn = spec.insns[at]
        if insn.code & 7 in (Class.JMP, Class.JMP32) and insn.code & 0xF0 not in _NO_BRANCH:
            found.append(Branch(place_of(spec, at), later != at + 1))
            if len(found) == MAX_PATH:
                break
        later = at
    return found[::-1]


_NO_BRANCH = frozenset({Jmp.JA, Jmp.CALL, Jmp.EXIT, Jmp.JCOND})
