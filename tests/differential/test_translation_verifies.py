"""Our translation of classic programs before the kernel's verifier: what it may not do, it does not do."""

from __future__ import annotations

import re
from random import Random

from classic_programs import likely_valid
from clsbpf.bpf.check import check
from clsbpf.bpf.classic_asm import assemble_classic
from clsbpf.bpf.helpers import INTERNAL
from clsbpf.bpf.isa import Class, Jmp
from clsbpf.bpf.translate import TranslatedClassic, translate
from clsbpf.errors import BytecodeError
from kernel_verifier import opinion


def calls_internal(program: TranslatedClassic) -> bool:
    return any(i.code == Class.JMP | Jmp.CALL and i.imm > INTERNAL for i in program.insns)


def test_random_translations_pass_the_verifier() -> None:
    """The verifier takes every translation; all it refuses is code that no path reaches."""
    random = Random(0)
    taken = unreachable = 0
    while taken < 400:
        try:
            program = translate(check(likely_valid(random)))
        except BytecodeError:
            continue
        if calls_internal(program):
            continue
        said = opinion(program.insns)
        if said.taken:
            taken += 1
        else:
            assert re.search(r"^unreachable insn \d+$", said.log, re.MULTILINE), said.log
            unreachable += 1
    assert unreachable < taken


def test_each_context_field_is_one_that_the_verifier_lets_be_read() -> None:
    for name in [
        "proto",
        "type",
        "ifidx",
        "mark",
        "queue",
        "rxhash",
        "vlan_tci",
        "vlan_avail",
        "vlan_tpid",
        "#len",
    ]:
        program = translate(check(assemble_classic(f"ld {name} ret a")))
        said = opinion(program.insns)
        assert program.ctx_accesses
        assert said.taken, said.log
