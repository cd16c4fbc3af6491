"""What do the functions do that a program calls?  Bodies, by helper number.

One definition each.  Most are in the subset of Python that also compiles (vm/subset.py): the interpreter
calls them as Python, lowered code their machine code.  Those that ask the environment for what is no
number (routes, sockets) are plain Python, `@external` to machine code.

Every body takes the address of the NativeEnvironment first, then the arguments r1, r2, … that it has
parameters for, all 64-bit signed numbers, and returns what becomes r0.  (Those of classic programs, which
have no other argument, take the NativeSkb's address first.)

The prototypes (who may call what, with which arguments) are in bpf/; they are checked before a body runs,
so that a body may trust its pointers.  What changes the flow of control (tail calls, callbacks) and what
is about the run itself (locks) is in vm/control.py.

A file a concern: `access` packet bytes, `checksum`, `resize` and `vlan` packets that grow and shrink, …
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...bpf import helpers as number
from ...bpf.isa import R1, R2
from . import (
    access,
    checksum,
    classic,
    clock,
    dynptr,
    events,
    hash,
    kfuncs,
    maps,
    memory,
    misc,
    printk,
    redirect,
    resize,
    route,
    sockets,
    storage,
    strings,
    syncookies,
    tunnel,
    vlan,
)


@dataclass(frozen=True, slots=True)
class HelperBody:
    """A body, and the registers whose values it takes after its first argument.

    `takes_skb`: that is the NativeSkb, not the NativeEnvironment.
    """

    function: Callable[..., int]
    registers: tuple[int, ...] = ()
    takes_skb: bool = False


def _body(function: Callable[..., int]) -> HelperBody:
    arity = len(inspect.signature(function).parameters) - 1
    return HelperBody(function, tuple(range(R1, R1 + arity)))


def _internal(function: Callable[..., int]) -> HelperBody:
    arity = len(inspect.signature(function).parameters) - 1
    return HelperBody(function, tuple(range(R2, R2 + arity)), takes_skb=True)


_INTERNAL: Mapping[int, Callable[..., int]] = {
    number.PAY_OFFSET: classic.skb_get_pay_offset,
    number.NLATTR: classic.skb_get_nlattr,
    number.NLATTR_NEST: classic.skb_get_nlattr_nest,
    number.CPU: classic.get_raw_smp_processor_id,
    number.RANDOM: classic.user_rnd_u32,
    number.HATYPE: classic.skb_get_hatype,
}

_BY_NAME: Mapping[str, Callable[..., int]] = {
    **access.BODIES,
    **checksum.BODIES,
    **clock.BODIES,
    **dynptr.BODIES,
    **events.BODIES,
    **hash.BODIES,
    **maps.BODIES,
    **memory.BODIES,
    **misc.BODIES,
    **printk.BODIES,
    **redirect.BODIES,
    **resize.BODIES,
    **route.BODIES,
    **sockets.BODIES,
    **storage.BODIES,
    **strings.BODIES,
    **syncookies.BODIES,
    **tunnel.BODIES,
    **vlan.BODIES,
}

BODIES: dict[int, HelperBody] = {
    **{at: _internal(function) for at, function in _INTERNAL.items()},
    **{number.BY_NAME[name].number: _body(function) for name, function in _BY_NAME.items()},
}
"""The helpers that there are, by number."""

KFUNCS: dict[str, HelperBody] = {
    name: _body(function) for name, function in {**dynptr.KFUNCS, **kfuncs.KFUNCS}.items()
}
"""Kernel functions that there are, by name."""

CONTROLLED: frozenset[int] = frozenset(
    number.BY_NAME[name].number
    for name in ("tail_call", "loop", "for_each_map_elem", "spin_lock", "spin_unlock")
)
"""Helpers that are about the run itself: vm/control.py."""

REFUSED: dict[str, str] = {
    "per_cpu_ptr": "there are no variables of a kernel",
    "this_cpu_ptr": "there are no variables of a kernel",
    "task_pt_regs": "no task of a user runs",
    "snprintf_btf": "there are no structures of a kernel to print",
}
"""Helpers that will not be, and why."""
