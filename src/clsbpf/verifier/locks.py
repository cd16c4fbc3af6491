"""What is the program in the middle of?  Locks, RCU and preemption regions, interrupts, references.

What is taken must be given back before the program ends, and while it is held only some calls may be
made.  All of it is part of the state: `State.refs` in the order in which it was taken, and two counts.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from .fields import field_named, fields_of
from .refusal import Refused
from .state import IRQ, IRQ_OF_LOCK, LOCK, LOCKS, OBJECT, RES_LOCK, RES_LOCK_IRQ, Reference, Slot
from .values import ALLOC, MAP_VALUE, NON_OWNING, Reg, lost

if TYPE_CHECKING:
    from .walk import Walk

_KIND_NAMES = {LOCK: "bpf_spin", RES_LOCK: "bpf_res_spin", RES_LOCK_IRQ: "bpf_res_spin"}


# References ------------------------------------------------------------------------------------------


def acquire(v: Walk, id: int, kind: int = OBJECT, owner: object = None) -> int:
    """acquire_reference, acquire_lock_state: `id` is owed from now on."""
    v.state.refs = (*v.state.refs, Reference(id, v.pc, kind, owner))
    return id


_RELEASED = "a pointer to what was acquired"
_UNLOCKED = "a pointer to what the lock protects"


def release(v: Walk, ref: int) -> None:
    """release_reference: it is given back, and what points to it is worth nothing now."""
    if not ref:
        return
    forget_reference(v, ref)
    for frame in v.state.frames:
        for number, reg in enumerate(frame.regs):
            if reg.ref == ref:
                frame.regs[number] = lost(_RELEASED, v.pc)
        for number, slot in list(frame.stack.items()):
            if slot.reg.ref == ref and slot.kinds[0] == 1:
                frame.stack[number] = Slot(slot.kinds, lost(_RELEASED, v.pc))


def forget_reference(v: Walk, ref: int) -> None:
    """release_reference_nomark: it is owed no longer; what points to it stays as it is."""
    v.state.refs = tuple(r for r in v.state.refs if r.id != ref or r.kind != OBJECT)


def check_nothing_held(v: Walk, what: str, *, exception: bool = False, locks: bool = True) -> None:
    """check_resource_leak: nothing is owed where the program may end.

    In a function or callback (`locks` false) what the callers hold stays held.
    """
    state = v.state
    if locks and state.locked:
        raise Refused("lock", f"{what} cannot be used inside bpf_spin_lock-ed region", errno=22)
    owed = [ref for ref in state.refs if ref.kind == OBJECT]
    if owed and (exception or len(state.frames) == 1):
        lines = [f"Unreleased reference id={ref.id} alloc_insn={ref.insn}" for ref in owed]
        raise Refused(
            "leak",
            "\n".join(lines),
            acquired=owed[0].insn,
            after=f"{what} would lead to reference leak",
            errno=22,
        )
    if not locks:
        return
    if any(ref.kind in (IRQ, IRQ_OF_LOCK) for ref in state.refs):
        raise Refused("region", f"{what} cannot be used inside bpf_local_irq_save-ed region", errno=22)
    if state.rcu:
        raise Refused("region", f"{what} cannot be used inside bpf_rcu_read_lock-ed region", errno=22)
    if state.preempt:
        raise Refused("region", f"{what} cannot be used inside bpf_preempt_disable-ed region", errno=22)


# Spin locks ------------------------------------------------------------------------------------------


def spin_lock(v: Walk, regno: int, reg: Reg, kind: int, *, take: bool) -> None:
    """process_spin_lock: the register points to a lock, which is taken or given back."""
    name = f"{_KIND_NAMES[kind]}_lock"
    if reg.var.mask:
        raise Refused(
            "constant",
            f"R{regno} doesn't have constant offset. {name} has to be at the constant offset",
            regno,
            errno=22,
        )
    if reg.kind == MAP_VALUE and reg.obj.value_type is None:
        raise Refused(
            "special-field",
            f"map '{reg.obj.name}' has to have BTF in order to use {name}",
            regno,
            field=name,
            errno=22,
        )
    place = field_named(v, reg, name)
    if place is None:
        where = f"map '{reg.obj.name}'" if reg.kind == MAP_VALUE else "local 'kptr'"
        raise Refused(
            "special-field",
            f"{where} has no valid {name}",
            regno,
            field=name,
            errno=22,
        )
    at = reg.off + reg.var.smin
    if place.offset != at:
        raise Refused(
            "special-field",
            f"off {at} doesn't point to 'struct {name}' that is at {place.offset}",
            regno,
            field=name,
            errno=22,
        )
    owner = reg.obj if reg.kind == MAP_VALUE else "program"
    (_take if take else _give)(v, regno, reg.id, owner, kind)


def _take(v: Walk, regno: int, id: int, owner: object, kind: int) -> None:
    held = [ref for ref in v.state.refs if ref.kind in LOCKS]
    if kind == LOCK and any(ref.kind == LOCK for ref in held):
        raise Refused("lock", "Locking two bpf_spin_locks are not allowed", regno, errno=22)
    if kind != LOCK and any(ref.kind != LOCK and ref.id == id and ref.owner is owner for ref in held):
        raise Refused("lock", "Acquiring the same lock again, AA deadlock detected", regno, errno=22)
    acquire(v, id, kind, owner)


def _give(v: Walk, regno: int, id: int, owner: object, kind: int) -> None:
    name = _KIND_NAMES[kind]
    held = [ref for ref in v.state.refs if ref.kind in LOCKS]
    if not held:
        raise Refused("lock", f"{name}_unlock without taking a lock", regno, errno=22)
    found = [ref for ref in held if ref.kind == kind and ref.id == id and ref.owner is owner]
    if not found:
        raise Refused("lock", f"{name}_unlock of different lock", regno, errno=22)
    last = held[-1]
    if last.id != id or last.owner is not owner:
        raise Refused("lock", f"{name}_unlock cannot be out of order", regno, errno=22)
    v.state.refs = tuple(ref for ref in v.state.refs if ref is not found[-1])
    invalidate_non_owning(v)


def invalidate_non_owning(v: Walk) -> None:
    """invalidate_non_owning_refs: what is in a list or tree is anybody's once its lock is gone."""
    for frame in v.state.frames:
        for number, reg in enumerate(frame.regs):
            if reg.flags & NON_OWNING:
                frame.regs[number] = lost(_UNLOCKED, v.pc)
        for number, slot in list(frame.stack.items()):
            if slot.reg.flags & NON_OWNING:
                frame.stack[number] = Slot(slot.kinds, lost(_UNLOCKED, v.pc))


def check_lock_of(v: Walk, reg: Reg, what: str) -> None:
    """check_reg_allocation_locked: the lock beside a list or tree is one that is held."""
    owner = reg.obj if reg.kind == MAP_VALUE else "program"
    if any(ref.kind in LOCKS and ref.id == reg.id and ref.owner is owner for ref in v.state.refs):
        return
    lock = field_named(v, reg, "bpf_spin_lock")
    at = lock.offset if lock is not None else -errno.EINVAL
    raise Refused("lock", f"bpf_spin_lock at off={at} must be held for {what}", errno=22)


def may_point_to_lock(v: Walk, reg: Reg) -> bool:
    """reg_may_point_to_spin_lock."""
    return any(field.name in ("bpf_spin_lock", "bpf_res_spin_lock") for field in fields_of(v, reg)) and (
        reg.kind == MAP_VALUE or bool(reg.flags & ALLOC)
    )
