"""Classic → eBPF, instruction by instruction, and what holds of every translation."""

from __future__ import annotations

from random import Random

import pytest

from classic_programs import likely_valid
from clsbpf.bpf.check import check
from clsbpf.bpf.classic_asm import assemble_classic
from clsbpf.bpf.disasm import disassemble
from clsbpf.bpf.insn import Insn
from clsbpf.bpf.isa import FP, R1, R6, R10, Class, Jmp, Mode, class_of, mode_of, op_of
from clsbpf.bpf.translate import PROLOGUE, TranslatedClassic, translate
from clsbpf.errors import BytecodeError
from clsbpf.profile import CURRENT, V4_13, KernelProfile

PROLOGUE_TEXT = ["w0 = 0", "w7 = 0", "r6 = r1"]


def translated(text: str, profile: KernelProfile = CURRENT) -> TranslatedClassic:
    return translate(check(assemble_classic(text)), profile)


def body(text: str, profile: KernelProfile = CURRENT) -> list[str]:
    """The translation of `text; ret a` without prologue and return."""
    lines = disassemble(translated(f"{text} ret a", profile).insns, helper_names=True).splitlines()
    assert lines[:3] == PROLOGUE_TEXT
    assert lines[-1] == "exit"
    return lines[3:-1]


def a_call(helper: str) -> list[str]:
    return ["r1 = r6", "r2 = r0", "r3 = r7", f"call bpf_{helper}"]


WITHOUT_DEVICE = ["r2 = *(u32 *)(r6 +40)", "if r2 != 0x0 goto +1", "exit"]

INSTRUCTIONS = {
    "ld [4]": ["r0 = *(u32 *)skb[4]"],
    "ldh [12]": ["r0 = *(u16 *)skb[12]"],
    "ldb [-1048567]": ["r0 = *(u8 *)skb[-1048567]"],
    "ldh [x + 14]": ["r0 = *(u16 *)skb[r7 + 14]"],
    "ldb [x + 0]": ["r0 = *(u8 *)skb[r7]"],
    "ldb [x + -1]": ["r0 = *(u8 *)skb[r7 + -1]"],
    "ld #5": ["w0 = 5"],
    "ldx #0x80000000": ["w7 = -2147483648"],
    "ld #len": ["r0 = *(u32 *)(r6 +0)"],
    "ldx #len": ["r7 = *(u32 *)(r6 +0)"],
    "st M[0] ld M[0]": ["*(u32 *)(r10 -4) = r0", "r0 = *(u32 *)(r10 -4)"],
    "stx M[15] ldx M[15]": ["*(u32 *)(r10 -64) = r7", "r7 = *(u32 *)(r10 -64)"],
    "ldx 4*([14]&0xf)": [
        "r7 = r0",
        "r0 = *(u8 *)skb[14]",
        "w0 &= 15",
        "w0 <<= 2",
        "r2 = r7",
        "r7 = r0",
        "r0 = r2",
    ],
    "add #1": ["w0 += 1"],
    "sub x": ["w0 -= w7"],
    "mul #-1": ["w0 *= -1"],
    "div #3": ["w0 /= 3"],
    "div x": ["w7 = w7", "if r7 != 0x0 goto +2", "w0 = 0", "exit", "w0 /= w7"],
    "mod x": ["w7 = w7", "if r7 != 0x0 goto +2", "w0 = 0", "exit", "w0 %= w7"],
    "rsh #31": ["w0 >>= 31"],
    "lsh x": ["w0 <<= w7"],
    "neg": ["w0 = -w0"],
    "tax": ["r7 = r0"],
    "txa": ["r0 = r7"],
    "ld proto": ["r0 = *(u32 *)(r6 +16)", "r0 = be16 r0"],
    "ldb proto": ["r0 = *(u32 *)(r6 +16)", "r0 = be16 r0"],
    "ld vlan_tpid": ["r0 = *(u32 *)(r6 +28)", "r0 = be16 r0"],
    "ld type": ["r0 = *(u32 *)(r6 +4)"],
    "ld mark": ["r0 = *(u32 *)(r6 +8)"],
    "ld queue": ["r0 = *(u32 *)(r6 +12)"],
    "ld rxhash": ["r0 = *(u32 *)(r6 +68)"],
    "ld vlan_tci": ["r0 = *(u32 *)(r6 +24)"],
    "ld vlan_avail": ["r0 = *(u32 *)(r6 +20)"],
    "ld ifidx": [*WITHOUT_DEVICE, "r0 = r2"],
    "ld hatype": [*WITHOUT_DEVICE, *a_call("skb_get_hatype#65542")],
    "ld poff": a_call("skb_get_pay_offset#65537"),
    "ld nla": a_call("skb_get_nlattr#65538"),
    "ld nlan": a_call("skb_get_nlattr_nest#65539"),
    "ld cpu": a_call("get_raw_smp_processor_id#65540"),
    "ld rand": a_call("user_rnd_u32#65541"),
    "ld [-4056]": ["w0 ^= w7"],  # SKF_AD_ALU_XOR_X
    "ret #7": ["w0 = 7", "exit"],
    "ret #-1": ["w0 = -1", "exit"],
}


@pytest.mark.parametrize(("classic", "extended"), INSTRUCTIONS.items(), ids=INSTRUCTIONS)
def test_an_instruction(classic: str, extended: list[str]) -> None:
    assert body(classic) == extended


JUMPS = {
    "jf is next": ("jeq #5, out", ["if r0 == 0x5 goto +1"]),
    "jt is next: the opposite": ("jneq #5, out", ["if r0 != 0x5 goto +1"]),
    "jgt turned round": ("jle #5, out", ["if r0 <= 0x5 goto +1"]),
    "jge turned round": ("jlt x, out", ["if r0 < r7 goto +1"]),
    "jset has no opposite": ("jset #5, on, out on:", ["if r0 & 0x5 goto +1", "goto +1"]),
    "neither is next": ("jeq x, out, last", ["if r0 == r7 goto +2", "goto +2"]),
    "both are next": ("jgt #5, on, on on:", ["if r0 > 0x5 goto +0"]),
    "a constant that eBPF would sign-extend": (
        "jeq #0x80000000, out",
        ["w2 = -2147483648", "if r0 == r2 goto +1"],
    ),
    "the same, neither is next": ("jset #-1, out, last", ["w2 = -1", "if r0 & r2 goto +2", "goto +2"]),
    "unconditional": ("ja out", ["goto +1"]),
}


@pytest.mark.parametrize(("jump", "extended"), JUMPS.values(), ids=JUMPS)
def test_a_jump(jump: str, extended: list[str]) -> None:
    lines = disassemble(translated(f"{jump} tax out: txa last: ret a").insns).splitlines()
    assert lines[3:] == [*extended, "r7 = r0", "r0 = r7", "exit"]


def test_the_vlan_tag_of_4_13_lacks_bit_0x1000() -> None:
    assert body("ld vlan_tci", V4_13) == ["r0 = *(u32 *)(r6 +24)", "w0 &= -4097"]


def test_source_and_context_accesses() -> None:
    program = translated("ldh [12] jeq #0x800, out ld proto out: ret #1")
    assert program.source == (PROLOGUE, PROLOGUE, PROLOGUE, 0, 1, 2, 2, 3, 3)
    assert program.ctx_accesses == {5}


def test_every_translation_is_well_formed() -> None:
    """Jumps land where a classic instruction begins, the context is only read, the stack is 64 bytes."""
    random = Random(0)
    seen = 0
    for _ in range(1000):
        try:
            program = check(likely_valid(random))
        except BytecodeError:
            continue
        seen += 1
        made = translate(program)
        assert len(made.source) == len(made.insns)
        assert sorted(set(made.source)) == list(range(PROLOGUE, len(program.insns)))
        assert list(made.source) == sorted(made.source)
        for at, insn in enumerate(made.insns):
            assert_well_formed(made, at, insn)
        assert made.insns[-1].code == Class.JMP | Jmp.EXIT
    assert seen > 900


def assert_well_formed(made: TranslatedClassic, at: int, insn: Insn) -> None:
    cls = class_of(insn.code)
    if cls == Class.JMP and op_of(insn.code) not in (Jmp.CALL, Jmp.EXIT):
        target = at + 1 + insn.off
        assert at < target < len(made.insns)
        within = made.source[target] == made.source[at]
        assert within or made.source[target] != made.source[target - 1]
    if cls in (Class.LDX, Class.STX):
        base = insn.src if cls == Class.LDX else insn.dst
        assert (at in made.ctx_accesses) == (base == R6)
        if base == FP:
            assert -64 <= insn.off <= -4
            assert insn.off % 4 == 0
        else:
            assert (cls, base) == (Class.LDX, R6)
            assert mode_of(insn.code) == Mode.MEM
    assert insn.dst != R10 or cls == Class.STX
    assert insn.dst != R6 or (at == 2 and insn.src == R1)
