"""The options of each kind of action in tc's words: what `tccmd.act` reads, the other way round.

A function a kind: the attributes of TCA_ACT_OPTIONS, as a request has them, to the words after the kind's
name.  What it leaves out or cannot say is found out by who reads the words again (`words.line_of`).
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Iterable, Iterator

from ...netlink import act as wire
from ...netlink.act import (
    GACT_PROB,
    POLICE_TBF,
    RATESPEC,
    CsumFlag,
    GenericParms,
    MirredAction,
    SkbmodFlag,
    TcaCsum,
    TcaDef,
    TcaGact,
    TcaMirred,
    TcaPedit,
    TcaPolice,
    TcaSample,
    TcaSkbedit,
    TcaSkbmod,
    TcaTunnelKey,
    TcaVlan,
    VlanAction,
)
from ...netlink.attr import Attr
from ..act.common import TC_ACT_EXT_VAL_MASK, TC_ACT_GOTO_CHAIN, TC_ACT_JUMP, format_link_address
from ..ids import format_classid, format_protocol
from ..rates import transmit_size, transmit_ticks
from .pedit_words import munges

Attrs = dict[int, Attr]
DeviceName = Callable[[int], str]


class Unsayable(Exception):
    """tc's language has no words for it."""


def by_type(attrs: Iterable[Attr]) -> Attrs:
    """The attributes by their numbers."""
    return {attr.type: attr for attr in attrs}


_CONTROLS = {-1: "continue", 0: "pass", 1: "reclassify", 2: "drop", 3: "pipe", 8: "trap"}


def control(value: int) -> list[str]:
    """A control as parse_action_control() reads it."""
    kind, number = value & ~TC_ACT_EXT_VAL_MASK, str(value & TC_ACT_EXT_VAL_MASK)
    if value in _CONTROLS:
        return [_CONTROLS[value]]
    if kind == TC_ACT_GOTO_CHAIN:
        return ["goto", "chain", number]
    if kind == TC_ACT_JUMP:
        return ["jump", number]
    raise Unsayable


def tail(parms: Attr) -> list[str]:
    """What most kinds end with."""
    generic = GenericParms.decode(parms.payload)
    return [*control(generic.control), "index", str(generic.index)]


def _gact(attrs: Attrs, device: DeviceName) -> Iterator[str]:
    generic = GenericParms.decode(attrs[TcaGact.PARMS].payload)
    yield from control(generic.control)
    if TcaGact.PROB in attrs:
        kind, value, other = GACT_PROB.unpack_from(attrs[TcaGact.PROB].payload)
        names = {1: "netrand", 2: "determ"}
        if kind not in names:
            raise Unsayable
        yield from ("random", names[kind], *control(other), str(value))
    yield from ("index", str(generic.index))


_MIRRED = {
    MirredAction.EGRESS_REDIR: ("egress", "redirect"),
    MirredAction.EGRESS_MIRROR: ("egress", "mirror"),
    MirredAction.INGRESS_REDIR: ("ingress", "redirect"),
    MirredAction.INGRESS_MIRROR: ("ingress", "mirror"),
}


def _mirred(attrs: Attrs, device: DeviceName) -> Iterator[str]:
    index, _, action, _, _, what, ifindex = wire.MIRRED_PARMS.unpack_from(attrs[TcaMirred.PARMS].payload)
    if what not in _MIRRED:
        raise Unsayable
    yield from _MIRRED[what]
    if TcaMirred.BLOCKID in attrs:
        yield from ("blockid", str(attrs[TcaMirred.BLOCKID].u32))
    elif ifindex:
        yield from ("dev", device(ifindex))
    else:
        raise Unsayable  # its device has gone
    if what in (MirredAction.EGRESS_MIRROR, MirredAction.INGRESS_MIRROR):
        yield from control(action)
    yield from ("index", str(index))


def _police(attrs: Attrs, device: DeviceName) -> Iterator[str]:
    index, action, _, burst, mtu, rate, peak, _, _, _ = POLICE_TBF.unpack_from(attrs[TcaPolice.TBF].payload)
    _, linklayer, overhead, _, mpu, bytes_per_second = RATESPEC.unpack(rate)
    if TcaPolice.RATE64 in attrs:
        bytes_per_second = attrs[TcaPolice.RATE64].u64
    if bytes_per_second:
        yield from ("rate", f"{bytes_per_second}bps", "burst", f"{_size(bytes_per_second, burst)}b")
    if mtu:
        yield from ("mtu", f"{mtu}b")
    peakrate = RATESPEC.unpack(peak)[5]
    if TcaPolice.PEAKRATE64 in attrs:
        peakrate = attrs[TcaPolice.PEAKRATE64].u64
    if peakrate:
        yield from ("peakrate", f"{peakrate}bps")
    if mpu:
        yield from ("mpu", f"{mpu}b")
    if overhead:
        yield from ("overhead", str(overhead))
    if linklayer == 2:
        yield from ("linklayer", "atm")
    if TcaPolice.AVRATE in attrs:
        yield from ("avrate", f"{attrs[TcaPolice.AVRATE].u32}bps")
    if TcaPolice.PKTRATE64 in attrs:
        packets = attrs[TcaPolice.PKTRATE64].u64
        yield from ("pkts_rate", str(packets))
        yield from ("pkts_burst", str(_size(packets, attrs[TcaPolice.PKTBURST64].u64)))
    yield from ("conform-exceed", _plain(action))
    if TcaPolice.RESULT in attrs:
        (result,) = struct.unpack("=i", attrs[TcaPolice.RESULT].payload[:4])
        yield from ("/", _plain(result))
    yield from ("index", str(index))


def _plain(value: int) -> str:
    """A control in one word; one without a name is a number."""
    return _CONTROLS.get(value, str(value))


_NEAR = 64


def _size(rate: int, ticks: int) -> int:
    """How many bytes take so many ticks: tc's own way back is not exact, but near."""
    guess = transmit_size(rate, ticks)
    for distance in range(_NEAR * max(1, rate >> 20)):
        for size in (guess + distance, guess - distance):
            if size > 0 and transmit_ticks(rate, size) == ticks:
                return size
    raise Unsayable


def _skbedit(attrs: Attrs, device: DeviceName) -> Iterator[str]:
    if TcaSkbedit.QUEUE_MAPPING in attrs:
        yield from ("queue_mapping", str(attrs[TcaSkbedit.QUEUE_MAPPING].u16))
    if TcaSkbedit.PRIORITY in attrs:
        yield from ("priority", format_classid(attrs[TcaSkbedit.PRIORITY].u32))
    if TcaSkbedit.MARK in attrs:
        mask = f"/{attrs[TcaSkbedit.MASK].u32:#x}" if TcaSkbedit.MASK in attrs else ""
        yield from ("mark", f"{attrs[TcaSkbedit.MARK].u32:#x}{mask}")
    if TcaSkbedit.PTYPE in attrs:
        names = ("host", "broadcast", "multicast", "otherhost")
        kind = attrs[TcaSkbedit.PTYPE].u16
        if kind >= len(names):
            raise Unsayable
        yield from ("ptype", names[kind])
    if TcaSkbedit.FLAGS in attrs:
        yield "inheritdsfield"
    yield from tail(attrs[TcaSkbedit.PARMS])


_VLAN = {
    VlanAction.POP: "pop",
    VlanAction.PUSH: "push",
    VlanAction.MODIFY: "modify",
    VlanAction.POP_ETH: "pop_eth",
    VlanAction.PUSH_ETH: "push_eth",
}


def _vlan(attrs: Attrs, device: DeviceName) -> Iterator[str]:
    what = wire.VLAN_PARMS.unpack_from(attrs[TcaVlan.PARMS].payload)[5]
    if what not in _VLAN:
        raise Unsayable
    yield _VLAN[what]
    if TcaVlan.PUSH_VLAN_ID in attrs:
        yield from ("id", str(attrs[TcaVlan.PUSH_VLAN_ID].u16))
    if TcaVlan.PUSH_VLAN_PROTOCOL in attrs:
        (protocol,) = struct.unpack(">H", attrs[TcaVlan.PUSH_VLAN_PROTOCOL].payload[:2])
        yield from ("protocol", format_protocol(protocol))
    if TcaVlan.PUSH_VLAN_PRIORITY in attrs:
        yield from ("priority", str(attrs[TcaVlan.PUSH_VLAN_PRIORITY].u8))
    for number, word in ((TcaVlan.PUSH_ETH_DST, "dst_mac"), (TcaVlan.PUSH_ETH_SRC, "src_mac")):
        if number in attrs:
            yield from (word, format_link_address(attrs[number].payload))
    yield from tail(attrs[TcaVlan.PARMS])


_CSUM = (
    (CsumFlag.IPV4HDR, "iph"),
    (CsumFlag.ICMP, "icmp"),
    (CsumFlag.IGMP, "igmp"),
    (CsumFlag.TCP, "tcp"),
    (CsumFlag.UDP, "udp"),
    (CsumFlag.UDPLITE, "udplite"),
    (CsumFlag.SCTP, "sctp"),
)


def _csum(attrs: Attrs, device: DeviceName) -> Iterator[str]:
    flags = wire.CSUM_PARMS.unpack_from(attrs[TcaCsum.PARMS].payload)[5]
    yield from (word for flag, word in _CSUM if flags & flag)
    yield from tail(attrs[TcaCsum.PARMS])


def _skbmod(attrs: Attrs, device: DeviceName) -> Iterator[str]:
    flags = wire.SKBMOD_PARMS.unpack_from(attrs[TcaSkbmod.PARMS].payload)[5]
    for number, word in ((TcaSkbmod.DMAC, "dmac"), (TcaSkbmod.SMAC, "smac")):
        if number in attrs:
            yield from ("set", word, format_link_address(attrs[number].payload))
    if TcaSkbmod.ETYPE in attrs:
        yield from ("set", "etype", f"{attrs[TcaSkbmod.ETYPE].u16:#x}")
    if flags & SkbmodFlag.SWAPMAC:
        yield from ("swap", "mac")
    if flags & SkbmodFlag.ECN:
        yield "ecn"
    yield from tail(attrs[TcaSkbmod.PARMS])


def _simple(attrs: Attrs, device: DeviceName) -> Iterator[str]:
    yield from ("sdata", attrs[TcaDef.DATA].string, *tail(attrs[TcaDef.PARMS]))


def _sample(attrs: Attrs, device: DeviceName) -> Iterator[str]:
    for number, word in (
        (TcaSample.RATE, "rate"),
        (TcaSample.PSAMPLE_GROUP, "group"),
        (TcaSample.TRUNC_SIZE, "trunc"),
    ):
        if number in attrs:
            yield from (word, str(attrs[number].u32))
    yield from tail(attrs[TcaSample.PARMS])


def _tunnel_key(attrs: Attrs, device: DeviceName) -> Iterator[str]:
    what = wire.TUNNEL_KEY_PARMS.unpack_from(attrs[TcaTunnelKey.PARMS].payload)[5]
    yield "set" if what == wire.TUNNEL_KEY_SET else "unset"
    for numbers, word in (
        ((TcaTunnelKey.ENC_IPV4_SRC, TcaTunnelKey.ENC_IPV6_SRC), "src_ip"),
        ((TcaTunnelKey.ENC_IPV4_DST, TcaTunnelKey.ENC_IPV6_DST), "dst_ip"),
    ):
        for number in numbers:
            if number in attrs:
                yield from (word, str(ipaddress.ip_address(attrs[number].payload)))
    if TcaTunnelKey.ENC_KEY_ID in attrs:
        yield from ("id", str(int.from_bytes(attrs[TcaTunnelKey.ENC_KEY_ID].payload, "big")))
    if TcaTunnelKey.ENC_DST_PORT in attrs:
        yield from ("dst_port", str(int.from_bytes(attrs[TcaTunnelKey.ENC_DST_PORT].payload, "big")))
    if TcaTunnelKey.ENC_OPTS in attrs:
        headers = attrs[TcaTunnelKey.ENC_OPTS].attrs()
        if headers[0].type == _VXLAN:
            yield from ("vxlan_opts", str(headers[0].attrs()[0].u32))
        else:
            yield from ("geneve_opts", ",".join(map(_geneve, headers)))
    for number, word in ((TcaTunnelKey.ENC_TOS, "tos"), (TcaTunnelKey.ENC_TTL, "ttl")):
        if number in attrs:
            yield from (word, str(attrs[number].u8))
    if TcaTunnelKey.NO_CSUM in attrs:
        yield "nocsum" if attrs[TcaTunnelKey.NO_CSUM].u8 else "csum"
    if TcaTunnelKey.NO_FRAG in attrs:
        yield "nofrag"
    yield from tail(attrs[TcaTunnelKey.PARMS])


_GENEVE, _VXLAN = 1, 2


def _geneve(header: Attr) -> str:
    """CLASS:TYPE:DATA, all hexadecimal; the options of other tunnels are not said."""
    fields = [attr.payload.hex() for attr in header.attrs()]
    if header.type != _GENEVE or len(fields) != 3:
        raise Unsayable
    return ":".join(fields)


def _pedit(attrs: Attrs, device: DeviceName) -> Iterator[str]:
    yield from munges(attrs)
    yield from tail(attrs.get(TcaPedit.PARMS) or attrs[TcaPedit.PARMS_EX])


KINDS: dict[str, Callable[[Attrs, DeviceName], Iterator[str]]] = {
    "csum": _csum,
    "gact": _gact,
    "mirred": _mirred,
    "pedit": _pedit,
    "police": _police,
    "sample": _sample,
    "simple": _simple,
    "skbedit": _skbedit,
    "skbmod": _skbmod,
    "tunnel_key": _tunnel_key,
    "vlan": _vlan,
}
"""By kind.  bpf's program is said as a filter's (`words`)."""
