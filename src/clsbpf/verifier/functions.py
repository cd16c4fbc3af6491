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
from .access import check_fixed, kind_name
from .arguments import ANY_CALL, helper_access
from .ranges import UNKNOWN
from .refusal import Refused
from .values import CTX, MAYBE_NULL, MEM, SCALAR, Reg

if TYPE_CHECKING:
    from .walk import Walk

_GLOBAL = 1


@dataclass(frozen=True, slots=True)
class Argument:
    """struct bpf_subprog_arg_info: "number", "context", or "memory" of `size` bytes, perhaps 0."""

    kind: str
    size: int = 0
    nullable: bool = True


@dataclass(frozen=True, slots=True)
class GlobalFunction:
    """A function that is judged alone: its name and what it takes."""

    name: str
    arguments: tuple[Argument, ...]
    problem: str = ""
    """Why its type will not do, if so."""

    def parameters(self, v: Walk) -> list[Reg]:
        """What its registers r1… hold when it begins."""
        if self.problem:
            raise Refused("function-type", self.problem, errno=22)
        registers = []
        for argument in self.arguments:
            if argument.kind == "context":
                registers.append(Reg(CTX))
            elif argument.kind == "number":
                registers.append(Reg(SCALAR, UNKNOWN))
            else:
                v.ids += 1
                registers.append(
                    Reg(MEM, flags=MAYBE_NULL if argument.nullable else 0, id=v.ids, size=argument.size)
                )
        return registers

    def check_call(self, v: Walk) -> None:
        """btf_check_func_arg_match: do the caller's registers fit?"""
        if self.problem:
            raise Refused("function-type", self.problem, errno=22)
        for regno, argument in enumerate(self.arguments, 1):
            reg = v.regs[regno]
            if not reg.kind:
                raise Refused("unwritten", f"R{regno} !read_ok", regno)
            if argument.kind == "number":
                if reg.kind != SCALAR:
                    raise Refused("function-argument", f"R{regno} is not a scalar", regno, errno=22)
            elif argument.kind == "context":
                if reg.kind != CTX:
                    raise Refused(
                        "function-argument", f"arg#{regno - 1} expects pointer to ctx", regno, errno=22
                    )
                check_fixed(reg, regno)
            else:
                self._check_memory(v, regno, reg, argument)

    def _check_memory(self, v: Walk, regno: int, reg: Reg, argument: Argument) -> None:
        """check_mem_reg: the memory may be read and written as far as the type is large."""
        if reg.is_null and argument.nullable:
            return
        if reg.flags & MAYBE_NULL and not argument.nullable:
            raise Refused(
                "null-check", f"arg#{regno - 1} is expected to be non-NULL", regno, of=kind_name(reg)
            )
        known = Reg(
            reg.kind,
            reg.var,
            reg.off,
            reg.id,
            (),
            reg.flags & ~MAYBE_NULL,
            reg.ref,
            reg.size,
            reg.obj,
            reg.uid,
        )
        v.regs[regno] = known
        try:
            for write in (False, True):
                helper_access(v, ANY_CALL, regno, argument.size, write=write, zero=True, raw=False)
        finally:
            v.regs[regno] = reg


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
        if argument is None:
            kind = type(btf.resolve(param.type)).__name__.lower()
            return GlobalFunction(
                function.name, (), f"Arg#{number} type {kind} in {function.name}() is not supported yet."
            )
        arguments.append(argument)
    return GlobalFunction(function.name, tuple(arguments))


def _argument(btf: Any, id: int, tags: set[str]) -> Argument | None:
    kind = btf.resolve(id)
    name = type(kind).__name__
    if name in ("Int", "Enum"):
        return Argument("number")
    if name != "Ptr":
        return None
    if "arg:ctx" in tags:
        return Argument("context")
    target = btf.resolve(kind.target) if kind.target else None
    if target is None or not hasattr(target, "size"):
        return None
    if target.name == "__sk_buff":
        return Argument("context")
    return Argument("memory", btf.size_of(kind.target), "arg:nonnull" not in tags)
