"""The assembly language of classic BPF, both ways."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classic_programs import likely_valid, noise, scratch_puzzle, spoiled
from clsbpf.bpf import classic as c
from clsbpf.bpf.classic import SockFilter
from clsbpf.bpf.classic_asm import ANCILLARY_NAMES, assemble_classic, disassemble_classic
from clsbpf.bpf.isa import Alu, Jmp, Size
from clsbpf.errors import BytecodeError

WRITTEN: dict[str, SockFilter] = {
    "ld [0]": c.ld_abs(Size.W, 0),
    "ldh [12]": c.ld_abs(Size.H, 12),
    "ldb [-1048576]": c.ld_abs(Size.B, c.SKF_NET_OFF),
    "ld [x + 4]": c.ld_ind(Size.W, 4),
    "ldb [x + -4]": c.ld_ind(Size.B, -4),
    "ld #0x800": c.ld_imm(0x800),
    "ldx #0": c.ldx_imm(0),
    "ld #len": c.ld_len(),
    "ldx #len": c.ldx_len(),
    "ld M[3]": c.ld_mem(3),
    "ldx M[15]": c.ldx_mem(15),
    "ldxb 4*([14]&0xf)": c.ldx_msh(14),
    "st M[0]": c.st(0),
    "stx M[1]": c.stx(1),
    "add #14": c.alu_k(Alu.ADD, 14),
    "sub x": c.alu_x(Alu.SUB),
    "mul #3": c.alu_k(Alu.MUL, 3),
    "div #4294967295": c.alu_k(Alu.DIV, -1),
    "mod x": c.alu_x(Alu.MOD),
    "and #0xff": c.alu_k(Alu.AND, 0xFF),
    "or #0": c.alu_k(Alu.OR, 0),
    "xor #0xffffffff": c.alu_k(Alu.XOR, -1),
    "lsh #2": c.alu_k(Alu.LSH, 2),
    "rsh x": c.alu_x(Alu.RSH),
    "neg": c.neg(),
    "tax": c.tax(),
    "txa": c.txa(),
    "ret a": c.ret_a(),
    "ret x": SockFilter(0x0E),
    "ret #0xffffffff": c.ret_k(-1),
    "ld proto": c.ld_ad(c.Ancillary.PROTOCOL),
    "ldb vlan_tci": c.ld_ad(c.Ancillary.VLAN_TAG, Size.B),
    "ld vlan_avail": c.ld_ad(c.Ancillary.VLAN_TAG_PRESENT),
    "ld [-4056]": c.ld_ad(c.Ancillary.ALU_XOR_X),
    ".op 0x28, 1, 0, 0xc": SockFilter(0x28, 1, 0, 12),
    ".op 0x7, 0, 0, 0x1": SockFilter(0x07, k=1),
    ".op 0xffff, 255, 254, 0x0": SockFilter(0xFFFF, 255, 254),
}


@pytest.mark.parametrize(("text", "insn"), WRITTEN.items(), ids=WRITTEN)
def test_one_instruction_each_way(text: str, insn: SockFilter) -> None:
    assert disassemble_classic([insn]) == f"l0:\t{text}"
    assert assemble_classic(text) == (insn,)


ALSO_READ = {
    "LDH [0x0C]": "ldh [12]",
    "ld[x+4]": "ld [x + 4]",
    "ld [%x + 4]": "ld [x + 4]",
    "ldi 5": "ld #0x5",
    "ldi #5": "ld #0x5",
    "ldxi 0b101": "ldx #0x5",
    "ld #-1": "ld #0xffffffff",
    "ld #017": "ld #0xf",
    "ld len": "ld #len",
    "ld #pktlen": "ld #len",
    "ldx 4*([14]&0xf)": "ldxb 4*([14]&0xf)",
    "ldxb 4 * ( [ 14 ] & 15 )": "ldxb 4*([14]&0xf)",
    "ld #proto": "ld proto",
    "ld vlan_pr": "ld vlan_avail",
    "ld [-4096]": "ld proto",
    "add %x": "add x",
    "ret %a": "ret a",
    "ret a ; the end": "ret a",
    "ret /* what\nnow */ a": "ret a",
    "# first\nret a\n#len, the last": "ret a",
}


@pytest.mark.parametrize(("text", "canonical"), ALSO_READ.items(), ids=ALSO_READ)
def test_other_ways_to_write_it_are_read(text: str, canonical: str) -> None:
    assert disassemble_classic(assemble_classic(text)) == f"l0:\t{canonical}"


JUMPS = {
    "jeq #5, yes, no": c.jmp_k(Jmp.JEQ, 5, 0, 1),
    "jeq #5, no": c.jmp_k(Jmp.JEQ, 5, 1, 0),
    "jne #5, no": c.jmp_k(Jmp.JEQ, 5, 0, 1),
    "jneq x, no": c.jmp_x(Jmp.JEQ, 0, 1),
    "jgt x, no, yes": c.jmp_x(Jmp.JGT, 1, 0),
    "jle #5, no": c.jmp_k(Jmp.JGT, 5, 0, 1),
    "jge %x, yes, no": c.jmp_x(Jmp.JGE, 0, 1),
    "jlt #5, no": c.jmp_k(Jmp.JGE, 5, 0, 1),
    "jset #0x1fff, no, yes": c.jmp_k(Jmp.JSET, 0x1FFF, 1, 0),
    "ja no": c.ja(1),
    "jmp yes": c.ja(0),
}


@pytest.mark.parametrize(("text", "insn"), JUMPS.items(), ids=JUMPS)
def test_jumps_name_labels(text: str, insn: SockFilter) -> None:
    program = assemble_classic(f"{text}\nyes: ret #1\nno:\nret #0")
    assert program == (insn, c.ret_k(1), c.ret_k(0))
    assert assemble_classic(disassemble_classic(program)) == program


def test_a_program_as_it_is_printed() -> None:
    program = assemble_classic("ldh [12] jne #0x800, drop ldb [23] jneq #6, drop ret #-1 drop: ret #0")
    assert disassemble_classic(program).splitlines() == [
        "l0:\tldh [12]",
        "l1:\tjeq #0x800, l2, l5",
        "l2:\tldb [23]",
        "l3:\tjeq #0x6, l4, l5",
        "l4:\tret #0xffffffff",
        "l5:\tret #0",
    ]


def test_a_jump_out_of_the_program_has_no_label() -> None:
    assert disassemble_classic([c.ja(0)]) == "l0:\t.op 0x5, 0, 0, 0x0"
    assert (
        disassemble_classic([c.jmp_k(Jmp.JEQ, 1, 0, 1), c.ret_a()]) == "l0:\t.op 0x15, 0, 1, 0x1\nl1:\tret a"
    )


def test_every_ancillary_value_but_alu_xor_x_has_a_name() -> None:
    assert set(ANCILLARY_NAMES.values()) == set(c.Ancillary) - {c.Ancillary.ALU_XOR_X}
    for name, what in ANCILLARY_NAMES.items():
        assert assemble_classic(f"ld {name} ldh #{name}") == (c.ld_ad(what), c.ld_ad(what, Size.H))


REFUSED = {
    "frobnicate": "line 1: no instruction 'frobnicate'",
    "ret a\n\nldx [4]": "line 3: 'ldx [ 4 ]' is not a way to write 'ldx'",
    "ld": "line 1: 'ld' is not a way to write 'ld'",
    "ldh M[1]": "line 1: 'ldh M [ 1 ]' is not a way to write 'ldh'",
    "ldx 3*([14]&0xf)": "is not a way to write 'ldx'",
    "ld nothing": "line 1: 'ld nothing' is not a way to write 'ld'",
    "ret #0x100000000": "line 1: '0x100000000' does not fit 32 bits",
    "ret #-2147483649": "line 1: '-2147483649' does not fit 32 bits",
    "ret #" + "9" * 5000: "does not fit 32 bits",
    "ret #09": "line 1: '09' begins with 0 and is not octal",
    "ja nowhere": "line 1: no label 'nowhere'",
    "back: ret a ja back": "line 1: 'back' is -2 instructions on; a jump reaches 0 to 4294967295",
    "jeq #1, out" + " tax" * 256 + " out: ret a": "'out' is 256 instructions on; a jump reaches 0 to 255",
    "a1: ret a\na1: ret a": "line 2: the label 'a1' is there already",
    "jeq #1 out out: ret a": "is not a way to write 'jeq'",
    "ret $1": "line 1: unexpected '$'",
    "/* open": "line 1: unexpected '/'",
    ".op 1, 2, 3": "line 1: .op takes four numbers: code, jt, jf, k",
    ".op 1 2 3 4": "line 1: .op takes four numbers",
    ".op 65536, 0, 0, 0": "line 1: .op 65536, 0, 0, 0 does not fit 16, 8, 8, 32 bits",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items(), ids=[text[:30] for text in REFUSED])
def test_what_is_no_program_is_an_error(text: str, message: str) -> None:
    with pytest.raises(BytecodeError) as error:
        assemble_classic(text)
    assert message in str(error.value)


def test_any_program_round_trips() -> None:
    """assemble_classic(disassemble_classic(p)) == p for every list of instructions, valid or not."""
    random = Random(0)
    for make in (likely_valid, spoiled, scratch_puzzle, noise):
        for _ in range(200):
            program = tuple(make(random))
            assert assemble_classic(disassemble_classic(program)) == program


WORDS = """ld ldh ldx ldxb ldi st jmp jeq jlt add ret tax x a M [ ] ( ) # : , * & + 4 12 0xf -1
           len proto out .op ;"""
words = st.sampled_from([*WORDS.split(), "\n"])


@given(st.lists(words, max_size=14).map(" ".join))
def test_any_text_is_a_program_or_an_error(text: str) -> None:
    """Whatever the text, assemble_classic returns what prints and reads the same, or raises BytecodeError."""
    try:
        program = assemble_classic(text)
    except BytecodeError:
        return
    assert assemble_classic(disassemble_classic(program)) == program
