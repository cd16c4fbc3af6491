"""A store gives back what was put into it, or nothing; and only to the user whose it is."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clsbpf import store as module
from clsbpf.store import PrivateStore, default_store


@pytest.fixture(autouse=True)
def _nothing_said() -> Iterator[None]:
    module._said.clear()
    yield
    module._said.clear()


@pytest.fixture
def store(tmp_path: Path) -> PrivateStore:
    return PrivateStore(tmp_path / "a" / "b" / "objects")


def entries(directory: Path | None) -> list[Path]:
    assert directory is not None
    return [path for path in directory.iterdir() if path.name != ".grown"]


def only_file(store: PrivateStore) -> Path:
    (path,) = entries(store.directory)
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_gives_back_what_was_put(store: PrivateStore) -> None:
    assert store.get(b"key") is None
    store.put(b"key", b"first")
    store.put(b"other", b"")
    store.put(b"key", b"second")
    assert store.get(b"key") == b"second"
    assert store.get(b"other") == b""
    assert store.get(b"ke") is None


def test_a_reader_alone_makes_no_directory(store: PrivateStore, tmp_path: Path) -> None:
    assert store.get(b"key") is None
    assert list(tmp_path.iterdir()) == []


def test_modes(store: PrivateStore) -> None:
    mask = os.umask(0)
    try:
        store.put(b"key", b"value")
    finally:
        os.umask(mask)
    assert store.directory is not None
    assert mode(store.directory) == 0o700
    assert {mode(path) for path in store.directory.iterdir()} == {0o600}


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[:-1],
    "empty": lambda content: b"",
    "longer": lambda content: content + b"x",
    "another value": lambda content: content[:-1] + b"!",
    "another digest": lambda content: content[:20] + bytes([content[20] ^ 1]) + content[21:],
    "another version": lambda content: content.replace(b"store 1", b"store 0"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_none(store: PrivateStore, damage: str) -> None:
    store.put(b"key", b"value")
    path = only_file(store)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    assert store.get(b"key") is None
    store.put(b"key", b"again")
    assert store.get(b"key") == b"again"


def test_an_entry_under_anothers_name_is_none(store: PrivateStore) -> None:
    store.put(b"one", b"1")
    one = only_file(store)
    content = one.read_bytes()
    store.put(b"two", b"2")
    assert store.directory is not None
    (two,) = set(entries(store.directory)) - {one}
    two.write_bytes(content)
    assert store.get(b"two") is None
    assert store.get(b"one") == b"1"


def test_an_entry_that_others_may_write_is_none(store: PrivateStore) -> None:
    store.put(b"key", b"value")
    only_file(store).chmod(0o620)
    assert store.get(b"key") is None


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_what_is_no_file_is_none(store: PrivateStore, tmp_path: Path, kind: str) -> None:
    store.put(b"key", b"value")
    path = only_file(store)
    content = path.read_bytes()
    path.unlink()
    if kind == "link":
        (tmp_path / "elsewhere").write_bytes(content)
        (tmp_path / "elsewhere").chmod(0o600)
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "fifo":
        os.mkfifo(path, 0o600)
    else:
        path.mkdir(0o700)
    assert store.get(b"key") is None


def refuses(store: PrivateStore, caplog: pytest.LogCaptureFixture, problem: str) -> None:
    with caplog.at_level(logging.WARNING, "clsbpf"):
        store.put(b"key", b"value")
        assert store.get(b"key") is None
        store.put(b"key", b"value")
    (record,) = caplog.records
    assert record.getMessage() == f"{store.directory}: {problem}; nothing is cached"


def test_a_directory_that_others_may_use(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = tmp_path / "open"
    directory.mkdir()
    directory.chmod(0o750)
    refuses(PrivateStore(directory), caplog, "has mode 0750: others may use it; 0700 is needed")
    assert list(directory.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away")
def test_a_directory_of_another_user(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = tmp_path / "foreign"
    directory.mkdir(mode=0o700)
    os.chown(directory, 12345, 12345)
    refuses(PrivateStore(directory), caplog, "belongs to user 12345, not to 0")
    assert list(directory.iterdir()) == []


def test_a_directory_behind_a_link(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    refuses(PrivateStore(tmp_path / "link"), caplog, "cannot be opened: Not a directory")


def test_a_file_in_the_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    refuses(PrivateStore(tmp_path / "file"), caplog, "cannot be opened: Not a directory")


def test_what_was_not_used_for_longest_goes(tmp_path: Path) -> None:
    store = PrivateStore(tmp_path / "s", limit=4400)
    for n in range(3):
        store.put(b"%d" % n, bytes(1200))
    for age, path in enumerate(sorted(entries(tmp_path / "s"), key=lambda p: p.stat().st_mtime)):
        os.utime(path, (1000 + age, 1000 + age))
    assert store.get(b"0") is not None  # used now: 1 is the oldest
    store.put(b"3", bytes(1200))
    assert [n for n in range(4) if store.get(b"%d" % n) is not None] == [0, 2, 3]


def test_only_who_fills_it_looks_at_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A put costs the same however much is kept: entries are listed once in an eighth of the store."""
    store, looked = PrivateStore(tmp_path / "s", limit=1 << 20), []
    listdir = os.listdir
    monkeypatch.setattr(
        os, "listdir", lambda where: (isinstance(where, int) and looked.append(where)) or listdir(where)
    )
    for n in range(400):
        store.put(b"%d" % n, bytes(4000))
        size = sum(path.stat().st_size for path in entries(store.directory))
        assert size <= 1 << 20
    assert size > 3 << 18
    assert 2 < len(looked) < 10
    (tmp_path / "s" / ".grown").write_bytes(b"")  # a writer that was wrong, or stopped half way
    for n in range(400):
        store.put(b"%d again" % n, bytes(4000))
    assert sum(path.stat().st_size for path in entries(store.directory)) <= 2 << 20


def test_what_is_larger_than_the_store_is_not_kept(tmp_path: Path) -> None:
    store = PrivateStore(tmp_path / "s", limit=1000)
    store.put(b"small", bytes(100))
    store.put(b"large", bytes(1000))
    assert store.get(b"large") is None
    assert store.get(b"small") is not None


def test_what_a_writer_left_behind_goes_after_a_while(store: PrivateStore) -> None:
    store.put(b"key", b"value")
    assert store.directory is not None
    old, new = store.directory / ".new-old", store.directory / ".new-new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    (store.directory / ".grown").unlink()
    store.put(b"key", b"value")
    assert not old.exists()
    assert new.exists()


def test_writers_at_once(tmp_path: Path) -> None:
    """A reader beside many writers sees a whole value of one of them, or none."""
    values = [bytes([n]) * (1000 + n) for n in range(8)]

    def write(value: bytes) -> None:
        store = PrivateStore(tmp_path / "s", limit=20_000)
        for _ in range(20):
            store.put(b"key", value)
            assert store.get(b"key") in values

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, values))
    assert len(entries(tmp_path / "s")) == 1


def test_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLSBPF_CACHE", "off")
    store = default_store("objects")
    store.put(b"key", b"value")
    assert store.get(b"key") is None
    assert list(tmp_path.iterdir()) == []


PLACES = [
    ({"HOME": "/h"}, "/h/.cache/clsbpf/objects"),
    ({"HOME": "/h", "XDG_CACHE_HOME": "/x"}, "/x/clsbpf/objects"),
    ({"HOME": "/h", "XDG_CACHE_HOME": "relative"}, "/h/.cache/clsbpf/objects"),
    ({"HOME": "/h", "XDG_CACHE_HOME": "/x", "CLSBPF_CACHE": "/c"}, "/c/objects"),
    ({"HOME": "/h", "CLSBPF_CACHE": ""}, "/h/.cache/clsbpf/objects"),
]


@pytest.mark.parametrize(("environment", "place"), PLACES)
def test_where(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], place: str) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "CLSBPF_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert default_store("objects").directory == Path(place)
