"""A packet meets a list of actions: tcf_action_exec().

They run in order while they answer `pipe`.  `jump` begins the list again and skips so many actions;
`repeat` runs the same action again; both have a budget, and who overdraws it ends the list with OK.
`goto chain` leaves the list for another chain of the block.

Mirrors net/sched/act_api.c.
"""

from __future__ import annotations

from ...skb import Skb
from ..act import TcAct, is_goto_chain, is_jump
from ..result import ClassifyResult
from .action import AnyAction

TCA_ACT_MAX_PRIO = 32
"""The most actions a list has, and the budget of jumps and of repeats."""

JUMP_MASK = 0x1FF
"""TCA_ACT_MAX_PRIO_MASK: of a jump's operand only this counts."""


def execute(actions: tuple[AnyAction, ...], skb: Skb, result: ClassifyResult) -> int:
    """The answer of a list of actions; an empty one says OK."""
    answer: int = TcAct.OK
    skip = 0
    jumps = TCA_ACT_MAX_PRIO
    at = 0
    while at < len(actions):
        action = actions[at]
        at += 1
        if skip:
            skip -= 1
            continue
        if action.skip_sw:
            continue
        for _ in range(TCA_ACT_MAX_PRIO):
            answer = action.act(skb, result)
            if answer != TcAct.REPEAT:
                break
        else:
            return TcAct.OK
        if is_jump(answer):
            skip = answer & JUMP_MASK
            jumps -= 1
            if not skip or skip > len(actions) or not jumps:
                return TcAct.OK
            # The list begins again: a jump counts from its first action, not from the one that jumps.
            at = 0
        elif is_goto_chain(answer):
            # Of what a program or an old control answers without having been led anywhere.
            if action.goto is None:
                return TcAct.SHOT
            result.goto = action.goto
            return answer
        elif answer != TcAct.PIPE:
            return answer
    return answer
