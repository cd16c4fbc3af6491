"""A daemon that is killed at any moment comes back with what it acknowledged, and with nothing else.

Two clients ask for random things, each for its own: devices, blocks, actions, programs, maps.  The daemon is
killed while they do.  An engine in this process has done what was acknowledged to each; what the daemon then
shows of a client's things is what that one shows, or what it shows after the one request whose answer the
client never had.
"""

from __future__ import annotations

import contextlib
import difflib
import random
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.insn import encode
from clsbpf.bpf.maps import MapType
from clsbpf.daemon import bpf
from clsbpf.daemon.client import Connection, connect
from clsbpf.daemon.wire import Arg, Args, Bpf, Call
from clsbpf.endpoint.links import IFINFOMSG, Ifla
from clsbpf.errors import ClsbpfError
from clsbpf.netlink import attr as nla
from clsbpf.netlink.attr import encode_attrs
from clsbpf.netlink.message import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    Message,
    iter_messages,
    read_acknowledgement,
)
from clsbpf.netlink.schema import Rtm, Tca, TcaBpf
from clsbpf.netlink.tcmsg import TcMsg, tc_message
from clsbpf.tccmd.command import parse_command
from clsbpf.tccmd.words import split_words
from daemon_lab import Lab
from daemon_running import run_tc, until

CLIENTS = 2
ROUNDS = 2
SHORT_LOGS = """
import clsbpf.daemon.map_files as files, clsbpf.daemon.state as state, sys
files.LOG_RECORDS, files.BYTES_A_RECORD = 40, 1 << 30
state.TENDING_SECONDS, state.JOURNAL_BYTES, state.JOURNAL_LINES = 0.01, 20_000, 1
from clsbpf.cli import main
sys.exit(main())
"""
MAPS = [
    (MapType.HASH, 4, 8, 40),
    (MapType.ARRAY, 4, 8, 40),
    (MapType.LRU_HASH, 4, 8, 40),
    (MapType.PERCPU_HASH, 4, 8, 40),
    (MapType.QUEUE, 0, 8, 20),
    (MapType.STACK, 0, 8, 20),
    (MapType.BLOOM_FILTER, 0, 8, 40),
    (MapType.PROG_ARRAY, 4, 4, 5),
]


class Side(Protocol):
    """The daemon, or the engine in this process."""

    def request(self, message: Message) -> int:
        """The errno of a request."""
        ...

    def call(self, command: Bpf, args: Args) -> Args:
        """A bpf call; ClsbpfError when it is refused."""
        ...


@dataclass
class Theirs:
    """The daemon, by a connection."""

    connection: Connection

    def request(self, message: Message) -> int:
        return _errno(self.connection.ask(message.encode()))

    def call(self, command: Bpf, args: Args) -> Args:
        return self.connection.call(command, args).args


@dataclass
class Ours:
    """The engine in this process."""

    lab: Lab

    def request(self, message: Message) -> int:
        return _errno(self.lab.process.handle(message.encode()))

    def call(self, command: Bpf, args: Args) -> Args:
        return bpf.carry_out(self.lab.process, Call(command, args))


def _errno(answers: Iterator[bytes]) -> int:
    for datagram in answers:
        for message in iter_messages(datagram):
            if message.type == NLMSG_ERROR:
                return read_acknowledgement(message).errno
    raise AssertionError("no acknowledgement")


@dataclass(frozen=True)
class Work:
    """One thing that a client asks for, in words; what it gives is the answer."""

    words: str
    do: Callable[[Side], object]

    def __call__(self, side: Side) -> object:
        return self.do(side)


def tc(line: str, ifindex: int) -> Work:
    command = parse_command(split_words(line), lambda name: ifindex, environ={})
    (request,) = command.requests
    return Work(line, lambda side: side.request(request.message))


def on_pin(command: Bpf, path: str, args: Args, held: str | None = None) -> Work:
    """A call about what is pinned; `held` is pinned, too, and goes into a slot."""

    def work(side: Side) -> object:
        opened = []
        try:
            for each in (path, held):
                if each is not None:
                    opened.append(side.call(Bpf.OBJ_GET, {Arg.PATH: each.encode()})[Arg.FD])
            value = {Arg.VALUE: struct.pack("=I", opened[1])} if held is not None else {}
            return side.call(command, {Arg.FD: opened[0], **args, **value})
        finally:
            for fd in opened:
                side.call(Bpf.CLOSE, {Arg.FD: fd})

    return Work(f"{command.name} {path} {args} {held}", work)


def made(command: Bpf, args: Args, path: str) -> Work:
    """Something new, pinned."""

    def work(side: Side) -> object:
        fd = side.call(command, args)[Arg.FD]
        try:
            return side.call(Bpf.OBJ_PIN, {Arg.FD: fd, Arg.PATH: path.encode()})
        finally:
            side.call(Bpf.CLOSE, {Arg.FD: fd})

    return Work(f"{command.name} pinned at {path}", work)


def filter_of(program: str, ifindex: int, prio: int) -> Work:
    """A filter of a pinned program."""

    def work(side: Side) -> object:
        fd = side.call(Bpf.OBJ_GET, {Arg.PATH: program.encode()})[Arg.FD]
        try:
            assert isinstance(fd, int)
            options = [nla.u32(TcaBpf.FD, fd), nla.string(TcaBpf.NAME, "p:[tc]")]
            attrs = [nla.string(Tca.KIND, "bpf"), nla.nest(Tca.OPTIONS, options)]
            header = TcMsg.of_filter(ifindex, 0xFFFFFFF2, prio=prio, protocol=3)
            flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE
            return side.request(tc_message(Rtm.NEWTFILTER, header, attrs, flags=flags))
        finally:
            side.call(Bpf.CLOSE, {Arg.FD: fd})

    return Work(f"filter of {program}, prio {prio}", work)


@dataclass
class Client:
    """Asks for what is its own: a device of index 2 + number, another that comes and goes, pins."""

    number: int
    rng: random.Random
    done: list[tuple[Work, object]] = field(default_factory=list)
    """What was acknowledged, and how."""
    asked: Work | None = None
    """What was asked and not answered."""

    @property
    def ifindex(self) -> int:
        return 2 + self.number

    def run(self, side: Side) -> None:
        """Ask until the daemon is gone."""
        while True:
            self.asked = self._work()
            try:
                answer: object = self.asked(side)
            except ClsbpfError as error:
                if "the daemon has ended" in str(error):
                    return
                answer = error.errno
            self.done.append((self.asked, answer))

    def _work(self) -> Work:
        rng = self.rng
        return rng.choice(
            [self._line, self._line, self._line, self._map, self._map, self._map, self._other]
        )()

    def _line(self) -> Work:
        rng, dev = self.rng, f"lab{self.number}"
        place = rng.choice([f"dev {dev} ingress", f"dev {dev} egress", f"dev {dev} parent 1:"])
        program = f"bpf bytecode '1,6 0 0 {rng.randrange(9)}'"
        index = 100 * self.number + rng.randrange(1, 6)
        pref, chain = rng.choice([3, 4, 5]), rng.choice(["", "chain 2 ", "chain 7 "])
        handle, minor = rng.randrange(1, 5), rng.randrange(1, 30)
        jump = f"action gact goto chain 7 index {index}"
        police = f"action police rate 1mbit burst 9k index {index}"
        action = rng.choice(["", f"action gact drop index {index}", jump, police])
        parent = rng.choice(["1:", f"1:{handle}"])
        est = rng.choice(["", "", "estimator 1s 4s "])
        lines = [
            f"qdisc add dev {dev} clsact",
            f"qdisc del dev {dev} clsact",
            f"qdisc add dev {dev} root handle 1: {est}htb default {minor:x}",
            f"qdisc del dev {dev} root",
            f"qdisc replace dev {dev} parent 1:{minor:x} handle {minor + 20:x}: pfifo limit {minor}",
            f"filter del {place} pref {pref} {chain}handle {handle} bpf",
            f"filter del {place} pref {pref} {chain}",
            f"chain add {place} {chain}",
            f"chain del {place} {chain}",
            f"actions replace action gact pass index {index}",
            f"actions del action gact index {index}",
            f"class del dev {dev} classid 1:{minor:x}",
            *[f"class replace dev {dev} parent {parent} classid 1:{minor:x} htb rate {minor}kbit"] * 6,
            *[f"filter replace {place} pref {pref} {est}{chain}handle {handle} {program} {action}"] * 8,
        ]
        weights = [3, 0.3, 3, 0.3, *[1] * (len(lines) - 4)]
        return tc(rng.choices(lines, weights)[0], self.ifindex)

    def _map(self) -> Work:
        rng = self.rng
        at = rng.randrange(len(MAPS))
        type, key_size, _, _ = MAPS[at]
        path = f"/{self.number}/map{at}"
        args: dict[int, int | bytes] = {}
        if key_size:
            args[Arg.KEY] = struct.pack("=I", rng.randrange(6 if type == MapType.PROG_ARRAY else 60))
        if rng.random() < 0.25 and type != MapType.BLOOM_FILTER:
            return on_pin(Bpf.MAP_DELETE_ELEM if key_size else Bpf.MAP_LOOKUP_AND_DELETE_ELEM, path, args)
        if type == MapType.PROG_ARRAY:
            return on_pin(Bpf.MAP_UPDATE_ELEM, path, args, f"/{self.number}/program{rng.randrange(3)}")
        args |= {Arg.VALUE: struct.pack("=Q", rng.randrange(100)), Arg.FLAGS: rng.choice([0, 0, 0, 1, 2])}
        return on_pin(Bpf.MAP_UPDATE_ELEM, path, args)

    def _other(self) -> Work:
        rng, at, extra = self.rng, self.rng.randrange(len(MAPS)), 50 + self.number
        program = f"/{self.number}/program{rng.randrange(3)}"
        type, key, value, entries = MAPS[at]
        create = {Arg.TYPE: type, Arg.KEY_SIZE: key, Arg.VALUE_SIZE: value, Arg.MAX_ENTRIES: entries}
        insns = encode(assemble(f"r0 = {rng.randrange(3)}\nexit"))
        load = {Arg.TYPE: 3, Arg.LICENSE: b"GPL", Arg.INSNS: insns, Arg.NAME: b"p"}
        kind = nla.nest(Ifla.LINKINFO, [nla.string(1, "dummy")])
        name = nla.string(Ifla.IFNAME, f"extra{self.number}")
        mirred = f"actions replace action mirred egress mirror dev extra{self.number} index {extra}"
        return rng.choice(
            [
                made(Bpf.MAP_CREATE, create, f"/{self.number}/map{at}"),
                made(Bpf.PROG_LOAD, load, program),
                Work(f"unpin {program}", lambda side: side.call(Bpf.UNPIN, {Arg.PATH: program.encode()})),
                filter_of(program, self.ifindex, rng.choice([7, 8])),
                filter_of(program, self.ifindex, rng.choice([7, 8])),
                link(Rtm.NEWLINK, extra, name, kind, create=True),
                link(Rtm.NEWLINK, extra, nla.u32(Ifla.MTU, rng.randrange(1000, 1003))),
                link(Rtm.DELLINK, extra),
                tc(mirred, extra),
            ]
        )

    def first(self) -> Iterator[Work]:
        """What there is before anything random is done."""
        for at, (type, key, value, entries) in enumerate(MAPS):
            create = {Arg.TYPE: type, Arg.KEY_SIZE: key, Arg.VALUE_SIZE: value, Arg.MAX_ENTRIES: entries}
            yield made(Bpf.MAP_CREATE, create, f"/{self.number}/map{at}")
        yield tc(f"qdisc add dev lab{self.number} clsact", self.ifindex)


def link(type: int, ifindex: int, *attrs: nla.Attr, create: bool = False) -> Work:
    flags = NLM_F_REQUEST | NLM_F_ACK | (NLM_F_CREATE if create else 0)
    payload = IFINFOMSG.pack(0, 0, ifindex, 0, 0) + encode_attrs(attrs)
    message = Message(type, flags, 0, 0, payload)
    return Work(f"{Rtm(type).name} {ifindex} {attrs}", lambda side: side.request(message))


def shown(number: int, run: Callable[[str], str], side: Side) -> dict[str, Any]:
    """Of a client's things, all that can be seen."""
    dev = f"lab{number}"
    kinds = ("gact", "police", "mirred")
    actions = "".join(_settled(run(f"actions ls action {kind}")) for kind in kinds).split("action order")
    lines = [f"{what} show dev {dev}" for what in ("qdisc", "class")]
    for at in ("ingress", "egress", "root"):
        lines += [f"{what} show dev {dev} {at}" for what in ("filter", "chain")]
    found: dict[str, Any] = {line: _settled(run(line)) for line in lines}
    mine = (f"index {100 * number + each} " for each in range(1, 6))
    wanted = (*mine, f"index {50 + number} ")
    found["actions"] = [each.split(":", 1)[1] for each in actions if any(index in each for index in wanted)]
    found["link"] = link(Rtm.GETLINK, 50 + number)(side)
    for at, (type, key_size, _, _) in enumerate(MAPS):
        found[f"map{at}"] = _contents(side, f"/{number}/map{at}".encode(), type, key_size)
    for at in range(3):
        found[f"program{at}"] = _tag(side, f"/{number}/program{at}".encode())
    return found


def _settled(text: str) -> str:
    """Without what is no state: a program's number, and that an action's counters were asked for."""
    return re.sub(r" id \d+| jited", "", text).replace("\tused_hw_stats disabled\n", "")


def _contents(side: Side, path: bytes, type: MapType, key_size: int) -> Any:
    try:
        fd = side.call(Bpf.OBJ_GET, {Arg.PATH: path})[Arg.FD]
    except ClsbpfError as error:
        return error.errno
    found: list[Any] = []
    try:
        if type == MapType.BLOOM_FILTER:
            for value in range(100):
                with contextlib.suppress(ClsbpfError):
                    side.call(Bpf.MAP_LOOKUP_ELEM, {Arg.FD: fd, Arg.VALUE: struct.pack("=Q", value)})
                    found.append(value)
            return found
        if not key_size:
            # All of it comes out, and goes in again.
            with contextlib.suppress(ClsbpfError):
                while True:
                    found.append(side.call(Bpf.MAP_LOOKUP_AND_DELETE_ELEM, {Arg.FD: fd})[Arg.VALUE])
            for each in found if type == MapType.QUEUE else reversed(found):
                side.call(Bpf.MAP_UPDATE_ELEM, {Arg.FD: fd, Arg.VALUE: each})
            return found
        key: Args = {}
        while True:
            key = {Arg.KEY: side.call(Bpf.MAP_GET_NEXT_KEY, {Arg.FD: fd, **key})[Arg.KEY]}
            with contextlib.suppress(ClsbpfError):
                value = side.call(Bpf.MAP_LOOKUP_ELEM, {Arg.FD: fd, **key})[Arg.VALUE]
                # What a slot holds is an id: the two sides count by themselves.
                found.append((key[Arg.KEY], value if type != MapType.PROG_ARRAY else None))
    except ClsbpfError as error:
        return found, error.errno
    finally:
        side.call(Bpf.CLOSE, {Arg.FD: fd})


def _tag(side: Side, path: bytes) -> Any:
    try:
        fd = side.call(Bpf.OBJ_GET, {Arg.PATH: path})[Arg.FD]
    except ClsbpfError as error:
        return error.errno
    try:
        return side.call(Bpf.OBJ_GET_INFO_BY_FD, {Arg.FD: fd})[Arg.TAG]
    finally:
        side.call(Bpf.CLOSE, {Arg.FD: fd})


def _lines(shown: Any) -> list[str]:
    if isinstance(shown, tuple):
        return [str(each) for part in shown for each in (part if isinstance(part, list) else [part])]
    return str(shown).split("\n")


def _same(told: dict[str, Any], wanted: dict[str, Any]) -> str:
    """What differs, line by line."""
    lines = [
        [f"{what}: {line}" for what, text in each.items() for line in _lines(text)] for each in (told, wanted)
    ]
    return "\n".join(difflib.unified_diff(*lines, "told", "wanted", n=0, lineterm=""))


@contextlib.contextmanager
def daemon(directory: Path) -> Iterator[subprocess.Popen[str]]:
    words = ["daemon", "--socket", str(directory / "socket"), "--state", str(directory / "state")]
    devices = [f"--dev=lab{number}" for number in range(CLIENTS)]
    command = [sys.executable, "-c", SHORT_LOGS, *words, *devices]
    with (directory / "stderr").open("w+") as stderr:
        process = subprocess.Popen(command, stderr=stderr, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.wait(10)
            stderr.seek(0)
            said = stderr.read()
        assert "Traceback" not in said, said


def tc_there(path: Path) -> Callable[[str], str]:
    def run(line: str) -> str:
        ran = run_tc(path, *line.split())
        return ran.stdout + ran.stderr

    return run


def tc_here(lab: Lab) -> Callable[[str], str]:
    def run(line: str) -> str:
        try:
            return lab.tc(line)
        except ClsbpfError as error:
            return str(error)

    return run


@pytest.mark.parametrize("seed", [3])
def test_killed_at_any_moment(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    lab = Lab(devices=())
    lab.host.network.add_device("lo", 1)
    for number in range(CLIENTS):
        lab.host.network.add_device(f"lab{number}", 2 + number)
    ours = Ours(lab)
    path = tmp_path / "socket"
    clients = [Client(number, random.Random(seed * 100 + number)) for number in range(CLIENTS)]
    total = 0
    for turn in range(ROUNDS + 1):
        with daemon(tmp_path) as process:
            until(path.exists)
            with contextlib.ExitStack() as stack:
                sides = [Theirs(stack.enter_context(connect(path, patience=20))) for _ in clients]
                assert "not restored" not in (tmp_path / "stderr").read_text(), (
                    tmp_path / "stderr"
                ).read_text()
                for client, side in zip(clients, sides, strict=True):
                    told = shown(client.number, tc_there(path), side) if turn else None
                    for work in () if turn else client.first():
                        assert work(side) == work(ours)
                    if told is not None and told != shown(client.number, tc_here(lab), ours):
                        assert client.asked is not None
                        with contextlib.suppress(ClsbpfError):
                            client.asked(ours)
                        assert _same(told, shown(client.number, tc_here(lab), ours)) == "", client.asked
                if turn == ROUNDS:
                    break
                threads = [
                    threading.Thread(target=client.run, args=(side,))
                    for client, side in zip(clients, sides, strict=True)
                ]
                for thread in threads:
                    thread.start()
                time.sleep(rng.uniform(0.3, 0.8))
                process.send_signal(signal.SIGKILL)
                for thread in threads:
                    thread.join(10)
        for client in clients:
            for work, answer in client.done:
                try:
                    got: object = work(ours)
                except ClsbpfError as error:
                    got = error.errno
                assert got == answer, work.words
            total += len(client.done)
            client.done.clear()
    assert total > 200
