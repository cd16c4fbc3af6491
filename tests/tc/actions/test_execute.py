"""Lists of actions: tcf_action_exec() of net/sched/act_api.c."""

from __future__ import annotations

import pytest

from action_fakes import World, answers, incoming
from clsbpf.tc.act import TcAct, goto_chain, jump
from clsbpf.tc.actions.execute import execute
from clsbpf.tc.result import ClassifyResult
from tc_fakes import FRAME, Lab

PIPE, OK, SHOT = TcAct.PIPE, TcAct.OK, TcAct.SHOT

CASES: list[tuple[str, list[list[int]], int, list[int]]] = [
    ("none", [], OK, []),
    ("pipe goes on", [[PIPE], [SHOT], [OK]], SHOT, [1, 1, 0]),
    ("all pipe", [[PIPE], [PIPE]], PIPE, [1, 1]),
    ("negative ends the list", [[-1], [SHOT]], -1, [1, 0]),
    ("stolen ends it", [[TcAct.STOLEN], [SHOT]], TcAct.STOLEN, [1, 0]),
    # A jump begins the list again: from its first action, so many are left out.
    ("jump over itself", [[jump(2)], [SHOT], [OK]], OK, [1, 0, 1]),
    ("jump to the second", [[PIPE], [jump(2), PIPE], [SHOT]], SHOT, [1, 1, 1]),
    ("jump of nothing", [[jump(0)], [SHOT]], OK, [1, 0]),
    ("jump past the end", [[jump(4)], [SHOT], [SHOT]], OK, [1, 0, 0]),
    ("jump over all", [[jump(2)], [SHOT]], jump(2), [1, 0]),
    ("jumping in a circle", [[PIPE], [jump(1)]], OK, [1, 32]),
    ("repeat", [[TcAct.REPEAT, TcAct.REPEAT, PIPE], [SHOT]], SHOT, [3, 1]),
    ("repeat without end", [[TcAct.REPEAT], [SHOT]], OK, [32, 0]),
    ("goto nowhere", [[goto_chain(5)]], SHOT, [1]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_lists(case: tuple[str, list[list[int]], int, list[int]]) -> None:
    _, lists, answer, counts = case
    actions = tuple(answers(*values) for values in lists)
    assert execute(actions, incoming(FRAME), ClassifyResult()) == answer
    assert [action.counters.packets for action in actions] == counts


def test_goto_chain_says_where() -> None:
    action = answers(goto_chain(5))
    action.goto = Lab().block.get_chain(5, by_action=True)
    result = ClassifyResult()
    assert execute((action,), incoming(FRAME), result) == goto_chain(5)
    assert result.goto is action.goto


def test_an_action_for_hardware_only_is_left_out() -> None:
    first = answers(SHOT)
    first.flags = 4
    assert execute((first, answers(OK)), incoming(FRAME), ClassifyResult()) == OK


def test_bytes_leave_out_the_link_layer_and_times_are_kept() -> None:
    world = World()
    action = answers(OK, world=world)
    world.clock.time = 7
    execute((action,), incoming(FRAME), ClassifyResult())
    world.clock.time = 9
    execute((action,), incoming(FRAME), ClassifyResult())
    assert (action.counters.bytes, action.counters.packets) == (2 * (len(FRAME) - 14), 2)
    assert (action.times.install, action.times.first_use, action.times.last_use) == (0, 7, 9)
