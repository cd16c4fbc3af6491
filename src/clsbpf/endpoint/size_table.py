"""TCA_STAB: a request's size table, which says for how many bytes a packet of each length counts.

Mirrors qdisc_get_stab() of net/sched/sch_api.c.
"""

from __future__ import annotations

import errno
import struct

from ..errors import NetlinkError
from ..netlink.attr import NLA_HDRLEN, Attr
from ..netlink.policy import parse_attrs
from ..netlink.qdisc import STAB, TCA_STAB_MAX, SizeSpec, TcaStab
from ..tc.qdiscs.qdisc import SizeTable
from .request import Request

MAX_LOG = 30
"""STAB_SIZE_LOG_MAX."""


def size_table(request: Request, attr: Attr) -> SizeTable:
    """The table in TCA_STAB; NetlinkError where there is none."""
    parsed = parse_attrs(attr.payload, STAB, TCA_STAB_MAX, offset=attr.offset + NLA_HDRLEN)
    request.warn(parsed.warning)
    found = parsed.attrs
    if TcaStab.BASE not in found:
        raise NetlinkError(errno.EINVAL, "Size table base attribute is missing")
    spec = SizeSpec.decode(found[TcaStab.BASE].payload)
    data: tuple[int, ...] = ()
    if spec.tsize:
        if TcaStab.DATA not in found:
            raise NetlinkError(errno.EINVAL, "Size table data attribute is missing")
        raw = found[TcaStab.DATA].payload
        data = struct.unpack_from(f"={len(raw) // 2}H", raw)
    if len(data) != spec.tsize:
        raise NetlinkError(errno.EINVAL, "Invalid size of size table")
    if spec.size_log > MAX_LOG or spec.cell_log > MAX_LOG:
        raise NetlinkError(errno.EINVAL, "Invalid logarithmic size of size table")
    return SizeTable(spec.encode(), spec.cell_log, spec.size_log, spec.cell_align, spec.overhead, data)
