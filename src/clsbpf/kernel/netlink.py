"""AF_NETLINK: rtnetlink requests to the real kernel, its answers and notifications.

`NetlinkSocket.ask` has the same shape as the daemon's `Connection.ask`: whoever builds requests and renders
replies need not know which of the two answers.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import socket
import struct
from collections.abc import Iterator
from types import TracebackType

from ..errors import ClsbpfError
from ..netlink.message import iter_messages

SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1
NETLINK_EXT_ACK = 11
RECEIVE_BYTES = 1 << 20
"""libnetlink's rcvbuf: also the size of the largest datagram."""
_SEQ = struct.Struct("=I")
_SEQ_AT = 8
_CLONE_NEWNET = 0x40000000
NETNS_RUN_DIR = "/var/run/netns"


class NetlinkSocket:
    """A socket of protocol NETLINK_ROUTE in this thread's network namespace."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        except (OSError, AttributeError) as error:
            raise ClsbpfError(f"no netlink socket can be had here: {error}") from None
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self._socket.bind((0, 0))
        self._sequence = itertools.count(1)

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def __enter__(self) -> NetlinkSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, request: bytes) -> Iterator[bytes]:
        """Send one message, with a sequence number of its own: the datagrams that answer it, without end."""
        number = next(self._sequence)
        try:
            self._socket.send(request[:_SEQ_AT] + _SEQ.pack(number) + request[_SEQ_AT + _SEQ.size :])
        except OSError as error:
            raise ClsbpfError(f"Cannot send to the kernel: {error.strerror}") from None
        while True:
            datagram = self.receive()
            first = next(iter_messages(datagram), None)
            if first is not None and first.seq == number:
                yield datagram

    def listen(self, *groups: int) -> None:
        """NETLINK_ADD_MEMBERSHIP: `receive` gives what goes to these groups from now on."""
        for group in groups:
            self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def receive(self) -> bytes:
        """The next datagram; ClsbpfError when it cannot be had (ENOBUFS: some were lost)."""
        try:
            datagram, address = self._socket.recvfrom(RECEIVE_BYTES)
        except OSError as error:
            refusal = ClsbpfError(f"netlink receive error {error.strerror} ({error.errno})")
            refusal.errno = error.errno
            raise refusal from None
        return datagram if address[0] == 0 else b""  # from another process: not the kernel's word


def device_index(name: str) -> int | None:
    """if_nametoindex(), in this thread's network namespace."""
    try:
        return socket.if_nametoindex(name)
    except (OSError, ValueError):
        return None


def device_name(ifindex: int) -> str:
    """if_indextoname(); `ifN` for one that is not there."""
    try:
        return socket.if_indextoname(ifindex)
    except (OSError, OverflowError):
        return f"if{ifindex}"


def enter_namespace(name: str) -> None:
    """netns_switch(): this thread goes on in a network namespace that `ip netns add` made."""
    path = name if "/" in name else f"{NETNS_RUN_DIR}/{name}"
    try:
        with open(path) as there:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(there.fileno(), _CLONE_NEWNET):
                code = ctypes.get_errno()
                raise ClsbpfError(f'setting the network namespace "{name}" failed: {os.strerror(code)}')
    except OSError as error:
        raise ClsbpfError(f'Cannot open network namespace "{name}": {error.strerror}') from None
