"""pedit on the wire: net/sched/act_pedit.c, tcf_pedit_init() and tcf_pedit_dump()."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...errors import NetlinkError
from ...netlink import act as wire
from ...netlink import attr as nla
from ...netlink.act import TcaPedit, TcaPeditKeyEx
from ...netlink.attr import NLA_HDRLEN, Attr
from ...netlink.policy import PolicyError, parse_attrs
from ...tc.actions.action import Action
from ...tc.actions.pedit import Header, Key, Pedit, PeditParams
from .kind import Given, Kind

if TYPE_CHECKING:
    from ..actions import NetActions

_MOST_SHIFT = 31


class PeditKind(Kind[PeditParams]):
    """pedit."""

    name = "pedit"
    action = Pedit
    policy = wire.PEDIT
    highest = TcaPedit.KEY_EX
    parms = TcaPedit.PARMS
    tm = TcaPedit.TM
    no_options = "Pedit requires attributes to be passed"
    no_parms = "Missing required TCA_PEDIT_PARMS or TCA_PEDIT_PARMS_EX pedit attribute"

    def find_parms(self, attrs: Mapping[int, Attr]) -> Attr | None:
        return attrs.get(TcaPedit.PARMS) or attrs.get(TcaPedit.PARMS_EX)

    def early(self, given: Given, *, exists: bool) -> None:
        """Whether it may be replaced is asked before its keys are looked at (`build`)."""

    def build(
        self, given: Given, old: Action[PeditParams] | None, net: NetActions, *, rate: bytes | None
    ) -> PeditParams:
        _, _, _, _, _, count, flags = wire.PEDIT_SEL.unpack_from(given.parms)
        if not count:
            raise self.refuse("Pedit requires keys to be passed")
        keys = given.parms[wire.PEDIT_SEL.size :]
        if len(keys) < count * wire.PEDIT_KEY.size:
            at = self.find_parms(given.attrs)
            raise NetlinkError(
                errno.EINVAL,
                "Length of TCA_PEDIT_PARMS or TCA_PEDIT_PARMS_EX pedit attribute is invalid",
                at.offset if at is not None else None,
            )
        nest = given.attrs.get(TcaPedit.KEYS_EX)
        extended = self._extended(nest, count) if nest is not None else None
        made: list[Key] = []
        for number in range(count):
            fields = wire.PEDIT_KEY.unpack_from(keys, number * wire.PEDIT_KEY.size)
            mask, value, offset, at_, offmask, shift = fields
            if not offmask and offset % 4:
                raise self.refuse("Offsets must be on 32bit boundaries")
            header, add = extended[number] if extended is not None else (Header.NETWORK, False)
            signed = offset - (1 << 32) if offset >> 31 else offset
            made.append(Key(mask, value, signed, at_, offmask, min(shift, _MOST_SHIFT), header, add))
        return PeditParams(tuple(made), flags, nest is not None)

    def _extended(self, nest: Attr, count: int) -> list[tuple[Header, bool]]:
        """tcf_pedit_keys_ex_parse()."""
        found: list[tuple[Header, bool]] = []
        for each in nest.attrs():
            if len(found) == count:
                raise self.refuse("Can't parse more extended keys than requested")
            if each.type != TcaPedit.KEY_EX:
                raise NetlinkError(errno.EINVAL, "Unknown attribute, expected extended key", each.offset)
            try:
                attrs = parse_attrs(
                    each.payload, wire.PEDIT_KEY_EX, TcaPeditKeyEx.CMD, offset=each.offset + NLA_HDRLEN
                ).attrs
            except PolicyError as error:
                raise NetlinkError(error.errno or errno.EINVAL) from error
            if attrs.keys() != {TcaPeditKeyEx.HTYPE, TcaPeditKeyEx.CMD}:
                raise NetlinkError(errno.EINVAL, "Missing required attribute")
            found.append((Header(attrs[TcaPeditKeyEx.HTYPE].u16), bool(attrs[TcaPeditKeyEx.CMD].u16)))
        if len(found) < count:
            raise self.refuse("Not enough extended keys to parse")
        return found

    def offloadable(self, action: Action[PeditParams]) -> bool:
        return len({key.add for key in action.params.keys}) == 1

    def dump(self, action: Action[PeditParams], generic: bytes, net: NetActions) -> list[Attr]:
        params = action.params
        sel = wire.PEDIT_SEL.pack(*wire.GEN.unpack(generic), len(params.keys), params.flags)
        for key in params.keys:
            offset = key.offset & 0xFFFFFFFF
            sel += wire.PEDIT_KEY.pack(key.mask, key.value, offset, key.at, key.offmask, key.shift)
        if not params.extended:
            return [nla.binary(TcaPedit.PARMS, sel)]
        extended = [
            nla.nest(
                TcaPedit.KEY_EX,
                [nla.u16(TcaPeditKeyEx.HTYPE, key.header), nla.u16(TcaPeditKeyEx.CMD, key.add)],
            )
            for key in params.keys
        ]
        return [nla.nest(TcaPedit.KEYS_EX, extended), nla.binary(TcaPedit.PARMS_EX, sel)]


PEDIT = PeditKind()
