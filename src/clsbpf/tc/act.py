"""What classifiers and actions answer: TC_ACT_* (include/uapi/linux/pkt_cls.h).

An answer is a signed 32-bit number.  Small ones are plain verdicts, `TcAct`; a negative one says
"go on with the next filter".  An *extended* one has an opcode in its top four bits and a value in
the lower 28: `jump` skips that many actions of a list, `goto chain` goes on in that chain of the
block.  So answers are `int` everywhere, and `TcAct` names the plain ones.
"""

from __future__ import annotations

import enum

from ..errors import ClsbpfError


class TcAct(enum.IntEnum):
    """TC_ACT_*: the plain verdicts."""

    UNSPEC = -1
    """No verdict: go on with the next filter; at the end, no filter decided."""
    OK = 0
    RECLASSIFY = 1
    """Begin again with the block's first classifier."""
    SHOT = 2
    PIPE = 3
    """Go on with the next action."""
    STOLEN = 4
    QUEUED = 5
    REPEAT = 6
    REDIRECT = 7
    TRAP = 8


TC_ACT_EXT_SHIFT = 28
TC_ACT_EXT_VAL_MASK = (1 << TC_ACT_EXT_SHIFT) - 1
TC_ACT_JUMP = 1 << TC_ACT_EXT_SHIFT
TC_ACT_GOTO_CHAIN = 2 << TC_ACT_EXT_SHIFT


def jump(count: int) -> int:
    """TC_ACT_JUMP with its operand: skip `count` (28 bits) actions."""
    return TC_ACT_JUMP | _ext_value(count, "jump count")


def goto_chain(index: int) -> int:
    """TC_ACT_GOTO_CHAIN with its operand: go on in the chain `index` (28 bits)."""
    return TC_ACT_GOTO_CHAIN | _ext_value(index, "chain")


def is_jump(answer: int) -> bool:
    """TC_ACT_EXT_CMP(answer, TC_ACT_JUMP)."""
    return answer & ~TC_ACT_EXT_VAL_MASK == TC_ACT_JUMP


def is_goto_chain(answer: int) -> bool:
    """TC_ACT_EXT_CMP(answer, TC_ACT_GOTO_CHAIN).  No negative answer is one."""
    return answer & ~TC_ACT_EXT_VAL_MASK == TC_ACT_GOTO_CHAIN


def ext_value(answer: int) -> int:
    """The operand of an extended answer: a jump's count, a chain's index."""
    return answer & TC_ACT_EXT_VAL_MASK


def as_answer(value: int) -> int:
    """A program's unsigned 32-bit return value as the signed answer it is."""
    return value - (1 << 32) if value & 0x80000000 else value


def verdict_name(answer: int) -> str:
    """`unspec`, `ok`, `shot`, …; `goto chain 5`, `jump 2`; a number that is none of these as it is."""
    if is_goto_chain(answer):
        return f"goto chain {ext_value(answer)}"
    if is_jump(answer):
        return f"jump {ext_value(answer)}"
    try:
        return TcAct(answer).name.lower()
    except ValueError:
        return str(answer)


def _ext_value(value: int, what: str) -> int:
    if not 0 <= value <= TC_ACT_EXT_VAL_MASK:
        raise ClsbpfError(f"{what} {value} does not fit the 28 bits of an extended verdict")
    return value
