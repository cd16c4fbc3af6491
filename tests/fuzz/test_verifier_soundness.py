"""A program that the verifier accepts never faults in the checked interpreter, and any list of instructions
is accepted or refused, nothing else."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.insn import decode
from clsbpf.bpf.spec import ProgramSpec
from clsbpf.errors import VerifierError
from clsbpf.skb import Skb
from clsbpf.verifier.verify import verify
from clsbpf.vm.environment import Environment
from clsbpf.vm.interp import run
from clsbpf.vm.link import link
from clsbpf.vm.maps.map import Map
from verifier_programs import MAPS, grammar_program, mutated


def test_what_is_accepted_does_not_fault() -> None:
    random = Random(17)
    runs = 0
    for _ in range(300):
        spec = ProgramSpec("fuzz", insns=grammar_program(random), license="GPL", maps=MAPS)
        try:
            verify(spec)
        except VerifierError:
            continue
        linked = link(spec, {m.name: Map(m) for m in MAPS.values()})
        for length in (14, 15, 34, 60, 1500):
            run(linked, Skb.from_frame(random.randbytes(length)), environment=Environment(seed=length))
            runs += 1
    assert runs > 200


def test_a_number_that_decided_is_not_forgotten() -> None:
    """Two paths meet with the same register, small on one and unbounded on the other: both are walked.

    Found by the fuzz above: the copy of the register that an index was taken from was not the register
    that the stored state had.
    """
    text = """
    r6 = r1
    r7 = *(u32 *)(r1 +0)
    r0 = *(u32 *)(r1 +8)
    r3 = 0
    r4 = 0
    r5 = 0
    r8 = 0
    if r0 == 0 goto +2
    r7 &= 3
    goto +0
    r2 = r7
    r1 = r10
    r1 += -32
    r1 += r2
    r0 = *(u8 *)(r1 +0)
    r0 = 0
    exit
    """
    with pytest.raises(VerifierError) as caught:
        verify(ProgramSpec("two-paths", insns=tuple(assemble(text)), license="GPL"))
    assert caught.value.report.kind == "unbounded"


def test_hostile_instructions_are_refused_in_words() -> None:
    random = Random(23)
    accepted = refused = 0
    codes = [0xB7, 0xBF, 0x0F, 0x61, 0x7B, 0x85, 0x15, 0x2D, 0x95, 0x18, 0xDB, 0x20, 0x05, 0xE5, 0xDC, 0xD7]
    for number in range(600):
        if number % 2:
            insns = grammar_program(random)
            for _ in range(random.randrange(6)):
                insns = mutated(insns, random)
        else:
            insns = tuple(
                replace(
                    insn, code=random.choice(codes), dst=insn.dst % 12, src=insn.src % 12, off=insn.off % 9
                )
                for insn in decode(random.randbytes(8 * random.randrange(1, 12)))
            )
        try:
            verify(ProgramSpec("hostile", insns=insns, license="GPL", maps=MAPS), verbose=bool(number % 3))
            accepted += 1
        except VerifierError:
            refused += 1
    assert accepted > 10
    assert refused > 200
