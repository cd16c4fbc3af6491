"""Hostile calls: whatever is in the registers, a helper answers or the program faults; nothing else happens.

Native memory is at stake, so this would end the process, not the test, if it did not hold.
"""

from __future__ import annotations

from random import Random

from clsbpf.bpf.helpers import HELPERS
from clsbpf.bpf.insn import Insn, alu64_imm, call, exit_, ld_imm64, ldx, mov64_imm, mov64_reg, program, stx
from clsbpf.bpf.isa import FP, R0, R1, R6, R7, R8, Alu, Class, Jmp, Pseudo, Size
from clsbpf.bpf.maps import MapType
from clsbpf.bpf.prototypes import KFUNC_PROTOTYPES, Arg, prototype_of
from clsbpf.bpf.spec import MapSpec
from clsbpf.errors import ProgramFault
from clsbpf.skb import Skb
from clsbpf.vm.helpers import BODIES, CONTROLLED, KFUNCS
from clsbpf.vm.interp import run
from clsbpf.vm.link import link_instructions
from clsbpf.vm.maps.map import Map

NUMBERS = (0, 1, 2, 4, 8, 14, 16, 20, 44, 64, 100, 511, 512, 513, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)
WIDE = (*NUMBERS, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 8, 0x7F0000000000)

SPECS = {
    1: MapSpec("hash", MapType.HASH, 8, 16, 4),
    2: MapSpec("array", MapType.ARRAY, 4, 64, 1),
    3: MapSpec("ring", MapType.RINGBUF, 0, 0, 4096),
    4: MapSpec("queue", MapType.QUEUE, 0, 8, 4),
    5: MapSpec("programs", MapType.PROG_ARRAY, 4, 4, 4),
    6: MapSpec("events", MapType.PERF_EVENT_ARRAY, 4, 4, 2),
    7: MapSpec("cpus", MapType.PERCPU_ARRAY, 4, 8, 2),
    8: MapSpec("trie", MapType.LPM_TRIE, 8, 8, 4, 1),
    9: MapSpec("bloom", MapType.BLOOM_FILTER, 0, 8, 4),
    10: MapSpec("cgroups", MapType.CGROUP_ARRAY, 4, 4, 2),
}

NAMES = tuple(KFUNCS)
NUMBERED = tuple(
    helper.number for helper in HELPERS if helper.number in BODIES or helper.number in CONTROLLED
)


def value(random: Random, register: int) -> tuple[Insn, ...]:
    """Something in a register."""
    kind = random.random()
    if kind < 0.15:
        return (mov64_reg(register, R6),)
    if kind < 0.4:
        at = -random.choice((8, 16, 64, 128, 256, 512, 4))
        return (mov64_reg(register, FP), alu64_imm(Alu.ADD, register, at))
    if kind < 0.55:
        return tuple(ld_imm64(register, random.choice(tuple(SPECS)), Pseudo.MAP_FD))
    if kind < 0.6:
        return tuple(ld_imm64(register, 2 | random.choice((0, 8, 60)) << 32, Pseudo.MAP_VALUE))
    if kind < 0.7:
        return (mov64_reg(register, random.choice((R7, R8))),)
    if kind < 0.75:
        return (ldx(Size.W, register, R6, random.choice((76, 80))),)
    if kind < 0.8:
        return tuple(ld_imm64(register, random.randrange(4), Pseudo.FUNC))
    if kind < 0.9:
        return (mov64_imm(register, random.choice(NUMBERS) & 0x7FFFFFFF),)
    return tuple(ld_imm64(register, random.choice(WIDE)))


def fitting(random: Random, register: int, kind: Arg) -> tuple[Insn, ...]:
    """Something that may well be what a helper wants."""
    if kind is Arg.CTX:
        return (mov64_reg(register, R6),)
    if kind is Arg.MAP:
        return tuple(ld_imm64(register, random.choice(tuple(SPECS)), Pseudo.MAP_FD))
    if kind is Arg.FUNC:
        return tuple(ld_imm64(register, random.randrange(4), Pseudo.FUNC))
    if kind in (Arg.SIZE, Arg.SIZE_OR_ZERO, Arg.RECORD_SIZE, Arg.ANY, Arg.CONST):
        return tuple(ld_imm64(register, random.choice(WIDE if kind is Arg.ANY else NUMBERS[:12])))
    if kind in (Arg.RECORD, Arg.SOCKET, Arg.SOCK_COMMON, Arg.LOCK, Arg.TIMER) and random.random() < 0.7:
        return (mov64_reg(register, random.choice((R7, R8))),)
    return (mov64_reg(register, FP), alu64_imm(Alu.ADD, register, -random.choice((64, 128, 256, 512))))


def hostile(random: Random) -> tuple[Insn, ...]:
    """Calls with anything; what one returns goes on to the next."""
    parts: list[Insn | tuple[Insn, ...]] = [mov64_reg(R6, R1), mov64_imm(R7, 0), mov64_imm(R8, 0)]
    for at in range(8, 513, 8):
        if random.random() < 0.5:
            parts += [value(random, R0), stx(Size.DW, FP, -at, R0)]
    for _ in range(random.randint(1, 6)):
        if random.random() < 0.3:
            name = random.choice(NAMES)
            made, prototype = Insn(Class.JMP | Jmp.CALL, src=2, imm=NAMES.index(name)), KFUNC_PROTOTYPES[name]
        else:
            number = random.choice(NUMBERED)
            made, prototype = call(number), prototype_of(number)
        assert prototype is not None
        for register, kind in enumerate((*prototype.arguments, *[Arg.ANY] * 5)[:5], 1):
            fits = random.random() < 0.93
            parts.append(fitting(random, register, kind) if fits else value(random, register))
        parts.append(made)
        parts.append(mov64_reg(random.choice((R7, R8)), R0))
    return program(*parts, mov64_imm(R0, 0), exit_())


def test_hostile_calls() -> None:
    random = Random(23)
    ran = faulted = 0
    for _ in range(3000):
        maps = {key: Map(spec, cpus=2) for key, spec in SPECS.items()}
        linked = link_instructions(hostile(random), maps, kfuncs=NAMES)
        try:
            run(linked, Skb.from_frame(random.randbytes(random.choice((0, 14, 60, 200)))), step_limit=5000)
            ran += 1
        except ProgramFault:
            faulted += 1
    assert ran > 300
    assert faulted > 1000
