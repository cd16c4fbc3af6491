"""Verdicts: their numbers, extended ones, their names."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clsbpf.errors import ClsbpfError
from clsbpf.tc import act
from clsbpf.tc.act import TcAct

NAMES = [
    (-1, "unspec"),
    (0, "ok"),
    (1, "reclassify"),
    (2, "shot"),
    (3, "pipe"),
    (4, "stolen"),
    (5, "queued"),
    (6, "repeat"),
    (7, "redirect"),
    (8, "trap"),
    (9, "9"),
    (-2, "-2"),
    (0x10000002, "jump 2"),
    (0x20000005, "goto chain 5"),
    (0x30000005, str(0x30000005)),
]


@pytest.mark.parametrize(("answer", "name"), NAMES)
def test_names(answer: int, name: str) -> None:
    assert act.verdict_name(answer) == name


def test_plain_verdicts_are_the_first_ten_names() -> None:
    assert [(verdict.value, verdict.name.lower()) for verdict in TcAct] == NAMES[:10]


@pytest.mark.parametrize("value", [0, 1, 0x0FFFFFFF])
def test_extended_verdicts_carry_28_bits(value: int) -> None:
    assert act.ext_value(act.goto_chain(value)) == value
    assert act.is_goto_chain(act.goto_chain(value))
    assert not act.is_jump(act.goto_chain(value))
    assert act.ext_value(act.jump(value)) == value
    assert act.is_jump(act.jump(value))
    assert not act.is_goto_chain(act.jump(value))


@pytest.mark.parametrize("value", [-1, 0x10000000])
@pytest.mark.parametrize("make", [act.jump, act.goto_chain])
def test_more_bits_are_refused(make: Callable[[int], int], value: int) -> None:
    with pytest.raises(ClsbpfError, match="28 bits"):
        make(value)


@pytest.mark.parametrize("answer", [-1, -2, -(2**31), act.as_answer(0x90000005), act.as_answer(0xA0000005)])
def test_no_negative_answer_is_extended(answer: int) -> None:
    assert answer < 0
    assert not act.is_goto_chain(answer)
    assert not act.is_jump(answer)


@pytest.mark.parametrize(
    ("value", "answer"), [(0, 0), (2, 2), (0x7FFFFFFF, 2**31 - 1), (0x80000000, -(2**31)), (0xFFFFFFFF, -1)]
)
def test_a_return_value_as_an_answer(value: int, answer: int) -> None:
    assert act.as_answer(value) == answer
