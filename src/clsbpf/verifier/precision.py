"""Which numbers must be known exactly, so that the walk is right?  __mark_chain_precision.

Two states differ for the walk only where the difference matters: a number that never decided a branch, an
address or a size may be anything.  Where one does, the path is gone back from there, instruction by
instruction, from what the number is in to what it was computed from: by moves and arithmetic from register
to register, by loads and stores through spilled registers, into functions and out of them, and along
registers that a comparison has narrowed together.  In each stored state on the way the registers and slots
that the number is in then are marked (`Frame.precise`, `Frame.precise_slots`); what is marked already
needs no more.  The state that is walked now has no marks: only states that are compared with need them.

What cannot be followed (a store through what was a number, say) makes every number of the path matter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..bpf.insn import Insn
from ..bpf.isa import Alu, Atomic, Class, Jmp, Mode, X, mode_of, op_of, src_of
from .cfg import CALL, is_pseudo_call
from .liveness import slots_text
from .state import POINTER_DST, POINTER_SRC, SPILL, STACK_ACCESS, History, Slot, State
from .values import SCALAR

if TYPE_CHECKING:
    from .walk import Walk

_FRAME_POINTER = 10
_ARGUMENTS = 0b111110
_ALWAYS = 1 << 11
"""In the mask of registers: whatever is looked for, this instruction must be looked at."""
TAIL_CALL = 12


def note(v: Walk, flags: int = 0, linked: tuple[tuple[int, int, bool], ...] = ()) -> None:
    """push_jmp_history: the instruction under way jumped, or touched a spilled register."""
    state = v.state
    history = state.history
    if v.noted_at == v.count:  # once an instruction
        assert history is not None
        before, at, previous, had, _ = history
        state.history = before, at, previous, had | flags, linked
    else:
        v.noted_at = v.count
        state.history = history, v.pc, v.previous, flags, linked
        state.noted += 1


def note_stack(v: Walk, frame: int, slot: int) -> None:
    """… a spilled register in this slot (insn_stack_access_flags)."""
    note(v, STACK_ACCESS | slot << 3 | frame)


def mark_register(v: Walk, register: int) -> None:
    """mark_chain_precision: the number in this register matters."""
    frame = len(v.state.frames) - 1
    search = Search(v, v.state, v.pc)
    search.regs[frame] = 1 << register
    search.run()


def mark_slot(v: Walk, frame: int, slot: int) -> None:
    """mark_chain_precision_batch, of one spilled number."""
    search = Search(v, v.state, v.pc)
    search.slots[frame] = 1 << slot
    search.run()


def propagate(v: Walk, old: State, new: State, at: int) -> bool:
    """propagate_precision: what mattered after `old` matters for what led to `new`.  Was any mark new?"""
    if not any(frame.precise or frame.precise_slots for frame in old.frames):
        return False
    search = Search(v, new, at)
    for number in range(len(old.frames) - 1, -1, -1):
        frame = old.frames[number]
        if not (frame.precise or frame.precise_slots):
            continue
        search.regs[number] = frame.precise
        search.slots[number] = frame.precise_slots
        if v.log.verbose:
            names = [f"r{n}" for n in _bits(frame.precise)]
            names += [f"fp{-8 * (n + 1)}" for n in _bits(frame.precise_slots)]
            v.log.say(f"frame {number}: propagating " + ",".join(names))
    return search.run()


def mark_all(v: Walk, start: State) -> None:
    """mark_all_scalars_precise: in all states that led to this one."""
    if v.log.verbose:
        v.log.say(f"mark_precise: frame{len(start.frames) - 1}: falling back to forcing all scalars precise")
    state = start.parent
    while state is not None:
        for number, frame in enumerate(state.frames):
            for register in range(10):
                if frame.regs[register].kind == SCALAR and not frame.precise >> register & 1:
                    frame.precise |= 1 << register
                    if v.log.verbose:
                        v.log.say(f"force_precise: frame{number}: forcing r{register} to be precise")
            for slot, held in sorted(frame.stack.items()):
                if is_spilled_number(held) and not frame.precise_slots >> slot & 1:
                    frame.precise_slots |= 1 << slot
                    if v.log.verbose:
                        v.log.say(f"force_precise: frame{number}: forcing fp{-8 * (slot + 1)} to be precise")
        state = state.parent


def is_spilled_number(slot: Slot | None) -> bool:
    """is_spilled_scalar_reg."""
    return slot is not None and slot.kinds[0] == SPILL and slot.reg.kind == SCALAR


class Unsupported(Exception):
    """-ENOTSUPP: here the search cannot follow."""


class Search:
    """struct backtrack_state: what is looked for, by frame, as bits; and where."""

    __slots__ = ("at", "frame", "regs", "slots", "start", "v")

    def __init__(self, v: Walk, start: State, at: int) -> None:
        self.v = v
        self.start = start
        self.at = at
        self.frame = len(start.frames) - 1
        self.regs = [0] * 8
        self.slots = [0] * 8

    @property
    def done(self) -> bool:
        """bt_empty."""
        if not self.frame:
            return not self.regs[0] and not self.slots[0]
        last = self.frame + 1
        return not any(self.regs[:last]) and not any(self.slots[:last])

    def run(self) -> bool:
        """__mark_chain_precision: mark what it comes from.  Was any mark new?"""
        try:
            return self._back()
        except Unsupported:
            mark_all(self.v, self.start)
            return False

    def _back(self) -> bool:
        v, state = self.v, self.start
        effects, touches, verbose = v.effects, v.touches, v.log.verbose
        first, last, later = state.first_insn, self.at, -1
        at_start = True
        changed = False
        while True:
            if verbose:
                v.log.say(
                    f"mark_precise: frame{self.frame}: last_idx {last} first_idx {first} subseq_idx {later} "
                )
            if last < 0:
                return self._entry(state) or changed
            history = state.history
            at = last
            wanted = self.regs[self.frame] | _ALWAYS
            while True:
                stop = first if history is None else history[1]
                if at_start and at != stop:
                    at_start = False
                    later = at
                    at -= 1
                while at != stop:  # straight on, nothing noted
                    if touches[at] & wanted or verbose:
                        _, clear, add = effects[at]
                        if clear < 0 or verbose:
                            self._step(at, later, None)
                            wanted = self.regs[self.frame] | _ALWAYS
                        else:
                            wanted = wanted & ~clear | add
                            self.regs[self.frame] = wanted & ~_ALWAYS
                        if wanted == _ALWAYS and self.done:
                            return changed
                    later = at
                    at -= 1
                if at_start:
                    at_start = False
                elif touches[at] & wanted or (history is not None and (history[3] or history[4])) or verbose:
                    self._step(at, later, history)
                    wanted = self.regs[self.frame] | _ALWAYS
                    if wanted == _ALWAYS and self.done:
                        return changed
                later = at
                if history is None or (history[0] is None and at == first):
                    break
                at = history[2]
                history = history[0]
            parent = state.parent
            if parent is None:
                mark_all(v, self.start)
                return changed
            state = parent
            changed = self._mark(state) or changed
            if self.done:
                return changed
            later, last, first = first, state.origin, state.first_insn

    def _entry(self, state: State) -> bool:
        """A global function begins: its arguments are what was looked for."""
        frame = state.frames[0]
        changed = False
        for register in _bits(self.regs[0]):
            if frame.regs[register].kind == SCALAR:
                frame.precise |= 1 << register
                changed = True
        return changed

    def _mark(self, state: State) -> bool:
        """The marks of a stored state; what is looked for from there on."""
        changed = False
        for number in range(self.frame, -1, -1):
            frame = state.frames[number]
            regs, slots = self.regs[number], self.slots[number]
            if regs:
                for register in _bits(regs):
                    if frame.regs[register].kind != SCALAR:
                        regs &= ~(1 << register)
                regs &= ~frame.precise
                self.regs[number] = regs
                frame.precise |= regs
            if slots:
                for slot in _bits(slots):
                    if not is_spilled_number(frame.stack.get(slot)):
                        slots &= ~(1 << slot)
                slots &= ~frame.precise_slots
                self.slots[number] = slots
                frame.precise_slots |= slots
            changed = changed or bool(regs or slots)
            if self.v.log.verbose:
                self.v.log.say(
                    f"mark_precise: frame{number}: parent state regs={_registers(regs)}"
                    f" stack={slots_text(slots)}: {self.v.log.whole(state, number)}"
                )
        return changed

    def _step(self, at: int, later: int, here: History) -> None:
        """backtrack_insn: what must be known before the instruction at `at`; `later` comes after it."""
        v = self.v
        insn = v.insns[at]
        if not insn.code:
            return
        if v.log.verbose:
            v.log.say(
                f"mark_precise: frame{self.frame}: regs={_registers(self.regs[self.frame])}"
                f" stack={slots_text(self.slots[self.frame])} before {at}: {v.log.line_of(at)}"
            )
        flags = 0
        if here is not None:
            flags = here[3]
            if here[4]:
                self._link(here[4])
        touched, clear, add = v.effects[at]
        wanted = self.regs[self.frame]
        if flags & STACK_ACCESS:
            self._access(insn, wanted, flags & 7, 1 << (flags >> 3 & 63))
        elif touched & _ALWAYS:
            self._call(insn, at, later)
        elif touched & wanted:
            if clear < 0:
                raise Unsupported
            if flags & POINTER_DST:
                add &= ~(1 << insn.dst)
            if flags & POINTER_SRC:
                add &= ~(1 << insn.src)
            self.regs[self.frame] = wanted & ~clear | add
        if here is not None and here[4]:
            self._link(here[4])

    def _access(self, insn: Insn, wanted: int, frame: int, slot: int) -> None:
        """A load from, or a store to, a slot with a spilled register."""
        dst, src = 1 << insn.dst, 1 << insn.src
        if _loads(insn):
            if wanted & dst:
                self.regs[self.frame] = wanted & ~dst
                self.slots[frame] |= slot
        elif wanted & dst:
            raise Unsupported
        elif self.slots[frame] & slot:
            self.slots[frame] &= ~slot
            if insn.code & 7 == Class.STX:
                self.regs[self.frame] |= src

    def _link(self, linked: Iterable[tuple[int, int, bool]]) -> None:
        """bt_sync_linked_regs: what was narrowed together matters together."""
        if any((self.regs if is_reg else self.slots)[frame] >> n & 1 for frame, n, is_reg in linked):
            for frame, number, is_reg in linked:
                (self.regs if is_reg else self.slots)[frame] |= 1 << number

    def _call(self, insn: Insn, at: int, later: int) -> None:
        """Into a function that has returned, and out of one that begins."""
        v, frame = self.v, self.frame
        wanted = self.regs[frame]
        if is_pseudo_call(insn):
            if v.is_global(v.flow.subprogram_at[at + insn.imm + 1]):
                self.regs[frame] = wanted & ~1
            else:  # out of the function: its arguments are the caller's registers
                self.regs[frame] = 0
                self.frame = frame - 1
                self.regs[frame - 1] |= wanted & _ARGUMENTS
        elif at in v.callback_calls and at != later - 1:  # out of a callback: who calls it sets its arguments
            self.regs[frame] = wanted & ~_ARGUMENTS
            self.frame = frame - 1
        elif insn.code == CALL:
            self.regs[frame] = wanted & ~1
            if not insn.src and insn.imm == TAIL_CALL and later - at != 1:
                self.frame = frame + 1
        else:  # an exit: into a function, or a callback, that has returned
            if later in v.callback_calls:
                wanted &= ~_ARGUMENTS
            result = wanted & 1 if later >= 1 and is_pseudo_call(v.insns[later - 1]) else 0
            self.regs[frame] = wanted & ~1
            self.frame = frame + 1
            self.regs[frame + 1] |= result


def _loads(insn: Insn) -> bool:
    return insn.code & 7 == Class.LDX or (
        insn.code & 7 == Class.STX and mode_of(insn.code) == Mode.ATOMIC and insn.imm == Atomic.LOAD_ACQ
    )


Effect = tuple[int, int, int]
"""Of an instruction: if one of these registers is wanted after it, those are not before it, and those are.

_ALWAYS among the first: it is to be looked at whatever is wanted.  Second -1: it cannot be followed.
"""


def effects_of(insns: Sequence[Insn], callbacks: Collection[int]) -> list[Effect]:
    """backtrack_insn, of registers, by instruction; accesses to spilled registers and calls are more."""
    return [(_ALWAYS, -1, 0) if at in callbacks else _effect(insn) for at, insn in enumerate(insns)]


def _effect(insn: Insn) -> Effect:
    cls, op = insn.code & 7, op_of(insn.code)
    dst = 1 << insn.dst
    src = 1 << insn.src if src_of(insn.code) == X and insn.src != _FRAME_POINTER else 0
    if not insn.code:
        return 0, 0, 0
    if cls in (Class.ALU, Class.ALU64):
        if op == Alu.MOV:
            return dst, dst, src
        return (dst, 0, src) if src and op not in (Alu.END, Alu.NEG) else (0, 0, 0)
    if cls in (Class.JMP, Class.JMP32):
        if op == Jmp.EXIT or is_pseudo_call(insn) or (insn.code == CALL and insn.imm == TAIL_CALL):
            return _ALWAYS, -1, 0
        if op == Jmp.CALL:
            return 1, 1, 0
        if op in (Jmp.JA, Jmp.JCOND) or src_of(insn.code) != X:
            return 0, 0, 0
        both = dst | 1 << insn.src
        return both, 0, both
    if _loads(insn) or insn.is_ld_imm64:
        return dst, dst, 0
    return dst, -1, 0  # a store through what was a number once (pointers were subtracted), a packet by number


def _bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def _registers(mask: int) -> str:
    """fmt_reg_mask."""
    return ",".join(f"r{number}" for number in _bits(mask))


# Where has a path been? ------------------------------------------------------------------------------


def backwards(v: Walk) -> Iterator[int]:
    """The instructions that led to the one under way, the latest first (get_prev_insn_idx)."""
    here: State | None = v.state
    at, history = v.pc, v.state.history
    if v.noted_at != v.count:
        history = history, at, v.previous, 0, ()
    while here is not None:
        while True:
            noted = history is not None and history[1] == at
            if at == here.first_insn and (history is None or (noted and history[0] is None)):
                break
            if noted:
                assert history is not None
                history, at = history[0], history[2]
            else:
                at -= 1
            if at < 0:
                return
            yield at
        here = here.parent
        if here is not None:
            at, history = here.origin, here.history
            if at < 0:
                return
            yield at
