"""Does it hold?  Each requirement, as a function that looks at where the walk is and refuses.

`checker` turns a requirement into such a function once, before the walk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..bpf import context
from . import tnum
from .access import check_access, check_fixed, kind_name
from .locks import check_nothing_held
from .refusal import Refused
from .requirements import Access, Atomically, MayCall, MayEnd, Never, PacketLoad, Readable, Requirement, Whole
from .values import (
    BTF,
    CTX,
    MAP_VALUE,
    NOT_INIT,
    PACKET,
    PACKETS,
    SCALAR,
    SOCKETS,
    STACK,
    mark_precise,
)

if TYPE_CHECKING:
    from .walk import Walk

Check = Callable[[], None]

SPIN_UNLOCK = 94
KPTR_XCHG = 194


def checker(v: Walk, requirement: Requirement) -> Check:
    """The function that raises Refused unless `requirement` holds in the walk's state."""
    match requirement:
        case Readable(register):
            return _readable(v, register)
        case Access(register, off, size, write, signed):
            return _access(v, register, off, size, write, signed)
        case Atomically(register, off, size):
            return lambda: _takes_atomics(v, register, off, size)
        case Whole(register):
            return lambda: None if v.regs[register].kind == SCALAR else _leaks(v, register)
        case PacketLoad():
            return lambda: check_packet_load(v)
        case MayEnd():
            return lambda: check_end(v)
        case MayCall(helper):
            return lambda: check_call_allowed(v, helper)
        case Never(kind, message):
            return lambda: _refuse(kind, message)


def _refuse(kind: str, message: str) -> None:
    raise Refused(kind, message, errno=22)


def _readable(v: Walk, register: int) -> Check:
    def check() -> None:
        if v.regs[register].kind == NOT_INIT:
            raise Refused("unwritten", f"R{register} !read_ok", register)

    return check


def _access(v: Walk, register: int, off: int, size: int, write: bool, signed: bool) -> Check:
    def check() -> None:
        reg = v.regs[register]
        at = v.pc
        check_access(v, reg, register, off, size, write=write)
        if signed and reg.kind == CTX and off + reg.off in _PACKET_FIELDS:
            raise Refused(
                "context-field",
                f"invalid bpf_context access off={off + reg.off} size={size}",
                register,
                off=off + reg.off,
                size=size,
                write=False,
            )
        before = v.pointer_kinds.get(at)
        if before is None:
            v.pointer_kinds[at] = reg.kind
        elif before != reg.kind and (before in _ONE_KIND or reg.kind in _ONE_KIND):
            raise Refused("two-kinds", "same insn cannot be used with different pointers", register, errno=22)
        elif reg.kind == PACKET:
            v.pointer_kinds[at] = PACKET  # who asks what is written must hear of the packet

    return check


_PACKET_FIELDS = frozenset(context.offset_of(name) for name in ("data", "data_end", "data_meta"))
"""What comes back from these is a pointer: no sign-extending load."""
_ONE_KIND = frozenset({CTX, BTF}) | SOCKETS
"""reg_type_mismatch: kinds whose accesses are rewritten, so that an instruction has one of them only."""


def _takes_atomics(v: Walk, register: int, off: int, size: int) -> None:
    """check_atomic_rmw: not into the context, a packet or a socket."""
    reg = v.regs[register]
    if (
        size > 1
        and not tnum.aligned(tnum.add(reg.var.tnum, tnum.const(reg.off + off)), size)
        and reg.kind != SCALAR
    ):
        what = {MAP_VALUE: "value ", 6: "stack "}.get(reg.kind, "")
        raise Refused(
            "atomic-alignment",
            f"misaligned {what}access off {tnum.text(reg.var.tnum)}+{reg.off}+{off} size {size}",
            register,
        )
    if reg.kind == CTX or reg.kind in PACKETS or reg.kind in SOCKETS:
        raise Refused(
            "atomic-target", f"BPF_ATOMIC stores into R{register} {kind_name(reg)} is not allowed", register
        )


def _leaks(v: Walk, register: int) -> None:
    """An address as operand of an atomic operation: nothing that a privileged user may not do."""


def check_packet_load(v: Walk) -> None:
    """check_ld_abs: r6 is the context as it was given, and ending here would lose nothing."""
    if len(v.state.frames) > 1 and not v.flow_allows_ld_abs:
        raise Refused("ld-abs", "BPF_LD_[ABS|IND] instructions not allowed for this program type", errno=22)
    reg = v.regs[6]
    check_nothing_held(v, "BPF_LD_[ABS|IND]")
    if reg.kind != CTX:
        raise Refused("ld-abs", "at the time of BPF_LD_ABS|IND R6 != pointer to skb", 6, errno=22)
    check_fixed(reg, 6)


_UNDER_LOCK = (
    "bpf_list_", "bpf_rbtree_", "bpf_refcount_acquire", "bpf_iter_num_", "bpf_res_spin_", "bpf_arena_",
    "bpf_stream_",
)  # fmt: skip


def allowed_under_lock(names: Sequence[str], number: int) -> bool:
    """kfunc_spin_allowed."""
    return 0 <= number < len(names) and names[number].startswith(_UNDER_LOCK)


_LATER = frozenset({
    "timer_set_callback", "bpf_wq_set_callback_impl", "bpf_task_work_schedule_signal_impl",
    "bpf_task_work_schedule_resume_impl",
})  # fmt: skip
"""Callbacks that run some time later, alone; they return 0."""


def check_end(v: Walk) -> None:
    """BPF_EXIT in do_check: locks and references first, then what is returned."""
    state = v.state
    main = len(state.frames) == 1 and v.frame.callback is None
    check_nothing_held(v, "BPF_EXIT instruction in main prog", locks=len(state.frames) == 1)
    reg = v.regs[0]
    if not main:
        if reg.kind == STACK:
            raise Refused("return", "cannot return stack pointer to the caller", 0, errno=22)
        callback = v.frame.callback
        if callback is not None:
            if reg.kind != SCALAR:
                raise Refused("return", "R0 not a scalar value", 0, errno=13)
            low, high = (0, 0) if callback in _LATER else (0, 1)
            mark_precise(reg)
            if reg.var.s32_min < low or reg.var.s32_max > high:
                raise Refused(
                    "return",
                    f"At {'async ' if len(state.frames) == 1 else ''}callback return the register R0"
                    f" has smin={reg.var.smin} smax={reg.var.smax}"
                    f" should have been in [{low}, {high}]",
                    0,
                    errno=22,
                )
        return
    check_return(v, 0)


def check_return(v: Walk, register: int) -> None:
    """check_return_code, of a program or of a global function."""
    reg = v.regs[register]
    if reg.kind == NOT_INIT:
        raise Refused("unwritten", f"R{register} !read_ok", register)
    if v.frame.subprogram and reg.kind != SCALAR:
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
    if helper not in (SPIN_UNLOCK, KPTR_XCHG):
        raise Refused("lock", "function calls are not allowed while holding a lock", errno=22)
