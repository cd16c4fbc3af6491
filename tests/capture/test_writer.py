"""Captures that are written: what comes back, and that nothing half written has a name."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from capture_bytes import PACKETS
from clsbpf.capture import Budget, Interface, PcapngWriter, PcapWriter, open_capture
from clsbpf.errors import CaptureError

ETHERNET = Interface(1, 262144, 10**6, 5, 4)
RAW = Interface(101, 96, 10**9, name="tun0")


def test_pcap_comes_back_as_written(tmp_path: Path) -> None:
    path = str(tmp_path / "out.pcap")
    with PcapWriter(path, ETHERNET) as writer:
        for packet in PACKETS:
            writer.write(*packet)
    assert writer.packets == len(PACKETS)
    with open_capture(path) as capture:
        assert [(record.time_ns, bytes(data), record.length) for record, data in capture] == PACKETS
        assert capture.interfaces == [replace(ETHERNET, ticks_per_second=10**9, offset_seconds=0)]


def test_pcapng_keeps_the_interfaces(tmp_path: Path) -> None:
    path = str(tmp_path / "out.pcapng")
    with PcapngWriter(path) as writer:
        writer.write(RAW, 7, b"a", 1)
        writer.write(ETHERNET, 8, b"b", 2)
        writer.write(RAW, -1, b"c", 3)
    with open_capture(path) as capture:
        packets = [(record.interface, record.time_ns, bytes(data), record.length) for record, data in capture]
        assert packets == [(0, 7, b"a", 1), (1, 8, b"b", 2), (0, 0, b"c", 3)]
        assert capture.interfaces == [RAW, replace(ETHERNET, ticks_per_second=10**9, offset_seconds=0)]


def test_a_capture_has_its_name_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "out.pcap"
    path.write_bytes(b"what was there")
    with PcapWriter(str(path), ETHERNET) as writer:
        writer.write(*PACKETS[0])
        assert path.read_bytes() == b"what was there"
    assert path.stat().st_size == 24 + 16 + 60
    assert os.listdir(tmp_path) == ["out.pcap"]


def test_a_capture_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        with PcapWriter(str(path), ETHERNET) as writer:
            writer.write(*PACKETS[0])
            raise KeyboardInterrupt

    (tmp_path / "old.pcap").write_bytes(b"what was there")
    for name in ("new.pcap", "old.pcap"):
        with pytest.raises(KeyboardInterrupt):
            fail(tmp_path / name)
    assert os.listdir(tmp_path) == ["old.pcap"]
    assert (tmp_path / "old.pcap").read_bytes() == b"what was there"


def test_the_mode_is_the_users(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        PcapWriter(str(tmp_path / "out.pcap"), ETHERNET).commit()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.pcap").stat().st_mode) == 0o640


def test_thousands_at_once_in_little_memory_and_few_descriptors(tmp_path: Path) -> None:
    budget = Budget(limit=100_000)
    writers = [PcapWriter(str(tmp_path / f"{number}.pcap"), ETHERNET, budget) for number in range(1100)]
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(3):
        for writer in writers:
            writer.write(*PACKETS[0])
            assert budget.spent <= budget.limit
    if before:
        assert len(os.listdir("/proc/self/fd")) == before
    for writer in writers:
        writer.commit()
    assert budget.spent == 0
    assert {path.stat().st_size for path in tmp_path.iterdir()} == {24 + 3 * 76}
    assert len(os.listdir(tmp_path)) == 1100


CANNOT_WRITE = [
    ("", "it is a directory"),
    ("nowhere/out.pcap", "No such file or directory"),
    ("x" * 250, "File name too long"),
]


@pytest.mark.parametrize(("name", "reason"), CANNOT_WRITE)
def test_what_cannot_be_written(tmp_path: Path, name: str, reason: str) -> None:
    path = f"{tmp_path}/{name}".rstrip("/")
    with pytest.raises(CaptureError) as caught:
        PcapWriter(path, ETHERNET)
    assert str(caught.value) == f"{path}: cannot be written: {reason}"
    assert os.listdir(tmp_path) == []


def test_a_disk_that_is_full_is_told(tmp_path: Path) -> None:
    """The limit on a file's size stands in for the disk; nothing of the capture stays."""
    program = f"""
        import resource
        from clsbpf.capture import Interface, PcapWriter
        from clsbpf.errors import CaptureError
        writer = PcapWriter({str(tmp_path / "out.pcap")!r}, Interface(1))
        writer.write(0, bytes(1000), 1000)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            writer.commit()
        except CaptureError as error:
            print(error)
    """
    pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{tmp_path}/out.pcap: cannot be written: File too large\n"
    assert os.listdir(tmp_path) == []
