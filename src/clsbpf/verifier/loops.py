"""What matters in a loop?  SCC visits and their backedges (maybe_enter_scc, propagate_backedges).

Where a path comes back to a state that is still under way, what will matter after that state is not known
yet, and so not what matters for the path that came back.  A loop of the control flow graph, in one chain of
calls, is visited by a first stored state; when all paths from that one are walked, everything that matters
directly is known, and goes from the states that were met to those that came back, round after round, until
there is nothing new.  Till then stored states of the loop are compared with ranges, whatever is marked.

A call that calls back, again and again, is a loop that the graph does not show.  6.18 forgets the states
that come back there, and may so take a program that reaches out of bounds (later kernels know it for a
loop).  Here such a call is visited like a loop, without a word in the log.  States of it are compared as
6.18 does, as if all marks were there; who was found safe so is looked at again when they are, and walked on
if he was not.  So the walk is the kernel's where that one is right.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .precision import mark_all, propagate
from .state import State

if TYPE_CHECKING:
    from .walk import Walk

MAX_ROUNDS = 64
"""MAX_BACKEDGE_ITERS."""

Chain = tuple[int, ...]


@dataclass(slots=True)
class Visit:
    """struct bpf_scc_visit.

    `back` and `doubtful`: (state that was met, state that came back to it, or was found safe by it).
    """

    entry: State | None = None
    back: list[tuple[State, State]] = field(default_factory=list)
    doubtful: list[tuple[State, State]] = field(default_factory=list)


def chains_of(v: Walk, state: State) -> tuple[Chain, Chain]:
    """compute_scc_callchain: calls, then the number of the outermost loop; and up to a call that calls back.

    () where there is none.  A call that calls back has its number as -1, -2, …, and counts with a loop around
    it as that loop.
    """
    loop: Chain = ()
    callback: Chain = ()
    calls: list[int] = []
    for frame in range(len(state.frames)):
        at = state.insn_of(frame)
        if v.flow.loops[at]:
            loop = (*calls, v.flow.loops[at])
            break
        if not callback and at in v.callback_calls:
            callback = (*calls, -at - 1)
        calls.append(at)
    return loop, callback


def enter(v: Walk, state: State) -> None:
    """maybe_enter_scc, of a state that is stored now."""
    state.chains = chains_of(v, state)
    for chain in filter(None, state.chains):
        visit = v.visits.setdefault(chain, Visit())
        if visit.entry is None:
            visit.entry = state
            _say(v, "enter", chain)


def leave(v: Walk, state: State) -> None:
    """maybe_exit_scc, when all paths through a stored state are walked: it may not be so afterwards."""
    for chain in filter(None, state.chains):
        visit = v.visits[chain]
        if visit.entry is not state:
            continue
        _say(v, "exit", chain)
        if chain[-1] > 0:
            v.stored.now -= len(visit.back)
            _settle(v, visit)
        else:
            with v.log.silent():
                _settle(v, visit)
            if _doubts(v, visit):
                return
        visit.entry = None
        visit.back.clear()


def _settle(v: Walk, visit: Visit) -> None:
    """propagate_backedges."""
    rounds = 0
    changed = True
    while changed:
        rounds += 1
        if rounds > MAX_ROUNDS:
            if v.log.verbose:
                v.log.say("propagate_backedges: too many iterations")
            for _, back in visit.back:
                mark_all(v, back)
            break
        changed = False
        for met, back in (*visit.back, *visit.doubtful):
            changed = propagate(v, met, back, back.insn) or changed


def _doubts(v: Walk, visit: Visit) -> bool:
    """Who was found safe and is not, now that it is known what matters?  They are walked on."""
    from .prune import NOT_EXACT, states_equal

    if not visit.doubtful:
        return False
    v.liveness.update(v.state)
    still: list[tuple[State, State]] = []
    resumed = False
    for met, back in visit.doubtful:
        met.alive = v.liveness.alive(met, met.insn)
        if states_equal(met, back, NOT_EXACT):
            still.append((met, back))
            continue
        resumed = True
        v.pending.append(back)
        state = back.parent
        while state is not None:
            state.branches += 1
            if state.branches > 1:
                break
            state = state.parent
    visit.doubtful = still if resumed else []
    return resumed


def came_back(v: Walk, met: State, state: State, at: int) -> None:
    """add_scc_backedge, in all loops that it is one of."""
    back = _copy(state, at)
    for chain in filter(None, met.chains):
        _say(v, "backedge", chain)
        v.visits[chain].back.insert(0, (met, back))
        if chain[-1] > 0:
            v.stored.grow(1)


def doubt(v: Walk, met: State, state: State, at: int) -> None:
    """This one was found safe by a state of a callback's loop of which it is not known what matters."""
    if unsure(v, met):
        back = _copy(state, at)
        back.origin = v.previous
        v.visits[met.chains[1]].doubtful.append((met, back))


def _copy(state: State, at: int) -> State:
    back = state.copy()
    back.insn = at
    return back


def incomplete(v: Walk, state: State) -> bool:
    """incomplete_read_marks: is what matters of a stored state not known wholly yet?"""
    loop = state.chains[0]
    return bool(loop) and bool(v.visits[loop].back)


def unsure(v: Walk, state: State) -> bool:
    """… for a call that calls back?"""
    callback = state.chains[1]
    return bool(callback) and v.visits[callback].entry is not None


def _say(v: Walk, what: str, chain: Chain) -> None:
    if v.log.verbose and chain[-1] > 0:
        v.log.say(f"SCC {what} (" + ",".join(map(str, chain)) + ")")
