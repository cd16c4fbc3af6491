"""What was acknowledged of maps is there again after a kill, whatever their size, and goes on the same."""

from __future__ import annotations

import contextlib
import random
import shutil
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.insn import encode
from clsbpf.bpf.maps import MapFlag, MapType
from clsbpf.daemon import bpf
from clsbpf.daemon.host import Host, Process
from clsbpf.daemon.map_files import Change, read_log
from clsbpf.daemon.state import State, kept
from clsbpf.daemon.wire import Arg, Args, Bpf, Call
from clsbpf.errors import ClsbpfError
from clsbpf.vm.maps.map import Map


@dataclass
class Caller:
    """A process of a host whose state is kept."""

    host: Host
    directory: Path

    def __post_init__(self) -> None:
        self.process = Process(self.host, 0, lambda datagram: None)

    def call(self, command: Bpf, args: Args) -> Args:
        """A command, acknowledged when this returns."""
        answer = bpf.carry_out(self.process, Call(command, args))
        self.host.before_answer()
        return answer

    def map(self, type: MapType, key: int, value: int, entries: int, flags: int = 0, **more: int) -> int:
        """A map, pinned as /NUMBER: its descriptor."""
        args: dict[int, int | bytes] = {
            Arg.TYPE: type,
            Arg.KEY_SIZE: key,
            Arg.VALUE_SIZE: value,
            Arg.MAX_ENTRIES: entries,
            Arg.FLAGS: flags,
            **{Arg[name]: each for name, each in more.items()},
        }
        fd = self.call(Bpf.MAP_CREATE, args)[Arg.FD]
        assert isinstance(fd, int)
        self.call(Bpf.OBJ_PIN, {Arg.FD: fd, Arg.PATH: f"/{fd}".encode()})
        return fd

    def killed(self, name: str = "copy") -> Host:
        """A host that is started on the files as they are now."""
        copy = self.directory.with_name(name)
        while True:
            try:
                shutil.copytree(self.directory, copy, ignore=shutil.ignore_patterns("lock"))
                break
            except shutil.Error:  # a copy is no snapshot: a file went meanwhile
                shutil.rmtree(copy)
        again = Host()
        assert State(again, copy).restore() == []
        return again


@pytest.fixture
def caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Caller]:
    """Logs are short, and looked at all the time."""
    monkeypatch.setattr("clsbpf.daemon.map_files.LOG_RECORDS", 30)
    monkeypatch.setattr("clsbpf.daemon.map_files.BYTES_A_RECORD", 1 << 20)
    monkeypatch.setattr("clsbpf.daemon.state.TENDING_SECONDS", 0.002)
    host, directory = Host(), tmp_path / "state"
    with kept(host, directory):
        yield Caller(host, directory)


def number(value: int) -> bytes:
    return struct.pack("=I", value)


def contents(map: object) -> object:
    """All that can be seen of a map from outside."""
    assert isinstance(map, Map)
    if map.spec.type == MapType.BLOOM_FILTER:
        return [map.contains(number(each)) for each in range(300)]
    if map.spec.type in (MapType.QUEUE, MapType.STACK):
        return map.frozen, list(map.waiting())
    if map.slotted:
        return map.frozen, [(key, getattr(held, "id", None)) for key, held in map.slots()]
    return map.frozen, [(key, map.lookup(key)) for key in map.walk()]


def shown(host: Host) -> dict[str, object]:
    """Of every pin, the map's id and contents."""
    pins = {path: host.pins.get(path) for path in host.pins}
    return {path: (pin.id, contents(pin)) for path, pin in pins.items() if isinstance(pin, Map)}


KINDS = [
    (MapType.HASH, 4, 0),
    (MapType.ARRAY, 4, 0),
    (MapType.LRU_HASH, 4, 0),
    (MapType.LRU_HASH, 4, MapFlag.NO_COMMON_LRU),
    (MapType.PERCPU_HASH, 4, 0),
    (MapType.PERCPU_ARRAY, 4, 0),
    (MapType.LPM_TRIE, 8, MapFlag.NO_PREALLOC),
    (MapType.QUEUE, 0, 0),
    (MapType.STACK, 0, 0),
    (MapType.BLOOM_FILTER, 0, 0),
]


def random_call(rng: random.Random, fd: int, kind: tuple[MapType, int, int]) -> tuple[Bpf, Args]:
    type, key_size, _ = kind
    key = number(rng.randrange(100))
    if key_size == 8:
        key = number(rng.randrange(33)) + bytes([10, 0, rng.randrange(3), rng.randrange(3)])
    value = number(rng.randrange(300))
    if type in (MapType.PERCPU_HASH, MapType.PERCPU_ARRAY):
        value += bytes(4)
    keyed: Args = {Arg.FD: fd, Arg.KEY: key} if key_size else {Arg.FD: fd}
    command = rng.choice([Bpf.MAP_UPDATE_ELEM] * 6 + [Bpf.MAP_DELETE_ELEM, Bpf.MAP_LOOKUP_AND_DELETE_ELEM])
    if command == Bpf.MAP_UPDATE_ELEM:
        return command, {**keyed, Arg.VALUE: value, Arg.FLAGS: rng.choice([0, 0, 0, 1, 2])}
    return (Bpf.MAP_FREEZE, {Arg.FD: fd}) if rng.random() < 0.01 else (command, keyed)


@pytest.mark.parametrize("seed", range(4))
def test_random_changes_are_there_after_a_kill(seed: int, caller: Caller) -> None:
    """At any moment the files hold exactly what was acknowledged, also while logs give way to images."""
    rng = random.Random(seed)
    fds = [caller.map(type, key, 4, 64, flags) for type, key, flags in KINDS]
    done = 0
    for moment in range(6):
        for _ in range(rng.randrange(150)):
            at = rng.randrange(len(fds))
            try:
                caller.call(*random_call(rng, fds[at], KINDS[at]))
                done += 1
            except ClsbpfError:
                pass
        assert shown(caller.killed(f"copy{moment}")) == shown(caller.host)
    assert done > 100


def logged(maps: Path) -> int:
    """The bytes of all logs, some of which may go meanwhile."""
    total = 0
    for path in maps.glob("*.log"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def test_logs_give_way_to_images(caller: Caller) -> None:
    fd = caller.map(MapType.HASH, 4, 4, 10)
    maps = caller.directory / "maps"
    for each in range(400):
        caller.call(Bpf.MAP_UPDATE_ELEM, {Arg.FD: fd, Arg.KEY: number(each % 10), Arg.VALUE: number(each)})
    deadline = time.monotonic() + 5
    while logged(maps) > 32 * 40:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert sorted(path.suffix for path in maps.iterdir())[:1] == [".image"]
    assert shown(caller.killed()) == shown(caller.host)


def test_a_map_with_a_million_elements(tmp_path: Path) -> None:
    """It is kept by its memory; the other clients wait for a copy of that, not for a file."""
    host = Host()
    caller = Caller(host, tmp_path / "state")
    fd = caller.map(MapType.HASH, 4, 8, 1 << 20)
    map = caller.process.files[fd]
    assert isinstance(map, Map)
    for each in range(2000):
        map.update(number(each * 500), struct.pack("=Q", each))
    caller.directory.mkdir(mode=0o700)
    State(host, caller.directory).commit()
    assert shown(caller.killed()) == shown(host)


@pytest.mark.parametrize("cut", [1, 7, 24, 30])
def test_a_log_that_was_cut(cut: int, caller: Caller) -> None:
    """What was not written whole was not acknowledged; what comes after the next start is kept again."""
    fd = caller.map(MapType.ARRAY, 4, 4, 10)
    for each in range(3):
        caller.call(Bpf.MAP_UPDATE_ELEM, {Arg.FD: fd, Arg.KEY: number(each), Arg.VALUE: number(7)})
    (log,) = (caller.directory / "maps").glob("*.log")
    whole = log.read_bytes()
    log.write_bytes(whole[:-cut])
    again = Caller(caller.killed(), caller.directory.with_name("copy"))
    assert again.host.pins.get(f"/{fd}").lookup(number(2)) == number(0)  # type: ignore[union-attr]
    with kept(Host(), again.directory):
        pass
    host = Host()
    with kept(host, again.directory):
        next_one = Caller(host, again.directory)
        next_one.process.files[fd] = host.pins.get(f"/{fd}")
        next_one.call(Bpf.MAP_UPDATE_ELEM, {Arg.FD: fd, Arg.KEY: number(2), Arg.VALUE: number(9)})
        assert shown(next_one.killed("third")) == shown(host)


def test_a_damaged_image_is_told_and_stays(caller: Caller) -> None:
    fd = caller.call(Bpf.MAP_CREATE, {Arg.TYPE: 2, Arg.KEY_SIZE: 4, Arg.VALUE_SIZE: 4, Arg.MAX_ENTRIES: 3})
    args = {Arg.FD: fd[Arg.FD], Arg.KEY: number(1), Arg.VALUE: number(5)}
    caller.call(Bpf.MAP_UPDATE_ELEM, args)
    caller.call(Bpf.OBJ_PIN, {Arg.FD: fd[Arg.FD], Arg.PATH: b"/pin"})
    (image,) = (caller.directory / "maps").glob("*.image")
    image.write_bytes(image.read_bytes()[:-9])
    again = Host()
    (wrong,) = State(again, caller.directory).restore()
    assert "the image of map '' (array): it is damaged" in wrong
    assert image.with_name(image.name + ".unrestored").exists()


def test_maps_of_programs_and_maps(caller: Caller) -> None:
    inner = [caller.map(MapType.ARRAY, 4, 4, 2) for _ in range(3)]
    outer = caller.map(MapType.ARRAY_OF_MAPS, 4, 4, 4, INNER_FD=inner[0])
    hashed = caller.map(MapType.HASH_OF_MAPS, 4, 4, 9, INNER_FD=inner[0])
    jumps = caller.map(MapType.PROG_ARRAY, 4, 4, 4)
    programs = []
    for name in (b"one", b"two"):
        args: Args = {
            Arg.TYPE: 3,
            Arg.NAME: name,
            Arg.LICENSE: b"GPL",
            Arg.INSNS: encode(assemble("r0 = 0\nexit")),
        }
        programs.append(caller.call(Bpf.PROG_LOAD, args)[Arg.FD])
    rng = random.Random(5)
    for each in range(60):
        map = rng.choice([outer, hashed, jumps])
        held = rng.choice(programs if map == jumps else inner)
        assert isinstance(held, int)
        key = number(rng.randrange(4))
        try:
            if rng.random() < 0.3:
                caller.call(Bpf.MAP_DELETE_ELEM, {Arg.FD: map, Arg.KEY: key})
            else:
                caller.call(Bpf.MAP_UPDATE_ELEM, {Arg.FD: map, Arg.KEY: key, Arg.VALUE: number(held)})
        except ClsbpfError:
            pass
        if each % 12 == 0:
            assert shown(caller.killed(f"copy{each}")) == shown(caller.host)
    caller.call(Bpf.MAP_FREEZE, {Arg.FD: jumps})
    assert shown(caller.killed()) == shown(caller.host)


def test_ids_are_kept_and_not_given_again(caller: Caller) -> None:
    fds = [caller.map(MapType.ARRAY, 4, 4, 1) for _ in range(3)]
    ids = [file.id for file in caller.process.files.values() if isinstance(file, Map)]
    again = Caller(caller.killed(), caller.directory)
    assert [again.host.pins.get(f"/{fd}").id for fd in fds] == ids
    fd = again.call(Bpf.MAP_CREATE, {Arg.TYPE: 2, Arg.KEY_SIZE: 4, Arg.VALUE_SIZE: 4, Arg.MAX_ENTRIES: 1})
    made = again.process.files[int(fd[Arg.FD])]
    assert isinstance(made, Map)
    assert made.id > max(ids)


def test_a_map_that_nobody_holds_leaves_no_file(caller: Caller) -> None:
    fd = caller.map(MapType.ARRAY, 4, 4, 1)
    caller.call(Bpf.MAP_UPDATE_ELEM, {Arg.FD: fd, Arg.KEY: number(0), Arg.VALUE: number(5)})
    assert len(list((caller.directory / "maps").iterdir())) == 1
    caller.call(Bpf.UNPIN, {Arg.PATH: f"/{fd}".encode()})
    assert list((caller.directory / "maps").iterdir()) == []
    caller.call(Bpf.OBJ_PIN, {Arg.FD: fd, Arg.PATH: b"/again"})  # by who still had a descriptor
    assert shown(caller.killed()) == shown(caller.host)


CHANGES = [
    Change(Bpf.MAP_UPDATE_ELEM, b"key1", b"value", 2),
    Change(Bpf.MAP_UPDATE_ELEM, None, b"pushed"),
    Change(Bpf.MAP_DELETE_ELEM, b"key1"),
    Change(Bpf.MAP_LOOKUP_AND_DELETE_ELEM, None),
    Change(Bpf.MAP_FREEZE),
]


def test_records() -> None:
    """What was written is read, up to where it was cut or changed."""
    raw = b"".join(each.encode() for each in CHANGES)
    ends = [end for _, end in read_log(raw)]
    assert [change for change, _ in read_log(raw)] == CHANGES
    for length in range(len(raw)):
        whole = CHANGES[: sum(end <= length for end in ends)]
        assert [change for change, _ in read_log(raw[:length])] == whole
        changed = raw[:length] + bytes([raw[length] ^ 0x40]) + raw[length + 1 :]
        assert [change for change, _ in read_log(changed)] == whole
