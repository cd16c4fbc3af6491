"""May the program touch this memory?  check_mem_access and what it calls, by the kind of pointer.

A rule looks at the pointer (its fixed offset, its variable part, how much is known to be there) and at
the bytes that are wanted, and raises `Refused` where the kernel refuses; it changes nothing.  What a
load gives and what a store leaves is in `memory`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..bpf import context
from ..bpf.maps import MapFlag, MapType
from ..bpf.spec import SOCKET_FILTER, MapSpec
from . import tnum
from .fields import KPTRS, special_fields
from .ranges import S64_MIN
from .records import SpecialField
from .refusal import Refused
from .types import Struct, at_offset, btf_of, kernel_struct
from .values import (
    ALLOC,
    BTF,
    CTX,
    KIND_NAMES,
    MAP_KEY,
    MAP_PTR,
    MAP_VALUE,
    MAYBE_NULL,
    MEM,
    NON_OWNING,
    PACKET,
    PACKET_META,
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
    USER,
    Lost,
    Reg,
)

if TYPE_CHECKING:
    from .walk import Walk

MAX_VAR_OFF = 1 << 29
"""BPF_MAX_VAR_OFF: no offset and no size is larger."""
MAX_STACK = 512


def kind_name(reg: Reg) -> str:
    """reg_type_str: `map_value_or_null`, `trusted_ptr_` (of which structure is not said)."""
    flags = reg.flags
    if not flags:
        return KIND_NAMES[reg.kind]
    prefix = "".join(word for bit, word in _PREFIXES if flags & bit)
    null = "" if not flags & MAYBE_NULL else "or_null_" if reg.kind == BTF else "_or_null"
    return prefix + KIND_NAMES[reg.kind] + null


_PREFIXES = (
    (RDONLY, "rdonly_"), (RINGBUF, "ringbuf_"), (USER, "user_"), (PERCPU, "percpu_"),
    (UNTRUSTED, "untrusted_"), (ALLOC, ""), (NON_OWNING, "non_own_ref_"), (RCU, "rcu_"),
    (TRUSTED, "trusted_"),
)  # fmt: skip


def check_within(
    reg: Reg,
    regno: int,
    off: int,
    size: int,
    memory: int,
    what: str,
    *,
    zero: bool = False,
    least: bool = False,
) -> None:
    """__check_mem_access: do `size` bytes at `off` lie in memory of so many bytes?"""
    if (size > 0 or (zero and size == 0)) and off >= 0 and off + size <= memory:
        return
    if reg.flags:
        what = "memory, mem"
    if reg.kind in PACKETS:
        raise Refused(
            "packet-bounds",
            f"invalid access to packet, off={off} size={size}, R{regno}(id={reg.id},off={off},r={memory})",
            regno,
            off=off,
            size=size,
            known=max(reg.size, 0),
            after=f"R{regno} offset is outside of the packet",
        )
    raise Refused(
        "bounds",
        f"invalid access to {what}_size={memory} off={off} size={size}",
        regno,
        off=off,
        size=size,
        known=memory,
        what=what.split(",")[0],
        after=f"R{regno} {'min' if least else 'max'} value is outside of the allowed memory range",
    )


def check_region(
    reg: Reg, regno: int, off: int, size: int, memory: int, what: str, *, zero: bool = False
) -> None:
    """check_mem_region_access: also with the least and the greatest value of the variable part."""
    var = reg.var
    if var.smin < 0 and (
        var.smin == S64_MIN or var.smin + off < 0 or not -(1 << 31) <= off + var.smin < 1 << 31
    ):
        raise Refused(
            "negative-index",
            f"R{regno} min value is negative, either use unsigned index or do a if (index >=0) check.",
            regno,
            smin=var.smin,
        )
    if not var.mask and not var.value:
        check_within(reg, regno, off, size, memory, what, zero=zero, least=True)
        return
    check_within(reg, regno, var.smin + off, size, memory, what, zero=zero, least=True)
    if var.umax >= MAX_VAR_OFF:
        raise Refused(
            "unbounded",
            f"R{regno} unbounded memory access, make sure to bounds check any such access",
            regno,
            umax=var.umax,
        )
    check_within(reg, regno, var.umax + off, size, memory, what, zero=zero)


def check_packet(v: Walk, reg: Reg, regno: int, off: int, size: int, *, zero: bool = False) -> None:
    """check_packet_access.  The range counts from where the variable part was added."""
    if reg.var.smin < 0:
        raise Refused(
            "negative-index",
            f"R{regno} min value is negative, either use unsigned index or do a if (index >=0) check.",
            regno,
            smin=reg.var.smin,
        )
    if reg.size < 0:
        raise Refused(
            "packet-bounds",
            f"R{regno} offset is outside of the packet",
            regno,
            errno=22,
            off=off,
            size=size,
            known=0,
        )
    check_within(reg, regno, off, size, reg.size, "packet", zero=zero)


def check_fixed(reg: Reg, regno: int, *, offset_ok: bool = False) -> None:
    """__check_ptr_off_reg: a pointer that must be as it was given."""
    if reg.off < 0:
        raise Refused(
            "modified-pointer",
            f"negative offset {kind_name(reg)} ptr R{regno} off={reg.off} disallowed",
            regno,
            off=reg.off,
        )
    if not offset_ok and reg.off:
        raise Refused(
            "modified-pointer",
            f"dereference of modified {kind_name(reg)} ptr R{regno} off={reg.off} disallowed",
            regno,
            off=reg.off,
        )
    if reg.var.mask or reg.var.value:
        raise Refused(
            "modified-pointer",
            f"variable {kind_name(reg)} access var_off={tnum.text(reg.var.tnum)} disallowed",
            regno,
            off=reg.off,
            errno=13,
        )


_DEVICES = frozenset({MapType.DEVMAP, MapType.DEVMAP_HASH})


def is_read_only(spec: MapSpec) -> bool:
    """BPF_F_RDONLY_PROG, which maps of devices always have: their values are the kernel's own."""
    return bool(spec.flags & MapFlag.RDONLY_PROG) or spec.type in _DEVICES


def check_map_value(
    reg: Reg, regno: int, off: int, size: int, *, write: bool, helper: bool = False, zero: bool = False
) -> None:
    """check_map_access_type and check_map_access."""
    spec: MapSpec = reg.obj
    if write and is_read_only(spec):
        raise Refused(
            "read-only",
            f"write into map forbidden, value_size={spec.value_size} off={off} size={size}",
            regno,
            map=spec.name,
        )
    if not write and spec.flags & MapFlag.WRONLY_PROG:
        raise Refused(
            "write-only",
            f"read from map forbidden, value_size={spec.value_size} off={off} size={size}",
            regno,
            map=spec.name,
        )
    check_region(reg, regno, off, size, spec.value_size, "map value, value", zero=zero)
    for field in special_fields(spec):
        low, high = reg.var.smin + off, reg.var.umax + off + size
        if low < field.offset + field.size and field.offset < high:
            _check_field(reg, regno, off, size, field, helper)


def _check_field(reg: Reg, regno: int, off: int, size: int, field: SpecialField, helper: bool) -> None:
    """Of the fields of a value, only a kernel pointer may be loaded or stored, whole."""
    if field.name not in KPTRS:
        raise Refused(
            "special-field",
            f"{field.name} cannot be accessed directly by load/store",
            regno,
            field=field.name,
        )
    problem = ""
    if helper:
        problem = "kptr cannot be accessed indirectly by helper"
    elif reg.var.mask:
        problem = "kptr access cannot have variable offset"
    elif field.offset != off + reg.var.value:
        problem = f"kptr access misaligned expected={field.offset} off={off + reg.var.value}"
    elif size != 8:
        problem = "kptr access size must be BPF_DW"
    if problem:
        raise Refused("special-field", problem, regno, field="kptr")


def check_stack_bounds(reg: Reg, regno: int, off: int, size: int, *, write: bool) -> None:
    """check_stack_access_within_bounds.  What was never written may be read (allow_uninit_stack)."""
    var = reg.var
    how = " write to" if write else " read from"
    if not var.mask:
        low = (var.smin) + off
        high = low + size
    else:
        if var.smax >= MAX_VAR_OFF or var.smin <= -MAX_VAR_OFF:
            raise Refused(
                "unbounded", f"invalid unbounded variable-offset{how} stack R{regno}", regno, umax=var.umax
            )
        low, high = var.smin + off, var.smax + off + size
    if low < -MAX_STACK or high > 0 or size < 0:
        if not var.mask:
            message = f"invalid{how} stack R{regno} off={off} size={size}"
        else:
            place = f"var_off={tnum.text(var.tnum)} off={off} size={size}"
            message = f"invalid variable-offset{how} stack R{regno} {place}"
        errno = 13 if not -MAX_STACK <= low <= -1 else 22
        raise Refused("stack-bounds", message, regno, errno=errno, off=low, size=size)


def check_context(v: Walk, reg: Reg, regno: int, off: int, size: int, *, write: bool) -> None:
    """check_ctx_access, tc_cls_act_is_valid_access; a socket filter's own rule for those."""
    check_fixed(reg, regno)
    allowed = (
        _socket_filter_may(off, size, write)
        if v.spec.type == SOCKET_FILTER
        else (context.may_access(off, size, write=write) and v.rules.has_field(off))
    )
    if not allowed:
        raise Refused(
            "context-field",
            f"invalid bpf_context access off={off} size={size}",
            regno,
            off=off,
            size=size,
            write=write,
        )


def _socket_filter_may(off: int, size: int, write: bool) -> bool:
    """sk_filter_is_valid_access: no packet pointers, no classid; only cb may be written."""
    field = context.field_at(off)
    if field is None or field.name in (
        *(
            "tstamp_type",
            "tc_classid",
            "data",
            "data_end",
            "data_meta",
            "wire_len",
            "tstamp",
            "hwtstamp",
            "flow_keys",
        ),
    ):
        return False
    if write:
        return field.name == "cb" and off % size == 0 and off + size <= field.end
    return context.may_access(off, size, write=False)


_SOCK_BYTES = 80
_SOCK_NARROW = frozenset({4, 8, 12, 44, 72, 76, *range(24, 44), *range(52, 72)})
"""Offsets in struct bpf_sock where a part of a field may be read."""
_TCP_SOCK_BYTES = 112
_TCP_SOCK_WIDE = (80, 88)
_TCP_SOCK_HALVES = (84, 92)
"""The upper halves of these: the kernel allows them and then finds that it cannot."""


def _sock_field(reg: Reg, off: int, size: int) -> bool:
    """bpf_sock_is_valid_access, bpf_sock_common_is_valid_access, bpf_tcp_sock_is_valid_access."""
    if off < 0 or off % size:
        return False
    if reg.kind == TCP_SOCK:
        return off < _TCP_SOCK_BYTES and size == (8 if off in _TCP_SOCK_WIDE else 4)
    if off >= _SOCK_BYTES or (reg.kind == SOCK_COMMON and 8 <= off < 24):
        return False
    if off in _SOCK_NARROW:
        return size <= 4
    if off == 48:  # dst_port: two bytes; four by its old width
        return size <= 4
    if off == 49:
        return size == 1
    return size == 4 and off != 50


def check_socket(v: Walk, reg: Reg, regno: int, off: int, size: int, *, write: bool) -> None:
    """check_sock_access: read only, a field at a time."""
    if write:
        raise Refused("read-only", f"R{regno} cannot write into {kind_name(reg)}", regno, map=kind_name(reg))
    if reg.var.smin < 0:
        raise Refused(
            "negative-index",
            f"R{regno} min value is negative, either use unsigned index or do a if (index >=0) check.",
            regno,
            smin=reg.var.smin,
        )
    if reg.var.mask or not _sock_field(reg, off, size):
        raise Refused(
            "context-field",
            f"R{regno} invalid {kind_name(reg)} access off={off} size={size}",
            regno,
            off=off,
            size=size,
            write=write,
        )
    if reg.kind == TCP_SOCK and off in _TCP_SOCK_HALVES:
        message = "verifier bug: error during ctx access conversion (0)"
        raise Refused("context-field", message, regno, errno=14, off=off, size=size, write=write)


def _access_map_value(v: Walk, reg: Reg, regno: int, off: int, size: int, write: bool) -> None:
    check_map_value(reg, regno, off, size, write=write)


def _access_map_key(v: Walk, reg: Reg, regno: int, off: int, size: int, write: bool) -> None:
    if write:
        raise Refused("read-only", f"write to change key R{regno} not allowed", regno, map="the key")
    check_region(reg, regno, off, size, reg.obj.key_size, "map key, key")


def _access_mem(v: Walk, reg: Reg, regno: int, off: int, size: int, write: bool) -> None:
    if write and reg.flags & RDONLY:
        raise Refused("read-only", f"R{regno} cannot write into {kind_name(reg)}", regno, map="the memory")
    if reg.flags & RDONLY and reg.flags & UNTRUSTED:
        return  # loads that cannot fault
    check_region(reg, regno, off, size, reg.size, "memory, mem")


def _access_stack(v: Walk, reg: Reg, regno: int, off: int, size: int, write: bool) -> None:
    check_stack_bounds(reg, regno, off, size, write=write)
    v.use_stack(reg.size, -(off + reg.var.smin))


def _access_packet(v: Walk, reg: Reg, regno: int, off: int, size: int, write: bool) -> None:
    if write and not v.rules.packet_writable:
        raise Refused("read-only", "cannot write into packet", regno, map="the packet")
    check_packet(v, reg, regno, off, size)


def _access_context(v: Walk, reg: Reg, regno: int, off: int, size: int, write: bool) -> None:
    check_context(v, reg, regno, off, size, write=write)


def _access_socket(v: Walk, reg: Reg, regno: int, off: int, size: int, write: bool) -> None:
    check_socket(v, reg, regno, off, size, write=write)


def _access_btf(v: Walk, reg: Reg, regno: int, off: int, size: int, write: bool) -> None:
    """check_ptr_to_btf_access."""
    struct: Struct = reg.obj
    if not v.gpl_compatible and not struct.local:
        raise Refused(
            "licence",
            f"Cannot access kernel 'struct {struct.name}' from non-GPL compatible program",
            regno,
            errno=22,
            helper=f"struct {struct.name}",
        )
    problem = ""
    if off < 0:
        problem = f"R{regno} is ptr_{struct.name} invalid negative access: off={off}"
    elif reg.var.mask or reg.var.value:
        place = f"off={off}, var_off={tnum.text(reg.var.tnum)}"
        problem = f"R{regno} is ptr_{struct.name} invalid variable offset: {place}"
    elif reg.flags & (USER | PERCPU):
        what = "user" if reg.flags & USER else "percpu"
        problem = f"R{regno} is ptr_{struct.name} access {what} memory: off={off}"
    if problem:
        raise Refused("type-access", problem, regno, off=off, size=size)
    if write and not (reg.flags & ALLOC and not reg.flags & (UNTRUSTED | PERCPU)):
        if struct.name == "nf_conn" and not struct.local:
            _write_conntrack(v, regno, struct, off, size)
            return
        if struct.name == "nf_conn___init" and not struct.local:
            _write_conntrack(v, regno, struct, off, size)
            return
        raise Refused("read-only", "only read is supported", regno, map=f"struct {struct.name}")
    if reg.flags & ALLOC:
        for field in v.struct_fields(struct.id) if struct.local else ():
            if off < field.offset + field.size and field.offset < off + size:
                raise Refused(
                    "special-field", f"direct access to {field.name} is disallowed", regno, field=field.name
                )
    at_offset(btf_of(v, struct), struct.id, off, size)


def _write_conntrack(v: Walk, regno: int, struct: Struct, off: int, size: int) -> None:
    """_nf_conntrack_btf_struct_access: the mark, and nothing else."""
    btf = btf_of(v, kernel_struct("nf_conn"))
    members = btf[kernel_struct("nf_conn").id].members
    mark = next((member.bit_offset // 8 for member in members if member.name == "mark"), None)
    if mark is None or off != mark:
        raise Refused("read-only", "no write support to nf_conn at off", regno, map="struct nf_conn")
    if off + size > mark + 4:
        raise Refused(
            "type-access", f"write access at off {off} with size {size} beyond the member of nf_conn ended at"
            f" {mark + 4}", regno, off=off, size=size,
        )  # fmt: skip


_MAP_STRUCTS = {
    **dict.fromkeys((2, 3, 4, 6, 8, 12), "bpf_array"),
    **dict.fromkeys((1, 5, 9, 10, 13), "bpf_htab"),
    **dict.fromkeys((22, 23), "bpf_queue_stack"),
    **dict.fromkeys((14, 25), "bpf_dtab"),
    **dict.fromkeys((24, 28, 29, 32), "bpf_local_storage_map"),
    **dict.fromkeys((27, 31), "bpf_ringbuf_map"),
    7: "bpf_stack_map",
    11: "lpm_trie",
    15: "bpf_stab",
    16: "bpf_cpu_map",
    17: "xsk_map",
    18: "bpf_shtab",
    19: "bpf_cgroup_storage_map",
    20: "reuseport_array",
    21: "bpf_cgroup_storage_map",
    26: "bpf_struct_ops_map",
    30: "bpf_bloom_filter",
    33: "bpf_arena",
}
"""map_btf_id, by map type: what a map is in the kernel."""


def map_struct(reg: Reg) -> Struct:
    """The kernel's structure that a map pointer points to."""
    return kernel_struct(_MAP_STRUCTS.get(reg.obj.type, "bpf_map"))


def _access_map_pointer(v: Walk, reg: Reg, regno: int, off: int, size: int, write: bool) -> None:
    """check_ptr_to_map_access."""
    struct = map_struct(reg)
    problem = ""
    if off < 0:
        problem = f"R{regno} is {struct.name} invalid negative access: off={off}"
    elif write:
        problem = f"only read from {struct.name} is supported"
    if problem:
        raise Refused("not-a-pointer", problem, regno, size=size, of=kind_name(reg))
    at_offset(btf_of(v, struct), struct.id, off, size)


_RULES: dict[int, Callable[[Walk, Reg, int, int, int, bool], None]] = {
    MAP_VALUE: _access_map_value,
    MAP_KEY: _access_map_key,
    MEM: _access_mem,
    STACK: _access_stack,
    PACKET: _access_packet,
    PACKET_META: _access_packet,
    CTX: _access_context,
    SOCKET: _access_socket,
    SOCK_COMMON: _access_socket,
    TCP_SOCK: _access_socket,
    BTF: _access_btf,
    MAP_PTR: _access_map_pointer,
}


_PLACES = {
    MAP_KEY: "key ", MAP_VALUE: "value ", CTX: "context ", STACK: "stack ", SOCKET: "sock ",
    SOCK_COMMON: "sock_common ", TCP_SOCK: "tcp_sock ",
}  # fmt: skip
NET_IP_ALIGN = 2
"""A packet's first byte is not where words begin: its network header is."""


def check_alignment(reg: Reg, regno: int, off: int, size: int) -> None:
    """check_ptr_alignment, strict: an access of so many bytes lies at a multiple of them."""
    start = NET_IP_ALIGN if reg.kind in PACKETS and not reg.flags else 0
    if size == 1 or tnum.aligned(tnum.add(reg.var.tnum, tnum.const(start + reg.off + off)), size):
        return
    where = "packet " if start else "" if reg.flags else _PLACES.get(reg.kind, "")
    before = f"{start}+" if start else ""
    raise Refused(
        "alignment",
        f"misaligned {where}access off {before}{tnum.text(reg.var.tnum)}+{reg.off}+{off} size {size}",
        regno,
        off=reg.off + off,
        size=size,
        where=where or "an ",
    )


def check_access(
    v: Walk, reg: Reg, regno: int, off: int, size: int, *, write: bool, strict: bool = False
) -> None:
    """May `size` bytes at `off` from where the pointer in `reg` points be read or written?

    Only the stack's accesses must be aligned, but with `strict` (atomic ones) all.
    """
    if strict or reg.kind == STACK:
        check_alignment(reg, regno, off, size)
    rule = _RULES.get(reg.kind)
    if rule is None or reg.flags & MAYBE_NULL:
        if reg.flags & MAYBE_NULL:
            raise Refused(
                "null-check",
                f"R{regno} invalid mem access '{kind_name(reg)}'",
                regno,
                size=size,
                of=kind_name(reg),
            )
        if isinstance(reg.obj, Lost):
            raise Refused("lost-pointer", f"R{regno} invalid mem access 'scalar'", regno, lost=reg.obj)
        raise Refused(
            "not-a-pointer" if reg.kind in (SCALAR, MAP_PTR) else "no-access",
            f"R{regno} invalid mem access '{kind_name(reg)}'",
            regno,
            size=size,
            of=kind_name(reg),
        )
    rule(v, reg, regno, off + reg.off, size, write)
