"""What do types say of a function?  Global functions, which are judged alone (btf_prepare_func_args).

A function that is not static is walked once, by itself: its arguments are then whatever its prototype
allows, and a caller need only pass such; what it returns is any number.  So a large program's work is
the sum of its functions', not the product.  The prototype is BTF's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..bpf.spec import ProgramSpec
from ..errors import ClsbpfError
from .access import check_fixed, kind_name
from .arguments import ANY_CALL, helper_access
from .memory import not_null
from .ranges import UNKNOWN
from .refusal import Refused
from .stack_objects import use_dynptr
from .types import Struct, is_or_begins_with, kernel_btf, kernel_struct
from .values import (
    BTF,
    CTX,
    DYNPTR,
    MAP_KEY,
    MAP_VALUE,
    MAYBE_NULL,
    MEM,
    PACKET,
    PACKET_META,
    RCU,
    RDONLY,
    SCALAR,
    STACK,
    TRUSTED,
    UNTRUSTED,
    Reg,
)

if TYPE_CHECKING:
    from .walk import Walk

_GLOBAL = 1


@dataclass(frozen=True, slots=True)
class Argument:
    """struct bpf_subprog_arg_info.

    `kind`: "number", "context", "memory" of `size` bytes, "dynptr" (not to be changed), "struct" (of the
    kernel's), or "anything": memory that is only read, through loads that cannot fault.
    """

    kind: str
    size: int = 0
    nullable: bool = True
    struct: Struct | None = None
    flags: int = 0


@dataclass(frozen=True, slots=True)
class GlobalFunction:
    """A function that is judged alone: its name and what it takes."""

    name: str
    arguments: tuple[Argument, ...]
    problem: str = ""
    """Why its type will not do, if so."""
    errno: int = 22
    """With which errno that is refused."""

    def parameters(self, v: Walk) -> list[Reg]:
        """What its registers r1… hold when it begins."""
        if self.problem:
            raise Refused("function-type", self.problem, errno=self.errno)
        return [_parameter(v, argument) for argument in self.arguments]

    def check_call(self, v: Walk) -> None:
        """btf_check_func_arg_match: do the caller's registers fit?"""
        if self.problem:
            raise Refused("function-type", self.problem, errno=self.errno)
        for regno, argument in enumerate(self.arguments, 1):
            reg = v.regs[regno]
            if argument.kind == "number":
                if reg.kind != SCALAR:
                    raise Refused("function-argument", f"R{regno} is not a scalar", regno, errno=22)
            elif argument.kind == "context":
                if reg.kind not in _ANY_OFFSET:
                    check_fixed(reg, regno, offset_ok=reg.kind == BTF)
                if reg.kind != CTX:
                    raise Refused(
                        "function-argument", f"arg#{regno - 1} expects pointer to ctx", regno, errno=22
                    )
            elif argument.kind == "dynptr":
                if reg.kind not in _ANY_OFFSET:
                    check_fixed(reg, regno, offset_ok=reg.kind == BTF)
                use_dynptr(v, regno, reg)
            elif argument.kind == "struct":
                _check_struct(v, regno, reg, argument)
            elif argument.kind == "memory":
                _check_memory(v, regno, reg, argument)


def _parameter(v: Walk, argument: Argument) -> Reg:
    match argument.kind:
        case "context":
            return Reg(CTX)
        case "number":
            return Reg(SCALAR, UNKNOWN)
        case "anything" if argument.struct is None:
            return Reg(MEM, flags=RDONLY | UNTRUSTED)
    v.ids += 1
    match argument.kind:
        case "dynptr":
            return Reg(DYNPTR, id=v.ids)
        case "struct" | "anything":
            nullable = bool(argument.flags & MAYBE_NULL)
            return Reg(BTF, obj=argument.struct, flags=argument.flags, id=v.ids if nullable else 0)
        case _:
            flags = MAYBE_NULL if argument.nullable else 0
            return Reg(MEM, flags=flags, id=v.ids, size=argument.size)


def _check_struct(v: Walk, regno: int, reg: Reg, argument: Argument) -> None:
    """check_reg_type of a trusted argument."""
    if reg.is_null and argument.flags & MAYBE_NULL:
        return
    assert argument.struct is not None
    if reg.kind != BTF or reg.flags & ~(argument.flags & MAYBE_NULL) not in (0, TRUSTED, RCU):
        problem = f"R{regno} type={kind_name(reg)} expected=ptr_, trusted_ptr_, rcu_ptr_"
    elif not is_or_begins_with(v, reg.obj, reg.off, argument.struct, strict=False):
        problem = f"R{regno} is of type {reg.obj.name} but {argument.struct.name} is expected"
    else:
        check_fixed(reg, regno, offset_ok=not reg.flags & MAYBE_NULL)
        return
    raise Refused("function-argument", problem, regno)


def _check_memory(v: Walk, regno: int, reg: Reg, argument: Argument) -> None:
    """check_mem_reg: the memory may be read and written as far as the type is large."""
    if reg.is_null:
        return
    if reg.kind not in _ANY_OFFSET or reg.flags & MAYBE_NULL:
        check_fixed(reg, regno, offset_ok=reg.kind == BTF)
    v.regs[regno] = not_null(reg) if reg.flags & MAYBE_NULL else reg
    try:
        for write in (False, True):
            helper_access(v, ANY_CALL, regno, argument.size, write=write, zero=True, raw=False)
    except Refused as refused:
        refused.errno = 22
        raise
    finally:
        v.regs[regno] = reg
    if not argument.nullable and reg.flags & MAYBE_NULL:
        message = f"arg#{regno - 1} is expected to be non-NULL"
        raise Refused("null-check", message, regno, errno=22, of=kind_name(reg))


_ANY_OFFSET = frozenset({SCALAR, STACK, PACKET, PACKET_META, MAP_KEY, MAP_VALUE, MEM})


def global_functions(
    spec: ProgramSpec, btf: Any, subprograms: Mapping[int, int]
) -> dict[int, GlobalFunction]:
    """By subprogram: those that BTF calls global.  Without BTF all are static."""
    if btf is None:
        return {}
    found = {}
    for info in spec.func_info:
        index = subprograms.get(info.insn)
        if not index or not info.type_id:
            continue
        function = btf[info.type_id]
        if getattr(function, "linkage", 0) == _GLOBAL:
            found[index] = _described(btf, function)
    return found


def _described(btf: Any, function: Any) -> GlobalFunction:
    proto = btf[function.proto]
    tags: dict[int, set[str]] = {}
    for id in range(1, len(btf)):
        tag = btf[id]
        if type(tag).__name__ == "DeclTag" and tag.target == function.id:
            tags.setdefault(tag.component, set()).add(tag.name)
    if len(proto.params) > 5:
        return GlobalFunction(
            function.name,
            (),
            f"Global function {function.name}() with {len(proto.params)} > 5 args. Buggy compiler.",
        )
    result = btf.resolve(proto.result) if proto.result else None
    if type(result).__name__ not in ("Int", "Enum"):
        return GlobalFunction(
            function.name,
            (),
            f"Global function {function.name}() doesn't return scalar. Only those are supported.",
        )
    arguments = []
    for number, param in enumerate(proto.params):
        argument = _argument(btf, param.type, tags.get(number, set()))
        if isinstance(argument, str):
            kind = type(btf.resolve(param.type)).__name__.lower()
            why = argument or f"type {kind} in {function.name}() is not supported yet."
            errno = 2 if why.endswith(_NO_MATCH) else 22
            return GlobalFunction(function.name, (), f"arg#{number} {why}", errno)
        arguments.append(argument)
    return GlobalFunction(function.name, tuple(arguments))


_NO_MATCH = "has no matches"


def _argument(btf: Any, id: int, tags: set[str]) -> Argument | str:
    """One of btf_prepare_func_args; in words why not."""
    tags = {tag.removeprefix("arg:") for tag in tags if tag.startswith("arg:")}
    kind = btf.resolve(id)
    name = type(kind).__name__
    if name != "Ptr":
        if tags:
            return "has pointer tag, but is not a pointer type"
        return Argument("number") if name in ("Int", "Enum") else ""
    wrong = "has invalid combination of tags"
    target = btf.resolve(kind.target) if kind.target else None
    target_name = getattr(target, "name", "")
    if "ctx" in tags or (target_name == "__sk_buff" and hasattr(target, "members")):
        return wrong if tags - {"ctx"} else Argument("context")
    if target_name == "bpf_dynptr":
        return wrong if tags else Argument("dynptr")
    if "trusted" in tags:
        struct = kernel_struct(target_name.split("___")[0])
        if "nonnull" in tags:
            return wrong
        if kernel_btf() is not None and not (struct.id and hasattr(target, "members")):
            what = type(target).__name__.upper().replace("COMPOSITE", "STRUCT") if target else "UNKNOWN"
            return f"reference type('{what} {target_name}') {_NO_MATCH}"
        return Argument("struct", struct=struct, flags=TRUSTED | (MAYBE_NULL if "nullable" in tags else 0))
    if "untrusted" in tags:
        if tags != {"untrusted"}:
            return wrong
        if not hasattr(target, "members"):
            return Argument("anything")
        return Argument("anything", struct=kernel_struct(target_name.split("___")[0]), flags=UNTRUSTED)
    if "nullable" in tags:
        return wrong
    try:
        size = btf.size_of(kind.target)
    except ClsbpfError:
        kind_of = "UNKNOWN" if target is None else type(target).__name__.upper()
        return f"reference type('{kind_of} {target_name}') size cannot be determined: -22"
    return Argument("memory", size, "nonnull" not in tags)
