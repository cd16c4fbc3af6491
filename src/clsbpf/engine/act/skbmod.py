"""skbmod on the wire: net/sched/act_skbmod.c, tcf_skbmod_init() and tcf_skbmod_dump()."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ...errors import NetlinkError
from ...netlink import act as wire
from ...netlink import attr as nla
from ...netlink.act import SkbmodFlag, TcaSkbmod
from ...netlink.attr import Attr
from ...tc.actions.action import Action
from ...tc.actions.skbmod import Skbmod, SkbmodParams
from .kind import Given, Kind

if TYPE_CHECKING:
    from ..actions import NetActions


class SkbmodKind(Kind[SkbmodParams]):
    """skbmod."""

    name = "skbmod"
    action = Skbmod
    policy = wire.SKBMOD
    highest = TcaSkbmod.PAD
    parms = TcaSkbmod.PARMS
    tm = TcaSkbmod.TM

    def _flags(self, given: Given) -> SkbmodFlag:
        """What is done: of swapping and marking the last, else what there are attributes for."""
        asked = wire.SKBMOD_PARMS.unpack_from(given.parms)[-1]
        if asked & SkbmodFlag.ECN:
            return SkbmodFlag.ECN
        if asked & SkbmodFlag.SWAPMAC:
            return SkbmodFlag.SWAPMAC
        found = SkbmodFlag(0)
        for number, flag in (
            (TcaSkbmod.DMAC, SkbmodFlag.DMAC),
            (TcaSkbmod.SMAC, SkbmodFlag.SMAC),
            (TcaSkbmod.ETYPE, SkbmodFlag.ETYPE),
        ):
            if number in given.attrs:
                found |= flag
        return found

    def early(self, given: Given, *, exists: bool) -> None:
        if not self._flags(given):
            raise NetlinkError(errno.EINVAL)

    def build(
        self, given: Given, old: Action[SkbmodParams] | None, net: NetActions, *, rate: bytes | None
    ) -> SkbmodParams:
        flags, attrs = self._flags(given), given.attrs
        return SkbmodParams(
            int(flags),
            dst=attrs[TcaSkbmod.DMAC].payload[:6] if flags & SkbmodFlag.DMAC else None,
            src=attrs[TcaSkbmod.SMAC].payload[:6] if flags & SkbmodFlag.SMAC else None,
            etype=attrs[TcaSkbmod.ETYPE].u16 if flags & SkbmodFlag.ETYPE else None,
            swap=bool(flags & SkbmodFlag.SWAPMAC),
            ecn=bool(flags & SkbmodFlag.ECN),
        )

    def offloadable(self, action: Action[SkbmodParams]) -> bool:
        return False

    def dump(self, action: Action[SkbmodParams], generic: bytes, net: NetActions) -> list[Attr]:
        params = action.params
        parms = wire.SKBMOD_PARMS.pack(*wire.GEN.unpack(generic), params.flags)
        attrs = [nla.binary(TcaSkbmod.PARMS, parms)]
        if params.dst is not None:
            attrs.append(nla.binary(TcaSkbmod.DMAC, params.dst))
        if params.src is not None:
            attrs.append(nla.binary(TcaSkbmod.SMAC, params.src))
        if params.etype is not None:
            attrs.append(nla.u16(TcaSkbmod.ETYPE, params.etype))
        return attrs


SKBMOD = SkbmodKind()
