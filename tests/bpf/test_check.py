"""What the classic checker refuses, where, and why.  (`test_classic_check.py` asks the kernel.)"""

from __future__ import annotations

from random import Random

import pytest

from classic_programs import noise, scratch_puzzle, spoiled
from clsbpf.bpf import classic as c
from clsbpf.bpf.check import check
from clsbpf.bpf.classic import SockFilter
from clsbpf.bpf.classic_asm import assemble_classic
from clsbpf.bpf.isa import BPF_MAXINSNS, Jmp, Size
from clsbpf.errors import BytecodeError
from clsbpf.profile import CURRENT, V4_13

TAKEN = {
    "the shortest": "ret #0",
    "returns A without a load: A starts as 0": "ret a",
    "every load mode": "ld [0] ldh [x + 1] ldb [3] ld #len ldx #len ldx 4*([14]&0xf) ld #1 ldx #1 ret a",
    "a load far outside any packet": "ld [0x7fffffff] ret a",
    "a load from the network header": "ld [-1048576] ret a",
    "the last offset before the ancillary ones": "ld [-4097] ret a",
    "an indexed load may have any offset": "ld [x + -4096] ret a",
    "division by X, which may be 0": "div x mod x ret a",
    "shift by 31, and by X": "lsh #31 rsh #31 lsh x rsh x ret a",
    "a jump to the next instruction": "ja out out: ret #0",
    "a jump to the last instruction": "jeq #1, out ld #1 out: ret #0",
    "a store, then a load of the word": "st M[15] ldx M[15] ret a",
    "a store on both ways to a load": "jeq #0, yes, no yes: st M[1] ja out no: stx M[1] out: ld M[1] ret a",
    "a load that no path reaches": "ret a ld #1 ret a",
    "memory in what no path reaches counts as written": "ja out ld M[3] out: ret a",
}
REFUSED = {
    "an unknown opcode": (".op 0x0e, 0, 0, 0 ret a", 0, "no classic instruction has code 14 (0x0e)"),
    "an eBPF opcode": (".op 0xb7, 0, 0, 0 ret a", 0, "no classic instruction has code 183"),
    "a load of a half word's length": (".op 0x88, 0, 0, 0 ret a", 0, "no classic instruction"),
    "a code over 8 bits": (".op 0x106, 0, 0, 0 ret a", 0, "no classic instruction has code 262"),
    "division by the constant 0": ("ld #1 div #0 ret a", 1, "division by the constant 0"),
    "modulo by the constant 0": ("mod #0 ret a", 0, "division by the constant 0"),
    "a shift by 32": ("lsh #32 ret a", 0, "shift by 32; 0 to 31 are allowed"),
    "a shift by a lot": ("rsh #-1 ret a", 0, "shift by 4294967295; 0 to 31 are allowed"),
    "word 16 of memory": ("st M[16] ret a", 0, "scratch memory word 16; there are 0 to 15"),
    "memory never written": ("ldx M[0] ret a", 0, "reads M[0], which not every path to it has written"),
    "memory written on one path": ("jeq #0, out st M[1] out: ld M[1] ret a", 2, "reads M[1]"),
    "another word was written": ("st M[1] ld M[2] ret a", 1, "reads M[2]"),
    "a jump past the end": (".op 5, 0, 0, 1 ret a", 0, "jump over 1 instructions; 1 come after it"),
    "a backward jump is a jump past the end": (".op 5, 0, 0, 0xffffffff ret a", 0, "jump over 4294967295"),
    "jt past the end": (".op 0x15, 1, 0, 0 ret a", 0, "jump over 1 instructions if true; 1 come after it"),
    "jf past the end": (".op 0x15, 0, 9, 0 ret a", 0, "jump over 9 instructions if false; 1 come after it"),
    "an unknown ancillary value": ("ld [-4095] ret a", 0, "no ancillary value at SKF_AD_OFF + 1"),
    "past the last ancillary value": ("ldb [-4032] ret a", 0, "no ancillary value at SKF_AD_OFF + 64"),
    "the last offset of all": ("ldh [-1] ret a", 0, "no ancillary value at SKF_AD_OFF + 4095"),
    "the end is no return": ("ret a ld #1", 1, "the last instruction must return"),
}


@pytest.mark.parametrize("text", TAKEN.values(), ids=TAKEN)
def test_taken(text: str) -> None:
    program = assemble_classic(text)
    assert check(program).insns == program


@pytest.mark.parametrize(("text", "insn", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused(text: str, insn: int, reason: str) -> None:
    with pytest.raises(BytecodeError) as refusal:
        check(assemble_classic(text))
    assert refusal.value.insn == insn
    assert f"instruction {insn}: " in str(refusal.value)
    assert reason in str(refusal.value)


@pytest.mark.parametrize("length", [0, BPF_MAXINSNS + 1])
def test_a_program_of_no_or_too_many_instructions(length: int) -> None:
    with pytest.raises(
        BytecodeError, match=f"a program of {length} instructions; 1 to 4096 are allowed"
    ) as refusal:
        check([c.ret_a()] * length)
    assert refusal.value.insn is None


def test_a_jump_that_the_current_kernel_cannot_translate() -> None:
    """14 eBPF instructions a load: over 2341 of them eBPF's 16-bit offset does not reach."""
    over = 2341
    for loads, profile, taken in ((over - 1, CURRENT, True), (over, CURRENT, False), (over, V4_13, True)):
        program = [c.ja(loads), *[c.ld_abs(Size.W, 4)] * loads, c.ret_a()]
        if taken:
            assert len(check(program, profile).insns) == len(program)
        else:
            with pytest.raises(
                BytecodeError, match="instruction 0: jump over 32774 instructions once translated"
            ):
                check(program, profile)


def test_a_conditional_jump_always_reaches() -> None:
    """255 of the longest translations are fewer than 32768 instructions."""
    program = [c.jmp_k(Jmp.JEQ, 1, 255, 0), *[c.ldx_msh(0x8000)] * 255, c.ret_a(), c.ret_a()]
    assert len(check(program).insns) == len(program)


def refusal_of(program: tuple[SockFilter, ...]) -> BytecodeError | None:
    try:
        assert check(program).insns == program
    except BytecodeError as error:
        return error
    return None


def test_any_list_is_taken_or_refused() -> None:
    """Whatever the instructions, check() returns them or raises BytecodeError, never anything else."""
    random = Random(0)
    taken = 0
    for make in (spoiled, scratch_puzzle, noise):
        for _ in range(500):
            program = tuple(make(random))
            refusal = refusal_of(program)
            taken += refusal is None
            assert refusal is None or refusal.insn is None or 0 <= refusal.insn < len(program)
    assert 0 < taken < 1500
