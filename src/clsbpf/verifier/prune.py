"""Was the walk here before, with no less possible?  is_state_visited, states_equal.

At some instructions states are stored.  Whoever comes there later, and may do no more than a stored
state could that was walked to its end, need not walk on: nothing new would be found.  "May do no more"
is decided register by register and slot by slot, only for what is still read (`cfg`, `liveness`), and
numbers only where they mattered (`precision`).  Ids need not be the same, but must be alike: what was one
thing in the old state is one thing in the new.

A state that is still under way and comes back the same is a loop that does not end.  But at an iterator's
`next`, a callback's call or a may_goto a loop ends some time, whatever the state: there, to come back
with no more possible is to be done.  What mattered is not known before the whole loop is walked: the
states that came back are kept (`Visit.back`), and when the path that entered the loop is done, marks go
round until there is no new one (`loops`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .liveness import ALL
from .loops import came_back, doubt, enter, incomplete, unsure
from .precision import note, propagate
from .refusal import Refused
from .stack_objects import ACTIVE, depths_differ
from .state import EMPTY, INVALID, ITER_BYTES, MISC, SPECIAL, SPILL, ZERO, Slot, State
from .values import ADD_CONST, MAP_KEY, MAP_VALUE, MEM, NOT_INIT, PACKETS, SCALAR, STACK, Reg, unknown

if TYPE_CHECKING:
    from .walk import Walk

NOT_EXACT, EXACT, RANGE_WITHIN = range(3)
"""enum exact_level."""


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


def _same_register(old: Reg, new: Reg, precise: bool, ids: IdMap, exact: int) -> bool:
    """regsafe."""
    if exact == EXACT:
        return _identical(old, new, ids)
    kind = old.kind
    if kind == NOT_INIT:
        return True
    if kind != new.kind or old.flags != new.flags:
        return False
    if kind == SCALAR:
        if not precise and exact == NOT_EXACT:
            return True
        if (old.id & ADD_CONST) != (new.id & ADD_CONST) or (old.id & ADD_CONST and old.off != new.off):
            return False
        return old.var.includes(new.var) and ids.alike_number(old.id & ~ADD_CONST, new.id & ~ADD_CONST)
    if kind in PACKETS:
        if (
            old.size > new.size
            or ((old.size < 0 or new.size < 0) and old.size != new.size)
            or old.off != new.off
        ):
            return False
        return ids.alike(old.id, new.id) and old.var.includes(new.var)
    if kind in _RANGES:
        return (
            old.off == new.off
            and (old.obj is new.obj or old.obj == new.obj)
            and old.size == new.size
            and old.var.includes(new.var)
            and ids.alike(old.id, new.id)
            and ids.alike(old.ref, new.ref)
            and old.uid == new.uid
        )
    return _identical(old, new, ids)


_RANGES = frozenset({MAP_KEY, MAP_VALUE, MEM})
"""Pointers whose variable part need only lie within the old one's."""


def _identical(old: Reg, new: Reg, ids: IdMap) -> bool:
    """regs_exact."""
    if old is not new and not (
        old.kind == new.kind
        and old.flags == new.flags
        and old.var is new.var
        and old.off == new.off
        and old.size == new.size
        and (old.obj is new.obj or old.obj == new.obj)
    ):
        return False
    return old.uid == new.uid and ids.alike(old.id, new.id) and ids.alike(old.ref, new.ref)


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


def _is_anything(slot: Slot) -> bool:
    return slot.kinds[0] != SPILL and max(slot.kinds) <= MISC


def _same_slot(old: Slot, new: Slot, precise: bool, ids: IdMap, exact: int) -> bool:
    """stacksafe, one slot.  Bytes that were nothing in particular then may be anything now."""
    kinds = old.kinds
    if exact == EXACT and kinds != new.kinds:
        return False
    if _is_anything(old):
        return True
    if kinds[0] == SPILL and old.reg.kind == SCALAR:
        number = _as_number(new)
        if number is not None and kinds.count(SPILL) == 8:
            return _same_register(old.reg, number, precise, ids, exact)
    for was, now in zip(kinds, new.kinds, strict=True):
        if was != now and was not in (INVALID, MISC):
            return False
    lowest = kinds[0]
    if lowest == SPILL:
        return _same_register(old.reg, new.reg, precise, ids, exact)
    return lowest not in SPECIAL or _same_object(old.reg, new.reg, ids)


def states_equal(old: State, new: State, exact: int) -> bool:
    """states_equal: may the new state do no more than the old one could?"""
    before, after = old.frames, new.frames
    if len(before) != len(after):
        return False
    # most differences are seen here, at little cost
    frame = before[-1]
    held, precise = after[-1].regs, frame.precise
    for number, reg in old.live[-1]:
        other = held[number]
        if reg is other:
            continue
        if reg.kind != other.kind:
            if reg.kind != NOT_INIT or exact == EXACT:
                return False
        elif reg.kind == SCALAR and reg.var is not other.var and (exact or precise >> number & 1):
            if reg.var.const is not None:
                if precise >> number & 1:
                    old.differed = number, reg.var
                return False
            if not reg.var.includes(other.var):
                return False
    if old.rcu != new.rcu or old.preempt != new.preempt or len(old.refs) != len(new.refs):
        return False
    ids = IdMap()
    for mine, theirs in zip(old.refs, new.refs, strict=True):
        if mine.kind != theirs.kind or mine.owner is not theirs.owner or not ids.alike(mine.id, theirs.id):
            return False
    for index, frame in enumerate(after):
        was = before[index]
        if was.callsite != frame.callsite or was.callback_depth > frame.callback_depth:
            return False
        held, precise = frame.regs, was.precise
        for number, reg in old.live[index]:
            if reg.kind == SCALAR == held[number].kind and not (exact or precise >> number & 1):
                continue
            if not _same_register(reg, held[number], precise >> number & 1 != 0, ids, exact):
                return False
        stack, precise = frame.stack, was.precise_slots
        alive = old.alive[index] if old.alive is not None else ALL
        for number, slot in was.stack.items():
            if not alive >> number & 1:
                continue
            if number >= frame.slots and (exact == EXACT or not _is_anything(slot)):
                return False
            other_slot = stack.get(number, EMPTY)
            if other_slot is slot and slot.reg.kind == NOT_INIT and slot.kinds[0] <= ZERO:
                continue
            if not _same_slot(slot, other_slot, precise >> number & 1 != 0, ids, exact):
                return False
    return True


def stored_copy(v: Walk, state: State, at: int) -> State:
    """The state to be kept."""
    stored = state.copy()
    stored.insn = at
    stored.origin = v.previous
    live = v.flow.live
    stored.live = tuple(
        tuple((n, reg) for n, reg in enumerate(frame.regs[:10]) if live[stored.insn_of(index)] >> n & 1)
        for index, frame in enumerate(stored.frames)
    )
    return stored


class Bucket:
    """States of an instruction, the latest first; those of them that are not cleaned."""

    __slots__ = ("fresh", "states")

    def __init__(self) -> None:
        self.states: list[State] = []
        self.fresh: list[State] = []


class StoredStates:
    """env->explored_states, and how many there are."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._lists: dict[int, Bucket] = {}
        self.total = 0
        self.now = 0
        """explored_states_size, free_list_size and num_backedges together."""
        self.peak = 0
        self.most_here = 0

    def clear(self) -> None:
        """free_states, after a function."""
        self._lists.clear()

    def at(self, insn: int, callsite: int) -> Bucket:
        """explored_state; those of other instructions, too, by accident of the hash."""
        key = ((insn ^ callsite) & 0xFFFFFFFF) % self._count
        found = self._lists.get(key)
        if found is None:
            found = self._lists[key] = Bucket()
        return found

    def grow(self, by: int) -> None:
        """update_peak_states."""
        self.now += by
        self.peak = max(self.peak, self.now)


def visited(v: Walk, at: int) -> bool:
    """is_state_visited: is there nothing new on this path?  If there is, the state may be stored."""
    state = v.state
    forced = at in v.forced_checkpoints
    force = forced or state.noted > MAX_HISTORY
    add = force or (v.jumps - v.jumps_before >= 2 and v.count - v.count_before >= 8)
    young = not force and v.jumps - v.jumps_before < 20 and v.count - v.count_before < 100
    state.insn = at
    regs = state.frames[-1].regs
    bucket = v.stored.at(at, state.frames[-1].callsite)
    stored = bucket.states
    if bucket.fresh:
        for candidate in bucket.fresh:
            if not (
                candidate.branches
                or candidate.insn != at
                or not candidate.same_calls(state)
                or incomplete(v, candidate)
            ):
                _clean(v, candidate)
        bucket.fresh = [candidate for candidate in bucket.fresh if not candidate.cleaned]
    gone: list[State] = []
    hit = None
    for candidate in stored:
        if candidate.insn != at:
            continue
        differed = candidate.differed
        if differed is not None and regs[differed[0]].var is not differed[1]:
            if young and candidate.branches:
                add = False
        elif candidate.branches:
            if (forced or _maybe_same(candidate, regs)) and _loops(v, at, candidate, state):
                hit, loops = candidate, at not in v.callback_calls
                break
            if young:
                add = False
        else:
            loops = bool(candidate.chains[0]) and incomplete(v, candidate)
            if states_equal(candidate, state, RANGE_WITHIN if loops else NOT_EXACT):
                hit = candidate
                break
        if add:  # else the same loop would soon drive out the state that ends it
            candidate.misses += 1
        if candidate.misses > candidate.allowed and not (
            forced and candidate.branches and candidate.misses <= candidate.hits * 64 + 64
        ):
            gone.append(candidate)
    for old in gone:
        _drop(v, bucket, old)
    if hit is not None:
        hit.hits += 1
        hit.allowed += 3
        if at in v.flow.jump_points:
            note(v)
        propagate(v, hit, state, at)
        if loops or (hit.branches and at in v.callback_calls):
            came_back(v, hit, state, at)
        else:
            doubt(v, hit, state, at)
        return True
    if len(stored) + len(gone) > v.stored.most_here:
        v.stored.most_here = len(stored) + len(gone)
    if not add:
        return False
    v.jumps_before, v.count_before = v.jumps, v.count
    new = stored_copy(v, state, at)
    v.stored.total += 1
    v.stored.grow(1)
    enter(v, new)
    stored.insert(0, new)
    bucket.fresh.append(new)
    state.parent = new
    state.first_insn = at
    state.history = None
    state.noted = 0
    return False


MAX_HISTORY = 40
"""As much is noted of a path before its state is stored, whatever else."""


def _clean(v: Walk, state: State) -> None:
    """clean_verifier_state: slots that nobody reads any more may be anything."""
    state.alive = v.liveness.alive(state, state.insn)
    state.cleaned = not unsure(v, state)


def _drop(v: Walk, bucket: Bucket, state: State) -> None:
    """Of no use any more; but those that come from it mark it still."""
    bucket.states.remove(state)
    if not state.cleaned:
        bucket.fresh.remove(state)
    state.dropped = True
    forget(v, state)


def forget(v: Walk, state: State) -> None:
    """maybe_free_verifier_state."""
    if state.dropped and not state.branches and not incomplete(v, state):
        v.stored.now -= 1


def _loops(v: Walk, at: int, old: State, new: State) -> bool:
    """Did a loop that is known to end come back to a state under way?  Refused, if one that does not."""
    if old.frames[-1].async_entries != new.frames[-1].async_entries:
        return False
    if at in v.iterator_calls:
        return states_equal(old, new, RANGE_WITHIN) and _goes_on(new)
    if (
        at in v.may_gotos
        and old.may_goto_depth != new.may_goto_depth
        and states_equal(old, new, RANGE_WITHIN)
    ):
        return True
    if at in v.callback_calls:
        return states_equal(old, new, RANGE_WITHIN)
    if (
        _maybe_same(old, new.frames[-1].regs)
        and states_equal(old, new, EXACT)
        and not depths_differ(old, new)
        and old.may_goto_depth == new.may_goto_depth
        and old.callback_unroll_depth == new.callback_unroll_depth
    ):
        raise Refused(
            "infinite-loop",
            f"infinite loop detected at insn {at}",
            insn=at,
            errno=22,
            after=f"cur state:{v.log.whole(new)}\nold state:{v.log.whole(old)}",
        )
    return False


def _goes_on(state: State) -> bool:
    """Is the iterator in r1 active, so that it is asked again?"""
    reg = state.frames[-1].regs[1]
    if reg.kind != STACK or reg.var.mask:
        return False
    slot = state.frames[reg.size].stack.get((-(reg.off + reg.var.smin) - 1) // 8, EMPTY)
    return slot.kinds[0] == ITER_BYTES and slot.reg.uid == ACTIVE


def _maybe_same(old: State, regs: list[Reg]) -> bool:
    """states_maybe_looping: are the registers, dead ones too, the very same, ids and all?"""
    held = old.frames[-1].regs
    if held[old.changed].var is not regs[old.changed].var:
        return False
    for number, (one, other) in enumerate(zip(held, regs, strict=True)):
        if one is not other and not (
            one.kind == other.kind
            and one.var is other.var
            and one.off == other.off
            and one.id == other.id
            and one.ref == other.ref
            and one.flags == other.flags
            and one.size == other.size
            and (one.obj is other.obj or one.obj == other.obj)
        ):
            old.changed = number
            return False
    return True
