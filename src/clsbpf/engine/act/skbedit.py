"""skbedit on the wire: net/sched/act_skbedit.c, tcf_skbedit_init() and tcf_skbedit_dump()."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ...errors import NetlinkError
from ...netlink import act as wire
from ...netlink import attr as nla
from ...netlink.act import SKBEDIT_F_INHERITDSFIELD, SKBEDIT_F_TXQ_SKBHASH, TcaSkbedit
from ...netlink.attr import Attr
from ...tc.actions.action import Action
from ...tc.actions.skbedit import Skbedit, SkbeditParams
from .kind import Given, Kind, Remark

if TYPE_CHECKING:
    from ..actions import NetActions


PACKET_OTHERHOST = 3


class SkbeditKind(Kind[SkbeditParams]):
    """skbedit."""

    name = "skbedit"
    action = Skbedit
    policy = wire.SKBEDIT
    highest = TcaSkbedit.QUEUE_MAPPING_MAX
    parms = TcaSkbedit.PARMS
    tm = TcaSkbedit.TM

    def parse(self, options: Attr | None, remark: Remark) -> Given:
        """Types and ranges are checked with the attributes."""
        given = super().parse(options, remark)
        attrs = given.attrs
        if TcaSkbedit.PTYPE in attrs and attrs[TcaSkbedit.PTYPE].u16 > PACKET_OTHERHOST:
            raise NetlinkError(errno.EINVAL)
        if self._flags(given) & SKBEDIT_F_TXQ_SKBHASH:
            if not {TcaSkbedit.QUEUE_MAPPING, TcaSkbedit.QUEUE_MAPPING_MAX} <= attrs.keys():
                raise self.refuse("Missing required range of queue_mapping.")
            if attrs[TcaSkbedit.QUEUE_MAPPING_MAX].u16 < attrs[TcaSkbedit.QUEUE_MAPPING].u16:
                raise self.refuse("The range of queue_mapping is invalid, max < min.")
        return given

    def _flags(self, given: Given) -> int:
        found = given.attrs.get(TcaSkbedit.FLAGS)
        return found.u64 if found is not None else 0

    def early(self, given: Given, *, exists: bool) -> None:
        named = given.attrs.keys() & {
            TcaSkbedit.PRIORITY,
            TcaSkbedit.QUEUE_MAPPING,
            TcaSkbedit.MARK,
            TcaSkbedit.PTYPE,
            TcaSkbedit.MASK,
        }
        if not named and not self._flags(given) & (SKBEDIT_F_INHERITDSFIELD | SKBEDIT_F_TXQ_SKBHASH):
            raise NetlinkError(errno.EINVAL)

    def build(
        self, given: Given, old: Action[SkbeditParams] | None, net: NetActions, *, rate: bytes | None
    ) -> SkbeditParams:
        attrs, flags = given.attrs, self._flags(given)

        def u16(number: int) -> int | None:
            return attrs[number].u16 if number in attrs else None

        return SkbeditParams(
            priority=given.u32(TcaSkbedit.PRIORITY),
            queue=u16(TcaSkbedit.QUEUE_MAPPING),
            queue_most=u16(TcaSkbedit.QUEUE_MAPPING_MAX) if flags & SKBEDIT_F_TXQ_SKBHASH else None,
            mark=given.u32(TcaSkbedit.MARK),
            mask=given.u32(TcaSkbedit.MASK),
            ptype=u16(TcaSkbedit.PTYPE),
            inherit_dsfield=bool(flags & SKBEDIT_F_INHERITDSFIELD),
        )

    def offloadable(self, action: Action[SkbeditParams]) -> bool:
        params = action.params
        return (params.mark, params.ptype, params.priority, params.queue) != (None,) * 4

    def dump(self, action: Action[SkbeditParams], generic: bytes, net: NetActions) -> list[Attr]:
        params = action.params
        attrs = [nla.binary(TcaSkbedit.PARMS, generic)]
        if params.priority is not None:
            attrs.append(nla.u32(TcaSkbedit.PRIORITY, params.priority))
        if params.queue is not None:
            attrs.append(nla.u16(TcaSkbedit.QUEUE_MAPPING, params.queue))
        if params.mark is not None:
            attrs.append(nla.u32(TcaSkbedit.MARK, params.mark))
        if params.ptype is not None:
            attrs.append(nla.u16(TcaSkbedit.PTYPE, params.ptype))
        if params.mask is not None:
            attrs.append(nla.u32(TcaSkbedit.MASK, params.mask))
        flags = SKBEDIT_F_INHERITDSFIELD if params.inherit_dsfield else 0
        if params.queue_most is not None:
            attrs.append(nla.u16(TcaSkbedit.QUEUE_MAPPING_MAX, params.queue_most))
            flags |= SKBEDIT_F_TXQ_SKBHASH
        if flags:
            attrs.append(nla.u64(TcaSkbedit.FLAGS, flags))
        return attrs


SKBEDIT = SkbeditKind()
