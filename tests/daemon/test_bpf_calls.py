"""The bpf(2)-like calls over the socket: maps, programs, pins, descriptors, refusals."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.maps import MapType
from clsbpf.daemon.client import Connection
from clsbpf.daemon.wire import Arg, Assembler, Bpf, Call, encode_call
from clsbpf.errors import ClsbpfError, VerifierError
from clsbpf.kernel.loader import load
from clsbpf.netlink.message import iter_messages
from clsbpf.objfile import read_object
from clsbpf.vm.helpers import KFUNCS
from daemon_running import Running, running, until

OBJECTS = Path(__file__).parents[2] / "examples" / "programs" / "build" / "O2"
SCHED_CLS, SCHED_ACT = 3, 4
PASS = "r0 = 0\nexit"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as daemon:
        daemon.tc("qdisc add dev lab0 clsact")
        yield daemon


@pytest.fixture
def connection(daemon: Running) -> Iterator[Connection]:
    with daemon.connect() as connection:
        yield connection


def key(number: int) -> bytes:
    return struct.pack("=I", number)


def test_a_maps_elements(connection: Connection) -> None:
    fd = connection.map_create(MapType.HASH, 4, 8, 10, name="h")
    assert connection.map_next_key(fd, None) is None
    assert connection.map_lookup(fd, key(1)) is None
    connection.map_update(fd, key(1), b"12345678")
    assert connection.map_lookup(fd, key(1)) == b"12345678"
    assert connection.map_next_key(fd, None) == key(1)
    connection.map_delete(fd, key(1))
    assert connection.map_lookup(fd, key(1)) is None
    connection.map_freeze(fd)
    with pytest.raises(ClsbpfError, match="frozen"):
        connection.map_update(fd, key(1), bytes(8))


def test_a_value_longer_than_a_datagram(connection: Connection) -> None:
    size = 300_000
    fd = connection.map_create(MapType.ARRAY, 4, size, 1)
    value = bytes(range(256)) * (size // 256) + bytes(size % 256)
    connection.map_update(fd, key(0), value)
    assert connection.map_lookup(fd, key(0)) == value


def test_the_keys_of_a_map_for_very_many(connection: Connection) -> None:
    """Nobody waits for a walk over millions of buckets that are empty."""
    fd = connection.map_create(MapType.HASH, 4, 4, 1 << 24)
    for number in (7, 8, 9):
        connection.map_update(fd, key(number), b"vals")
    found = []
    at = connection.map_next_key(fd, None)
    while at is not None:
        found.append(at)
        at = connection.map_next_key(fd, at)
    assert sorted(found) == [key(7), key(8), key(9)]


def test_a_program_is_judged(connection: Connection) -> None:
    fd = connection.prog_load(assemble(PASS), SCHED_CLS, name="pass_all")
    info = connection.info(fd)
    assert (info.text(Arg.NAME), info.number(Arg.TYPE)) == ("pass_all", SCHED_CLS)
    with pytest.raises(VerifierError) as refusal:
        connection.prog_load(assemble("r0 = r3\nexit"), SCHED_CLS)
    assert refusal.value.errno == errno.EACCES
    assert "R3 !read_ok" in refusal.value.log


REFUSALS: dict[str, tuple[Callable[[Connection], object], int]] = {
    "no descriptor": (lambda c: c.map_lookup(99, key(0)), errno.EBADF),
    "a program's descriptor": (
        lambda c: c.map_update(c.prog_load(assemble(PASS), SCHED_CLS), key(0), b""),
        errno.EINVAL,
    ),
    "no such map type": (lambda c: c.map_create(999, 4, 4, 1), errno.EINVAL),
    "a map that is too large": (lambda c: c.map_create(MapType.HASH, 4, 4, 1 << 30), errno.ENOMEM),
    "a name with a blank": (lambda c: c.map_create(MapType.HASH, 4, 4, 1, name="a b"), errno.EINVAL),
    "no such command": (lambda c: c.call(77, {}), errno.EINVAL),  # type: ignore[arg-type]
    "nothing of it": (lambda c: c.call(Bpf.MAP_CREATE, {}), errno.EINVAL),
    "nothing pinned": (lambda c: c.obj_get("/sys/fs/bpf/x"), errno.ENOENT),
    "a pin without a place": (
        lambda c: c.obj_pin(c.map_create(MapType.HASH, 4, 4, 1), "here"),
        errno.EPERM,
    ),
    "another program type": (lambda c: c.prog_load(assemble(PASS), 6), errno.EINVAL),
    "no instructions": (lambda c: c.prog_load([], SCHED_CLS), errno.EINVAL),
    "bad type information": (lambda c: c.btf_load(b"nonsense"), errno.EINVAL),
}


@pytest.mark.parametrize(("ask", "code"), REFUSALS.values(), ids=REFUSALS)
def test_refusals(ask: Callable[[Connection], object], code: int, connection: Connection) -> None:
    with pytest.raises(ClsbpfError) as refusal:
        ask(connection)
    assert refusal.value.errno == code
    assert str(refusal.value)


def test_descriptors_are_of_their_connection(daemon: Running, connection: Connection) -> None:
    fd = connection.prog_load(assemble(PASS), SCHED_CLS)
    with daemon.connect() as other:
        with pytest.raises(ClsbpfError) as refusal:
            other.info(fd)
        assert refusal.value.errno == errno.EBADF


def test_what_is_pinned_outlives_its_maker(daemon: Running) -> None:
    with daemon.connect() as maker:
        maker.obj_pin(maker.map_create(MapType.HASH, 4, 4, 5, name="kept"), "/sys/fs/bpf/kept")
        maker.obj_pin(maker.prog_load(assemble(PASS), SCHED_CLS, name="prog"), "/sys/fs/bpf/prog")
    with daemon.connect() as other:
        assert other.info(other.obj_get("/sys/fs/bpf/kept")).text(Arg.NAME) == "kept"
    ran = daemon.run("filter add dev lab0 ingress bpf object-pinned m:prog da")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert "prog:[*fsobj] direct-action" in daemon.tc("filter show dev lab0 ingress")


def test_a_filter_keeps_its_program(daemon: Running) -> None:
    line = f"filter add dev lab0 ingress bpf object-file {OBJECTS / 'firewall.o'} section tc da"
    assert daemon.run(line).exit_code == 0
    shown = daemon.tc("filter show dev lab0 ingress")
    assert "firewall.o:[tc] direct-action not_in_hw id" in shown
    assert " name firewall tag " in shown
    daemon.tc("filter del dev lab0 ingress")
    until(lambda: not daemon.host.programs.ids())


def test_a_program_for_actions_is_none_for_filters(daemon: Running) -> None:
    with daemon.connect() as maker:
        maker.obj_pin(maker.prog_load(assemble(PASS), SCHED_ACT), "/sys/fs/bpf/act")
    ran = daemon.run("filter add dev lab0 ingress bpf object-pinned /sys/fs/bpf/act")
    assert (ran.exit_code, ran.stderr.splitlines()[0]) == (2, "RTNETLINK answers: Invalid argument")


def test_an_object_that_is_not_there(daemon: Running) -> None:
    ran = daemon.run("filter add dev lab0 ingress bpf object-file /nonexistent.o")
    assert ran.exit_code == 1
    assert ran.stderr.endswith("Unable to load program\n")
    ran = daemon.run(f"filter add dev lab0 ingress bpf object-file {OBJECTS / 'firewall.o'} section nosuch")
    assert ran.exit_code == 1
    assert "object file doesn't contain sec nosuch" in ran.stderr


LOADED = ("firewall.o", "balancer.o", "dispatch.o", "globals.o", "loops.o", "locks.o", "accounting.o")


@pytest.mark.parametrize("name", LOADED)
def test_objects_are_loaded_over_the_socket(name: str, connection: Connection) -> None:
    """Maps in maps, jump tables, data sections, callbacks, spin locks: what the loader asks, is answered."""
    spec = read_object(OBJECTS / name, kfuncs=KFUNCS)
    loaded = load(spec, calls=connection)
    assert set(loaded.programs) == set(spec.programs)
    assert set(loaded.maps) == set(spec.maps)
    for program, fd in loaded.programs.items():
        assert connection.info(fd).text(Arg.NAME) == program[:15]


# the codec

CALLS = [
    Call(Bpf.MAP_CREATE, {Arg.TYPE: 1, Arg.FLAGS: 1 << 40, Arg.NAME: b"x"}),
    Call(Bpf.CLOSE, {}),
    Call(Bpf.MAP_UPDATE_ELEM, {Arg.FD: 3, Arg.KEY: b"", Arg.VALUE: bytes(100_000)}),
    Call(Bpf.PROG_LOAD, {Arg.INSNS: bytes(range(8)) * 20_000, Arg.LICENSE: b"GPL", Arg.TYPE: 3}),
]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: Bpf(call.command).name)
def test_calls_survive_the_wire(call: Call) -> None:
    assembler = Assembler()
    datagrams = list(encode_call(call.command, call.args))
    assert all(len(datagram) < 66_000 for datagram in datagrams)
    messages = [message for datagram in datagrams for message in iter_messages(datagram)]
    *unfinished, last = [assembler.take(message) for message in messages]
    assert unfinished == [None] * len(unfinished)
    assert last == call
