"""eBPF instructions as text: how each is written, what else is read, and that nothing is lost either way."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsbpf.bpf import insn as e
from clsbpf.bpf.asm import assemble
from clsbpf.bpf.disasm import disassemble, format_insn
from clsbpf.bpf.forms import FORMS, Form
from clsbpf.bpf.insn import Insn
from clsbpf.bpf.isa import Alu, Atomic, Class, Jmp, Mode, Pseudo, Size
from clsbpf.errors import BytecodeError

WRITTEN: dict[str, Insn] = {
    "r1 = r2": e.mov64_reg(1, 2),
    "r1 = -7": e.mov64_imm(1, -7),
    "w1 = w2": e.mov32_reg(1, 2),
    "w10 = 2147483647": e.mov32_imm(10, 0x7FFFFFFF),
    "r3 += r4": e.alu64_reg(Alu.ADD, 3, 4),
    "r3 -= 5": e.alu64_imm(Alu.SUB, 3, 5),
    "w3 *= w4": e.alu32_reg(Alu.MUL, 3, 4),
    "w3 /= 5": e.alu32_imm(Alu.DIV, 3, 5),
    "r3 |= r4": e.alu64_reg(Alu.OR, 3, 4),
    "r3 &= -8": e.alu64_imm(Alu.AND, 3, -8),
    "r3 <<= 32": e.alu64_imm(Alu.LSH, 3, 32),
    "w3 >>= w4": e.alu32_reg(Alu.RSH, 3, 4),
    "r3 s>>= 32": e.alu64_imm(Alu.ARSH, 3, 32),
    "r3 %= r4": e.alu64_reg(Alu.MOD, 3, 4),
    "w3 ^= w3": e.alu32_reg(Alu.XOR, 3, 3),
    "r3 s/= r4": e.alu64_reg(Alu.DIV, 3, 4, 1),
    "w3 s%= -2": e.alu32_imm(Alu.MOD, 3, -2, 1),
    "r1 = (s8)r2": e.alu64_reg(Alu.MOV, 1, 2, 8),
    "r1 = (s32)r2": e.alu64_reg(Alu.MOV, 1, 2, 32),
    "w1 = (s16)w2": e.alu32_reg(Alu.MOV, 1, 2, 16),
    "r1 = -r1": e.alu64_imm(Alu.NEG, 1, 0),
    "w1 = -w1": e.alu32_imm(Alu.NEG, 1, 0),
    "r1 = be16 r1": e.endian(1, 16, to_big=True),
    "r1 = le64 r1": e.endian(1, 64, to_big=False),
    "r1 = bswap32 r1": e.bswap(1, 32),
    "r0 = *(u8 *)(r1 +0)": e.ldx(Size.B, 0, 1, 0),
    "r0 = *(u64 *)(r10 -8)": e.ldx(Size.DW, 0, 10, -8),
    "r0 = *(s16 *)(r1 +32767)": e.ldxs(Size.H, 0, 1, 0x7FFF),
    "*(u32 *)(r10 -32768) = r1": e.stx(Size.W, 10, -0x8000, 1),
    "*(u16 *)(r10 -2) = -1": e.st(Size.H, 10, -2, -1),
    "r0 = *(u16 *)skb[12]": e.ld_abs(Size.H, 12),
    "r0 = *(u32 *)skb[-1048576]": e.ld_abs(Size.W, -0x100000),
    "r0 = *(u8 *)skb[r7]": e.ld_ind(Size.B, 7, 0),
    "r0 = *(u8 *)skb[r7 + -3]": e.ld_ind(Size.B, 7, -3),
    "lock *(u64 *)(r1 +8) += r2": e.atomic(Size.DW, Atomic.ADD, 1, 8, 2),
    "lock *(u32 *)(r1 +0) ^= r2": e.atomic(Size.W, Atomic.XOR, 1, 0, 2),
    "r2 = atomic_fetch_or((u64 *)(r1 +0), r2)": e.atomic(Size.DW, Atomic.OR | Atomic.FETCH, 1, 0, 2),
    "w2 = atomic_fetch_and((u32 *)(r1 +0), w2)": e.atomic(Size.W, Atomic.AND | Atomic.FETCH, 1, 0, 2),
    "r2 = xchg_64(r1 +0, r2)": e.atomic(Size.DW, Atomic.XCHG, 1, 0, 2),
    "w0 = cmpxchg32_32(r1 -4, w0, w2)": e.atomic(Size.W, Atomic.CMPXCHG, 1, -4, 2),
    "w2 = load_acquire((u8 *)(r1 +0))": e.atomic(Size.B, Atomic.LOAD_ACQ, 2, 0, 1),
    "store_release((u64 *)(r1 +0), r2)": e.atomic(Size.DW, Atomic.STORE_REL, 1, 0, 2),
    "goto -1": e.ja(-1),
    "gotol +100000": Insn(Class.JMP32 | Jmp.JA, imm=100000),
    "may_goto +3": Insn(Class.JMP | Jmp.JCOND, off=3),
    "if r1 == 0x5 goto +3": e.jmp_imm(Jmp.JEQ, 1, 5, 3),
    "if r1 != 0xffffffff goto +3": e.jmp_imm(Jmp.JNE, 1, -1, 3),
    "if w1 & 0x80 goto -3": e.jmp32_imm(Jmp.JSET, 1, 0x80, -3),
    "if r1 s< r2 goto +0": e.jmp_reg(Jmp.JSLT, 1, 2, 0),
    "if w1 <= w2 goto +0": e.jmp32_reg(Jmp.JLE, 1, 2, 0),
    "call 12": e.call(12),
    "call pc-4": Insn(Class.JMP | Jmp.CALL, src=1, imm=-4),
    "call kfunc#31415": Insn(Class.JMP | Jmp.CALL, src=2, imm=31415),
    "exit": e.exit_(),
}
WRITTEN_AS_ONE = {
    "r1 = 0x1122334455667788 ll": e.ld_imm64(1, 0x1122334455667788),
    "r1 = 0xffffffffffffffff ll": e.ld_imm64(1, -1),
    "r1 = map[fd:5]": e.ld_imm64(1, 5, Pseudo.MAP_FD),
    "r1 = map[fd:5][0]+16": e.ld_imm64(1, 16 << 32 | 5, Pseudo.MAP_VALUE),
    "r1 = map[idx:5]": e.ld_imm64(1, 5, Pseudo.MAP_IDX),
    "r1 = map[idx:5][0]-1": e.ld_imm64(1, 0xFFFFFFFF << 32 | 5, Pseudo.MAP_IDX_VALUE),
    "r1 = btf_id[77]": e.ld_imm64(1, 77, Pseudo.BTF_ID),
    "r1 = subprog[+4]": e.ld_imm64(1, 4, Pseudo.FUNC),
}
NO_TEXT_BUT_THE_NUMBER = {
    "a register that is not there": e.mov64_reg(11, 0),
    "a source register that means nothing": Insn(Class.ALU64 | Alu.MOV, 1, 2, 0, 3),
    "an offset that means nothing": e.alu64_imm(Alu.ADD, 1, 1, off=5),
    "an immediate that means nothing": Insn(Class.JMP | Jmp.EXIT, imm=1),
    "a reserved opcode": Insn(0xFF),
    "an atomic operation that is not there": e.atomic(Size.DW, 0x42, 1, 0, 2),
    "an atomic add of a byte": e.atomic(Size.B, Atomic.ADD, 1, 0, 2),
    "a sign-extending load of 8 bytes": e.ldxs(Size.DW, 0, 1, 0),
    "half a 64-bit load": e.ld_imm64(1, 7)[0],
    "an indirect call, which compilers write in two ways": Insn(Class.JMP | Jmp.CALL | 0x08, dst=3),
    "a byte swap of 24 bits": e.endian(1, 24, to_big=True),
}


@pytest.mark.parametrize(("text", "insn"), WRITTEN.items(), ids=WRITTEN)
def test_one_instruction_each_way(text: str, insn: Insn) -> None:
    assert disassemble([insn]) == text
    assert assemble(text) == (insn,)


@pytest.mark.parametrize(("text", "insns"), WRITTEN_AS_ONE.items(), ids=WRITTEN_AS_ONE)
def test_a_64_bit_load_is_one_line(text: str, insns: tuple[Insn, Insn]) -> None:
    assert disassemble(insns) == text
    assert assemble(text) == insns


@pytest.mark.parametrize("insn", NO_TEXT_BUT_THE_NUMBER.values(), ids=NO_TEXT_BUT_THE_NUMBER)
def test_what_has_no_text_is_a_number(insn: Insn) -> None:
    text = disassemble([insn])
    assert text.startswith(".quad 0x")
    assert assemble(text) == (insn,)


ALSO_READ = {
    # what LLVM or the kernel writes: how it is written here
    "r0 = *(u32 *)(r1 + 16)": "r0 = *(u32 *)(r1 +16)",
    "w0 = *(u32 *)(r1 + 16)": "r0 = *(u32 *)(r1 +16)",
    "*(u8 *)(r10 - 1) = w3": "*(u8 *)(r10 -1) = r3",
    "r0=*(u32*)(r1+16)": "r0 = *(u32 *)(r1 +16)",
    "if r1 == 5 goto +3 <LBB0_2>": "if r1 == 0x5 goto +3",
    "if r1 s> -5 goto +3": "if r1 s> 0xfffffffb goto +3",
    "if w1 > 0x7 goto pc-2": "if w1 > 0x7 goto -2",
    "goto pc+2": "goto +2",
    "gotol pc+2": "gotol +2",
    "goto 0x10": "goto +16",
    "call pc +4": "call pc+4",
    "call bpf_redirect#23": "call 23",
    "call bpf_redirect": "call 23",
    "call redirect": "call 23",
    "call unknown#250": "call 250",
    "r1 = 1234 ll": "r1 = 0x4d2 ll",
    "r1 = -1 ll": "r1 = 0xffffffffffffffff ll",
    "w1 = 0xffffffff": "w1 = -1",
    "r1 = (s8) r2": "r1 = (s8)r2",
    "lock *(u32 *)(r1 + 0) += w2": "lock *(u32 *)(r1 +0) += r2",
    "r2 = atomic64_fetch_add((u64 *)(r1 +0), r2)": "r2 = atomic_fetch_add((u64 *)(r1 +0), r2)",
    "r2 = atomic_fetch_add((u32 *)(r1 +0), r2)": "w2 = atomic_fetch_add((u32 *)(r1 +0), w2)",
    "r2 = atomic64_xchg((u64 *)(r1 +0), r2)": "r2 = xchg_64(r1 +0, r2)",
    "r0 = atomic_cmpxchg((u32 *)(r1 +0), r0, r2)": "w0 = cmpxchg32_32(r1 +0, w0, w2)",
    "r2 = load_acquire((u16 *)(r1 +0))": "w2 = load_acquire((u16 *)(r1 +0))",
    "12: (bf) r6 = r1                      ; R1=ctx() R6_w=ctx()": "r6 = r1",
    "       3:\tbf 16 00 00 00 00 00 00\tr6 = r1": "r6 = r1",
    "r6 = r1   // the context": "r6 = r1",
    "r6 = r1   # the context": "r6 = r1",
    "if r1 != -0x8 goto +0x6 <LBB0_2>": "if r1 != 0xfffffff8 goto +6",
    "*(u32 *)(r10 - 0x4) = w1": "*(u32 *)(r10 -4) = r1",
    ".8byte 4660": ".quad 0x0000000000001234",
}


@pytest.mark.parametrize(("text", "canonical"), ALSO_READ.items(), ids=ALSO_READ)
def test_other_ways_to_write_it_are_read(text: str, canonical: str) -> None:
    assert disassemble(assemble(text)) == canonical


def test_labels_comments_and_empty_lines() -> None:
    program = assemble(
        """
        # a comment
        start:
                r1 = 5 ll                 ; two instructions
                if r1 == 0 goto out
        again: inner: r0 = 1
                if w1 s< w2 goto inner
                goto again
                gotol out
                call function
        out:    exit
        0000000000000048 <function>:
                exit
        """
    )
    assert disassemble(program, numbered=True).splitlines() == [
        "   0: r1 = 0x5 ll",
        "   2: if r1 == 0x0 goto +5",
        "   3: r0 = 1",
        "   4: if w1 s< w2 goto -2",
        "   5: goto -3",
        "   6: gotol +1",
        "   7: call pc+1",
        "   8: exit",
        "   9: exit",
    ]


def test_names_of_helpers_and_of_one_instruction() -> None:
    program = e.program(e.call(23), e.call(9999), e.ld_imm64(1, 5))
    assert disassemble(program, helper_names=True).splitlines()[:2] == ["call bpf_redirect#23", "call 9999"]
    assert format_insn(program, 0) == "call bpf_redirect#23"
    assert format_insn(program, 2) == "r1 = 0x5 ll"
    assert format_insn(program, 3) == ".quad 0x0000000000000000"


REFUSED = {
    "r1 = r2 r3": "line 1: no instruction is written 'r1 = r2 r3'",
    "\n\n  r11 = 5": "line 3: no instruction is written 'r11 = 5'",
    "r1 == 5": "line 1: no instruction is written",
    "mov r1, r2": "line 1: no instruction is written",
    "r1 = 0x1ffffffff": "line 1: the immediate is 8589934591; -2147483648 to 4294967295 are allowed",
    "r1 = 0x10000000000000000 ll": "line 1: the number is 18446744073709551616",
    "goto +40000": "line 1: the offset is 40000; -32768 to 32767 are allowed",
    "r0 = *(u8 *)(r1 -32769)": "line 1: the offset is -32769",
    "goto nowhere": "line 1: no label 'nowhere'",
    "call nothing_of_that_name": "line 1: no label 'nothing_of_that_name'",
    "call bpf_redirect#24": "line 1: helper 'bpf_redirect' is number 23, not 24",
    "a: exit\na: exit": "line 2: the label 'a' is there already",
    "r1 = -r2": "line 1: 'r1 = -r2' must name one register twice",
    "r1 = be16 r2": "line 1: 'r1 = be16 r2' must name one register twice",
    "r1 = *(u8 *)skb[1]": "line 1: r0 must stand where 'r1 = *(u8 *)skb[1]' has r1",
    "r2 = xchg_64(r1 +0, r3)": "must name one register twice",
    ".quad 0x1ffffffffffffffff": "line 1: the number is",
    "r1 = map[fd:4294967296]": "line 1: the immediate is 4294967296",
    "if r1 == goto +1": "line 1: no instruction is written",
    "r1 = " + "9" * 5000: "line 1: the immediate is far too long",
    "r1 = -" + "9" * 5000 + " ll": "line 1: the number is far too long",
    "goto +" + "9" * 5000: "line 1: the offset is far too long",
    ".quad " + "9" * 5000: "line 1: the number is far too long",
    "call x#" + "9" * 5000: "line 1: the helper's number is far too long",
    "§": "line 1: no instruction is written '§'",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items(), ids=[text[:30] for text in REFUSED])
def test_what_is_no_instruction_is_an_error(text: str, message: str) -> None:
    with pytest.raises(BytecodeError) as error:
        assemble(text)
    assert message in str(error.value)


def test_a_label_too_far_away() -> None:
    text = "goto out\n" + "r0 = 0\n" * 32768 + "out: exit"
    with pytest.raises(
        BytecodeError, match="line 1: the distance to 'out' is 32768; -32768 to 32767 are allowed"
    ):
        assemble(text)
    assert assemble(text.replace("goto", "gotol"))[0].imm == 32768


def test_each_shape_is_one_instructions() -> None:
    """A line is assembled by its shape alone: no two forms may share one."""
    assert [shape for shape, count in Counter(form.shape for form in FORMS).items() if count > 1] == []


def of_form(form: Form, random: Random) -> Insn:
    """A random instruction that `form` writes."""

    def either(fixed: int | None, least: int, most: int) -> int:
        return random.randint(least, most) if fixed is None else fixed

    return Insn(
        form.code,
        either(form.dst, 0, 10),
        either(form.src, 0, 10),
        either(form.off, -0x8000, 0x7FFF),
        either(form.imm, -0x80000000, 0x7FFFFFFF),
    )


def test_every_form_round_trips() -> None:
    """assemble(form.write(i)) == i for every form, the ones that are only read too, whatever its operands."""
    random = Random(0)
    for form in FORMS:
        for _ in range(10):
            insn = of_form(form, random)
            assert assemble(form.write(insn)) == (insn,), form.template
            assert ".quad" not in disassemble([insn])


insns = st.builds(
    Insn,
    st.integers(0, 255),
    st.integers(0, 15),
    st.integers(0, 15) | st.just(0),
    st.integers(-0x8000, 0x7FFF) | st.sampled_from([0, 1, 8, 16, 32]),
    st.integers(-0x80000000, 0x7FFFFFFF) | st.sampled_from([0, 16, 32, 64, 0xE1, 0xF1]),
)


@given(st.lists(insns, max_size=6))
def test_any_program_round_trips(program: list[Insn]) -> None:
    """assemble(disassemble(p)) == p for every list of instructions, sensible or not."""
    assert assemble(disassemble(program)) == tuple(program)
    assert assemble(disassemble(program, helper_names=True, numbered=True)) == tuple(program)


@given(st.text(alphabet="rw0123456789 =+-*()[]u<>&|goticalpif#:,;\n.", max_size=40))
def test_any_text_is_a_program_or_an_error(text: str) -> None:
    """Whatever the text, assemble returns what disassembles and assembles again, or raises BytecodeError."""
    try:
        program = assemble(text)
    except BytecodeError:
        return
    assert assemble(disassemble(program)) == program


def test_the_table_has_every_opcode_of_the_current_set() -> None:
    """Of the opcodes that could be, those without a text are those that mean nothing."""
    codes = {form.code for form in FORMS} | {Class.LD | Mode.IMM | Size.DW}
    loads = {Class.LDX | mode | size for mode in (Mode.MEM, Mode.MEMSX) for size in Size}
    alu = {cls | op | src for cls in (Class.ALU, Class.ALU64) for op in Alu for src in (0, 8)}
    jumps = {cls | op | src for cls in (Class.JMP, Class.JMP32) for op in Jmp for src in (0, 8)}
    stores = {cls | Mode.MEM | size for cls in (Class.ST, Class.STX) for size in Size}
    atomics = {Class.STX | Mode.ATOMIC | size for size in Size}
    packet = {Class.LD | mode | size for mode in (Mode.ABS, Mode.IND) for size in (Size.B, Size.H, Size.W)}
    unwritten = (loads | alu | jumps | stores | atomics | packet) - codes
    assert unwritten == {
        Class.LDX | Mode.MEMSX | Size.DW,  # nothing to extend
        *(cls | Alu.NEG | 8 for cls in (Class.ALU, Class.ALU64)),
        Class.ALU64 | Alu.END | 8,
        *(cls | op | 8 for cls in (Class.JMP, Class.JMP32) for op in (Jmp.JA, Jmp.CALL, Jmp.EXIT, Jmp.JCOND)),
        *(Class.JMP32 | op for op in (Jmp.CALL, Jmp.EXIT, Jmp.JCOND)),
    }
