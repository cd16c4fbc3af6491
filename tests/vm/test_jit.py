"""Machine code: one program as a user runs it, from several threads, and what never gets there."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor

import pytest

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.check import check
from clsbpf.bpf.classic import CheckedClassic
from clsbpf.bpf.classic_asm import assemble_classic
from clsbpf.errors import BytecodeError
from clsbpf.skb import Skb
from clsbpf.verifier.program import VerifiedProgram
from clsbpf.vm.environment import Environment
from clsbpf.vm.interp import run
from clsbpf.vm.jit import compile_object, load_object
from clsbpf.vm.lower import lower
from clsbpf.vm.native_program import jit, program_ir
from running import bless

PORT_443 = """
        ldh [12]
        jne #0x800, drop
        ldb [23]
        jne #6, drop
        ldxb 4*([14]&0xf)
        ldh [x + 16]
        jne #443, drop
        ret #-1
  drop: ret #0
"""


def classic(text: str) -> VerifiedProgram:
    return VerifiedProgram.from_classic(check(assemble_classic(text)))


def tcp(port: int) -> Skb:
    ip = bytes.fromhex("45000028000000004006 0000 0a000001 0a000002")
    return Skb.from_frame(bytes(12) + b"\x08\x00" + ip + b"\x04\x00" + port.to_bytes(2, "big") + bytes(16))


def test_a_program_runs() -> None:
    program = jit(classic(PORT_443))
    assert [program.run(tcp(port)) for port in (443, 80)] == [0xFFFFFFFF, 0]


def test_a_program_outlives_what_it_was_made_from() -> None:
    """The machine code is kept by the NativeProgram alone, and goes with it."""
    for _ in range(3):
        program = jit(classic("ld #len\nret a"))
        assert program.run(tcp(1)) == 54


def test_threads_compile_and_run_at_once() -> None:
    def work(port: int) -> list[int]:
        program = jit(classic(PORT_443.replace("443", str(port))))
        return [program.run(tcp(other)) for other in range(20)]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, range(8)))
    assert results == [[0xFFFFFFFF if other == port else 0 for other in range(20)] for port in range(8)]


def test_an_object_is_loaded_again_without_compiling() -> None:
    image = compile_object(program_ir(classic("ret #7")))
    first, second = (load_object(image, ["clsbpf.program"]).address("clsbpf.program") for _ in range(2))
    assert first != 0
    assert second != 0


def test_random_numbers_are_the_environments() -> None:
    program = classic("ld rand\nret a")
    native = jit(program)
    ours, theirs = Environment(seed=5), Environment(seed=5)
    numbers = [native.run(tcp(1), ours) for _ in range(5)]
    assert numbers == [run(program.insns, tcp(1), environment=theirs) for _ in range(5)]
    assert len(set(numbers)) == 5
    assert native.run(tcp(1), Environment(seed=6)) != numbers[0]


def test_only_the_verifier_makes_verified_programs() -> None:
    with pytest.raises(AssertionError):
        VerifiedProgram((), frozenset(), "sched_cls", CheckedClassic(()), object())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("call 9999\nexit", "instruction 0: there is no helper 9999"),
        ("r1 = map[fd:5]\nr0 = 0\nexit", "instruction 0: a reference to a map"),
    ],
)
def test_what_cannot_be_compiled_says_so(text: str, message: str) -> None:
    with pytest.raises(BytecodeError, match=message):
        lower(bless(assemble(text)), "program")


def test_an_external_symbol_is_given_when_the_object_is_loaded() -> None:
    image = compile_object(
        "@number = external global i64\n"
        "define i64 @read() {\n  %value = load i64, ptr @number\n  ret i64 %value\n}\n"
    )
    numbers = [ctypes.c_int64(value) for value in (7, -8)]
    modules = [load_object(image, ["read"], {"number": ctypes.addressof(each)}) for each in numbers]
    read = ctypes.CFUNCTYPE(ctypes.c_int64)
    assert [read(module.address("read"))() for module in modules] == [7, -8]
