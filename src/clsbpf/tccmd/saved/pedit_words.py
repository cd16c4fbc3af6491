"""pedit in tc's words: keys become `munge` again, by a header's field where one fits, else by offset.

A key is a word of 32 bits with a mask of what stays; a field is a part of one, or of several (addresses).
What is guessed wrong here is found out by who reads the words again.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...netlink.act import PEDIT_KEY, PEDIT_SEL, TcaPedit, TcaPeditKeyEx
from ...netlink.attr import Attr
from ..act import pedit

U32 = 0xFFFFFFFF
_WIDTHS = ((4, "u32"), (2, "u16"), (1, "u8"))
_COMMANDS = {pedit.SET: "set", pedit.ADD: "add"}


@dataclass(frozen=True, slots=True)
class Key:
    """struct tc_pedit_key with its header type and command; mask and value in the packet's order."""

    mask: int
    value: int
    offset: int
    at: int
    offmask: int
    shift: int
    htype: int = pedit.NETWORK
    command: int = pedit.SET

    @property
    def indirect(self) -> bool:
        """Does the offset come out of the packet?"""
        return bool(self.at or self.offmask or self.shift)


def munges(attrs: dict[int, Attr]) -> Iterator[str]:
    """The words after `pedit`, up to the control."""
    extended = TcaPedit.PARMS not in attrs
    keys = list(_keys(attrs, extended))
    if extended:
        yield "ex"
    at = 0
    while at < len(keys):
        words, count = _munge(keys[at:])
        yield from ("munge", *words)
        at += count


def _keys(attrs: dict[int, Attr], extended: bool) -> Iterator[Key]:
    sel = attrs[TcaPedit.PARMS_EX if extended else TcaPedit.PARMS].payload
    beside = [attr.attrs() for attr in attrs[TcaPedit.KEYS_EX].attrs()] if extended else []
    for number, key in enumerate(PEDIT_KEY.iter_unpack(sel[PEDIT_SEL.size :])):
        mask, value, offset, at, offmask, shift = key
        mask, value = (int.from_bytes(struct.pack("=I", each), "big") for each in (mask, value))
        signed = offset - (1 << 32) if offset >> 31 else offset
        more = {attr.type: attr.u16 for attr in beside[number]} if extended else {}
        htype = more.get(TcaPeditKeyEx.HTYPE, pedit.NETWORK)
        command = more.get(TcaPeditKeyEx.CMD, pedit.SET)
        yield Key(mask, value, signed, at, offmask, shift, htype, command)


def _munge(keys: Sequence[Key]) -> tuple[list[str], int]:
    """The words of one `munge`, and how many keys they stand for."""
    first = keys[0]
    if first.htype == pedit.ETH:
        for name, offset in (("dst", 0), ("src", 6)):
            address = _address(keys, _pieces(offset, 6))
            if address is not None:
                return ["eth", name, _COMMANDS[first.command], address.to_bytes(6, "big").hex(":")], 2
    if first.htype == pedit.IP6:
        for name, offset in (("src", 8), ("dst", 24)):
            address = _address(keys, _pieces(offset, 16))
            if address is not None:
                return ["ip6", name, _COMMANDS[first.command], str(ipaddress.IPv6Address(address))], 4
    if first.htype == pedit.NETWORK:
        return _raw(first), 1
    return _field(first), 1


def _pieces(offset: int, size: int) -> list[tuple[int, int]]:
    """(offset, size) of the parts of a field that lie in different words."""
    if size == 6:
        return [(offset, 2), (offset + 2, 4)] if offset & 3 else [(offset, 4), (offset + 4, 2)]
    return [(offset + 4 * n, 4) for n in range(size // 4)]


def _address(keys: Sequence[Key], pieces: Sequence[tuple[int, int]]) -> int | None:
    """The number that the first keys set in these places and nowhere else, or None."""
    if len(keys) < len(pieces):
        return None
    address = 0
    for key, (offset, size) in zip(keys, pieces, strict=False):
        most, stride = _place(offset, size)
        same = (key.htype, key.command) == (keys[0].htype, keys[0].command)
        if not same or key.offset != offset & ~3 or key.mask != U32 & ~(most << stride):
            return None
        address = address << 8 * size | key.value >> stride & most
    return address


def _place(offset: int, size: int) -> tuple[int, int]:
    """The largest value of so many bytes, and how far left they lie in their word."""
    return (1 << 8 * size) - 1, 8 * (4 - (offset & 3) - size)


def _raw(key: Key) -> list[str]:
    """An offset from the network header."""
    where = ["at", str(key.at), f"{key.offmask:x}", str(key.shift)] if key.indirect else []
    if key.mask == U32 and key.value:
        for size, width in _WIDTHS:
            for start in range(0, 5 - size, size):
                most, stride = _place(start, size)
                if key.value == most << stride:
                    return ["offset", str(key.offset + start), width, *where, "invert"]
    command = _COMMANDS.get(key.command, "set")
    retain = f"{~key.mask & U32:#x}"
    return ["offset", str(key.offset), "u32", *where, command, f"{key.value:#x}", "retain", retain]


def _field(key: Key) -> list[str]:
    """A field of a header that is a part of the key's word; the raw words where there is none."""
    for layer, name, offset, size, usual, is_address in pedit.fields(key.htype):
        if size > 4 or (offset & 3) + size > 4 or key.offset != offset & ~3:
            continue
        most, stride = _place(offset, size)
        around = U32 & ~(most << stride)
        if key.mask & around != around or key.value & around:
            continue
        value, kept = key.value >> stride & most, ~(key.mask >> stride) & most
        if key.mask == U32 and value == most:
            return [layer, name, "invert"]
        text = str(ipaddress.IPv4Address(value)) if is_address else str(value)
        retain = ["retain", f"{kept:#x}"] if kept != usual & most else []
        if value & ~kept:
            continue
        return [layer, name, _COMMANDS.get(key.command, "set"), text, *retain]
    return _raw(key)
