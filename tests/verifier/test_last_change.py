"""Where the value at fault last changed: copies, spills and calls are followed, on the way walked."""

from __future__ import annotations

import pytest

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.spec import ProgramSpec
from clsbpf.errors import VerifierError
from clsbpf.verifier.verify import verify

CASES: dict[str, tuple[str, int | None]] = {
    # name: a program whose last use of a register is at fault; where its value last changed
    "written": ("r2 = 5\nr0 = *(u8 *)(r2 +0)\nexit", 0),
    "changed after": ("r2 = 7\nr2 *= 3\nr0 = *(u8 *)(r2 +0)\nexit", 1),
    "copied": ("r6 = 7\nr2 = r6\nr3 = r2\nr0 = *(u8 *)(r3 +0)\nexit", 0),
    "loaded": ("r6 = r1\nr2 = *(u32 *)(r6 +0)\nr3 = r2\nr0 = *(u8 *)(r3 +0)\nexit", 1),
    "cut to 32 bits": ("r6 = r1\nw2 = w6\nr0 = *(u8 *)(r2 +0)\nexit", 1),
    "spilled and filled": (
        "r6 = 7\n*(u64 *)(r10 -8) = r6\nr6 = 0\nr3 = *(u64 *)(r10 -8)\nr0 = *(u8 *)(r3 +0)\nexit",
        0,
    ),
    "stored as a number": ("*(u64 *)(r10 -8) = 7\nr3 = *(u64 *)(r10 -8)\nr0 = *(u8 *)(r3 +0)\nexit", 0),
    "another slot": (
        "r6 = 7\n*(u64 *)(r10 -8) = r6\n*(u64 *)(r10 -16) = r10\nr3 = *(u64 *)(r10 -8)\n"
        "r0 = *(u8 *)(r3 +0)\nexit",
        0,
    ),
    "clobbered by a helper": ("r2 = r1\ncall 7\nr0 = *(u8 *)(r2 +0)\nexit", 1),
    "what a helper returned": ("call 7\nr6 = r0\nr0 = *(u8 *)(r6 +0)\nexit", 0),
    "kept over a helper": ("r6 = 7\ncall 7\nr0 = *(u8 *)(r6 +0)\nexit", 0),
    "on the way that was walked": (
        "r6 = 1\nr2 = *(u32 *)(r1 +0)\nif r2 == 0 goto +2\nr6 = 7\ngoto +1\nr6 = r1\n"
        "r0 = *(u8 *)(r6 +0)\nexit",
        3,
    ),
    "at the program's beginning": ("r0 = *(u8 *)(r1 +1000)\nexit", None),
    "an argument": ("r6 = 0\nr1 = 7\ncall pc+1\nexit\nr0 = *(u8 *)(r1 +0)\nexit", 1),
    "what a function returned": ("call pc+2\nr0 = *(u8 *)(r0 +0)\nexit\nr6 = 3\nr0 = r6\nexit", 3),
    "kept over a function": ("r6 = 7\ncall pc+2\nr0 = *(u8 *)(r6 +0)\nexit\nr6 = 3\nr0 = r6\nexit", 0),
    "clobbered by a function": ("r2 = 7\ncall pc+2\nr0 = *(u8 *)(r2 +0)\nexit\nr2 = 3\nr0 = 0\nexit", 1),
    "not written in the function": (
        "r6 = 7\ncall pc+1\nexit\nr0 = *(u8 *)(r6 +0)\nexit",
        None,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_where_it_last_changed(name: str) -> None:
    text, expected = CASES[name]
    spec = ProgramSpec("test", insns=tuple(assemble(text)), license="GPL")
    with pytest.raises(VerifierError) as caught:
        verify(spec)
    changed = caught.value.report.changed
    assert (changed.insn if changed is not None else None) == expected
