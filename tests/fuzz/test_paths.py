"""A program's paths say of every packet what the program does.

Invariant: the program returns something other than 0 if and only if all of one path holds; then exactly
one path does, and it names what is returned.
"""

from __future__ import annotations

import pathlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random

import pytest

from classic_programs import likely_valid
from clsbpf.bpf import classic as c
from clsbpf.bpf.check import check
from clsbpf.bpf.classic import CheckedClassic, SockFilter
from clsbpf.bpf.isa import Alu, Jmp, Size
from clsbpf.bpf.paths import Path, TooMany, exact_outlines, fill_in, outlines, paths, shape_of
from clsbpf.capture import open_capture
from clsbpf.errors import BytecodeError
from clsbpf.expression import compile_expression
from clsbpf.profile import PROFILES
from clsbpf.skb import Skb, receive
from frames import frame
from judges import need_libpcap
from path_meaning import Meaning, result_of

OUR_ADDRESS = bytes((2, 0, 0, 0, 0, 7))


def any_skb(random: Random) -> Skb:
    """A packet with any metadata: sent or received, wholly captured or not."""
    sent = frame(random, random.choice((b"\xff" * 6, OUR_ADDRESS)))
    captured = sent[: random.randrange(len(sent) + 1)] if random.random() < 0.3 else sent
    skb = receive(captured, length=len(sent)) if random.random() < 0.5 else None
    if skb is None:
        skb = Skb.from_frame(captured, length=len(sent))
    else:
        skb.push(skb.mac_len)
    for name in ("mark", "hash", "ifindex"):
        setattr(skb, name, random.choice((0, 1, 0xFFFFFFFF, random.getrandbits(32))))
    return skb


def assert_paths_are_the_program(
    program: CheckedClassic, skbs: Iterable[Skb], profile_name: str = "current", limit: int = 256
) -> Counter[str]:
    """The invariant; what was seen is counted."""
    profile = PROFILES[profile_name]
    known = paths(program, profile, limit)
    seen: Counter[str] = Counter()
    if isinstance(known, TooMany):
        return Counter({"too many": 1})
    for skb in skbs:
        result = result_of(program, skb, profile)
        meaning = Meaning(skb)
        holding = [path for path in known if meaning.holds(path)]
        assert len(holding) == (result != 0), (program.insns, skb.packet, holding)
        for path in holding:
            returned = path.returned
            assert result == (returned if isinstance(returned, int) else meaning.value(returned))
        seen["matched" if holding else "not matched"] += 1
    return seen


def checked(random: Random, make: Callable[[Random], list[SockFilter]]) -> CheckedClassic:
    while True:
        try:
            return check(make(random))
        except BytecodeError:
            continue


@pytest.mark.parametrize("profile", PROFILES)
def test_any_program(profile: str) -> None:
    random = Random(21)
    seen: Counter[str] = Counter()
    for _ in range(500):
        skbs = [any_skb(random) for _ in range(6)]
        seen += assert_paths_are_the_program(checked(random, likely_valid), skbs, profile)
    assert min(seen["matched"], seen["not matched"]) > 500, seen


def decision_puzzle(random: Random) -> list[SockFilter]:
    """Many tests of few bytes against few constants: what contradicts what."""
    length = random.randint(4, 24)
    program: list[SockFilter] = [c.ld_abs(Size.B, 0), c.st(0), c.ldx_imm(random.randrange(5))]
    for at in range(length):
        after = length - at
        kind = random.random()
        reach = min(after - 1, 4)
        if kind < 0.2:
            program.append(c.ld_abs(random.choice((Size.B, Size.B, Size.H)), random.randrange(3)))
        elif kind < 0.25:
            program.append(random.choice((c.tax(), c.txa(), c.st(0), c.ld_mem(0), c.ld_imm(2), c.ldx_mem(0))))
        elif kind < 0.35:
            op = random.choice((Alu.AND, Alu.ADD, Alu.SUB, Alu.DIV, Alu.MOD, Alu.RSH))
            k = random.randint(1, 5)
            program.append(c.alu_x(op) if random.random() < 0.3 else c.alu_k(op, k))
        elif kind < 0.42:
            program.append(random.choice((c.ret_a(), c.ret_k(0), c.ret_k(random.randint(1, 9)))))
        else:
            op = random.choice((Jmp.JEQ, Jmp.JEQ, Jmp.JGT, Jmp.JGE, Jmp.JSET))
            jt, jf = random.randint(0, reach), random.randint(0, reach)
            k = random.choice((0, 1, 2, 3, 4, 5, 0x100, 0x101, 0x10000))
            program.append(c.jmp_x(op, jt, jf) if random.random() < 0.15 else c.jmp_k(op, k, jt, jf))
    return [*program, c.ret_k(7)]


def test_contradictions() -> None:
    """The same where tests of one value follow each other; and no path is there that cannot be taken."""
    random = Random(22)
    packets = [bytes((a, b, d)) for a in range(7) for b in (0, 1, 3) for d in (0, 1, 2)]
    skbs = [Skb.from_frame(packet) for packet in packets]
    seen: Counter[str] = Counter()
    for _ in range(400):
        seen += assert_paths_are_the_program(checked(random, decision_puzzle), random.sample(skbs, 8))
    assert min(seen["matched"], seen["not matched"]) > 400, seen


EXPRESSIONS = (
    *("ip", "tcp", "icmp6", "arp", "vlan 42 and ip", "not ip", "greater 500", "ether broadcast"),
    *("port 53", "tcp port 443", "udp portrange 50-100", "not port 22 and not host 10.0.0.1"),
    *("net 10.0.0.0/8 and tcp dst port 80", "ip6 and not net 2001:db8::/32", "tcp and not port 443"),
    *("ip[6:2] & 0x1fff != 0", "tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn", "len / 2 > ip[0] * 4"),
    "host (10.0.0.1 or 10.0.0.2 or 10.0.0.3) and port (53 or 80 or 443)",
)
OFFICE = pathlib.Path(__file__).parents[2] / "examples" / "office.pcap"


def test_tcpdump_expressions() -> None:
    """The same of programs that libpcap makes, on real traffic."""
    need_libpcap()
    random = Random(23)
    with open_capture(str(OFFICE)) as capture:
        frames = [bytes(data) for _, data in capture]
    skbs = [Skb.from_frame(data) for data in random.sample(frames, 40)]
    skbs += [Skb.from_frame(data[: random.randrange(60)], length=len(data)) for data in frames[:10]]
    seen: Counter[str] = Counter()
    for text in EXPRESSIONS:
        program = check(compile_expression(text, 1))
        assert not isinstance(paths(program, limit=256), TooMany), text
        seen += assert_paths_are_the_program(program, skbs)
    assert min(seen["matched"], seen["not matched"]) > 100, seen


def test_a_divisor_of_zero() -> None:
    """The parts of a path may be looked at in any order: a load at `8 % X` where X is 0 does no harm."""
    index = [c.ld_abs(Size.B, 0), c.tax(), c.ld_imm(8), c.alu_x(Alu.MOD), c.tax()]
    program = check([*index, c.ld_ind(Size.B, 1), c.ret_k(1)])
    seen = assert_paths_are_the_program(program, [Skb.from_frame(bytes((n, 0, 0))) for n in range(6)])
    assert seen == {"matched": 3, "not matched": 3}


def test_names_and_numbers() -> None:
    """The paths found by a program's shape are those that are found with its constants known."""
    random = Random(24)
    more_precise = 0
    for _ in range(300):
        program = checked(random, decision_puzzle)
        by_shape = outlines(shape_of(program), False, 256)
        exact = exact_outlines(program, False, 256)
        if isinstance(by_shape, TooMany) or isinstance(exact, TooMany):
            continue
        more_precise += len(exact.paths) < len(by_shape.paths)
        ours, theirs = ({said(path) for path in fill_in(each, program)} for each in (by_shape, exact))
        assert ours == theirs
    assert more_precise > 20


def said(path: Path) -> tuple[object, ...]:
    """What a path says, in whatever order, and wherever the constants stand in the program."""
    return path.needs, path.loads, frozenset(replace(each, at=None) for each in path.tests), path.returned
