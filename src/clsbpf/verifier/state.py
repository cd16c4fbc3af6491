"""Where is the walk, and what is known there?  struct bpf_verifier_state.

A state is a stack of frames (functions that called each other), each with eleven registers and up to 64
stack slots of eight bytes, and what the program owes: references to give back, a lock to release.  A
slot's eight bytes are each of a kind; a slot that a register was spilled to also has the register.

States form a tree by `parent`: the stored state that a path last went through.  Since then the path's jumps
and its accesses to spilled registers are noted (`History`), so that it can be gone back (`precision`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .ranges import Range
from .values import UNWRITTEN, Reg

INVALID, SPILL, MISC, ZERO, DYNPTR_BYTES, ITER_BYTES, IRQ_BYTES = range(7)
"""enum bpf_stack_slot_type: what a byte of the stack holds."""

SPECIAL = frozenset({DYNPTR_BYTES, ITER_BYTES, IRQ_BYTES})
"""Bytes of what only calls may touch (is_stack_slot_special)."""
SPILLED = bytes([SPILL]) * 8
NOTHING = bytes(8)

History = tuple[Any, int, int, int, tuple[tuple[int, int, bool], ...]] | None
"""struct bpf_jmp_history_entry, with the one before: (before, instruction, the instruction before it, flags,
linked registers as (frame, register or slot, is it a register)).  None where a path begins.
"""
STACK_ACCESS, POINTER_DST, POINTER_SRC = 1 << 9, 1 << 10, 1 << 11
"""INSN_F_STACK_ACCESS (of the frame in bits 0 to 2, the slot in 3 to 8), INSN_F_DST_REG_STACK,
INSN_F_SRC_REG_STACK.
"""


@dataclass(frozen=True, slots=True)
class Slot:
    """struct bpf_stack_state: eight bytes; `kinds[i]` is that of the byte at offset i from the lowest."""

    kinds: bytes
    reg: Reg = UNWRITTEN


EMPTY = Slot(NOTHING)


@dataclass(frozen=True, slots=True)
class Reference:
    """struct bpf_reference_state: `id` must be released; `insn` is where it was acquired.

    `kind` is one of OBJECT, LOCK, RES_LOCK, RES_LOCK_IRQ, IRQ, IRQ_OF_LOCK; `owner` of a lock the map or
    type that it is in.
    """

    id: int
    insn: int
    kind: int = 0
    owner: object = None


OBJECT, LOCK, RES_LOCK, RES_LOCK_IRQ, IRQ, IRQ_OF_LOCK = range(6)
"""enum ref_state_type (and, of an IRQ, its kfunc class)."""
LOCKS = frozenset({LOCK, RES_LOCK, RES_LOCK_IRQ})


class Frame:
    """struct bpf_func_state: one function under way.

    `stack` maps a slot's number (0: the bytes -8..-1 from the frame pointer) to what it holds.
    `precise` and `precise_slots` have, of a stored state, a bit for each register, or slot, whose number
    mattered later (see `precision`).
    """

    __slots__ = (
        "async_entries",
        "callback",
        "callback_depth",
        "callsite",
        "number",
        "precise",
        "precise_slots",
        "regs",
        "slots",
        "stack",
        "subprogram",
    )

    def __init__(self, number: int, subprogram: int, callsite: int) -> None:
        self.number = number
        self.subprogram = subprogram
        self.callsite = callsite
        self.regs: list[Reg] = [UNWRITTEN] * 11
        self.stack: dict[int, Slot] = {}
        self.precise = 0
        self.precise_slots = 0
        self.slots = 0
        """allocated_stack: so many slots were accessed, or lie above one that was."""
        self.callback: str | None = None
        """The helper that calls this function, where it is a callback."""
        self.callback_depth = 0
        self.async_entries = 0
        """async_entry_cnt: the how manieth callback that runs later it is, one having begun the other."""

    def copy(self) -> Frame:
        new = Frame.__new__(Frame)
        new.number = self.number
        new.subprogram = self.subprogram
        new.callsite = self.callsite
        new.regs = self.regs.copy()
        new.stack = self.stack.copy()
        new.precise = new.precise_slots = 0
        new.slots = self.slots
        new.callback = self.callback
        new.callback_depth = self.callback_depth
        new.async_entries = self.async_entries
        return new


class State:
    """struct bpf_verifier_state, and bpf_verifier_state_list of those that are stored.

    `refs` is what is to be released, locks among it; `rcu` and `preempt` count the regions under way.
    `first_insn` is where it went through `parent`; of a state that is not walked on now, `insn` is where it
    stands and `origin` the instruction before.  `history` is what was noted since `parent`, `noted` how much.

    Of a stored state: `branches` counts the paths through it that are not walked to their end, `live` has
    by frame the registers that may still be read, `alive` the slots (once it is `cleaned`), `chains` the
    loops that it is in (see `loops`), `dropped` is whether it is kept for those that come from it only.
    """

    __slots__ = (
        "alive",
        "allowed",
        "branches",
        "callback_unroll_depth",
        "chains",
        "changed",
        "cleaned",
        "differed",
        "dropped",
        "first_insn",
        "frames",
        "history",
        "hits",
        "insn",
        "live",
        "may_goto_depth",
        "misses",
        "noted",
        "origin",
        "parent",
        "preempt",
        "rcu",
        "refs",
    )

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.refs: tuple[Reference, ...] = ()
        self.rcu = 0
        self.preempt = 0
        self.parent: State | None = None
        self.branches = 1
        self.insn = 0
        self.origin = -1
        self.first_insn = 0
        self.callback_unroll_depth = 0
        self.may_goto_depth = 0
        self.history: History = None
        self.noted = 0
        self.hits = self.misses = 0
        self.allowed = 3
        """So many misses, before it is dropped."""
        self.changed = 0
        """A register that was another one when a path came back here."""
        self.differed: tuple[int, Range] | None = None
        """A register that matters, and its number: another one has made a difference before."""
        self.cleaned = self.dropped = False
        self.live: tuple[tuple[tuple[int, Reg], ...], ...] = ()
        self.chains: tuple[tuple[int, ...], tuple[int, ...]] = (), ()
        self.alive: list[int] | None = None

    def copy(self) -> State:
        """copy_verifier_state."""
        new = State.__new__(State)
        new.frames = [frame.copy() for frame in self.frames]
        new.refs = self.refs
        new.rcu = self.rcu
        new.preempt = self.preempt
        new.parent = self.parent
        new.branches = 1
        new.insn = self.insn
        new.origin = self.origin
        new.first_insn = self.first_insn
        new.callback_unroll_depth = self.callback_unroll_depth
        new.may_goto_depth = self.may_goto_depth
        new.history = self.history
        new.noted = self.noted
        new.hits = new.misses = 0
        new.allowed = 3
        new.differed = None
        new.changed = 0
        new.cleaned = new.dropped = False
        new.live = ()
        new.chains = (), ()
        new.alive = None
        return new

    @property
    def locked(self) -> bool:
        """Is a lock held (active_locks)?"""
        return any(ref.kind in LOCKS for ref in self.refs)

    def same_calls(self, other: State) -> bool:
        """same_callsites."""
        mine, theirs = self.frames, other.frames
        if len(mine) == 1:
            return len(theirs) == 1
        return len(mine) == len(theirs) and all(
            one.callsite == two.callsite for one, two in zip(mine, theirs, strict=True)
        )

    def insn_of(self, frame: int) -> int:
        """frame_insn_idx: where the function of a frame stands."""
        return self.insn if frame == len(self.frames) - 1 else self.frames[frame + 1].callsite
