"""pedit: change any bits of the packet, word by word.

Each *key* takes the 32-bit word at an offset, keeps the bits of `mask` and sets the others to (or, as
`add`, by adding) `value`; both as they lie in the packet.  The offset counts from the network header, or
with `ex` from the header that it names.  An offset may depend on a byte of the packet (`at`, `offmask`,
`shift`).  A key that points outside the packet ends the work; what was changed stays so.

Mirrors net/sched/act_pedit.c.
"""

from __future__ import annotations

import enum
import logging
import sys
from dataclasses import dataclass

from ...skb import Skb
from ..result import ClassifyResult
from . import headers
from .action import Action

_log = logging.getLogger(__name__)

U32 = 0xFFFFFFFF


class Header(enum.IntEnum):
    """enum pedit_header_type."""

    NETWORK = 0
    ETH = 1
    IP4 = 2
    IP6 = 3
    TCP = 4
    UDP = 5


@dataclass(frozen=True, slots=True)
class Key:
    """struct tc_pedit_key: numbers in the machine's order of the packet's bytes; `offset` is signed."""

    mask: int
    value: int
    offset: int
    at: int = 0
    offmask: int = 0
    shift: int = 0
    header: Header = Header.NETWORK
    add: bool = False


@dataclass(frozen=True, slots=True)
class PeditParams:
    """struct tcf_pedit_parms; `extended`: was it given with `ex`?"""

    keys: tuple[Key, ...]
    flags: int = 0
    extended: bool = False


class Pedit(Action[PeditParams]):
    """struct tcf_pedit."""

    kind = "pedit"

    def act(self, skb: Skb, result: ClassifyResult) -> int:
        """tcf_pedit_act()."""
        self.used(skb)
        for key in self.params.keys:
            if not _edit(skb, key):
                self.overlimit()
                break
        return self.control


def _edit(skb: Skb, key: Key) -> bool:
    """One key; False when it points outside the packet."""
    base = _header_offset(skb, key.header)
    if base is None:
        return False
    offset = key.offset
    if key.offmask:
        byte = headers.read(skb, base + key.at, 1)
        if byte is None:
            return False
        offset += (byte[0] & key.offmask) >> key.shift
        if offset % 4:
            _log.info("tc action pedit offset must be on 32 bit boundaries")
            return False
    word = headers.read(skb, base + offset, 4)
    if word is None:
        return False
    old = int.from_bytes(word, sys.byteorder)
    value = (old + key.value & U32) & ~key.mask & U32 if key.add else key.value
    headers.write(skb, base + offset, ((old & key.mask) ^ value).to_bytes(4, sys.byteorder))
    return True


def _header_offset(skb: Skb, header: Header) -> int | None:
    """pedit_skb_hdr_offset(), from `data`; None where the packet has no such header."""
    match header:
        case Header.ETH:
            return skb.mac_header - skb.data
        case Header.TCP | Header.UDP:
            return _transport_offset(skb, 6 if header is Header.TCP else 17)
        case _:
            return headers.network_offset(skb)


def _transport_offset(skb: Skb, wanted: int) -> int | None:
    """pedit_l4_skb_offset(): behind the IP header, if that says TCP or UDP and is no later fragment."""
    network = headers.network_offset(skb)
    if skb.protocol == headers.ETH_P_IP:
        header = headers.read(skb, network, 20)
        if header is None or header[9] != wanted or int.from_bytes(header[6:8], "big") & 0x1FFF:
            return None
        return network + (header[0] & 0x0F) * 4
    if skb.protocol == headers.ETH_P_IPV6:
        found = headers.ipv6_transport(skb, network)
        return found[1] if found is not None and found[0] == wanted else None
    return None
