"""The interpreter and the machine code agree, and hostile programs only ever fault."""

from __future__ import annotations

from random import Random

from classic_programs import likely_valid
from clsbpf.bpf.check import check
from clsbpf.bpf.insn import Insn, decode, encode
from clsbpf.errors import BytecodeError, ProgramFault
from clsbpf.profile import PROFILES, V4_13
from clsbpf.skb import Skb, receive
from clsbpf.verifier.program import VerifiedProgram
from clsbpf.vm.interp import run
from ebpf_programs import random_program
from frames import frame
from running import NativePrograms, bless, interpreted, outcome


def random_skb(random: Random) -> Skb:
    """A packet with any metadata: sent or received, wholly captured or not, perhaps empty."""
    sent = frame(random, random.choice((b"\xff" * 6, bytes((2, 0, 0, 0, 0, 7)))))
    captured = sent[: random.randrange(len(sent) + 1)] if random.random() < 0.4 else sent
    skb = receive(captured, length=len(sent)) if random.random() < 0.5 else None
    if skb is None:
        skb = Skb.from_frame(captured, length=len(sent))
    else:
        skb.push(skb.mac_len)
    for name in ("mark", "priority", "hash", "ifindex"):
        setattr(skb, name, random.choice((0, 1, 0xFFFFFFFF, random.getrandbits(32))))
    skb.queue_mapping = random.getrandbits(16)
    skb.cb[:] = [random.getrandbits(32) for _ in range(5)]
    return skb


def assert_agree(programs: list[VerifiedProgram], profile_name: str, skbs: list[Skb]) -> None:
    profile = PROFILES[profile_name]
    native = NativePrograms(programs, profile)
    for at, program in enumerate(programs):
        for skb in skbs:
            expected = interpreted(program.insns, skb, profile)
            assert outcome(lambda s, e: native.run(at, s, e), skb) == expected, program.insns  # noqa: B023


def test_random_ebpf() -> None:
    """For any eBPF program and packet, both give the same r0, packet, metadata and random numbers."""
    random = Random(10)
    programs = [bless(random_program(random)) for _ in range(150)]
    assert_agree(programs, "current", [random_skb(random) for _ in range(4)])


def test_random_ebpf_of_an_old_kernel() -> None:
    """The same where a division by zero ends the program."""
    random = Random(11)
    programs = [bless(random_program(random)) for _ in range(60)]
    assert_agree(programs, V4_13.name, [random_skb(random) for _ in range(2)])


def test_random_classic() -> None:
    """The same of any valid classic program, under both profiles."""
    random = Random(12)
    for profile in PROFILES.values():
        programs: list[VerifiedProgram] = []
        while len(programs) < 100:
            try:
                checked = check(likely_valid(random), profile)
            except BytecodeError:
                continue
            programs.append(VerifiedProgram.from_classic(checked, profile))
        assert_agree(programs, profile.name, [random_skb(random) for _ in range(6)])


def mangled(random: Random) -> tuple[Insn, ...]:
    """A good program with some bytes changed, or only noise."""
    raw = bytearray(random.randbytes(8 * random.randrange(8)))
    if random.random() < 0.8:
        raw = bytearray(encode(random_program(random, 15)))
    for _ in range(random.randint(1, 6)):
        if raw:
            raw[random.randrange(len(raw))] = random.choice((random.randrange(256), 0x85, 0x95, 0x61, 0x7B))
    return decode(bytes(raw))


def test_hostile_programs_fault() -> None:
    """Whatever the instructions, the interpreter returns 32 bits or raises ProgramFault, soon."""
    random = Random(13)
    skb = Skb.from_frame(bytes(64))
    ran = faulted = 0
    for _ in range(4000):
        insns = mangled(random)
        try:
            assert 0 <= run(insns, skb, step_limit=500) <= 0xFFFFFFFF
            ran += 1
        except ProgramFault:
            faulted += 1
    assert min(ran, faulted) > 400, "both happen"
