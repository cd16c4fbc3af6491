"""The bpf(2) client on the real kernel."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.tag import program_tag
from clsbpf.errors import ClsbpfError, VerifierError
from clsbpf.kernel.bpf import ProgType, prog_info, prog_load, prog_test_run
from clsbpf.profile import CURRENT
from judges import need_kernel


@pytest.fixture(autouse=True)
def _on_a_kernel() -> None:
    need_kernel()


@pytest.fixture
def mark_reader() -> Iterator[int]:
    fd = prog_load(assemble("r0 = *(u32 *)(r1 + 8)\n*(u32 *)(r1 + 8) = 9\nexit"), name="mark_reader")
    yield fd
    os.close(fd)


def test_a_program_is_loaded_and_described(mark_reader: int) -> None:
    info = prog_info(mark_reader)
    assert (info.type, info.name) == (ProgType.SCHED_CLS, "mark_reader")
    assert info.tag == program_tag(assemble("r0 = *(u32 *)(r1 + 8)\n*(u32 *)(r1 + 8) = 9\nexit"), CURRENT)


def test_a_run_takes_a_context_and_gives_it_back(mark_reader: int) -> None:
    context = bytes(8) + (0x1234).to_bytes(4, "little") + bytes(180)
    run = prog_test_run(mark_reader, bytes(range(60)), context=context)
    assert run.retval == 0x1234
    assert run.packet == bytes(range(60))
    assert run.context[8:12] == b"\x09\x00\x00\x00"


def test_a_refused_program_comes_with_the_log() -> None:
    with pytest.raises(VerifierError, match="the kernel refused the program") as refused:
        prog_load(assemble("exit"))
    assert "R0 !read_ok" in refused.value.log
    assert refused.value.errno == errno.EACCES


def test_a_packet_too_short_is_refused(mark_reader: int) -> None:
    with pytest.raises(ClsbpfError, match="refused to run the program") as refused:
        prog_test_run(mark_reader, bytes(5))
    assert refused.value.errno == errno.EINVAL


def test_a_descriptor_of_something_else(mark_reader: int) -> None:
    with pytest.raises(ClsbpfError) as refused:
        prog_info(0)
    assert refused.value.errno in (errno.EINVAL, errno.EBADF, errno.EBADFD)
