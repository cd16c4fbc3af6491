"""The helper table: its own order, and numbers, names and permissions against the kernel's verifier."""

from __future__ import annotations

import re

from clsbpf.bpf import insn as e
from clsbpf.bpf.helpers import BY_NAME, BY_NUMBER, HELPERS, INTERNAL, INTERNAL_HELPERS
from clsbpf.bpf.isa import R0
from kernel_verifier import opinion


def test_numbers_are_1_to_211_and_then_ours() -> None:
    assert [helper.number for helper in HELPERS] == list(range(1, 212))
    assert [helper.number - INTERNAL for helper in INTERNAL_HELPERS] == [1, 2, 3, 4, 5, 6]
    assert len(BY_NAME) == len(BY_NUMBER) == len(HELPERS) + len(INTERNAL_HELPERS)


def test_what_4_13_lets_tc_call_a_current_kernel_does_too() -> None:
    assert {h.sched_cls for h in HELPERS} == {
        frozenset(),
        frozenset({"current"}),
        frozenset({"4.13", "current"}),
    }
    assert not any(helper.sched_cls for helper in INTERNAL_HELPERS), "no user's program names them"


def test_names_and_permissions_are_the_kernels() -> None:
    """The verifier logs each call by name, and says so where a classifier may not make it."""
    for helper in HELPERS:
        log = opinion(e.program(e.call(helper.number), e.mov64_imm(R0, 0), e.exit_()), log_level=2).log
        logged = re.search(r"call (bpf_\w+)#(\d+)", log)
        assert logged is not None, log
        assert (logged[1], int(logged[2])) == (helper.symbol, helper.number)
        refused = "unknown func" in log or "cannot use helper" in log
        assert refused == ("current" not in helper.sched_cls), f"{helper.name}: {log}"


def test_there_is_no_helper_after_the_last() -> None:
    assert "invalid func" in opinion(e.program(e.call(HELPERS[-1].number + 1), e.exit_())).log
    assert "invalid func" in opinion(e.program(e.call(INTERNAL_HELPERS[0].number), e.exit_())).log
