"""Programs, maps and pins are there again, with what was in the maps."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.maps import MapType
from clsbpf.daemon.host import Host
from clsbpf.daemon.state import State
from clsbpf.daemon.wire import Arg, Bpf
from clsbpf.engine.programs import LoadedProgram
from clsbpf.errors import ClsbpfError
from clsbpf.kernel.loader import load
from clsbpf.netlink import attr as nla
from clsbpf.netlink.message import iter_messages, read_acknowledgement
from clsbpf.netlink.schema import Rtm, Tca, TcaBpf
from clsbpf.netlink.tcmsg import TcMsg, tc_message
from clsbpf.objfile import read_object
from clsbpf.tccmd.ids import CLSACT_INGRESS
from clsbpf.tccmd.saved.requests import CREATE
from clsbpf.vm.helpers import KFUNCS
from clsbpf.vm.link import LinkedProgram
from clsbpf.vm.maps.map import Map
from daemon_running import Running, running

OBJECTS = Path(__file__).parents[2] / "examples" / "programs" / "build" / "O2"
NAMES = ("accounting.o", "balancer.o", "dispatch.o", "firewall.o", "globals.o", "locks.o", "loops.o")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as daemon:
        yield daemon


def described(thing: object) -> Any:
    """What a pin stands for, as far as it can be told apart."""
    if isinstance(thing, LoadedProgram):
        return thing.name, thing.tag, thing.type
    if isinstance(thing, LinkedProgram):
        return thing.name, len(thing.insns)
    assert isinstance(thing, Map)
    spec = thing.spec
    held: list[Any] = []
    try:
        for key in thing.walk():
            inside = thing.held_at(key)
            held.append((key, described(inside) if inside is not None else thing.lookup(key)))
    except ClsbpfError:
        pass  # one that cannot be listed
    return spec.name, spec.type, spec.key_size, spec.value_size, spec.max_entries, thing.frozen, held


def pins(host: Host) -> dict[str, Any]:
    return {path: described(host.pins.get(path)) for path in host.pins}


def restarted(host: Host, directory: Path) -> Host:
    state = directory / "state"
    state.mkdir(exist_ok=True)
    State(host, state).commit()
    again = Host()
    assert State(again, state).restore() == []
    return again


@pytest.mark.parametrize("name", NAMES)
def test_objects(name: str, daemon: Running, tmp_path: Path) -> None:
    spec = read_object(OBJECTS / name, kfuncs=KFUNCS)
    with daemon.connect() as connection, load(spec, calls=connection) as loaded:
        for each, fd in {**loaded.maps, **loaded.programs}.items():
            connection.obj_pin(fd, f"/sys/fs/bpf/{each}")
    before = pins(daemon.host)
    assert set(before) == {f"/sys/fs/bpf/{each}" for each in (*spec.maps, *spec.programs)}
    assert pins(restarted(daemon.host, tmp_path)) == before


def test_contents_of_maps(daemon: Running, tmp_path: Path) -> None:
    with daemon.connect() as connection:
        for type in (MapType.HASH, MapType.ARRAY, MapType.LRU_HASH, MapType.PERCPU_ARRAY):
            fd = connection.map_create(type, 4, 8, 16)
            for number in (1, 3, 7):
                connection.map_update(fd, struct.pack("=I", number), struct.pack("=Q", number * 11))
            if type is MapType.ARRAY:
                connection.map_freeze(fd)
            connection.obj_pin(fd, f"/sys/fs/bpf/{type.name}")
    before = pins(daemon.host)
    assert pins(restarted(daemon.host, tmp_path)) == before


def test_an_action_with_a_program(daemon: Running, tmp_path: Path) -> None:
    with daemon.connect() as connection:
        connection.obj_pin(connection.prog_load(assemble("r0 = 2\nexit"), 4, name="drop"), "/sys/fs/bpf/drop")
    assert daemon.run("actions add action bpf object-pinned /sys/fs/bpf/drop index 5").exit_code == 0
    with daemon.connect() as connection:
        connection.call(Bpf.UNPIN, {Arg.PATH: b"/sys/fs/bpf/drop"})
    again = restarted(daemon.host, tmp_path)
    (action,) = again.network.actions.tables["bpf"]
    assert (action.index, action.params.program.name) == (5, "drop")
    assert list(again.pins) == []


@pytest.mark.parametrize(
    "name", ["func", "a/b:[c]", "with # in it:[x]", "two words:[a b]", "größe:[tc]", None]
)
def test_a_filters_name_for_its_program(name: str | None, daemon: Running, tmp_path: Path) -> None:
    """Libraries give names that no line of tc's would give, or none."""
    daemon.tc("qdisc add dev lab0 clsact")
    with daemon.connect() as connection:
        options = [nla.u32(TcaBpf.FD, connection.prog_load(assemble("r0 = 0\nexit"), 3, name="p"))]
        if name is not None:
            options.append(nla.string(TcaBpf.NAME, name))
        attrs = [nla.string(Tca.KIND, "bpf"), nla.nest(Tca.OPTIONS, options)]
        header = TcMsg.of_filter(2, CLSACT_INGRESS, prio=3, protocol=3)
        request = tc_message(Rtm.NEWTFILTER, header, attrs, flags=CREATE)
        answer = next(iter_messages(next(connection.ask(request.encode()))))
        assert read_acknowledgement(answer).errno == 0
    again = restarted(daemon.host, tmp_path)
    qdisc = again.network.devices[2].ingress
    assert qdisc is not None
    (each,) = next(iter(qdisc.ingress.chains[0].classifiers))
    assert (each.name, each.program.name) == (name, "p")
