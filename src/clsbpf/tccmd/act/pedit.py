"""pedit in words and rows (tc/m_pedit.c, p_ip.c, p_ip6.c, p_eth.c, p_tcp.c, p_udp.c).

`munge` names a place, as a raw offset or as a header's field, and what is done there.  Each becomes one
or more *keys*: 32-bit words of the packet with a mask of what stays.  `ex` says from which header on the
offset counts; without it, it counts from the network header, and only `set` is possible.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ...errors import ClsbpfError
from ...netlink import act as wire
from ...netlink import attr as nla
from ...netlink.act import PEDIT_KEY, PEDIT_SEL, TcaPedit, TcaPeditKeyEx
from ...netlink.attr import Attr, iter_attrs
from ..numbers import U32, strtoul, unsigned
from ..options import Options
from ..printer import Printer
from ..request import Lookups
from ..words import Words, matches
from .common import (
    LINK_ADDRESS_BYTES,
    TC_ACT_OK,
    Illegal,
    Names,
    by_type,
    control_or,
    fail,
    generic,
    help_wanted,
    link_address,
    maybe_index,
    show_control,
    show_holders,
    show_times,
)

USAGE = """\
Usage: ... pedit [ex] munge RAW|FIELD [munge …] [CONTROL] [index N]
           RAW:   offset N u8|u16|u32 [at N MASK SHIFT] CMD
           FIELD: eth src|dst|type, ip src|dst|tos|ttl|…, ip6 src|dst|hoplimit|…, tcp sport|dport|flags,
                  udp sport|dport  CMD
           CMD:   clear | invert | set N | add N | decrement | preserve  [retain MASK]"""

MAX_OFFS = 128
NETWORK, ETH, IP4, IP6, TCP, UDP = range(6)
SET, ADD = 0, 1
_HTYPES = {ETH: "eth", IP4: "ipv4", IP6: "ipv6", TCP: "tcp", UDP: "udp"}


@dataclass(frozen=True, slots=True)
class _Key:
    """struct tc_pedit_key with its struct m_pedit_key_ex; `mask` and `value` as the packet's words."""

    mask: int
    value: int
    offset: int
    htype: int
    command: int
    at: int = 0
    offmask: int = 0
    shift: int = 0

    def encode(self) -> bytes:
        """The 24 bytes."""
        mask, value = (struct.pack(">I", number & U32) for number in (self.mask, self.value))
        return mask + value + struct.pack("=IIII", self.offset & U32, self.at, self.offmask, self.shift)


def _u32(text: str, remarks: list[str]) -> int | None:
    return unsigned(text)


def _ipv4(text: str, remarks: list[str]) -> int | None:
    try:
        return int(ipaddress.IPv4Address(text))
    except ValueError:
        return None


def _ipv6(text: str, remarks: list[str]) -> int | None:
    try:
        return int(ipaddress.IPv6Address(text))
    except ValueError:
        return None


def _mac(text: str, remarks: list[str]) -> int | None:
    address = link_address(text, remarks)
    if address is None or text.count(":") != LINK_ADDRESS_BYTES - 1:
        return None
    return int.from_bytes(address, "big")


@dataclass(frozen=True, slots=True)
class _Field:
    """A header's field: where it is, how many bytes, how its values are written, which bits are its own."""

    offset: int
    size: int
    read: Callable[[str, list[str]], int | None] = _u32
    retain: int = U32
    decrements: bool = False
    shift: int = 0
    """p_ip6's traffic class lies across two bytes."""


def _byte(offset: int, retain: int = 0xFF, *, decrements: bool = False, shift: int = 0) -> _Field:
    return _Field(offset, 1, retain=retain, decrements=decrements, shift=shift)


def _half(offset: int) -> _Field:
    return _Field(offset, 2, retain=0xFFFF)


_IP = {
    "src": _Field(12, 4, _ipv4),
    "dst": _Field(16, 4, _ipv4),
    "tos": _byte(1),
    "ihl": _byte(0, 0x0F),
    "ttl": _byte(8, decrements=True),
    "protocol": _byte(9),
    "nofrag": _byte(6, 0x3F),
    "firstfrag": _byte(6, 0x1F),
    "ce": _byte(6, 0x80),
    "df": _byte(6, 0x40),
    "mf": _byte(6, 0x20),
}
_IP_BY_PREFIX = {"dsfield": _byte(1), "precedence": _byte(1)}
_IP_PLAIN = {"dport": _half(22), "sport": _half(20), "icmp_type": _byte(20), "icmp_code": _byte(20)}
"""Fields of what is behind an IPv4 header without options; `ex` has better ones."""
_LAYERS: dict[str, tuple[int, dict[str, _Field]]] = {
    "eth": (ETH, {"type": _half(12), "dst": _Field(0, 6, _mac), "src": _Field(6, 6, _mac)}),
    "ip6": (
        IP6,
        {
            "src": _Field(8, 16, _ipv6),
            "dst": _Field(24, 16, _ipv6),
            "flow_lbl": _Field(0, 4, retain=0x0007FFFF),
            "payload_len": _half(4),
            "nexthdr": _byte(6),
            "hoplimit": _byte(7, decrements=True),
            "traffic_class": _byte(1, shift=4),
        },
    ),
    "tcp": (TCP, {"sport": _half(0), "dport": _half(2), "flags": _byte(13)}),
    "udp": (UDP, {"sport": _half(0), "dport": _half(2)}),
}


@dataclass(slots=True)
class _Said:
    """What pedit's words have said so far."""

    extended: bool = False
    keys: list[_Key] = field(default_factory=list)
    place: str = ""
    """Where a `munge` goes wrong, if it does, as tc tells it."""


def parse(words: Words, lookups: Lookups) -> list[Attr]:
    """parse_pedit()."""
    said = _Said()
    count = 0
    while words:
        word = words.current
        if matches(word, "pedit"):
            count += 1
            if matches(words.next(), "ex"):
                if count > 1:
                    raise Illegal("'ex' must be before first 'munge'", USAGE)
                said.extended = True
                words.next()
        elif matches(word, "help"):
            raise help_wanted(USAGE, word)
        elif matches(word, "munge"):
            said.place = words.next()
            try:
                _munge(words, said)
            except Illegal as illegal:
                why = f"{illegal}\n" if str(illegal) else ""
                raise Illegal(f"{why}Bad pedit construct ({said.place})", USAGE) from None
            count += 1
        else:
            break
    control = control_or(words, TC_ACT_OK)
    index = maybe_index(words, 'Pedit: Illegal "index"')
    sel = generic(index, control) + struct.pack("=BB2x", len(said.keys), 0)
    sel += b"".join(key.encode() for key in said.keys)
    if not said.extended:
        return [nla.binary(TcaPedit.PARMS, sel)]
    extended = [
        nla.nest(
            TcaPedit.KEY_EX,
            [nla.u16(TcaPeditKeyEx.HTYPE, key.htype), nla.u16(TcaPeditKeyEx.CMD, key.command)],
            flagged=True,
        )
        for key in said.keys
    ]
    return [nla.binary(TcaPedit.PARMS_EX, sel), nla.nest(TcaPedit.KEYS_EX, extended, flagged=True)]


def _munge(words: Words, said: _Said) -> None:
    """parse_munge()."""
    if matches(words.current, "offset"):
        words.next()
        _raw(words, said)
        return
    layer = words.current
    words.next()
    htype, found = _find(layer, words.current, said.extended)
    if found is None or words.left < 2:
        fail("bad pedit parsing")
    words.next()
    try:
        _command(words, said, found, htype)
    except Illegal as illegal:
        raise Illegal("\n".join(filter(None, [str(illegal), "bad pedit parsing"]))) from None


def _find(layer: str, name: str, extended: bool) -> tuple[int, _Field | None]:
    """The header that an offset counts from, and a field of it."""
    if layer == "ip":
        found = _IP.get(name) or next(
            (value for key, value in _IP_BY_PREFIX.items() if matches(name, key)), None
        )
        if found is None and not extended:
            found = _IP_PLAIN.get(name)
        return (IP4 if extended else NETWORK), found
    if layer not in _LAYERS or not extended:
        return NETWORK, None
    htype, fields = _LAYERS[layer]
    return htype, fields.get(name)


def fields(htype: int) -> Iterator[tuple[str, str, int, int, int, bool]]:
    """A header's fields: layer, name, offset, bytes, the bits that are its own, is it an IPv4 address?"""
    layers = {IP4: ("ip", {**_IP, **_IP_BY_PREFIX})}
    layers |= {number: (layer, found) for layer, (number, found) in _LAYERS.items()}
    layer, found = layers.get(htype, ("", {}))
    for name, each in found.items():
        if not each.shift:
            yield layer, name, each.offset, each.size, each.retain, each.read is _ipv4


_WIDTHS = (("u32", 4, U32), ("u16", 2, 0xFFFF), ("u8", 1, 0xFF))


def _raw(words: Words, said: _Said) -> None:
    """parse_offset()."""
    said.place = words.current
    value, rest = strtoul(words.current, 0)
    if rest or words.current == "":
        fail("")
    offset = value - (1 << 64) if value >> 63 else value
    if not -(1 << 31) <= offset < 1 << 31:
        fail("")
    words.skip()
    width = next((each for each in _WIDTHS if words and matches(words.current, each[0])), None)
    if width is None:
        fail("")
    words.next()
    at = offmask = shift = 0
    if matches(words.current, "at"):
        numbers = [unsigned(words.next(), U32, base) for base in (0, 16, 0)]
        if None in numbers:
            fail("")
        at, offmask, shift = (number or 0 for number in numbers)
        words.next()
    place = _Field(offset, width[1], retain=width[2])
    said.place = words.current
    _command(words, said, place, NETWORK, (at, offmask, shift))


def _command(
    words: Words, said: _Said, place: _Field, htype: int, raw: tuple[int, int, int] | None = None
) -> None:
    """parse_cmd(): what is done to the field, as keys; `raw` are at, offmask and shift of a raw offset."""
    if not words:
        fail("")
    word, retain, command = words.current, place.retain, SET
    value = mask = 0
    if matches(word, "invert"):
        value = mask = (1 << 8 * min(place.size, 4)) - 1 if place.size in (1, 2, 4) else 0xFF
    elif matches(word, "set") or matches(word, "add"):
        if matches(word, "add"):
            command = ADD
            _need_extended(said)
        read = place.read(words.next(), words.remarks)
        if read is None:
            fail("")
        value = read
    elif matches(word, "decrement"):
        if not place.decrements:
            fail("decrement command is not supported for this field")
        _need_extended(said)
        command, value = ADD, retain
    elif matches(word, "preserve"):
        retain = 0
    elif not matches(word, "clear"):
        fail("")
    words.skip()
    if words.at_prefix_of("retain"):
        kept = unsigned(words.next())
        if kept is None:
            fail("")
        retain = kept
        words.skip()
    if place.size > 4 and retain != U32:
        fail("retain is not supported for fields longer the 32 bits")
    if raw is not None:
        said.place = words.current if words else "(null)"
    for offset, size, part, partial in _parts(place, value, mask):
        _pack(said, offset, size, part, partial, retain, (htype, command), raw or (0, 0, 0))
    if place.shift:
        key = said.keys[-1]
        said.keys[-1] = _Key(
            (key.mask << place.shift | (1 << place.shift) - 1) & U32,
            key.value << place.shift & U32,
            key.offset,
            key.htype,
            key.command,
        )


def _need_extended(said: _Said) -> None:
    if not said.extended:
        fail("Non extended mode. only 'set' command is supported")


def _parts(place: _Field, value: int, mask: int) -> list[tuple[int, int, int, int]]:
    """(offset, size, value, mask) of the pieces: pack_mac() and pack_ipv6() for long ones."""
    offset = place.offset
    if place.size == 16:
        return [(offset + 4 * n, 4, value >> 96 - 32 * n & U32, 0) for n in range(4)]
    if place.size == 6:
        if offset & 3:
            return [(offset, 2, value >> 32, 0), (offset + 2, 4, value & U32, 0)]
        return [(offset, 4, value >> 16, 0), (offset + 4, 2, value & 0xFFFF, 0)]
    return [(offset, place.size, value, mask)]


def _pack(
    said: _Said,
    offset: int,
    size: int,
    value: int,
    mask: int,
    retain: int,
    extended: tuple[int, int],
    indirect: tuple[int, int, int],
) -> None:
    """pack_key8(), pack_key16(), pack_key32(), pack_key()."""
    most = (1 << 8 * size) - 1
    if value > most or mask > most:
        fail("pack_key16 bad value" if size == 2 else f"pack_key8 bad value (val {value:x} mask {mask:x}")
    start = offset & 3
    if start + size > 4:
        fail(
            f"pack_key16 bad index value {start}"
            if size == 2
            else "pack_key32: 32 bit offsets must begin in 32bit boundaries"
        )
    stride = 8 * (4 - start - size)
    around = U32 & ~(most << stride)
    if len(said.keys) >= MAX_OFFS:
        fail("")
    if not said.extended and extended != (NETWORK, SET):
        fail("Munge parameters not supported. Use 'pedit ex munge ...'.")
    said.keys.append(
        _Key(
            ((mask | ~retain & U32) << stride | around) & U32,
            (value & retain) << stride & U32,
            offset & ~3,
            *extended,
            *indirect,
        )
    )


TITLE = " pedit "
SIZES: dict[int, int] = {
    TcaPedit.PARMS: PEDIT_SEL.size,
    TcaPedit.PARMS_EX: PEDIT_SEL.size,
    TcaPedit.TM: wire.TM.size,
}


def show(out: Printer, attrs: dict[int, Attr], options: Options, names: Names) -> None:
    """print_pedit()."""
    sel = attrs.get(TcaPedit.PARMS) or attrs.get(TcaPedit.PARMS_EX)
    if sel is None:
        raise ClsbpfError("Missing pedit parameters")
    parms = wire.GenericParms.decode(sel.payload)
    count = PEDIT_SEL.unpack_from(sel.payload)[5]
    keys = sel.payload[PEDIT_SEL.size :]
    if len(keys) < count * PEDIT_KEY.size:
        raise ClsbpfError("pedit parameters are cut")
    extended = None
    if TcaPedit.PARMS not in attrs:
        extended = _extended(attrs.get(TcaPedit.KEYS_EX), count)
    show_control(out, "action ", parms.control, " ")
    out.both("nkeys", f"keys {count}\n", count)
    out.both("index", f" \t index {parms.index}", parms.index)
    show_holders(out, parms.references, parms.bindings)
    show_times(out, attrs.get(TcaPedit.TM), options)
    with out.array("keys"):
        for number in range(count):
            htype, command = extended[number] if extended is not None else (NETWORK, SET)
            with out.object():
                out.say(f"\n\t key #{number}  at ")
                _show_key(out, keys[number * PEDIT_KEY.size :], htype, command)
        if not count:
            out.say(f"\npedit {parms.index:x} keys {count} is not LEGIT")
    out.end_line()


def _show_key(out: Printer, key: bytes, htype: int, command: int) -> None:
    mask, value = struct.unpack_from(">II", key)
    (offset,) = struct.unpack_from("=i", key, 8)
    if htype == NETWORK:
        out.value("htype", "network")
        out.both("offset", f"{offset}", offset)
    else:
        name = _HTYPES.get(htype, f"unknown({htype})")
        out.both("htype", name, name)
        out.both("offset", f"{offset:+d}", offset)
    out.say(": add" if command else ": val")
    out.value("cmd", "add" if command else "set")
    out.both("val", f" {value:08x}", f"{value:x}")
    out.both("mask", f" mask {mask:08x}", f"{mask:x}")


def _extended(nest: Attr | None, count: int) -> list[tuple[int, int]]:
    """pedit_keys_ex_getattr(): (header, command) of each key."""
    found: list[tuple[int, int]] = []
    for each in iter_attrs(nest.payload if nest is not None else b""):
        attrs = by_type(each, {TcaPeditKeyEx.HTYPE: 2, TcaPeditKeyEx.CMD: 2})
        if each.type != TcaPedit.KEY_EX or len(attrs.keys() & {1, 2}) < 2:
            raise ClsbpfError("Netlink error")
        found.append((attrs[TcaPeditKeyEx.HTYPE].u16, attrs[TcaPeditKeyEx.CMD].u16))
    if nest is None or len(found) != count:
        raise ClsbpfError("Netlink error")
    return found
