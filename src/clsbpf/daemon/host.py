"""The engine that a daemon shares out, and a process that asks it.

`Host` is a network namespace with its programs, maps and pins: what a kernel has once.  `Process` is what a
kernel has for each asking process: descriptors, a netlink socket's address and options, and the groups that
it listens to.  `Process.handle` takes a datagram and gives the datagrams that answer it; no input makes it
raise.  Sockets are the server's.
"""

from __future__ import annotations

import errno
import functools
import itertools
import logging
import weakref
from collections.abc import Callable, Iterable, Iterator

from ..endpoint import Endpoint
from ..engine.devices import Device, Network
from ..engine.offload_worker import driver_by_name
from ..engine.pins import Pins
from ..engine.programs import Files, ProgramTable
from ..errors import ClsbpfError, VerifierError
from ..netlink import attr as nla
from ..netlink.attr import encode_attrs, iter_attrs
from ..netlink.message import (
    NLM_F_ACK,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    NLMSG_MIN_TYPE,
    Message,
    acknowledge,
    iter_messages,
    read_acknowledgement,
)
from ..netlink.schema import Rtm
from ..profile import CURRENT, KernelProfile
from ..vm.link import LinkedProgram
from ..vm.maps.map import Map
from . import bpf
from .map_files import Change
from .wire import Arg, Args, Assembler, Call, Option, Own, encode_call, malformed

_log = logging.getLogger("clsbpf")

MESSAGE_BYTES = 60_000
LOG_BYTES = 1 << 20
JOINED_BYTES = 1 << 15
RTNLGRP_MAX = 0xFF
"""Numbers of groups that are taken; most have nothing to say here."""
_KIND, _CHANGING = 3, (0, 1, 3)
"""rtnetlink's types come in fours: NEW, DEL, GET and SET (rtnl_msgtype_kind)."""
_OWN_PORTIDS = itertools.count(0xF0000001)


class Host:
    """struct net and what else a kernel has once: programs, maps, pins."""

    def __init__(self, profile: KernelProfile = CURRENT) -> None:
        self.programs = ProgramTable(profile=profile)
        self.network = Network(profile=profile, programs=self.programs)
        self.pins = Pins()
        self.maps: weakref.WeakValueDictionary[int, Map] = weakref.WeakValueDictionary()
        """By id."""
        self.sources: weakref.WeakKeyDictionary[LinkedProgram, bpf.Source] = weakref.WeakKeyDictionary()
        """What each program was loaded of."""
        self.portids: set[int] = set()
        self.actions_changed = 0
        self.changed_beside = 0
        """Counts changes made from outside, as `Network.changes` does of the network."""
        self.map_changed: Callable[[Map, Change], None] = lambda map, change: None
        """Is told, under the network's lock, what a command did to a map."""
        self.before_answer: Callable[[], None] = lambda: None
        """Is called when a request is done and its answer not yet given: what must be kept is kept now."""
        self.done: Callable[[Message], None] = lambda message: None
        """Is given, under the network's lock, each rtnetlink request that may have changed something."""

    def add_device(self, name: str, ifindex: int | None = None, *, driver: str | None = None) -> Device:
        """A device, with the driver of a name; ClsbpfError where the one or the other cannot be."""
        made = driver_by_name(driver) if driver is not None else None
        with self.network.lock:
            self.changed_beside += 1
            return self.network.add_device(name, ifindex, driver=made)

    def take_portid(self, pid: int) -> int:
        """netlink_autobind(): the process's id, for its first socket; a number of its own for a further."""
        with self.network.lock:
            portid = pid if pid > 0 and pid not in self.portids else next(_OWN_PORTIDS)
            self.portids.add(portid)
            return portid


class Process:
    """A connection: struct files_struct and struct netlink_sock.

    `deliver` gets the datagrams that the process's groups hear, from any thread, under the network's lock.
    `restores`: it brings back what was there, by the descriptors and ids that its calls say.
    """

    def __init__(
        self, host: Host, pid: int, deliver: Callable[[bytes], None], *, restores: bool = False
    ) -> None:
        self.host = host
        self.restores = restores
        self.files: Files = {}
        self.portid = host.take_portid(pid)
        self._endpoint = Endpoint(host.network, ext_ack=False)
        self._assembler = Assembler()
        self._deliver = deliver
        self._groups: dict[int, Callable[[], None]] = {}
        self._joins = self._stops = False
        self._refused_one = False
        """Was a request of the datagram that is being answered refused?"""

    def handle(self, datagram: bytes) -> Iterator[bytes]:
        """The datagrams that answer a datagram, in order; a long dump goes on as they are taken.

        Requests are done, and what they changed is kept, before the first of their answers is given: of
        those that only want a yes, all together.
        """
        return _joined(self._handle(datagram)) if self._joins else self._handle(datagram)

    def _handle(self, datagram: bytes) -> Iterator[bytes]:
        self._refused_one = False
        held: list[tuple[Message, list[bytes]]] = []
        for message in iter_messages(datagram):
            if self._refused_one and self._stops:
                held.append((message, [self._refused(message, errno.ECANCELED)]))
                continue
            answers = self._guarded(message, functools.partial(self._answer, message))
            if isinstance(answers, list):
                held.append((message, answers))
                continue
            yield from self._kept(held)
            held = []
            yield from answers
        yield from self._kept(held)

    def _kept(self, held: list[tuple[Message, list[bytes]]]) -> Iterator[bytes]:
        """The answers to requests, once what those changed is kept: a refusal of each if it cannot be."""

        def kept() -> list[bytes]:
            self.host.before_answer()
            return []

        for message, answers in held:
            yield from self._guarded(message, kept) or answers

    def _guarded(self, message: Message, work: Callable[[], Iterable[bytes]]) -> Iterable[bytes]:
        """What work gives; a refusal of the message where it fails."""
        try:
            return work()
        except ClsbpfError as error:  # what no handler foresaw is refused as a whole
            return [self._refused(message, error.errno or errno.EINVAL)]
        except MemoryError:
            return [self._refused(message, errno.ENOMEM)]
        except Exception:  # a mistake of ours must not take the other processes with it
            _log.exception("request of type %d failed", message.type)
            return [self._refused(message, errno.EIO)]

    def _refused(self, message: Message, code: int) -> bytes:
        self._refused_one = True
        return acknowledge(message, code, portid=self.portid).encode()

    def _answer(self, message: Message) -> Iterable[bytes]:
        own = message.flags & NLM_F_REQUEST and message.type >= NLMSG_MIN_TYPE
        if own and message.type == Own.SOCKET:
            return self._set_options(message)
        if own and message.type == Own.BPF:
            return self._call(message)
        with self.host.network.lock, self.host.programs.files_of(self.files):
            if message.type in (Rtm.NEWACTION, Rtm.DELACTION):
                self.host.actions_changed += 1
            answers: Iterable[bytes] = self._endpoint.replies(message.encode(), self.portid)
            if own and message.type & _KIND in _CHANGING:
                answers = told = list(answers)
                if any(map(_is_refusal, told)):
                    self._refused_one = True
                else:
                    self.host.done(message)
            return answers

    # the socket's options

    def _set_options(self, message: Message) -> list[bytes]:
        """netlink_setsockopt(); answered where NLM_F_ACK asks for it."""
        for attr in iter_attrs(message.payload):
            match attr.type:
                case Option.ADD_MEMBERSHIP:
                    self._join(attr.u32)
                case Option.DROP_MEMBERSHIP:
                    self._leave(attr.u32)
                case Option.EXT_ACK:
                    self._endpoint.ext_ack = bool(attr.u32)
                case Option.CAP_ACK:
                    self._endpoint.cap_ack = bool(attr.u32)
                case Option.JOIN_ANSWERS:
                    self._joins = bool(attr.u32)
                case Option.STOP_AT_REFUSAL:
                    self._stops = bool(attr.u32)
        if not message.flags & NLM_F_ACK:
            return []
        payload = encode_attrs([nla.u32(Option.PORTID, self.portid)])
        return [Message(Own.SOCKET, 0, message.seq, self.portid, payload).encode()]

    def _join(self, group: int) -> None:
        if not 0 < group <= RTNLGRP_MAX:
            raise malformed(f"no multicast group {group}; groups are 1 to {RTNLGRP_MAX}")
        with self.host.network.lock:
            if group not in self._groups:
                self._groups[group] = self.host.network.multicast.subscribe(
                    [group], self._deliver, self.portid
                )

    def _leave(self, group: int) -> None:
        with self.host.network.lock:
            cancel = self._groups.pop(group, None)
            if cancel is not None:
                cancel()

    # bpf(2)

    def _call(self, message: Message) -> list[bytes]:
        call: Call | None = None
        try:
            call = self._assembler.take(message)
            if call is None:
                return []
            args = bpf.carry_out(self, call)
        except ClsbpfError as error:
            args = refusal(error)
        command = call.command if call is not None else 0
        return list(encode_call(command, args, seq=message.seq, portid=self.portid, flags=0))

    def close(self) -> None:
        """The process ends: descriptors and memberships go."""
        for group in tuple(self._groups):
            self._leave(group)
        with self.host.network.lock:
            self.files.clear()
            self.host.portids.discard(self.portid)


def _joined(answers: Iterator[bytes]) -> Iterator[bytes]:
    """Fewer datagrams: each is taken by a process that must be woken for it."""
    held = bytearray()
    for answer in answers:
        if held and len(held) + len(answer) > JOINED_BYTES:
            yield bytes(held)
            held.clear()
        held += answer + bytes(-len(answer) % 4)
    if held:
        yield bytes(held)


def _is_refusal(datagram: bytes) -> bool:
    return any(
        message.type == NLMSG_ERROR and read_acknowledgement(message).errno
        for message in iter_messages(datagram)
    )


def refusal(error: ClsbpfError) -> Args:
    """An error as the attributes of an answer."""
    args: dict[int, int | bytes] = {
        Arg.ERRNO: error.errno or errno.EINVAL,
        Arg.MESSAGE: str(error).encode("utf-8", "surrogateescape")[:MESSAGE_BYTES],
    }
    if isinstance(error, VerifierError) and error.log:
        args[Arg.LOG] = error.log.encode("utf-8", "surrogateescape")[-LOG_BYTES:]
    return args
