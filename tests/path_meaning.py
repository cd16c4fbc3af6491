"""What a path says of a packet, as the interpreter has it.

The loads are made by programs of a few instructions that do nothing else; only the arithmetic and the
tests on them are done here.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from random import Random

from clsbpf.bpf import classic as c
from clsbpf.bpf.check import check
from clsbpf.bpf.classic import CheckedClassic, SockFilter
from clsbpf.bpf.conditions import Test
from clsbpf.bpf.isa import Alu, Jmp, Size
from clsbpf.bpf.paths import Path
from clsbpf.bpf.values import OPERATIONS, Binary, Constant, Greater, Length, Load, Metadata, Value
from clsbpf.profile import CURRENT, KernelProfile
from clsbpf.skb import Skb
from clsbpf.verifier.program import VerifiedProgram
from clsbpf.vm.environment import Environment
from clsbpf.vm.interp import run

SIZES = {1: Size.B, 2: Size.H, 4: Size.W}


def result_of(program: CheckedClassic, skb: Skb, profile: KernelProfile = CURRENT) -> int:
    """What a program returns; the environment is always the same."""
    environment = Environment(seed=7, cpu=3, ktime_ns=1_000_000_007)
    insns = VerifiedProgram.from_classic(program, profile).insns
    return run(insns, copy.copy(skb), profile=profile, environment=environment)


class Meaning:
    """One packet, and what values are for it."""

    def __init__(self, skb: Skb) -> None:
        self.skb = skb
        self._known: dict[Value, int] = {}
        self._inside: dict[Load, bool] = {}

    def holds(self, path: Path) -> bool:
        """Does all of the path hold?"""
        return (
            self.skb.captured >= path.needs
            and all(self.inside(each) for each in path.loads)
            and all(each.accepts(self.value(each.value)) for each in path.tests)
        )

    def inside(self, load: Load) -> bool:
        """Is what the load reads in the packet?"""
        if load not in self._inside:
            self._inside[load] = self._run([*self._load(load), c.ret_k(1)]) == 1
        return self._inside[load]

    def value(self, value: Value) -> int:
        if value not in self._known:
            self._known[value] = self._evaluate(value)
        return self._known[value]

    def _evaluate(self, value: Value) -> int:
        match value:
            case Constant(number):
                return number
            case Binary(op, left, right):
                return OPERATIONS[op](self.value(left), self.value(right))
            case Greater(left, right):
                return int(self.value(left) > self.value(right))
            case Length():
                return self._run([c.ld_len(), c.ret_a()])
            case Load():
                return self._run([*self._load(value), c.ret_a()])
            case Metadata():
                a = self.value(value.a) if value.a is not None else 0
                x = self.value(value.x) if value.x is not None else 0
                earlier = [c.ld_ad(value.what)] * value.nth
                return self._run([*earlier, c.ld_imm(a), c.ldx_imm(x), c.ld_ad(value.what), c.ret_a()])

    def _load(self, load: Load) -> list[SockFilter]:
        index = self.value(load.index) if load.index is not None else 0
        return [c.ldx_imm(index), c.ld_ind(SIZES[load.size], load.offset)]

    def _run(self, insns: Sequence[SockFilter]) -> int:
        return result_of(check(insns), self.skb)


def steered(random: Random, frame: bytes, known: Sequence[Path]) -> bytes:
    """The frame made to pass some of a path's tests: their constants are where they are compared."""
    data = bytearray(frame)
    path = random.choice(known)
    for test in path.tests:
        if random.random() < 0.93:
            _write(random, data, test.value, test)
    return bytes(data)


def _write(random: Random, data: bytearray, value: Value, test: Test) -> None:
    number = test.constant + random.choice((0, 0, 0, 0, 0, 1, -1))
    if isinstance(value, Binary) and value.op is Alu.AND and isinstance(value.right, Constant):
        value, number = value.left, number | random.getrandbits(32) & ~value.right.value
    if not isinstance(value, Load) or (test.op is Jmp.JEQ and not test.holds and random.random() < 0.7):
        return
    if test.op is Jmp.JSET and not test.holds:
        number = 0
    if test.op in (Jmp.JGT, Jmp.JGE) and random.random() < 0.5:
        number = random.getrandbits(16)
    index = 0 if value.index is None else Meaning(Skb.from_frame(bytes(data))).value(value.index)
    start = index + value.offset
    if start + value.size <= len(data):
        data[start : start + value.size] = (number & (1 << 8 * value.size) - 1).to_bytes(value.size, "big")
