"""tunnel_key in words and rows (tc/m_tunnel_key.c)."""

from __future__ import annotations

import ipaddress
import struct
from contextlib import AbstractContextManager

from ...errors import ClsbpfError
from ...netlink import act as wire
from ...netlink import attr as nla
from ...netlink.act import TUNNEL_KEY_PARMS, TUNNEL_KEY_RELEASE, TUNNEL_KEY_SET, TcaTunnelKey
from ...netlink.attr import Attr, iter_attrs
from ..errors import CommandError
from ..numbers import U16, unsigned
from ..options import Options
from ..printer import Printer
from ..request import Lookups
from ..words import Words, matches
from .common import (
    TC_ACT_PIPE,
    Illegal,
    Names,
    be16,
    by_type,
    control_or,
    fail,
    help_wanted,
    ipv4_address,
    maybe_index,
    need,
    parms_attr,
    show_control,
    show_tail,
)

USAGE = """\
Usage: ... tunnel_key unset | set src_ip IP dst_ip IP [id N] [dst_port N] [tos N] [ttl N]
                      [csum|nocsum] [nofrag]
                      [geneve_opts CLASS:TYPE:DATA,… | vxlan_opts GBP | erspan_opts VERSION:INDEX:DIR:HWID]
                      [CONTROL] [index N]"""

GENEVE, VXLAN, ERSPAN = 1, 2, 3
TITLE = "tunnel_key "
SIZES: dict[int, int] = {
    TcaTunnelKey.PARMS: TUNNEL_KEY_PARMS.size,
    TcaTunnelKey.TM: wire.TM.size,
    TcaTunnelKey.ENC_KEY_ID: 4,
    TcaTunnelKey.ENC_DST_PORT: 2,
    TcaTunnelKey.NO_CSUM: 1,
    TcaTunnelKey.ENC_TOS: 1,
    TcaTunnelKey.ENC_TTL: 1,
}


def parse(words: Words, lookups: Lookups) -> list[Attr]:
    """parse_tunnel_key(): the attributes stand as the words come."""
    words.next()
    attrs: list[Attr] = []
    action = 0
    checksum = True
    seen: set[str] = set()
    while words:
        word = words.current
        if matches(word, "unset") or matches(word, "set"):
            if action:
                raise Illegal(f'unexpected "{word}" - action already specified', USAGE)
            action = TUNNEL_KEY_RELEASE if matches(word, "unset") else TUNNEL_KEY_SET
        elif matches(word, "src_ip"):
            attrs.append(_address(words.next(), TcaTunnelKey.ENC_IPV4_SRC))
            seen.add("src")
        elif matches(word, "dst_ip"):
            attrs.append(_address(words.next(), TcaTunnelKey.ENC_IPV4_DST))
            seen.add("dst")
        elif matches(word, "id"):
            number = unsigned(words.next(), base=10)
            if number is None:
                fail('Illegal "id"')
            attrs.append(nla.binary(TcaTunnelKey.ENC_KEY_ID, struct.pack(">I", number)))
        elif matches(word, "dst_port"):
            number = unsigned(words.next(), U16, 10)
            if number is None:
                fail('Illegal "dst port"')
            attrs.append(nla.binary(TcaTunnelKey.ENC_DST_PORT, struct.pack(">H", number)))
        elif (kind := _options_kind(word)) is not None:
            attrs.append(_options(words.next(), kind))
        elif matches(word, "tos"):
            attrs.append(_byte(words.next(), "tos", TcaTunnelKey.ENC_TOS))
        elif matches(word, "ttl"):
            attrs.append(_byte(words.next(), "ttl", TcaTunnelKey.ENC_TTL))
        elif matches(word, "csum"):
            checksum = True
        elif matches(word, "nocsum"):
            checksum = False
        elif word == "nofrag":
            attrs.append(nla.flag(TcaTunnelKey.NO_FRAG))
        elif matches(word, "help"):
            raise help_wanted(USAGE, word)
        else:
            break
        words.skip()
    attrs.append(nla.u8(TcaTunnelKey.NO_CSUM, not checksum))
    control = control_or(words, TC_ACT_PIPE)
    index = maybe_index(words, 'tunnel_key: Illegal "index"')
    if action == TUNNEL_KEY_SET and seen != {"src", "dst"}:
        raise Illegal("set needs tunnel_key parameters", USAGE)
    return [*attrs, parms_attr(TcaTunnelKey.PARMS, index, control, struct.pack("=i", action))]


def _address(text: str, ipv4: TcaTunnelKey) -> Attr:
    """IPv6's attribute numbers are IPv4's and two more."""
    if text in _NO_ADDRESS:
        return nla.binary(ipv4 + 2, b"")  # no address of no family: the kernel's to refuse
    if ":" in text:
        try:
            return nla.binary(ipv4 + 2, ipaddress.IPv6Address(text).packed)
        except ValueError:
            address = None
    else:
        address = ipv4_address(text)
    if address is None:
        # get_addr() ends tc itself.
        message = f'Error: any valid address is expected rather than "{text}".'
        raise CommandError(message, 1, word=text, ends_batch=True)
    return nla.binary(ipv4, address)


_NO_ADDRESS = ("default", "all", "any")


def _byte(text: str, name: str, number: int) -> Attr:
    value = unsigned(text, 255, 10)
    if value is None:
        value = unsigned(text, 255, 16)
    if value is None:
        fail(f'Illegal "{name}"')
    return nla.u8(number, value)


def _options_kind(word: str) -> int | None:
    names = (("geneve_opts", GENEVE), ("vxlan_opts", VXLAN), ("erspan_opts", ERSPAN))
    return next((kind for name, kind in names if matches(word, name)), None)


def _options(text: str, kind: int) -> Attr:
    """TCA_TUNNEL_KEY_ENC_OPTS.  tc flags vxlan's and erspan's nests, and not geneve's."""
    if kind == GENEVE:
        inner = [nla.nest(GENEVE, _geneve(each)) for each in text.split(",") if each]
        return nla.nest(TcaTunnelKey.ENC_OPTS, inner)
    if kind == VXLAN:
        gbp = unsigned(text)
        if gbp is None:
            fail('Illegal "vxlan_opts"')
        inside = [nla.u32(1, gbp)]
    else:
        inside = _erspan(text)
    nest = nla.nest(kind, inside, flagged=True)
    return nla.nest(TcaTunnelKey.ENC_OPTS, [nest], flagged=True)


def _geneve(text: str) -> list[Attr]:
    parts = [part for part in text.split(":") if part]
    attrs: list[Attr] = []
    for number, part in enumerate(parts, 1):
        if number == 3:
            try:
                attrs.append(nla.binary(3, bytes.fromhex(part[: len(part) // 2 * 2])))
            except ValueError:
                fail('Illegal "geneve_opts"')
            continue
        value = unsigned(part, U16 if number == 1 else 255, 16)
        if value is None or number > 3:
            fail('Illegal "geneve_opts"')
        attrs.append(nla.binary(1, struct.pack(">H", value)) if number == 1 else nla.u8(2, value))
    return attrs


def _erspan(text: str) -> list[Attr]:
    attrs: list[Attr] = []
    for number, part in enumerate((part for part in text.split(":") if part), 1):
        value = unsigned(part, 0xFFFFFFFF if number == 2 else 255)
        if value is None or number > 4:
            fail('Illegal "erspan_opts"')
        attrs.append(nla.binary(2, struct.pack(">I", value)) if number == 2 else nla.u8(number, value))
    return attrs


def show(out: Printer, attrs: dict[int, Attr], options: Options, names: Names) -> None:
    """print_tunnel_key()."""
    payload = need(attrs, TcaTunnelKey.PARMS, "Missing tunnel_key parameters")
    parms = wire.GenericParms.decode(payload)
    action = TUNNEL_KEY_PARMS.unpack_from(payload)[-1]
    if action == TUNNEL_KEY_RELEASE:
        out.both("mode", " unset", "unset")
    elif action == TUNNEL_KEY_SET:
        out.both("mode", " set", "set")
        _show_set(out, attrs)
    show_control(out, " ", parms.control)
    out.end_line()
    show_tail(out, parms, attrs.get(TcaTunnelKey.TM), options)


def _show_set(out: Printer, attrs: dict[int, Attr]) -> None:
    for number in range(TcaTunnelKey.ENC_IPV4_SRC, TcaTunnelKey.ENC_IPV6_DST + 1):
        if number in attrs and len(attrs[number].payload) in (4, 16):
            key = "src_ip" if number in (TcaTunnelKey.ENC_IPV4_SRC, TcaTunnelKey.ENC_IPV6_SRC) else "dst_ip"
            _line(out, key, str(ipaddress.ip_address(attrs[number].payload)))
    if TcaTunnelKey.ENC_KEY_ID in attrs:
        _line(out, "key_id", int.from_bytes(attrs[TcaTunnelKey.ENC_KEY_ID].payload[:4], "big"))
    if TcaTunnelKey.ENC_DST_PORT in attrs:
        _line(out, "dst_port", be16(attrs[TcaTunnelKey.ENC_DST_PORT].payload))
    if TcaTunnelKey.ENC_OPTS in attrs:
        _show_options(out, attrs[TcaTunnelKey.ENC_OPTS])
    if TcaTunnelKey.NO_CSUM in attrs:
        flag = "nocsum" if attrs[TcaTunnelKey.NO_CSUM].u8 else "csum"
        out.end_line()
        out.both("flag", f"\t{flag}", flag)
    for number, name, shown in ((TcaTunnelKey.ENC_TOS, "tos", "{:#x}"), (TcaTunnelKey.ENC_TTL, "ttl", "{}")):
        if number in attrs and attrs[number].u8:
            value = attrs[number].u8
            out.end_line()
            out.both(name, f"\t{name} {shown.format(value)}", value)


def _line(out: Printer, key: str, value: str | int) -> None:
    out.end_line()
    out.both(key, f"\t{key} {value}", value)


def _show_options(out: Printer, nest: Attr) -> None:
    """tunnel_key_print_key_opt(): of each kind the first counts."""
    kinds = by_type(nest, {})
    if GENEVE in kinds:
        _show_geneve(out, kinds[GENEVE])
    elif VXLAN in kinds:
        found = by_type(kinds[VXLAN], {1: 4})
        gbp = found[1].u32 if 1 in found else 0
        with _list(out, "vxlan_opts"), out.object():
            out.both("gbp", f"{gbp}", gbp)
    elif ERSPAN in kinds:
        found = by_type(kinds[ERSPAN], {1: 1, 2: 4, 3: 1, 4: 1})
        version = found[1].u8 if 1 in found else 0
        first = version == 1
        index = int.from_bytes(found[2].payload[:4], "big") if first and 2 in found else 0
        direction = found[3].u8 if not first and 3 in found else 0
        hwid = found[4].u8 if not first and 4 in found else 0
        with _list(out, "erspan_opts"), out.object():
            out.both("ver", f"{version}", version)
            out.both("index", f":{index}", index)
            out.both("dir", f":{direction}", direction)
            out.both("hwid", f":{hwid}", hwid)


def _list(out: Printer, name: str) -> AbstractContextManager[None]:
    out.end_line()
    out.say(f"\t{name} ")
    return out.array(name)


def _show_geneve(out: Printer, nest: Attr) -> None:
    """The kernel tells all options in one nest, class, type and data after one another."""
    attrs = list(iter_attrs(nest.payload))
    found = [attrs[at : at + 3] for at in range(0, len(attrs), 3)]
    with _list(out, "geneve_opts"):
        for number, option in enumerate(found, 1):
            if [attr.type for attr in option] != [1, 2, 3] or len(option[0].payload) < 2:
                raise ClsbpfError("geneve options of a tunnel_key action are malformed")
            number_class, kind, data = be16(option[0].payload), option[1].u8, option[2].payload
            with out.object():
                out.value("class", number_class)
                out.value("type", kind)
                with out.array("data"):
                    for byte in data:
                        out.item("", byte)
            out.say(f"{number_class:04x}:{kind:02x}:{data.hex()}{',' if number < len(found) else ''}")
