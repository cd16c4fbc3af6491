"""Specs: what one cannot be."""

from __future__ import annotations

import pytest

from clsbpf.bpf import classic as c
from clsbpf.bpf import insn as e
from clsbpf.bpf.spec import SCHED_CLS, ProgramSpec
from clsbpf.errors import BytecodeError

EXTENDED = (e.mov64_imm(0, 0), e.exit_())
CLASSIC = (c.ret_k(0),)


def test_a_program_is_extended_or_classic() -> None:
    assert ProgramSpec("p", insns=EXTENDED).type == SCHED_CLS
    assert ProgramSpec("p", classic=CLASSIC).insns == ()
    for insns, classic in (((), None), (EXTENDED, CLASSIC)):
        with pytest.raises(
            BytecodeError, match="'p' must have extended or classic instructions, one of the two"
        ):
            ProgramSpec("p", insns=insns, classic=classic)


def test_a_type_that_is_not_known() -> None:
    with pytest.raises(
        BytecodeError, match="no program type 'xdp'; there are: socket_filter, sched_cls, sched_act"
    ):
        ProgramSpec("p", type="xdp", insns=EXTENDED)
