"""May a kernel function be called with these arguments?  check_kfunc_args.

What an argument must be follows from the prototype (`bpf.kfuncs`): first which kind of argument it is
(`_kind_of`, get_kfunc_ptr_arg_type; it depends on what the register holds, too), then the kind's rule,
which refuses or notes in the `KfuncCall` what later arguments and the result need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..bpf.kfuncs import ITERATOR_BYTES, PLAIN_STRUCT_BYTES, SCALAR_BYTES, KfuncParam
from .access import check_fixed, kind_name
from .kfunc_call import AS_STRUCT, KfuncCall, Rule, is_trusted, known_number, wrong_argument
from .kfunc_memory import (
    field_of_map_value,
    map_argument,
    memory_argument,
    sized_memory_argument,
    string_argument,
    struct_argument,
)
from .kfunc_objects import (
    check_map_value_or_object,
    counted_argument,
    graph_node,
    graph_root,
    object_argument,
)
from .locks import spin_lock
from .precision import mark_register
from .refusal import Refused
from .stack_objects import (
    check_new_dynptr,
    destroy_iterator,
    iterator_at,
    new_iterator,
    restore_flags,
    save_flags,
    use_dynptr,
)
from .state import RES_LOCK, RES_LOCK_IRQ
from .values import (
    ALLOC,
    BTF,
    CTX,
    FUNC,
    MAP_KEY,
    MAP_VALUE,
    MAYBE_NULL,
    MEM,
    NON_OWNING,
    NOT_INIT,
    PACKET,
    PACKET_META,
    RCU,
    RDONLY,
    RINGBUF,
    SCALAR,
    STACK,
    TRUSTED,
    Reg,
)

if TYPE_CHECKING:
    from .walk import Walk

_CONTEXTS = {"__sk_buff": True, "xdp_md": False}
_BY_TYPE = {
    "bpf_list_head": "list head",
    "bpf_list_node": "list node",
    "bpf_rb_root": "tree root",
    "bpf_rb_node": "tree node",
    "bpf_wq": "workqueue",
    "bpf_task_work": "task work",
    "bpf_res_spin_lock": "lock",
    "bpf_dynptr": "dynptr",
}


def check_kfunc_arguments(v: Walk, call: KfuncCall) -> None:
    """check_kfunc_args for all arguments in turn."""
    params = call.kfunc.params
    number = 0
    while number < len(params):
        number += _check(v, call, number)
    if "release" in call.kfunc.flags and not call.release:
        raise Refused(
            "release",
            f"release kernel function {call.kfunc.name} expects refcounted PTR_TO_BTF_ID",
            errno=22,
            helper=call.kfunc.name,
        )


def _check(v: Walk, call: KfuncCall, number: int) -> int:
    """One argument; how many it took (memory and its size are two)."""
    kfunc, regno = call.kfunc, number + 1
    param, reg = kfunc.params[number], v.regs[regno]
    if param.ends("__prog") or param.ends("__ign"):
        return 1
    if not param.pointer:
        _number(v, call, regno, reg, param)
        return 1
    flags = kfunc.flags
    trusted = bool(flags & {"trusted", "release"})
    if (
        (trusted or "rcu" in flags)
        and (reg.is_null or reg.flags & MAYBE_NULL)
        and not param.ends("__nullable")
    ):
        raise Refused(
            "null-check",
            f"Possibly NULL pointer passed to trusted arg{number}",
            regno,
            of=kind_name(reg),
        )
    if reg.ref:
        call.ref = reg.ref
        if "release" in flags:
            call.release = regno
    kind = _kind_of(v, call, number)
    if kind == "nothing":
        return 1
    if kind in ("map", "object", "struct") and (trusted or "rcu" in flags) and not is_trusted(reg):
        if "rcu" not in flags:
            raise Refused("trust", f"R{regno} must be referenced or trusted", regno, errno=22)
        if not reg.flags & RCU:
            raise Refused("trust", f"R{regno} must be a rcu pointer", regno, errno=22)
    if "release" in flags and reg.ref and reg.off:
        raise Refused(
            "modified-pointer",
            f"R{regno} must have zero offset when passed to release func or trusted arg to kfunc",
            regno,
            off=reg.off,
            errno=22,
        )
    _check_offset(reg, regno)
    return _RULES[kind](v, call, number, regno, reg) or 1


def _check_offset(reg: Reg, regno: int) -> None:
    """check_func_arg_reg_off: to which pointers may something have been added?"""
    if reg.kind == NOT_INIT:
        raise Refused("unwritten", f"R{regno} !read_ok", regno)
    if reg.flags not in _ANY_OFFSET.get(reg.kind, ()):
        check_fixed(reg, regno, offset_ok=reg.kind == BTF and reg.flags in _FIXED_OFFSET)


_PLAIN = frozenset({0})
_ANY_OFFSET = {
    **dict.fromkeys((SCALAR, STACK, PACKET, PACKET_META, MAP_KEY, MAP_VALUE), _PLAIN),
    MEM: frozenset({0, RDONLY, RINGBUF}),
}
_FIXED_OFFSET = frozenset({0, ALLOC, TRUSTED, RCU, ALLOC | NON_OWNING, ALLOC | NON_OWNING | RCU})
"""Flags of structures' pointers of which a member may be passed."""


def _number(v: Walk, call: KfuncCall, regno: int, reg: Reg, param: KfuncParam) -> None:
    if reg.kind != SCALAR:
        raise Refused("argument-kind", f"R{regno} is not a scalar", regno, errno=22, of=kind_name(reg),
                      expected="a number", helper=call.kfunc.name)  # fmt: skip
    if param.ends("__k"):
        known_number(call, regno, reg)
        mark_register(v, regno)


def _kind_of(v: Walk, call: KfuncCall, number: int) -> str:
    """get_kfunc_ptr_arg_type."""
    kfunc = call.kfunc
    param, reg = kfunc.params[number], v.regs[number + 1]
    if kfunc.name == "bpf_cast_to_kern_ctx":
        return "context"
    sized = (
        number + 1 < len(kfunc.params)
        and kfunc.params[number + 1].name.endswith(("__sz", "__szk"))
        and v.regs[number + 2].kind == SCALAR
    )
    if _CONTEXTS.get(param.type):
        return "context"
    if param.ends("__nullable") and reg.is_null and not sized:
        return "nothing"
    for suffix, kind in (("__alloc", "object"), ("__refcounted_kptr", "counted"), ("__str", "string"),
                         ("__map", "map"), ("__irq_flag", "flag")):  # fmt: skip
        if param.ends(suffix):
            return kind
    if param.type in ITERATOR_BYTES:
        return "iterator"
    if param.type in _BY_TYPE:
        return _BY_TYPE[param.type]
    plain = param.type in SCALAR_BYTES or param.type == "void" or param.type == "function"
    if reg.kind == BTF or reg.kind in AS_STRUCT:
        if plain:
            raise Refused(
                "argument-kind",
                f"kernel function {kfunc.name} args#{number}"
                f" pointer type {_in_btf(param.type)} is not supported",
                number + 1,
                errno=22,
                of=kind_name(reg),
                expected=f"a pointer to {param.type}",
                helper=kfunc.name,
            )
        return "struct"
    if param.type == "function":
        return "callback"
    scalar = param.type in SCALAR_BYTES or param.type in PLAIN_STRUCT_BYTES
    if not scalar and not (sized and param.type == "void"):
        too_deep = "max struct nesting depth exceeded\n" if param.type in _DEEP else ""
        raise Refused(
            "argument-kind",
            f"{too_deep}arg#{number} pointer type {_in_btf(param.type)} must point to "
            f"{'void, ' if sized else ''}scalar, or struct with scalar",
            number + 1,
            errno=22,
            of=kind_name(reg),
            expected="memory with a size" if param.type == "void" else f"a pointer to struct {param.type}",
            helper=kfunc.name,
        )
    return "sized memory" if sized else "memory"


_DEEP = frozenset({"nf_conn", "nf_conn___init"})
"""Structures that nest deeper than the kernel looks for numbers."""


def _in_btf(type: str) -> str:
    """A type of the kernel's functions as its log names it: void has no name."""
    if type == "void":
        return "UNKNOWN "
    return type if type in SCALAR_BYTES else f"STRUCT {type}"


# The rules -------------------------------------------------------------------------------------------


def _context(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
    if reg.kind != CTX:
        raise wrong_argument(call, number, reg, f"expected pointer to ctx, but got {kind_name(reg)}")


def _dynptr(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
    if call.kfunc.params[number].ends("__uninit"):
        check_new_dynptr(v, regno, reg)
        call.new_dynptr = reg
        return
    held = use_dynptr(v, regno, reg)
    call.dynptr = held


def _iterator(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
    kfunc = call.kfunc
    type = kfunc.params[number].type
    if kfunc.name == "bpf_iter_css_task_new":
        raise Refused(
            "helper",
            "css_task_iter is only allowed in bpf_lsm, bpf_iter and sleepable progs",
            errno=22,
            helper=kfunc.name,
        )
    if reg.kind != STACK:
        raise wrong_argument(call, number, reg, "expected pointer to an iterator on stack")
    if kfunc.iterator == "new":
        new_iterator(v, regno, reg, type, RCU if "rcu-protected" in kfunc.flags else 0)
        return
    call.iterator = iterator_at(v, regno, reg, type, kfunc.name)
    frame, place = call.iterator
    call.ref = frame.stack[place].reg.ref
    if kfunc.iterator == "destroy":
        destroy_iterator(v, frame, place)


def _callback(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
    if reg.kind != FUNC:
        raise wrong_argument(call, number, reg, "expected pointer to func")
    call.function = reg.obj


def _flag(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
    if reg.kind != STACK:
        raise wrong_argument(call, number, reg, "doesn't point to an irq flag on stack")
    name = call.kfunc.name
    act = save_flags if name in ("bpf_local_irq_save", "bpf_res_spin_lock_irqsave") else restore_flags
    act(v, regno, reg, of_lock="spin" in name)


def _lock(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
    check_map_value_or_object(call, number, reg, "doesn't point to map value or allocated object")
    name = call.kfunc.name
    spin_lock(v, regno, reg, RES_LOCK_IRQ if "irq" in name else RES_LOCK, take="unlock" not in name)


_RULES: dict[str, Rule] = {
    "context": _context,
    "object": object_argument,
    "counted": counted_argument,
    "dynptr": _dynptr,
    "iterator": _iterator,
    "list head": graph_root("bpf_list_head"),
    "tree root": graph_root("bpf_rb_root"),
    "list node": graph_node("bpf_list_node"),
    "tree node": graph_node("bpf_rb_node"),
    "map": map_argument,
    "struct": struct_argument,
    "memory": memory_argument,
    "sized memory": sized_memory_argument,
    "callback": _callback,
    "string": string_argument,
    "workqueue": field_of_map_value("bpf_wq"),
    "task work": field_of_map_value("bpf_task_work"),
    "flag": _flag,
    "lock": _lock,
}
