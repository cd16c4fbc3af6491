"""What does a call change?  Helpers, functions of the program, callbacks, and the way back.

A helper leaves its result in r0 and nothing in r1..r5; some make packet pointers worthless, acquire
something or give it back.  A function of the program is walked as if it stood there, with registers and
a stack of its own; a global one is walked once, alone, with arguments that may be anything.  A callback
may be called any number of times: the walk calls it from the call instruction again and again until
nothing new is possible.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..bpf.helpers import BY_NUMBER
from ..bpf.maps import MapType
from ..bpf.prototypes import prototype_of
from .access import is_read_only, kind_name
from .arguments import DYNPTR_WRITE, Call, check_arguments
from .cfg import SYNC_CALLBACKS, TIMER_SET_CALLBACK
from .checks import check_end
from .compatibility import ACQUIRES, CASTS, HELPER_ACCEPTS, ITERABLE, MAP_ACCEPTS, SLEEPS
from .fields import has_field
from .formats import format_problem
from .kernel_variables import this_processors
from .locks import acquire, check_nothing_held, release
from .memory import frame_of, overwrite
from .precision import mark_register
from .prune import IdMap
from .ranges import UNKNOWN, between, synced
from .refusal import ENOTSUPP, Refused
from .sleeping import check_no_region, may_sleep
from .stack_objects import PACKET_DYNPTRS, make_dynptr, release_dynptr
from .state import Frame, Slot, State
from .tnum import U32, U64
from .types import kernel_struct
from .values import (
    ALLOC,
    BTF,
    DYNPTR,
    MAP_KEY,
    MAP_PTR,
    MAP_VALUE,
    MAYBE_NULL,
    MEM,
    PACKET_SLICE,
    PACKETS_ANY,
    PERCPU,
    RINGBUF,
    SCALAR,
    SOCK_COMMON,
    SOCKET,
    STACK,
    TCP_SOCK,
    TRUSTED,
    UNWRITTEN,
    Reg,
    lost,
    unknown,
)

if TYPE_CHECKING:
    from .walk import Walk

MAX_FRAMES = 8
FIRST_UNKNOWN = 212
"""__BPF_FUNC_MAX_ID."""
_TAIL_CALL = 12
LOOP = 181
_DYNPTR_ENDS = frozenset({199, 200})
RINGBUF_RESERVE_DYNPTR = 198
FOR_EACH, SNPRINTF, DYNPTR_FROM_MEM = 164, 165, 197
_MAP_WRITERS = frozenset({2, 3, 87, 88})


def helper_call(v: Walk, number: int) -> int:
    """check_helper_call: the next instruction."""
    proto = prototype_of(number, v.spec.type)
    helper = BY_NUMBER.get(number)
    name = f"{helper.symbol if helper is not None else 'unknown' if number else 'bpf_unspec'}#{number}"
    if not 0 <= number < FIRST_UNKNOWN:
        raise Refused("helper", f"invalid func {name}", errno=22, helper=f"#{number}")
    if proto is None or not v.rules.has_helper(number):
        raise Refused("helper", f"program of this type cannot use helper {name}", errno=22, helper=name)
    if proto.gpl_only and not v.gpl_compatible:
        raise Refused(
            "licence",
            "cannot call GPL-restricted function from non-GPL compatible program",
            errno=22,
            helper=name,
        )
    if number in SLEEPS:
        if not may_sleep(v):
            raise Refused("helper", "helper call might sleep in a non-sleepable prog", errno=22, helper=name)
        check_no_region(v, f"sleepable helper {name} in {{}}", 22)
    call = Call(number, proto)
    check_arguments(v, call)
    _check_map_use(v, call)
    for pointer, _, size in call.raw:
        overwrite(v, frame_of(v, pointer), pointer.off + pointer.var.smin, size)
    if number in _DYNPTR_ENDS and call.dynptr is not None:
        release_dynptr(v, call.dynptr)
    elif proto.releases:
        release(v, call.ref)
    if number == DYNPTR_FROM_MEM and v.regs[1].kind != MAP_VALUE:
        raise Refused(
            "dynptr", f"Unsupported reg type {kind_name(v.regs[1])} for bpf_dynptr_from_mem data", 1
        )
    if number == SNPRINTF:
        _check_format(v, call)
    if number == _TAIL_CALL:
        check_nothing_held(v, "tail_call")
        v.tail_calls.add(v.frame.subprogram)
        index = v.regs[3].var.const if v.regs[3].kind == SCALAR else None
        if index is not None and index < v.regs[2].obj.max_entries:
            mark_register(v, 3)  # record_func_key: the kernel makes a jump of such a call
    if number in SYNC_CALLBACKS or number == TIMER_SET_CALLBACK:
        _push_callback(v, call)
    _make_dynptr(v, call)
    result = _RESULTS[proto.result.partition(":")[0]](v, call)
    _check_map_kind(call)
    regs = v.regs
    regs[0] = result
    regs[1] = regs[2] = regs[3] = regs[4] = regs[5] = UNWRITTEN
    if proto.changes_packet or (
        number == DYNPTR_WRITE and call.dynptr is not None and call.dynptr.obj in PACKET_DYNPTRS
    ):
        forget_packet(v)
    if number == _TAIL_CALL and len(v.state.frames) > 1:
        return _tail_called(v)
    return v.pc + 1


def _tail_called(v: Walk) -> int:
    """A tail call within a function: the program called returns to the function's caller, with anything.

    That it fails is another path.  In the main function success ends the program.
    """
    v.push(v.pc + 1)
    forget_packet(v)
    v.regs[0] = unknown()
    check_end(v)
    return function_exit(v)


def _check_map_use(v: Walk, call: Call) -> None:
    """record_func_map, record_func_key."""
    if call.map is None:
        return
    if call.number in _MAP_WRITERS and is_read_only(call.map):
        raise Refused("read-only", "write into map forbidden", errno=13, map=call.map.name)
    if call.number == _TAIL_CALL and call.map.type != MapType.PROG_ARRAY:
        message = "expected prog array map for tail call"
        raise Refused("map-kind", message, errno=22, map=call.map.name, helper=call.name)


def _check_map_kind(call: Call) -> None:
    """check_map_func_compatibility, which the kernel does last."""
    if call.map is None:
        return
    kind, number = call.map.type, call.number
    accepts, wanted = MAP_ACCEPTS.get(kind), HELPER_ACCEPTS.get(number)
    if (accepts is not None and number not in accepts) or (wanted is not None and kind not in wanted):
        message = f"cannot pass map_type {kind} into func {call.name}"
        raise Refused("map-kind", message, errno=22, map=call.map.name, helper=call.name)


def _check_format(v: Walk, call: Call) -> None:
    """check_bpf_snprintf_call."""
    length = v.regs[5].var.value
    problem = (
        "the arguments are not a whole number of 8 bytes"
        if length % 8
        else format_problem(call.string, length // 8)
    )
    if problem:
        message = "" if length % 8 else "Invalid format string"
        raise Refused("format", message, 3, errno=22, why=problem)


# What comes back -------------------------------------------------------------------------------------


def _map_value(v: Walk, call: Call) -> Reg:
    assert call.map is not None
    sure = call.key is not None and call.key < call.map.max_entries
    result = Reg(MAP_VALUE, obj=call.map, flags=0 if sure else MAYBE_NULL, uid=call.map_uid)
    if not sure or has_field(call.map, "bpf_spin_lock") or has_field(call.map, "bpf_res_spin_lock"):
        v.ids += 1
        result.id = v.ids
    if call.map.type in (MapType.SOCKMAP, MapType.SOCKHASH) and call.number == 1:
        v.ids += 1  # (a reference has an id of its own; the kernel drops the first one)
        result.id = v.ids
        result.ref = acquire(v, result.id)
    elif call.map.inner is not None and sure:
        result = Reg(MAP_PTR, obj=call.map.inner, uid=0)
    return result


def _owned(kind: int) -> Callable[[Walk, Call], Reg]:
    def make(v: Walk, call: Call) -> Reg:
        v.ids += 1
        result = Reg(kind, flags=MAYBE_NULL, id=v.ids)
        if call.number in ACQUIRES:
            v.ids += 1
            result.id = v.ids
            result.ref = acquire(v, v.ids)
        elif call.number in CASTS:
            result.ref = call.ref
        if kind == MEM:
            result.size = call.memory or 0
            result.flags |= RINGBUF
        return result

    return make


def _btf(v: Walk, call: Call) -> Reg:
    word, _, name = call.proto.result.partition(":")
    maybe = word.endswith("?")
    v.ids += maybe
    flags = MAYBE_NULL if maybe else TRUSTED
    return Reg(
        BTF,
        flags=flags,
        id=v.ids if maybe else 0,
        obj=kernel_struct(name),
        ref=call.ref if call.number in CASTS else 0,
    )


def _int(v: Walk, call: Call) -> Reg:
    return Reg(SCALAR, UNKNOWN)


def _length(v: Walk, call: Call) -> Reg:
    """do_refine_retval_range: at most what was asked for, or an error."""
    limit = call.size_limit
    if limit is None or limit >= 1 << 29:
        return unknown()
    return Reg(SCALAR, synced((0, U64, -4095, limit, 0, U64, -4095, limit, 0, U32)))


def _cpu(v: Walk, call: Call) -> Reg:
    return Reg(SCALAR, between(0, v.cpus - 1))


def _dynptr_memory(v: Walk, call: Call) -> Reg:
    v.ids += 1
    held = call.dynptr
    return Reg(
        MEM,
        flags=MAYBE_NULL,
        id=v.ids,
        size=call.memory or 0,
        uid=held.id if held is not None else 0,
        ref=held.ref if held is not None else 0,
    )


def _exchanged_kptr(v: Walk, call: Call) -> Reg:
    assert call.kptr is not None
    assert call.kptr.target is not None
    flags = MAYBE_NULL
    if call.kptr.target.local:
        flags |= ALLOC | (PERCPU if call.kptr.name == "kptr_percpu" else 0)
    v.ids += 2  # (one for that it may be 0, one for the reference, as the kernel counts)
    return Reg(BTF, obj=call.kptr.target, flags=flags, id=v.ids, ref=acquire(v, v.ids))


_RESULTS: dict[str, Callable[[Walk, Call], Reg]] = {
    "int": _int,
    "void": lambda v, call: UNWRITTEN,
    "value?": _map_value,
    "mem?": _owned(MEM),
    "sock_common?": _owned(SOCK_COMMON),
    "socket?": _owned(SOCKET),
    "tcp_sock?": _owned(TCP_SOCK),
    "btf?": _btf,
    "btf": _btf,
    "length": _length,
    "cpu": _cpu,
    "dynptr_mem?": _dynptr_memory,
    "kptr?": _exchanged_kptr,
    "percpu": lambda v, call: this_processors(v, call.percpu, maybe_null=False),
    "percpu?": lambda v, call: this_processors(v, call.percpu, maybe_null=True),
}


# What is owed ----------------------------------------------------------------------------------------


def forget_packet(v: Walk) -> None:
    """clear_all_pkt_pointers: the packet may be elsewhere now."""
    for frame in v.state.frames:
        for number, reg in enumerate(frame.regs):
            if reg.kind in PACKETS_ANY or reg.flags & PACKET_SLICE:
                frame.regs[number] = lost("a pointer into the packet", v.pc)
        for number, slot in list(frame.stack.items()):
            if slot.reg.kind in PACKETS_ANY or slot.reg.flags & PACKET_SLICE:
                frame.stack[number] = Slot(slot.kinds, lost("a pointer into the packet", v.pc))


def _make_dynptr(v: Walk, call: Call) -> None:
    if call.new_dynptr is not None:
        make_dynptr(v, call.new_dynptr, "ringbuf" if call.number == RINGBUF_RESERVE_DYNPTR else "local")


# Functions of the program ----------------------------------------------------------------------------


def function_call(v: Walk, target: int) -> int:
    """check_func_call."""
    state, caller = v.state, v.frame
    subprogram = v.flow.subprogram_at[target]
    if len(state.frames) >= MAX_FRAMES:
        raise Refused("frames", f"the call stack of {len(state.frames) + 1} frames is too deep", errno=7)
    if v.is_global(subprogram):
        return _global_call(v, subprogram)
    callee = Frame(len(state.frames), subprogram, v.pc)
    callee.regs[1:6] = caller.regs[1:6]
    caller.regs[0:6] = [UNWRITTEN] * 6
    enter(v, callee)
    if v.log.verbose:
        v.log.called(-2)
        v.log.everything()
    return target


def enter(v: Walk, callee: Frame) -> None:
    """A function begins: its frame pointer, an empty stack."""
    callee.regs[10] = Reg(STACK, size=callee.number)
    v.liveness.elsewhere()
    v.state.frames.append(callee)
    v.frame, v.regs = callee, callee.regs


def _global_call(v: Walk, subprogram: int) -> int:
    """btf_check_subprog_call: a function that is judged alone: its arguments fit, r0 is any number."""
    function = v.functions[subprogram]
    try:
        function.check_call(v)
    except Refused as refused:
        caller = f"Caller passes invalid args into func#{subprogram} ('{function.name}')"
        refused.after = f"{refused.after}\n{caller}" if refused.after else caller
        raise
    if v.state.locked:
        message = "global function calls are not allowed while holding a lock,"
        raise Refused("lock", message, errno=22, after="use static function instead")
    if v.log.verbose:
        v.log.say(f"Func#{subprogram} ('{function.name}') is global and assumed valid.")
    v.globals_called.add(subprogram)
    if v.changes_packet(subprogram):
        forget_packet(v)
    v.regs[0] = unknown()
    v.regs[1:6] = [UNWRITTEN] * 5
    return v.pc + 1


def function_exit(v: Walk) -> int:
    """prepare_func_exit: r0 goes to the caller, and the walk goes on there."""
    state, callee = v.state, v.frame
    result = callee.regs[0]
    if v.log.verbose:
        v.log.returning(state)
    state.frames.pop()
    caller = state.frames[-1]
    v.frame, v.regs = caller, caller.regs
    after = callee.callsite
    if callee.callback is None:
        caller.regs[0] = result
        after += 1
    if v.log.verbose:
        v.log.returned(after)
        v.log.nothing()
    if callee.callback is None:
        return after
    before = v.find_entry(state.parent, callee.callsite)
    if before is not None:
        widen(before, state)
    return after


def widen(before: State, now: State) -> None:
    """widen_imprecise_scalars: numbers that changed and never mattered may be anything next time."""
    ids = IdMap()
    for old, new in zip(before.frames, now.frames, strict=False):
        for number, reg in enumerate(new.regs):
            if not old.precise >> number & 1:
                new.regs[number] = _widened(old.regs[number], reg, ids)
        for number, slot in list(new.stack.items()):
            was = old.stack.get(number)
            if was is not None and slot.kinds[0] == 1 == was.kinds[0] and not old.precise_slots >> number & 1:
                wide = _widened(was.reg, slot.reg, ids)
                if wide is not slot.reg:
                    new.stack[number] = Slot(slot.kinds, wide)


def _widened(old: Reg, new: Reg, ids: IdMap) -> Reg:
    if old.kind != SCALAR or new.kind != SCALAR:
        return new
    if old.var is new.var and old.off == new.off and ids.alike(old.id, new.id):
        return new
    return unknown()


def _push_callback(v: Walk, call: Call) -> None:
    """push_callback_call: another path, on which the function is called now."""
    state = v.state
    assert call.function is not None
    name = BY_NUMBER[call.number].name
    if call.number == FOR_EACH and call.map is not None and call.map.type not in ITERABLE:
        message = "callback function not allowed for map"
        raise Refused("map-kind", message, errno=ENOTSUPP, map=call.map.name, helper=call.name)
    asynchronous = call.number == TIMER_SET_CALLBACK
    if v.is_global(call.function):
        raise Refused("callback", "callback function has to be static", errno=22)
    if len(state.frames) >= MAX_FRAMES:
        raise Refused("frames", f"the call stack of {len(state.frames) + 1} frames is too deep", errno=7)
    v.callbacks.add(call.function)
    if asynchronous:
        v.push_async(call)
        return
    caller = v.frame
    if call.number == LOOP:
        if v.pc not in v.not_inlined:  # update_loop_inline_state
            if caller.regs[4].is_null:
                mark_register(v, 4)
            else:
                v.not_inlined.add(v.pc)
        mark_register(v, 1)
        if caller.callback_depth >= caller.regs[1].var.umax:
            caller.callback_depth = 0
            if v.log.verbose:
                v.log.say(f"frame{caller.number} bpf_loop iteration limit reached")
            return
    pushed = v.push(v.flow.subprograms[call.function].start)
    pushed.callback_unroll_depth += 1
    parent = pushed.frames[-1]
    parent.callback_depth += 1
    regs = parent.regs
    callee = Frame(len(pushed.frames), call.function, v.pc)
    callee.callback = name
    callee.regs[10] = Reg(STACK, size=callee.number)
    for number, reg in enumerate(_CALLBACK_ARGUMENTS[call.number](v, call, regs), 1):
        callee.regs[number] = reg
    pushed.frames.append(callee)
    caller.callback_depth = 0
    v.log.everything()


def _loop_arguments(v: Walk, call: Call, regs: list[Reg]) -> tuple[Reg, ...]:
    return (unknown(), regs[3])


def _map_elem_arguments(v: Walk, call: Call, regs: list[Reg]) -> tuple[Reg, ...]:
    return (regs[1], Reg(MAP_KEY, obj=call.map), Reg(MAP_VALUE, obj=call.map), regs[3])


def _vma_arguments(v: Walk, call: Call, regs: list[Reg]) -> tuple[Reg, ...]:
    return (regs[1], Reg(BTF, obj=kernel_struct("vm_area_struct")), regs[4])


def _ringbuf_arguments(v: Walk, call: Call, regs: list[Reg]) -> tuple[Reg, ...]:
    v.ids += 1
    return (Reg(DYNPTR, id=v.ids), regs[3])


_CALLBACK_ARGUMENTS: dict[int, Callable[[Walk, Call, list[Reg]], tuple[Reg, ...]]] = {
    181: _loop_arguments,
    164: _map_elem_arguments,
    180: _vma_arguments,
    209: _ringbuf_arguments,
}
