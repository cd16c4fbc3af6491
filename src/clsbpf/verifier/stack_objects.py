"""What lives on the stack and only calls may touch?  Dynptrs, open-coded iterators, interrupt flags.

Such an object takes whole slots.  The program gives its address to a call that makes it, then to others
that use it, and reads or overwrites it at its own risk: an object that was written over is none any more,
and one that must be given back may not be.  In the lowest slot (`Reg.size` 1) and the ones above it the
slot's register says what the object is:

    dynptr     obj: "local", "ringbuf", "skb", "skb_meta";  id: which one (slices carry it in `uid`);  ref
    iterator   obj: the name of its type;  ref;  uid: ACTIVE or DRAINED;  off: how often it was asked
    flag       obj: "irq", or "lock" of a lock's;  ref
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..bpf.kfuncs import ITERATOR_BYTES
from .access import check_stack_bounds
from .locks import acquire, release
from .memory import destroy_dynptr, frame_of
from .refusal import Refused
from .state import DYNPTR_BYTES, EMPTY, IRQ, IRQ_BYTES, IRQ_OF_LOCK, ITER_BYTES, Frame, Slot, State
from .values import DYNPTR, MEM, NOT_INIT, RCU, STACK, UNTRUSTED, Reg, lost

if TYPE_CHECKING:
    from .walk import Walk

ACTIVE, DRAINED = 1, 2
"""BPF_ITER_STATE_ACTIVE, BPF_ITER_STATE_DRAINED."""
REFCOUNTED = frozenset({"ringbuf"})
PACKET_DYNPTRS = frozenset({"skb", "skb_meta"})
DYNPTR_SLOTS = 2


def _place(reg: Reg, slots: int, what: str, regno: int, *, kind: str, otherwise: str = "") -> int | None:
    """stack_slot_obj_get_spi: the lowest slot's number; None where that is not on the stack.

    `otherwise` is what the kernel says besides where there is none.
    """
    if reg.var.mask:
        raise Refused(kind, f"{what} has to be at a constant offset", regno, errno=22, after=otherwise)
    at = reg.off + reg.var.smin
    number = (-at - 1) // 8 if at else 0  # (to the kernel what is at the frame pointer is the topmost slot)
    wrong = f"cannot pass in {what} at an offset={at}"
    if at % 8 or number + 1 < slots:
        raise Refused(kind, wrong, regno, errno=22, after=otherwise)
    return number if number < 64 else None


def _write(v: Walk, reg: Reg, regno: int, slots: int) -> None:
    """The bytes that are about to become an object: a store to each of its slots."""
    for n in range(slots):
        check_stack_bounds(reg, regno, reg.off + 8 * n, 8, write=True)
    at = reg.off + reg.var.smin
    v.use_stack(reg.size, -at)
    frame = frame_of(v, reg)
    number = (-at - 1) // 8
    v.log.touched(range(number - slots + 1, number + 1))
    for n in range(number, number - slots, -1):
        if DYNPTR_BYTES in frame.stack.get(n, EMPTY).kinds:
            destroy_dynptr(v, frame, n)
        v.liveness.write(frame.number, 1 << n)


def _read(v: Walk, reg: Reg, regno: int, number: int, slots: int) -> None:
    """An object is used. At the frame pointer the kernel takes the topmost slot's for it: above the stack."""
    if reg.off + reg.var.smin == 0:
        raise Refused(
            "object-place", f"cannot pass in what is above the stack as arg#{regno - 1}", regno, errno=22
        )
    held = range(number - slots + 1, number + 1)
    v.log.touched(held)
    v.liveness.read(v.state, reg.size, v.pc, sum(1 << n for n in held))


def _fill(frame: Frame, number: int, slots: int, byte: int, **fields: object) -> None:
    for n in range(number, number - slots, -1):
        held = Reg(NOT_INIT, size=int(n == number))
        for name, value in fields.items():
            setattr(held, name, value)
        frame.stack[n] = Slot(bytes([byte]) * 8, held)


# Dynptrs ---------------------------------------------------------------------------------------------


def dynptr_at(v: Walk, regno: int, reg: Reg, *, otherwise: str = "") -> Reg | None:
    """What the register's dynptr is; None where there is none (is_dynptr_reg_valid_init)."""
    if reg.kind == DYNPTR:
        return Reg(NOT_INIT, id=reg.id, obj="local", size=1)
    number = _place(reg, DYNPTR_SLOTS, "dynptr", regno, kind="dynptr", otherwise=otherwise)
    if number is None:
        return None
    stack = frame_of(v, reg).stack
    slot, above = stack.get(number, EMPTY), stack.get(number - 1, EMPTY)
    if slot.kinds[0] != DYNPTR_BYTES or above.kinds[0] != DYNPTR_BYTES or slot.reg.size != 1:
        return None
    return slot.reg


def use_dynptr(v: Walk, regno: int, reg: Reg, *, expected: str = "") -> Reg:
    """process_dynptr_func of a dynptr that must be there, perhaps of an expected kind."""
    if reg.kind not in (STACK, DYNPTR):
        raise Refused(
            "dynptr",
            f"arg#{regno - 1} expected pointer to stack or const struct bpf_dynptr",
            regno,
            errno=22,
        )
    wrong = f"Expected an initialized dynptr as arg #{regno - 1}"
    held = dynptr_at(v, regno, reg, otherwise=wrong)
    if held is None:
        raise Refused("dynptr", wrong, regno, errno=22)
    if expected and held.obj != expected:
        raise Refused("dynptr", f"Expected a dynptr of type {expected} as arg #{regno - 1}", regno, errno=22)
    if reg.kind == STACK:
        _read(v, reg, regno, (-(reg.off + reg.var.smin) - 1) // 8, DYNPTR_SLOTS)
    return held


def check_new_dynptr(v: Walk, regno: int, reg: Reg) -> None:
    """process_dynptr_func with MEM_UNINIT: is there room for one?"""
    if reg.kind != STACK:
        if reg.kind == DYNPTR:
            raise Refused("dynptr", "Dynptr has to be an uninitialized dynptr", regno, errno=22)
        raise Refused(
            "dynptr",
            f"arg#{regno - 1} expected pointer to stack or const struct bpf_dynptr",
            regno,
            errno=22,
        )
    wrong = "Dynptr has to be an uninitialized dynptr"
    _place(reg, DYNPTR_SLOTS, "dynptr", regno, kind="dynptr", otherwise=wrong)
    _write(v, reg, regno, DYNPTR_SLOTS)


def make_dynptr(v: Walk, reg: Reg, kind: str, *, clone_of: int = 0) -> None:
    """mark_stack_slots_dynptr."""
    number = (-(reg.off + reg.var.smin) - 1) // 8
    v.ids += 1
    id = v.ids
    ref = 0
    if kind in REFCOUNTED:
        if clone_of:
            ref = clone_of
        else:
            v.ids += 1
            ref = acquire(v, v.ids)
    _fill(frame_of(v, reg), number, DYNPTR_SLOTS, DYNPTR_BYTES, id=id, ref=ref, obj=kind)


def release_dynptr(v: Walk, held: Reg) -> None:
    """unmark_stack_slots_dynptr: it, its clones and their slices are gone."""
    release(v, held.ref)
    gone = set()
    for frame in v.state.frames:
        for number, slot in list(frame.stack.items()):
            if slot.kinds[0] == DYNPTR_BYTES and slot.reg.ref == held.ref:
                gone.add(slot.reg.id)
                del frame.stack[number]
                v.liveness.write(frame.number, 1 << number)
    for frame in v.state.frames:
        for number, reg in enumerate(frame.regs):
            if reg.kind == MEM and reg.uid in gone:
                frame.regs[number] = lost("a slice of a dynptr", v.pc)
        for number, slot in list(frame.stack.items()):
            if slot.reg.kind == MEM and slot.reg.uid in gone:
                frame.stack[number] = Slot(slot.kinds, lost("a slice of a dynptr", v.pc))


# Iterators -------------------------------------------------------------------------------------------


def new_iterator(v: Walk, regno: int, reg: Reg, type: str, flags: int) -> None:
    """process_iter_arg of bpf_iter_*_new, mark_stack_slots_iter."""
    slots = ITERATOR_BYTES[type] // 8
    name = type.removeprefix("bpf_")
    words = f"expected uninitialized {name} as arg #{regno - 1}"
    wrong = Refused("iterator", words, regno, errno=22)
    number = _place(reg, slots, "iter", regno, kind="iterator", otherwise=words)
    stack = frame_of(v, reg).stack
    if number is not None:
        for n in range(number, number - slots, -1):
            if ITER_BYTES in stack.get(n, EMPTY).kinds:
                raise wrong
    _write(v, reg, regno, slots)
    assert number is not None
    v.ids += 1
    ref = acquire(v, v.ids)
    _fill(frame_of(v, reg), number, slots, ITER_BYTES, ref=ref, obj=type, uid=ACTIVE, flags=flags)


def iterator_at(v: Walk, regno: int, reg: Reg, type: str, caller: str) -> tuple[Frame, int]:
    """is_iter_reg_valid_init: the frame and the lowest slot of an iterator that was made."""
    slots = ITERATOR_BYTES[type] // 8
    name = type.removeprefix("bpf_")
    words = f"expected an initialized {name} as arg #{regno - 1}"
    number = _place(reg, slots, "iter", regno, kind="iterator", otherwise=words)
    frame = frame_of(v, reg)
    there = number is not None
    if number is not None:
        for n in range(number, number - slots, -1):
            slot = frame.stack.get(n, EMPTY)
            if slot.kinds[0] == ITER_BYTES and slot.reg.flags & UNTRUSTED:
                raise Refused("iterator", f"expected an RCU CS when using {caller}", regno, errno=71)
            there = (
                there
                and slot.kinds == bytes([ITER_BYTES]) * 8
                and slot.reg.obj == type
                and slot.reg.size == int(n == number)
            )
    if not there or number is None:
        raise Refused("iterator", words, regno, errno=22)
    _read(v, reg, regno, number, slots)
    return frame, number


def destroy_iterator(v: Walk, frame: Frame, number: int) -> None:
    """unmark_stack_slots_iter."""
    held = frame.stack[number].reg
    release(v, held.ref)
    for n in range(number, number - ITERATOR_BYTES[held.obj] // 8, -1):
        frame.stack.pop(n, None)
        v.liveness.write(frame.number, 1 << n)


def set_iterator(frame: Frame, number: int, *, state: int, deeper: bool) -> None:
    """The iterator goes into another state."""
    slot = frame.stack[number]
    held = slot.reg.but(uid=state, off=slot.reg.off + deeper)
    frame.stack[number] = Slot(slot.kinds, held)


def depths_differ(old: State, new: State) -> bool:
    """iter_active_depths_differ: did an iterator go further since?"""
    for before, after in zip(old.frames, new.frames, strict=False):
        for number, slot in before.stack.items():
            if slot.kinds[0] == ITER_BYTES and slot.reg.uid == ACTIVE:
                other = after.stack.get(number, EMPTY)
                if other.reg.off != slot.reg.off:
                    return True
    return False


def end_rcu(v: Walk) -> None:
    """The last RCU region ends: what it protected may be gone."""
    for frame in v.state.frames:
        for number, reg in enumerate(frame.regs):
            if reg.flags & RCU:
                frame.regs[number] = _unprotected(reg)
        for number, slot in list(frame.stack.items()):
            if slot.reg.flags & RCU:
                frame.stack[number] = Slot(slot.kinds, _unprotected(slot.reg))


def _unprotected(reg: Reg) -> Reg:
    return reg.but(flags=reg.flags & ~(RCU | 1) | UNTRUSTED)


# Interrupt flags -------------------------------------------------------------------------------------


def save_flags(v: Walk, regno: int, reg: Reg, *, of_lock: bool) -> None:
    """process_irq_flag of bpf_local_irq_save: the flags go to the stack."""
    words = f"expected uninitialized irq flag as arg#{regno - 1}"
    number = _place(reg, 1, "irq_flag", regno, kind="irq", otherwise=words)
    if number is not None and IRQ_BYTES in frame_of(v, reg).stack.get(number, EMPTY).kinds:
        raise Refused("irq", words, regno, errno=22)
    _write(v, reg, regno, 1)
    assert number is not None
    v.ids += 1
    ref = acquire(v, v.ids, IRQ_OF_LOCK if of_lock else IRQ)
    _fill(frame_of(v, reg), number, 1, IRQ_BYTES, ref=ref, obj="lock" if of_lock else "irq")


def restore_flags(v: Walk, regno: int, reg: Reg, *, of_lock: bool) -> None:
    """unmark_stack_slot_irq_flag: they are taken back, the latest first."""
    words = f"expected an initialized irq flag as arg#{regno - 1}"
    number = _place(reg, 1, "irq_flag", regno, kind="irq", otherwise=words)
    frame = frame_of(v, reg)
    slot = frame.stack.get(number, EMPTY) if number is not None else EMPTY
    if number is None or slot.kinds != bytes([IRQ_BYTES]) * 8:
        raise Refused("irq", words, regno, errno=22)
    _read(v, reg, regno, number, 1)
    if (slot.reg.obj == "lock") != of_lock:
        have, want = ("lock", "native") if slot.reg.obj == "lock" else ("native", "lock")
        raise Refused(
            "irq",
            f"irq flag acquired by {have} kfuncs cannot be restored with {want} kfuncs",
            regno,
            errno=22,
        )
    flags = [ref for ref in v.state.refs if ref.kind in (IRQ, IRQ_OF_LOCK)]
    if not flags or flags[-1].id != slot.reg.ref:
        last = flags[-1] if flags else None
        raise Refused(
            "irq",
            f"cannot restore irq state out of order, expected id={last.id if last else 0}"
            f" acquired at insn_idx={last.insn if last else 0}",
            regno,
            errno=13,
        )
    v.state.refs = tuple(ref for ref in v.state.refs if ref is not flags[-1])
    frame.stack.pop(number)
    v.liveness.write(frame.number, 1 << number)
