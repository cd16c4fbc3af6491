"""Prototypes against the kernel's: who may call a helper, under which licence, what it spoils."""

from __future__ import annotations

import os

import pytest

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.helpers import HELPERS, Helper
from clsbpf.bpf.prototypes import prototypes
from clsbpf.errors import VerifierError
from clsbpf.kernel.bpf import ProgType, prog_load
from judges import need_kernel

FOR_TC = [helper for helper in HELPERS if "current" in helper.sched_cls]


def refusal(text: str, license: str) -> str:
    """What the verifier says against a program; nothing, if it takes it."""
    try:
        os.close(prog_load(assemble(text), ProgType.SCHED_CLS, license=license))
    except VerifierError as error:
        return error.log
    return ""


@pytest.mark.parametrize("helper", HELPERS, ids=lambda helper: helper.name)
def test_tc_may_call_it(helper: Helper) -> None:
    need_kernel()
    text = refusal(f"call {helper.number}\nexit", "GPL")
    assert ("program of this type cannot use helper" not in text and "unknown func" not in text) == (
        helper in FOR_TC
    )


@pytest.mark.parametrize("helper", FOR_TC, ids=lambda helper: helper.name)
def test_under_any_licence_or_not(helper: Helper) -> None:
    need_kernel()
    assert ("GPL" in refusal(f"call {helper.number}\nexit", "")) == prototypes()[helper.name].gpl_only


SCALARS = ("any", "ctx")
CHANGES = [
    helper
    for helper in FOR_TC
    if prototypes()[helper.name].returns.value == "int"
    and all(kind.value in SCALARS for kind in prototypes()[helper.name].arguments)
]


@pytest.mark.parametrize("helper", CHANGES, ids=lambda helper: helper.name)
def test_it_spoils_pointers_into_the_packet_or_not(helper: Helper) -> None:
    need_kernel()
    prototype = prototypes()[helper.name]
    arguments = [
        f"r{register} = {'r6' if kind.value == 'ctx' else '0'}"
        for register, kind in enumerate(prototype.arguments, 1)
    ]
    lines = ["r6 = r1", "r7 = *(u32 *)(r6 + 76)", "r8 = *(u32 *)(r6 + 80)", "r1 = r7", "r1 += 14"]
    lines += ["if r1 <= r8 goto +2", "r0 = 0", "exit", *arguments, f"call {helper.number}"]
    log = refusal("\n".join([*lines, "r0 = *(u8 *)(r7 + 0)", "exit"]), "GPL")
    assert ("R7 invalid mem access" in log) == prototype.changes_packet
