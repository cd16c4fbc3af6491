"""Requests about devices, as far as traffic control's tools need them: which are there, and one more.

tc and its like ask for a device's ifindex by its name and the other way round (RTM_GETLINK).  RTM_NEWLINK
with NLM_F_CREATE makes a device, as `ip link add NAME type dummy` asks for one: `dummy` is the only kind.
A device that exists may be told to be up or down, which changes nothing here: devices are always up.

Mirrors rtnl_getlink(), rtnl_dump_ifinfo(), rtnl_fill_ifinfo() and rtnl_newlink() of net/core/rtnetlink.c.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from enum import IntEnum

from ..engine.devices import Device, Network
from ..errors import ClsbpfError, NetlinkError
from ..netlink import attr as nla
from ..netlink.attr import Attr, encode_attrs
from ..netlink.message import NLM_F_CREATE, NLM_F_EXCL, NLM_F_MULTI, NLMSG_HDRLEN, Message
from ..netlink.policy import Policy, parse_attrs
from ..netlink.schema import RTNLGRP_LINK, Rtm
from ..netlink.tcmsg import TcMsg
from ..profile import KernelProfile
from .notify import notify
from .request import IFNAMSIZ, Datagram, Request

LINK_TYPES = (Rtm.NEWLINK, Rtm.DELLINK, Rtm.GETLINK)
KIND = "dummy"

IFINFOMSG = struct.Struct("=BxHiII")
"""struct ifinfomsg: family, ARPHRD_*, ifindex, IFF_*, the mask of flags to change."""
IFLA_MAX = 70
_UP = 0x1 | 0x2 | 0x40 | 0x80 | 0x10000
"""IFF_UP, BROADCAST, RUNNING, NOARP, LOWER_UP: a dummy device that is up."""
_OPER_UNKNOWN = 0


class Ifla(IntEnum):
    """enum in linux/if_link.h, as far as used."""

    ADDRESS = 1
    BROADCAST = 2
    IFNAME = 3
    MTU = 4
    QDISC = 6
    TXQLEN = 13
    OPERSTATE = 16
    LINKMODE = 17
    LINKINFO = 18
    GROUP = 27
    NUM_TX_QUEUES = 31
    NUM_RX_QUEUES = 32
    ALT_IFNAME = 53


IFLA_INFO_KIND = 1


def parse_link_request(message: Message, policy: Policy, portid: int, profile: KernelProfile) -> Request:
    """A request with a struct ifinfomsg: family, ifindex and flags are in `tcm`, the flags as `handle`."""
    if len(message.payload) < IFINFOMSG.size:
        raise NetlinkError(errno.EINVAL, "Invalid header length")
    family, _, ifindex, flags, change = IFINFOMSG.unpack_from(message.payload)
    offset = NLMSG_HDRLEN + IFINFOMSG.size
    parsed = parse_attrs(message.payload[IFINFOMSG.size :], policy, IFLA_MAX, offset=offset)
    if ifindex < 0:
        raise NetlinkError(errno.EINVAL, "ifindex can't be negative")
    tcm = TcMsg(family, ifindex, flags, change)
    return Request(message, tcm, parsed.attrs, parsed.warning, portid, profile)


def get_link(network: Network, request: Request) -> list[Datagram]:
    """rtnl_getlink()."""
    device = _named(network, request)
    if device is None:
        raise NetlinkError(errno.ENODEV)
    return [(link_message(device, Rtm.NEWLINK, 0, request.message.seq, request.portid),)]


def dump_links(network: Network, request: Request) -> Iterator[Message]:
    """rtnl_dump_ifinfo()."""
    for device in tuple(network.devices.values()):
        yield link_message(device, Rtm.NEWLINK, NLM_F_MULTI, request.message.seq, request.portid)


def new_link(network: Network, request: Request) -> list[Datagram]:
    """rtnl_newlink()."""
    device = _named(network, request, needed=not request.has(NLM_F_CREATE))
    if device is not None:
        if request.has(NLM_F_EXCL):
            raise NetlinkError(errno.EEXIST)
        return []
    if not request.has(NLM_F_CREATE):
        raise NetlinkError(errno.ENODEV)
    kind = _kind(request)
    if kind != KIND:
        raise NetlinkError(errno.EOPNOTSUPP, "Unknown device type" if kind else None)
    name = _name(request.attrs.get(Ifla.IFNAME))
    try:
        made = network.add_device(name or _free_name(network), request.tcm.ifindex or None)
    except NetlinkError:
        raise
    except ClsbpfError as error:
        taken = request.tcm.ifindex in network.devices
        raise NetlinkError(errno.EBUSY if taken else errno.EINVAL, str(error)) from None
    notify(
        network,
        request,
        (link_message(made, Rtm.NEWLINK, 0, request.message.seq, request.portid),),
        RTNLGRP_LINK,
    )
    return []


def delete_link(network: Network, request: Request) -> list[Datagram]:
    """rtnl_dellink(): devices stay, as in a namespace whose devices are hardware."""
    if _named(network, request) is None:
        raise NetlinkError(errno.ENODEV)
    raise NetlinkError(errno.EOPNOTSUPP)


def _named(network: Network, request: Request, *, needed: bool = True) -> Device | None:
    """The device that a request names, by ifindex or by name."""
    if request.tcm.ifindex:
        return network.devices.get(request.tcm.ifindex)
    for number in (Ifla.IFNAME, Ifla.ALT_IFNAME):
        if number in request.attrs:
            return network.device(_name(request.attrs[number]))
    if needed:
        raise NetlinkError(errno.EINVAL)
    return None


def _name(attr: Attr | None) -> str:
    if attr is None:
        return ""
    raw = attr.payload.split(b"\0", 1)[0]
    if len(raw) >= IFNAMSIZ:
        raise NetlinkError(errno.ERANGE, "Attribute failed policy validation")
    return raw.decode("utf-8", "surrogateescape")


def _kind(request: Request) -> str:
    info = request.attrs.get(Ifla.LINKINFO)
    inside = info.attrs() if info is not None else []
    return next((attr.string for attr in inside if attr.type == IFLA_INFO_KIND), "")


def _free_name(network: Network) -> str:
    """dev_alloc_name() of `dummy%d`."""
    number = 0
    while network.device(f"{KIND}{number}") is not None:
        number += 1
    return f"{KIND}{number}"


def link_message(device: Device, type: int, flags: int, seq: int, portid: int) -> Message:
    """rtnl_fill_ifinfo(), as far as a device is more than its name here."""
    header = IFINFOMSG.pack(0, device.hatype, device.ifindex, _UP, 0)
    address = b"\x02" + bytes(1) + device.ifindex.to_bytes(4, "big")
    attrs = [
        nla.string(Ifla.IFNAME, device.name),
        nla.u32(Ifla.TXQLEN, device.tx_queue_len),
        nla.u8(Ifla.OPERSTATE, _OPER_UNKNOWN),
        nla.u8(Ifla.LINKMODE, 0),
        nla.u32(Ifla.MTU, device.mtu),
        nla.u32(Ifla.GROUP, 0),
        nla.u32(Ifla.NUM_TX_QUEUES, device.tx_queues),
        nla.u32(Ifla.NUM_RX_QUEUES, 1),
        nla.string(Ifla.QDISC, device.root.kind),
        nla.binary(Ifla.ADDRESS, address),
        nla.binary(Ifla.BROADCAST, b"\xff" * 6),
        nla.nest(Ifla.LINKINFO, [nla.string(IFLA_INFO_KIND, KIND)]),
    ]
    return Message(type, flags, seq, portid, header + encode_attrs(attrs))
