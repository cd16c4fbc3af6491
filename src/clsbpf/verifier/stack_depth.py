"""How deep can the calls of a program go, and how much stack do they take?  check_max_stack_depth.

Every chain of calls is followed, from the main function and from what runs by itself: callbacks that are
called later, and the exception callback.  A callback that is called now counts as a call of the function
that passes it on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import ClsbpfError
from .cfg import CALL, is_function_pointer, is_pseudo_call
from .refusal import Refused

if TYPE_CHECKING:
    from .walk import Walk

MAX_STACK = 512
TAIL_CALL_STACK = 256
MAX_FRAMES = 8
_TAIL_CALL = 12
_MOST_STEPS = 100_000


def stack_depth(walk: Walk) -> int:
    """The bytes that the deepest chain of calls takes, each frame rounded up to 16."""
    used = [max(walk.stack_used.get(i, 0), 0) + 15 & ~15 for i in range(len(walk.flow.subprograms))]
    return max(_deepest(walk, root, used) for root in sorted({0} | walk.async_callbacks))


def _deepest(walk: Walk, root: int, used: list[int]) -> int:
    """check_max_stack_depth_subprog."""
    subprograms = walk.flow.subprograms
    deepest = steps = 0
    todo: list[tuple[int, int, tuple[int, ...]]] = [(root, 0, ())]
    while todo:
        steps += 1
        index, depth, chain = todo.pop()
        start = subprograms[index].start
        if index in chain:
            raise Refused("recursion", f"recursive call from function {index}", insn=start, errno=22)
        if index and _calls_tail(walk, index) and depth >= TAIL_CALL_STACK:
            raise Refused(
                "tail-call",
                f"tail_calls are not allowed when call stack of previous frames is {depth} bytes. Too large",
                insn=start,
            )
        depth += used[index]
        if depth > MAX_STACK:
            raise Refused(
                "stack-depth",
                f"combined stack size of {len(chain) + 1} calls is {depth}. Too large",
                insn=start,
                depth=depth,
            )
        if len(chain) >= MAX_FRAMES:
            raise Refused("frames", f"the call stack of {len(chain) + 1} frames is too deep", errno=7)
        chain = (*chain, index)
        if walk.exception_callback in chain and _calls_tail(walk, index):
            raise Refused("tail-call", "cannot tail call within exception cb", insn=start, errno=22)
        deepest = max(deepest, depth)
        if steps > _MOST_STEPS:
            raise ClsbpfError("the calls of this program are too many to measure its stack")
        todo.extend((callee, depth, chain) for callee in _callees(walk, index, chain))
    return deepest


def _calls_tail(walk: Walk, index: int) -> bool:
    sub = walk.flow.subprograms[index]
    return any(
        insn.code == CALL and insn.src == 0 and insn.imm == _TAIL_CALL
        for insn in walk.insns[sub.start : sub.end]
    )


def _callees(walk: Walk, index: int, chain: tuple[int, ...]) -> Iterator[int]:
    """What function `index` calls, or has called; refused is what it may not."""
    sub = walk.flow.subprograms[index]
    for at in range(sub.start, sub.end):
        insn = walk.insns[at]
        if at in walk.throws and any(each in walk.callbacks for each in chain):
            raise Refused(
                "callback",
                f"bpf_throw kfunc (insn {at}) cannot be called from callback subprog {index}",
                insn=at,
                errno=22,
            )
        called = is_pseudo_call(insn)
        if not called and not is_function_pointer(insn):
            continue
        callee = walk.flow.subprogram_at[at + insn.imm + 1]
        if called and callee == walk.exception_callback:
            raise Refused("call", f"insn {at} cannot call exception cb directly", insn=at, errno=22)
        if called or callee not in walk.async_callbacks:
            yield callee
