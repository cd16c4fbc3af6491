"""mirred on the wire: net/sched/act_mirred.c, tcf_mirred_init() and tcf_mirred_dump()."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ...errors import NetlinkError
from ...netlink import act as wire
from ...netlink import attr as nla
from ...netlink.act import TcaMirred
from ...netlink.attr import Attr
from ...tc.actions.action import Action
from ...tc.actions.mirred import Eaction, Mirred, MirredParams
from .kind import Given, Kind

if TYPE_CHECKING:
    from ..actions import NetActions


def _target(given: Given) -> tuple[int, int]:
    """(eaction, ifindex) of struct tc_mirred."""
    *_, eaction, ifindex = wire.MIRRED_PARMS.unpack_from(given.parms)
    return eaction, ifindex


class MirredKind(Kind[MirredParams]):
    """mirred."""

    name = "mirred"
    action = Mirred
    policy = wire.MIRRED
    highest = TcaMirred.BLOCKID
    parms = TcaMirred.PARMS
    tm = TcaMirred.TM
    explains = True
    no_options = "Mirred requires attributes to be passed"
    no_parms = "Missing required mirred parameters"

    def early(self, given: Given, *, exists: bool) -> None:
        eaction, ifindex = _target(given)
        has_block = TcaMirred.BLOCKID in given.attrs
        if has_block and ifindex:
            raise self.refuse("Cannot specify Block ID and dev simultaneously")
        if eaction not in tuple(Eaction):
            raise self.refuse("Unknown mirred option")
        if not exists and not ifindex and not has_block:
            raise self.refuse("Must specify device or block")

    def build(
        self, given: Given, old: Action[MirredParams] | None, net: NetActions, *, rate: bytes | None
    ) -> MirredParams:
        """A replacement that names no target leaves the old one.  A block need not be there yet."""
        number, ifindex = _target(given)
        eaction = Eaction(number)
        if ifindex:
            if not net.has_device(ifindex):
                raise NetlinkError(errno.ENODEV)
            return MirredParams(eaction, ifindex=ifindex)
        block = given.u32(TcaMirred.BLOCKID)
        if block:
            return MirredParams(eaction, block=block)
        assert old is not None
        return MirredParams(eaction, old.params.ifindex, old.params.block)

    def dump(self, action: Action[MirredParams], generic: bytes, net: NetActions) -> list[Attr]:
        params = action.params
        # A device that is gone since is no target any more.
        ifindex = params.ifindex if net.has_device(params.ifindex) else 0
        parms = wire.MIRRED_PARMS.pack(*wire.GEN.unpack(generic), params.eaction, ifindex)
        attrs = [nla.binary(TcaMirred.PARMS, parms)]
        if params.block:
            attrs.append(nla.u32(TcaMirred.BLOCKID, params.block))
        return attrs


MIRRED = MirredKind()
