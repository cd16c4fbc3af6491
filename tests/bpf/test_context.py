"""struct __sk_buff: the table's own order, and every byte of it against the kernel's verifier."""

from __future__ import annotations

from itertools import pairwise

import pytest

from clsbpf.bpf import insn as e
from clsbpf.bpf.context import CONTEXT_BYTES, FIELDS, Field, field_at, may_access, offset_of
from clsbpf.bpf.insn import Insn
from clsbpf.bpf.isa import R0, R1, SIZE_BYTES, Size
from kernel_verifier import opinion


def test_fields_follow_each_other() -> None:
    assert len({field.name for field in FIELDS}) == len(FIELDS)
    holes = [(a.end, b.offset) for a, b in pairwise(FIELDS) if a.end != b.offset]
    assert holes == [(181, 184)], "the padding after tstamp_type"
    assert FIELDS[-1].end == CONTEXT_BYTES


def test_every_byte_belongs_to_its_field() -> None:
    for field in FIELDS:
        assert offset_of(field.name) == field.offset
        assert {field_at(at) for at in range(field.offset, field.end)} == {field}
    assert [at for at in range(-1, CONTEXT_BYTES + 1) if field_at(at) is None] == [
        -1,
        181,
        182,
        183,
        CONTEXT_BYTES,
    ]


def the_kernel_lets(access: Insn) -> bool:
    return opinion(e.program(e.mov64_imm(R0, 0), access, e.mov64_imm(R0, 0), e.exit_()), log_level=0).taken


@pytest.mark.parametrize("size", list(Size), ids=lambda size: size.name)
def test_every_access_is_allowed_or_not_as_the_verifier_has_it(size: Size) -> None:
    """At every offset in and around the context, reads and writes of every size."""
    for at in range(-8, CONTEXT_BYTES + 8):
        read, write = (may_access(at, SIZE_BYTES[size], write=write) for write in (False, True))
        assert the_kernel_lets(e.ldx(size, R0, R1, at)) == read, at
        assert the_kernel_lets(e.stx(size, R1, at, R0)) == write, at
        assert the_kernel_lets(e.st(size, R1, at, 0)) == write, at


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_a_field_may_be_accessed_whole_as_its_flags_say(field: Field) -> None:
    for at in range(field.offset, field.end, 4) if field.size > 8 else [field.offset]:
        size = min(field.size, 4) if field.size > 8 else field.size
        assert may_access(at, size, write=False) == field.readable
        assert may_access(at, size, write=True) == field.writable
