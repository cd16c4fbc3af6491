"""struct nlmsghdr, several messages in one datagram, and how the kernel says no (or yes).

    0        4      6       8      12      16
    ├─ len ──┼ type ┼ flags ┼ seq ─┼─ pid ─┼─ payload … ─┬─ padding to 4 ─┤

An answer to a request that failed, or that asked for an acknowledgement, is a message of type
NLMSG_ERROR: a negative errno (0 for yes), the header of the request and, unless capped, its payload,
then (with NLM_F_ACK_TLVS, for who asked for NETLINK_EXT_ACK) attributes that explain: the extended
acknowledgement, "extack".  A dump is messages with NLM_F_MULTI, ended by NLMSG_DONE, which carries an
errno the same way.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from ..errors import ClsbpfError, NetlinkError
from .attr import Attr, encode_attrs, iter_attrs, string, u32

NLMSG_HDRLEN = 16
NLMSG_ALIGNTO = 4

NLMSG_NOOP = 1
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLMSG_OVERRUN = 4
NLMSG_MIN_TYPE = 0x10

NLM_F_REQUEST = 0x01
NLM_F_MULTI = 0x02
NLM_F_ACK = 0x04
NLM_F_ECHO = 0x08
NLM_F_DUMP_INTR = 0x10
# of a GET request
NLM_F_ROOT = 0x100
NLM_F_MATCH = 0x200
NLM_F_ATOMIC = 0x400
NLM_F_DUMP = NLM_F_ROOT | NLM_F_MATCH
# of a NEW request
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
# of a DEL request
NLM_F_NONREC = 0x100
NLM_F_BULK = 0x200
# of an acknowledgement
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200

_HEADER = struct.Struct("=IHHII")
_ERRNO = struct.Struct("=i")


class ExtAckAttr(IntEnum):
    """enum nlmsgerr_attrs."""

    MSG = 1
    OFFS = 2
    COOKIE = 3
    POLICY = 4
    MISS_TYPE = 5
    MISS_NEST = 6


@dataclass(frozen=True, slots=True)
class Message:
    """One netlink message: struct nlmsghdr and its payload.

    `length` is what its header said, which a capped acknowledgement's inner header does not match;
    None when it is the size of the whole.
    """

    type: int
    flags: int = 0
    seq: int = 0
    pid: int = 0
    payload: bytes = b""
    length: int | None = None

    def encode(self) -> bytes:
        """The bytes, padded to four."""
        size = NLMSG_HDRLEN + len(self.payload)
        header = _HEADER.pack(
            size if self.length is None else self.length, self.type, self.flags, self.seq, self.pid
        )
        return header + self.payload + bytes(-size % NLMSG_ALIGNTO)


def iter_messages(datagram: bytes) -> Iterator[Message]:
    """The messages of one datagram, up to the first that is not whole (netlink_rcv_skb)."""
    at = 0
    while len(datagram) - at >= NLMSG_HDRLEN:
        length, type, flags, seq, pid = _HEADER.unpack_from(datagram, at)
        if not NLMSG_HDRLEN <= length <= len(datagram) - at:
            return
        yield Message(type, flags, seq, pid, bytes(datagram[at + NLMSG_HDRLEN : at + length]))
        at += -(-length // NLMSG_ALIGNTO) * NLMSG_ALIGNTO


@dataclass(frozen=True, slots=True)
class ExtAck:
    """struct netlink_ext_ack: why, and which attribute.

    `offset` counts from the start of the request's header; `policy` is what was demanded of that
    attribute (see `policy.describe`); `miss_type` and `miss_nest` name an attribute that is absent.
    """

    message: str | None = None
    offset: int | None = None
    policy: tuple[Attr, ...] | None = None
    miss_type: int | None = None
    miss_nest: int | None = None

    def attrs(self) -> list[Attr]:
        """The attributes, in the kernel's order (netlink_ack_tlv_fill)."""
        out: list[Attr] = []
        if self.message is not None:
            out.append(string(ExtAckAttr.MSG, self.message))
        if self.offset is not None:
            out.append(u32(ExtAckAttr.OFFS, self.offset))
        if self.policy is not None:
            out.append(Attr(ExtAckAttr.POLICY, encode_attrs(self.policy), nested=True))
        if self.miss_type is not None:
            out.append(u32(ExtAckAttr.MISS_TYPE, self.miss_type))
        if self.miss_nest is not None:
            out.append(u32(ExtAckAttr.MISS_NEST, self.miss_nest))
        return out

    @classmethod
    def from_attrs(cls, attrs: Sequence[Attr]) -> ExtAck:
        """What the attributes of an acknowledgement say."""
        by_type = {attr.type: attr for attr in attrs}
        policy = by_type.get(ExtAckAttr.POLICY)
        return cls(
            message=by_type[ExtAckAttr.MSG].string if ExtAckAttr.MSG in by_type else None,
            offset=by_type[ExtAckAttr.OFFS].u32 if ExtAckAttr.OFFS in by_type else None,
            policy=tuple(policy.attrs()) if policy is not None else None,
            miss_type=by_type[ExtAckAttr.MISS_TYPE].u32 if ExtAckAttr.MISS_TYPE in by_type else None,
            miss_nest=by_type[ExtAckAttr.MISS_NEST].u32 if ExtAckAttr.MISS_NEST in by_type else None,
        )


NO_EXTACK = ExtAck()


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What an NLMSG_ERROR or NLMSG_DONE message says.  `errno` is positive, 0 for success."""

    errno: int
    extack: ExtAck = NO_EXTACK
    request: Message | None = None

    def error(self) -> NetlinkError | None:
        """The refusal as an exception, None for success."""
        if self.errno == 0:
            return None
        return NetlinkError(self.errno, self.extack.message, self.extack.offset)


def acknowledge(
    request: Message,
    errno: int,
    extack: ExtAck = NO_EXTACK,
    *,
    portid: int = 0,
    ext_ack: bool = True,
    cap_ack: bool = False,
) -> Message:
    """netlink_ack(): the answer to one request; `errno` positive, 0 for success.

    `portid` is the asking socket's address, `ext_ack` and `cap_ack` its options.  The kernel repeats
    the request's payload only beside an error, and beside success says a message but no attribute.
    """
    capped = errno == 0 or cap_ack
    size = NLMSG_HDRLEN + len(request.payload)
    inner = Message(
        request.type, request.flags, request.seq, request.pid, b"" if capped else request.payload, size
    )
    if errno == 0:
        extack = ExtAck(message=extack.message)
    tlvs = encode_attrs(extack.attrs()) if ext_ack else b""
    return Message(
        NLMSG_ERROR,
        (NLM_F_CAPPED if capped else 0) | (NLM_F_ACK_TLVS if tlvs else 0),
        request.seq,
        portid,
        _ERRNO.pack(-errno) + inner.encode() + tlvs,
    )


def done(
    request: Message, errno: int = 0, extack: ExtAck = NO_EXTACK, *, portid: int = 0, ext_ack: bool = True
) -> Message:
    """netlink_dump_done(): the end of the dump that `request` asked for."""
    tlvs = encode_attrs(extack.attrs()) if ext_ack else b""
    return Message(
        NLMSG_DONE,
        NLM_F_MULTI | (NLM_F_ACK_TLVS if tlvs else 0),
        request.seq,
        portid,
        _ERRNO.pack(-errno) + tlvs,
    )


def read_acknowledgement(message: Message) -> Acknowledgement:
    """What an NLMSG_ERROR or NLMSG_DONE message says; ClsbpfError when it is cut."""
    if message.type not in (NLMSG_ERROR, NLMSG_DONE) or len(message.payload) < _ERRNO.size:
        raise ClsbpfError(f"a netlink message of type {message.type} is no acknowledgement")
    payload = message.payload
    (code,) = _ERRNO.unpack_from(payload)
    at = _ERRNO.size
    request = None
    if message.type == NLMSG_ERROR:
        if len(payload) < at + NLMSG_HDRLEN:
            raise ClsbpfError("a netlink error without the request it answers")
        length, type, flags, seq, pid = _HEADER.unpack_from(payload, at)
        held = NLMSG_HDRLEN if message.flags & NLM_F_CAPPED else max(length, NLMSG_HDRLEN)
        request = Message(type, flags, seq, pid, payload[at + NLMSG_HDRLEN : at + held], length)
        at += -(-held // NLMSG_ALIGNTO) * NLMSG_ALIGNTO
    extack = NO_EXTACK
    if message.flags & NLM_F_ACK_TLVS:
        extack = ExtAck.from_attrs(list(iter_attrs(payload[at:])))
    return Acknowledgement(-code, extack, request)
