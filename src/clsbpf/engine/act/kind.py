"""What a kind of action demands of a request, and says in a reply: the wire's half of tc_action_ops.

    TCA_ACT_OPTIONS ─ parse ─▶ Given ─ early ─┬─ the index is free: made
                                              ├─ it is taken, a filter asks: bound as it is
                                              └─ it is taken: replaced, or EEXIST  ─ build ─▶ parameters

`early` is what a kind checks before it looks whether the action may be made or replaced, `build` what it
does afterwards; so the first of several mistakes is the one that the kernel finds first.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ...errors import NetlinkError
from ...netlink.act import GenericParms
from ...netlink.attr import NLA_HDRLEN, Attr
from ...netlink.policy import Policy, PolicyError, parse_attrs
from ...tc.actions.action import Action
from ...tc.actions.surroundings import Surroundings

if TYPE_CHECKING:
    from ..actions import NetActions

P = TypeVar("P")

Remark = Callable[[str | None], None]
"""Takes what is remarked of a request without refusing it; None is nothing."""


@dataclass(frozen=True, slots=True)
class Given:
    """A request's options of one action: `parms` is the payload of PARMS, `generic` its beginning."""

    attrs: Mapping[int, Attr]
    parms: bytes
    generic: GenericParms

    def u32(self, number: int) -> int | None:
        """A u32 attribute; None when it is not there."""
        found = self.attrs.get(number)
        return found.u32 if found is not None else None


class Kind(Generic[P]):
    """struct tc_action_ops, as far as the wire goes; a file of this package has one subclass a kind."""

    name: str
    action: type[Action[P]]
    policy: Policy
    highest: int
    """TCA_…_MAX."""
    parms: int
    """The number of PARMS."""
    tm: int
    """The number of the times."""
    tm_at: int | None = None
    """Where they stand in a reply; None: at its end."""
    explains: bool = False
    """Does the parser of its options have an extack?"""
    no_options: str | None = None
    """What is said when there are no options (a NL_SET_ERR_MSG_MOD, without its prefix)."""
    no_parms: str | None = None
    """What is said when they have no PARMS."""

    exists: str | None = None
    """What is said when there is such an action, and it may not be replaced; None: nothing."""

    def parse(self, options: Attr | None, remark: Remark) -> Given:
        """The options, by their policy; NetlinkError where the kernel's `init` refuses before all else.

        `remark` is told what is odd about them, where the parser has an extack to say it.
        """
        if options is None:
            raise self.refuse(self.no_options)
        offset = options.offset + NLA_HDRLEN if options.offset >= 0 else 0
        try:
            parsed = parse_attrs(options.payload, self.policy, self.highest, offset=offset)
        except PolicyError as error:
            if self.explains:
                raise
            raise NetlinkError(error.errno or errno.EINVAL) from error
        if self.explains:
            remark(parsed.warning)
        parms = self.find_parms(parsed.attrs)
        if parms is None:
            raise self.refuse(self.no_parms)
        return self.given(parsed.attrs, parms.payload)

    def find_parms(self, attrs: Mapping[int, Attr]) -> Attr | None:
        """PARMS among the options."""
        return attrs.get(self.parms)

    def given(self, attrs: Mapping[int, Attr], parms: bytes) -> Given:
        """The options with their PARMS decoded."""
        return Given(attrs, parms, GenericParms.decode(parms))

    def refuse(self, why: str | None, number: int = errno.EINVAL) -> NetlinkError:
        """A refusal in the module's name (NL_SET_ERR_MSG_MOD), or without words."""
        return NetlinkError(number, f"act_{self.name}: {why}" if why else None)

    def early(self, given: Given, *, exists: bool) -> None:
        """What is checked before the action is made or found to exist; NetlinkError."""

    def build(self, given: Given, old: Action[P] | None, net: NetActions, *, rate: bytes | None) -> P:
        """The parameters; `old` is the action that they replace.  NetlinkError."""
        raise NotImplementedError

    def make(self, index: int, control: int, params: P, around: Surroundings) -> Action[P]:
        """A new action."""
        return self.action(index, control, params, around)

    def offloadable(self, action: Action[P]) -> bool:
        """Could hardware do it (offload_act_setup)?  Then a dump asks hardware for its counters."""
        return True

    def dump(self, action: Action[P], generic: bytes, net: NetActions) -> list[Attr]:
        """The options of a reply, without the times; `generic` is the beginning of PARMS."""
        raise NotImplementedError


AnyKind = Kind[Any]
