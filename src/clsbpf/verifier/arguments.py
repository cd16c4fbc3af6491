"""May a helper be called with these arguments?  check_func_arg, by the words of `bpf.prototypes`.

Each word has a rule: a function of the walk, the call, the register's number and the register.  A rule
refuses or notes in the `Call` what later arguments and the result need: the map, the memory that the
helper will write.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..bpf.helpers import BY_NUMBER
from ..bpf.maps import MapFlag, MapType
from ..bpf.prototypes import Prototype, Ret
from ..bpf.spec import MapSpec
from . import values
from .access import (
    check_access,
    check_alignment,
    check_fixed,
    check_map_value,
    check_packet,
    check_region,
    check_stack_bounds,
    kind_name,
)
from .fields import KPTRS, field_named, fields_of
from .locks import spin_lock
from .memory import check_initialised, check_no_dynptr, frame_of
from .precision import mark_register, mark_slot
from .records import SpecialField
from .refusal import Refused
from .releases import SURE_LOOKUPS
from .stack_objects import check_new_dynptr, dynptr_at, use_dynptr
from .state import EMPTY, LOCK, SPILL, ZERO
from .types import Struct, is_or_begins_with, kernel_struct
from .values import (
    ALLOC,
    BTF,
    CTX,
    DYNPTR,
    FUNC,
    KIND_NAMES,
    MAP_KEY,
    MAP_PTR,
    MAP_VALUE,
    MAYBE_NULL,
    MEM,
    PACKET,
    PACKET_META,
    PACKET_SLICE,
    PACKETS,
    PERCPU,
    RCU,
    RDONLY,
    RINGBUF,
    SCALAR,
    SOCK_COMMON,
    SOCKET,
    STACK,
    TCP_SOCK,
    TRUSTED,
    UNTRUSTED,
    Lost,
    Reg,
)

if TYPE_CHECKING:
    from .walk import Walk

MAX_VAR_SIZE = 1 << 29
PEEK = 89
SPIN_LOCK, TIMER_INIT, KPTR_XCHG, DYNPTR_WRITE = 93, 169, 194, 202


@dataclass(slots=True)
class Call:
    """struct bpf_call_arg_meta: what was learned of a call from its arguments."""

    number: int
    proto: Prototype
    map: MapSpec | None = None
    map_uid: int = 0
    raw: list[tuple[Reg, int, int]] = field(default_factory=list)
    """(pointer, its register, bytes): memory on the stack that the helper writes."""
    is_raw: bool = False
    size_limit: int | None = None
    """The greatest size that was passed: what some helpers return is at most that."""
    memory: int | None = None
    """A constant size or offset."""
    ref: int = 0
    function: int | None = None
    key: int | None = None
    """The key, where it is a number known now."""
    dynptr: Reg | None = None
    new_dynptr: Reg | None = None
    kptr: SpecialField | None = None
    percpu: Reg | None = None
    string: bytes = b""
    mem_reg: Reg | None = None

    @property
    def name(self) -> str:
        """The helper as the kernel's log has it."""
        helper = BY_NUMBER.get(self.number)
        return f"{helper.symbol}#{self.number}" if helper is not None else "a function"


ANY_CALL = Call(0, Prototype((), Ret.INT, packet_access=True))
"""Of memory that is not a helper's argument: a global function's, a kernel function's."""

_TYPES: dict[str, tuple[int, int]] = {
    "fp": (STACK, 0), "pkt": (PACKET, 0), "pkt_meta": (PACKET_META, 0), "map_key": (MAP_KEY, 0),
    "map_value": (MAP_VALUE, 0), "mem": (MEM, 0), "ringbuf_mem": (MEM, RINGBUF), "scalar": (SCALAR, 0),
    "ctx": (CTX, 0), "map_ptr": (MAP_PTR, 0), "sock_common": (SOCK_COMMON, 0), "sock": (SOCKET, 0),
    "tcp_sock": (TCP_SOCK, 0), "func": (FUNC, 0), "dynptr_ptr": (DYNPTR, 0), "ptr_": (BTF, 0),
    "trusted_ptr_": (BTF, TRUSTED), "rcu_ptr_": (BTF, RCU), "percpu_ptr_": (BTF, PERCPU),
    "percpu_rcu_ptr_": (BTF, PERCPU | RCU), "percpu_trusted_ptr_": (BTF, PERCPU | TRUSTED),
}  # fmt: skip
"""A register's kind and flags, by the name that messages have for them; tc has no `buf` and no `xdp_sock`."""
_MEMORY = "fp pkt pkt_meta map_key map_value mem ringbuf_mem buf trusted_ptr_"
_SOCKETS = "sock_common sock tcp_sock xdp_sock"
_EXPECTED: dict[str, str] = {
    "key": _MEMORY, "value": _MEMORY, "mem": _MEMORY, "size": "scalar", "ctx": "ctx", "map": "map_ptr",
    "sock": f"{_SOCKETS} ptr_ trusted_ptr_", "sk_common": _SOCKETS, "func": "func", "stack": "fp",
    "lock": "map_value ptr_", "kptr": "map_value ptr_", "exchanged": "ptr_ trusted_ptr_ rcu_ptr_",
    "timer": "map_value", "string": "map_value", "record": "ringbuf_mem", "dynptr": "fp dynptr_ptr",
    "task": "ptr_ trusted_ptr_ rcu_ptr_", "cgroup": "ptr_ trusted_ptr_ rcu_ptr_",
    "percpu": "percpu_ptr_ percpu_rcu_ptr_ percpu_trusted_ptr_",
}  # fmt: skip
"""compatible_reg_types: what an argument may be, in the order in which the kernel tells it."""
_ALLOCATED = {"lock": {ALLOC}, "kptr": {ALLOC}, "exchanged": {ALLOC, ALLOC | PERCPU}}
"""Of pointers to what the program allocates; the names do not tell them (MEM_ALLOC has no word)."""


@functools.cache
def _accepted(base: str) -> frozenset[tuple[int, int]]:
    found = {_TYPES[name] for name in _EXPECTED[base].split() if name in _TYPES}
    if base in ("lock", "kptr"):
        found.discard((BTF, 0))
    return frozenset(found | {(BTF, flags) for flags in _ALLOCATED.get(base, ())})


def check_arguments(v: Walk, call: Call) -> None:
    """check_func_arg for all arguments in turn."""
    for regno, word in enumerate(call.proto.words, 1):
        _check_argument(v, call, regno, word)


def _check_argument(v: Walk, call: Call, regno: int, word: str) -> None:
    reg = v.regs[regno]
    if not reg.kind:
        raise Refused("unwritten", f"R{regno} !read_ok", regno)
    if word == "any":
        return
    if reg.kind in PACKETS and not call.proto.packet_access:
        raise Refused("packet-argument", "helper access to the packet is not allowed", regno)
    nullable = word.endswith(("?", "-or-null"))
    word = word.removesuffix("?").removesuffix("-or-null")
    base = _BASE.get(word, word)
    releases = call.proto.releases and regno == (2 if call.number == KPTR_XCHG else 1)
    if base == "value" and call.map is not None and call.map.type in (MapType.SOCKMAP, MapType.SOCKHASH):
        if nullable or word != "value":
            raise Refused(
                "map-kind",
                "invalid arg_type for sockmap/sockhash",
                errno=22,
                map=call.map.name,
                helper=call.name,
            )
        word = base = "sock"
    if not (nullable and reg.is_null):
        _check_type(v, call, regno, reg, word, base, nullable=nullable, releases=releases)
    if releases and not reg.ref and not (nullable and reg.is_null):
        raise Refused(
            "release",
            f"R{regno} must be referenced when passed to release function",
            regno,
            errno=22,
            helper=call.name,
        )
    if reg.ref and base != "kptr":
        if call.ref:
            raise Refused(
                "release", f"more than one arg with ref_obj_id R{regno} {reg.ref} {call.ref}", regno
            )
        call.ref = reg.ref
    rule = _RULES.get(word)
    if rule is not None:
        rule(v, call, regno, reg)


_READ = frozenset({"mem", "ip4", "ip6", "tcp"})
"""Memory that is only read (MEM_RDONLY)."""


def _check_type(
    v: Walk, call: Call, regno: int, reg: Reg, word: str, base: str, *, nullable: bool, releases: bool
) -> None:
    """check_reg_type, check_func_arg_reg_off."""
    if base not in _EXPECTED:
        raise Refused(
            "not-covered",
            f"R{regno}: an argument of this kind ({word}) of {call.name} is not known here",
            regno,
        )
    flags = reg.flags & ~(MAYBE_NULL if nullable else 0)
    if word in _READ:
        flags &= ~RDONLY
    if base == "mem":
        flags &= ~PACKET_SLICE
    accepted = _accepted(base)
    if (reg.kind, flags) not in accepted:
        maybe = reg.flags & MAYBE_NULL and (reg.kind, flags & ~MAYBE_NULL) in accepted
        was_pointer = isinstance(reg.obj, Lost) and base != "size"
        names = ", ".join(_EXPECTED[base].split())
        raise Refused(
            "null-check" if maybe else "lost-pointer" if was_pointer else "argument-kind",
            f"R{regno} type={kind_name(reg)} expected={names}",
            regno,
            of=kind_name(reg),
            expected=names,
            helper=call.name,
            lost=reg.obj,
        )
    if reg.kind == BTF:
        _check_structure(v, call, regno, reg, word, base, releases=releases)
    if releases and base != "dynptr-r":
        if reg.off:
            raise Refused(
                "modified-pointer",
                f"R{regno} must have zero offset when passed to release func or trusted arg to kfunc",
                regno,
                off=reg.off,
                errno=22,
            )
        check_fixed(reg, regno)
    elif reg.kind not in _ANY_OFFSET or reg.flags & ~(RDONLY | RINGBUF):
        check_fixed(reg, regno, offset_ok=reg.kind == BTF and not reg.flags & MAYBE_NULL)


def _check_structure(
    v: Walk, call: Call, regno: int, reg: Reg, word: str, base: str, *, releases: bool
) -> None:
    """The second half of check_reg_type: of which structure, and whether it may be written."""
    if _EXPECTED[base] == _MEMORY:
        if word not in _READ:
            raise Refused(
                "read-only",
                f"{BY_NUMBER[call.number].symbol}() may write into memory pointed by R{regno}"
                f" type={kind_name(reg)}",
                regno,
                map=f"struct {reg.obj}",
            )
    elif reg.flags & MAYBE_NULL and releases:
        raise Refused(
            "null-check",
            f"Possibly NULL pointer passed to helper arg{regno}",
            regno,
            of=kind_name(reg),
        )
    elif base in _STRUCTS:
        _check_struct(v, call, regno, reg, kernel_struct(_STRUCTS[base]))


_STRUCTS = {"sock": "sock_common", "task": "task_struct", "cgroup": "cgroup"}


def _check_struct(v: Walk, call: Call, regno: int, reg: Reg, wanted: Struct) -> None:
    """check_reg_type, of a pointer to a structure: it is the one that is wanted, or begins with it."""
    if not is_or_begins_with(v, reg.obj, reg.off, wanted, strict=False):
        raise Refused(
            "argument-kind",
            f"R{regno} is of type {reg.obj.name} but {wanted.name} is expected",
            regno,
            of=f"a pointer to struct {reg.obj.name}",
            expected=f"a pointer to struct {wanted.name}",
            helper=call.name,
        )


_ANY_OFFSET = frozenset({STACK, PACKET, PACKET_META, MAP_KEY, MAP_VALUE, MEM, SCALAR})
_BASE = {
    "size0": "size",
    "alloc": "size",
    "mem-u": "mem",
    "mem-w": "mem",
    "value-u": "value",
    "fix-w4": "mem",
    "fix-u8": "mem",
    "ip4": "mem",
    "ip6": "mem",
    "tcp": "mem",
    "sk": "sock",
    "skc": "sock",
    "reserve": "size",
    "dynptr-u": "dynptr",
    "dynptr-r": "dynptr",
}


def helper_access(v: Walk, call: Call, regno: int, size: int, *, write: bool, zero: bool, raw: bool) -> None:
    """check_helper_mem_access: the helper reads, or writes, `size` bytes from what the register holds."""
    reg = v.regs[regno]
    match reg.kind:
        case values.PACKET | values.PACKET_META:
            check_packet(v, reg, regno, reg.off, size, zero=zero)
        case values.MAP_KEY:
            if write:
                raise Refused(
                    "read-only", f"R{regno} cannot write into {kind_name(reg)}", regno, map="the key"
                )
            check_region(reg, regno, reg.off, size, reg.obj.key_size, "map key, key")
        case values.MAP_VALUE:
            check_map_value(reg, regno, reg.off, size, write=write, helper=True, zero=zero)
        case values.MEM:
            if reg.flags & RDONLY and write:
                raise Refused(
                    "read-only", f"R{regno} cannot write into {kind_name(reg)}", regno, map="the memory"
                )
            check_region(reg, regno, reg.off, size, reg.size, "memory, mem", zero=zero)
        case values.BTF:
            check_access(v, reg, regno, 0, size, write=False)
        case values.STACK:
            _stack_argument(v, call, regno, reg, size, write=write, zero=zero, raw=raw)
        case _:
            if zero and not size and reg.is_null:
                return
            raise Refused(
                "argument-kind",
                f"R{regno} type={kind_name(reg)} expected={KIND_NAMES[STACK]}",
                regno,
                of=kind_name(reg),
                expected="memory",
                helper=call.name,
            )


def _stack_argument(
    v: Walk, call: Call, regno: int, reg: Reg, size: int, *, write: bool, zero: bool, raw: bool
) -> None:
    """check_stack_range_initialized."""
    if not size and not zero:
        raise Refused("zero-size", "invalid zero-sized read", regno)
    check_stack_bounds(reg, regno, reg.off, size, write=write)
    v.use_stack(reg.size, -(reg.off + reg.var.smin))
    frame = frame_of(v, reg)
    if raw:
        check_no_dynptr(frame, reg.off + reg.var.smin, reg.off + reg.var.smax + size)
    if raw and not reg.var.mask:
        call.raw.append((reg, regno, size))
        return
    low = reg.off + reg.var.smin
    length = reg.off + reg.var.smax + size - low
    check_initialised(v, frame, reg, low, length, clobber=write, regno=regno, size=size)


def _map(v: Walk, call: Call, regno: int, reg: Reg) -> None:
    timers_own = call.map is None or (call.map is reg.obj and call.map_uid == reg.uid)
    if call.number == TIMER_INIT and not timers_own:
        raise Refused(
            "timer",
            f"timer pointer in R1 map_uid={call.map_uid} doesn't match map pointer in R2 map_uid={reg.uid}",
            regno,
            errno=22,
        )
    call.map, call.map_uid = reg.obj, reg.uid


def _key(v: Walk, call: Call, regno: int, reg: Reg) -> None:
    assert call.map is not None
    size = call.map.key_size
    helper_access(v, call, regno, size, write=False, zero=False, raw=False)
    if (
        v.rules.release < SURE_LOOKUPS
        or call.number != 1
        or call.map.type not in (MapType.ARRAY, MapType.PERCPU_ARRAY)
    ):
        return
    if reg.kind != STACK or reg.var.mask or size not in (4, 8):
        return
    off = reg.off + reg.var.smin
    slot = frame_of(v, reg).stack.get((-off - 1) // 8, EMPTY)
    at = off % 8
    # As the kernel has it: where the key is the upper half of a spilled number, the number counts.  One
    # that is below max_entries has 0 there, so the key is in bounds whenever the number is.
    rest = slot.kinds[at:]
    spilled = slot.kinds[0] == SPILL and len(rest) - len(rest.lstrip(bytes([SPILL]))) == size
    if slot.kinds[at : at + size] == bytes([ZERO]) * size:
        call.key = 0
    elif spilled and slot.reg.kind == SCALAR and slot.reg.var.const is not None:
        mark_slot(v, reg.size, (-off - 1) // 8)
        call.key = slot.reg.var.const


def _value(v: Walk, call: Call, regno: int, reg: Reg) -> None:
    if call.map is None or (reg.is_null and call.proto.words[regno - 1].endswith("-or-null")):
        return
    asked = call.number == PEEK and call.map.type == MapType.BLOOM_FILTER  # whether this is in it
    written = call.proto.words[regno - 1] == "value-u" and not asked
    helper_access(v, call, regno, call.map.value_size, write=written, zero=False, raw=written)


def _size(zero: bool) -> Callable[[Walk, Call, int, Reg], None]:
    def rule(v: Walk, call: Call, regno: int, reg: Reg) -> None:
        """check_mem_size_reg."""
        word = call.proto.words[regno - 2].removesuffix("?")
        call.size_limit = reg.var.umax
        if reg.var.smin < 0:
            raise Refused(
                "negative-size",
                f"R{regno} min value is negative, either use unsigned or 'var &= const'",
                regno,
                smin=reg.var.smin,
            )
        if not reg.var.umin and not zero:
            raise Refused(
                "zero-size", f"R{regno} invalid zero-sized read: u64=[{reg.var.umin},{reg.var.umax}]", regno
            )
        if reg.var.umax >= MAX_VAR_SIZE:
            raise Refused(
                "unbounded-size",
                f"R{regno} unbounded memory access, use 'var &= const' or 'if (var < const)'",
                regno,
                umax=reg.var.umax,
            )
        raw = word == "mem-u" and reg.var.const is not None
        helper_access(v, call, regno - 1, reg.var.umax, write=word in ("mem-u", "mem-w"), zero=zero, raw=raw)
        mark_register(v, regno)

    return rule


def _fixed(size: int, *, write: bool, raw: bool) -> Callable[[Walk, Call, int, Reg], None]:
    def rule(v: Walk, call: Call, regno: int, reg: Reg) -> None:
        helper_access(v, call, regno, size, write=write, zero=False, raw=raw)
        if write:
            check_alignment(reg, regno, 0, size)

    return rule


def _constant(v: Walk, call: Call, regno: int, reg: Reg) -> None:
    if reg.var.const is None:
        raise Refused("constant", f"R{regno} is not a known constant'", regno)
    mark_register(v, regno)
    call.memory = reg.var.const


def _function(v: Walk, call: Call, regno: int, reg: Reg) -> None:
    call.function = reg.obj


def check_field_place(v: Walk, regno: int, reg: Reg, name: str) -> None:
    """check_map_field_pointer: a pointer to just that member of a map's value."""
    spec: MapSpec = reg.obj
    if reg.var.mask:
        raise Refused(
            "constant",
            f"R{regno} doesn't have constant offset. {name} has to be at the constant offset",
            regno,
            errno=22,
        )
    place = field_named(v, reg, name)
    at = reg.off + reg.var.smin
    if place is None:
        missing = "has no valid" if spec.value_type is not None else "has to have BTF in order to use"
        wrong = f"map '{spec.name}' {missing} {name}"
    elif place.offset != at:
        wrong = f"off {at} doesn't point to 'struct {name}' that is at {place.offset}"
    else:
        return
    raise Refused("special-field", wrong, regno, field=name, errno=22)


def _timer(v: Walk, call: Call, regno: int, reg: Reg) -> None:
    check_field_place(v, regno, reg, "bpf_timer")
    call.map, call.map_uid = reg.obj, reg.uid


def _lock(v: Walk, call: Call, regno: int, reg: Reg) -> None:
    if v.frame.callback == "bpf_rbtree_add_impl" and v.state.locked:
        raise Refused("callback", "can't spin_{lock,unlock} in rbtree cb", regno)
    spin_lock(v, regno, reg, LOCK, take=call.number == SPIN_LOCK)


def _kptr(v: Walk, call: Call, regno: int, reg: Reg) -> None:
    """process_kptr_func."""
    if reg.kind == MAP_VALUE and reg.obj.value_type is None:
        raise Refused(
            "special-field",
            f"map '{reg.obj.name}' has to have BTF in order to use bpf_kptr_xchg",
            regno,
            field="kptr",
            errno=22,
        )
    if reg.var.mask:
        raise Refused(
            "constant",
            f"R{regno} doesn't have constant offset. kptr has to be at the constant offset",
            regno,
            errno=22,
        )
    fields = [field for field in fields_of(v, reg) if field.name in KPTRS]
    if not fields:
        raise Refused("special-field", f"R{regno} has no valid kptr", regno, field="kptr", errno=22)
    at = reg.off + reg.var.smin
    found = next((field for field in fields if field.offset == at), None)
    if found is None:
        raise Refused("special-field", f"off={at} doesn't point to kptr", regno, field="kptr")
    if found.name not in ("kptr_ref", "kptr_percpu"):
        raise Refused("special-field", f"off={at} kptr isn't referenced kptr", regno, field="kptr")
    call.kptr = found


def _percpu(v: Walk, call: Call, regno: int, reg: Reg) -> None:
    call.percpu = reg


def _exchanged(v: Walk, call: Call, regno: int, reg: Reg) -> None:
    assert call.kptr is not None
    if not reg.is_null:
        check_kptr_type(v, regno, reg, call.kptr)


def check_kptr_type(v: Walk, regno: int, reg: Reg, field: SpecialField) -> None:
    """map_kptr_match_type: may this pointer be put where the map keeps one?"""
    target = field.target
    assert target is not None
    allowed = MAYBE_NULL | (ALLOC if target.local else TRUSTED | RCU)
    if field.name == "kptr_percpu":
        allowed |= PERCPU
    if field.name == "kptr_unref":
        allowed |= UNTRUSTED
    expected = f"ptr_{target.name}"
    if field.name == "kptr_unref":
        expected += f" or untrusted_ptr_{target.name}"
    right = reg.kind == BTF and not reg.flags & ~allowed
    if right:
        check_fixed(reg, regno, offset_ok=True)
        right = is_or_begins_with(v, reg.obj, reg.off, target, strict=field.name != "kptr_unref")
    if not right:
        raise Refused(
            "argument-kind",
            f"invalid kptr access, R{regno} type={kind_name(reg)} expected={expected}",
            regno,
            of=kind_name(reg),
            expected=f"a pointer to struct {target.name}",
            helper="bpf_kptr_xchg",
        )


def check_constant_string(regno: int, reg: Reg) -> None:
    """check_reg_const_str."""
    spec: MapSpec = reg.obj
    if not (spec.frozen and spec.flags & MapFlag.RDONLY_PROG):
        raise Refused("constant", f"R{regno} does not point to a readonly map'", regno)
    if reg.var.mask:
        raise Refused("constant", f"R{regno} is not a constant address'", regno)
    at = reg.off + reg.var.smin
    check_map_value(reg, regno, reg.off, spec.value_size - at, write=False)
    value = dict(spec.contents).get(bytes(4), b"")
    if isinstance(value, bytes) and b"\0" not in value.ljust(spec.value_size, b"\0")[at:]:
        raise Refused("constant", "string is not zero-terminated", regno, errno=22)


def _string(v: Walk, call: Call, regno: int, reg: Reg) -> None:
    check_constant_string(regno, reg)
    call.string = constant_string(reg)


def constant_string(reg: Reg) -> bytes:
    """The string (checked before) that a register points to."""
    value = dict(reg.obj.contents).get(bytes(4), b"")
    at = reg.off + reg.var.smin
    return bytes(value).ljust(reg.obj.value_size, b"\0")[at:].split(b"\0")[0]


def _dynptr(v: Walk, call: Call, regno: int, reg: Reg) -> None:
    call.dynptr = use_dynptr(v, regno, reg)


def _released_dynptr(v: Walk, call: Call, regno: int, reg: Reg) -> None:
    if reg.kind == DYNPTR:
        raise Refused("dynptr", "cannot release unowned const bpf_dynptr", regno, errno=22)
    held = dynptr_at(v, regno, reg, otherwise=f"arg {regno} is an unacquired reference")
    if held is None or not held.ref:
        raise Refused("dynptr", f"arg {regno} is an unacquired reference", regno, errno=22)
    call.dynptr = use_dynptr(v, regno, reg, expected="ringbuf")
    call.ref = held.ref


def _new_dynptr(v: Walk, call: Call, regno: int, reg: Reg) -> None:
    check_new_dynptr(v, regno, reg)
    call.new_dynptr = reg


_RULES: dict[str, Callable[[Walk, Call, int, Reg], None]] = {
    "map": _map,
    "key": _key,
    "value": _value,
    "value-u": _value,
    "size": _size(False),
    "size0": _size(True),
    "alloc": _constant,
    "reserve": _constant,
    "func": _function,
    "lock": _lock,
    "timer": _timer,
    "kptr": _kptr,
    "exchanged": _exchanged,
    "percpu": _percpu,
    "string": _string,
    "fix-w4": _fixed(4, write=True, raw=False),
    "fix-u8": _fixed(8, write=True, raw=True),
    "ip4": _fixed(20, write=False, raw=False),
    "ip6": _fixed(40, write=False, raw=False),
    "tcp": _fixed(20, write=False, raw=False),
    "dynptr": _dynptr,
    "dynptr-r": _released_dynptr,
    "dynptr-u": _new_dynptr,
}
