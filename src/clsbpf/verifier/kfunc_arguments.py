"""May a kernel function be called with these arguments?  check_kfunc_args.

What an argument must be follows from the prototype (`bpf.kfuncs`): first which kind of argument it is
(`_kind_of`, get_kfunc_ptr_arg_type; it depends on what the register holds, too), then the kind's rule,
which refuses or notes in the `KfuncCall` what later arguments and the result need.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..bpf.kfuncs import ITERATOR_BYTES, PLAIN_STRUCT_BYTES, SCALAR_BYTES, Kfunc, KfuncParam
from ..bpf.spec import MapSpec
from .access import check_fixed, kind_name
from .arguments import ANY_CALL, MAX_VAR_SIZE, check_constant_string, helper_access
from .fields import SpecialField, field_named, fields_of, has_field
from .locks import check_lock_of, spin_lock
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
from .state import RES_LOCK, RES_LOCK_IRQ, Frame
from .types import Struct, is_or_begins_with, kernel_struct
from .values import (
    ALLOC,
    BTF,
    CTX,
    FUNC,
    MAP_PTR,
    MAP_VALUE,
    MAYBE_NULL,
    NON_OWNING,
    NOT_INIT,
    PERCPU,
    RCU,
    SCALAR,
    SOCK_COMMON,
    SOCKET,
    STACK,
    TCP_SOCK,
    TRUSTED,
    Reg,
    clone,
    mark_precise,
)

if TYPE_CHECKING:
    from .walk import Walk

AS_STRUCT = {SOCKET: "sock", SOCK_COMMON: "sock_common", TCP_SOCK: "tcp_sock", MAP_PTR: "bpf_map"}
"""reg2btf_ids: pointers that are as good as one to a structure of the kernel's."""
_TRUSTED_FLAGS = ALLOC | TRUSTED | NON_OWNING
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


@dataclass(slots=True)
class KfuncCall:
    """struct bpf_kfunc_call_arg_meta: what was learned of a call from its arguments."""

    kfunc: Kfunc
    constant: int | None = None
    ref: int = 0
    release: int = 0
    """The register whose object is given back."""
    dynptr: Reg | None = None
    new_dynptr: Reg | None = None
    iterator: tuple[Frame, int] | None = None
    map: MapSpec | None = None
    map_uid: int = 0
    function: int | None = None
    struct: Struct | None = None
    """What argument 1 points to, where the result is the same."""
    owning: bool = False
    graph: SpecialField | None = None
    """The list's head or the tree's root."""
    kinds: list[str] = field(default_factory=list)


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


def is_trusted(reg: Reg) -> bool:
    """is_trusted_reg."""
    if reg.ref:
        return True
    unsafe = reg.flags & ~_TRUSTED_FLAGS
    return not unsafe and (reg.kind in AS_STRUCT or bool(reg.flags & _TRUSTED_FLAGS))


def _check(v: Walk, call: KfuncCall, number: int) -> int:
    """One argument; how many it took (memory and its size are two)."""
    kfunc, regno = call.kfunc, number + 1
    param, reg = kfunc.params[number], v.regs[regno]
    if param.ends("__prog") or param.ends("__ign"):
        return 1
    if not param.pointer:
        _number(call, regno, reg, param)
        return 1
    flags = kfunc.flags
    if (
        flags & {"trusted", "rcu"}
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
    if kind in ("map", "object", "struct") and flags & {"trusted", "rcu"} and not is_trusted(reg):
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
    if reg.kind not in _ANY_OFFSET:
        if reg.kind == NOT_INIT:
            raise Refused("unwritten", f"R{regno} !read_ok", regno)
        check_fixed(reg, regno, offset_ok=reg.kind == BTF)
    return _RULES[kind](v, call, number, regno, reg) or 1


_ANY_OFFSET = frozenset({SCALAR, STACK, MAP_VALUE, 5, 7, 8, 13})


def _number(call: KfuncCall, regno: int, reg: Reg, param: KfuncParam) -> None:
    if reg.kind != SCALAR:
        raise Refused("argument-kind", f"R{regno} is not a scalar", regno, errno=22, of=kind_name(reg),
                      expected="a number", helper=call.kfunc.name)  # fmt: skip
    if param.ends("__k"):
        _constant(call, regno, reg)


def _constant(call: KfuncCall, regno: int, reg: Reg) -> None:
    if reg.var.const is None:
        raise Refused("constant", f"R{regno} must be a known constant", regno, errno=22)
    mark_precise(reg)
    call.constant = reg.var.const


def _kind_of(v: Walk, call: KfuncCall, number: int) -> str:
    """get_kfunc_ptr_arg_type."""
    kfunc = call.kfunc
    param, reg = kfunc.params[number], v.regs[number + 1]
    if kfunc.name == "bpf_cast_to_kern_ctx":
        return "context"
    sized = number + 1 < len(kfunc.params) and kfunc.params[number + 1].name.endswith(("__sz", "__szk"))
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
                f"kernel function {kfunc.name} args#{number} pointer type {param.type} is not supported",
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
        raise Refused(
            "argument-kind",
            f"arg#{number} pointer type STRUCT {param.type} must point to scalar, or struct with scalar",
            number + 1,
            errno=22,
            of=kind_name(reg),
            expected=f"a pointer to struct {param.type}",
            helper=kfunc.name,
        )
    return "sized memory" if sized else "memory"


# The rules -------------------------------------------------------------------------------------------


def _context(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
    if reg.kind != CTX:
        raise _other(call, number, reg, f"expected pointer to ctx, but got {kind_name(reg)}")


def _other(call: KfuncCall, number: int, reg: Reg, expected: str) -> Refused:
    return Refused(
        "argument-kind",
        f"arg#{number} {expected}",
        number + 1,
        errno=22,
        of=kind_name(reg),
        expected=expected.removeprefix("expected "),
        helper=call.kfunc.name,
    )


def _object(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
    name = call.kfunc.name
    percpu = reg.flags & PERCPU
    if reg.kind != BTF or reg.flags & ~PERCPU != ALLOC:
        raise _other(call, number, reg, "expected pointer to allocated object")
    if bool(percpu) != (name == "bpf_percpu_obj_drop_impl"):
        wanted = "bpf_percpu_obj_drop_impl" if percpu else "bpf_obj_drop_impl"
        raise _other(call, number, reg, f"expected for {wanted}()")
    if not reg.ref:
        raise Refused("release", "allocated object must be referenced", regno, errno=22, helper=name)
    call.struct = reg.obj


def _counted(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
    if reg.kind != BTF or reg.flags & ~(NON_OWNING | RCU) != ALLOC:
        raise _other(call, number, reg, "is neither owning or non-owning ref")
    call.owning = not reg.flags & NON_OWNING
    if field_named(v, reg, "bpf_refcount") is None:
        raise _other(call, number, reg, "doesn't point to a type with bpf_refcount field")
    call.struct = reg.obj


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
        raise _other(call, number, reg, "expected pointer to an iterator on stack")
    if kfunc.iterator == "new":
        new_iterator(v, regno, reg, type, RCU if "rcu-protected" in kfunc.flags else 0)
        return
    call.iterator = iterator_at(v, regno, reg, type)
    frame, place = call.iterator
    call.ref = frame.stack[place].reg.ref
    if kfunc.iterator == "destroy":
        destroy_iterator(v, frame, place)


def _graph_root(name: str) -> Callable[[Walk, KfuncCall, int, int, Reg], None]:
    def rule(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
        """process_kf_arg_ptr_to_graph_root."""
        _map_value_or_object(call, number, reg, "expected pointer to map value or allocated object")
        if reg.kind == BTF and not reg.ref:
            raise Refused("release", "allocated object must be referenced", regno, errno=22, helper="")
        if reg.var.mask:
            raise Refused(
                "constant",
                f"R{regno} doesn't have constant offset. {name} has to be at the constant offset",
                regno,
                errno=22,
            )
        at = reg.off + reg.var.smin
        found = next((f for f in fields_of(v, reg) if f.name == name and f.offset == at), None)
        if found is None:
            raise Refused("special-field", f"{name} not found at offset={at}", regno, errno=22, field=name)
        if not v.state.locked:
            raise Refused("lock", f"bpf_spin_lock must be held for {name}", regno, errno=22)
        check_lock_of(v, reg)
        call.graph = found

    return rule


def _map_value_or_object(call: KfuncCall, number: int, reg: Reg, expected: str) -> None:
    value = reg.kind == MAP_VALUE and not reg.flags
    if not value and not (reg.kind == BTF and reg.flags == ALLOC):
        raise _other(call, number, reg, expected)


def _graph_node(name: str) -> Callable[[Walk, KfuncCall, int, int, Reg], None]:
    def rule(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
        """__process_kf_arg_ptr_to_graph_node."""
        adds = "push" in call.kfunc.name or "add" in call.kfunc.name
        if adds:
            if reg.kind != BTF or reg.flags != ALLOC:
                raise _other(call, number, reg, "expected pointer to allocated object")
            if not reg.ref:
                raise Refused("release", "allocated object must be referenced", regno, errno=22, helper="")
        else:
            if not reg.flags & NON_OWNING and not reg.ref:
                raise Refused(
                    "argument-kind",
                    f"{call.kfunc.name} can only take non-owning or refcounted bpf_rb_node pointer",
                    regno, errno=22, of=kind_name(reg), expected="a node", helper=call.kfunc.name,
                )  # fmt: skip
            if in_tree_callback(v):
                raise Refused("callback", f"{call.kfunc.name} not allowed in rbtree cb", regno, errno=22)
        if reg.var.mask:
            raise Refused(
                "constant",
                f"R{regno} doesn't have constant offset. {name} has to be at the constant offset",
                regno,
                errno=22,
            )
        at = reg.off + reg.var.smin
        root = call.graph
        there = any(f.name == name and f.offset == at for f in fields_of(v, reg))
        if not there:
            raise Refused("special-field", f"{name} not found at offset={at}", regno, errno=22, field=name)
        if root is None or root.target != reg.obj or at != root.node:
            raise Refused(
                "special-field",
                f"operation on {root.name if root else name} expects arg#1 {name}"
                f" at offset={root.node if root else 0}"
                f" in struct {root.target if root else '?'}, but arg is at offset={at} in struct {reg.obj}",
                regno,
                errno=22,
                field=name,
            )
        call.struct = reg.obj

    return rule


def in_tree_callback(v: Walk) -> bool:
    """in_rbtree_lock_required_cb."""
    return v.frame.callback == "bpf_rbtree_add_impl" and v.state.locked


def _map(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
    if reg.kind != MAP_PTR:
        raise Refused("argument-kind", f"pointer in R{regno} isn't map pointer", regno, errno=22,
                      of=kind_name(reg), expected="a map", helper=call.kfunc.name)  # fmt: skip
    spec: MapSpec = reg.obj
    special = has_field(spec, "bpf_wq") or has_field(spec, "bpf_task_work")
    if call.map is not None and special and (call.map is not spec or call.map_uid != reg.uid):
        raise Refused(
            "timer",
            f"workqueue pointer in R1 map_uid={call.map_uid}"
            f" doesn't match map pointer in R{regno} map_uid={reg.uid}",
            regno,
            errno=22,
        )
    call.map, call.map_uid = spec, reg.uid


def _struct(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
    """process_kf_arg_ptr_to_btf_id."""
    wanted = kernel_struct(call.kfunc.params[number].type)
    unsafe = reg.flags & ~_TRUSTED_FLAGS
    untrusted = reg.kind == BTF and unsafe and not reg.flags & RCU
    if (reg.kind != BTF and reg.kind not in AS_STRUCT) or untrusted:
        raise _other(call, number, reg, f"is {kind_name(reg)} expected {wanted.name} or socket")
    have: Struct = reg.obj if reg.kind == BTF else kernel_struct(AS_STRUCT[reg.kind])
    strict = ("release" in call.kfunc.flags and bool(reg.ref)) or _are_aliases(have.name, wanted.name)
    projection = wanted.name == "__sk_buff" and have.name == "sk_buff"
    if not projection and not is_or_begins_with(v, have, reg.off, wanted, strict=strict):
        raise Refused(
            "argument-kind",
            f"kernel function {call.kfunc.name} args#{number} expected pointer to STRUCT {wanted.name}"
            f" but R{regno} has a pointer to STRUCT {have.name}",
            regno,
            errno=22,
            of=f"a pointer to struct {have.name}",
            expected=f"a pointer to struct {wanted.name}",
            helper=call.kfunc.name,
        )


def _are_aliases(one: str, other: str) -> bool:
    """btf_type_ids_nocast_alias: one is the other before its initialisation."""
    return one != other and one.removesuffix("___init") == other.removesuffix("___init")


def _as_not_null(v: Walk, regno: int, reg: Reg) -> None:
    if reg.flags & MAYBE_NULL:
        v.regs[regno] = clone(reg)
        v.regs[regno].flags &= ~MAYBE_NULL


def _memory(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
    """check_mem_reg."""
    type = call.kfunc.params[number].type
    size = SCALAR_BYTES.get(type) or PLAIN_STRUCT_BYTES[type]
    if reg.is_null:
        return
    _as_not_null(v, regno, reg)
    try:
        for write in (False, True):
            helper_access(v, ANY_CALL, regno, size, write=write, zero=True, raw=False)
    finally:
        v.regs[regno] = reg


def _sized_memory(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> int:
    """check_kfunc_mem_size_reg; the size is the next argument."""
    size = v.regs[regno + 1]
    param, size_param = call.kfunc.params[number : number + 2]
    if not (reg.is_null and param.name.endswith(("__opt", "__nullable"))):
        _as_not_null(v, regno, reg)
        try:
            check_size(v, regno, size)
        finally:
            v.regs[regno] = reg
    if size_param.ends("__szk"):
        _constant(call, regno + 1, size)
    return 2


def check_size(v: Walk, regno: int, size: Reg) -> None:
    """check_mem_size_reg, for reading and writing: as much memory as the next register says."""
    if size.kind == NOT_INIT or size.var.smin < 0:
        raise Refused(
            "negative-size",
            f"R{regno + 1} min value is negative, either use unsigned or 'var &= const'",
            regno + 1,
            smin=size.var.smin,
        )
    if size.var.umax >= MAX_VAR_SIZE:
        raise Refused(
            "unbounded-size",
            f"R{regno + 1} unbounded memory access, use 'var &= const' or 'if (var < const)'",
            regno + 1,
            umax=size.var.umax,
        )
    for write in (False, True):
        helper_access(v, ANY_CALL, regno, size.var.umax, write=write, zero=True, raw=False)
    mark_precise(size)


def _callback(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
    if reg.kind != FUNC:
        raise _other(call, number, reg, "expected pointer to func")
    call.function = reg.obj


def _string(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
    if reg.kind != MAP_VALUE:
        raise _other(call, number, reg, "doesn't point to a const string")
    check_constant_string(regno, reg)


def _in_map_value(name: str) -> Callable[[Walk, KfuncCall, int, int, Reg], None]:
    def rule(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
        """check_map_field_pointer."""
        if reg.kind != MAP_VALUE:
            raise _other(call, number, reg, "doesn't point to a map value")
        if reg.var.mask:
            raise Refused(
                "constant",
                f"R{regno} doesn't have constant offset. {name} has to be at the constant offset",
                regno,
                errno=22,
            )
        place = field_named(v, reg, name)
        if place is None or place.offset != reg.off + reg.var.smin:
            raise Refused(
                "special-field",
                f"off {reg.off + reg.var.smin} doesn't point to 'struct {name}'"
                + (f" that is at {place.offset}" if place else ""),
                regno,
                field=name,
                errno=22,
            )
        call.map, call.map_uid = reg.obj, reg.uid

    return rule


def _flag(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
    if reg.kind != STACK:
        raise _other(call, number, reg, "doesn't point to an irq flag on stack")
    name = call.kfunc.name
    act = save_flags if name in ("bpf_local_irq_save", "bpf_res_spin_lock_irqsave") else restore_flags
    act(v, regno, reg, of_lock="spin" in name)


def _lock(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
    _map_value_or_object(call, number, reg, "doesn't point to map value or allocated object")
    name = call.kfunc.name
    spin_lock(v, regno, reg, RES_LOCK_IRQ if "irq" in name else RES_LOCK, take="unlock" not in name)


_RULES: dict[str, Callable[[Walk, KfuncCall, int, int, Reg], int | None]] = {
    "context": _context,
    "object": _object,
    "counted": _counted,
    "dynptr": _dynptr,
    "iterator": _iterator,
    "list head": _graph_root("bpf_list_head"),
    "tree root": _graph_root("bpf_rb_root"),
    "list node": _graph_node("bpf_list_node"),
    "tree node": _graph_node("bpf_rb_node"),
    "map": _map,
    "struct": _struct,
    "memory": _memory,
    "sized memory": _sized_memory,
    "callback": _callback,
    "string": _string,
    "workqueue": _in_map_value("bpf_wq"),
    "task work": _in_map_value("bpf_task_work"),
    "flag": _flag,
    "lock": _lock,
}
