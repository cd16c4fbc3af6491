"""What may run as machine code?  A `VerifiedProgram`, and nothing else.

Whoever holds one need not look at the instructions again: every memory access is inside what the
program may touch, every register is written before it is read, it ends.  A checked classic program is
safe by construction, and its translation is accepted as it stands; everything else has to be proved
first.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass

from ..bpf.classic import CheckedClassic
from ..bpf.insn import Insn
from ..bpf.translate import translate
from ..profile import CURRENT, KernelProfile

_PROOF = object()
"""Only this package makes VerifiedPrograms (and a helper of the tests, on purpose)."""


@dataclass(frozen=True, slots=True)
class VerifiedProgram:
    """struct bpf_prog after the verifier: instructions that are known to be safe.

    `ctx_accesses` has the indexes of the instructions that access the context (struct __sk_buff);
    `type` is the program type as `ProgramSpec` has it; `classic` is the program that it was translated
    from, or None.
    """

    insns: tuple[Insn, ...]
    ctx_accesses: frozenset[int]
    type: str
    classic: CheckedClassic | None
    proof: InitVar[object]

    def __post_init__(self, proof: object) -> None:
        assert proof is _PROOF, "a VerifiedProgram comes from the verifier"

    @classmethod
    def from_classic(cls, checked: CheckedClassic, profile: KernelProfile = CURRENT) -> VerifiedProgram:
        """A checked classic program, as `bpf_migrate_filter` makes it eBPF."""
        translated = translate(checked, profile)
        return cls(translated.insns, translated.ctx_accesses, "sched_cls", checked, _PROOF)
