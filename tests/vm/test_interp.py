"""What the interpreter does not let a program do, and what it says then."""

from __future__ import annotations

import pytest

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.insn import Insn
from clsbpf.errors import ProgramFault
from clsbpf.skb import Skb
from clsbpf.vm.interp import context_refusal, run

FAULTS = [
    ("falls off the end", "r0 = 0", 1, "control leaves the program"),
    ("jumps out", "goto +5", 6, "control leaves the program"),
    ("jumps before the start", "goto -3", -2, "control leaves the program"),
    ("never ends", "goto -1", 0, "still running after 1000 instructions"),
    ("returns nothing", "exit", 0, "r0 is read before it is written"),
    ("reads what was never written", "r0 = r3\nexit", 0, "r3 is read before it is written"),
    ("reads an argument after a call", "call 7\nr0 = r1\nexit", 1, "r1 is read before it is written"),
    (
        "reads an argument after LD_ABS",
        "r6 = r1\nr0 = *(u8 *)skb[0]\nr0 = r1\nexit",
        2,
        "r1 is read before it is written",
    ),
    ("writes the frame pointer", "r10 = 1\nexit", 0, "r10 is read-only"),
    ("LD_ABS without the context", "r6 = 0\nr0 = *(u8 *)skb[0]\nexit", 1, "need the context in r6"),
    (
        "below the stack",
        "*(u64 *)(r10 - 520) = 0\nexit",
        0,
        "writes 8 bytes through r10 at stack offset -520 from r10, the stack has 512",
    ),
    (
        "above the stack",
        "r0 = *(u8 *)(r10 + 0)\nexit",
        0,
        "reads 1 byte through r10 at stack offset 0 from r10, the stack has 512",
    ),
    (
        "across the stack's end",
        "r0 = *(u32 *)(r10 - 2)\nexit",
        0,
        "reads 4 bytes through r10 at stack offset -2 from r10",
    ),
    (
        "a null pointer",
        "r2 = 0\nr0 = *(u8 *)(r2 + 0)\nexit",
        1,
        "reads 1 byte through r2 at 0x0, which is in no region",
    ),
    (
        "past the packet",
        "r2 = *(u32 *)(r1 + 80)\nr0 = *(u8 *)(r2 + 0)\nexit",
        1,
        "reads 1 byte through r2 at packet offset 64, the packet has 64",
    ),
    (
        "before the packet",
        "r2 = *(u32 *)(r1 + 76)\nr0 = *(u8 *)(r2 - 1)\nexit",
        1,
        "at packet offset -1, the packet has 64",
    ),
    ("past the context", "r0 = *(u32 *)(r1 + 192)\nexit", 0, "4 bytes through r1"),
    ("our part of the context", "r0 = *(u64 *)(r1 + 200)\nexit", 0, "8 bytes through r1"),
    ("a context field refused", "r0 = *(u32 *)(r1 + 88)\nexit", 0, "field family may not be read"),
    ("a context field read-only", "*(u32 *)(r1 + 0) = 1\nexit", 0, "field len may not be written"),
    ("an unaligned atomic", "r1 = 1\nlock *(u32 *)(r10 - 7) += r1\nexit", 1, "not a multiple of 4"),
    (
        "an atomic on the context",
        "lock *(u32 *)(r1 + 8) += r1\nexit",
        0,
        "context cannot be accessed atomically",
    ),
    ("an unknown helper", "call 9999\nexit", 0, "there is no helper 9999"),
    ("a helper of other programs", "call 4\nexit", 0, "bpf_probe_read (helper 4) is not for tc programs"),
    ("a call out of the program", "call pc+7\nexit", 0, "calls instruction 8, which there is not"),
    ("calls without end", "call pc-1\nexit", 0, "the 8 functions that may be under way are"),
    ("a map", "r1 = map[fd:5]\nexit", 0, "a map that the program was not linked with"),
]


def fault_of(insns: tuple[Insn, ...]) -> ProgramFault:
    with pytest.raises(ProgramFault) as caught:
        run(insns, Skb.from_frame(bytes(64)), step_limit=1000)
    return caught.value


@pytest.mark.parametrize(
    ("text", "insn", "message"), [case[1:] for case in FAULTS], ids=[c[0] for c in FAULTS]
)
def test_a_fault_names_the_instruction_and_the_reason(text: str, insn: int, message: str) -> None:
    fault = fault_of(assemble(text))
    assert fault.insn == insn
    assert message in str(fault)


RAW_FAULTS = [
    ("unknown ALU operation", Insn(0xE7, 0), "unknown instruction"),
    ("unknown jump", Insn(0xF5, 1), "unknown instruction"),
    ("may_goto with a register", Insn(0xE5, 1), "unknown instruction"),
    ("call in JMP32", Insn(0x86, imm=7), "unknown instruction"),
    ("LD_ABS of 8 bytes", Insn(0x38), "unknown instruction"),
    ("half a 64-bit immediate", Insn(0x18, 0), "second half"),
    ("sign-extending load of 8 bytes", Insn(0x99, 0, 1), "unknown instruction"),
    ("a byte swap of 8 bits", Insn(0xD4, 1, imm=8), "unknown instruction"),
    ("sign extension of 12 bits", Insn(0xBF, 0, 1, 12), "unknown instruction"),
    ("division with an offset of 2", Insn(0x37, 1, 0, 2, 1), "unknown instruction"),
    ("register 11", Insn(0xBF, 0, 11), "there is no r11"),
    ("writing register 12", Insn(0xB7, 12, 0, 0, 1), "there is no r12"),
    ("an unknown atomic operation", Insn(0xDB, 10, 1, -8, 0x77), "unknown instruction"),
    ("an atomic byte", Insn(0xD3, 10, 1, -8, 0), "unknown instruction"),
]


@pytest.mark.parametrize(("insn", "message"), [c[1:] for c in RAW_FAULTS], ids=[c[0] for c in RAW_FAULTS])
def test_an_instruction_that_does_not_exist_is_a_fault(insn: Insn, message: str) -> None:
    assert message in str(fault_of((insn,)))


def test_a_fault_keeps_what_was_written_before() -> None:
    skb = Skb.from_frame(bytes(64))
    with pytest.raises(ProgramFault):
        run(assemble("*(u32 *)(r1 + 8) = 7\nr0 = r3\nexit"), skb)
    assert skb.mark == 7


@pytest.mark.parametrize(
    ("offset", "size", "write", "refused"),
    [
        (8, 4, True, False),
        (8, 2, True, True),  # mark is written whole
        (8, 2, False, False),
        (9, 2, False, True),  # not aligned
        (48, 8, True, False),
        (64, 8, False, True),  # cb[4] and hash
        (60, 4, False, False),
        (76, 4, False, False),
        (76, 2, False, True),  # pointers are read whole
        (76, 4, True, True),
        (152, 8, True, False),
        (152, 4, False, True),  # tstamp is read whole
        (180, 1, False, False),
        (181, 1, False, True),  # padding
        (144, 8, False, True),
        (184, 8, False, False),
    ],
)
def test_which_context_accesses_are_refused(offset: int, size: int, write: bool, refused: bool) -> None:
    assert (context_refusal(offset, size, write=write) is not None) == refused
