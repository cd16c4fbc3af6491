"""Running programs in tests: raw eBPF made runnable, and many programs compiled at once."""

from __future__ import annotations

import copy
import ctypes
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from clsbpf.bpf.insn import Insn
from clsbpf.bpf.isa import R1, R6, Class, class_of
from clsbpf.profile import CURRENT, KernelProfile
from clsbpf.skb import Skb
from clsbpf.verifier import program as verifier_program
from clsbpf.verifier.program import VerifiedProgram
from clsbpf.vm.environment import Environment
from clsbpf.vm.interp import run
from clsbpf.vm.jit import NativeModule, compile_module
from clsbpf.vm.lower import lower
from clsbpf.vm.native_skb import NativeSkb, fill, take_back
from clsbpf.vm.subset import module_ir


def bless(insns: Sequence[Insn], ctx_accesses: Iterable[int] | None = None) -> VerifiedProgram:
    """A VerifiedProgram of instructions that the test answers for.

    Unless `ctx_accesses` says, loads and stores through r1 and r6 are the ones of the context.
    """
    if ctx_accesses is None:
        ctx_accesses = (
            at
            for at, i in enumerate(insns)
            if (class_of(i.code) == Class.LDX and i.src in (R1, R6))
            or (class_of(i.code) in (Class.ST, Class.STX) and i.dst in (R1, R6))
        )
    return VerifiedProgram(tuple(insns), frozenset(ctx_accesses), "sched_cls", None, verifier_program._PROOF)


_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p)


class NativePrograms:
    """Many programs in one module: compiled in one go, as the plan does it."""

    def __init__(
        self, programs: Sequence[VerifiedProgram], profile: KernelProfile = CURRENT, optimize: int = 2
    ) -> None:
        lowered = [lower(program, f"program.{at}", profile=profile) for at, program in enumerate(programs)]
        needed = dict.fromkeys(subset for each in lowered for subset in each.calls)
        support = module_ir(needed, exported=False)
        declares = {line for each in lowered for line in each.declares if line not in support}
        definitions = [each.definition.replace("define internal", "define", 1) for each in lowered]
        names = [f"program.{at}" for at in range(len(programs))]
        text = "\n".join([*sorted(declares), support, *definitions])
        self._module: NativeModule = compile_module(text, names, optimize=optimize)
        self._functions = [_FUNCTION(self._module.address(name)) for name in names]

    def run(self, at: int, skb: Skb, environment: Environment) -> int:
        """r0 of program `at` on `skb`."""
        native = NativeSkb()
        fill(skb, native, environment.address)
        result = int(self._functions[at](ctypes.addressof(native)))
        take_back(native, skb)
        return result


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that a run can change: r0, the packet's buffer, the metadata, the random numbers."""

    result: int
    buffer: bytes
    fields: tuple[object, ...]
    random: int
    read_past: bool


def outcome(execute: Callable[[Skb, Environment], int], skb: Skb) -> Outcome:
    """Run on a copy of `skb` in an environment that is always the same."""
    skb = copy.deepcopy(skb)
    environment = Environment(seed=7, cpu=3, ktime_ns=1_000_000_007)
    result = execute(skb, environment)
    fields = tuple(getattr(skb, name) for name in Skb.__slots__ if name not in ("buffer", "cb"))
    return Outcome(
        result, bytes(skb.buffer), (*fields, tuple(skb.cb)), environment.native.random, skb.read_past
    )


def interpreted(insns: Sequence[Insn], skb: Skb, profile: KernelProfile = CURRENT) -> Outcome:
    """The outcome in the interpreter."""
    return outcome(lambda s, e: run(insns, s, profile=profile, environment=e), skb)
