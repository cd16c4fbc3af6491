"""Where bytes come from: files, streams, gzip, and files that change while they are read."""

from __future__ import annotations

import ctypes
import gzip
import io
import os
import random
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture_bytes import PACKETS, pcap
from clsbpf.capture import Interface, Source, open_capture, open_source
from clsbpf.capture.gzip import GzipFeed
from clsbpf.capture.pcap import PcapHeader
from clsbpf.capture.source import BUFFER_BYTES
from clsbpf.errors import CaptureError

DATA = random.Random(1).randbytes(3 * BUFFER_BYTES + 12345)
CAPTURE = pcap(PcapHeader(Interface(1)), PACKETS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    return path


def drain(source: Source, leave: int = 0, seen: bytearray | None = None) -> bytearray:
    """All that is left of a source, also in `seen`; `leave` bytes of each window go over to the next."""
    seen = bytearray() if seen is None else seen
    for window in source.windows():
        assert window.length == len(window.view)
        assert ctypes.string_at(window.address, window.length) == bytes(window.view)
        done = window.length if window.final else max(window.length - leave, 0)
        seen += window.view[:done]
        source.advance(done, leave + 1)
    return seen


@pytest.mark.parametrize("leave", [0, 1, 77, BUFFER_BYTES + 1])
def test_windows_are_the_file_one_behind_the_other(path: Path, leave: int) -> None:
    with open_source(str(path)) as source:
        assert source.size == len(DATA)
        assert drain(source, leave) == DATA


@settings(max_examples=100)
@given(
    st.lists(st.integers(0, 300), max_size=30),
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 200)), max_size=40),
)
def test_a_stream_in_any_pieces(pieces: list[int], steps: list[tuple[int, int]]) -> None:
    """A window begins where the consumer stopped, and holds what it needed unless it is the final one."""
    content = bytes(index & 0xFF for index in range(sum(pieces)))
    reading, writing = os.pipe()
    with open(writing, "wb", buffering=0) as end:
        end.write(content)
    with Source(PieceFile(reading, pieces), "pipe", buffer_bytes=16) as source:
        at = 0
        need = 1
        for (take, need_next), window in zip(steps, source.windows(), strict=False):
            assert window.offset == at
            assert bytes(window.view) == content[at : at + window.length]
            assert window.length >= need or window.final
            assert not window.final or at + window.length == len(content)
            done = min(take, window.length)
            at, need = at + done, need_next
            source.advance(done, need_next)


class PieceFile(io.FileIO):
    """A file that gives at most so many bytes a read."""

    def __init__(self, descriptor: int, pieces: list[int]) -> None:
        super().__init__(descriptor)
        self._pieces: Iterator[int] = iter([piece for piece in pieces if piece])

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        return super().readinto(buffer[: next(self._pieces, None)]) or 0


def test_a_stream_is_shown_as_it_comes() -> None:
    """The first packets of a live capture can be had before more of it comes."""
    reading, writing = os.pipe()
    os.write(writing, b"first")
    with Source(io.FileIO(reading), "pipe") as source, open(writing, "wb", buffering=0) as end:
        windows = source.windows()
        window = next(windows)
        assert (bytes(window.view), window.final) == (b"first", False)
        source.advance(3, 1)
        assert bytes(next(windows).view) == b"st"
        end.write(b"second")
        source.advance(2, 1)
        assert bytes(next(windows).view) == b"second"
        source.advance(6, 1)
        end.close()
        assert [(window.length, window.final) for window in windows] == [(0, True)]


def test_a_descriptor_that_does_not_block_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.write(writing, b"ab")
    with Source(io.FileIO(reading), "pipe") as source:
        windows = source.windows()
        assert bytes(next(windows).view) == b"ab"
        source.advance(2, 1)
        later = threading.Timer(0.02, os.write, (writing, b"later"))
        later.start()
        assert bytes(next(windows).view) == b"later"
        later.join()
        os.close(writing)


def test_standard_input() -> None:
    program = "from clsbpf.capture import open_capture; print(*(r.captured for r, _ in open_capture('-')))"
    done = subprocess.run([sys.executable, "-c", program], input=CAPTURE, capture_output=True, check=True)
    assert done.stdout.split() == [str(len(data)).encode() for _, data, _ in PACKETS]


CANNOT_OPEN = [
    ("nothing", "cannot be opened: No such file or directory"),
    ("", "cannot be opened: Is a directory"),
    ("a\0b", "cannot be opened: embedded null byte"),
]


@pytest.mark.parametrize(("name", "message"), CANNOT_OPEN)
def test_what_cannot_be_opened(tmp_path: Path, name: str, message: str) -> None:
    where = f"{tmp_path}/{name}" if name else str(tmp_path)
    with pytest.raises(CaptureError) as caught:
        open_source(where)
    assert str(caught.value) == f"{where}: {message}"


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.pcap").touch()
    with pytest.raises(CaptureError, match=r"empty\.pcap: empty: not even a file header"):
        open_capture(str(tmp_path / "empty.pcap"))


def test_one_large_record_does_not_make_later_reads_large(path: Path) -> None:
    """Windows stay as small as the cache likes, but for the one that had to be larger."""
    with open_source(str(path)) as source:
        windows = source.windows()
        next(windows)
        source.advance(0, BUFFER_BYTES + 1)
        large = next(windows)
        assert large.length > BUFFER_BYTES
        source.advance(large.length, 1)
        assert next(windows).length == BUFFER_BYTES


# Files that change -------------------------------------------------------------------------------


def test_a_file_that_shrinks_is_told(path: Path) -> None:
    """What was read before is shown; the end that is missing is not taken for the capture's end."""
    with open_source(str(path)) as source:
        os.truncate(path, len(DATA) - 100)
        seen = bytearray()
        with pytest.raises(CaptureError) as caught:
            drain(source, 0, seen)
        assert seen == DATA[:-100]
    assert str(caught.value) == (
        f"{path}: shrank while it was read, from {len(DATA)} bytes to {len(DATA) - 100} or fewer"
    )


def test_a_file_that_grows_is_read_to_where_it_ends_by_then(path: Path) -> None:
    with open_source(str(path)) as source, path.open("ab") as writer:
        source.advance(next(source.windows()).length, 1)
        writer.write(b"more")
        writer.flush()
        rest = drain(source)
    assert rest == DATA[BUFFER_BYTES:] + b"more"


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(400 << 20)
    program = f"""
        import resource
        from clsbpf.capture import open_source
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with open_source({str(path)!r}) as source:
            for window in source.windows():
                assert not any(window.view[::4096])
                source.advance(window.length, 1)
            assert window.offset + window.length == source.size == source.position
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 80 << 10  # KiB


def test_a_disk_that_fails_is_told(tmp_path: Path) -> None:
    class FailingFile(io.FileIO):
        def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
            if self.tell() >= 100:
                raise OSError(5, "Input/output error")
            return super().readinto(buffer[:60]) or 0

    (tmp_path / "disk").write_bytes(bytes(300))
    with Source(FailingFile(tmp_path / "disk"), "disk") as source:
        seen = bytearray()
        with pytest.raises(CaptureError, match="disk: cannot be read: Input/output error"):
            drain(source, 0, seen)
        assert len(seen) == 120


# gzip --------------------------------------------------------------------------------------------


def compressed(data: bytes) -> bytes:
    """A gzip member without the time of day, so that every worker of a test run names tests alike."""
    return gzip.compress(data, mtime=0)


MEMBERS = [
    (compressed(b"hello"), b"hello"),
    (compressed(b"hello") + compressed(b"") + compressed(b" world"), b"hello world"),
    (compressed(b"hello") + bytes(1000), b"hello"),
    (compressed(bytes(3 * BUFFER_BYTES)), bytes(3 * BUFFER_BYTES)),
    (compressed(DATA), DATA),
]


@pytest.mark.parametrize(("packed", "content"), MEMBERS)
def test_gzip(tmp_path: Path, packed: bytes, content: bytes) -> None:
    (tmp_path / "x.gz").write_bytes(packed)
    with open_source(str(tmp_path / "x.gz")) as source:
        assert source.is_compressed
        assert drain(source, 7) == content
        assert source.position == source.size == len(packed)


@pytest.mark.parametrize(("packed", "content"), MEMBERS[:3])
def test_gzip_a_byte_at_a_time(packed: bytes, content: bytes) -> None:
    raw = io.BytesIO(packed)

    class OneByte:
        def readinto(self, buffer: memoryview, /) -> int:
            return raw.readinto(buffer[:1])

    assert unpack(GzipFeed(OneByte(), b"", "x.gz"), 1) == content


def unpack(feed: GzipFeed, piece: int) -> bytearray:
    unpacked = bytearray()
    room = memoryview(bytearray(piece))
    while count := feed.readinto(room):
        unpacked += room[:count]
    return unpacked


GZIP_DAMAGE = [
    (compressed(CAPTURE)[:-1], "the gzip data are cut: their end is missing"),
    (compressed(CAPTURE)[:-8] + bytes(8), "the gzip data are damaged (Error -3"),
    (compressed(CAPTURE) + b"rest", "the gzip data are damaged (Error -3"),
]


@pytest.mark.parametrize(("packed", "message"), GZIP_DAMAGE)
def test_damaged_gzip_gives_what_came_before(tmp_path: Path, packed: bytes, message: str) -> None:
    path = tmp_path / "x.pcap.gz"
    path.write_bytes(packed)
    seen = []
    with open_capture(str(path)) as capture, pytest.raises(CaptureError) as caught:
        seen.extend(bytes(data) for _, data in capture)
    assert seen == [data for _, data, _ in PACKETS]
    assert str(caught.value).startswith(f"{path}: {message}")
    assert caught.value.packets == len(PACKETS)


def test_gzip_cut_at_every_byte() -> None:
    """A cut gzip file is never taken for a whole one."""
    packed = compressed(DATA[:300])
    for cut in range(2, len(packed)):
        feed = GzipFeed(io.BytesIO(packed[:cut]), b"", "x.gz")
        with pytest.raises(CaptureError, match=r"x\.gz: the gzip data are cut: their end is missing"):
            unpack(feed, 64)
