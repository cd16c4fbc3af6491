"""Helper bodies: the same in the interpreter and as machine code, by what they ask of the environment."""

from __future__ import annotations

from clsbpf.bpf import classic
from clsbpf.bpf.asm import assemble
from clsbpf.bpf.helpers import BY_NUMBER
from clsbpf.skb import Skb
from clsbpf.vm.environment import Environment
from clsbpf.vm.helpers import BODIES
from clsbpf.vm.interp import run
from clsbpf.vm.packet import SKF_LL_OFF, SKF_NET_OFF
from clsbpf.vm.subset import record_of
from running import NativePrograms, bless

SPLITMIX64_OF_1234567 = (6457827717110365317, 3203168211198807973, 9817491932198370423)
"""The first numbers of SplitMix64 seeded with 1234567, as published with the generator."""


def both(text: str, environment: Environment) -> int:
    """r0 in both backends, which agree, in two environments that begin alike."""
    native_environment = Environment(seed=environment.native.random, cpu=environment.native.cpu)
    native_environment.native.ktime_ns = environment.native.ktime_ns
    program = bless(assemble(text))
    native = NativePrograms([program]).run(0, Skb.from_frame(bytes(64)), native_environment)
    result = run(program.insns, Skb.from_frame(bytes(64)), environment=environment)
    assert result == native
    assert bytes(environment.native) == bytes(native_environment.native)
    return result


def test_the_clock_is_the_environments() -> None:
    text = "call bpf_ktime_get_ns\nr0 >>= 16\nexit"
    assert both(text, Environment(ktime_ns=0x123456789ABC)) == 0x12345678


def test_the_processor_is_the_environments() -> None:
    assert both("call bpf_get_smp_processor_id\nexit", Environment(cpu=5)) == 5


def test_random_numbers_are_splitmix() -> None:
    environment = Environment(seed=1234567)
    numbers = [both("call bpf_get_prandom_u32\nexit", environment) for _ in range(3)]
    assert numbers == [number >> 32 for number in SPLITMIX64_OF_1234567]


def test_every_body_has_a_prototype_and_takes_its_registers() -> None:
    for number, body in BODIES.items():
        assert number in BY_NUMBER
        assert len(record_of(body.function).parameters) == 1 + len(body.registers)


def test_header_offsets_are_the_models() -> None:
    """As signed numbers here, unsigned in bpf/classic.py."""
    assert (classic.SKF_NET_OFF, classic.SKF_LL_OFF) == (SKF_NET_OFF & classic.U32, SKF_LL_OFF & classic.U32)
