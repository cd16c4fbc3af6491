"""What was learned of a call of a kernel function from its arguments?  struct bpf_kfunc_call_arg_meta."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..bpf.kfuncs import Kfunc
from ..bpf.spec import MapSpec
from .access import kind_name
from .records import SpecialField
from .refusal import Refused
from .state import Frame
from .types import Struct
from .values import (
    ALLOC,
    MAP_PTR,
    NON_OWNING,
    SOCK_COMMON,
    SOCKET,
    TCP_SOCK,
    TRUSTED,
    Reg,
)

if TYPE_CHECKING:
    from .walk import Walk


AS_STRUCT = {SOCKET: "sock", SOCK_COMMON: "sock_common", TCP_SOCK: "tcp_sock", MAP_PTR: "bpf_map"}
"""reg2btf_ids: pointers that are as good as one to a structure of the kernel's."""
TRUSTED_FLAGS = ALLOC | TRUSTED | NON_OWNING


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


Rule = Callable[["Walk", KfuncCall, int, int, Reg], "int | None"]
"""May this register be that argument?  Of the walk, the call, the argument from 0 on, the register's number
and the register.  How many arguments it looked at, where that is not one."""


def wrong_argument(call: KfuncCall, number: int, reg: Reg, expected: str) -> Refused:
    """The refusal of a register that is not what was `expected`."""
    return Refused(
        "argument-kind",
        f"arg#{number} {expected}",
        number + 1,
        errno=22,
        of=kind_name(reg),
        expected=expected.removeprefix("expected "),
        helper=call.kfunc.name,
    )


def is_trusted(reg: Reg) -> bool:
    """is_trusted_reg."""
    if reg.ref:
        return True
    unsafe = reg.flags & ~TRUSTED_FLAGS
    return not unsafe and (reg.kind in AS_STRUCT or bool(reg.flags & TRUSTED_FLAGS))


def known_number(call: KfuncCall, regno: int, reg: Reg) -> None:
    """A number that is known before the program runs; it is noted in the call."""
    if reg.var.const is None:
        raise Refused("constant", f"R{regno} must be a known constant", regno, errno=22)
    call.constant = reg.var.const
