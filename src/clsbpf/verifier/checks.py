"""Does it hold?  Each requirement, as a function that looks at where the walk is and refuses.

`checker` turns a requirement into such a function once, before the walk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..bpf import context
from ..bpf.isa import REGISTERS
from . import tnum
from .access import check_access, check_fixed, kind_name
from .locks import check_nothing_held
from .memory import kernel_pointer_at, stack_load
from .precision import mark_register
from .ranges import S64_MAX, S64_MIN
from .refusal import Refused
from .requirements import Access, Atomically, MayCall, MayEnd, Never, PacketLoad, Readable, Requirement
from .values import (
    BTF,
    CTX,
    MAP_PTR,
    MAP_VALUE,
    MEM,
    NOT_INIT,
    PACKET,
    PACKETS,
    SCALAR,
    SOCKETS,
    STACK,
    UNTRUSTED,
    Reg,
)

if TYPE_CHECKING:
    from .walk import Walk

Check = Callable[[], None]

SPIN_UNLOCK = 94


def checker(v: Walk, requirement: Requirement) -> Check:
    """The function that raises Refused unless `requirement` holds in the walk's state."""
    match requirement:
        case Readable(register):
            return _readable(v, register)
        case Access():
            return _access(v, requirement)
        case Atomically(register):
            return lambda: check_takes_atomics(v, register, "stores into")
        case PacketLoad(index):
            return lambda: check_packet_load(v, index)
        case MayEnd():
            return lambda: check_end(v)
        case MayCall(helper):
            return lambda: check_call_allowed(v, helper)
        case Never(kind, message, errno):
            return lambda: _refuse(kind, message, errno)


def _refuse(kind: str, message: str, errno: int) -> None:
    raise Refused(kind, message, errno=errno)


def _readable(v: Walk, register: int) -> Check:
    def check() -> None:
        if v.regs[register].kind == NOT_INIT:
            raise Refused("unwritten", f"R{register} !read_ok", register)

    return check


def _access(v: Walk, access: Access) -> Check:
    register, off, size, write, strict = access.register, access.off, access.size, access.write, access.strict
    signed, load, atomic = access.kind == "signed", access.kind != "store", access.kind == "atomic"
    merges = load and not strict

    def check() -> None:
        reg = v.regs[register]
        check_access(v, reg, register, off, size, write=write, strict=strict)
        if signed and reg.kind == CTX and off + reg.off in _PACKET_FIELDS:
            raise Refused(
                "context-field",
                f"invalid bpf_context access off={off + reg.off} size={size}",
                register,
                off=off + reg.off,
                size=size,
                write=False,
            )
        if strict:
            _check_atomic_place(reg, register, off + reg.off, size, fills=not atomic)
        if not atomic and _other_kind(v, reg, merges=merges):
            if load and reg.kind == STACK:
                stack_load(v, reg, off + reg.off, size, register)  # what is wrong with the slot comes first
            raise Refused("two-kinds", "same insn cannot be used with different pointers", register, errno=22)
        _note_kind(v, reg, loads=load and not atomic)

    return check


def _check_atomic_place(reg: Reg, register: int, off: int, size: int, *, fills: bool) -> None:
    """check_stack_read, where there is no register to fill, and check_map_kptr_access."""
    if reg.kind == STACK and reg.var.mask and not fills:
        where = f"var_off={tnum.text(reg.var.tnum)} off={off} size={size}"
        raise Refused(
            "stack-slot",
            f"variable offset stack pointer cannot be passed into helper function; {where}",
            register,
            size=size,
            off=off,
        )
    if reg.kind == MAP_VALUE and kernel_pointer_at(reg, off) is not None:
        raise Refused(
            "special-field", "kptr in map can only be accessed using BPF_MEM instruction mode", field="kptr"
        )


def _other_kind(v: Walk, reg: Reg, *, merges: bool) -> bool:
    """reg_type_mismatch: how an instruction is rewritten depends on the pointer: it must be of one kind."""
    before, kind = v.pointer_kinds.get(v.pc), reg.kind
    if before is None or (before not in _ONE_KIND and kind not in _ONE_KIND):
        return False
    if before == kind and v.pointer_flags[v.pc] == reg.flags:
        return False
    return not (merges and before in _MERGED and kind in _MERGED)


def _note_kind(v: Walk, reg: Reg, *, loads: bool) -> None:
    """save_aux_ptr_type: the first kind; and of loads, whether the address may lead anywhere."""
    at, kind = v.pc, reg.kind
    if at not in v.pointer_kinds:
        v.pointer_kinds[at] = kind
        v.pointer_flags[at] = reg.flags
    elif kind == PACKET:
        v.pointer_kinds[at] = kind  # who asks what is written must hear of the packet
    if loads and (kind in (BTF, MAP_PTR) or (kind == MEM and reg.flags & UNTRUSTED)):
        v.probed.add(at)


_MERGED = frozenset({MEM, BTF})
_PACKET_FIELDS = frozenset(context.offset_of(name) for name in ("data", "data_end", "data_meta"))
"""What comes back from these is a pointer: no sign-extending load."""
_ONE_KIND = frozenset({CTX, BTF}) | SOCKETS
"""reg_type_mismatch: kinds whose accesses are rewritten, so that an instruction has one of them only."""


def check_takes_atomics(v: Walk, register: int, does: str) -> None:
    """atomic_ptr_type_ok: not the context, a packet or a socket."""
    reg = v.regs[register]
    if not reg.flags and (reg.kind == CTX or reg.kind in PACKETS or reg.kind in SOCKETS):
        raise Refused(
            "atomic-target", f"BPF_ATOMIC {does} R{register} {kind_name(reg)} is not allowed", register
        )


def check_packet_load(v: Walk, index: int | None) -> None:
    """check_ld_abs: r6 is the context as it was given, and ending here would lose nothing."""
    check_nothing_held(v, "BPF_LD_[ABS|IND]")
    reg = v.regs[6]
    if reg.kind != CTX:
        raise Refused("ld-abs", "at the time of BPF_LD_ABS|IND R6 != pointer to skb", 6, errno=22)
    if index is not None:
        if index >= REGISTERS:
            raise Refused("encoding", f"R{index} is invalid", errno=22)
        if v.regs[index].kind == NOT_INIT:
            raise Refused("unwritten", f"R{index} !read_ok", index)
    check_fixed(reg, 6)


_UNDER_LOCK = (
    "bpf_list_", "bpf_rbtree_", "bpf_refcount_acquire", "bpf_iter_num_", "bpf_res_spin_", "bpf_arena_",
    "bpf_stream_",
)  # fmt: skip


def allowed_under_lock(names: Sequence[str], number: int) -> bool:
    """kfunc_spin_allowed."""
    return 0 <= number < len(names) and names[number].startswith(_UNDER_LOCK)


_ANY_RESULT = (-(1 << 31), (1 << 31) - 1)
_RESULTS: dict[str, tuple[int, int]] = {
    "timer_set_callback": (0, 0),
    "bpf_wq_set_callback_impl": (0, 0),
    "bpf_task_work_schedule_signal_impl": _ANY_RESULT,
    "bpf_task_work_schedule_resume_impl": _ANY_RESULT,
}
"""callback_ret_range, where it is not 0 to 1: of those that run some time later, alone."""


def check_end(v: Walk) -> None:
    """BPF_EXIT in do_check: locks and references first, then what is returned."""
    state = v.state
    main = len(state.frames) == 1 and v.frame.callback is None
    check_nothing_held(v, "BPF_EXIT instruction in main prog", locks=len(state.frames) == 1)
    reg = v.regs[0]
    if not main:
        if len(state.frames) > 1:
            v.liveness.update(state)
        if reg.kind == STACK and len(state.frames) > 1:
            raise Refused("return", "cannot return stack pointer to the caller", 0, errno=22)
        callback = v.frame.callback
        if callback is not None:
            if len(state.frames) == 1:
                check_return(v, 0)
            elif reg.kind != SCALAR:
                raise Refused("return", "R0 not a scalar value", 0, errno=13)
            else:
                _check_result_of_callback(v, 0, callback, "callback")
        return
    check_return(v, 0)


def _check_result_of_callback(v: Walk, register: int, callback: str, what: str) -> None:
    """retval_range_within, verbose_invalid_scalar: in 64 bits."""
    mark_register(v, register)
    var = v.regs[register].var
    low, high = _RESULTS.get(callback, (0, 1))
    if low <= var.smin and var.smax <= high:
        return
    least = f" smin={var.smin}" if var.smin > S64_MIN else ""
    most = f" smax={var.smax}" if var.smax < S64_MAX else ""
    has = f"{least}{most}" if least or most else " unknown scalar value"
    raise Refused(
        "return",
        f"At {what} return the register R{register} has{has} should have been in [{low}, {high}]",
        register,
        errno=22,
    )


def check_return(v: Walk, register: int) -> None:
    """check_return_code, of a program, of a global function, of a callback that is called later."""
    reg = v.regs[register]
    if reg.kind == NOT_INIT:
        raise Refused("unwritten", f"R{register} !read_ok", register)
    base = v.state.frames[0]
    if base.callback is not None:
        if reg.kind != SCALAR:
            what = f"the register R{register} is not a known value ({kind_name(reg)})"
            raise Refused("return", f"At async callback return {what}", register, errno=22)
        _check_result_of_callback(v, register, base.callback, "async callback")
    elif base.subprogram not in (0, v.exception_callback) and reg.kind != SCALAR:
        raise Refused(
            "return",
            f"At subprogram exit the register R{register} is not a scalar value ({kind_name(reg)})",
            register,
            errno=22,
        )


def check_call_allowed(v: Walk, helper: int | None) -> None:
    """do_check, before a call: a lock region contains nothing but its end."""
    if not v.state.locked:
        return
    if helper is None:
        insn = v.insns[v.pc]
        if insn.src == 2 and allowed_under_lock(v.spec.kfuncs, insn.imm):
            return
        if insn.src == 1:
            return  # a static function is part of the region; a global one is refused when it is called
    if helper != SPIN_UNLOCK:
        raise Refused("lock", "function calls are not allowed while holding a lock", errno=22)
