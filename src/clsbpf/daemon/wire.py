"""What passes on the socket beside rtnetlink: its options, and the bpf(2)-like calls.

Everything on the socket is a netlink message (struct nlmsghdr) in a datagram of its own or with others.
Message types that rtnetlink does not have are the daemon's own:

    SOCKET  what a netlink socket has setsockopt(2) for: groups to listen to, kinds of acknowledgement
    BPF     a command of bpf(2): struct nlmsghdr, the command (u32), attributes

Both are answered (SOCKET where NLM_F_ACK asks for it) with a message of the same type and sequence
number.  A datagram has an end and a call may be long (a program of a million instructions has 8 MB), so a
call or its answer is one or more messages, all but the last with NLM_F_MULTI, and the value of an
attribute that repeats is its pieces joined.  An answer with ERRNO is a refusal.
"""

from __future__ import annotations

import errno
import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from ..errors import ClsbpfError
from ..netlink import attr as nla
from ..netlink.attr import Attr, encode_attrs, iter_attrs
from ..netlink.message import NLM_F_MULTI, NLM_F_REQUEST, Message


class Own(IntEnum):
    """Message types of the daemon's own, far above rtnetlink's (RTM_MAX)."""

    SOCKET = 0xCB10
    BPF = 0xCB14


class Option(IntEnum):
    """Attributes of a SOCKET message; each a u32."""

    PORTID = 1
    """Of an answer: the connection's address (nl_pid)."""
    ADD_MEMBERSHIP = 2
    """RTNLGRP_*; may repeat."""
    DROP_MEMBERSHIP = 3
    EXT_ACK = 4
    CAP_ACK = 5
    JOIN_ANSWERS = 6
    """1: what answers a datagram of several requests may come in one datagram."""
    STOP_AT_REFUSAL = 7
    """1: of a datagram, the requests after one that is refused are not done (ECANCELED)."""


class Bpf(IntEnum):
    """enum bpf_cmd, with the kernel's numbers, and what is another system call there."""

    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    MAP_GET_NEXT_KEY = 4
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_GET_NEXT_ID = 11
    MAP_GET_NEXT_ID = 12
    PROG_GET_FD_BY_ID = 13
    MAP_GET_FD_BY_ID = 14
    OBJ_GET_INFO_BY_FD = 15
    BTF_LOAD = 18
    MAP_LOOKUP_AND_DELETE_ELEM = 21
    MAP_FREEZE = 22
    CLOSE = 0x100
    """close(2) of a descriptor."""
    UNPIN = 0x101
    """unlink(2) of a pin."""


class Arg(IntEnum):
    """Attributes of a BPF message.  The comment says which field of union bpf_attr (or of an info) it is."""

    FD = 1  # map_fd, prog_fd, bpf_fd; of an answer: the new descriptor
    KEY = 2
    VALUE = 3
    FLAGS = 4  # flags, map_flags
    TYPE = 5  # map_type, prog_type
    KEY_SIZE = 6
    VALUE_SIZE = 7
    MAX_ENTRIES = 8
    NAME = 9  # map_name, prog_name
    INNER_FD = 10  # inner_map_fd
    MAP_EXTRA = 11
    BTF_FD = 12  # btf_fd, prog_btf_fd
    KEY_TYPE = 13  # btf_key_type_id
    VALUE_TYPE = 14  # btf_value_type_id
    INSNS = 15
    LICENSE = 16
    FUNC_INFO = 17  # struct bpf_func_info of 8 bytes each
    LINE_INFO = 18  # struct bpf_line_info of 16 bytes each
    KFUNCS = 19  # names, each ended by NUL: what the immediate of a call of a kernel function counts
    PATH = 20  # pathname
    DATA = 21  # btf
    ID = 22  # prog_id, map_id, next_id
    TAG = 23
    JITED = 24
    MAP_IDS = 25
    UID = 26  # created_by_uid
    LOAD_TIME = 27
    LOG = 28  # the verifier's
    ERRNO = 29
    MESSAGE = 30


_WIDE = (Arg.FLAGS, Arg.MAP_EXTRA, Arg.LOAD_TIME)
"""u64."""
_BYTES = (
    *(Arg.KEY, Arg.VALUE, Arg.NAME, Arg.INSNS, Arg.LICENSE, Arg.FUNC_INFO, Arg.LINE_INFO, Arg.KFUNCS),
    *(Arg.PATH, Arg.DATA, Arg.TAG, Arg.MAP_IDS, Arg.LOG, Arg.MESSAGE),
)
"""As long as they are; all others are u32."""

Args = Mapping[int, int | bytes]

PIECE = 32 * 1024
"""Bytes of an attribute in one message."""
CALL_LIMIT = 64 << 20
"""Bytes of a call, at most: a longer one is refused (E2BIG)."""

_COMMAND = struct.Struct("=I")


@dataclass(frozen=True, slots=True)
class Call:
    """A BPF message's command and attributes, decoded; of an answer, `command` is the one answered."""

    command: int
    args: Args
    seq: int = 0

    def number(self, arg: Arg, default: int | None = None) -> int:
        """A number; ClsbpfError (EINVAL) when it is missing and there is no default."""
        found = self.args.get(arg, default)
        if not isinstance(found, int):
            raise malformed(f"{_command_name(self.command)}: {arg.name} is missing")
        return found

    def bytes(self, arg: Arg, default: bytes | None = None) -> bytes:
        """Bytes, likewise."""
        found = self.args.get(arg, default)
        if not isinstance(found, bytes):
            raise malformed(f"{_command_name(self.command)}: {arg.name} is missing")
        return found

    def text(self, arg: Arg, default: str | None = None) -> str:
        """Text: bytes that are not UTF-8 survive."""
        found = self.bytes(arg, default.encode() if default is not None else None)
        return found.decode("utf-8", "surrogateescape")


def _command_name(command: int) -> str:
    return Bpf(command).name if command in list(Bpf) else f"bpf command {command}"


def malformed(message: str, code: int = errno.EINVAL) -> ClsbpfError:
    """The refusal of a call."""
    refusal = ClsbpfError(message)
    refusal.errno = code
    return refusal


def encode_call(
    command: int, args: Args, *, seq: int = 0, portid: int = 0, flags: int = NLM_F_REQUEST
) -> Iterator[bytes]:
    """The datagrams of a call, or with `flags` 0 of an answer."""
    pieces = [piece for arg, value in args.items() for piece in _pieces(Arg(arg), value)]
    groups: list[list[Attr]] = [[]]
    size = 0
    for piece in pieces:
        if size and size + len(piece.payload) > PIECE:
            groups.append([])
            size = 0
        groups[-1].append(piece)
        size += len(piece.payload)
    for at, group in enumerate(groups):
        more = NLM_F_MULTI if at + 1 < len(groups) else 0
        payload = _COMMAND.pack(command) + encode_attrs(group)
        yield Message(Own.BPF, flags | more, seq, portid, payload).encode()


def _pieces(arg: Arg, value: int | bytes) -> Iterator[Attr]:
    if isinstance(value, int):
        yield nla.u64(arg, value) if arg in _WIDE else nla.u32(arg, value)
        return
    for at in range(0, max(len(value), 1), PIECE):
        yield nla.binary(arg, value[at : at + PIECE])


@dataclass(slots=True)
class Assembler:
    """The messages of one side become calls.  What it holds of an unfinished one is bounded."""

    _pieces: dict[int, bytearray] = field(default_factory=dict)
    _size: int = 0
    _head: tuple[int, int] | None = None
    """Command and sequence number of the call that has begun."""

    def take(self, message: Message) -> Call | None:
        """The call that this message completes; ClsbpfError for what is none, which is forgotten."""
        try:
            return self._take(message)
        except ClsbpfError:
            self._forget()
            raise

    def _take(self, message: Message) -> Call | None:
        if len(message.payload) < _COMMAND.size:
            raise malformed("a bpf call without a command")
        (command,) = _COMMAND.unpack_from(message.payload)
        if self._head != (command, message.seq):
            self._forget()  # another one begins; the one before was given up
            self._head = (command, message.seq)
        for attr in iter_attrs(message.payload[_COMMAND.size :]):
            self._size += len(attr.payload) + nla.NLA_HDRLEN
            if self._size > CALL_LIMIT:
                raise malformed(f"a bpf call has at most {CALL_LIMIT >> 20} MB", errno.E2BIG)
            self._pieces.setdefault(attr.type, bytearray()).extend(attr.payload)
        if message.flags & NLM_F_MULTI:
            return None
        pieces = self._pieces
        self._forget()
        return Call(command, {arg: _value(arg, bytes(raw)) for arg, raw in pieces.items()}, message.seq)

    def _forget(self) -> None:
        self._pieces, self._size, self._head = {}, 0, None


def _value(arg: int, raw: bytes) -> int | bytes:
    if arg not in list(Arg) or arg in _BYTES:
        return raw
    size = 8 if arg in _WIDE else 4
    if len(raw) != size:
        raise malformed(f"{Arg(arg).name} has {len(raw)} bytes, must have {size}")
    return int.from_bytes(raw, sys.byteorder)
