"""A program's tag, against values known and against the kernel's."""

from __future__ import annotations

import hashlib

import pytest

from clsbpf.bpf import insn as e
from clsbpf.bpf.insn import Insn
from clsbpf.bpf.isa import PSEUDO_CALL, R0, R1, Class, Jmp, Pseudo
from clsbpf.bpf.tag import program_tag
from clsbpf.profile import CURRENT, V4_13
from kernel_verifier import array_maps, opinion

__all__ = ["array_maps"]

RETURN_5 = e.program(e.mov64_imm(R0, 5), e.exit_())


def test_the_first_eight_bytes_of_the_profiles_hash() -> None:
    raw = e.encode(RETURN_5)
    assert program_tag(RETURN_5, CURRENT) == bytes.fromhex("c1abe8d4fceb5316")
    assert program_tag(RETURN_5, CURRENT) == hashlib.sha256(raw).digest()[:8]
    assert program_tag(RETURN_5, V4_13) == hashlib.sha1(raw).digest()[:8]


def with_map(pseudo: Pseudo, low: int, high: int = 0) -> tuple[Insn, ...]:
    return e.program(e.ld_imm64(R1, (high << 32) | low, pseudo), RETURN_5)


def with_number(value: int) -> tuple[Insn, ...]:
    return e.program(e.ld_imm64(R1, value), RETURN_5)


def test_which_map_does_not_matter_how_it_is_meant_does() -> None:
    assert program_tag(with_map(Pseudo.MAP_FD, 3)) == program_tag(with_map(Pseudo.MAP_FD, 77))
    assert program_tag(with_map(Pseudo.MAP_VALUE, 3, 8)) == program_tag(with_map(Pseudo.MAP_VALUE, 4, 16))
    kinds = [Pseudo.MAP_FD, Pseudo.MAP_VALUE, Pseudo.MAP_IDX]
    assert len({program_tag(with_map(kind, 3)) for kind in kinds}) == len(kinds)
    assert program_tag(with_number(3)) != program_tag(with_number(4)), "no map is meant"


def test_half_a_map_reference_is_no_trouble() -> None:
    """The hash is of whatever instructions there are; whether they may be loaded is not its question."""
    assert len(program_tag(with_map(Pseudo.MAP_FD, 3)[:1])) == 8


@pytest.mark.parametrize("length", [1, 5, 6, 7, 8, 100])
def test_the_kernels_tag_of_any_length(length: int) -> None:
    program = e.program(*[e.mov64_imm(R0, n) for n in range(length)], e.exit_())
    assert opinion(program).tag == program_tag(program)


def test_the_kernels_tag_of_map_references_and_calls(array_maps: tuple[int, int]) -> None:
    a, b = array_maps
    call_next = Insn(Class.JMP | Jmp.CALL, src=PSEUDO_CALL, imm=1)
    for program in (
        with_map(Pseudo.MAP_FD, a),
        with_map(Pseudo.MAP_FD, b),
        with_map(Pseudo.MAP_VALUE, a, 4),
        with_map(Pseudo.MAP_IDX, 1),
        with_map(Pseudo.MAP_IDX_VALUE, 0, 4),
        with_number(0x1122334455667788),
        e.program(call_next, e.exit_(), RETURN_5),
    ):
        said = opinion(program, map_fds=array_maps)
        assert said.taken, said.log
        assert said.tag == program_tag(program)
