"""The log in the kernel's form: numbers, states, paths; and that it is the kernel's, line by line."""

from __future__ import annotations

import re
from random import Random

import pytest

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.insn import Insn
from clsbpf.bpf.maps import MapType
from clsbpf.bpf.spec import MapSpec, ProgramSpec
from clsbpf.errors import VerifierError
from clsbpf.verifier.log import range_fields
from clsbpf.verifier.ranges import Range, between, const, unsigned
from clsbpf.verifier.verify import verify
from kernel_verifier import array_maps, opinion
from verifier_soup import bounds

RANGES = [
    (unsigned(64), ""),
    (unsigned(8), "smin=smin32=0,smax=umax=smax32=umax32=255,var_off=(0x0; 0xff)"),
    (unsigned(32), "smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff)"),
    (between(-1, 0), "smin=smin32=-1,smax=smax32=0"),
    (between(-65535, 0), "smin=0xffffffffffff0001,smax=smax32=0,smin32=0xffff0001"),
]


@pytest.mark.parametrize(("range_", "text"), RANGES, ids=[text or "anything" for _, text in RANGES])
def test_what_is_said_of_a_number(range_: Range, text: str) -> None:
    assert ",".join(range_fields(range_)) == text


def test_a_number_that_is_known_needs_no_range() -> None:
    assert not [field for field in range_fields(const(5)) if "var_off" in field]


def log_of(insns: tuple[Insn, ...], maps: dict[int, MapSpec]) -> str:
    try:
        return verify(ProgramSpec("test", insns=insns, license="GPL", maps=maps), verbose=True).log
    except VerifierError as error:
        return error.log


def test_paths_and_states() -> None:
    text = "r2 = *(u32 *)(r1 +0)\nr0 = 0\nif r2 > 4 goto +1\nr0 = r2\nexit"
    lines = log_of(tuple(assemble(text)), {}).splitlines()
    assert lines[lines.index("0: R1=ctx() R10=fp0") :] == [
        "0: R1=ctx() R10=fp0",
        "0: (61) r2 = *(u32 *)(r1 +0)          ; R1=ctx()"
        " R2=scalar(smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff))",
        "1: (b7) r0 = 0                        ; R0=0",
        "2: (25) if r2 > 0x4 goto pc+1         ; R2=scalar(smin=smin32=0,smax=umax=smax32=umax32=4,"
        "var_off=(0x0; 0x7))",
        "3: (bf) r0 = r2                       ; R0=scalar(id=1,smin=smin32=0,smax=umax=smax32=umax32=4,"
        "var_off=(0x0; 0x7)) R2=scalar(id=1,smin=smin32=0,smax=umax=smax32=umax32=4,var_off=(0x0; 0x7))",
        "4: (95) exit",
        "",
        "from 2 to 4: R0=0 R1=ctx() R2=scalar(smin=umin=umin32=5,smax=umax=0xffffffff,"
        "var_off=(0x0; 0xffffffff)) R10=fp0",
        "4: R0=0 R1=ctx() R2=scalar(smin=umin=umin32=5,smax=umax=0xffffffff,"
        "var_off=(0x0; 0xffffffff)) R10=fp0",
        "4: (95) exit",
        lines[-1],
    ]
    assert lines[-1].startswith("processed 6 insns (limit 1000000) max_states_per_insn")


__all__ = ["array_maps"]

_NOT_OURS = re.compile(
    r"mark_precise|frame \d+: propagating|\(\d.*(frame \d+ insn|live stack)|SCC|Live regs|verification time"
    r"|\s+(\d+ +)?\d+: [.0-9]{10}|processed|stack depth|func#"
)
_BEHIND = re.compile(r"\d+:( frame\d+:)? (R\d|fp-)")


def comparable(log: str) -> list[str]:
    """Without what the kernel says of its search, addresses, and the column of a state."""
    found: list[str] = []
    for line in log.splitlines():
        if _NOT_OURS.match(line):
            continue
        line = re.sub(r"= (map\[.*\]|0xffff[0-9a-f]{12})(\+\d+)?", "= MAP", re.sub(r"\s+;", " ;", line))
        line = re.sub(r"=P(scalar|-?\d)", r"=\1", re.sub(r"map=\w+,", "", line))
        if _BEHIND.match(line) and found and re.match(r"\d+: \(", found[-1]) and " ;" not in found[-1]:
            found[-1] += " ;" + line.split(":", 1)[1]
        else:
            found.append(line)
    return found


def test_the_kernel_says_the_same(array_maps: tuple[int, int]) -> None:
    """Of a hundred programs that compute and compare, nine in ten have the very same log.

    (The others are paths that one of the two need not walk; and a state that stands after an error.)
    """
    random = Random(7)
    fd = array_maps[0]
    maps = {fd: MapSpec("array", MapType.ARRAY, 4, 8, 1)}
    same = 0
    for _ in range(100):
        insns = bounds(random, maps)
        theirs = opinion(insns, log_level=2, map_fds=array_maps).log
        same += comparable(theirs) == comparable(log_of(insns, maps))
    assert same >= 90
