"""Our text of eBPF against LLVM's assembler and disassembler and against the kernel verifier's log."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from clsbpf.bpf import insn as e
from clsbpf.bpf.asm import assemble
from clsbpf.bpf.disasm import disassemble
from clsbpf.bpf.insn import Insn, encode
from clsbpf.bpf.isa import Class
from judges import need_tool
from kernel_verifier import array_maps, opinion

__all__ = ["array_maps"]

# Straight-line: every register is written before it is read, and every jump goes to the next instruction.
ARITHMETIC = """
    r1 = 7                  r2 = -7                 w3 = 3                  w4 = -4
    r1 += r2                r1 += 5                 w1 += w2                w1 -= -5
    r1 -= r2                r1 *= 3                 w1 *= w2                r1 /= 3
    w1 /= w3                r1 |= r2                w1 |= 1                 r1 &= -8
    w1 &= w2                r1 <<= 3                w1 <<= w3               r1 >>= 3
    w1 >>= 1                r1 ^= r2
    w1 ^= 255               r1 s>>= 3               w1 s>>= w3              r1 = r2
    w1 = w2                 r1 = -r1                w1 = -w1                r1 = be16 r1
    r1 = be32 r1            r1 = be64 r1            r1 = le16 r1            r1 = le32 r1
    r1 = le64 r1            r1 = 0x1122334455667788 ll
"""
MEMORY = """
    r1 = 1                  *(u8 *)(r10 -1) = r1    *(u16 *)(r10 -4) = r1   *(u32 *)(r10 -8) = r1
    *(u64 *)(r10 -16) = r1  r2 = *(u8 *)(r10 -1)    r2 = *(u16 *)(r10 -4)   r2 = *(u32 *)(r10 -8)
    r2 = *(u64 *)(r10 -16)  lock *(u64 *)(r10 -16) += r1                    lock *(u32 *)(r10 -8) += r1
"""
PACKET = """
    r0 = *(u8 *)skb[12]     r0 = *(u16 *)skb[12]    r0 = *(u32 *)skb[16]    r7 = 2
    r0 = *(u8 *)skb[r7]     r0 = *(u16 *)skb[r7]    r0 = *(u32 *)skb[r7]
"""
JUMPS = """
    r1 = 1                  r2 = 2                  goto +0
    if r1 == 0x5 goto +0    if r1 == r2 goto +0     if w1 == 0x5 goto +0    if w1 == w2 goto +0
    if r1 != 0x5 goto +0    if r1 != r2 goto +0     if w1 != 0x5 goto +0    if w1 != w2 goto +0
    if r1 > 0x5 goto +0     if r1 > r2 goto +0      if w1 > 0x5 goto +0     if w1 > w2 goto +0
    if r1 >= 0x5 goto +0    if r1 >= r2 goto +0     if w1 >= 0x5 goto +0    if w1 >= w2 goto +0
    if r1 < 0x5 goto +0     if r1 < r2 goto +0      if w1 < 0x5 goto +0     if w1 < w2 goto +0
    if r1 <= 0x5 goto +0    if r1 <= r2 goto +0     if w1 <= 0x5 goto +0    if w1 <= w2 goto +0
    if r1 s> 0x5 goto +0    if r1 s> r2 goto +0     if w1 s> 0x5 goto +0    if w1 s> w2 goto +0
    if r1 s>= 0x5 goto +0   if r1 s>= r2 goto +0    if w1 s>= 0x5 goto +0   if w1 s>= w2 goto +0
    if r1 s< 0x5 goto +0    if r1 s< r2 goto +0     if w1 s< 0x5 goto +0    if w1 s< w2 goto +0
    if r1 s<= 0x5 goto +0   if r1 s<= r2 goto +0    if w1 s<= 0x5 goto +0   if w1 s<= w2 goto +0
    if r1 s> 0xfffffffb goto +0
"""
EXIT = "call 7    exit"
BY_OLD_LLVM = [ARITHMETIC, MEMORY, PACKET, JUMPS, EXIT]

FETCHING = """
    r1 = 1                  *(u64 *)(r10 -16) = r1  r0 = 0
    r1 = atomic_fetch_add((u64 *)(r10 -16), r1)     w1 = atomic_fetch_add((u32 *)(r10 -16), w1)
    r1 = atomic_fetch_or((u64 *)(r10 -16), r1)      w1 = atomic_fetch_or((u32 *)(r10 -16), w1)
    r1 = atomic_fetch_and((u64 *)(r10 -16), r1)     w1 = atomic_fetch_and((u32 *)(r10 -16), w1)
    r1 = atomic_fetch_xor((u64 *)(r10 -16), r1)     w1 = atomic_fetch_xor((u32 *)(r10 -16), w1)
    r1 = xchg_64(r10 -16, r1)                       w1 = xchg32_32(r10 -16, w1)
    r0 = cmpxchg_64(r10 -16, r0, r1)                w0 = cmpxchg32_32(r10 -16, w0, w1)
"""
RECENT = """
    r1 = 7                  r2 = -7                 r1 %= 5                 w1 %= w2
    *(u64 *)(r10 -8) = 5    *(u32 *)(r10 -16) = -1
    *(u16 *)(r10 -16) = 3   *(u8 *)(r10 -16) = 3    r1 s/= r2               r1 s/= -3
    w1 s/= w2               w1 s/= 3                r1 s%= r2               w1 s%= -3
    r1 = (s8)r2             r1 = (s16)r2            r1 = (s32)r2            w1 = (s8)w2
    w1 = (s16)w2            r1 = bswap16 r1         r1 = bswap32 r1         r1 = bswap64 r1
    r1 = *(s8 *)(r10 -8)    r1 = *(s16 *)(r10 -8)   r1 = *(s32 *)(r10 -8)   gotol +0
    lock *(u64 *)(r10 -8) |= r1                     lock *(u32 *)(r10 -8) |= r1
    lock *(u64 *)(r10 -8) &= r1                     lock *(u32 *)(r10 -8) &= r1
    lock *(u64 *)(r10 -8) ^= r1                     lock *(u32 *)(r10 -8) ^= r1
    if r1 & 0x5 goto +0     if r1 & r2 goto +0      if w1 & 0x5 goto +0     if w1 & w2 goto +0
    store_release((u64 *)(r10 -8), r1)              store_release((u32 *)(r10 -8), w1)
    store_release((u16 *)(r10 -8), w1)              store_release((u8 *)(r10 -8), w1)
    r1 = load_acquire((u64 *)(r10 -8))              w1 = load_acquire((u32 *)(r10 -8))
    w1 = load_acquire((u16 *)(r10 -8))              w1 = load_acquire((u8 *)(r10 -8))
    may_goto +0
"""


def lines(*tables: str) -> list[str]:
    """The cells of the tables, which two spaces or more divide."""
    return [
        cell for table in tables for line in table.splitlines() for cell in re.split(r"\s{2,}", line) if cell
    ]


def text_section(obj: Path) -> bytes:
    """The bytes of .text of an ELF object."""
    binary = obj.with_suffix(".bin")
    subprocess.run(
        [need_tool("llvm-objcopy"), "-O", "binary", "--only-section=.text", obj, binary],
        check=True,
        timeout=30,
    )
    return binary.read_bytes()


def llvm_assemble(source: str, tmp_path: Path) -> Path:
    llvm_mc = need_tool("llvm-mc")
    obj = tmp_path / "a.o"
    command = [llvm_mc, "-triple=bpfel", "-mcpu=v3", "-mattr=+alu32", "-filetype=obj", "-o", obj]
    subprocess.run(command, input=source, text=True, check=True, timeout=30)
    return obj


def test_llvm_assembles_our_text_to_our_bytes(tmp_path: Path) -> None:
    text = "\n".join(lines(*BY_OLD_LLVM))
    assert text_section(llvm_assemble(text + "\n", tmp_path)) == encode(assemble(text))


def test_what_llvm_disassembles_is_read_back(tmp_path: Path) -> None:
    """llvm-objdump's whole lines, addresses, bytes and all, assemble to the bytes that it was given."""
    insns = assemble("\n".join(lines(*BY_OLD_LLVM, FETCHING)))
    data = "".join(f".byte {byte}\n" for byte in encode(insns))
    obj = llvm_assemble(data, tmp_path)
    objdump = need_tool("llvm-objdump")
    shown = subprocess.run(
        [objdump, "-d", "--mattr=+alu32", obj], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    body = [line for line in shown.splitlines() if re.match(r"\s+\d+:\t", line)]
    assert len(body) > 100
    assert "<unknown>" not in shown
    assert assemble("\n".join(body)) == insns


@pytest.mark.parametrize(
    "table", [ARITHMETIC, MEMORY, PACKET, JUMPS, EXIT, FETCHING, RECENT], ids=lambda table: lines(table)[-1]
)
def test_the_verifiers_log_is_read_back(table: str) -> None:
    """Each instruction as the kernel's log prints it assembles to the instruction that was loaded."""
    program = assemble("\n".join(["r6 = r1", "r9 = 0", *lines(table)]))
    if table is not EXIT:
        program = e.program(program, e.mov64_imm(0, 0), e.exit_())
    said = opinion(program, log_level=2)
    assert said.taken, said.log
    logged = dict(re.findall(r"^(\d+: )(\([0-9a-f]{2}\) [^;\n]+)", said.log, re.MULTILINE))
    assert len(logged) > len(program) * 0.9, "but for the second halves of 64-bit loads, all are visited"
    for number, text in logged.items():
        pc = int(number[:-2])
        assert assemble(number + as_64_bit(text)) == whole(program, pc), text


def as_64_bit(text: str) -> str:
    """The log does not tell a 64-bit immediate from another; LLVM's ` ll` does."""
    return f"{text.rstrip()} ll" if text.startswith(f"({Class.LD | 0x18:02x})") else text


def whole(program: tuple[Insn, ...], pc: int) -> tuple[Insn, ...]:
    return program[pc : pc + 2] if program[pc].is_ld_imm64 else program[pc : pc + 1]


def test_the_verifier_logs_what_we_print(array_maps: tuple[int, int]) -> None:
    """With helper names, our text is the log's: calls, loads and stores letter for letter."""
    program = assemble(
        f"""
        r6 = r1
        *(u32 *)(r10 -4) = 0
        r2 = r10
        r2 += -4
        r1 = map[fd:{array_maps[0]}]
        call bpf_map_lookup_elem#1
        r0 = *(u32 *)(r6 +16)
        r0 = be16 r0
        w0 &= 255
        exit
        """
    )
    said = opinion(program, log_level=2)
    assert said.taken, said.log
    logged = {int(pc): text.strip() for pc, text in re.findall(r"^(\d+): \(..\) ([^;\n]+)", said.log, re.M)}
    ours = {
        int(line[:4]): line[6:]
        for line in disassemble(program, helper_names=True, numbered=True).splitlines()
    }
    maps = {pc for pc, insn in enumerate(program) if insn.is_ld_imm64}
    assert {pc: text for pc, text in logged.items() if pc not in maps} == {
        pc: text for pc, text in ours.items() if pc not in maps
    }
