"""A connection to the daemon that passes for an AF_NETLINK socket.

Libraries that speak rtnetlink take a socket of the caller's making, and ask of it what they would of the
kernel's: addresses of port and groups, options at the level SOL_NETLINK.  pyroute2, for one:

    from pyroute2 import IPRoute
    with IPRoute(use_socket=NetlinkLookalike.to_daemon()) as ipr:
        ipr.tc("add", "clsact", index=ipr.link_lookup(ifname="lab0")[0])
"""

from __future__ import annotations

import socket
from typing import Any

from ..netlink import attr as nla
from ..netlink.attr import encode_attrs
from ..netlink.message import NLM_F_REQUEST, Message
from .address import socket_path
from .client import Connection, connect
from .wire import Option, Own

SOL_NETLINK = 270
_OPTIONS = {1: Option.ADD_MEMBERSHIP, 2: Option.DROP_MEMBERSHIP, 10: Option.CAP_ACK, 11: Option.EXT_ACK}
"""NETLINK_ADD_MEMBERSHIP, DROP_MEMBERSHIP, CAP_ACK, EXT_ACK; other options change nothing here."""


class NetlinkLookalike(socket.socket):
    """A connected SOCK_SEQPACKET that says SOCK_DGRAM of itself, as AF_NETLINK's sockets do."""

    def __init__(self, connection: Connection) -> None:
        self._portid = connection.portid
        self._groups = 0
        super().__init__(fileno=connection.socket.detach())

    @classmethod
    def to_daemon(cls, path: str | None = None) -> NetlinkLookalike:
        """To the daemon at `path`, by default the user's; ClsbpfError as `client.connect`."""
        made = cls(connect(socket_path(path)))
        made.setsockopt(SOL_NETLINK, 11, 0)  # off, as in a new netlink socket
        return made

    @property
    def type(self) -> socket.SocketKind:
        """What the kernel's would say."""
        return socket.SOCK_DGRAM

    def bind(self, address: Any) -> None:
        """(port, mask of the first 32 groups); the daemon chooses the port."""
        _, groups = address
        for group in range(1, 33):
            if groups >> (group - 1) & 1:
                self._set(Option.ADD_MEMBERSHIP, group)
        self._groups |= groups

    def getsockname(self) -> tuple[int, int]:
        """(port, groups)."""
        return self._portid, self._groups

    def setsockopt(self, level: int, name: int, value: Any, *more: Any) -> None:
        """Options of netlink go to the daemon, others to the socket."""
        if level != SOL_NETLINK:
            super().setsockopt(level, name, value, *more)
        elif name in _OPTIONS:
            self._set(_OPTIONS[name], int(value))

    def _set(self, option: Option, value: int) -> None:
        payload = encode_attrs([nla.u32(option, value)])
        self.send(Message(Own.SOCKET, NLM_F_REQUEST, 0, 0, payload).encode())
