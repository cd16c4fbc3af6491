"""`clsbpf tc` over a daemon's socket."""

from __future__ import annotations

import struct
from contextlib import ExitStack

from ..daemon.address import socket_path
from ..daemon.client import Connection, connect
from ..daemon.wire import Arg
from ..netlink import attr as nla
from ..netlink.attr import encode_attrs, iter_attrs
from ..netlink.message import NLM_F_REQUEST, NLMSG_ERROR, Message, iter_messages, read_acknowledgement
from ..netlink.schema import Rtm
from ..tccmd.render import ProgramInfo
from ..tccmd.request import ObjectSource
from .tc_main import Seam

_IFINFOMSG = struct.Struct("=BxHiII")
_IFLA_IFNAME = 3


def daemon_seam(stack: ExitStack, socket: str | None) -> Seam:
    """A connection to the daemon as `clsbpf tc` needs it."""
    connection = stack.enter_context(connect(socket_path(socket)))
    devices = _Devices(connection)

    def program(id: int) -> ProgramInfo | None:
        return _program(connection, id)

    def load_object(source: ObjectSource) -> int:
        from .tc_load import load_into_daemon

        return load_into_daemon(connection, source)

    return Seam(
        connection.ask,
        devices.ifindex,
        devices.name,
        program,
        load_object,
        connection.listen,
        connection.receive,
        connection.ask_all,
    )


class _Devices:
    """ll_map: names and ifindexes, each asked for once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._by_name: dict[str, int] = {}
        self._by_index: dict[int, str] = {}

    def ifindex(self, name: str) -> int | None:
        """ll_name_to_index()."""
        if name not in self._by_name:
            self._ask(0, name)
        return self._by_name.get(name)

    def name(self, ifindex: int) -> str:
        """ll_index_to_name()."""
        if ifindex not in self._by_index:
            self._ask(ifindex, None)
        return self._by_index.get(ifindex, f"if{ifindex}")

    def _ask(self, ifindex: int, name: str | None) -> None:
        """RTM_GETLINK of one device."""
        if ifindex > 0x7FFFFFFF:
            return
        attrs = [nla.binary(_IFLA_IFNAME, _c_string(name))] if name is not None else []
        payload = _IFINFOMSG.pack(0, 0, ifindex, 0, 0) + encode_attrs(attrs)
        message = Message(Rtm.GETLINK, NLM_F_REQUEST, payload=payload)
        answer = next(iter_messages(next(self._connection.ask(message.encode()))))
        if answer.type == NLMSG_ERROR:
            read_acknowledgement(answer)
            return
        _, _, index, _, _ = _IFINFOMSG.unpack_from(answer.payload)
        found = {attr.type: attr for attr in iter_attrs(answer.payload[_IFINFOMSG.size :])}
        called = found[_IFLA_IFNAME].string
        self._by_name[called], self._by_index[index] = index, called


def _c_string(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape") + b"\0"


def _program(connection: Connection, id: int) -> ProgramInfo | None:
    info = connection.prog_info(id)
    if info is None or not info.bytes(Arg.TAG, b""):
        return None
    name = info.text(Arg.NAME, "")
    return ProgramInfo(name, info.bytes(Arg.TAG), jited=bool(info.number(Arg.JITED, 0)))
