"""The socket's end that answers: a listener, and a thread for each connection.

A connection is read only when all that it has asked for was taken: who asks and does not read waits for
himself.  What it hears of others' changes is put by, up to a bound; one that reads too slowly loses the
rest and is told so (NLMSG_OVERRUN), as the kernel says ENOBUFS.  Only a connection's own thread touches its
socket; others wake it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import selectors
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator

from ..netlink.message import NLMSG_OVERRUN, Message
from .address import peer_of
from .host import Host, Process

_log = logging.getLogger("clsbpf")

RECEIVE_BYTES = 1 << 18
"""A datagram's size, at most: what is longer is cut, and the message that does not fit is not answered."""
SEND_BYTES = 1 << 20
"""What the socket itself may hold: as far as the system allows."""
WAITING_BYTES = 4 << 20
"""Notifications that wait for a slow reader, at most."""
MAX_CONNECTIONS = 256
_STOP = b"\0"
"""What wakes to stop; a signal wakes with its number."""
ENDING_SECONDS = 5.0
"""So long the end waits for requests that are being done: a program may take minutes to verify."""


class Server:
    """Takes connections until it is stopped."""

    def __init__(self, host: Host, listener: socket.socket) -> None:
        self._host = host
        self._listener = listener
        self._connections: set[Connection] = set()
        self._wake, self._woken = socket.socketpair()
        for end in (self._wake, self._woken):
            end.setblocking(False)

    def stop(self) -> None:
        """From any thread."""
        with contextlib.suppress(OSError):
            self._wake.send(_STOP)

    def serve(self) -> None:
        """Until `stop`; then every connection is closed, after the request that it is at."""
        with self._wake, self._woken, self._woken_by_signals(), selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            try:
                while True:
                    ready = {key.fileobj for key, _ in selector.select()}
                    if self._woken in ready and _STOP in self._woken.recv(RECEIVE_BYTES):
                        return
                    if self._listener in ready:
                        self._accept()
            finally:
                for each in tuple(self._connections):
                    each.stop()
                patience = time.monotonic() + ENDING_SECONDS
                for each in tuple(self._connections):
                    each.thread.join(max(0.0, patience - time.monotonic()))

    @contextlib.contextmanager
    def _woken_by_signals(self) -> Iterator[None]:
        """A signal wakes the main thread, if it is the one that serves.

        Its handler is Python's and runs when the main thread does; a signal that comes just before that
        thread waits would otherwise be handled when the next connection comes.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                select.select([], [], [], 0.05)  # it will still be there when there is room
            return
        peer = peer_of(connection)
        self._connections = {each for each in self._connections if each.thread.is_alive()}
        if peer.uid != os.geteuid() or len(self._connections) >= MAX_CONNECTIONS:
            _log.info("connection of process %d (user %d) refused", peer.pid, peer.uid)
            connection.close()
            return
        try:
            made = Connection(self._host, connection, peer.pid)
            made.thread.start()
        except (OSError, RuntimeError) as error:  # no descriptor, no thread: not for this one
            _log.warning("connection of process %d cannot be served: %s", peer.pid, error)
            connection.close()
            return
        self._connections.add(made)


class Connection:
    """A process's socket, and the thread that answers it."""

    def __init__(self, host: Host, connection: socket.socket, pid: int) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        self._socket = connection
        self._out: deque[tuple[bytes, int]] = deque()
        """Datagrams, each with what it adds to `_waiting`: a reply nothing."""
        self._waiting = 0
        self._answers: Iterator[bytes] = iter(())
        self._answering = False
        """Is a request being answered?"""
        self._lost = False
        self._guard = threading.Lock()
        """Guards what waits to go out."""
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopping = False
        self._process = Process(host, pid, self._deliver)
        self.thread = threading.Thread(target=self._run, name=f"clsbpf connection of {pid}", daemon=True)

    def stop(self) -> None:
        """From another thread: answer no more."""
        self._stopping = True
        self._awake()

    def _awake(self) -> None:
        with self._guard:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def _deliver(self, datagram: bytes) -> None:
        """A notification: from any thread, under the network's lock."""
        with self._guard:
            if self._lost or self._waiting + len(datagram) > WAITING_BYTES:
                self._lost = True
            else:
                self._out.append((datagram, len(datagram)))
                self._waiting += len(datagram)
        self._awake()

    def _run(self) -> None:
        try:
            poll = select.poll()
            poll.register(self._wake, select.POLLIN)
            while not self._stopping:
                poll.register(self._socket, select.POLLOUT if self._busy() else select.POLLIN)
                ready = dict(poll.poll())
                if self._wake in ready:
                    os.eventfd_read(self._wake)
                if ready.get(self._socket.fileno(), 0) and not self._attend():
                    return
        except OSError as error:
            _log.debug("connection ended: %s", error)
        except Exception:  # a mistake of ours ends this connection and no other
            _log.exception("connection ended")
        finally:
            self._process.close()
            with self._guard:
                self._socket.close()
                os.close(self._wake)
                self._wake = -1

    def _busy(self) -> bool:
        return self._answering or self._lost or bool(self._out)

    def _attend(self) -> bool:
        """Send what waits, or else answer a datagram; no more when the other end is gone."""
        if self._busy():
            self._flush()
            return True
        try:
            datagram = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return True
        if not datagram:
            return False
        self._answering = True
        self._answers = self._process.handle(datagram)
        self._flush()
        return True

    def _flush(self) -> None:
        """Send until the other end takes no more: what it has heard, and the answers as they are made."""
        while True:
            with self._guard:
                if not self._send_waiting():
                    return
            answer = next(self._answers, None)
            with self._guard:
                if answer is not None:
                    self._out.append((answer, 0))
                elif not self._out:
                    self._answering = False
                    return

    def _send_waiting(self) -> bool:
        """Everything that waits; was there room for all of it?"""
        try:
            while self._out:
                datagram, counted = self._out[0]
                self._socket.send(datagram)
                self._out.popleft()
                self._waiting -= counted
            if self._lost:
                self._socket.send(Message(NLMSG_OVERRUN).encode())
                self._lost = False
        except BlockingIOError:
            return False
        return True
