"""eBPF against the kernel: BPF_PROG_TEST_RUN says what the interpreter and the machine code must say."""

from __future__ import annotations

import os
from random import Random

import pytest

from clsbpf.bpf.insn import Insn
from clsbpf.kernel.bpf import prog_load, prog_test_run
from clsbpf.profile import CURRENT
from clsbpf.skb import Skb
from ebpf_programs import random_program
from judges import need_kernel
from running import NativePrograms, bless, interpreted, outcome
from vector_files import Vector, all_vectors

COMPILED = 100
"""Programs that also run as machine code: compiling takes most of the time."""

# TEST_RUN makes a packet of its own: no fields but mark and priority can be set, nothing is cut off.
JUDGED = [
    vector
    for vector in all_vectors()
    if vector.kind == "ebpf"
    and vector.profile is CURRENT
    and len(vector.packet) >= 14
    and vector.captured is None
    and not vector.fields
]


def kernel_run(insns: tuple[Insn, ...], packet: bytes) -> tuple[int, bytes]:
    """r0 and the packet afterwards, of a sched_cls program."""
    fd = prog_load(insns)
    try:
        run = prog_test_run(fd, packet)
    finally:
        os.close(fd)
    return run.retval, run.packet


@pytest.mark.parametrize("vector", JUDGED, ids=lambda vector: vector.name)
def test_a_vector_says_what_the_kernel_does(vector: Vector) -> None:
    need_kernel()
    for program, expected in vector.programs():
        assert kernel_run(program.insns, vector.packet)[0] == expected


def test_random_programs_have_the_kernels_result() -> None:
    """For any random arithmetic, jump, stack and packet load program, r0 and the packet are the kernel's."""
    need_kernel()
    random = Random(1)
    programs = [bless(random_program(random)) for _ in range(1500)]
    compiled = NativePrograms(programs[:COMPILED])
    for at, program in enumerate(programs):
        packet = random.randbytes(80)
        expected, after = kernel_run(program.insns, packet)
        skb = Skb.from_frame(packet)
        interpreter = interpreted(program.insns, skb)
        assert interpreter.result == expected, program.insns
        assert interpreter.buffer[skb.data :] == after
        if at < COMPILED:
            native = outcome(lambda s, e: compiled.run(at, s, e), skb)  # noqa: B023
            assert native == interpreter, program.insns
