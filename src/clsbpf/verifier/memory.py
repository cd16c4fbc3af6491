"""What does a load give, and what does a store leave?  Stack slots, context fields, constant maps.

The checks (`access`) are done before; here only what is known changes.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ..bpf import context
from ..bpf.maps import MapFlag, MapType
from . import arithmetic, tnum
from .access import map_struct
from .fields import KPTRS, has_field, special_fields
from .precision import mark_register, note_stack
from .ranges import LOADED, UNKNOWN, ZERO
from .records import SpecialField
from .refusal import Refused
from .sleeping import in_rcu
from .state import (
    DYNPTR_BYTES,
    EMPTY,
    IRQ_BYTES,
    ITER_BYTES,
    MISC,
    SPECIAL,
    SPILL,
    SPILLED,
    Frame,
    Slot,
)
from .state import INVALID as INVALID_BYTE
from .state import ZERO as ZERO_BYTE
from .types import Struct, at_offset, btf_of, inherited_flags
from .values import (
    ADD_CONST,
    ALLOC,
    BTF,
    CTX,
    DYNPTR,
    MAP_PTR,
    MAP_VALUE,
    MAYBE_NULL,
    MEM,
    NON_OWNING,
    PACKET,
    PACKET_END,
    PACKET_META,
    PERCPU,
    RCU,
    RDONLY,
    SCALAR,
    SOCK_COMMON,
    SOCKET,
    STACK,
    UNTRUSTED,
    Reg,
    clone,
    known_width,
    lost,
)

if TYPE_CHECKING:
    from .walk import Walk

_CONTEXT_POINTERS = {"data": PACKET, "data_end": PACKET_END, "data_meta": PACKET_META}


def with_id(v: Walk, reg: Reg) -> Reg:
    """assign_scalar_id_before_mov: a number that is about to have a copy gets a name for both."""
    if reg.kind != SCALAR:
        return reg
    if reg.id & ADD_CONST:
        reg = reg.but(id=0, off=0)
    if not reg.id and reg.var.const is None:
        v.ids += 1
        named = clone(reg)
        named.id = v.ids
        return named
    return reg


def load(v: Walk, src: int, off: int, size: int, signed: bool, dst: int) -> None:
    """What register `dst` holds after a load of `size` bytes through the pointer in register `src`."""
    regs = v.regs
    reg = regs[src]
    if reg.kind == STACK:
        result = stack_load(v, reg, off + reg.off, size, src)
    elif reg.kind == CTX:
        field = context.field_at(off)
        result = _context_load(v, field.name if field else "", size)
    elif reg.kind == BTF or reg.kind == MAP_PTR:
        result = _through_type(v, reg, off + reg.off, size, signed)
    elif reg.kind == MAP_VALUE and (kptr := kernel_pointer_at(reg, off + reg.off)) is not None:
        result = _loaded_kptr(v, kptr, regs, signed)
    elif reg.kind == MAP_VALUE:
        result = _constant_load(reg, off + reg.off, size) or Reg(SCALAR, UNKNOWN if signed else LOADED[size])
    else:
        result = Reg(SCALAR, UNKNOWN if signed else LOADED[size])
    if size < 8 and result.kind == SCALAR:
        var = arithmetic.sign_extended(result.var, size) if signed else arithmetic.truncated(result.var, size)
        if var is not result.var:
            narrowed = clone(result)
            narrowed.var = var
            if signed:
                narrowed.id = 0
            result = narrowed
    regs[dst] = result


def _context_load(v: Walk, name: str, size: int) -> Reg:
    kind = _CONTEXT_POINTERS.get(name)
    if kind is not None and size == 4:
        return Reg(kind)
    if name == "sk" and size == 8:
        v.ids += 1
        return Reg(SOCK_COMMON, flags=MAYBE_NULL, id=v.ids)
    return Reg(SCALAR, LOADED[size])


def _through_type(v: Walk, reg: Reg, off: int, size: int, signed: bool) -> Reg:
    """btf_struct_access and mark_btf_ld_reg: a member that is a pointer gives a pointer."""
    struct: Struct = map_struct(reg) if reg.kind == MAP_PTR else reg.obj
    btf = btf_of(v, struct)
    found = at_offset(btf, struct.id, off, size)
    if found.kind == "address":
        return Reg(MEM, flags=RDONLY | UNTRUSTED)
    if found.kind != "pointer" or reg.flags & ALLOC:
        return Reg(SCALAR, UNKNOWN if signed else LOADED[size])
    flags = inherited_flags(struct, reg.flags, found, in_rcu=in_rcu(v))
    target = Struct(btf[found.target].name, found.target, struct.local)
    if flags & MAYBE_NULL:
        v.ids += 1
    return Reg(BTF, obj=target, flags=flags, id=v.ids if flags & MAYBE_NULL else 0)


def kernel_pointer_at(reg: Reg, off: int) -> SpecialField | None:
    """btf_record_find: the kernel pointer that a map's value has at `off` (the register's own included)."""
    if reg.var.mask or reg.obj.value_type is None:
        return None
    at = off + reg.var.smin
    return next((f for f in special_fields(reg.obj) if f.name in KPTRS and f.offset == at), None)


def _loaded_kptr(v: Walk, field: SpecialField, regs: list[Reg], signed: bool) -> Reg:
    """btf_ld_kptr_type: what a map keeps for the kernel may go at any time, unless RCU keeps it."""
    if signed:
        raise Refused(
            "special-field", "kptr in map can only be accessed using BPF_MEM instruction mode", field="kptr"
        )
    target = field.target
    assert target is not None
    flags = MAYBE_NULL
    if not in_rcu(v):
        flags |= UNTRUSTED
    elif field.name == "kptr_percpu":
        flags |= RCU | PERCPU
    elif field.name == "kptr_ref" and (target.local or target.name in _RCU_PROTECTED):
        flags |= RCU
        if target.local:
            # what may be in a list or tree, too, is nobody's alone
            in_graph = any(each.name in _GRAPH_NODES for each in v.struct_fields(target.id))
            flags |= ALLOC | (NON_OWNING if in_graph else 0)
    else:
        flags |= UNTRUSTED
    v.ids += 1
    return Reg(BTF, obj=target, flags=flags, id=v.ids)


_GRAPH_NODES = ("bpf_list_node", "bpf_rb_node")
_RCU_PROTECTED = frozenset({"prog_test_ref_kfunc", "cgroup", "bpf_cpumask", "task_struct", "bpf_crypto_ctx"})
"""rcu_protected_types."""


def check_kptr_store(v: Walk, pointer: Reg, off: int, value: Reg, regno: int | None) -> None:
    """check_map_kptr_access of a store: only 0, or the right pointer where it is not a counted one."""
    field = kernel_pointer_at(pointer, off + pointer.off)
    if field is None:
        return
    if field.name != "kptr_unref":
        raise Refused("special-field", "store to referenced kptr disallowed", field="kptr")
    if value.is_null:
        return
    if regno is None:
        at = off + pointer.off
        raise Refused("special-field", f"BPF_ST imm must be 0 when storing to kptr at off={at}", field="kptr")
    from .arguments import check_kptr_type

    check_kptr_type(v, regno, value, field)


def _constant_load(reg: Reg, off: int, size: int) -> Reg | None:
    """bpf_map_direct_read: what a frozen read-only array of one value holds is known."""
    spec = reg.obj
    if not spec.frozen or not spec.flags & MapFlag.RDONLY_PROG or reg.var.mask:
        return None
    if spec.type != MapType.ARRAY or spec.max_entries != 1:
        return None
    value = dict(spec.contents).get(bytes(4), b"")
    if not isinstance(value, bytes):
        return None
    at = off + reg.var.smin
    raw = value.ljust(spec.value_size, b"\0")[at : at + size]
    from .values import number

    return number(int.from_bytes(raw, sys.byteorder))


def not_null(reg: Reg) -> Reg:
    """mark_ptr_not_null_reg: a pointer that was compared with 0; a map out of a map of maps is then known."""
    if reg.kind == MAP_VALUE and reg.obj.inner is not None:
        inner = reg.obj.inner
        timed = any(has_field(inner, name) for name in ("bpf_timer", "bpf_wq", "bpf_task_work"))
        return Reg(MAP_PTR, obj=inner, uid=reg.id if timed else 0)
    new = clone(reg)
    new.flags &= ~MAYBE_NULL
    if reg.kind == MAP_VALUE and reg.obj.type in (MapType.SOCKMAP, MapType.SOCKHASH):
        new.kind, new.obj = SOCKET, None
    return new


# The stack -------------------------------------------------------------------------------------------


def frame_of(v: Walk, reg: Reg) -> Frame:
    """The function whose stack a pointer is into."""
    return v.state.frames[reg.size]


def _slots(low: int, size: int) -> range:
    """The numbers of the slots that the bytes low..low+size-1 (negative offsets) lie in."""
    return range((-(low + size)) // 8, (-low - 1) // 8 + 1)


def _bits(slots: range) -> int:
    return sum(1 << slot for slot in slots)


def stack_load(v: Walk, reg: Reg, off: int, size: int, regno: int = -1, *, to_register: bool = True) -> Reg:
    """check_stack_read through the register `regno`."""
    frame = frame_of(v, reg)
    if reg.var.mask:
        low, high = off + reg.var.smin, off + reg.var.smax + size
        check_initialised(v, frame, reg, low, high - low, clobber=False, regno=regno, size=size)
        if all(frame.stack.get((-at - 1) // 8, EMPTY).kinds[at % 8] == ZERO_BYTE for at in range(low, high)):
            return Reg(SCALAR, ZERO)
        return Reg(SCALAR, UNKNOWN)
    off += reg.var.smin
    number = (-off - 1) // 8
    slot = frame.stack.get(number, EMPTY)
    v.liveness.read(v.state, frame.number, v.pc, 1 << number)
    kinds = slot.kinds
    if (kinds is SPILLED and size == 8) or (kinds == SPILLED and size == 8):
        note_stack(v, frame.number, number)
        return slot.reg
    at = off % 8
    if kinds[0] == SPILL:
        held = slot.reg
        if held.kind != SCALAR:
            raise Refused("stack-slot", "invalid size of register fill", None, size=size, off=off)
        if not to_register:
            return held
        spilled = kinds.count(SPILL)
        if at == 0 and size <= spilled:
            note_stack(v, frame.number, number)
            return held.but(id=0) if known_width(held.var) > size * 8 else held
        wanted = kinds[at : at + size]
        if not SPECIAL.isdisjoint(wanted):
            raise _unreadable(off, size)
        if all(k == SPILL for k in wanted) and held.var is ZERO:
            note_stack(v, frame.number, number)
            return Reg(SCALAR, ZERO)
        if all(k == ZERO_BYTE for k in wanted):
            return Reg(SCALAR, ZERO)
        return Reg(SCALAR, UNKNOWN)
    wanted = kinds[at : at + size]
    if not SPECIAL.isdisjoint(wanted):
        raise _unreadable(off, size)
    return Reg(SCALAR, ZERO if all(k == ZERO_BYTE for k in wanted) else UNKNOWN)


def _unreadable(off: int, size: int) -> Refused:
    return Refused("stack-slot", f"invalid read from stack off {off}+0 size {size}", None, size=size, off=off)


def stack_store(v: Walk, pointer: Reg, off: int, size: int, value: Reg | None, regno: int | None) -> None:
    """check_stack_write: `value` (of register `regno`, None for an immediate) goes to the stack.

    Without a value (an atomic operation) what is there afterwards is only bytes.
    """
    frame = frame_of(v, pointer)
    if pointer.var.mask:
        _vague_store(v, frame, off + pointer.var.smin, off + pointer.var.smax + size, value, regno)
        return
    off += pointer.var.smin
    number, at = (-off - 1) // 8, off % 8
    old = frame.stack.get(number, EMPTY)
    if DYNPTR_BYTES in old.kinds:
        destroy_dynptr(v, frame, number)
        old = frame.stack.get(number, EMPTY)
    if size == 8:
        v.liveness.write(frame.number, 1 << number)
    if at == 0 and value is not None and value.kind == SCALAR:
        note_stack(v, frame.number, number)
        if size == 8:
            if regno is not None:
                named = with_id(v, value)
                if named is not value:
                    v.regs[regno] = value = named
            frame.stack[number] = Slot(SPILLED, value)
            return
        if known_width(value.var) <= size * 8:
            if regno is not None:
                named = with_id(v, value)
                if named is not value:
                    v.regs[regno] = value = named
        else:
            value = value.but(id=0)
        rest = bytes(k if k in (ZERO_BYTE, INVALID_BYTE) else MISC for k in old.kinds[size:])
        frame.stack[number] = Slot(bytes([SPILL]) * size + rest, value)
        return
    if value is not None and value.kind not in _NOT_SPILLED:
        if size != 8:
            raise Refused("stack-slot", "invalid size of register spill", regno, size=size, off=off)
        if frame is not v.frame and value.kind == STACK:
            raise Refused(
                "stack-slot",
                "cannot spill pointers to stack into stack frame of the caller",
                regno,
                errno=22,
                size=size,
                off=off,
            )
        note_stack(v, frame.number, number)
        frame.stack[number] = Slot(SPILLED, value)
        return
    fill = MISC
    if value is not None and value.var is ZERO:
        if regno is not None:
            mark_register(v, regno)
        fill = ZERO_BYTE
    kinds = _scrubbed(old.kinds)
    frame.stack[number] = Slot(kinds[:at] + bytes([fill]) * size + kinds[at + size :])


_NOT_SPILLED = frozenset({SCALAR, DYNPTR})
"""What leaves only bytes on the stack, not what it was (is_spillable_regtype)."""
_SCRUBBED = frozenset({SPILL, ITER_BYTES, IRQ_BYTES})
"""What is nothing any more when one of its bytes is written over."""


def _scrubbed(kinds: bytes) -> bytes:
    """scrub_spilled_slot, of all bytes: what a register, or an object, was is only bytes now."""
    if kinds[0] in _SCRUBBED:
        return bytes(MISC if k != INVALID_BYTE else k for k in kinds)
    return kinds


def _vague_store(v: Walk, frame: Frame, low: int, high: int, value: Reg | None, regno: int | None) -> None:
    """check_stack_write_var_off: somewhere in low..high-1."""
    zero = value is not None and value.kind == SCALAR and value.var is ZERO
    used = False
    for number in _slots(low, high - low):
        old = frame.stack.get(number, EMPTY)
        if DYNPTR_BYTES in old.kinds:
            destroy_dynptr(v, frame, number)
            old = frame.stack.get(number, EMPTY)
        kinds = bytearray(old.kinds)
        keeps = zero and old.kinds[0] == SPILL and old.reg.kind == SCALAR and old.reg.var is ZERO
        if keeps and all(low <= -8 * (number + 1) + i < high for i in range(8)):
            used = True
            continue
        for i in range(8):
            if kinds[i] in _SCRUBBED:
                kinds[i] = MISC
            if low <= -8 * (number + 1) + i < high:
                if zero and kinds[i] == ZERO_BYTE:
                    used = True
                else:
                    kinds[i] = MISC
        frame.stack[number] = Slot(bytes(kinds))
    if used and regno is not None:
        mark_register(v, regno)


def check_initialised(
    v: Walk,
    frame: Frame,
    reg: Reg,
    low: int,
    length: int,
    *,
    clobber: bool,
    regno: int,
    size: int,
) -> None:
    """check_stack_range_initialized, once the bounds are checked: what is read there is only bytes.

    Of the `length` bytes some `size` are read.  With `clobber` a helper may write there too, so afterwards
    nothing is known of them.
    """
    for number in reversed(_slots(low, length)):
        slot = frame.stack.get(number, EMPTY)
        bottom = -8 * (number + 1)
        first, last = max(low - bottom, 0), min(low + length - bottom, 8)
        kinds = slot.kinds
        if not SPECIAL.isdisjoint(kinds[first:last]):
            at = bottom + next(i for i in range(first, last) if kinds[i] in SPECIAL) - low
            place = f"var_off {tnum.text(reg.var.tnum)}" if reg.var.mask else f"off {low}"
            raise Refused(
                "stack-slot",
                f"invalid read from stack R{regno} {place}+{at} size {size}",
                regno,
                size=size,
                off=low,
            )
        if clobber:
            held = slot.reg  # (a narrow spill beside these bytes stays what it is)
            if SPILL in kinds[first:last]:
                kinds, held = _scrubbed(kinds), EMPTY.reg
            frame.stack[number] = Slot(kinds[:first] + bytes([MISC]) * (last - first) + kinds[last:], held)
    v.liveness.read(v.state, frame.number, v.pc, _bits(_slots(low, length)))


def check_no_dynptr(frame: Frame, low: int, high: int) -> None:
    """check_stack_range_initialized in raw mode: a helper must not write over a dynptr."""
    for at in range(low, high):
        if frame.stack.get((-at - 1) // 8, EMPTY).kinds[at % 8] == DYNPTR_BYTES:
            raise Refused("dynptr", f"potential write to dynptr at off={at} disallowed")


def overwrite(v: Walk, frame: Frame, low: int, size: int) -> None:
    """A helper writes these bytes (raw mode): whatever was there is gone."""
    v.log.touched(_slots(low, size))
    for number in _slots(low, size):
        old = frame.stack.get(number, EMPTY)
        if DYNPTR_BYTES in old.kinds:
            destroy_dynptr(v, frame, number)
            old = frame.stack.get(number, EMPTY)
        bottom = -8 * (number + 1)
        frame.stack[number] = Slot(
            bytes(MISC if low <= bottom + i < low + size else k for i, k in enumerate(_scrubbed(old.kinds)))
        )


def destroy_dynptr(v: Walk, frame: Frame, number: int) -> None:
    """destroy_if_dynptr_stack_slot: overwriting half a dynptr makes the other half unreadable, too."""
    held = frame.stack[number].reg
    if held.ref:
        raise Refused("dynptr", "cannot overwrite referenced dynptr", None, errno=22)
    for other in (number - 1, number, number + 1):
        slot = frame.stack.get(other)
        if slot is not None and DYNPTR_BYTES in slot.kinds and slot.reg.id == held.id:
            frame.stack[other] = EMPTY
    for f in v.state.frames:
        for i, reg in enumerate(f.regs):
            if held.id and reg.uid == held.id and reg.kind == MEM and not reg.flags & ~MAYBE_NULL:
                f.regs[i] = lost("a slice of a dynptr", v.pc)
        for i, slot in list(f.stack.items()):
            reg = slot.reg
            if held.id and reg.uid == held.id and reg.kind == MEM and not reg.flags & ~MAYBE_NULL:
                f.stack[i] = Slot(slot.kinds, lost("a slice of a dynptr", v.pc))
