"""vlan in words and rows (tc/m_vlan.c)."""

from __future__ import annotations

import struct

from ...netlink import act as wire
from ...netlink import attr as nla
from ...netlink.act import VLAN_PARMS, TcaVlan, VlanAction
from ...netlink.attr import Attr
from ..errors import invalid
from ..ids import format_protocol, parse_protocol
from ..numbers import U16, unsigned
from ..options import Options
from ..printer import Printer
from ..request import Lookups
from ..words import Words, matches
from .common import (
    LINK_ADDRESS_BYTES,
    TC_ACT_PIPE,
    Illegal,
    Names,
    be16,
    control_or,
    format_link_address,
    help_wanted,
    link_address,
    maybe_index,
    need,
    parms_attr,
    show_control,
    show_tail,
)

USAGE = """\
Usage: ... vlan pop | push [protocol 802.1Q|802.1AD] id N [priority N] | modify [protocol P] id N [priority N]
                | pop_eth | push_eth dst_mac LLADDR src_mac LLADDR  [CONTROL] [index N]"""

_ACTIONS = {
    "pop": VlanAction.POP,
    "push": VlanAction.PUSH,
    "modify": VlanAction.MODIFY,
    "pop_eth": VlanAction.POP_ETH,
    "push_eth": VlanAction.PUSH_ETH,
}
_NAMES = {action: name for name, action in _ACTIONS.items()}
_TAGGING = (VlanAction.PUSH, VlanAction.MODIFY)
_TYPES = (0x8100, 0x88A8)
TITLE = "vlan "
SIZES: dict[int, int] = {
    TcaVlan.PARMS: VLAN_PARMS.size,
    TcaVlan.TM: wire.TM.size,
    TcaVlan.PUSH_VLAN_ID: 2,
    TcaVlan.PUSH_VLAN_PROTOCOL: 2,
    TcaVlan.PUSH_VLAN_PRIORITY: 1,
}


def parse(words: Words, lookups: Lookups) -> list[Attr]:
    """parse_vlan()."""
    words.next()
    said: dict[int, Attr] = {}
    action: VlanAction | None = None
    while words:
        word = words.current
        named = next((value for key, value in _ACTIONS.items() if matches(word, key)), None)
        if named is not None:
            if action is not None:
                raise Illegal(f'unexpected "{word}" - action already specified', USAGE)
            action = named
        elif not _word(words, said, action):
            break
        words.skip()
    control = control_or(words, TC_ACT_PIPE)
    index = maybe_index(words, 'vlan: Illegal "index"')
    if action in _TAGGING and TcaVlan.PUSH_VLAN_ID not in said:
        raise Illegal(f"id needs to be set for {_NAMES[action]}", USAGE)
    if action is VlanAction.PUSH_ETH:
        for number, name in ((TcaVlan.PUSH_ETH_DST, "dst_mac"), (TcaVlan.PUSH_ETH_SRC, "src_mac")):
            if number not in said:
                raise Illegal(f"{name} needs to be set for push_eth", USAGE)
    protocol = said.get(TcaVlan.PUSH_VLAN_PROTOCOL)
    if protocol is not None and be16(protocol.payload) not in _TYPES:
        raise Illegal("protocol not supported", USAGE)
    order = (
        TcaVlan.PUSH_VLAN_ID,
        TcaVlan.PUSH_VLAN_PROTOCOL,
        TcaVlan.PUSH_VLAN_PRIORITY,
        TcaVlan.PUSH_ETH_DST,
        TcaVlan.PUSH_ETH_SRC,
    )
    attrs = [said[number] for number in order if number in said]
    return [parms_attr(TcaVlan.PARMS, index, control, struct.pack("=i", action or 0)), *attrs]


def _word(words: Words, said: dict[int, Attr], action: VlanAction | None) -> bool:
    """One of vlan's words; was it one?"""
    word = words.current
    if matches(word, "id"):
        text = _value(words, action in _TAGGING, "push/modify")
        number = unsigned(text, U16)
        if number is None:
            invalid("id is invalid", text)
        said[TcaVlan.PUSH_VLAN_ID] = nla.u16(TcaVlan.PUSH_VLAN_ID, number)
    elif matches(word, "protocol"):
        text = _value(words, action in _TAGGING, "push/modify")
        protocol = parse_protocol(text)
        if protocol is None:
            invalid("protocol is invalid", text)
        said[TcaVlan.PUSH_VLAN_PROTOCOL] = nla.binary(TcaVlan.PUSH_VLAN_PROTOCOL, struct.pack(">H", protocol))
    elif matches(word, "priority"):
        text = _value(words, action in _TAGGING, "push/modify")
        prio = unsigned(text, 255)
        if prio is None or prio > 7:
            invalid("prio is invalid", text)
        said[TcaVlan.PUSH_VLAN_PRIORITY] = nla.u8(TcaVlan.PUSH_VLAN_PRIORITY, prio)
    elif matches(word, "dst_mac") or matches(word, "src_mac"):
        text = _value(words, action is VlanAction.PUSH_ETH, "push_eth")
        address = link_address(text, words.remarks)
        is_dst = matches(word, "dst_mac")
        if address is None:
            # tc has by then cut its word at the first colon.
            invalid(f"{'dst' if is_dst else 'src'}_mac is invalid", text, shown=text.partition(":")[0])
        which = TcaVlan.PUSH_ETH_DST if is_dst else TcaVlan.PUSH_ETH_SRC
        said[which] = nla.binary(which, address.ljust(LINK_ADDRESS_BYTES, b"\0"))
    elif matches(word, "help"):
        raise help_wanted(USAGE, word)
    else:
        return False
    return True


def _value(words: Words, valid: bool, where: str) -> str:
    if not valid:
        invalid(f"only valid for {where}", words.current)
    return words.next()


def show(out: Printer, attrs: dict[int, Attr], options: Options, names: Names) -> None:
    """print_vlan()."""
    payload = need(attrs, TcaVlan.PARMS, "Missing vlan parameters")
    parms = wire.GenericParms.decode(payload)
    action = VLAN_PARMS.unpack_from(payload)[-1]
    if action not in _NAMES:
        # tc reads past its table here and crashes.
        fail_name = f"unknown({action})"
        out.both("vlan_action", f" {fail_name}", fail_name)
    else:
        out.both("vlan_action", f" {_NAMES[action]}", _NAMES[action])
    if action in _TAGGING:
        if TcaVlan.PUSH_VLAN_ID in attrs:
            number = attrs[TcaVlan.PUSH_VLAN_ID].u16
            out.both("id", f" id {number}", number)
        if TcaVlan.PUSH_VLAN_PROTOCOL in attrs:
            protocol = be16(attrs[TcaVlan.PUSH_VLAN_PROTOCOL].payload)
            name = format_protocol(protocol, numeric=bool(options.numeric))
            out.both("protocol", f" protocol {name}", name)
        if TcaVlan.PUSH_VLAN_PRIORITY in attrs:
            prio = attrs[TcaVlan.PUSH_VLAN_PRIORITY].u8
            out.both("priority", f" priority {prio}", prio)
    elif action == VlanAction.PUSH_ETH:
        for which, key in ((TcaVlan.PUSH_ETH_DST, "dst_mac"), (TcaVlan.PUSH_ETH_SRC, "src_mac")):
            if which in attrs and len(attrs[which].payload) == 6:
                address = format_link_address(attrs[which].payload)
                out.both(key, f" {key} {address}", address)
    show_control(out, " ", parms.control)
    out.end_line()
    show_tail(out, parms, attrs.get(TcaVlan.TM), options)
