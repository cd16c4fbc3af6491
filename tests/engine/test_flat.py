"""Programs that are written down without a jump decide what they decide one instruction after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from clsbpf.bpf import classic as c
from clsbpf.bpf.check import check
from clsbpf.bpf.classic import SockFilter
from clsbpf.bpf.isa import Alu, Jmp, Size
from clsbpf.capture.record import SLACK
from clsbpf.engine.flat import flat_classify
from clsbpf.engine.planned import FEW_INSNS, planned_filters
from clsbpf.engine.plans import Setup
from clsbpf.engine.programs import Backend, ProgramTable
from clsbpf.engine.run import run
from clsbpf.engine.view import View
from clsbpf.errors import BytecodeError
from clsbpf.link import link_layer
from clsbpf.tc.chain import Block
from clsbpf.vm.straight import straight
from run_cases import DIRECT, ETH_P_ALL, IP, SKIP_SW, add, counts, pcap, random_packets
from tc_fakes import Driver

OPERATIONS = (Alu.ADD, Alu.SUB, Alu.MUL, Alu.AND, Alu.OR, Alu.XOR, Alu.LSH, Alu.RSH)
RETURNED = (0xFFFFFFFF, 0xFFFFFFFF, 0, 1, 2, 7, 0x10007)
ETHERNET = View(link_layer(1), at_ingress=True)


def step(random: Random, after: int, written: set[int]) -> Iterator[SockFilter]:
    """An instruction with `after` behind it, or two."""
    small = random.choice((0, 1, 6, 8, 14, 15, 17, 60, 0x800, 0x86DD, 443))
    match random.randrange(9):
        case 0 | 1 | 2:
            yield c.ld_abs(random.choice((Size.B, Size.H, Size.W)), random.choice((12, 14, 23, 20, 54, 70)))
        case 3:
            yield c.ldx_msh(random.choice((14, 3)))
            yield c.ld_ind(random.choice((Size.B, Size.H, Size.W)), random.choice((0, 14, 16)))
        case 4:
            yield random.choice(
                (c.ld_len(), c.ldx_len(), c.ld_imm(small), c.ldx_imm(small), c.tax(), c.txa())
            )
        case 5:
            operation = random.choice(OPERATIONS)
            k = small % 32 if operation in (Alu.LSH, Alu.RSH) else small
            yield random.choice((c.alu_x(operation), c.alu_k(operation, k), c.neg()))
        case 6:
            word = random.randrange(4)
            if word in written:
                yield random.choice((c.ld_mem, c.ldx_mem))(word)
            else:
                written.add(word)
                yield random.choice((c.st, c.stx))(word)
        case _:
            far = random.randrange(after + 1)
            jt, jf = random.choice(((0, far), (far, 0), (far, far)))
            test = random.choice((Jmp.JEQ, Jmp.JGT, Jmp.JGE, Jmp.JSET))
            yield random.choice((c.jmp_k(test, small, jt, jf), c.jmp_x(test, jt, jf), c.ja(far)))


def random_program(random: Random, returned: tuple[int, ...] = RETURNED) -> tuple[SockFilter, ...]:
    count = random.randrange(1, 14)
    written: set[int] = set()
    insns = [each for word in range(2) for each in (c.st(word),)]
    written |= {0, 1}
    for number in range(count):
        insns += step(random, count - number, written if number < 3 else {0, 1})
    # Jumps are short of the last two, which return.
    insns += [c.ret_k(random.choice(returned)) for _ in range(3)]
    return tuple(insns)


def valid_program(random: Random, returned: tuple[int, ...]) -> tuple[SockFilter, ...]:
    while True:
        program = random_program(random, returned)
        try:
            check(program)
        except BytecodeError:  # reads a word of M[] that a jump kept from being written
            continue
        return program


@pytest.mark.parametrize("at_ingress", [True, False], ids=["ingress", "egress"])
@pytest.mark.parametrize("seed", range(8))
def test_blocks_decide_alike(seed: int, at_ingress: bool, tmp_path: Path) -> None:
    random = Random(seed * 2 + at_ingress)
    path = tmp_path / "some.pcap"
    path.write_bytes(pcap(random_packets(random, 400)))
    filters: list[tuple[Any, ...]] = []
    for prio in range(1, random.randrange(2, 5)):
        flags = random.choice((0, 0, DIRECT))
        program = valid_program(random, (0, 2, 7) if flags else RETURNED)
        filters.append((prio, program, random.choice((ETH_P_ALL, 0x0800, 0x86DD)), flags))

    def block(backend: Backend) -> Block:
        made = Block(ProgramTable(backend=backend))
        for prio, program, protocol, flags in filters:
            add(made, prio, program, protocol=protocol, flags=flags, classid=0x10000 + prio)
        return made

    def found(programs: Backend, backend: str) -> Any:
        setup = Setup(lambda link: block(programs), at_ingress=at_ingress)
        return counts(run([str(path)], setup, backend=backend))

    assert found(Backend.JIT, "native") == found(Backend.INTERPRETER, "interpreter")


def test_most_programs_are_written_straight() -> None:
    """Else the test before would say little."""
    random = Random(1)
    programs = [check(valid_program(random, RETURNED)) for _ in range(200)]
    assert sum(straight(program, "p") is not None for program in programs) > 120


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ((c.ld_abs(Size.W, SLACK - 3), c.ret_k(1)), "it looks too far"),
        ((c.ld_abs(Size.H, 0xFFFFF000), c.ret_k(1)), "an ancillary load"),
        ((c.ld_abs(Size.H, 0xFFF00000), c.ret_k(1)), "from the network header on"),
        ((c.ldx_imm(1 << 20), c.ld_ind(Size.B, 0), c.ret_k(1)), "an address far away"),
        ((c.ld_len(), c.tax(), c.ld_ind(Size.B, 0), c.ret_k(1)), "an address that was computed"),
        ((c.ld_len(), c.alu_k(Alu.DIV, 3), c.ret_k(1)), "a division"),
        ((c.ld_len(), c.ret_a()), "it returns what it computed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_left_to_the_ordinary_way(program: tuple[SockFilter, ...], why: str) -> None:
    assert straight(check(program), "p") is None


@pytest.mark.parametrize(
    ("program", "given"),
    [
        ((c.ret_k(9),), {"flags": DIRECT}),  # not a verdict: the next filter's turn
        ([c.ld_len()] * FEW_INSNS + [c.ret_k(1)], {}),  # too long
    ],
)
def test_blocks_that_are_left_to_the_ordinary_way(program: list[SockFilter], given: dict[str, int]) -> None:
    block = Block(ProgramTable())
    add(block, 1, IP)
    assert flat_classify(ETHERNET, list(planned_filters(block)))
    add(block, 2, program, **given)
    assert flat_classify(ETHERNET, list(planned_filters(block))) is None


def test_filters_that_no_packet_meets_are_no_obstacle() -> None:
    block = Block(ProgramTable(), driver=Driver())
    add(block, 1, IP)
    add(block, 2, [c.ld_len(), c.ret_a()], flags_gen=SKIP_SW)
    assert flat_classify(ETHERNET, list(planned_filters(block)))
