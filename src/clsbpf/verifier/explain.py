"""Why was it refused, in words that help?  Four parts: reason, place, path, suggestion.

Each kind of refusal (`Refused.kind`) has a sentence for the reason, with the values, and where the
mistake is a known one, one for what to write instead.  The path is that of the walk: the branches it
took, as source lines where the object has them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..bpf.disasm import format_insn
from ..bpf.isa import Class, Jmp
from ..bpf.spec import ProgramSpec
from .precision import backwards
from .refusal import Refused
from .values import Lost

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
    the register at fault was last written; `suggestion` is empty where the mistake is not a known one.
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
            changed = _last_write(spec, at, refused.register)
    tell, suggestion = _KINDS.get(refused.kind, (_as_is, ""))
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
        suggestion,
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


def _last_write(spec: ProgramSpec, at: int, register: int) -> Place | None:
    """The nearest instruction before, in the order of the text, that writes the register."""
    from .cfg import uses_and_defines

    for before in range(at - 1, -1, -1):
        insn = spec.insns[before]
        if insn.code and uses_and_defines(insn)[1] >> register & 1:
            return place_of(spec, before)
    return None


def _bytes(count: int) -> str:
    return f"{count} byte" if count == 1 else f"{count} bytes"


def _as_is(r: Refused) -> str:
    return r.message


def _packet_bounds(r: Refused) -> str:
    f = r.facts
    known = "no byte is" if not f["known"] else f"only {_bytes(f['known'])} are"
    return f"accesses {_bytes(f['size'])} at packet offset {f['off']}, but {known} known to be there"


def _bounds(r: Refused) -> str:
    f = r.facts
    return f"accesses {_bytes(f['size'])} at offset {f['off']} of a {f['what']} of {_bytes(f['known'])}"


def _null_check(r: Refused) -> str:
    return f"uses r{r.register}, which may be 0 ({r.facts['of']})"


def _stack_bounds(r: Refused) -> str:
    f = r.facts
    return f"accesses {_bytes(f['size'])} at stack offset {f['off']}; a frame has the offsets -512 to -1"


def _context_field(r: Refused) -> str:
    f = r.facts
    verb = "writes" if f["write"] else "reads"
    return f"{verb} {_bytes(f['size'])} at offset {f['off']}: not an access that is allowed there"


def _argument_kind(r: Refused) -> str:
    f = r.facts
    return f"passes {f['of']} in r{r.register} to {f['helper']}, which takes {f['expected']}"


def _lost(r: Refused) -> str:
    lost: Lost = r.facts["lost"]
    return f"uses r{r.register}, which was {lost.what} until instruction {lost.insn} made it worthless"


_BOUNDS_CHECK = "compare a pointer past the last byte with data_end first: if (ptr + N > data_end) return …"

_KINDS: dict[str, tuple[Callable[[Refused], str], str]] = {
    "packet-bounds": (_packet_bounds, f"{_BOUNDS_CHECK}; check and access must use the same pointer"),
    "bounds": (_bounds, "keep the index below the size: if (i < N), or mask it: i & (N - 1)"),
    "negative-index": (
        lambda r: f"r{r.register} may be negative (at least {r.facts['smin']}) where it is used as an offset",
        "make it unsigned, or check it: if (i >= 0 && i < N)",
    ),
    "unbounded": (
        lambda r: f"r{r.register} may be as large as {r.facts['umax']} where it is used as an offset",
        "bound it before: if (i < N), or i & (N - 1) with N a power of two",
    ),
    "unbounded-math": (
        lambda r: f"adds a number without lower bound to a pointer ({r.facts['of']})",
        "bound the number first, unsigned: if (n > MAX) return …",
    ),
    "negative-size": (
        lambda r: f"the size in r{r.register} may be negative (at least {r.facts['smin']})",
        "make it unsigned, or bound it on both sides: if (n < 0 || n > MAX) return …",
    ),
    "zero-size": (
        lambda r: (
            f"the size in r{r.register} may be 0, which the function does not take"
            if r.register
            else r.message
        ),
        "check it: if (n == 0) return …",
    ),
    "unbounded-size": (
        lambda r: f"the size in r{r.register} may be as large as {r.facts['umax']}",
        "bound it before the call: if (n > MAX) return …, or n &= MAX",
    ),
    "null-check": (_null_check, "check it first: if (!p) return …"),
    "unwritten": (
        lambda r: f"reads r{r.register}, which was not written on this path",
        "a call leaves nothing in r1 to r5: keep in r6 to r9, or on the stack, what is needed after it",
    ),
    "lost-pointer": (
        _lost,
        "a call that may move the packet leaves none of the pointers into it: load data and data_end anew"
        " after it, and compare again; what was released, or is no longer locked, must not be used",
    ),
    "stack-bounds": (_stack_bounds, "make local variables smaller, or keep them in a per-CPU array"),
    "stack-depth": (
        lambda r: (
            f"the stacks of the functions that call each other have {r.facts['depth']} bytes; 512 are allowed"
        ),
        "keep large local variables in a per-CPU array, or call less deeply",
    ),
    "stack-slot": (_as_is, ""),
    "alignment": (
        lambda r: (
            f"accesses {_bytes(r.facts['size'])} at stack offset {r.facts['off']}, not a multiple of that"
        ),
        "align the variable, or copy it with __builtin_memcpy",
    ),
    "context-field": (_context_field, "read the whole field of struct __sk_buff, with its own width"),
    "argument-kind": (_argument_kind, ""),
    "packet-argument": (
        lambda r: f"passes a pointer into the packet in r{r.register} to a function that does not take one",
        "copy the bytes to the stack first",
    ),
    "not-a-pointer": (
        lambda r: (
            f"accesses memory through r{r.register}, which holds no pointer ({r.facts['of']})"
            if "of" in r.facts
            else r.message
        ),
        "pointers are lost by arithmetic in 32 bits, and by going through memory other than the stack",
    ),
    "no-access": (lambda r: f"accesses memory through r{r.register} ({r.facts['of']}), which has none", ""),
    "helper": (
        lambda r: f"calls {r.facts['helper']}, which programs of this type may not call here",
        "",
    ),
    "licence": (
        lambda r: f"calls {r.facts['helper']}, which is for GPL-compatible programs",
        'declare the licence: char _license[] SEC("license") = "GPL";',
    ),
    "leak": (
        lambda r: f"ends although what was acquired at instruction {r.facts['acquired']} is not released",
        "release it on every path: bpf_sk_release, bpf_ringbuf_submit or bpf_ringbuf_discard",
    ),
    "release": (
        lambda r: f"releases r{r.register}, which was not acquired" if r.register else r.message,
        "pass what the acquiring function returned, once, after checking it for 0",
    ),
    "infinite-loop": (
        lambda r: "a loop comes back with nothing changed that its end depends on",
        "count in a variable that bounds the loop: for (i = 0; i < N; i++)",
    ),
    "complexity": (
        lambda r: f"too many paths: more than {r.facts['limit']} steps",
        "make the loop shorter, call a function for its body (bpf_loop), or mask and bound numbers earlier",
    ),
    "unreachable": (lambda r: f"no path leads to instruction {r.insn}", "remove it"),
    "read-only": (
        lambda r: f"writes into {r.facts.get('map', 'memory')}, which is read-only for programs",
        "",
    ),
    "write-only": (
        lambda r: f"reads from {r.facts.get('map', 'memory')}, which is write-only for programs",
        "",
    ),
    "modified-pointer": (
        lambda r: (
            f"r{r.register} must be as it was given here, but {r.facts['off']} or a variable was added to it"
        ),
        "use the pointer itself, and the offset in the access",
    ),
    "pointer-math": (lambda r: f"{r.message}: such arithmetic on a pointer is not allowed", ""),
    "division": (lambda r: "divides by the constant 0", ""),
    "lock": (_as_is, "between bpf_spin_lock and bpf_spin_unlock only read and write; unlock on every path"),
    "two-kinds": (
        lambda r: f"the same instruction goes through different kinds of pointers in r{r.register}",
        "",
    ),
    "format": (lambda r: f"the format of bpf_snprintf will not do: {r.facts['why']}", ""),
    "map-kind": (lambda r: f"{r.facts['helper']} does not work on the map {r.facts['map']}", ""),
}
