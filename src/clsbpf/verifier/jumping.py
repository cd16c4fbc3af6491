"""What does a jump change?  Which way it goes, and what is known on either way.

A comparison whose outcome is known goes that way.  Else the other way is put aside, and on both ways more
is known of what was compared: of numbers their ranges, and those of their copies; of a pointer that may be
0 whether it is; of the packet how far it reaches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..bpf.insn import Insn
from ..bpf.isa import (
    PSEUDO_CALL,
    PSEUDO_KFUNC_CALL,
    Alu,
    Class,
    Jmp,
    X,
    class_of,
    op_of,
    src_of,
)
from . import arithmetic, branches
from .branches import FLIPPED
from .calls import function_call, function_exit, helper_call, widen
from .kfunc_call import is_trusted
from .kfuncs import kfunc_call
from .locks import may_point_to_lock
from .memory import not_null
from .precision import mark_register, note
from .ranges import ZERO, Range, const
from .state import POINTER_DST, POINTER_SRC, SPILL, Slot, State
from .values import (
    ADD_CONST,
    ADD_CONST32,
    AT_END,
    BEYOND_END,
    BTF,
    MAP_KEY,
    MAP_PTR,
    MAP_VALUE,
    MAYBE_NULL,
    MEM,
    PACKET,
    PACKET_END,
    PACKET_META,
    PACKETS_ANY,
    SCALAR,
    SOCK_COMMON,
    SOCKET,
    STACK,
    TCP_SOCK,
    UNTRUSTED,
    Reg,
)

if TYPE_CHECKING:
    from .walk import Walk

Step = Callable[[], int]

END_OF_PATH = -1


def jump_step(v: Walk, at: int, insn: Insn) -> Step:
    op, is32 = op_of(insn.code), class_of(insn.code) == Class.JMP32
    after = at + 1
    target = after + (insn.imm if is32 and op == Jmp.JA else insn.off)
    if op == Jmp.CALL:
        return _call(v, at, insn)
    if op == Jmp.EXIT:

        def leave() -> int:
            v.jumps += 1
            return function_exit(v) if len(v.state.frames) > 1 else END_OF_PATH

        return leave
    if op == Jmp.JA:

        def jump() -> int:
            v.jumps += 1
            return target

        return jump
    if op == Jmp.JCOND:

        def may_goto() -> int:
            v.jumps += 1
            other = v.push(after)
            other.may_goto_depth += 1
            here = v.state.parent  # this round: it was stored just now
            before = v.find_entry(here.parent if here is not None else None, at)
            if before is not None:
                widen(before, other)
            return target

        return may_goto
    dst, src = insn.dst, insn.src
    constant = Reg(SCALAR, const(insn.imm))
    from_register = src_of(insn.code) == X

    def conditional() -> int:
        v.jumps += 1
        regs = v.regs
        a = regs[dst]
        b = regs[src] if from_register else constant
        if a.kind == STACK or b.kind == STACK:
            note(v, (POINTER_DST if a.kind == STACK else 0) | (POINTER_SRC if b.kind == STACK else 0))
        outcome = _predicted(op, a, b, is32)
        if outcome >= 0:
            if a.kind == SCALAR:
                mark_register(v, dst)
            if b.kind == SCALAR and from_register:
                mark_register(v, src)
            return target if outcome else after
        linked = _linked_by_id(v, a, b) if a.id or b.id else []
        if len(linked) > 1:
            note(v, 0, tuple(linked))
            a = regs[dst]
            if from_register:
                b = regs[src]
        other = v.push(target)
        if a.kind == SCALAR == b.kind:
            _refine(v, other, op, dst, a, src if from_register else None, b, is32, linked)
        elif not is32 and b.var is ZERO and b.kind == SCALAR and not from_register and a.flags & MAYBE_NULL:
            if op in (Jmp.JEQ, Jmp.JNE):
                null_state, other_state = (other, v.state) if op == Jmp.JEQ else (v.state, other)
                _settle_null(v, null_state, a, is_null=True)
                _settle_null(v, other_state, a, is_null=False)
        elif from_register and not is32 and op in (Jmp.JEQ, Jmp.JNE) and a.is_pointer and b.is_pointer:
            _equal_pointers(v, v.state if op == Jmp.JNE else other, dst, a, src, b)
        elif from_register and not is32:
            _packet_range(v.state, other, op, dst, a, src, b)
        return after

    return conditional


def _predicted(op: int, a: Reg, b: Reg, is32: bool) -> int:
    """is_branch_taken."""
    if a.kind == SCALAR == b.kind:
        return branches.taken(op, a.var, b.var, is32)
    if a.kind in PACKETS_ANY and b.kind in PACKETS_ANY and not is32:
        return _packet_predicted(op, a, b)
    if a.kind == SCALAR:
        a, b, op = b, a, FLIPPED[Jmp(op)]
    if b.kind != SCALAR:
        return -1
    number = b.var.const32 if is32 else b.var.const
    if number != 0 or not _not_null(a):
        return -1
    return 0 if op == Jmp.JEQ else 1 if op == Jmp.JNE else -1


_NEVER_NULL = frozenset({SOCKET, TCP_SOCK, MAP_VALUE, MAP_KEY, SOCK_COMMON, MAP_PTR})


def _not_null(reg: Reg) -> bool:
    """reg_not_null."""
    if reg.flags & MAYBE_NULL:
        return False
    return (
        reg.kind in _NEVER_NULL
        or (reg.kind == MEM and not reg.flags & UNTRUSTED)
        or (reg.kind == BTF and is_trusted(reg))
    )


def _packet_predicted(op: int, a: Reg, b: Reg) -> int:
    """is_pkt_ptr_branch_taken."""
    if b.kind == PACKET_END:
        packet = a
    elif a.kind == PACKET_END:
        packet, op = b, FLIPPED[Jmp(op)]
    else:
        return -1
    if packet.size >= 0:
        return -1
    if op in (Jmp.JLE, Jmp.JGT) and packet.size == BEYOND_END:
        return int(op == Jmp.JGT)
    if op in (Jmp.JLT, Jmp.JGE):
        return int(op == Jmp.JGE)
    return -1


_Linked = list[tuple[int, int, bool]]


def _refine(
    v: Walk, other: State, op: int, dst: int, a: Reg, src: int | None, b: Reg, is32: bool, links: _Linked
) -> None:
    """reg_set_min_max, then sync_linked_regs."""
    if src == dst:
        yes_a, no_a = branches.refined_alone(op, a.var, is32)
        yes_b, no_b = yes_a, no_a
    else:
        yes_a, yes_b, no_a, no_b = branches.refined(op, a.var, b.var, is32)
    for state, new_a, new_b in ((v.state, no_a, no_b), (other, yes_a, yes_b)):
        regs = state.frames[-1].regs
        first = _narrowed(a, new_a)
        regs[dst] = first
        if src is not None:
            second = first if src == dst else _narrowed(b, new_b)
            regs[src] = second
            if b.id:
                _sync_linked(state, second, links)
        if a.id:
            _sync_linked(state, regs[dst], links)


def _narrowed(reg: Reg, var: Range) -> Reg:
    if var is reg.var:
        return reg
    return Reg(SCALAR, var, reg.off, reg.id)


MAX_LINKED = 6
"""LINKED_REGS_MAX: as many numbers are kept in step; those beyond lose their id."""


def _linked_by_id(v: Walk, a: Reg, b: Reg) -> _Linked:
    """collect_linked_regs, of what is compared: numbers that are known to be the same, or a constant more.

    Those beyond MAX_LINKED are none any more.  Registers that no instruction reads any more do not count.
    """
    found: _Linked = []
    for known in (b, a):
        if known.kind != SCALAR or not known.id:
            continue
        family = known.id & ~ADD_CONST
        state = v.state
        for frame in reversed(state.frames):
            live = v.flow.live[v.pc if frame is v.frame else state.frames[frame.number + 1].callsite]
            for number in range(10):
                reg = frame.regs[number]
                if reg.kind == SCALAR and reg.id & ~ADD_CONST == family and live >> number & 1:
                    if len(found) < MAX_LINKED:
                        found.append((frame.number, number, True))
                    else:
                        frame.regs[number] = reg.but(id=0)
            for number, slot in sorted(frame.stack.items()):
                reg = slot.reg
                if reg.kind == SCALAR and reg.id & ~ADD_CONST == family and slot.kinds[0] == SPILL:
                    if len(found) < MAX_LINKED:
                        found.append((frame.number, number, False))
                    else:
                        frame.stack[number] = Slot(slot.kinds, reg.but(id=0))
    return found


def _sync_linked(state: State, known: Reg, links: _Linked) -> None:
    """sync_linked_regs: what is known of one number is known of its copies."""
    family = known.id & ~ADD_CONST
    for frame_number, number, is_reg in links:
        frame = state.frames[frame_number]
        reg = frame.regs[number] if is_reg else frame.stack[number].reg
        if reg is known or reg.kind != SCALAR or reg.id & ~ADD_CONST != family:
            continue
        linked = _linked(reg, known)
        if is_reg:
            frame.regs[number] = linked
        else:
            frame.stack[number] = Slot(frame.stack[number].kinds, linked)


def _linked(reg: Reg, known: Reg) -> Reg:
    if (reg.id ^ known.id) & ADD_CONST == ADD_CONST:
        return reg  # one in 64 bits, the other in 32
    if not (reg.id | known.id) & ADD_CONST or reg.off == known.off:
        if reg.id == known.id and reg.var is known.var:
            return reg
        return known
    delta = const(reg.off - known.off)
    var = arithmetic.alu(Alu.ADD, known.var, delta, bool((reg.id | known.id) & ADD_CONST32))
    return Reg(SCALAR, var, reg.off, reg.id)


def _settle_null(v: Walk, state: State, pointer: Reg, *, is_null: bool) -> None:
    """mark_ptr_or_null_regs: every copy of the pointer is 0, or is not."""
    if is_null and pointer.ref and pointer.ref == pointer.id:
        state.refs = tuple(r for r in state.refs if r.id != pointer.id or r.kind)
    for frame in state.frames:
        for number, reg in enumerate(frame.regs):
            if reg.id == pointer.id and reg.flags & MAYBE_NULL:
                frame.regs[number] = _settled(v, reg, is_null)
        for number, slot in frame.stack.items():
            if slot.reg.id == pointer.id and slot.reg.flags & MAYBE_NULL:
                frame.stack[number] = Slot(slot.kinds, _settled(v, slot.reg, is_null))


def _settled(v: Walk, reg: Reg, is_null: bool) -> Reg:
    if is_null:
        return Reg(SCALAR, ZERO)
    new = not_null(reg)
    if new.id and not may_point_to_lock(v, new):
        new.id = 0
    return new


def _equal_pointers(v: Walk, state: State, dst: int, a: Reg, src: int, b: Reg) -> None:
    """A pointer that equals one that is not 0 is not 0 either; its copies are not looked at."""
    if bool(a.flags & MAYBE_NULL) == bool(b.flags & MAYBE_NULL) or BTF in (a.kind, b.kind):
        return
    regs = state.frames[-1].regs
    number, maybe = (dst, a) if a.flags & MAYBE_NULL else (src, b)
    regs[number] = not_null(maybe)


def _packet_range(fall: State, jump: State, op: int, dst: int, a: Reg, src: int, b: Reg) -> None:
    """try_match_pkt_pointers: how far the packet surely reaches, on either branch."""
    for number, pointer, end, flipped in ((dst, a, b, False), (src, b, a, True)):
        if not (
            (pointer.kind == PACKET and end.kind == PACKET_END)
            or (pointer.kind == PACKET_META and is_start(end))
        ):
            continue
        how = FLIPPED[Jmp(op)] if flipped else op
        if how == Jmp.JGT:  # beyond the end where it jumps
            _reaches(fall, pointer, 0)
            _ends(jump, number, BEYOND_END)
        elif how == Jmp.JLT:
            _reaches(jump, pointer, 1)
            _ends(fall, number, AT_END)
        elif how == Jmp.JGE:
            _reaches(fall, pointer, 1)
            _ends(jump, number, AT_END)
        elif how == Jmp.JLE:
            _reaches(jump, pointer, 0)
            _ends(fall, number, BEYOND_END)
        return


def is_start(reg: Reg) -> bool:
    """reg_is_init_pkt_pointer: the packet's first byte."""
    return reg.kind == PACKET and not reg.off and not reg.id and reg.var is ZERO


MAX_PACKET_OFF = 0xFFFF


def _reaches(state: State, pointer: Reg, more: int) -> None:
    """find_good_pkt_pointers."""
    if pointer.off < 0 or (not pointer.off and more):
        return
    if pointer.var.umax > MAX_PACKET_OFF or pointer.var.umax + pointer.off > MAX_PACKET_OFF:
        return
    reach = pointer.off + more
    for frame in state.frames:
        for number, reg in enumerate(frame.regs):
            if reg.kind == pointer.kind and reg.id == pointer.id and reg.size < reach:
                frame.regs[number] = reg.but(size=reach)
        for number, slot in frame.stack.items():
            reg = slot.reg
            if reg.kind == pointer.kind and reg.id == pointer.id and reg.size < reach:
                frame.stack[number] = Slot(slot.kinds, reg.but(size=reach))


def _ends(state: State, number: int, where: int) -> None:
    """mark_pkt_end: this register points to the end, or beyond; not its copies."""
    regs = state.frames[-1].regs
    if regs[number].kind == PACKET:
        regs[number] = regs[number].but(size=where)


def _call(v: Walk, at: int, insn: Insn) -> Step:
    def call() -> int:
        v.jumps += 1
        if insn.src == PSEUDO_CALL:
            return function_call(v, at + insn.imm + 1)
        if insn.src == PSEUDO_KFUNC_CALL:
            return kfunc_call(v, insn.imm)
        return helper_call(v, insn.imm)

    return call
