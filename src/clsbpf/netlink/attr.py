"""One netlink attribute and streams of them: struct nlattr.

    0        2              4
    ├─ len ──┼─ N B  type ──┼─ payload … ─┬─ padding to 4 ─┤

`len` counts the four bytes of the header and the payload, not the padding.  The two high bits of the
type are flags: N (NLA_F_NESTED), the payload is itself a stream of attributes; B
(NLA_F_NET_BYTEORDER), it is in network order.  Numbers are otherwise in the machine's own order.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ..errors import ClsbpfError

NLA_F_NESTED = 0x8000
NLA_F_NET_BYTEORDER = 0x4000
NLA_TYPE_MASK = 0x3FFF
NLA_HDRLEN = 4
NLA_ALIGNTO = 4
MAX_PAYLOAD = 0xFFFF - NLA_HDRLEN

_HEADER = struct.Struct("=HH")
_LENGTH = struct.Struct("=H")


class AttrError(ClsbpfError):
    """An attribute cannot be encoded, or its payload is not what its reader expects."""


@dataclass(frozen=True, slots=True)
class Attr:
    """struct nlattr: `type` without its flags, `payload` without padding.

    `offset` is where its header lay in the message it was read from (-1 if it was not read), what
    NLMSGERR_ATTR_OFFS reports; it takes no part in comparison.
    """

    type: int
    payload: bytes = b""
    nested: bool = False
    offset: int = field(default=-1, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.type <= NLA_TYPE_MASK:
            raise AttrError(f"attribute type {self.type} is not within 0 to {NLA_TYPE_MASK}")
        if len(self.payload) > MAX_PAYLOAD:
            raise AttrError(f"attribute {self.type}: {len(self.payload)} bytes are more than {MAX_PAYLOAD}")

    # Reading as the kernel does: a longer payload is read from its start (nla_get_u32 and family),
    # a string ends at its first NUL.

    @property
    def u8(self) -> int:
        """nla_get_u8()."""
        return self._number(1)

    @property
    def u16(self) -> int:
        """nla_get_u16()."""
        return self._number(2)

    @property
    def u32(self) -> int:
        """nla_get_u32()."""
        return self._number(4)

    @property
    def u64(self) -> int:
        """nla_get_u64()."""
        return self._number(8)

    @property
    def string(self) -> str:
        """The text before the first NUL; bytes that are not UTF-8 are kept (surrogateescape)."""
        return self.payload.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")

    def attrs(self) -> list[Attr]:
        """The attributes inside a nested one; their offsets count from where this one's do."""
        start = self.offset + NLA_HDRLEN if self.offset >= 0 else 0
        return list(iter_attrs(self.payload, start))

    def _number(self, size: int) -> int:
        if len(self.payload) < size:
            raise AttrError(f"attribute {self.type}: {len(self.payload)} bytes, {size} were expected")
        return int.from_bytes(self.payload[:size], sys.byteorder)


def u8(type: int, value: int) -> Attr:
    """An attribute of one byte."""
    return _number(type, value, 1)


def u16(type: int, value: int) -> Attr:
    """An attribute of two bytes."""
    return _number(type, value, 2)


def u32(type: int, value: int) -> Attr:
    """An attribute of four bytes."""
    return _number(type, value, 4)


def u64(type: int, value: int) -> Attr:
    """An attribute of eight bytes."""
    return _number(type, value, 8)


def string(type: int, value: str) -> Attr:
    """A NUL-terminated text (nla_put_string)."""
    return Attr(type, value.encode("utf-8", "surrogateescape") + b"\0")


def binary(type: int, value: bytes) -> Attr:
    """Bytes as they are."""
    return Attr(type, bytes(value))


def flag(type: int) -> Attr:
    """An attribute whose presence is its value."""
    return Attr(type)


def nest(type: int, attrs: Iterable[Attr], *, flagged: bool = False) -> Attr:
    """A nested attribute.

    `flagged` sets NLA_F_NESTED.  tc's requests and the kernel's traffic-control replies leave it out
    nearly everywhere (nla_nest_start_noflag).
    """
    return Attr(type, encode_attrs(attrs), nested=flagged)


def _number(type: int, value: int, size: int) -> Attr:
    try:
        return Attr(type, value.to_bytes(size, sys.byteorder))
    except OverflowError:
        raise AttrError(f"attribute {type}: {value} does not fit {size} unsigned bytes") from None


def encode_attrs(attrs: Iterable[Attr]) -> bytes:
    """The attributes one after the other, each padded to four bytes."""
    out = bytearray()
    for attr in attrs:
        out += _HEADER.pack(NLA_HDRLEN + len(attr.payload), attr.type | (NLA_F_NESTED if attr.nested else 0))
        out += attr.payload
        out += bytes(-len(out) % NLA_ALIGNTO)
    return bytes(out)


def iter_attrs(data: bytes, offset: int = 0) -> Iterator[Attr]:
    """nla_for_each_attr: the attributes in `data`, up to the first that is not whole.

    `offset` is the place of `data` in its message.  What is left over is `leftover(data)`.
    """
    at = 0
    while len(data) - at >= NLA_HDRLEN:
        length, type = _HEADER.unpack_from(data, at)
        if not NLA_HDRLEN <= length <= len(data) - at:
            return
        yield Attr(
            type & NLA_TYPE_MASK,
            bytes(data[at + NLA_HDRLEN : at + length]),
            nested=bool(type & NLA_F_NESTED),
            offset=offset + at,
        )
        at += -(-length // NLA_ALIGNTO) * NLA_ALIGNTO


def leftover(data: bytes) -> int:
    """How many bytes at the end of `data` are not part of an attribute (negative: padding is missing)."""
    at = 0
    while len(data) - at >= NLA_HDRLEN:
        (length,) = _LENGTH.unpack_from(data, at)
        if not NLA_HDRLEN <= length <= len(data) - at:
            break
        at += -(-length // NLA_ALIGNTO) * NLA_ALIGNTO
    return len(data) - at
