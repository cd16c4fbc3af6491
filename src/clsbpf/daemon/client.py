"""A connection to the daemon: rtnetlink requests and bpf(2)-like calls out, answers and notifications in.

`Connection.ask` has the shape that `tccmd.perform` wants of a netlink socket: a request's bytes in, the
datagrams that answer it out.  The calls have the shape of `kernel.bpf` and `kernel.maps`, so that one loader
brings an object into either (`daemon.loading`).
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

from ..bpf.insn import Insn, encode
from ..errors import ClsbpfError, VerifierError
from ..netlink import attr as nla
from ..netlink.attr import encode_attrs, iter_attrs
from ..netlink.message import NLM_F_ACK, NLM_F_REQUEST, Message, iter_messages
from .address import ENVIRONMENT, check_length, check_socket, peer_of
from .wire import Arg, Args, Assembler, Bpf, Call, Option, Own, encode_call

RECEIVE_BYTES = 1 << 20
PATIENCE = 1.0
"""Seconds that a daemon which is being started has until it answers."""
_RETRY = 0.02
_SEQ = struct.Struct("=I")
_SEQ_AT = 8
"""Where struct nlmsghdr has the sequence number."""


class NoDaemon(ClsbpfError):
    """Nobody answers on the socket."""

    errno = errno.ECONNREFUSED


def connect(path: Path, *, patience: float = PATIENCE) -> Connection:
    """A connection to the daemon at `path`; NoDaemon says how to start one.

    ClsbpfError when the socket, or who answers, is not the user's.
    """
    check_length(path)
    deadline = time.monotonic() + patience
    while True:
        try:
            return _connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() >= deadline:
                raise NoDaemon(
                    f"no daemon answers on {path}: start one with `clsbpf daemon --dev NAME &`"
                    f" (another socket: {ENVIRONMENT} or --socket)"
                ) from None
        except OSError as error:
            raise ClsbpfError(f"{path}: {error.strerror}") from None
        time.sleep(_RETRY)


def _connect(path: Path) -> Connection:
    check_socket(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        made.connect(str(path))
        peer = peer_of(made)
        if peer.uid != os.geteuid():
            raise ClsbpfError(f"{path}: user {peer.uid} answers there, not you (user {os.geteuid()})")
        return Connection(made, str(path))
    except BaseException:
        made.close()
        raise


class Connection:
    """A process's socket to the daemon; closing it gives its descriptors back."""

    def __init__(self, connected: socket.socket, where: str = "the daemon") -> None:
        self.socket = connected
        self._where = where
        self._sequence = itertools.count(1)
        self._waiting: dict[int, deque[bytes]] = {}
        """By sequence number, of requests whose answers are being read: what has come."""
        self._stops: bool | None = None
        """STOP_AT_REFUSAL, once it was set."""
        self._heard: deque[bytes] = deque()
        """Notifications that came while an answer was awaited."""
        self.portid = 0
        """The address that the daemon knows it by (nl_pid)."""
        (answer,) = self._options([nla.u32(Option.EXT_ACK, 1)])
        self.portid = next((attr.u32 for attr in iter_attrs(answer.payload) if attr.type == Option.PORTID), 0)
        """The address that the daemon knows it by (nl_pid)."""

    def close(self) -> None:
        """End it."""
        self.socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, datagram: bytes) -> None:
        try:
            self.socket.send(datagram)
        except OSError as error:
            raise self._gone(error) from None

    def receive(self) -> bytes:
        """The next notification; ClsbpfError when the daemon has gone."""
        return self._heard.popleft() if self._heard else self._receive()

    def _receive(self) -> bytes:
        try:
            datagram = self.socket.recv(RECEIVE_BYTES)
        except OSError as error:
            raise self._gone(error) from None
        if not datagram:
            raise ClsbpfError(f"{self._where}: the daemon has ended")
        return datagram

    def _gone(self, error: OSError) -> ClsbpfError:
        if error.errno in (errno.EPIPE, errno.ECONNRESET):
            return ClsbpfError(f"{self._where}: the daemon has ended")
        return ClsbpfError(f"{self._where}: {error.strerror}")

    # rtnetlink

    def ask(self, request: bytes) -> Iterator[bytes]:
        """Send one message, with a sequence number of its own: the datagrams that answer it, without end.

        Who has read the last one stops.
        """
        number = next(self._sequence)
        self._send(request[:_SEQ_AT] + _SEQ.pack(number) + request[_SEQ_AT + _SEQ.size :])
        yield from self._answers(number)

    def ask_all(self, requests: Sequence[bytes], stop: bool) -> Iterator[bytes]:
        """Send several messages in one datagram: what answers them, in order, without end.

        `stop`: those after one that is refused are not done.  Answers may share a datagram.
        """
        if self._stops is not stop:
            self._options([nla.u32(Option.JOIN_ANSWERS, 1), nla.u32(Option.STOP_AT_REFUSAL, int(stop))])
            self._stops = stop
        number = next(self._sequence)
        sent = bytearray()
        for request in requests:
            sent += request[:_SEQ_AT] + _SEQ.pack(number) + request[_SEQ_AT + _SEQ.size :]
            sent += bytes(-len(request) % 4)
        self._send(bytes(sent))
        yield from self._answers(number)

    def _answers(self, number: int) -> Iterator[bytes]:
        """What answers a request.  Who reads a dump may ask for something else in the middle of it."""
        mine = self._waiting[number] = deque()
        try:
            while True:
                while mine:
                    yield mine.popleft()
                datagram = self._receive()
                first = next(iter_messages(datagram), None)
                if first is not None and self.portid in (0, first.pid) and first.seq in self._waiting:
                    self._waiting[first.seq].append(datagram)
                elif first is not None and first.pid != self.portid:
                    self._heard.append(datagram)
        finally:
            del self._waiting[number]

    def listen(self, *groups: int) -> None:
        """NETLINK_ADD_MEMBERSHIP: `receive` gives what goes to these groups from now on."""
        self._options([nla.u32(Option.ADD_MEMBERSHIP, group) for group in groups])

    def _options(self, attrs: list[nla.Attr]) -> list[Message]:
        message = Message(Own.SOCKET, NLM_F_REQUEST | NLM_F_ACK, 0, 0, encode_attrs(attrs))
        for datagram in self.ask(message.encode()):
            answers = list(iter_messages(datagram))
            if answers[0].type != Own.SOCKET:
                raise ClsbpfError(f"{self._where}: is no clsbpf daemon, or refused a socket option")
            return answers
        raise AssertionError("answers have no end")

    # bpf(2)

    def call(self, command: Bpf, args: Args) -> Call:
        """One command; ClsbpfError with the daemon's errno (VerifierError with a log) when it is refused."""
        number = next(self._sequence)
        for datagram in encode_call(command, args, seq=number):
            self._send(datagram)
        assembler = Assembler()
        for datagram in self._answers(number):
            for message in iter_messages(datagram):
                answer = assembler.take(message) if message.type == Own.BPF else None
                if answer is not None:
                    _raise_refusal(answer)
                    return answer
        raise AssertionError("answers have no end")

    def map_create(
        self,
        type: int,
        key_size: int,
        value_size: int,
        max_entries: int,
        flags: int = 0,
        *,
        name: str = "",
        inner_fd: int = 0,
        map_extra: int = 0,
        btf_fd: int = 0,
        key_type_id: int = 0,
        value_type_id: int = 0,
    ) -> int:
        """BPF_MAP_CREATE: the map's descriptor."""
        args: dict[int, int | bytes] = {
            Arg.TYPE: type,
            Arg.KEY_SIZE: key_size,
            Arg.VALUE_SIZE: value_size,
            Arg.MAX_ENTRIES: max_entries,
            Arg.FLAGS: flags,
            Arg.NAME: name.encode(),
            Arg.INNER_FD: inner_fd,
            Arg.MAP_EXTRA: map_extra,
            Arg.BTF_FD: btf_fd,
            Arg.KEY_TYPE: key_type_id,
            Arg.VALUE_TYPE: value_type_id,
        }
        return self.call(Bpf.MAP_CREATE, args).number(Arg.FD)

    def map_lookup(self, fd: int, key: bytes | None, flags: int = 0) -> bytes | None:
        """BPF_MAP_LOOKUP_ELEM: the value, None where the key is not there."""
        return self._element(Bpf.MAP_LOOKUP_ELEM, fd, key, Arg.VALUE, flags)

    def map_update(self, fd: int, key: bytes | None, value: bytes, flags: int = 0) -> None:
        """BPF_MAP_UPDATE_ELEM; of a map of slots the value is a descriptor, four bytes."""
        args: dict[int, int | bytes] = {Arg.FD: fd, Arg.VALUE: value, Arg.FLAGS: flags}
        if key is not None:
            args[Arg.KEY] = key
        self.call(Bpf.MAP_UPDATE_ELEM, args)

    def map_delete(self, fd: int, key: bytes) -> None:
        """BPF_MAP_DELETE_ELEM."""
        self.call(Bpf.MAP_DELETE_ELEM, {Arg.FD: fd, Arg.KEY: key})

    def map_next_key(self, fd: int, key: bytes | None) -> bytes | None:
        """BPF_MAP_GET_NEXT_KEY: the key after `key` (the first for None), None after the last."""
        return self._element(Bpf.MAP_GET_NEXT_KEY, fd, key, Arg.KEY, None)

    def _element(
        self, command: Bpf, fd: int, key: bytes | None, wanted: Arg, flags: int | None
    ) -> bytes | None:
        args: dict[int, int | bytes] = {Arg.FD: fd}
        if key is not None:
            args[Arg.KEY] = key
        if flags is not None:
            args[Arg.FLAGS] = flags
        try:
            return self.call(command, args).bytes(wanted)
        except ClsbpfError as error:
            if error.errno == errno.ENOENT:
                return None
            raise

    def map_freeze(self, fd: int) -> None:
        """BPF_MAP_FREEZE."""
        self.call(Bpf.MAP_FREEZE, {Arg.FD: fd})

    def btf_load(self, btf: bytes) -> int:
        """BPF_BTF_LOAD: the descriptor of type information."""
        return self.call(Bpf.BTF_LOAD, {Arg.DATA: btf}).number(Arg.FD)

    def prog_load(
        self,
        insns: Iterable[Insn],
        kind: int,
        *,
        license: str = "GPL",
        name: str = "",
        btf_fd: int = 0,
        func_info: bytes = b"",
        kfuncs: Sequence[str] = (),
    ) -> int:
        """BPF_PROG_LOAD: the program's descriptor; VerifierError, with the log, when it is refused."""
        args: dict[int, int | bytes] = {
            Arg.TYPE: kind,
            Arg.INSNS: encode(insns),
            Arg.LICENSE: license.encode(),
            Arg.NAME: name.encode(),
            Arg.BTF_FD: btf_fd,
            Arg.FUNC_INFO: func_info,
            Arg.KFUNCS: b"".join(each.encode() + b"\0" for each in kfuncs),
        }
        return self.call(Bpf.PROG_LOAD, args).number(Arg.FD)

    def obj_pin(self, fd: int, path: str) -> None:
        """BPF_OBJ_PIN."""
        self.call(Bpf.OBJ_PIN, {Arg.FD: fd, Arg.PATH: os.fsencode(path)})

    def obj_get(self, path: str) -> int:
        """BPF_OBJ_GET: the descriptor of what is pinned; ClsbpfError (ENOENT) lists the pins."""
        return self.call(Bpf.OBJ_GET, {Arg.PATH: os.fsencode(path)}).number(Arg.FD)

    def close_fd(self, fd: int) -> None:
        """close(2)."""
        self.call(Bpf.CLOSE, {Arg.FD: fd})

    def possible_cpus(self) -> int:
        """num_possible_cpus(): a daemon has one."""
        return 1

    def info(self, fd: int) -> Call:
        """BPF_OBJ_GET_INFO_BY_FD, of a program or a map."""
        return self.call(Bpf.OBJ_GET_INFO_BY_FD, {Arg.FD: fd})

    def prog_info(self, id: int) -> Call | None:
        """What is known of the program with an id; None when there is none."""
        try:
            fd = self.call(Bpf.PROG_GET_FD_BY_ID, {Arg.ID: id}).number(Arg.FD)
        except ClsbpfError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        try:
            return self.info(fd)
        finally:
            with contextlib.suppress(ClsbpfError):
                self.close_fd(fd)


def _raise_refusal(answer: Call) -> None:
    code = answer.number(Arg.ERRNO, 0)
    if not code:
        return
    message = answer.text(Arg.MESSAGE, os.strerror(code))
    log = answer.text(Arg.LOG, "")
    error = VerifierError(message, log=log) if log else ClsbpfError(message)
    error.errno = code
    raise error
