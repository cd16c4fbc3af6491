"""What does a call of a kernel function change?  check_kfunc_call.

As with helpers: the arguments are checked, what is given back is released, r0 is what comes back and r1
to r5 hold nothing.  Some functions are special: those that begin or end a region, make objects of types
that the program names, walk with an iterator, call back, or throw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..bpf.kfuncs import SCALAR_BYTES, kfuncs
from ..objfile.btf import Array, Btf, Composite, Enum, Int
from .calls import widen
from .checks import check_return
from .kfunc_arguments import check_kfunc_arguments
from .kfunc_call import KfuncCall
from .kfunc_objects import in_tree_callback
from .locks import acquire, check_nothing_held, forget_reference, may_point_to_lock, release
from .ranges import ZERO, between, s32
from .records import SpecialField
from .refusal import Refused
from .sleeping import check_no_region, may_sleep
from .stack_objects import ACTIVE, DRAINED, PACKET_DYNPTRS, end_rcu, make_dynptr, release_dynptr, set_iterator
from .state import Slot
from .tnum import U32
from .types import Struct, kernel_btf, kernel_struct
from .values import (
    ALLOC,
    BTF,
    MAYBE_NULL,
    MEM,
    NON_OWNING,
    PACKET_SLICE,
    PERCPU,
    RCU,
    RDONLY,
    SCALAR,
    TRUSTED,
    UNTRUSTED,
    UNWRITTEN,
    Reg,
    clone,
    unknown,
)

if TYPE_CHECKING:
    from .walk import Walk

THROW = "bpf_throw"
_LOCKING = frozenset({"bpf_res_spin_lock", "bpf_res_spin_lock_irqsave"})
MAX_SCALAR_DEPTH = 3
MAX_PERCPU_BYTES = 512
"""BPF_GLOBAL_PERCPU_MA_MAX_SIZE."""


def kfunc_name(v: Walk, number: int) -> str:
    """The name of the function that a call's immediate stands for."""
    names = v.spec.kfuncs
    if 0 <= number < len(names):
        return names[number]
    raise Refused("helper", f"kernel function #{number} is not known", errno=22, helper=f"#{number}")


def kfunc_call(v: Walk, number: int) -> int:
    """The next instruction; -1 where the path ends."""
    name = kfunc_name(v, number)
    kfunc = kfuncs().get(name)
    if kfunc is None or not v.rules.has_kfunc(kfunc):
        raise Refused("helper", f"calling kernel function {name} is not allowed", errno=13, helper=name)
    if not v.gpl_compatible:
        raise Refused(
            "licence",
            "cannot call kernel function from non-GPL compatible program",
            errno=22,
            helper=name,
        )
    if name == "__bpf_trap":
        raise Refused("trap", "unexpected __bpf_trap() due to uninitialized variable?", errno=14)
    if name.startswith("bpf_xdp_metadata"):
        raise Refused("helper", "metadata kfuncs require device-bound program", errno=22, helper=name)
    sleeps = "sleeps" in kfunc.flags
    if sleeps and not may_sleep(v):
        raise Refused(
            "helper", f"program must be sleepable to call sleepable kfunc {name}", errno=13, helper=name
        )
    if name in _LOCKING:
        _push_failure(v)
    call = KfuncCall(kfunc)
    check_kfunc_arguments(v, call)
    if call.function is not None:
        v.push_kfunc_callback(call)
    if sleeps:
        check_no_region(v, f"kernel func {name} is sleepable within {{}}", 13)
    _regions(v, name)
    if call.release:
        reg = v.regs[call.release]
        if call.dynptr is not None and call.dynptr.ref:
            release_dynptr(v, call.dynptr)
        else:
            release(v, reg.ref)
    if call.graph is not None and ("push" in name or "add" in name):
        _hand_over(v, v.regs[2].ref)
    if name == THROW:
        check_nothing_held(v, THROW, exception=True)
        if v.exception_callback is None:
            check_return(v, 1)  # what is thrown is what the program returns
        return -1
    if call.new_dynptr is not None:
        _make_dynptr(v, call)
    result = _result(v, call)
    regs = v.regs
    regs[0] = result
    regs[1] = regs[2] = regs[3] = regs[4] = regs[5] = UNWRITTEN
    if kfunc.iterator == "next":
        _next(v, call)
    return v.pc + 1


def _push_failure(v: Walk) -> None:
    """A lock that is not given: another path, on which r0 says why."""
    other = v.push(v.pc + 1)
    regs = other.frames[-1].regs
    regs[0:6] = [Reg(SCALAR, between(-4095, -1)), *[UNWRITTEN] * 5]


def _regions(v: Walk, name: str) -> None:
    state = v.state
    if name in ("bpf_rcu_read_lock", "bpf_rcu_read_unlock"):
        if in_tree_callback(v):
            raise Refused(
                "callback", "Calling bpf_rcu_read_{lock,unlock} in unnecessary rbtree callback", errno=13
            )
        if name == "bpf_rcu_read_lock":
            if state.rcu:
                raise Refused("region", f"nested rcu read lock (kernel function {name})", errno=22)
            state.rcu = 1
        elif not state.rcu:
            raise Refused("region", f"unmatched rcu read unlock (kernel function {name})", errno=22)
        else:
            state.rcu -= 1
            if not state.rcu:
                end_rcu(v)
    elif name == "bpf_preempt_disable":
        state.preempt += 1
    elif name == "bpf_preempt_enable":
        if not state.preempt:
            raise Refused(
                "region", f"unmatched attempt to enable preemption (kernel function {name})", errno=22
            )
        state.preempt -= 1


def _hand_over(v: Walk, ref: int) -> None:
    """ref_convert_owning_non_owning: the list or tree has it now; the program may look on."""
    for frame in v.state.frames:
        for number, reg in enumerate(frame.regs):
            if ref and reg.ref == ref:
                frame.regs[number] = _non_owning(v, reg)
        for number, slot in list(frame.stack.items()):
            if ref and slot.reg.ref == ref and slot.kinds[0] == 1:
                frame.stack[number] = Slot(slot.kinds, _non_owning(v, slot.reg))
    forget_reference(v, ref)


def _non_owning(v: Walk, reg: Reg) -> Reg:
    """ref_set_non_owning."""
    new = clone(reg)
    new.ref = 0
    new.flags |= NON_OWNING
    if any(field.name == "bpf_refcount" for field in v.struct_fields(new.obj.id)):
        new.flags |= RCU
    return new


def _make_dynptr(v: Walk, call: KfuncCall) -> None:
    assert call.new_dynptr is not None
    kind = {"bpf_dynptr_from_skb": "skb", "bpf_dynptr_from_skb_meta": "skb_meta"}.get(call.kfunc.name)
    if kind is not None:
        make_dynptr(v, call.new_dynptr, kind)
    elif call.dynptr is not None:
        make_dynptr(v, call.new_dynptr, call.dynptr.obj, clone_of=call.dynptr.ref)


# What comes back -------------------------------------------------------------------------------------


def _result(v: Walk, call: KfuncCall) -> Reg:
    kfunc = call.kfunc
    if not kfunc.returns_pointer:
        if kfunc.returns == "void":
            return UNWRITTEN
        return Reg(SCALAR, ZERO) if kfunc.name in _LOCKING else unknown()
    result = _pointer(v, call)
    if result.kind == SCALAR:
        return result
    null = "null" in kfunc.flags and not call.owning
    if null:
        v.ids += 1
        result.flags |= MAYBE_NULL
        result.id = v.ids
    if "acquire" in kfunc.flags:
        v.ids += 1
        result.ref = acquire(v, v.ids)
        if null:
            result.id = v.ids
    elif kfunc.returns in ("bpf_rb_node", "bpf_list_node"):
        result = _non_owning(v, result)
    if not result.id and may_point_to_lock(v, result):
        v.ids += 1
        result.id = v.ids
    return result


def _pointer(v: Walk, call: KfuncCall) -> Reg:
    """check_special_kfunc, then what the return type says."""
    kfunc = call.kfunc
    special = _SPECIAL.get(kfunc.name)
    if special is not None:
        return special(v, call)
    if call.graph is not None:
        return _node_of(call.graph)
    if kfunc.returns == "void":
        return unknown()
    if kfunc.returns in SCALAR_BYTES:
        return Reg(MEM, flags=RDONLY, size=SCALAR_BYTES[kfunc.returns], ref=call.ref)
    result = Reg(BTF, obj=kernel_struct(kfunc.returns))
    if kfunc.name == "bpf_get_kmem_cache":
        result.flags = UNTRUSTED
    elif kfunc.iterator == "next" and call.iterator is not None:
        frame, place = call.iterator
        result.flags = RCU if frame.stack[place].reg.flags & RCU else TRUSTED
    return result


def _node_of(root: SpecialField) -> Reg:
    """mark_reg_graph_node."""
    return Reg(BTF, obj=root.target, off=root.node, flags=ALLOC)


def _new_object(v: Walk, call: KfuncCall) -> Reg:
    id, percpu = call.constant or 0, "percpu" in call.kfunc.name
    if id > 0xFFFFFFFF:
        raise Refused("constant", "local type ID argument must be in range [0, U32_MAX]", 1, errno=22)
    if v.btf is None:
        raise Refused("function-type", "bpf_obj_new/bpf_percpu_obj_new requires prog BTF", errno=22)
    struct = v.btf[id] if 0 < id < len(v.btf) else None
    if struct is None or not hasattr(struct, "members") or struct.is_union:
        raise Refused(
            "constant",
            "bpf_obj_new/bpf_percpu_obj_new type ID argument must be of a struct",
            1,
            errno=22,
        )
    if percpu:
        if struct.size > MAX_PERCPU_BYTES:
            raise Refused(
                "constant",
                f"bpf_percpu_obj_new type size ({struct.size}) is greater than {MAX_PERCPU_BYTES}",
                1,
                errno=22,
            )
        if not _holds_numbers(v.btf, struct):
            raise Refused(
                "constant",
                "bpf_percpu_obj_new type ID argument must be of a struct of scalars",
                1,
                errno=22,
            )
        if v.struct_fields(id):
            raise Refused(
                "constant",
                "bpf_percpu_obj_new type ID argument must not contain special fields",
                1,
                errno=22,
            )
    return Reg(BTF, obj=Struct(struct.name, id, True), flags=ALLOC | (PERCPU if percpu else 0))


def _holds_numbers(btf: Btf, struct: Composite, depth: int = 0) -> bool:
    """__btf_type_is_scalar_struct: nothing but numbers, arrays of them, and structures of such."""
    for member in struct.members:
        type = btf.resolve(member.type)
        if isinstance(type, Composite) and not type.is_union:
            if depth >= MAX_SCALAR_DEPTH or not _holds_numbers(btf, type, depth + 1):
                return False
            continue
        if isinstance(type, Array):
            if not type.count:
                return False
            type = btf.resolve(type.element)
        if not isinstance(type, Int | Enum):
            return False
    return True


def _same_object(v: Walk, call: KfuncCall) -> Reg:
    """bpf_refcount_acquire: never 0 for who owns the object already."""
    return Reg(BTF, obj=call.struct, flags=ALLOC)


def _kernel_context(v: Walk, call: KfuncCall) -> Reg:
    return Reg(BTF, obj=kernel_struct("sk_buff"), flags=TRUSTED)


def _read_only(v: Walk, call: KfuncCall) -> Reg:
    """bpf_rdonly_cast: whatever it is, it may be read as that, through loads that cannot fault."""
    id = (call.constant or 0) & U32
    if not id:
        return Reg(MEM, flags=RDONLY | UNTRUSTED)
    btf = kernel_btf()
    if btf is None:
        raise Refused("not-covered", "the kernel's types are not known here", errno=22)
    if id >= len(btf):
        raise Refused("constant", f"Unknown type ID {s32(id)} passed to kfunc bpf_rdonly_cast", 2, errno=22)
    struct = btf.resolve(id)
    if not hasattr(struct, "members") or struct.is_union:
        if not struct.id:
            return Reg(MEM, flags=RDONLY | UNTRUSTED)
        raise Refused(
            "constant", "kfunc bpf_rdonly_cast type ID argument must be of a struct or void", 2, errno=22
        )
    return Reg(BTF, obj=Struct(struct.name, struct.id), flags=UNTRUSTED)


def _slice(v: Walk, call: KfuncCall) -> Reg:
    held = call.dynptr
    assert held is not None
    flags = PACKET_SLICE if held.obj in PACKET_DYNPTRS else 0
    if call.kfunc.name == "bpf_dynptr_slice":
        flags |= RDONLY
    elif not v.rules.packet_writable:
        raise Refused(
            "read-only", "the prog does not allow writes to packet data", errno=22, map="the packet"
        )
    return Reg(MEM, flags=flags, size=call.constant or 0, uid=held.id)


_SPECIAL = {
    "bpf_obj_new_impl": _new_object,
    "bpf_percpu_obj_new_impl": _new_object,
    "bpf_refcount_acquire_impl": _same_object,
    "bpf_cast_to_kern_ctx": _kernel_context,
    "bpf_rdonly_cast": _read_only,
    "bpf_dynptr_slice": _slice,
    "bpf_dynptr_slice_rdwr": _slice,
}


# Iterators -------------------------------------------------------------------------------------------


def _next(v: Walk, call: KfuncCall) -> None:
    """process_iter_next_call: on this path there is no more; on another, put aside, there is."""
    assert call.iterator is not None
    frame, place = call.iterator
    state = v.state
    held = frame.stack[place].reg
    if held.uid == ACTIVE:
        before = v.find_entry(state.parent.parent if state.parent is not None else None, v.pc)
        other = v.push(v.pc + 1)
        there = other.frames[frame.number]
        set_iterator(there, place, state=ACTIVE, deeper=True)
        if before is not None:
            widen(before, other)
        regs = other.frames[-1].regs
        given = clone(regs[0])
        given.flags &= ~MAYBE_NULL
        regs[0] = given
    set_iterator(frame, place, state=DRAINED, deeper=False)
    v.regs[0] = Reg(SCALAR, ZERO)
