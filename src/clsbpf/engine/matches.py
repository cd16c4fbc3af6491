"""What does a filter match, for a reader of the report?

A classic program's paths say it (`bpf.describe`).  Under direct action what counts is not whether the
program answers 0 but whether its answer is a verdict: that is what the filter decides.
"""

from __future__ import annotations

from ..bpf.classic import CheckedClassic
from ..bpf.describe import describe
from ..bpf.isa import A, Class, K
from ..tc.act import TcAct
from ..tc.filter import Filter, exec_opcode
from .programs import LoadedProgram

_RET_K = Class.RET | K
_RET_A = Class.RET | A


def describe_filter(each: Filter) -> str:
    """What the filter matches; the program's name or size where nothing short can be said.

    It speaks of Ethernet frames.
    """
    if each.ops is None:
        return each.name or "eBPF program"
    classic = each.program.classic if isinstance(each.program, LoadedProgram) else None
    if classic is not None and each.direct_action:
        classic = _deciding(classic)
    described = describe(classic) if classic is not None else None
    return described.text if described is not None else f"{len(each.ops) // 8} instructions"


def _deciding(program: CheckedClassic) -> CheckedClassic | None:
    """The program that returns 1 where this one returns a verdict; None where it returns A."""
    if any(i.code == _RET_A for i in program.insns):
        return None
    return program.returning(lambda k: int(exec_opcode(k) != TcAct.UNSPEC))
