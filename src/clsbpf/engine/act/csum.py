"""csum on the wire: net/sched/act_csum.c, tcf_csum_init() and tcf_csum_dump()."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...netlink import act as wire
from ...netlink import attr as nla
from ...netlink.act import TcaCsum
from ...netlink.attr import Attr
from ...tc.actions.action import Action
from ...tc.actions.csum import Csum, CsumParams, Update
from .kind import Given, Kind

if TYPE_CHECKING:
    from ..actions import NetActions


class CsumKind(Kind[CsumParams]):
    """csum."""

    name = "csum"
    action = Csum
    policy = wire.CSUM
    highest = TcaCsum.PAD
    parms = TcaCsum.PARMS
    tm = TcaCsum.TM

    def build(
        self, given: Given, old: Action[CsumParams] | None, net: NetActions, *, rate: bytes | None
    ) -> CsumParams:
        return CsumParams(Update(wire.CSUM_PARMS.unpack_from(given.parms)[-1]))

    def dump(self, action: Action[CsumParams], generic: bytes, net: NetActions) -> list[Attr]:
        parms = wire.CSUM_PARMS.pack(*wire.GEN.unpack(generic), action.params.update)
        return [nla.binary(TcaCsum.PARMS, parms)]


CSUM = CsumKind()
