"""What may run as machine code?  A `VerifiedProgram`, and nothing else.

Whoever holds one need not look at the instructions again: every memory access is inside what the
program may touch, every register is written before it is read, it ends.  A checked classic program is
safe by construction, and its translation is accepted as it stands; everything else has to be proved
first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import InitVar, dataclass, field

from ..bpf.classic import CheckedClassic
from ..bpf.insn import Insn
from ..bpf.spec import ProgramSpec
from ..bpf.translate import translate
from ..profile import CURRENT, KernelProfile


@dataclass(frozen=True, slots=True)
class Work:
    """What a verdict took, as the kernel counts it; `stack_depth` in bytes, of the deepest chain of calls."""

    insns: int
    """Instructions visited."""
    states: int
    """States stored."""
    peak_states: int
    stack_depth: int
    seconds: float


KERNEL_STRUCTURE = "ptr_"
"""In `pointer_kinds`: a structure of the kernel's, whose address may lead nowhere (PTR_TO_BTF_ID)."""

_PROOF = object()
"""Only this package makes VerifiedPrograms (and a helper of the tests, on purpose)."""


@dataclass(frozen=True, slots=True)
class VerifiedProgram:
    """struct bpf_prog after the verifier: instructions that are known to be safe.

    `ctx_accesses` has the indexes of the instructions that access the context (struct __sk_buff);
    `type` is the program type as `ProgramSpec` has it; `classic` is the program that it was translated
    from, or None.  Of an extended program `spec` is what was verified, `pointer_kinds` says of each
    instruction that loads or stores (reached on some path) what it goes through ("ctx", "pkt", "fp",
    "map_value", …), `reached` which instructions some path reaches, `stacks` how many bytes of its stack the
    function that begins at an instruction touches, `work` what the verdict took.
    """

    insns: tuple[Insn, ...]
    ctx_accesses: frozenset[int]
    type: str
    classic: CheckedClassic | None
    proof: InitVar[object]
    spec: ProgramSpec | None = None
    pointer_kinds: Mapping[int, str] = field(default_factory=dict)
    reached: frozenset[int] = frozenset()
    stacks: Mapping[int, int] = field(default_factory=dict)
    work: Work | None = None
    log: str = ""

    def __post_init__(self, proof: object) -> None:
        assert proof is _PROOF, "a VerifiedProgram comes from the verifier"

    @classmethod
    def verified(
        cls,
        spec: ProgramSpec,
        *,
        ctx_accesses: Iterable[int],
        pointer_kinds: Mapping[int, str],
        seen: frozenset[int],
        stacks: Mapping[int, int],
        work: Work,
        log: str = "",
    ) -> VerifiedProgram:
        """For the verifier alone: a program that was walked to the end of all its paths."""
        return cls(
            spec.insns,
            frozenset(ctx_accesses),
            spec.type,
            None,
            _PROOF,
            spec,
            pointer_kinds,
            seen,
            stacks,
            work,
            log,
        )

    @classmethod
    def from_classic(cls, checked: CheckedClassic, profile: KernelProfile = CURRENT) -> VerifiedProgram:
        """A checked classic program, as `bpf_migrate_filter` makes it eBPF."""
        translated = translate(checked, profile)
        return cls(translated.insns, translated.ctx_accesses, "sched_cls", checked, _PROOF)
