"""simple on the wire: net/sched/act_simple.c, tcf_simp_init() and tcf_simp_dump()."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ...errors import NetlinkError
from ...netlink import act as wire
from ...netlink import attr as nla
from ...netlink.act import TcaDef
from ...netlink.attr import Attr
from ...tc.actions.action import Action
from ...tc.actions.simple import Simple, SimpleParams
from .kind import Given, Kind

if TYPE_CHECKING:
    from ..actions import NetActions


class SimpleKind(Kind[SimpleParams]):
    """simple."""

    name = "simple"
    action = Simple
    policy = wire.SIMPLE
    highest = TcaDef.PAD
    parms = TcaDef.PARMS
    tm = TcaDef.TM

    def early(self, given: Given, *, exists: bool) -> None:
        if TcaDef.DATA not in given.attrs:
            raise NetlinkError(errno.EINVAL)

    def build(
        self, given: Given, old: Action[SimpleParams] | None, net: NetActions, *, rate: bytes | None
    ) -> SimpleParams:
        raw = given.attrs[TcaDef.DATA].payload.split(b"\0", 1)[0][: wire.SIMP_MAX_DATA - 1]
        return SimpleParams(raw.decode("utf-8", "surrogateescape"))

    def offloadable(self, action: Action[SimpleParams]) -> bool:
        return False

    def dump(self, action: Action[SimpleParams], generic: bytes, net: NetActions) -> list[Attr]:
        return [nla.binary(TcaDef.PARMS, generic), nla.string(TcaDef.DATA, action.params.text)]


SIMPLE = SimpleKind()
