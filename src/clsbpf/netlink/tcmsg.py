"""struct tcmsg: the header of every traffic-control message, after struct nlmsghdr.

    0        4          8         12        16      20
    ├ family ┼ ifindex ─┼─ handle ┼─ parent ┼─ info ┤ attributes

Of a filter, `info` holds the prio in its upper half and the protocol in its lower, in *network*
order.  With `ifindex` TCM_IFINDEX_MAGIC_BLOCK the message is about a shared block, whose index lies
where `parent` does otherwise.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import ClsbpfError
from .attr import Attr, encode_attrs
from .message import NLMSG_HDRLEN, Message

TCM_IFINDEX_MAGIC_BLOCK = 0xFFFFFFFF
TCMSG_LEN = 20
ATTRS_OFFSET = NLMSG_HDRLEN + TCMSG_LEN
"""Where a traffic-control message's attributes begin."""

_TCMSG = struct.Struct("=BxHIIII")


def swap16(value: int) -> int:
    """htons(): a 16-bit number between the machine's order and the network's."""
    return (value >> 8 | value << 8) & 0xFFFF if sys.byteorder == "little" else value


@dataclass(frozen=True, slots=True)
class TcMsg:
    """struct tcmsg, all fields in the machine's order."""

    family: int = 0
    ifindex: int = 0
    handle: int = 0
    parent: int = 0
    info: int = 0

    @classmethod
    def of_filter(
        cls, ifindex: int, parent: int, *, prio: int = 0, protocol: int = 0, handle: int = 0
    ) -> TcMsg:
        """A filter's: `prio` 0 to 65535, `protocol` an ETH_P_* in host order."""
        return cls(0, ifindex, handle, parent, prio << 16 | swap16(protocol))

    @classmethod
    def of_block(cls, index: int, *, prio: int = 0, protocol: int = 0, handle: int = 0) -> TcMsg:
        """A filter's in the shared block `index`."""
        return cls.of_filter(TCM_IFINDEX_MAGIC_BLOCK, index, prio=prio, protocol=protocol, handle=handle)

    @property
    def is_block(self) -> bool:
        """Is it about a shared block, not a device?"""
        return self.ifindex == TCM_IFINDEX_MAGIC_BLOCK

    @property
    def block_index(self) -> int:
        """tcm_block_index, where `is_block`."""
        return self.parent

    @property
    def prio(self) -> int:
        """Of a filter: its prio, 0 to 65535."""
        return self.info >> 16

    @property
    def protocol(self) -> int:
        """Of a filter: its ETH_P_*, in host order."""
        return swap16(self.info & 0xFFFF)

    def encode(self) -> bytes:
        """The 20 bytes."""
        return _TCMSG.pack(self.family, 0, self.ifindex, self.handle, self.parent, self.info)

    @classmethod
    def decode(cls, payload: bytes) -> TcMsg:
        """The header at the start of a message's payload; ClsbpfError when it is cut."""
        if len(payload) < TCMSG_LEN:
            raise ClsbpfError(f"{len(payload)} bytes are too few for struct tcmsg ({TCMSG_LEN})")
        family, _, ifindex, handle, parent, info = _TCMSG.unpack_from(payload)
        return cls(family, ifindex, handle, parent, info)


def tc_message(
    type: int, header: TcMsg, attrs: Iterable[Attr] = (), *, flags: int = 0, seq: int = 0, pid: int = 0
) -> Message:
    """A whole traffic-control message."""
    return Message(type, flags, seq, pid, header.encode() + encode_attrs(attrs))
