"""police on the wire: net/sched/act_police.c, tcf_police_init() and tcf_police_dump().

The struct of its parameters is not like the other kinds': the control stands where they have something
else, and a request of a filter's own may have a shorter one, from before there were actions.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...errors import NetlinkError
from ...netlink import act as wire
from ...netlink import attr as nla
from ...netlink.act import GenericParms, TcaPolice
from ...netlink.attr import Attr
from ...tc.act import as_answer, is_goto_chain
from ...tc.actions.action import Action
from ...tc.actions.police import Police, PoliceParams
from ...tc.rate import Rate
from .kind import Given, Kind

if TYPE_CHECKING:
    from ..actions import NetActions

U32 = 0xFFFFFFFF
_LINKLAYER_MASK = 0x0F
_NO_SPEC = bytes(wire.RATESPEC.size)


def _tbf(payload: bytes) -> tuple[int, int, bytes, bytes]:
    """(burst, mtu, rate, peakrate) of struct tc_police, or of its shorter forebear."""
    fields = wire.POLICE_TBF.unpack(payload.ljust(wire.POLICE_TBF.size, b"\0"))
    return fields[3], fields[4], fields[5], fields[6]


def _rate64(given: Given, spec: bytes, number: int) -> int:
    found = given.attrs.get(number)
    rate = int(wire.RATESPEC.unpack(spec)[5])
    return max(rate, found.u64) if found is not None else rate


def _rate(given: Given, spec: bytes, table: int, rate64: int) -> Rate | None:
    """qdisc_get_rtab() and psched_ratecfg_precompute(); NetlinkError ENOMEM for a table that is none."""
    cell_log, linklayer, overhead, _, mpu, rate = wire.RATESPEC.unpack(spec)
    if not rate:
        return None
    found = given.attrs.get(table)
    if found is None or len(found.payload) != wire.TC_RTAB_SIZE or not 0 < cell_log < 32:
        raise NetlinkError(errno.ENOMEM)
    return Rate(_rate64(given, spec, rate64), overhead, mpu, linklayer & _LINKLAYER_MASK or 1)


class PoliceKind(Kind[PoliceParams]):
    """police."""

    name = "police"
    action = Police
    policy = wire.POLICE
    highest = TcaPolice.PKTBURST64
    parms = TcaPolice.TBF
    tm = TcaPolice.TM

    def given(self, attrs: Mapping[int, Attr], parms: bytes) -> Given:
        if len(parms) not in (wire.POLICE_TBF.size, wire.POLICE_COMPAT_SIZE):
            raise NetlinkError(errno.EINVAL)
        index, control = wire.POLICE_TBF.unpack(parms.ljust(wire.POLICE_TBF.size, b"\0"))[:2]
        return Given(attrs, parms, GenericParms(index, control))

    def build(
        self, given: Given, old: Action[PoliceParams] | None, net: NetActions, *, rate: bytes | None
    ) -> PoliceParams:
        attrs = given.attrs
        burst, mtu, spec, peak_spec = _tbf(given.parms)
        limit = _rate(given, spec, TcaPolice.RATE, TcaPolice.RATE64)
        peak = None
        if limit is not None:
            peak = _rate(given, peak_spec, TcaPolice.PEAKRATE, TcaPolice.PEAKRATE64)
        average = given.u32(TcaPolice.AVRATE)
        if average is not None and rate is None and (old is None or old.estimator is None):
            raise NetlinkError(errno.EINVAL)
        result = given.u32(TcaPolice.RESULT) or 0
        if is_goto_chain(result):
            raise NetlinkError(errno.EINVAL, "goto chain not allowed on fallback")
        if (TcaPolice.PKTRATE64 in attrs) != (TcaPolice.PKTBURST64 in attrs):
            raise NetlinkError(
                errno.EINVAL, "Both or neither packet-per-second burst and rate must be provided"
            )
        packets = TcaPolice.PKTRATE64 in attrs
        if packets and limit is not None:
            raise NetlinkError(
                errno.EINVAL,
                "packet-per-second and byte-per-second rate limits not allowed in same action",
            )
        if not mtu:
            mtu = U32 if limit is None else 255 << wire.RATESPEC.unpack(spec)[0]
        return PoliceParams(
            result=as_answer(result),
            mtu=mtu,
            burst=burst * wire.TICK_NS,
            rate=limit,
            peak=peak,
            packets=attrs[TcaPolice.PKTRATE64].u64 if packets else 0,
            packets_burst=attrs[TcaPolice.PKTBURST64].u64 * wire.TICK_NS if packets else 0,
            average=average or 0,
        )

    def dump(self, action: Action[PoliceParams], generic: bytes, net: NetActions) -> list[Attr]:
        params = action.params
        attrs: list[Attr] = []
        for limit, number in ((params.rate, TcaPolice.RATE64), (params.peak, TcaPolice.PEAKRATE64)):
            if limit is not None and limit.bytes_ps > U32:
                attrs.append(nla.u64(number, limit.bytes_ps))
        if params.packets:
            attrs.append(nla.u64(TcaPolice.PKTRATE64, params.packets))
            attrs.append(nla.u64(TcaPolice.PKTBURST64, params.packets_burst // wire.TICK_NS))
        parms = GenericParms.decode(generic)
        tbf = wire.POLICE_TBF.pack(
            parms.index,
            parms.control,
            0,
            params.burst // wire.TICK_NS & U32,
            params.mtu,
            _spec(params.rate),
            _spec(params.peak),
            parms.references,
            parms.bindings,
            0,
        )
        attrs.append(nla.binary(TcaPolice.TBF, tbf))
        if params.result:
            attrs.append(nla.u32(TcaPolice.RESULT, params.result & U32))
        if params.average:
            attrs.append(nla.u32(TcaPolice.AVRATE, params.average))
        return attrs


def _spec(limit: Rate | None) -> bytes:
    """psched_ratecfg_getrate()."""
    if limit is None:
        return _NO_SPEC
    rate = min(limit.bytes_ps, U32)
    return wire.RATESPEC.pack(0, limit.linklayer, limit.overhead, 0, limit.mpu, rate)


POLICE = PoliceKind()
