"""Helpers against the kernel's: the same calls on the same packets do the same, and say the same."""

from __future__ import annotations

import os
from dataclasses import dataclass
from random import Random

import pytest

from clsbpf.bpf.insn import Insn
from clsbpf.kernel.bpf import prog_load, prog_test_run
from clsbpf.link import ETHERNET
from clsbpf.skb import Skb
from clsbpf.vm.environment import Environment
from clsbpf.vm.interp import run
from helper_programs import MAKERS, RESIZE, Call, packet, program
from judges import need_kernel

CB = slice(48, 68)
PACKET_OTHERHOST = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """What a run shows: r0, the packet, cb."""

    retval: int
    packet: bytes
    cb: bytes


def kernel(insns: tuple[Insn, ...], frame: bytes) -> Seen:
    fd = prog_load(insns)
    try:
        result = prog_test_run(fd, frame, room=20000)
    finally:
        os.close(fd)
    return Seen(result.retval, result.packet, result.context[CB])


def ours(insns: tuple[Insn, ...], frame: bytes) -> Seen:
    skb = Skb.from_frame(frame)
    skb.protocol = ETHERNET.protocol(frame)
    skb.pkt_type = 2 if frame[0] & 1 else PACKET_OTHERHOST
    retval = run(insns, skb, environment=Environment())
    return Seen(retval, skb.packet, b"".join(word.to_bytes(4, "little") for word in skb.cb))


def compare(random: Random, calls: list[Call]) -> None:
    frame = packet(random)
    insns = program(random, calls)
    assert ours(insns, frame) == kernel(insns, frame), (calls, frame.hex())


@pytest.mark.parametrize("name", MAKERS)
def test_random_arguments(name: str) -> None:
    """For any arguments and any packet a helper does what the kernel's does."""
    need_kernel()
    random = Random(name)
    for _ in range(60):
        compare(random, [MAKERS[name](random)])


def test_random_sequences() -> None:
    """A packet that helpers have changed is to the next helper what the kernel's is."""
    need_kernel()
    random = Random(11)
    for _ in range(600):
        names = [
            random.choice(RESIZE if random.random() < 0.7 else list(MAKERS))
            for _ in range(random.randint(2, 5))
        ]
        compare(random, [MAKERS[name](random) for name in names])
