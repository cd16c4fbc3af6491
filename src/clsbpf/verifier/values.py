"""What may a register hold?  struct bpf_reg_state, as values that are never changed once made.

A register is unwritten, a number (`ranges`), or a pointer.  A pointer is of a kind, has a fixed offset
(`off`) and a variable part (`var`, a Range), and what its kind needs: how far the packet is known to
reach, the map, the size of the memory.  Pointers and numbers that are known to be equal share an `id`;
what must be given back carries a `ref`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .ranges import UNKNOWN, ZERO, Range, const

NOT_INIT = 0
SCALAR = 1
CTX = 2
MAP_PTR = 3
MAP_VALUE = 4
MAP_KEY = 5
STACK = 6
PACKET_META = 7
PACKET = 8
PACKET_END = 9
SOCKET = 10
SOCK_COMMON = 11
TCP_SOCK = 12
MEM = 13
FUNC = 14
BTF = 15
DYNPTR = 16
"""CONST_PTR_TO_DYNPTR: the argument of a user_ringbuf_drain callback."""

KIND_NAMES = {
    NOT_INIT: "?",
    SCALAR: "scalar",
    CTX: "ctx",
    MAP_PTR: "map_ptr",
    MAP_VALUE: "map_value",
    MAP_KEY: "map_key",
    STACK: "fp",
    PACKET_META: "pkt_meta",
    PACKET: "pkt",
    PACKET_END: "pkt_end",
    SOCKET: "sock",
    SOCK_COMMON: "sock_common",
    TCP_SOCK: "tcp_sock",
    MEM: "mem",
    FUNC: "func",
    BTF: "ptr_",
    DYNPTR: "dynptr_ptr",
}
"""reg_type_str."""

MAYBE_NULL = 1
RDONLY = 2
RINGBUF = 4
TRUSTED = 8
RCU = 16
UNTRUSTED = 32
PERCPU = 64
ALLOC = 128
"""MEM_ALLOC: of bpf_obj_new, or a kernel pointer to such."""
NON_OWNING = 256
USER = 512
PACKET_SLICE = 1024
"""DYNPTR_TYPE_SKB on memory: a slice of the packet, worthless when the packet moves."""

PACKETS = frozenset({PACKET, PACKET_META})
PACKETS_ANY = frozenset({PACKET, PACKET_META, PACKET_END})
SOCKETS = frozenset({SOCKET, SOCK_COMMON, TCP_SOCK})

AT_END, BEYOND_END = -1, -2
"""PTR_TO_PACKET's range where it is known not to be before `data_end`: AT_PKT_END, BEYOND_PKT_END."""

ADD_CONST64, ADD_CONST32 = 1 << 31, 1 << 30
ADD_CONST = ADD_CONST64 | ADD_CONST32
"""BPF_ADD_CONST, in a number's id: it is `off` more than the others of that id, in 64 bits or in 32."""


class Reg:
    """struct bpf_reg_state.

    `size`: of a PACKET the bytes from its start known to be there; of MEM its bytes; of STACK the frame.
    `obj`: of map pointers, values and keys the MapSpec; of FUNC the subprogram; of BTF the type; of
    a number that was a pointer `Lost`.
    `uid`: which map, where it came out of a map of maps.
    """

    __slots__ = ("flags", "id", "kind", "obj", "off", "ref", "size", "uid", "var")

    def __init__(
        self,
        kind: int,
        var: Range = ZERO,
        off: int = 0,
        id: int = 0,
        flags: int = 0,
        ref: int = 0,
        size: int = 0,
        obj: Any = None,
        uid: int = 0,
    ) -> None:
        self.kind = kind
        self.var = var
        self.off = off
        self.id = id
        self.flags = flags
        self.ref = ref
        self.size = size
        self.obj = obj
        self.uid = uid

    def but(self, **changes: Any) -> Reg:
        """The same with some fields changed."""
        new = clone(self)
        for name, value in changes.items():
            setattr(new, name, value)
        return new

    @property
    def is_null(self) -> bool:
        """register_is_null: the number 0."""
        return self.kind == SCALAR and self.var is ZERO

    @property
    def is_pointer(self) -> bool:
        """__is_pointer_value."""
        return self.kind != SCALAR

    def __repr__(self) -> str:
        from .log import register_text

        return register_text(self)


def clone(r: Reg) -> Reg:
    """A copy, to be changed before anyone else sees it."""
    n = Reg.__new__(Reg)
    n.kind = r.kind
    n.var = r.var
    n.off = r.off
    n.id = r.id
    n.flags = r.flags
    n.ref = r.ref
    n.size = r.size
    n.obj = r.obj
    n.uid = r.uid
    return n


UNWRITTEN = Reg(NOT_INIT)


def unknown() -> Reg:
    """mark_reg_unknown."""
    return Reg(SCALAR, UNKNOWN)


@dataclass(frozen=True, slots=True)
class Lost:
    """Why a number was a pointer once: `what` it was, and the instruction that made it worthless."""

    what: str
    insn: int


def lost(what: str, insn: int) -> Reg:
    """mark_reg_invalid: a pointer that is none any more is a number, and may be anything."""
    return Reg(SCALAR, UNKNOWN, obj=Lost(what, insn))


def number(value: int) -> Reg:
    """mark_reg_known."""
    return Reg(SCALAR, const(value))


def known_width(r: Range) -> int:
    """get_reg_width: how many bits it takes at most."""
    return r.umax.bit_length()
