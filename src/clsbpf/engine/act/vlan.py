"""vlan on the wire: net/sched/act_vlan.c, tcf_vlan_init() and tcf_vlan_dump()."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ...errors import NetlinkError
from ...netlink import act as wire
from ...netlink import attr as nla
from ...netlink.act import TcaVlan
from ...netlink.attr import Attr
from ...tc.actions.action import Action
from ...tc.actions.vlan import Vlan, VlanParams, VlanWhat
from .kind import Given, Kind

if TYPE_CHECKING:
    from ..actions import NetActions


_TYPES = (0x8100, 0x88A8)
_TAGGING = (VlanWhat.PUSH, VlanWhat.MODIFY)


class VlanKind(Kind[VlanParams]):
    """vlan."""

    name = "vlan"
    action = Vlan
    policy = wire.VLAN
    highest = TcaVlan.PUSH_ETH_SRC
    parms = TcaVlan.PARMS
    tm = TcaVlan.TM

    def early(self, given: Given, *, exists: bool) -> None:
        what, attrs = wire.VLAN_PARMS.unpack_from(given.parms)[-1], given.attrs
        if what not in tuple(VlanWhat):
            raise NetlinkError(errno.EINVAL)
        if what in _TAGGING:
            if TcaVlan.PUSH_VLAN_ID not in attrs:
                raise NetlinkError(errno.EINVAL)
            if attrs[TcaVlan.PUSH_VLAN_ID].u16 >= 0x0FFF:
                raise NetlinkError(errno.ERANGE)
            if TcaVlan.PUSH_VLAN_PROTOCOL in attrs and self._protocol(given) not in _TYPES:
                raise NetlinkError(errno.EPROTONOSUPPORT)
        if what == VlanWhat.PUSH_ETH and not {TcaVlan.PUSH_ETH_DST, TcaVlan.PUSH_ETH_SRC} <= attrs.keys():
            raise NetlinkError(errno.EINVAL)

    def _protocol(self, given: Given) -> int:
        found = given.attrs.get(TcaVlan.PUSH_VLAN_PROTOCOL)
        return int.from_bytes(found.payload[:2], "big") if found is not None else _TYPES[0]

    def build(
        self, given: Given, old: Action[VlanParams] | None, net: NetActions, *, rate: bytes | None
    ) -> VlanParams:
        what, attrs = VlanWhat(wire.VLAN_PARMS.unpack_from(given.parms)[-1]), given.attrs
        if what in _TAGGING:
            said = attrs.get(TcaVlan.PUSH_VLAN_PRIORITY)
            # A tag that is pushed has a priority, also where none was said.
            prio = said.u8 if said is not None else 0 if what is VlanWhat.PUSH else None
            return VlanParams(
                what, vid=attrs[TcaVlan.PUSH_VLAN_ID].u16, protocol=self._protocol(given), prio=prio
            )
        if what is VlanWhat.PUSH_ETH:
            return VlanParams(
                what, dst=attrs[TcaVlan.PUSH_ETH_DST].payload, src=attrs[TcaVlan.PUSH_ETH_SRC].payload
            )
        return VlanParams(what)

    def dump(self, action: Action[VlanParams], generic: bytes, net: NetActions) -> list[Attr]:
        params = action.params
        parms = wire.VLAN_PARMS.pack(*wire.GEN.unpack(generic), params.what)
        attrs = [nla.binary(TcaVlan.PARMS, parms)]
        if params.what in _TAGGING:
            attrs.append(nla.u16(TcaVlan.PUSH_VLAN_ID, params.vid))
            attrs.append(nla.binary(TcaVlan.PUSH_VLAN_PROTOCOL, params.protocol.to_bytes(2, "big")))
            if params.prio is not None:
                attrs.append(nla.u8(TcaVlan.PUSH_VLAN_PRIORITY, params.prio))
        elif params.what is VlanWhat.PUSH_ETH:
            attrs.append(nla.binary(TcaVlan.PUSH_ETH_DST, params.dst))
            attrs.append(nla.binary(TcaVlan.PUSH_ETH_SRC, params.src))
        return attrs


VLAN = VlanKind()
