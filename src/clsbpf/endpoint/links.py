"""Requests about devices, as far as traffic control's tools need them: which there are, one more, one less.

tc and its like ask for a device's ifindex by its name and the other way round (RTM_GETLINK).  RTM_NEWLINK
with NLM_F_CREATE makes a device, as `ip link add NAME type dummy` asks for one: `dummy` is the only kind.
One that is there is set up or down, renamed, or given another address, MTU or queue length; RTM_DELLINK
takes it away, and everything that tc hung on it.  The loopback device stays.

Mirrors rtnl_getlink(), rtnl_dump_ifinfo(), rtnl_fill_ifinfo(), rtnl_newlink(), do_setlink() and
rtnl_dellink() of net/core/rtnetlink.c.  Notifications have no sequence number and no address, unless the
asker wants an echo.
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
from .notify import notify, notify_needed
from .request import IFNAMSIZ, Datagram, Request

LINK_TYPES = (Rtm.NEWLINK, Rtm.DELLINK, Rtm.GETLINK, Rtm.SETLINK)
KIND = "dummy"
LOOPBACK_IFINDEX = 1
"""Of the device that every network namespace has."""

IFINFOMSG = struct.Struct("=BxHiII")
"""struct ifinfomsg: family, ARPHRD_*, ifindex, IFF_*, the mask of flags to change."""
IFLA_MAX = 70
IFF_UP = 0x1
_RUNNING = 0x40 | 0x10000
"""IFF_RUNNING, LOWER_UP: it is up, and so is what it runs on."""
_DUMMY = 0x2 | 0x80
"""IFF_BROADCAST, NOARP."""
_LOOPBACK = 0x8
_ALL = 0xFFFFFFFF
"""What changed of a device that comes or goes."""
_DOWN = IFF_UP | 0x40
"""What changes when a device goes down by going."""
_OPER_UNKNOWN, _OPER_DOWN = 0, 2
_ARPHRD_LOOPBACK = 772
_MAX_MTU = 0x7FFFFFFF


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
    EXT_MASK = 29
    PROMISCUITY = 30
    NUM_TX_QUEUES = 31
    NUM_RX_QUEUES = 32
    CARRIER = 33
    MIN_MTU = 50
    MAX_MTU = 51
    ALT_IFNAME = 53


IFLA_INFO_KIND = 1


def parse_link_request(message: Message, policy: Policy, portid: int, profile: KernelProfile) -> Request:
    """A request with a struct ifinfomsg: family, ifindex and flags are in `tcm`, the flags as `handle`,
    the mask as `parent`."""
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
        _set(network, request, device)
        return []
    if not request.has(NLM_F_CREATE):
        raise NetlinkError(errno.ENODEV)
    kind = _kind(request)
    if kind != KIND:
        raise NetlinkError(errno.EOPNOTSUPP, "Unknown device type" if kind else None)
    name = _name(request.attrs.get(Ifla.IFNAME))
    wanted = _Wanted(request)
    try:
        made = network.add_device(name or _free_name(network), request.tcm.ifindex or None)
    except NetlinkError:
        raise
    except ClsbpfError as error:
        taken = request.tcm.ifindex in network.devices
        raise NetlinkError(errno.EBUSY if taken else errno.EINVAL, str(error)) from None
    for what, value in wanted.values.items():
        setattr(made, what, value)
    made.up = bool(wanted.up)
    _tell(network, request, made, _ALL)
    return []


def set_link(network: Network, request: Request) -> list[Datagram]:
    """rtnl_setlink()."""
    device = _named(network, request)
    if device is None:
        raise NetlinkError(errno.ENODEV)
    _set(network, request, device)
    return []


class _Wanted:
    """What a request wants a device to be: all of it is checked before anything is changed."""

    def __init__(self, request: Request) -> None:
        attrs = request.attrs
        unknown = set(attrs) - {*_SETTABLE, Ifla.IFNAME, Ifla.ALT_IFNAME, Ifla.LINKINFO, Ifla.EXT_MASK}
        if unknown:
            raise NetlinkError(errno.EOPNOTSUPP, f"Attribute {min(unknown)} of a device cannot be set here")
        self.values: dict[str, int | bytes] = {}
        """In the order of do_setlink(), by the field of Device."""
        for number, (what, size) in _SETTABLE.items():
            if number not in attrs:
                continue
            payload = attrs[number].payload
            if len(payload) < size:
                raise NetlinkError(errno.ERANGE if size == 4 else errno.EINVAL)
            self.values[what] = payload[:size] if what == "address" else attrs[number].u32
        if Ifla.MTU in attrs and attrs[Ifla.MTU].u32 > _MAX_MTU:
            raise NetlinkError(errno.EINVAL, "mtu less than device minimum")  # it is signed
        flags, change = request.tcm.handle, request.tcm.parent
        # rtnl_dev_get_flags(): flags without a mask are all meant.
        mask = change or (_ALL if flags else 0)
        self.up = bool(flags & IFF_UP) if mask & IFF_UP else None


_SETTABLE = {
    Ifla.ADDRESS: ("address", 6),
    Ifla.MTU: ("mtu", 4),
    Ifla.TXQLEN: ("tx_queue_len", 4),
}


def _set(network: Network, request: Request, device: Device) -> None:
    """do_setlink(): each thing that changes is told by itself."""
    wanted = _Wanted(request)
    name = _name(request.attrs[Ifla.IFNAME]) if request.tcm.ifindex and Ifla.IFNAME in request.attrs else ""
    if name and name != device.name:
        if network.device(name) is not None:
            raise NetlinkError(errno.EEXIST)
        network.check_name(name)
    length = wanted.values.pop("tx_queue_len", None)
    for what, value in wanted.values.items():
        if getattr(device, what) != value:
            setattr(device, what, value)
            _tell(network, request, device, 0)
    if name and name != device.name:
        network.rename_device(device, name)
        _tell(network, request, device, 0)
    if wanted.up is not None and wanted.up != device.up:
        device.up = wanted.up
        _tell(network, request, device, IFF_UP)
    if isinstance(length, int) and length != device.tx_queue_len:
        device.tx_queue_len = length
        _tell(network, request, device, 0)


def delete_link(network: Network, request: Request) -> list[Datagram]:
    """rtnl_dellink() and unregister_netdevice_many_notify(): down, without qdiscs, gone."""
    device = _named(network, request)
    if device is None:
        raise NetlinkError(errno.ENODEV)
    if device.ifindex == LOOPBACK_IFINDEX:
        raise NetlinkError(errno.EOPNOTSUPP)
    if device.up:
        device.up = False
        _tell(network, request, device, _DOWN)
    network.remove_device(device)
    _tell(network, request, device, _ALL, Rtm.DELLINK)
    return []


def _tell(network: Network, request: Request, device: Device, change: int, type: int = Rtm.NEWLINK) -> None:
    """rtmsg_ifinfo()."""
    if not notify_needed(network, request, RTNLGRP_LINK):
        return
    seq, portid = (request.message.seq, request.portid) if request.echo else (0, 0)
    notify(network, request, (link_message(device, type, 0, seq, portid, change),), RTNLGRP_LINK)


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


def link_message(device: Device, type: int, flags: int, seq: int, portid: int, change: int = 0) -> Message:
    """rtnl_fill_ifinfo(), as far as a device is more than its name here."""
    loopback = device.ifindex == LOOPBACK_IFINDEX
    has = (_LOOPBACK if loopback else _DUMMY) | (IFF_UP | _RUNNING if device.up else 0)
    hatype = _ARPHRD_LOOPBACK if loopback else device.hatype
    header = IFINFOMSG.pack(0, hatype, device.ifindex, has, change)
    own = b"\x02" + bytes(1) + device.ifindex.to_bytes(4, "big")
    attrs = [
        nla.string(Ifla.IFNAME, device.name),
        nla.u32(Ifla.TXQLEN, device.tx_queue_len),
        nla.u8(Ifla.OPERSTATE, _OPER_UNKNOWN if device.up else _OPER_DOWN),
        nla.u8(Ifla.LINKMODE, 0),
        nla.u32(Ifla.MTU, device.mtu),
        nla.u32(Ifla.MIN_MTU, 0),
        nla.u32(Ifla.MAX_MTU, 0),
        nla.u32(Ifla.GROUP, 0),
        nla.u32(Ifla.PROMISCUITY, 0),
        nla.u32(Ifla.NUM_TX_QUEUES, device.tx_queues),
        nla.u32(Ifla.NUM_RX_QUEUES, 1),
        nla.u8(Ifla.CARRIER, 1),
        nla.string(Ifla.QDISC, device.root.kind if type == Rtm.NEWLINK else "noop"),
        nla.binary(Ifla.ADDRESS, bytes(6) if loopback else device.address or own),
        nla.binary(Ifla.BROADCAST, bytes(6) if loopback else b"\xff" * 6),
    ]
    if not loopback:
        attrs.append(nla.nest(Ifla.LINKINFO, [nla.string(IFLA_INFO_KIND, KIND)]))
    return Message(type, flags, seq, portid, header + encode_attrs(attrs))
