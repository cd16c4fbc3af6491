"""What did Python answer before?  Questions about the network, asked again and again by machine code.

Routes, devices and sockets are Python objects, and what a program asks about them is answered in Python,
which takes microseconds.  Nothing of it changes while machine code runs; so a question that was asked in
this run has the same answer, and is looked up: in an LRU map like those of programs, from the question
(which it is, and what it is about) to r0 and what else was answered.  Whoever starts the run provides it
(`Environment.keep_answers`); where there is none, as for the interpreter, every question is asked.

A question that the environment could not really answer (`Environment.miss`) is counted each time.
"""

from __future__ import annotations

import enum

from ..environment import ANSWER_BYTES, QUESTION_BYTES, EnvironmentAt
from ..maps.lru import lru_lookup, lru_update
from ..subset import copy, fill, load_i64, native, store_i64


class Question(enum.IntEnum):
    """What is asked."""

    ROUTE = 1
    MTU = 2
    TCP = 3
    UDP = 4
    DELIVERY = 5


class AnswerAt(enum.IntEnum):
    """Byte offsets in an answer."""

    RESULT = 0
    """i64: r0."""
    MISS = 8
    """i64: which of the things was asked for that are not here, from 1 on; 0 for none."""
    OUTPUT = 16
    """What was written elsewhere."""


@native
def ask(machine: int, question: int) -> int:
    """The address to write down what the question is about (QUESTION_BYTES - 8, zeros), or 0: ask Python."""
    if load_i64(machine + EnvironmentAt.ANSWERS) == 0:
        return 0
    fill(machine + EnvironmentAt.QUESTION, 0, QUESTION_BYTES)
    store_i64(machine + EnvironmentAt.QUESTION, question)
    store_i64(machine + EnvironmentAt.LAST_MISS, 0)
    return machine + EnvironmentAt.QUESTION + 8


@native
def answered(machine: int) -> int:
    """The answer to the question that was written down, if it was answered before; or 0."""
    answer = lru_lookup(load_i64(machine + EnvironmentAt.ANSWERS), machine + EnvironmentAt.QUESTION)
    if answer:
        miss = load_i64(answer + AnswerAt.MISS)
        if miss:
            counter = machine + EnvironmentAt.MISSED + (miss - 1) * 8
            store_i64(counter, load_i64(counter) + 1)
    return answer


@native
def keep(machine: int, result: int, output: int, size: int) -> int:
    """Python answered the question that was written down: keep that.  The result."""
    answers = load_i64(machine + EnvironmentAt.ANSWERS)
    miss = load_i64(machine + EnvironmentAt.LAST_MISS)
    if answers and miss >= 0:
        answer = machine + EnvironmentAt.ANSWER
        fill(answer, 0, ANSWER_BYTES)
        store_i64(answer + AnswerAt.RESULT, result)
        store_i64(answer + AnswerAt.MISS, miss)
        copy(answer + AnswerAt.OUTPUT, output, size)
        lru_update(answers, machine + EnvironmentAt.QUESTION, answer, 0)
    return result
