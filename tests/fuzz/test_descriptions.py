"""What a program is said to match is what it matches.

Invariant: a description that is a tcpdump expression, compiled again, matches the packets that the
program matches, of those that hold all the bytes that either reads.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

from clsbpf.bpf.check import check
from clsbpf.bpf.classic import CheckedClassic
from clsbpf.bpf.describe import describe, forget_texts
from clsbpf.bpf.isa import Class, Jmp, class_of
from clsbpf.bpf.paths import TooMany, paths
from clsbpf.errors import BytecodeError, ClsbpfError
from clsbpf.expression import compile_expression
from clsbpf.skb import Skb
from frames import frame
from judges import need_libpcap
from path_meaning import result_of, steered

ETHERNET = 1
PRIMITIVES = """
ip; ip6; arp; tcp; udp; icmp; icmp6; ip proto 47; ip6 proto 6; host 10.0.0.1; src 10.0.0.1; dst 10.0.0.2;
net 10.0.0.0/8; src net 10.0.0.0/24; host 2001:db8::1; net 2001:db8::/32; src net 2001:db8::/48; port 80;
src port 80; dst port 443; tcp port 80; udp dst port 53; portrange 80-90; tcp src portrange 1-1023;
ether host 02:00:00:00:00:01; ether dst ff:ff:ff:ff:ff:ff; ether multicast; vlan; vlan 10; len > 100;
ip[6:2] & 0x1fff != 0; ip[8] < 5; tcp[13] & 2 != 0; udp[4:2] > 20; icmp[0] = 8; ip6[6] = 44; ether[20] = 3
""".replace("\n", " ").split(";")


def expression(random: Random, depth: int = 0) -> str:
    """A random expression of a few primitives."""
    kind = random.random()
    if depth > 2 or kind < 0.35:
        return random.choice(PRIMITIVES).strip()
    if kind < 0.5:
        return f"not ({expression(random, depth + 1)})"
    operator = random.choice(("and", "and", "or"))
    return f"({expression(random, depth + 1)}) {operator} ({expression(random, depth + 1)})"


def altered(random: Random, program: CheckedClassic) -> CheckedClassic:
    """The program with one or two jumps or constants changed: close to what has a name."""
    while True:
        insns = list(program.insns)
        for _ in range(random.randint(1, 2)):
            at = random.randrange(len(insns))
            i = insns[at]
            if class_of(i.code) == Class.JMP:
                other = random.choice(insns)
                insns[at] = random.choice(
                    (
                        replace(i, jt=i.jf, jf=i.jt),
                        replace(i, jt=random.randint(0, 6)),
                        replace(i, jf=random.randint(0, 6)),
                        replace(i, k=other.k),
                        replace(i, code=Class.JMP | random.choice((Jmp.JEQ, Jmp.JGT, Jmp.JGE, Jmp.JSET))),
                    )
                )
            elif class_of(i.code) == Class.LD:
                insns[at] = replace(i, k=(i.k + random.choice((-4, -2, 2, 4))) & 0xFF)
        try:
            return check(insns)
        except BytecodeError:
            continue


def assert_same(random: Random, one: CheckedClassic, other: CheckedClassic, text: str) -> Counter[bool]:
    """Both match the same packets, whole and made to pass most tests of a path of either."""
    known = [each for each in (paths(one), paths(other)) if not isinstance(each, TooMany) and each]
    seen: Counter[bool] = Counter()
    for _ in range(12):
        data = frame(random, random.choice((b"\xff" * 6, bytes((2, 0, 0, 0, 0, 1))))).ljust(400, b"\0")
        if known and random.random() < 0.9:
            data = steered(random, data, random.choice(known))
        skb = Skb.from_frame(data)
        results = [result_of(each, skb) != 0 for each in (one, other)]
        assert results[0] == results[1], (one.insns, text, data.hex())
        seen[results[0]] += 1
    return seen


def assert_said_is_meant(random: Random, program: CheckedClassic) -> Counter[str]:
    described = describe(program)
    if described is None:
        return Counter({"nothing to say": 1})
    if not described.is_expression:
        return Counter({"no expression": 1})
    said = check(compile_expression(described.text, ETHERNET))
    seen = assert_same(random, program, said, described.text)
    return Counter({"said": 1, "matched": seen[True], "not matched": seen[False]})


def test_expressions() -> None:
    """The invariant for what libpcap makes of random expressions."""
    need_libpcap()
    random = Random(41)
    seen: Counter[str] = Counter()
    for _ in range(COUNT):
        try:
            program = check(compile_expression(expression(random), ETHERNET))
        except ClsbpfError:  # "expression rejects all packets"
            continue
        seen += assert_said_is_meant(random, program)
    assert seen["said"] > COUNT // 3, seen
    assert min(seen["matched"], seen["not matched"]) > COUNT, seen


def test_altered_programs() -> None:
    """The same of programs that almost test what has a name."""
    need_libpcap()
    random = Random(42)
    seen: Counter[str] = Counter()
    for _ in range(COUNT):
        try:
            program = check(compile_expression(expression(random, 1), ETHERNET))
        except ClsbpfError:
            continue
        seen += assert_said_is_meant(random, altered(random, program))
    assert seen["said"] > COUNT // 3, seen
    assert min(seen["matched"], seen["not matched"]) > COUNT, seen


NUMBERS = (0, 1, 6, 17, 44, 80, 132, 443, 2048, 8191)
SHAPES = """
host {a} and port {p}; udp port {p}; tcp port {p}; src {a} and not port {p}; tcp and not port {p};
host {a} and host {b}; host {a} and port ({p} or {q}); src port {p} and dst port {q}; proto {p};
net {a} or tcp dst port {p}; vlan {p} and src {a}; portrange {p}-{q}; ip[2:2] = {p} and src {a};
port {p} and not src port {q}; host 2001:db8::{p} and port {q}; tcp port {p} or udp port {q};
src {a} and ip[12:4] > {p}; tcp[2:2] > {p} and dst port {q}; icmp[0] = {p} and host {a}
""".replace("\n", " ").split(";")


def test_texts_by_shape() -> None:
    """What a program is said to match does not depend on which programs of its shape came before."""
    need_libpcap()
    random = Random(43)
    programs: list[CheckedClassic] = []
    for _ in range(COUNT):
        p, q, a, b = (random.choice(NUMBERS) for _ in range(4))
        addresses = {"a": f"0.0.{a >> 8}.{a & 255}", "b": f"0.0.{b >> 8}.{b & 255}"}
        try:
            text = random.choice(SHAPES).format(p=p, q=q, **addresses)
            programs.append(check(compile_expression(text, ETHERNET)))
        except ClsbpfError:  # "expression rejects all packets", a range that ends before it begins
            continue
    assert len(programs) > COUNT // 2
    alone = []
    for program in programs:
        forget_texts()
        alone.append(describe(program))
    forget_texts()
    assert [describe(program) for program in programs] == alone


COUNT = 200
