"""What memory, map or structure of the kernel's may a kernel function get?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..bpf.kfuncs import PLAIN_STRUCT_BYTES, SCALAR_BYTES
from ..bpf.spec import MapSpec
from .access import kind_name
from .arguments import ANY_CALL, MAX_VAR_SIZE, check_constant_string, check_field_place, helper_access
from .fields import has_field
from .kfunc_call import AS_STRUCT, TRUSTED_FLAGS, KfuncCall, Rule, known_number, wrong_argument
from .memory import not_null
from .precision import mark_register
from .refusal import Refused
from .types import Struct, is_or_begins_with, kernel_struct
from .values import (
    ALLOC,
    BTF,
    MAP_PTR,
    MAP_VALUE,
    MAYBE_NULL,
    NON_OWNING,
    NOT_INIT,
    RCU,
    TRUSTED,
    Reg,
)

if TYPE_CHECKING:
    from .walk import Walk


def map_argument(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
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


_TRUSTED_MODIFIERS = ALLOC | TRUSTED | NON_OWNING


def struct_argument(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
    """process_kf_arg_ptr_to_btf_id."""
    wanted = kernel_struct(call.kfunc.params[number].type)
    unsafe = reg.flags & ~TRUSTED_FLAGS
    untrusted = reg.kind == BTF and unsafe and not reg.flags & RCU
    if (reg.kind != BTF and reg.kind not in AS_STRUCT) or untrusted:
        expected = kind_name(reg.but(flags=reg.flags & _TRUSTED_MODIFIERS))
        raise wrong_argument(call, number, reg, f"is {kind_name(reg)} expected {expected} or socket")
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
        v.regs[regno] = not_null(reg)


def memory_argument(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
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


def sized_memory_argument(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> int:
    """check_kfunc_mem_size_reg; the size is the next argument."""
    size = v.regs[regno + 1]
    param, size_param = call.kfunc.params[number : number + 2]
    if not (reg.is_null and param.name.endswith(("__opt", "__nullable"))):
        _as_not_null(v, regno, reg)
        try:
            check_size(v, regno, size)
        except Refused as refused:
            pair = f"arg#{number} arg#{number + 1} memory, len pair leads to invalid memory access"
            refused.after = "\n".join(filter(None, (refused.after, pair)))
            raise
        finally:
            v.regs[regno] = reg
    if size_param.ends("__szk"):
        known_number(call, regno + 1, size)
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
        mark_register(v, regno + 1)


def string_argument(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
    if reg.kind != MAP_VALUE:
        raise wrong_argument(call, number, reg, "doesn't point to a const string")
    check_constant_string(regno, reg)


def field_of_map_value(name: str) -> Rule:
    def rule(v: Walk, call: KfuncCall, number: int, regno: int, reg: Reg) -> None:
        if reg.kind != MAP_VALUE or reg.flags & MAYBE_NULL:
            raise wrong_argument(call, number, reg, "doesn't point to a map value")
        check_field_place(v, regno, reg, name)
        call.map, call.map_uid = reg.obj, reg.uid

    return rule
