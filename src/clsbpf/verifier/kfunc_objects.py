"""What must an object be that a kernel function gets?  bpf_obj_new's, lists, trees, counted objects.

The program allocates objects of its own structures.  It owns one until it drops it or hands it to a list
or tree; it may look on at what such a one holds as long as the lock beside it is held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .access import kind_name
from .fields import field_named, fields_of
from .kfunc_call import KfuncCall, Rule, wrong_argument
from .locks import check_lock_of
from .refusal import Refused
from .values import ALLOC, BTF, MAP_VALUE, NON_OWNING, PERCPU, RCU, Reg

if TYPE_CHECKING:
    from .walk import Walk


def object_argument(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
    name = call.kfunc.name
    percpu = reg.flags & PERCPU
    if reg.kind != BTF or reg.flags & ~PERCPU != ALLOC:
        raise wrong_argument(call, number, reg, "expected pointer to allocated object")
    if bool(percpu) != (name == "bpf_percpu_obj_drop_impl"):
        wanted = "bpf_percpu_obj_drop_impl" if percpu else "bpf_obj_drop_impl"
        raise wrong_argument(call, number, reg, f"expected for {wanted}()")
    if not reg.ref:
        raise Refused("release", "allocated object must be referenced", regno, errno=22, helper=name)
    call.struct = reg.obj


def counted_argument(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
    if reg.kind != BTF or reg.flags & ~(NON_OWNING | RCU) != ALLOC:
        raise wrong_argument(call, number, reg, "is neither owning or non-owning ref")
    call.owning = not reg.flags & NON_OWNING
    if field_named(v, reg, "bpf_refcount") is None:
        raise wrong_argument(call, number, reg, "doesn't point to a type with bpf_refcount field")
    call.struct = reg.obj


def graph_root(name: str) -> Rule:
    def rule(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
        """process_kf_arg_ptr_to_graph_root."""
        check_map_value_or_object(call, number, reg, "expected pointer to map value or allocated object")
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
        check_lock_of(v, reg, name)
        call.graph = found

    return rule


def check_map_value_or_object(call: KfuncCall, number: int, reg: Reg, expected: str) -> None:
    value = reg.kind == MAP_VALUE and not reg.flags
    if not value and not (reg.kind == BTF and reg.flags == ALLOC):
        raise wrong_argument(call, number, reg, expected)


def graph_node(name: str) -> Rule:
    def rule(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
        """__process_kf_arg_ptr_to_graph_node."""
        adds = "push" in call.kfunc.name or "add" in call.kfunc.name
        if adds:
            if reg.kind != BTF or reg.flags != ALLOC:
                raise wrong_argument(call, number, reg, "expected pointer to allocated object")
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
