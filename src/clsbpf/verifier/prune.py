"""Was the walk here before, with no less possible?  is_state_visited, states_equal.

At some instructions states are stored.  Whoever comes there later, and may do no more than a stored
state could that was walked to its end, need not walk on: nothing new would be found.  "May do no more"
is decided register by register and slot by slot, only for what is still read, and numbers only where
they mattered (see *precision* in `values`).  Ids need not be the same, but must be alike: what was one
thing in the old state is one thing in the new.

A state that is still under way and comes back the same is a loop that does not end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .refusal import Refused
from .stack_objects import ACTIVE, depths_differ
from .state import EMPTY, INVALID, MISC, SPECIAL, SPILL, Frame, Slot, State
from .state import ZERO as ZERO_BYTE
from .values import (
    ADD_CONST,
    NOT_INIT,
    PACKETS,
    SCALAR,
    STACK,
    UNWRITTEN,
    Reg,
    clone,
    mark_precise,
    unknown,
)

if TYPE_CHECKING:
    from .walk import Walk

NOT_EXACT, EXACT, RANGE_WITHIN = range(3)
"""enum exact_level."""

_SCRATCH = 0b111111


class IdMap:
    """struct bpf_idmap: which new id stands for which old one."""

    __slots__ = ("back", "forth", "fresh")

    def __init__(self) -> None:
        self.forth: dict[int, int] = {}
        self.back: dict[int, int] = {}
        self.fresh = 1 << 40

    def alike(self, old: int, new: int) -> bool:
        """check_ids."""
        if not old or not new:
            return old == new
        found = self.forth.get(old)
        if found is not None:
            return found == new
        if new in self.back:
            return False
        self.forth[old] = new
        self.back[new] = old
        return True

    def alike_number(self, old: int, new: int) -> bool:
        """check_scalar_ids: a number without an id is alike only to itself."""
        if not old:
            self.fresh += 1
            old = self.fresh
        if not new:
            self.fresh += 1
            new = self.fresh
        return self.alike(old, new)


def _same_register(old: Reg, new: Reg, ids: IdMap, exact: int) -> bool:
    """regsafe."""
    if old is new and exact == NOT_EXACT and old.kind != SCALAR and not old.id and not old.ref:
        return True
    if exact == EXACT:
        return _identical(old, new, ids)
    kind = old.kind
    if kind == NOT_INIT:
        return True
    if kind == SCALAR:
        if new.kind != SCALAR:
            return False
        if not old.precise and exact == NOT_EXACT:
            return True
        if (old.id & ADD_CONST) != (new.id & ADD_CONST) or (old.id & ADD_CONST and old.off != new.off):
            return False
        return old.var.includes(new.var) and ids.alike_number(old.id & ~ADD_CONST, new.id & ~ADD_CONST)
    if kind != new.kind or old.flags != new.flags:
        return False
    if kind in PACKETS:
        if (
            old.size > new.size
            or ((old.size < 0 or new.size < 0) and old.size != new.size)
            or old.off != new.off
        ):
            return False
        return ids.alike(old.id, new.id) and old.var.includes(new.var)
    if kind == STACK:
        return old.off == new.off and old.size == new.size and old.var is new.var
    if old.off != new.off or (old.obj is not new.obj and old.obj != new.obj) or old.size != new.size:
        return False
    return (
        old.var.includes(new.var)
        and ids.alike(old.id, new.id)
        and ids.alike(old.ref, new.ref)
        and ids.alike(old.uid, new.uid)
    )


def _identical(old: Reg, new: Reg, ids: IdMap) -> bool:
    if old is new:
        return ids.alike(old.id, new.id) and ids.alike(old.ref, new.ref)
    return (
        old.kind == new.kind
        and old.flags == new.flags
        and old.var is new.var
        and old.off == new.off
        and old.size == new.size
        and (old.obj is new.obj or old.obj == new.obj)
        and ids.alike(old.id & ~ADD_CONST, new.id & ~ADD_CONST)
        and ids.alike(old.ref, new.ref)
        and ids.alike(old.uid, new.uid)
    )


def _as_number(slot: Slot) -> Reg | None:
    """Eight bytes of nothing in particular, or a number spilled, as a number (scalar_reg_for_stack)."""
    if slot.kinds[0] == SPILL:
        return slot.reg if slot.kinds.count(SPILL) == 8 and slot.reg.kind == SCALAR else None
    if all(k in (MISC, INVALID) for k in slot.kinds):
        return _ANYTHING
    return None


_ANYTHING = unknown()


def _same_object(old: Reg, new: Reg, ids: IdMap) -> bool:
    """stacksafe of dynptrs, iterators (in the same state; how far they are does not matter) and flags."""
    return (
        old.obj == new.obj
        and old.size == new.size
        and old.uid == new.uid
        and old.flags == new.flags
        and ids.alike(old.ref, new.ref)
    )


def _same_slot(old: Slot, new: Slot, ids: IdMap, exact: int) -> bool:
    """stacksafe, one slot."""
    if old is new and (old.reg.kind in (NOT_INIT, SCALAR)) and exact != EXACT and not old.reg.id:
        return True
    if not SPECIAL.isdisjoint(old.kinds):
        return old.kinds == new.kinds and _same_object(old.reg, new.reg, ids)
    if exact == EXACT:
        return old.kinds == new.kinds and _identical(old.reg, new.reg, ids)
    if all(k in (INVALID, MISC) for k in old.kinds) and old.reg.kind == NOT_INIT:
        # what a privileged program reads here is any number: whatever is there now is one
        if new.kinds[0] != SPILL or new.reg.kind == SCALAR:
            return all(k <= ZERO_BYTE for k in new.kinds)
        return False
    old_number, new_number = _as_number(old), _as_number(new)
    if old_number is not None and new_number is not None:
        return _same_register(old_number, new_number, ids, exact)
    for i in range(8):
        was, now = old.kinds[i], new.kinds[i]
        if was == INVALID:
            if now > ZERO_BYTE:
                return False
            continue
        if was == MISC and now == ZERO_BYTE:
            continue
        if was != now:
            return False
    if old.kinds[0] == SPILL:
        return _same_register(old.reg, new.reg, ids, exact)
    return old.reg.kind == NOT_INIT or (
        old.reg.obj == new.reg.obj
        and ids.alike(old.reg.id, new.reg.id)
        and ids.alike(old.reg.ref, new.reg.ref)
    )


def live_registers(v: Walk, state: State, index: int, at: int | None = None) -> int:
    """Which registers of a frame may still be read: the innermost's from here, the others' after the call."""
    if index == len(state.frames) - 1:
        return v.flow.live[state.insn if at is None else at]
    callee = state.frames[index + 1]
    if callee.callback is not None:
        return v.flow.live[callee.callsite]  # the call is made again
    return v.flow.live[callee.callsite + 1] & ~_SCRATCH


def states_equal(v: Walk, old: State, new: State, exact: int) -> bool:
    """states_equal: may the new state do no more than the old one could?"""
    before, after = old.frames, new.frames
    if len(before) != len(after):
        return False
    # most differences are seen here, at little cost
    held = after[-1].regs
    for number, reg in old.live[-1]:
        other = held[number]
        if reg is other:
            continue
        if reg.kind != other.kind:
            if reg.kind != NOT_INIT or exact == EXACT:
                return False
        elif (
            reg.kind == SCALAR
            and (reg.precise or exact)
            and reg.var is not other.var
            and (reg.var.const is not None or not reg.var.includes(other.var))
        ):
            return False
    if old.rcu != new.rcu or old.preempt != new.preempt or len(old.refs) != len(new.refs):
        return False
    for was, now in zip(before, after, strict=True):
        if was.callsite != now.callsite or was.subprogram != now.subprogram or was.callback != now.callback:
            return False
    ids = IdMap()
    for mine, theirs in zip(old.refs, new.refs, strict=True):
        if mine.kind != theirs.kind or mine.owner is not theirs.owner or not ids.alike(mine.id, theirs.id):
            return False
    for index, frame in enumerate(after):
        held = frame.regs
        for number, reg in old.live[index]:
            if not _same_register(reg, held[number], ids, exact):
                return False
        if not _same_stack(before[index], frame, ids, exact, old.read[index] if exact == NOT_EXACT else -1):
            return False
    return True


def _same_stack(before: Frame, after: Frame, ids: IdMap, exact: int, read: int) -> bool:
    mine, theirs = before.stack, after.stack
    for number, slot in mine.items():
        if read >> number & 1 and not _same_slot(slot, theirs.get(number, EMPTY), ids, exact):
            return False
    # what was never written then is read as any number: it must not be an address or an object now
    for number, slot in theirs.items():
        if number not in mine and read >> number & 1 and not _same_slot(EMPTY, slot, ids, exact):
            return False
    return True


def propagate(old: State, new: State) -> None:
    """propagate_precision and liveness: what mattered after `old` matters for what led to `new`."""
    for index, (before, after) in enumerate(zip(old.frames, new.frames, strict=True)):
        for mine, theirs in zip(before.regs, after.regs, strict=True):
            if mine.precise and mine.kind == SCALAR:
                mark_precise(theirs)
        for number, slot in before.stack.items():
            if slot.reg.precise and slot.reg.kind == SCALAR:
                other = after.stack.get(number)
                if other is not None:
                    mark_precise(other.reg)
        if old.read[index]:
            new.mark_read(index, old.read[index])


def stored_copy(v: Walk, state: State) -> State:
    """The state to be kept, with numbers of its own: what is learned further on marks these.

    The walk goes on with the stored numbers; the stored ones come from those before.
    """

    def own(reg: Reg) -> Reg:
        """One for each place, also where two places hold the same: one may matter and the other not."""
        if reg.kind != SCALAR:
            return reg
        found = clone(reg)
        found.src = (reg,)
        found.precise = False
        return found

    for index, frame in enumerate(state.frames):
        live = live_registers(v, state, index) | 1 << 10
        for number, reg in enumerate(frame.regs):
            if live >> number & 1:
                frame.regs[number] = own(reg)
        for number, slot in frame.stack.items():
            if slot.reg.kind == SCALAR:
                frame.stack[number] = Slot(slot.kinds, own(slot.reg))
    stored = state.copy()
    kept = []
    for index, frame in enumerate(stored.frames):
        live = live_registers(v, state, index)
        for number in range(10):
            if not live >> number & 1:
                frame.regs[number] = UNWRITTEN
        kept.append(tuple((number, frame.regs[number]) for number in range(10) if live >> number & 1))
    stored.live = tuple(kept)
    return stored


def converged(old: State, new: State) -> None:
    """A loop came back to a state that is under way: what will matter after `old` matters for `new` too.

    A number of the old state comes, on this way round, from the same of the new one; and the states
    between are not known wholly before the old one is (`waits_for`).
    """
    for before, after in zip(old.frames, new.frames, strict=True):
        for mine, theirs in zip(before.regs, after.regs, strict=True):
            _flows(theirs, mine)
        for number, slot in before.stack.items():
            other = after.stack.get(number)
            if other is not None:
                _flows(other.reg, slot.reg)
    for index, read in enumerate(old.read):
        if read:
            new.mark_read(index, read)
    old.loops.append(new)
    state = new.parent
    while state is not None and state is not old:
        state.waits_for = old
        state = state.parent


def _flows(source: Reg, into: Reg) -> None:
    if into.kind == SCALAR and source.kind == SCALAR and source is not into:
        if into.precise:
            mark_precise(source)
        else:
            into.src = (*into.src, source)


def visited(v: Walk, at: int) -> bool:
    """is_state_visited: is there nothing new on this path?  If there is, the state may be stored."""
    state = v.state
    force = at in v.forced_checkpoints or state.history > MAX_HISTORY
    stored = v.stored.setdefault((at, tuple(frame.callsite for frame in state.frames)), [])
    add = force or (v.jumps - v.jumps_before >= 2 and v.count - v.count_before >= 8)
    state.insn = at
    gone: list[State] = []
    for candidate in stored:
        if candidate.branches:
            if _loops(v, at, candidate, state):
                _hit(v, candidate, stored, gone)
                converged(candidate, state)
                return True
            if not force and v.jumps - v.jumps_before < 20 and v.count - v.count_before < 100:
                add = False
        elif candidate.waits_for is not None and candidate.waits_for.branches:
            if states_equal(v, candidate, state, RANGE_WITHIN):
                _hit(v, candidate, stored, gone)
                converged(candidate, state)
                state.wait_with(candidate.waits_for)
                return True
        elif states_equal(v, candidate, state, NOT_EXACT):
            _hit(v, candidate, stored, gone)
            propagate(candidate, state)
            return True
        if add:  # else the same loop would soon drive out the state that ends it
            candidate.misses += 1
            allowance = 64 if at in v.forced_checkpoints and candidate.branches > 0 else 3
            if candidate.misses > candidate.hits * allowance + allowance:
                gone.append(candidate)
    v.most_here = max(v.most_here, len(stored))
    _forget(v, stored, gone)
    if at in v.flow.jump_points:
        state.history += 1
    if not add:
        return False
    v.jumps_before, v.count_before = v.jumps, v.count
    new = stored_copy(v, state)
    new.parent = state.parent
    new.insn = at
    new.branches = 1
    stored.insert(0, new)
    v.states += 1
    v.peak_states = max(v.peak_states, v.states - v.evicted)
    state.parent = new
    state.history = 0
    for frame in state.frames:
        frame.written = 0
    return False


MAX_HISTORY = 40
"""As many jumps and spills the kernel remembers before it stores a state whatever else."""


def _hit(v: Walk, candidate: State, stored: list[State], gone: list[State]) -> None:
    candidate.hits += 1
    _forget(v, stored, gone)


def _forget(v: Walk, stored: list[State], gone: list[State]) -> None:
    for state in gone:
        stored.remove(state)
        v.evicted += 1


def _loops(v: Walk, at: int, old: State, new: State) -> bool:
    """Did a loop that is known to end come back to a state under way?  Refused, if one that does not."""
    if at in v.iterator_calls:
        return states_equal(v, old, new, RANGE_WITHIN) and _goes_on(v, new)
    if at in v.may_gotos and old.may_goto_depth != new.may_goto_depth:
        return states_equal(v, old, new, RANGE_WITHIN)
    if at in v.callback_calls:
        return states_equal(v, old, new, RANGE_WITHIN)
    if (
        _same_live(v, old, new)
        and old.may_goto_depth == new.may_goto_depth
        and old.callback_unroll_depth == new.callback_unroll_depth
        and states_equal(v, old, new, EXACT)
        and not depths_differ(old, new)
    ):
        raise Refused("infinite-loop", f"infinite loop detected at insn {at}", insn=at, errno=22)
    return False


def _goes_on(v: Walk, state: State) -> bool:
    """Is the iterator in r1 active, so that it is asked again?"""
    reg = state.frames[-1].regs[1]
    if reg.kind != STACK or reg.var.mask:
        return False
    slot = state.frames[reg.size].stack.get((-(reg.off + reg.var.smin) - 1) // 8, EMPTY)
    return slot.reg.uid == ACTIVE


def _same_live(v: Walk, old: State, new: State) -> bool:
    """states_maybe_looping: quickly, may they be the same at all?"""
    if len(old.frames) != len(new.frames):
        return False
    held = new.frames[-1].regs
    for number, reg in old.live[-1]:
        other = held[number]
        if reg.kind != other.kind or reg.var is not other.var or reg.off != other.off:
            return False
    return True
