"""Where programs of a run or a test get their table from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.programs import Backend, ProgramTable
from ..profile import profile_by_name

if TYPE_CHECKING:
    pass


def make_programs(backend: str, profile: str) -> ProgramTable:
    """The table of programs for a backend; those of a native plan run one by one only outside of it."""
    kind = Backend.INTERPRETER if backend == "interpreter" else Backend.JIT
    return ProgramTable(backend=kind, profile=profile_by_name(profile))
