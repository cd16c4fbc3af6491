"""What the report says that a filter matches."""

from __future__ import annotations

import pytest

from clsbpf.bpf import classic as c
from clsbpf.bpf.check import check
from clsbpf.bpf.classic import SockFilter, encode_ops
from clsbpf.bpf.isa import Jmp, Size
from clsbpf.engine.matches import describe_filter
from clsbpf.engine.programs import LoadedProgram
from clsbpf.tc.act import TcAct
from clsbpf.tc.filter import Filter

OK, SHOT, RECLASSIFY = c.ret_k(TcAct.OK), c.ret_k(TcAct.SHOT), c.ret_k(TcAct.RECLASSIFY)
UNSPEC = c.ret_k(0xFFFFFFFF)
IS_IP = (c.ld_abs(Size.H, 12), c.jmp_k(Jmp.JEQ, 0x0800, 0, 1))

CASES: list[tuple[list[SockFilter], bool, str]] = [
    ([*IS_IP, c.ret_k(0x10001), c.ret_k(0)], False, "ip"),
    # Under direct action 0 is a verdict, and what is no verdict decides nothing.
    ([*IS_IP, OK, UNSPEC], True, "ip"),
    ([*IS_IP, UNSPEC, SHOT], True, "not ip"),
    ([*IS_IP, SHOT, RECLASSIFY], True, "ip"),
    ([*IS_IP, OK, SHOT], True, "everything of 14 bytes or more"),
    ([UNSPEC], True, "nothing"),
    # Which answers are verdicts cannot be told from a path.
    ([c.ld_len(), c.ret_a()], True, "2 instructions"),
    ([c.ld_len(), c.ret_a()], False, "len!=0"),
]


@pytest.mark.parametrize(("insns", "direct_action", "said"), CASES)
def test_classic(insns: list[SockFilter], direct_action: bool, said: str) -> None:
    program = LoadedProgram(classic=check(insns), ops=encode_ops(insns))
    assert describe_filter(Filter(1, program, direct_action=direct_action, ops=program.ops)) == said


def test_ebpf() -> None:
    """An eBPF program has the name that tc gave it."""
    program = LoadedProgram(classic=check([OK]))  # which program it is makes no difference
    assert describe_filter(Filter(1, program, name="prog.o:[tc]")) == "prog.o:[tc]"
    assert describe_filter(Filter(1, program)) == "eBPF program"
