"""Helpers against the kernel's: the same calls on the same packets do the same, and say the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import pytest

from clsbpf.bpf.context import BY_NAME
from clsbpf.bpf.insn import Insn
from clsbpf.bpf.spec import ProgramSpec
from clsbpf.kernel.bpf import prog_load, prog_test_run
from clsbpf.link import ETHERNET
from clsbpf.skb import Skb
from clsbpf.verifier.verify import verify
from clsbpf.vm.environment import Environment
from clsbpf.vm.interp import run
from clsbpf.vm.link import link
from clsbpf.vm.native_program import native_of
from helper_programs import MAKERS, RESIZE, Call, packet, program
from judges import need_kernel

PACKET_OTHERHOST = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """What a run shows: r0, the packet, fields of the context."""

    retval: int
    packet: bytes
    fields: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Given:
    """The packet, and what is set of its metadata."""

    frame: bytes
    mark: int = 0
    tstamp: int = 0
    gso_size: int = 0
    gso_segs: int = 0

    def context(self) -> bytes:
        made = bytearray(192)
        for name in ("mark", "tstamp", "gso_size", "gso_segs"):
            field = BY_NAME[name]
            value = getattr(self, name)
            made[field.offset : field.end] = value.to_bytes(field.size, "little")
        return bytes(made)


# What BPF_PROG_TEST_RUN gives back of the context, and a program or helper may change.
SEEN = ("mark", "priority", "cb", "tstamp", "gso_segs")


def kernel(insns: tuple[Insn, ...], given: Given) -> Seen:
    fd = prog_load(insns)
    try:
        result = prog_test_run(fd, given.frame, context=given.context(), room=80000)
    finally:
        os.close(fd)
    fields = [BY_NAME[name] for name in SEEN]
    return Seen(result.retval, result.packet, tuple(result.context[f.offset : f.end] for f in fields))


def machine_code(insns: tuple[Insn, ...]) -> Callable[[Skb], int]:
    """What runs the program compiled."""
    spec = ProgramSpec("helpers", insns=insns, license="GPL")
    native = native_of(link(spec, {}, verify(spec)))
    return lambda skb: native.run(skb, Environment())


def interpreter(insns: tuple[Insn, ...]) -> Callable[[Skb], int]:
    """What interprets it."""
    return lambda skb: run(insns, skb, environment=Environment())


def ours(execute: Callable[[Skb], int], given: Given) -> Seen:
    skb = Skb.from_frame(given.frame)
    skb.protocol = ETHERNET.protocol(given.frame)
    skb.pkt_type = 2 if given.frame[0] & 1 else PACKET_OTHERHOST
    for name in ("mark", "tstamp", "gso_size", "gso_segs"):
        setattr(skb, name, getattr(given, name))
    retval = execute(skb)
    fields: list[bytes] = []
    for name in SEEN:
        value = getattr(skb, name)
        size = BY_NAME[name].size
        words = b"".join(word.to_bytes(4, "little") for word in value) if name == "cb" else None
        fields.append(words if words is not None else value.to_bytes(size, "little"))
    return Seen(retval, skb.packet, tuple(fields))


def compare(random: Random, calls: list[Call], *, compiled: bool = False) -> None:
    frame = packet(random)
    given = Given(frame)
    if random.random() < 0.4:
        size = random.choice((0, 0, 100, 1448))
        given = Given(frame, 7, random.choice((0, 5 << 32)), size, random.randrange(4) if size else 0)
    insns = program(random, calls)
    expected = kernel(insns, given)
    assert ours(interpreter(insns), given) == expected, (calls, given)
    if compiled:
        assert ours(machine_code(insns), given) == expected, (calls, given)


@pytest.mark.parametrize("name", MAKERS)
def test_random_arguments(name: str) -> None:
    """For any arguments and any packet a helper does what the kernel's does."""
    need_kernel()
    random = Random(name)
    for number in range(60):
        compare(random, [MAKERS[name](random)], compiled=number < 2)


TEST_RUN_HEADROOM = 64


def growth(call: Call) -> int:
    """How much headroom a call may take, at most."""
    if call.helper in ("skb_change_head", "skb_adjust_room"):
        asked = call.arguments[1]
        assert isinstance(asked, int)
        return max(asked, 0)
    return {"skb_change_proto": 20, "skb_vlan_push": 4}.get(call.helper, 0)


def test_random_sequences() -> None:
    """A packet that helpers have changed is to the next helper what the kernel's is.

    But for one thing: a kernel that runs out of headroom moves the packet and in doing so takes a
    transport header that was never set for a set one, somewhere; change_tail will not cut that off.
    """
    need_kernel()
    random = Random(11)
    for _ in range(600):
        calls: list[Call] = []
        for _ in range(random.randint(2, 5)):
            name = random.choice(RESIZE if random.random() < 0.7 else list(MAKERS))
            taken = sum(growth(call) for call in calls)
            if name != "skb_change_tail" or taken <= TEST_RUN_HEADROOM:
                calls.append(MAKERS[name](random))
        compare(random, calls)
