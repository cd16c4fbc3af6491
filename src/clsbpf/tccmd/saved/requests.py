"""Replies to requests: the message that makes again what a reply describes.

Counters, times and reference counts are left out, and what only the kernel says (tags, ids, where a filter
runs).  A loaded program is named by a descriptor in a request and by its id in a reply: the request made
here has the id in the descriptor's place, for whoever sends it to replace (`with_descriptors`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import replace

from ...netlink import act as wire
from ...netlink import attr as nla
from ...netlink.act import BITFIELD32, GEN, POLICE_TBF, RATESPEC, TcaAct, TcaActBpf, TcaPolice, TcaRoot
from ...netlink.attr import Attr, encode_attrs, iter_attrs
from ...netlink.codel import TcaCodel, TcaFqCodel
from ...netlink.message import NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, Message
from ...netlink.qdisc import HTB_PROTOCOL, HtbGlob, HtbOpt, SizeSpec, TcaHtb, TcaStab
from ...netlink.schema import ClsFlag, Rtm, Tca, TcaBpf
from ...netlink.tcmsg import TCMSG_LEN, TcMsg, tc_message
from ..rates import transmit_ticks
from ..size_table_words import stab_attr

CREATE = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
"""The flags of tc's `add`."""
REPLACE = CREATE & ~NLM_F_EXCL
"""Those of `replace`."""


def qdisc_request(message: Message, rate: bytes | None = None) -> Message | None:
    """`qdisc add`; None for one that is there without being asked for.  `rate`: its estimator's TCA_RATE."""
    header, attrs = _parts(message)
    if not header.handle:
        return None
    wanted = (Tca.KIND, Tca.OPTIONS, Tca.INGRESS_BLOCK, Tca.EGRESS_BLOCK)
    kept = [attrs[number] for number in wanted if number in attrs]
    kept = [attr for attr in kept if attr.type != Tca.OPTIONS or attr.payload]
    if attrs[Tca.KIND].string == "htb":
        kept = [_htb(attr) if attr.type == Tca.OPTIONS else attr for attr in kept]
    elif attrs[Tca.KIND].string in _CODEL_TIMES:
        times = _CODEL_TIMES[attrs[Tca.KIND].string]
        kept = [_codel(attr, times) if attr.type == Tca.OPTIONS else attr for attr in kept]
    elif attrs[Tca.KIND].string == "pfifo_fast":
        kept = [attr for attr in kept if attr.type != Tca.OPTIONS]  # it has none to be asked for
    if Tca.STAB in attrs:
        # A reply has the description of a size table only: the table is made again, as tc makes it.
        base = next(attr for attr in attrs[Tca.STAB].attrs() if attr.type == TcaStab.BASE)
        kept.append(stab_attr(SizeSpec.decode(base.payload)))
    kept += _rate(rate)
    made = TcMsg(0, header.ifindex, header.handle, header.parent)
    return tc_message(Rtm.NEWQDISC, made, kept, flags=CREATE)


def _rate(rate: bytes | None) -> list[Attr]:
    """TCA_RATE, which no reply has."""
    return [nla.binary(Tca.RATE, rate)] if rate is not None else []


def class_request(message: Message, rate: bytes | None = None) -> Message | None:
    """`class add`; None for one that comes with its qdisc (it has no options)."""
    header, attrs = _parts(message)
    if Tca.OPTIONS not in attrs or Tca.KIND not in attrs:
        return None
    made = TcMsg(0, header.ifindex, header.handle, header.parent)
    kept = [attrs[Tca.KIND], _htb(attrs[Tca.OPTIONS]), *_rate(rate)]
    return tc_message(Rtm.NEWTCLASS, made, kept, flags=CREATE)


def _htb(options: Attr) -> Attr:
    """htb's, of a qdisc or a class: a reply says more of the version, and what was counted."""
    made = []
    for attr in options.attrs():
        if attr.type == TcaHtb.INIT:
            glob = HtbGlob.decode(attr.payload)
            attr = nla.binary(attr.type, replace(glob, version=HTB_PROTOCOL, direct_pkts=0).encode())
        elif attr.type == TcaHtb.PARMS:
            attr = nla.binary(attr.type, replace(HtbOpt.decode(attr.payload), level=0).encode())
        made.append(attr)
    return nla.nest(options.type, made)


_CODEL_TIMES: dict[str, tuple[int, ...]] = {
    "codel": (TcaCodel.TARGET, TcaCodel.INTERVAL, TcaCodel.CE_THRESHOLD),
    "fq_codel": (TcaFqCodel.TARGET, TcaFqCodel.INTERVAL, TcaFqCodel.CE_THRESHOLD),
}


def _codel(options: Attr, times: tuple[int, ...]) -> Attr:
    """codel's: the times of a reply were made coarser, and would be again."""
    inside = options.attrs()
    return nla.nest(
        options.type,
        [nla.u32(attr.type, _finer(attr.u32)) if attr.type in times else attr for attr in inside],
    )


def _finer(microseconds: int) -> int:
    """The least time that codel makes this of: its unit is 1024 ns."""
    units = -(-microseconds * 1000 // 1024)
    return -(-units * 1024 // 1000)


def filter_request(
    message: Message,
    program: int | None = None,
    *,
    gone: int = 0,
    rate: bytes | None = None,
    first_actions: int | None = None,
    flags: int = CREATE,
) -> Message:
    """`filter add`, with the handle that it has; `program` is its id, by default what the message says.

    `gone`: the ifindex for actions that lead to a device which is no more.  `rate`: the TCA_RATE of actions
    that come with it.  `first_actions`: so many of them only.
    """
    header, attrs = _parts(message)
    options = {attr.type: attr for attr in attrs[Tca.OPTIONS].attrs()} if Tca.OPTIONS in attrs else {}
    inner: list[Attr] = []
    if TcaBpf.CLASSID in options:
        inner.append(options[TcaBpf.CLASSID])
    if TcaBpf.ACT in options:
        actions = [nla.nest(each.type, _action(each, gone)) for each in options[TcaBpf.ACT].attrs()]
        inner.append(nla.nest(TcaBpf.ACT, actions[:first_actions]))
    if TcaBpf.POLICE in options:
        inner.append(nla.nest(TcaBpf.POLICE, _police(options[TcaBpf.POLICE].attrs())))
    if TcaBpf.OPS in options:
        inner += [options[TcaBpf.OPS_LEN], options[TcaBpf.OPS]]
    else:
        known = options[TcaBpf.ID].u32 if TcaBpf.ID in options else 0
        inner.append(nla.u32(TcaBpf.FD, known if program is None else program))
        if TcaBpf.NAME in options:
            inner.append(options[TcaBpf.NAME])
    skips = options[TcaBpf.FLAGS_GEN].u32 & (ClsFlag.SKIP_HW | ClsFlag.SKIP_SW) if _has_gen(options) else 0
    if skips:
        inner.append(nla.u32(TcaBpf.FLAGS_GEN, skips))
    if TcaBpf.FLAGS in options:
        inner.append(options[TcaBpf.FLAGS])
    kept = [attrs[Tca.CHAIN], attrs[Tca.KIND], nla.nest(Tca.OPTIONS, inner), *_rate(rate)]
    made = TcMsg(0, header.ifindex, header.handle, header.parent, header.info)
    return tc_message(Rtm.NEWTFILTER, made, kept, flags=flags)


def _has_gen(options: dict[int, Attr]) -> bool:
    return TcaBpf.FLAGS_GEN in options


def action_request(action: Attr, *, gone: int = 0) -> Message:
    """`actions add` of one action, given as a dump has it."""
    nest = nla.nest(TcaRoot.TAB, [nla.nest(1, _action(action, gone))])
    return Message(Rtm.NEWACTION, CREATE, payload=bytes(wire.TCAMSG_LEN) + encode_attrs([nest]))


def _parts(message: Message) -> tuple[TcMsg, dict[int, Attr]]:
    attrs = {attr.type: attr for attr in iter_attrs(message.payload[TCMSG_LEN:])}
    return TcMsg.decode(message.payload), attrs


# actions


def _action(action: Attr, gone: int) -> list[Attr]:
    """One action as a request has it."""
    attrs = {attr.type: attr for attr in action.attrs()}
    kind = attrs[TcaAct.KIND].string
    inside = attrs[TcaAct.OPTIONS].attrs()
    if kind == "mirred" and not any(attr.type == wire.TcaMirred.BLOCKID for attr in inside):
        inside = [_leading(attr, gone) if attr.type == wire.TcaMirred.PARMS else attr for attr in inside]
    options = _police(inside) if kind == "police" else _options(kind, inside)
    made = [nla.string(TcaAct.KIND, kind), nla.nest(TcaAct.OPTIONS, options, flagged=True)]
    if TcaAct.COOKIE in attrs:
        made.append(attrs[TcaAct.COOKIE])
    if TcaAct.HW_STATS in attrs:
        value, _ = BITFIELD32.unpack_from(attrs[TcaAct.HW_STATS].payload)
        made.append(nla.binary(TcaAct.HW_STATS, BITFIELD32.pack(value, value)))
    if TcaAct.FLAGS in attrs:
        value, selector = BITFIELD32.unpack_from(attrs[TcaAct.FLAGS].payload)
        if value & selector & wire.ACT_FLAGS:
            flags = value & selector & wire.ACT_FLAGS
            made.append(nla.binary(TcaAct.FLAGS, BITFIELD32.pack(flags, flags)))
    return made


_PARMS = {
    "bpf": TcaActBpf.PARMS,
    "csum": wire.TcaCsum.PARMS,
    "gact": wire.TcaGact.PARMS,
    "mirred": wire.TcaMirred.PARMS,
    "pedit": wire.TcaPedit.PARMS,
    "sample": wire.TcaSample.PARMS,
    "simple": wire.TcaDef.PARMS,
    "skbedit": wire.TcaSkbedit.PARMS,
    "skbmod": wire.TcaSkbmod.PARMS,
    "tunnel_key": wire.TcaTunnelKey.PARMS,
    "vlan": wire.TcaVlan.PARMS,
}
_TIMES = {
    "bpf": TcaActBpf.TM,
    "csum": wire.TcaCsum.TM,
    "gact": wire.TcaGact.TM,
    "mirred": wire.TcaMirred.TM,
    "pedit": wire.TcaPedit.TM,
    "sample": wire.TcaSample.TM,
    "simple": wire.TcaDef.TM,
    "skbedit": wire.TcaSkbedit.TM,
    "skbmod": wire.TcaSkbmod.TM,
    "tunnel_key": wire.TcaTunnelKey.TM,
    "vlan": wire.TcaVlan.TM,
}
"""By kind, which attributes begin with tc_gen and which tell times."""


def _options(kind: str, inside: Iterable[Attr]) -> list[Attr]:
    made: list[Attr] = []
    for attr in inside:
        if attr.type == _TIMES[kind]:
            continue
        if attr.type == _PARMS[kind] or (kind == "pedit" and attr.type == wire.TcaPedit.PARMS_EX):
            made.append(nla.binary(attr.type, _without_holders(attr.payload)))
        elif kind == "bpf" and attr.type == TcaActBpf.ID:
            made.append(nla.u32(TcaActBpf.FD, attr.u32))
        elif kind == "tunnel_key" and attr.type == wire.TcaTunnelKey.ENC_OPTS:
            made.append(_tunnel_options(attr))
        elif kind != "bpf" or attr.type != TcaActBpf.TAG:
            made.append(attr)
    return made


def _leading(parms: Attr, gone: int) -> Attr:
    """mirred's parameters, to `gone` where they lead to no device."""
    *generic, eaction, ifindex = wire.MIRRED_PARMS.unpack(parms.payload)
    return nla.binary(parms.type, wire.MIRRED_PARMS.pack(*generic, eaction, ifindex or gone))


_GENEVE = 1
_GENEVE_CLASS = 1


def _tunnel_options(options: Attr) -> Attr:
    """A reply has the options of all headers in one nest, a request a nest for each."""
    inside = options.attrs()
    if [attr.type for attr in inside] != [_GENEVE]:
        return options
    headers: list[list[Attr]] = []
    for attr in inside[0].attrs():
        if attr.type == _GENEVE_CLASS:
            headers.append([])
        headers[-1].append(attr)
    return nla.nest(options.type, [nla.nest(_GENEVE, header) for header in headers])


def _without_holders(parms: bytes) -> bytes:
    index, capab, action, _, _ = GEN.unpack_from(parms)
    return GEN.pack(index, capab, action, 0, 0) + parms[GEN.size :]


def _police(inside: Iterable[Attr]) -> list[Attr]:
    """A policer: its rates come back as the tables that a request must have."""
    attrs = {attr.type: attr for attr in inside}
    index, action, limit, burst, mtu, rate, peak, _, _, capab = POLICE_TBF.unpack_from(
        attrs[TcaPolice.TBF].payload.ljust(POLICE_TBF.size, b"\0")
    )
    cell_log = 0
    while (mtu or DEFAULT_MTU) >> cell_log > 255:
        cell_log += 1
    tables: list[Attr] = []
    specs: list[bytes] = []
    wide = {TcaPolice.RATE: TcaPolice.RATE64, TcaPolice.PEAKRATE: TcaPolice.PEAKRATE64}
    for number, spec in ((TcaPolice.RATE, rate), (TcaPolice.PEAKRATE, peak)):
        _, linklayer, overhead, _, mpu, bytes_per_second = RATESPEC.unpack(spec)
        if not bytes_per_second:
            specs.append(bytes(RATESPEC.size))
            continue
        specs.append(RATESPEC.pack(cell_log, linklayer, overhead, -1, mpu, bytes_per_second))
        if wide[number] in attrs:
            bytes_per_second = attrs[wide[number]].u64
        tables.append(nla.binary(number, rate_table(bytes_per_second, cell_log, linklayer, mpu)))
        if wide[number] in attrs:
            tables.append(attrs[wide[number]])
    tbf = POLICE_TBF.pack(index, action, limit, burst, mtu, *specs, 0, 0, capab)
    plain = (TcaPolice.AVRATE, TcaPolice.RESULT, TcaPolice.PKTRATE64, TcaPolice.PKTBURST64)
    made = [nla.binary(TcaPolice.TBF, tbf), *tables]
    return [*made, *(attrs[number] for number in plain if number in attrs)]


DEFAULT_MTU = 2047
"""tc's, where nobody says one."""


_ATM = 2


def rate_table(rate: int, cell_log: int, linklayer: int, mpu: int) -> bytes:
    """tc_calc_rtable_64(): the ticks that 256 sizes take."""
    ticks = []
    for cell in range(1, 257):
        length = max(cell << cell_log, mpu)
        if linklayer == _ATM:
            length = -(-length // 48) * 53
        ticks.append(transmit_ticks(rate, length))
    return struct.pack("=256I", *ticks)


# programs


def programs_of(request: Message) -> list[int]:
    """The ids of the programs that a request of this module names."""
    found: list[int] = []

    def note(id: int) -> int:
        found.append(id)
        return id

    with_descriptors(request, note)
    return found


def with_descriptors(request: Message, descriptor: Callable[[int], int]) -> Message:
    """The request with each program's id replaced by a descriptor of it."""
    if request.type == Rtm.NEWTFILTER:
        attrs = [
            nla.nest(Tca.OPTIONS, _filter_descriptors(attr.attrs(), descriptor))
            if attr.type == Tca.OPTIONS
            else attr
            for attr in iter_attrs(request.payload[TCMSG_LEN:])
        ]
        payload = request.payload[:TCMSG_LEN] + encode_attrs(attrs)
    elif request.type == Rtm.NEWACTION:
        attrs = [
            nla.nest(attr.type, _action_descriptors(attr.attrs(), descriptor))
            for attr in iter_attrs(request.payload[wire.TCAMSG_LEN :])
        ]
        payload = request.payload[: wire.TCAMSG_LEN] + encode_attrs(attrs)
    else:
        return request
    return Message(request.type, request.flags, request.seq, request.pid, payload)


def _filter_descriptors(attrs: Iterable[Attr], descriptor: Callable[[int], int]) -> list[Attr]:
    made = []
    for attr in attrs:
        if attr.type == TcaBpf.FD:
            attr = nla.u32(TcaBpf.FD, descriptor(attr.u32))
        elif attr.type == TcaBpf.ACT:
            attr = nla.nest(TcaBpf.ACT, _action_descriptors(attr.attrs(), descriptor))
        made.append(attr)
    return made


def _action_descriptors(actions: Iterable[Attr], descriptor: Callable[[int], int]) -> list[Attr]:
    made = []
    for action in actions:
        inside = action.attrs()
        if any(attr.type == TcaAct.KIND and attr.string == "bpf" for attr in inside):
            inside = [
                nla.nest(TcaAct.OPTIONS, _option_descriptors(attr.attrs(), descriptor), flagged=True)
                if attr.type == TcaAct.OPTIONS
                else attr
                for attr in inside
            ]
        made.append(nla.nest(action.type, inside))
    return made


def _option_descriptors(attrs: Iterable[Attr], descriptor: Callable[[int], int]) -> list[Attr]:
    return [
        nla.u32(TcaActBpf.FD, descriptor(attr.u32)) if attr.type == TcaActBpf.FD else attr for attr in attrs
    ]
