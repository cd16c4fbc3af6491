"""How far into a packet does a program look, and is it missed when it does not run?

Whoever leaves programs out that cannot match must know both: a program that looks beyond what was
captured of a packet says so (`read past`), and one that draws random numbers changes what others draw.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from ..bpf.classic import CheckedClassic, SockFilter
from ..bpf.isa import SIZE_BYTES, Class, Mode, Size, class_of, mode_of, size_of
from .planned import PlannedFilter


def can_wait(planned: PlannedFilter) -> bool:
    """Does a return of 0 mean that the filter goes on as if it were not there?

    Under direct action 0 is a verdict, OK; and who draws random numbers is missed when he does not run.
    """
    direct = planned.filter.direct_action
    return not direct and planned.classic is not None and not planned.draws_random


def reach_of(programs: Iterable[CheckedClassic]) -> int | None:
    """How many bytes from `data` on programs may look at; None where that depends on too much.

    It is the same for all programs of a shape.
    """
    reach = 0
    for program in programs:
        for insn in program.insns:
            end = reach_of_load(insn, program)
            if end is None:
                return None
            reach = max(reach, end)
    return reach


MSH_MAXIMUM = 4 * 15


def reach_of_load(insn: SockFilter, program: CheckedClassic) -> int | None:
    """The same of one instruction: 0 where it loads nothing from the packet."""
    kind, mode = class_of(insn.code), mode_of(insn.code)
    if kind not in (Class.LD, Class.LDX) or mode not in (Mode.ABS, Mode.IND, Mode.MSH):
        return 0
    if insn.k > 0x7FFFFFFF:
        # Ancillary loads read the packet only where a helper does.
        return 0 if mode == Mode.ABS and insn.k in _PLAIN_ANCILLARY else None
    end = insn.k + SIZE_BYTES[Size(size_of(insn.code))]
    if mode == Mode.IND:
        return end + MSH_MAXIMUM if x_is_header_length(program) else None
    return end


_PLAIN_ANCILLARY = frozenset(
    0xFFFFF000 + number for number in (0, 4, 8, 20, 24, 28, 32, 36, 40, 44, 48, 56, 60)
)
"""SKF_AD_OFF + …: those that are fields of the skb."""


@functools.lru_cache(maxsize=4096)
def x_is_header_length(program: CheckedClassic) -> bool:
    """Is X never anything but 0 or what LDX MSH loads?"""
    writes = [insn for insn in program.insns if class_of(insn.code) == Class.LDX or insn.code == Class.MISC]
    return all(class_of(insn.code) == Class.LDX and mode_of(insn.code) == Mode.MSH for insn in writes)
