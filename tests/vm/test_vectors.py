"""Every vector, in the interpreter and as machine code."""

from __future__ import annotations

import pytest

from clsbpf.vm.interp import run
from running import NativePrograms, interpreted, outcome
from vector_files import Vector, all_vectors

VECTORS = all_vectors()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_a_vector_in_the_interpreter(vector: Vector) -> None:
    for program, expected in vector.programs():
        skb = vector.skb()
        found = outcome(lambda s, e: run(program.insns, s, profile=vector.profile, environment=e), skb)  # noqa: B023
        assert found.result == expected
        assert found.read_past == vector.past


@pytest.mark.parametrize("profile", sorted({vector.profile.name for vector in VECTORS}))
def test_the_vectors_as_machine_code(profile: str) -> None:
    """All of a profile in one module: result and side effects are the interpreter's."""
    cases = [
        (vector, program, expected)
        for vector in VECTORS
        if vector.profile.name == profile
        for program, expected in vector.programs()
    ]
    native = NativePrograms([program for _, program, _ in cases], cases[0][0].profile)
    for at, (vector, program, expected) in enumerate(cases):
        found = outcome(lambda s, e: native.run(at, s, e), vector.skb())  # noqa: B023
        assert found.result == expected, vector.name
        assert found == interpreted(program.insns, vector.skb(), vector.profile), vector.name
