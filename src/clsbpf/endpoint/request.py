"""One traffic-control request, decoded: what every handler is given.

Decoding is the kernel's nlmsg_parse_deprecated() with the policy of the message type, so that bad
attributes are refused here, before any handler looks at them.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..errors import NetlinkError
from ..netlink.act import ACTION_ATTRS_OFFSET, TCAMSG_LEN
from ..netlink.attr import Attr
from ..netlink.message import NLM_F_ECHO, Message
from ..netlink.policy import Policy, parse_attrs
from ..netlink.schema import Tca
from ..netlink.tcmsg import ATTRS_OFFSET, TCMSG_LEN, TcMsg
from ..profile import CURRENT, KernelProfile

IFNAMSIZ = 16

Datagram = tuple[Message, ...]
"""Messages that go out in one datagram."""


DUMP_ROOM = 32448
"""Bytes in a datagram of a dump: the kernel's 32 KiB less what it keeps for itself.

A message that is longer cannot be dumped at all (EMSGSIZE): a filter of more than some 4040
instructions, say.  It can still be got.
"""


@dataclass(slots=True)
class Request:
    """struct nlmsghdr, struct tcmsg and the attributes of a request, and the address of who asks.

    A request about actions has an empty `tcm`.  `warning` is an extack message that came up without
    refusing anything.  `max_recvmsg_len` is the most that the asking socket has been ready to receive.
    `replies` are datagrams for the asker, in order, before any acknowledgement.
    """

    message: Message
    tcm: TcMsg
    attrs: dict[int, Attr]
    warning: str | None
    portid: int
    profile: KernelProfile = CURRENT
    max_recvmsg_len: int = 0
    replies: list[bytes] = field(default_factory=list)

    def has(self, flags: int) -> bool:
        """Are all of these NLM_F_* bits set?"""
        return self.message.flags & flags == flags

    @property
    def echo(self) -> bool:
        """NLM_F_ECHO: does the asker want the notification too?"""
        return self.has(NLM_F_ECHO)

    def known(self, attrs: Iterable[Attr]) -> list[Attr]:
        """Those attributes of a reply that the profile's kernel has."""
        return [attr for attr in attrs if attr.type <= self.profile.last_tca]

    def warn(self, text: str | None) -> None:
        """NL_SET_ERR_MSG() beside success: the last one counts; None says nothing."""
        if text is not None:
            self.warning = text

    def number(self, attr: int) -> int | None:
        """A u32 attribute, None when it is not there."""
        found = self.attrs.get(attr)
        return found.u32 if found is not None else None

    @property
    def kind(self) -> Attr | None:
        """TCA_KIND, as it came; `kind_is` compares it."""
        return self.attrs.get(Tca.KIND)

    def kind_is(self, name: str) -> bool:
        """nla_strcmp() with TCA_KIND: trailing NULs do not count, one inside does."""
        return self.kind is not None and self.kind.payload.rstrip(b"\0") == name.encode()


def parse_request(message: Message, policy: Policy, portid: int, profile: KernelProfile) -> Request:
    """The request in a message; NetlinkError when it is cut or an attribute fails its policy."""
    if len(message.payload) < TCMSG_LEN:
        raise NetlinkError(errno.EINVAL, "Invalid header length")
    parsed = parse_attrs(message.payload[TCMSG_LEN:], policy, profile.last_tca, offset=ATTRS_OFFSET)
    return Request(message, TcMsg.decode(message.payload), parsed.attrs, parsed.warning, portid, profile)


def parse_action_request(message: Message, policy: Policy, portid: int, profile: KernelProfile) -> Request:
    """The same of a request about actions, which has a struct tcamsg instead."""
    if len(message.payload) < TCAMSG_LEN:
        raise NetlinkError(errno.EINVAL, "Invalid header length")
    inside = message.payload[TCAMSG_LEN:]
    parsed = parse_attrs(inside, policy, profile.last_tca_root, offset=ACTION_ATTRS_OFFSET)
    return Request(message, TcMsg(), parsed.attrs, parsed.warning, portid, profile)
