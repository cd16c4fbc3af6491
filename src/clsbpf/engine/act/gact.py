"""gact on the wire: net/sched/act_gact.c, tcf_gact_init() and tcf_gact_dump()."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ...errors import NetlinkError
from ...netlink import act as wire
from ...netlink import attr as nla
from ...netlink.act import TcaGact
from ...netlink.attr import Attr
from ...tc.act import TcAct, is_goto_chain
from ...tc.actions.action import Action
from ...tc.actions.gact import Chance, Gact, GactParams
from .kind import Given, Kind, Remark

if TYPE_CHECKING:
    from ..actions import NetActions


class GactKind(Kind[GactParams]):
    """gact."""

    name = "gact"
    action = Gact
    policy = wire.GACT
    highest = TcaGact.PAD
    parms = TcaGact.PARMS
    tm = TcaGact.TM

    def parse(self, options: Attr | None, remark: Remark) -> Given:
        """The probability is checked with the attributes."""
        given = super().parse(options, remark)
        if TcaGact.PROB in given.attrs:
            kind, _, other = wire.GACT_PROB.unpack_from(given.attrs[TcaGact.PROB].payload)
            if kind >= wire.MAX_RAND:
                raise NetlinkError(errno.EINVAL)
            if is_goto_chain(other):
                raise NetlinkError(errno.EINVAL, "goto chain not allowed on fallback")
        return given

    def build(
        self, given: Given, old: Action[GactParams] | None, net: NetActions, *, rate: bytes | None
    ) -> GactParams:
        """A replacement that names no probability leaves the old one."""
        if TcaGact.PROB not in given.attrs:
            return old.params if old is not None else GactParams()
        kind, value, other = wire.GACT_PROB.unpack_from(given.attrs[TcaGact.PROB].payload)
        return GactParams(Chance(kind), max(value, 1), other)

    def offloadable(self, action: Action[GactParams]) -> bool:
        control = action.control
        return control in (TcAct.OK, TcAct.SHOT, TcAct.TRAP) or is_goto_chain(control)

    def dump(self, action: Action[GactParams], generic: bytes, net: NetActions) -> list[Attr]:
        attrs = [nla.binary(TcaGact.PARMS, generic)]
        params = action.params
        if params.chance:
            prob = wire.GACT_PROB.pack(params.chance, params.value, params.other)
            attrs.append(nla.binary(TcaGact.PROB, prob))
        return attrs


GACT = GactKind()
