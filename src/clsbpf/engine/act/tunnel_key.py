"""tunnel_key on the wire: net/sched/act_tunnel_key.c, tunnel_key_init() and tunnel_key_dump()."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from ...errors import NetlinkError
from ...netlink import act as wire
from ...netlink import attr as nla
from ...netlink.act import TUNNEL_KEY_RELEASE, TUNNEL_KEY_SET, TcaTunnelKey
from ...netlink.attr import NLA_HDRLEN, Attr, leftover
from ...netlink.policy import Nla, Policy, PolicyError, Rule, parse_attrs
from ...tc.actions.action import Action
from ...tc.actions.tunnel_key import Tunnel, TunnelKey, TunnelKeyParams
from .kind import Given, Kind, Remark

if TYPE_CHECKING:
    from ..actions import NetActions

GENEVE, VXLAN, ERSPAN = 1, 2, 3
_FLAGS = {GENEVE: 1 << 11, VXLAN: 1 << 12, ERSPAN: 1 << 14}
"""IP_TUNNEL_*_OPT_BIT."""
OPTIONS_MAX = 252
"""IP_TUNNEL_OPTS_MAX, in whole words."""


class TunnelKeyKind(Kind[TunnelKeyParams]):
    """tunnel_key."""

    name = "tunnel_key"
    action = TunnelKey
    policy = wire.TUNNEL_KEY
    highest = TcaTunnelKey.NO_FRAG
    parms = TcaTunnelKey.PARMS
    tm = TcaTunnelKey.TM
    explains = True
    exists = "TC IDR already exists"

    def parse(self, options: Attr | None, remark: Remark) -> Given:
        if options is None:
            raise NetlinkError(errno.EINVAL, "Tunnel requires attributes to be passed")
        try:
            return super().parse(options, remark)
        except PolicyError as error:
            error.extack = "Failed to parse nested tunnel key attributes"
            raise
        except NetlinkError:
            raise NetlinkError(errno.EINVAL, "Missing tunnel key parameters") from None

    def early(self, given: Given, *, exists: bool) -> None:
        what = wire.TUNNEL_KEY_PARMS.unpack_from(given.parms)[-1]
        if what == TUNNEL_KEY_SET:
            self._tunnel(given)
        elif what != TUNNEL_KEY_RELEASE:
            raise NetlinkError(errno.EINVAL, "Unknown tunnel key action")

    def build(
        self, given: Given, old: Action[TunnelKeyParams] | None, net: NetActions, *, rate: bytes | None
    ) -> TunnelKeyParams:
        what = wire.TUNNEL_KEY_PARMS.unpack_from(given.parms)[-1]
        return TunnelKeyParams(self._tunnel(given) if what == TUNNEL_KEY_SET else None)

    def _tunnel(self, given: Given) -> Tunnel:
        attrs = given.attrs

        def payload(number: int, size: int) -> bytes:
            return attrs[number].payload[:size]

        nest = attrs.get(TcaTunnelKey.ENC_OPTS)
        kind, options, told = _options(nest) if nest is not None else (0, b"", b"")
        if {TcaTunnelKey.ENC_IPV4_SRC, TcaTunnelKey.ENC_IPV4_DST} <= attrs.keys():
            src, dst = payload(TcaTunnelKey.ENC_IPV4_SRC, 4), payload(TcaTunnelKey.ENC_IPV4_DST, 4)
        elif {TcaTunnelKey.ENC_IPV6_SRC, TcaTunnelKey.ENC_IPV6_DST} <= attrs.keys():
            src, dst = payload(TcaTunnelKey.ENC_IPV6_SRC, 16), payload(TcaTunnelKey.ENC_IPV6_DST, 16)
        else:
            raise NetlinkError(errno.EINVAL, "Missing either ipv4 or ipv6 src and dst")
        key_id, port = TcaTunnelKey.ENC_KEY_ID, TcaTunnelKey.ENC_DST_PORT
        return Tunnel(
            src,
            dst,
            key_id=int.from_bytes(payload(key_id, 4), "big") if key_id in attrs else None,
            dst_port=int.from_bytes(payload(port, 2), "big") if port in attrs else 0,
            tos=attrs[TcaTunnelKey.ENC_TOS].u8 if TcaTunnelKey.ENC_TOS in attrs else 0,
            ttl=attrs[TcaTunnelKey.ENC_TTL].u8 if TcaTunnelKey.ENC_TTL in attrs else 0,
            checksum=TcaTunnelKey.NO_CSUM not in attrs or not attrs[TcaTunnelKey.NO_CSUM].u8,
            no_fragment=TcaTunnelKey.NO_FRAG in attrs,
            options=options,
            options_flag=_FLAGS.get(kind, 0),
            told=told,
        )

    def dump(self, action: Action[TunnelKeyParams], generic: bytes, net: NetActions) -> list[Attr]:
        tunnel = action.params.tunnel
        what = TUNNEL_KEY_RELEASE if tunnel is None else TUNNEL_KEY_SET
        parms = wire.TUNNEL_KEY_PARMS.pack(*wire.GEN.unpack(generic), what)
        attrs = [nla.binary(TcaTunnelKey.PARMS, parms)]
        if tunnel is None:
            return attrs
        if tunnel.key_id is not None:
            attrs.append(nla.binary(TcaTunnelKey.ENC_KEY_ID, struct.pack(">I", tunnel.key_id)))
        first = TcaTunnelKey.ENC_IPV4_SRC if len(tunnel.src) == 4 else TcaTunnelKey.ENC_IPV6_SRC
        attrs += [nla.binary(first, tunnel.src), nla.binary(first + 1, tunnel.dst)]
        if tunnel.dst_port:
            attrs.append(nla.binary(TcaTunnelKey.ENC_DST_PORT, struct.pack(">H", tunnel.dst_port)))
        attrs.append(nla.u8(TcaTunnelKey.NO_CSUM, not tunnel.checksum))
        if tunnel.no_fragment:
            attrs.append(nla.flag(TcaTunnelKey.NO_FRAG))
        if tunnel.told:
            attrs.append(nla.binary(TcaTunnelKey.ENC_OPTS, tunnel.told))
        for number, value in ((TcaTunnelKey.ENC_TOS, tunnel.tos), (TcaTunnelKey.ENC_TTL, tunnel.ttl)):
            if value:
                attrs.append(nla.u8(number, value))
        return attrs


def _options(nest: Attr) -> tuple[int, bytes, bytes]:
    """tunnel_key_copy_opts(): the kind, what the tunnel's header has, and how a reply tells it.

    Only geneve may have several; kinds do not mix, and unknown ones are passed over.
    """
    kinds = nest.attrs()
    kind, options, told = 0, b"", []
    for each in kinds:
        if each.type not in _OPTIONS:
            continue
        name, parse = _OPTIONS[each.type]
        if kind and (kind != each.type or kind != GENEVE):
            raise NetlinkError(errno.EINVAL, f"Duplicate type for {name} options")
        made, attrs = parse(each)
        kind, options = each.type, options + made
        told += attrs
        if len(options) > OPTIONS_MAX:
            raise NetlinkError(errno.EINVAL, "Tunnel options exceeds max size")
    if not options:
        raise NetlinkError(errno.EINVAL, "Empty list of tunnel options")
    if leftover(nest.payload) > 0:
        raise NetlinkError(errno.EINVAL, "Trailing data after parsing tunnel key options attributes")
    if kinds[0].type != kind:
        raise NetlinkError(errno.EINVAL, "Cannot set tunnel options for unknown tunnel type")
    return kind, options, nla.encode_attrs([nla.nest(kind, told)])


def _parsed(nest: Attr, policy: Policy) -> dict[int, Attr]:
    return parse_attrs(nest.payload, policy, max(policy), offset=nest.offset + NLA_HDRLEN).attrs


_GENEVE_OPT: Policy = {1: Rule(Nla.U16), 2: Rule(Nla.U8), 3: Rule(Nla.BINARY, 127)}
_VXLAN_OPT: Policy = {1: Rule(Nla.U32)}
_ERSPAN_OPT: Policy = {1: Rule(Nla.U8), 2: Rule(Nla.U32), 3: Rule(Nla.U8), 4: Rule(Nla.U8)}
"""geneve_opt_policy, vxlan_opt_policy and erspan_opt_policy."""


def _geneve(nest: Attr) -> tuple[bytes, list[Attr]]:
    """tunnel_key_copy_geneve_opt(): struct geneve_opt."""
    found = _parsed(nest, _GENEVE_OPT)
    if not {1, 2, 3} <= found.keys():
        raise NetlinkError(errno.EINVAL, "Missing tunnel key geneve option class, type or data")
    data = found[3].payload
    if len(data) < 4:
        raise NetlinkError(errno.ERANGE, "Tunnel key geneve option data is less than 4 bytes long")
    if len(data) % 4:
        raise NetlinkError(errno.ERANGE, "Tunnel key geneve option data is not a multiple of 4 bytes long")
    header = found[1].payload[:2] + bytes((found[2].u8, len(data) // 4))
    told = [nla.binary(1, found[1].payload[:2]), nla.u8(2, found[2].u8), nla.binary(3, data)]
    return header + data, told


def _vxlan(nest: Attr) -> tuple[bytes, list[Attr]]:
    """tunnel_key_copy_vxlan_opt(): struct vxlan_metadata."""
    found = _parsed(nest, _VXLAN_OPT)
    if 1 not in found:
        raise NetlinkError(errno.EINVAL, "Missing tunnel key vxlan option gbp")
    gbp = found[1].u32 & 0x00FFFFFF
    return struct.pack("=I", gbp), [nla.u32(1, gbp)]


def _erspan(nest: Attr) -> tuple[bytes, list[Attr]]:
    """tunnel_key_copy_erspan_opt(): struct erspan_metadata."""
    found = _parsed(nest, _ERSPAN_OPT)
    if 1 not in found:
        raise NetlinkError(errno.EINVAL, "Missing tunnel key erspan option ver")
    version = found[1].u8
    if version == 1:
        if 2 not in found:
            raise NetlinkError(errno.EINVAL, "Missing tunnel key erspan option index")
        index = found[2].payload[:4]
        return struct.pack("=i", 1) + index + bytes(4), [nla.u8(1, 1), nla.binary(2, index)]
    if version != 2:
        raise NetlinkError(errno.EINVAL, "Tunnel key erspan option ver is incorrect")
    if not {3, 4} <= found.keys():
        raise NetlinkError(errno.EINVAL, "Missing tunnel key erspan option dir or hwid")
    direction, hwid = found[3].u8 & 1, found[4].u8 & 0x3F
    words = bytes(6) + bytes((hwid >> 4 & 3, direction << 3 | (hwid & 0x0F) << 4))
    told = [nla.u8(1, 2), nla.u8(3, found[3].u8), nla.u8(4, found[4].u8)]
    return struct.pack("=i", 2) + words, told


_OPTIONS = {GENEVE: ("geneve", _geneve), VXLAN: ("vxlan", _vxlan), ERSPAN: ("erspan", _erspan)}


TUNNEL_KEY = TunnelKeyKind()
