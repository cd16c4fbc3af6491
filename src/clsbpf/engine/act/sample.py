"""sample on the wire: net/sched/act_sample.c, tcf_sample_init() and tcf_sample_dump()."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ...errors import NetlinkError
from ...netlink import act as wire
from ...netlink import attr as nla
from ...netlink.act import TcaSample
from ...netlink.attr import Attr
from ...tc.actions.action import Action
from ...tc.actions.sample import Sample, SampleParams
from .kind import Given, Kind

if TYPE_CHECKING:
    from ..actions import NetActions


class SampleKind(Kind[SampleParams]):
    """sample."""

    name = "sample"
    action = Sample
    policy = wire.SAMPLE
    highest = TcaSample.PAD
    parms = TcaSample.PARMS
    tm = TcaSample.TM
    tm_at = 1

    def build(
        self, given: Given, old: Action[SampleParams] | None, net: NetActions, *, rate: bytes | None
    ) -> SampleParams:
        one_in, group = given.u32(TcaSample.RATE), given.u32(TcaSample.PSAMPLE_GROUP)
        if one_in is None or group is None:
            raise NetlinkError(errno.EINVAL, "sample rate and group are required")
        if not one_in:
            raise NetlinkError(errno.EINVAL, "invalid sample rate")
        truncate = given.u32(TcaSample.TRUNC_SIZE)
        if truncate is None and old is not None:
            truncate = old.params.truncate  # a replacement that names none leaves the old one
        return SampleParams(one_in, group, truncate)

    def dump(self, action: Action[SampleParams], generic: bytes, net: NetActions) -> list[Attr]:
        params = action.params
        attrs = [nla.binary(TcaSample.PARMS, generic), nla.u32(TcaSample.RATE, params.rate)]
        if params.truncate is not None:
            attrs.append(nla.u32(TcaSample.TRUNC_SIZE, params.truncate))
        attrs.append(nla.u32(TcaSample.PSAMPLE_GROUP, params.group))
        return attrs


SAMPLE = SampleKind()
