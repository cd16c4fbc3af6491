"""Functions of a program call each other, helpers call them back: frames, stacks, what is readable."""

from __future__ import annotations

import pytest

from clsbpf.bpf.asm import assemble
from clsbpf.errors import ProgramFault
from clsbpf.skb import Skb
from clsbpf.vm import interp, machine
from clsbpf.vm.interp import run
from clsbpf.vm.link import LinkedProgram
from clsbpf.vm.native_program import native_of
from running import bless

RUNS = [
    ("arguments and the result", "r1 = 40\nr2 = 2\ncall pc+1\nexit\nr0 = r1\nr0 += r2\nexit", 42),
    (
        "r6 to r9 are the caller's",
        "r6 = 6\nr7 = 7\ncall pc+2\nr0 = r6\nexit\nr6 = 1\nr0 = 0\nexit",
        6,
    ),
    (
        "each has a stack of its own",
        "*(u64 *)(r10 - 8) = 7\ncall pc+2\nr0 = *(u64 *)(r10 - 8)\nexit\n*(u64 *)(r10 - 8) = 9\nr0 = 0\nexit",
        7,
    ),
    (
        "the caller's stack through a pointer",
        "r1 = r10\nr1 += -8\ncall pc+2\nr0 = *(u64 *)(r10 - 8)\nexit\n*(u64 *)(r1 + 0) = 9\nr0 = 0\nexit",
        9,
    ),
    (
        "eight frames deep",
        "r1 = 6\ncall pc+1\nexit\nr0 = r1\nif r1 == 0 goto +2\nr1 += -1\ncall pc-4\nexit",
        0,
    ),
    (
        "LD_ABS outside of the packet ends only the function",
        "r6 = r1\ncall pc+2\nr0 += 5\nexit\nr6 = r1\nr0 = *(u8 *)skb[200]\nr0 = 9\nexit",
        5,
    ),
    (
        "bpf_loop calls back with the index and the context",
        "*(u64 *)(r10 - 8) = 0\nr1 = 5\nr2 = subprog[8]\nr3 = r10\nr3 += -8\nr4 = 0\n"
        "call 181\nr1 = *(u64 *)(r10 - 8)\nr0 += r1\nexit\n"
        "r3 = *(u64 *)(r2 + 0)\nr3 += r1\n*(u64 *)(r2 + 0) = r3\nr0 = 0\nexit",
        5 + 10,
    ),
    (
        "bpf_loop ends when the callback says so",
        "r1 = 100\nr2 = subprog[5]\nr3 = 0\nr4 = 0\ncall 181\nexit\nr0 = 0\nif r1 != 7 goto +1\nr0 = 1\nexit",
        8,
    ),
    (
        "bpf_loop knows no flags",
        "r1 = 1\nr2 = subprog[5]\nr3 = 0\nr4 = 1\ncall 181\nexit\nr0 = 0\nexit",
        2**32 - 22,
    ),
]


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in RUNS], ids=[case[0] for case in RUNS])
def test_functions_call_each_other(text: str, expected: int) -> None:
    assert run(assemble(text), Skb.from_frame(bytes(64))) == expected


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in RUNS], ids=[case[0] for case in RUNS])
def test_they_do_so_as_machine_code(text: str, expected: int) -> None:
    """(The verifier refuses recursion, and LD_ABS in functions.)"""
    insns = assemble(text)
    program = LinkedProgram(insns, verified=bless(insns, ctx_accesses=()))
    assert native_of(program).run(Skb.from_frame(bytes(64))) == expected


FAULTS = [
    ("nine frames", "call pc-1\nexit", "the 8 functions that may be under way are"),
    ("r6 of the caller", "r6 = 1\ncall pc+1\nexit\nr0 = r6\nexit", "r6 is read before it is written"),
    (
        "r1 after the call",
        "r1 = 1\ncall pc+2\nr0 = r1\nexit\nr0 = 0\nexit",
        "r1 is read before it is written",
    ),
    (
        "a stack that is gone",
        "call pc+2\nr0 = *(u64 *)(r0 + 0)\nexit\nr0 = r10\nr0 += -8\nexit",
        "the function that had it has returned",
    ),
    ("a callback that is none", "r1 = 1\nr2 = 5\nr3 = 0\nr4 = 0\ncall 181\nexit", "r2 is not a function"),
]


@pytest.mark.parametrize(("text", "message"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS])
def test_what_a_call_may_not_do(text: str, message: str) -> None:
    with pytest.raises(ProgramFault, match=message):
        run(assemble(text), Skb.from_frame(bytes(64)))


def test_may_goto_ends_every_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MAX_LOOPS", 1000)
    program = assemble("r0 = 0\nagain: may_goto +2\nr0 += 1\ngoto again\nexit")
    assert interp.run(program, Skb.from_frame(bytes(64))) == 1000
