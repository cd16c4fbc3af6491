"""In which order, and in which loops, are the instructions of a function?

Strongly connected components are the loops of the control flow graph (compute_scc): each instruction of
one has its number, counted from 1 in the order in which they are found; 0 is in no loop.  The order in
which a walk in depth leaves the instructions (compute_postorder) is the one in which facts about what
comes later settle soonest.
"""

from __future__ import annotations

from collections.abc import Sequence


def loops(following: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """compute_scc, after Tarjan: by instruction the number of its loop; `following` has its successors."""
    count = len(following)
    done = count + 1  # greater than any number in `low`
    low, order, numbers = [0] * count, [0] * count, [0] * count
    stack: list[int] = []
    visited = found = 0
    for start in range(count):
        if order[start]:
            continue
        path = [(start, iter(following[start]))]
        while path:
            at, rest = path[-1]
            if not order[at]:
                visited += 1
                low[at] = order[at] = visited
                stack.append(at)
            for successor in rest:
                if not order[successor]:
                    path.append((successor, iter(following[successor])))
                    break
                low[at] = min(low[at], low[successor])
            else:
                path.pop()
                if path:
                    before = path[-1][0]
                    low[before] = min(low[before], low[at])
                if low[at] < order[at]:
                    continue
                is_loop = stack[-1] != at or at in following[at]
                found += is_loop
                while True:
                    member = stack.pop()
                    low[member] = done
                    if is_loop:
                        numbers[member] = found
                    if member == at:
                        break
    return tuple(numbers)


def postorder(following: Sequence[Sequence[int]], start: int) -> tuple[int, ...]:
    """compute_postorder, of the function that begins at `start`."""
    order: list[int] = []
    discovered, explored = {start}, set()
    stack = [start]
    while stack:
        at = stack[-1]
        if at in explored:
            order.append(at)
            stack.pop()
            continue
        explored.add(at)
        for successor in following[at]:
            if successor not in discovered:
                discovered.add(successor)
                stack.append(successor)
    return tuple(order)
