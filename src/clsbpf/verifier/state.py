"""Where is the walk, and what is known there?  struct bpf_verifier_state.

A state is a stack of frames (functions that called each other), each with eleven registers and up to 64
stack slots of eight bytes, and what the program owes: references to give back, a lock to release.  A
slot's eight bytes are each of a kind; a slot that a register was spilled to also has the register.

States form a tree by `parent`: the stored state that a path last went through.  A read of a stack slot
marks it as read in all of those back to where it was written, so that a stored state knows which of its
slots mattered.
"""

from __future__ import annotations

from dataclasses import dataclass

from .values import UNWRITTEN, Reg

INVALID, SPILL, MISC, ZERO, DYNPTR_BYTES, ITER_BYTES, IRQ_BYTES = range(7)
"""enum bpf_stack_slot_type: what a byte of the stack holds."""

SPECIAL = frozenset({DYNPTR_BYTES, ITER_BYTES, IRQ_BYTES})
"""Bytes of what only calls may touch (is_stack_slot_special)."""
SPILLED = bytes([SPILL]) * 8
NOTHING = bytes(8)
ALL_SLOTS = (1 << 64) - 1


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
    `written` has a bit for each slot that was written whole since the parent state.
    """

    __slots__ = (
        "callback",
        "callback_depth",
        "callsite",
        "number",
        "regs",
        "stack",
        "subprogram",
        "written",
    )

    def __init__(self, number: int, subprogram: int, callsite: int) -> None:
        self.number = number
        self.subprogram = subprogram
        self.callsite = callsite
        self.regs: list[Reg] = [UNWRITTEN] * 11
        self.stack: dict[int, Slot] = {}
        self.written = ALL_SLOTS
        self.callback: str | None = None
        """The helper that calls this function, where it is a callback."""
        self.callback_depth = 0

    def copy(self) -> Frame:
        new = Frame.__new__(Frame)
        new.number = self.number
        new.subprogram = self.subprogram
        new.callsite = self.callsite
        new.regs = self.regs.copy()
        new.stack = self.stack.copy()
        new.written = self.written
        new.callback = self.callback
        new.callback_depth = self.callback_depth
        return new


class State:
    """struct bpf_verifier_state.

    `refs` is what is to be released, locks among it; `rcu` and `preempt` count the regions under way;
    `branches` how many
    paths that went through this (stored) state are not walked to their end; `read` which stack slots, by
    frame, a later instruction reads.  `trail` is the path: (trail before, instruction, branch taken?).
    """

    __slots__ = (
        "branches",
        "callback_unroll_depth",
        "first_insn",
        "frames",
        "history",
        "hits",
        "insn",
        "live",
        "loops",
        "may_goto_depth",
        "misses",
        "origin",
        "parent",
        "preempt",
        "rcu",
        "read",
        "refs",
        "trail",
        "waits_for",
    )

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.refs: tuple[Reference, ...] = ()
        self.rcu = 0
        self.preempt = 0
        self.parent: State | None = None
        self.branches = 1
        self.insn = 0
        self.origin = 0
        """The instruction before, where the state was put aside."""
        self.first_insn = 0
        self.callback_unroll_depth = 0
        self.may_goto_depth = 0
        self.read: list[int] = [0] * 8
        self.trail: object = None
        self.hits = 0
        self.history = 0
        self.misses = 0
        self.loops: list[State] = []
        self.live: tuple[tuple[tuple[int, Reg], ...], ...] = ()
        """Of a stored state, by frame: the registers that may still be read, and their numbers."""
        self.waits_for: State | None = None

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
        new.read = [0] * 8
        new.trail = self.trail
        new.hits = new.misses = 0
        new.history = self.history
        new.loops = []
        new.live = ()
        new.waits_for = None
        return new

    @property
    def locked(self) -> bool:
        """Is a lock held (active_locks)?"""
        return any(ref.kind in LOCKS for ref in self.refs)

    def wait_with(self, other: State) -> None:
        """The states before this one, back to `other`, are not known wholly before it is."""
        state = self.parent
        while state is not None and state is not other:
            state.waits_for = other
            state = state.parent

    def mark_read(self, frame: int, slots: int) -> None:
        """These slots (bits) of a frame are read now: say so to the states before, back to the writing."""
        state: State = self
        parent = state.parent
        while parent is not None:
            if frame >= len(state.frames) or frame >= len(parent.frames):
                return
            slots &= ~state.frames[frame].written
            new = slots & ~parent.read[frame]
            if not new:
                return
            parent.read[frame] |= new
            for back in parent.loops:
                back.mark_read(frame, new)
            slots = new
            state, parent = parent, parent.parent
