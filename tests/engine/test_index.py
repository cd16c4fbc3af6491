"""Filters that are looked up decide what the same filters decide when they are tried one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from classic_programs import likely_valid
from clsbpf.api import FilterText, filters_setup
from clsbpf.bpf.bytecode import parse_bytecode
from clsbpf.bpf.check import check
from clsbpf.bpf.classic import SockFilter
from clsbpf.bpf.values import Load
from clsbpf.engine import classify_text
from clsbpf.engine import index as index_module
from clsbpf.engine.index import NONE, Group, build_index, build_table, hash_keys, pack_keys
from clsbpf.engine.planned import planned_filters
from clsbpf.engine.plans import Setup
from clsbpf.engine.programs import ProgramTable
from clsbpf.engine.run import run
from clsbpf.errors import BytecodeError
from clsbpf.expression import compile_expression
from clsbpf.link import ETHERNET
from clsbpf.profile import CURRENT, V4_13, KernelProfile
from clsbpf.tc.chain import Block
from judges import need_libpcap
from run_cases import DIRECT, ETH_P_ALL, IP, LENGTH, MATCH_ALL, SKIP_SW, add, counts, pcap, random_packets
from tc_fakes import Driver


@pytest.fixture(autouse=True)
def always_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where trying would be faster."""
    monkeypatch.setattr(index_module, "tries_are_faster", lambda *given: False)


OFFICE = Path(__file__).parents[2] / "examples" / "office.pcap"
SOMETIMES = "4,32 0 0 4294963256,37 0 1 2147483648,6 0 0 4294967295,6 0 0 0"
"""Matches for half of all random numbers."""


def address(random: Random) -> str:
    return f"10.{random.randrange(2)}.0.{random.randrange(6)}"


def port(random: Random) -> int:
    return random.choice((22, 53, 80, 443, 8080, 60000))


EXPRESSIONS = (
    lambda random: f"host {address(random)} and port {port(random)}",
    lambda random: f"src host {address(random)}",
    lambda random: f"tcp dst port {port(random)}",
    lambda random: f"udp port {port(random)} or icmp",
    lambda random: f"net 10.{random.randrange(3)}.0.0/16",
    lambda random: f"ether[{random.randrange(60)}] = {random.randrange(4)}",
    lambda random: f"ip[8] & {random.choice((1, 3, 0xF0))} = {random.choice((0, 1, 0x40))}",
    lambda random: f"not tcp and less {random.randrange(40, 200)}",
    lambda random: f"portrange {port(random)}-{port(random) + 9}",
    lambda random: f"len = {random.randrange(40, 90)}",
    lambda random: f"vlan {random.randrange(4)}",
)


def random_program(random: Random, profile: KernelProfile, *, narrow: bool) -> tuple[SockFilter, ...]:
    """`narrow`: one that leaves something to the filters after it."""
    kind = random.random()
    if kind < 0.7 or narrow:
        insns = list(compile_expression(random.choice(EXPRESSIONS)(random), ETHERNET.number))
        if random.random() < 0.2:
            returned = random.choice((0x10007, 2, 7, 99, 0xFFFFFFFE))
            insns = [
                each if each.code != 6 or not each.k else SockFilter(6, 0, 0, returned) for each in insns
            ]
        return tuple(insns)
    if kind < 0.8:
        return parse_bytecode(random.choice((MATCH_ALL, IP, LENGTH)))
    program = tuple(likely_valid(random))
    try:
        check(program, profile)
    except BytecodeError:
        return parse_bytecode(IP)
    return program


def random_policy(random: Random, profile: KernelProfile, size: int) -> Block:
    """Filters of few shapes with small numbers, so that many match; a late one of every kind."""
    block = Block(ProgramTable(profile=profile), profile=profile, driver=Driver())
    for _ in range(size):
        prio = random.randrange(1, 8)
        protocol = (ETH_P_ALL, 0x0800, ETH_P_ALL, 0x86DD, 0x8100, ETH_P_ALL, 0x0806, 0x0004)[prio % 8]
        options: dict[str, Any] = {
            "classid": random.choice((None, 0x10000 + prio, 0x20001)),
            "flags": DIRECT if random.random() < 0.1 and prio > 5 else 0,
            "flags_gen": SKIP_SW if random.random() < 0.05 else 0,
        }
        add(block, prio, random_program(random, profile, narrow=prio < 6), protocol=protocol, **options)
    return block


def sharpen(random: Random, packets: list[tuple[int, bytes, int]]) -> list[tuple[int, bytes, int]]:
    """IPv4 packets get the addresses and ports that filters ask for."""
    sharper = []
    for time, data, length in packets:
        changed = bytearray(data)
        if data[12:14] == b"\x08\x00" and len(data) >= 42 and random.random() < 0.9:
            for at in (26, 30):
                changed[at : at + 4] = bytes((10, random.randrange(2), 0, random.randrange(6)))
            for at in (34, 36):
                changed[at : at + 2] = port(random).to_bytes(2, "big")
        cut = random.choice((len(data), len(data), len(data), random.randrange(len(data) + 1)))
        sharper.append((time, bytes(changed[:cut]), length))
    return sharper


@pytest.mark.parametrize("at_ingress", [True, False], ids=["ingress", "egress"])
@pytest.mark.parametrize("seed", range(8))
def test_random_policies(
    seed: int, at_ingress: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For every policy and packet, lookup and trial give the same row, and count the same; and so does a
    trial that does not ask first of which kind the packet is."""
    need_libpcap()
    random = Random(seed)
    profile = V4_13 if seed % 4 == 3 else CURRENT
    path = tmp_path / "random.pcap"
    path.write_bytes(pcap(sharpen(random, random_packets(random, 400))))
    block = random_policy(random, profile, random.choice((30, 60, 120)))
    index = build_index(tuple(planned_filters(block)), profile)
    assert index is not None
    assert index.groups
    outcomes = []
    for way in ("looked up", "one by one", "one by one, whatever the packet"):
        if way == "one by one, whatever the packet":
            monkeypatch.setattr(classify_text, "kinds_of", lambda *given: None)
        setup = Setup(lambda link: block, at_ingress=at_ingress, profile=profile, linear=way != "looked up")
        results = run([str(path)], setup, columns=True)
        outcomes.append((counts(results), results.to_arrow()))
    assert outcomes[0] == outcomes[2]
    assert outcomes[1] == outcomes[2]
    assert len([each for each in outcomes[0][0][1] if each[4]]) >= 3, "hardly any filter decides anything"


def test_many_filters_on_real_traffic() -> None:
    need_libpcap()
    random = Random(1)
    filters = [FilterText("expression", random.choice(EXPRESSIONS[:6])(random)) for _ in range(200)]
    setup = filters_setup(filters, profile="current", backend="native")
    by_lookup, one_by_one = (
        run([str(OFFICE)], replace(setup, linear=linear), columns=True) for linear in (False, True)
    )
    assert counts(by_lookup) == counts(one_by_one)
    assert by_lookup.to_arrow() == one_by_one.to_arrow()


def test_random_numbers_are_drawn_as_often(tmp_path: Path) -> None:
    """A program that draws one runs exactly when it would have: later numbers depend on it."""
    need_libpcap()
    path = tmp_path / "random.pcap"
    random = Random(9)
    path.write_bytes(pcap(sharpen(random, random_packets(random, 300))))
    tables = []
    for linear in (False, True):
        block = Block(ProgramTable())
        again = Random(4)
        for prio in range(1, 60):
            program = compile_expression(EXPRESSIONS[0](again), ETHERNET.number)
            add(block, prio, SOMETIMES if prio % 20 == 0 else program)
        results = run([str(path)], Setup(lambda link, block=block: block, linear=linear), columns=True)
        assert [each.packets for each in results.filters if each.pref in (20, 40)] != [0, 0]
        tables.append(results.to_arrow())
    assert tables[0] == tables[1]


def test_ten_thousand_filters_of_a_shape_are_four_lookups() -> None:
    need_libpcap()
    block = Block(ProgramTable())
    shapes = [compile_expression(f"host 10.0.{n >> 8}.{n & 255} and port {n}", 1) for n in range(1, 3001)]
    for prio, program in enumerate(shapes, 1):
        add(block, prio, program)
    index = build_index(tuple(planned_filters(block)), CURRENT)
    assert index is not None
    assert len(index.groups) == 4
    assert len(index.templates) <= 5
    assert index.always == ()


@pytest.mark.parametrize(
    ("programs", "why"),
    [
        ([IP] * 5, "few are tried faster"),
        ([LENGTH] * 100, "nothing is demanded of any field"),
    ],
)
def test_no_index(programs: list[str], why: str) -> None:
    block = Block(ProgramTable())
    for prio, program in enumerate(programs, 1):
        add(block, prio, program)
    assert build_index(tuple(planned_filters(block)), CURRENT) is None, why


def test_a_table_finds_each_key_and_no_other() -> None:
    random = Random(3)
    group = Group(fields=(Load(26, 4), Load(12, 2), Load(30, 4), Load(9, 1)))
    keys = {(random.getrandbits(32), random.randrange(3), 7, random.getrandbits(8)) for _ in range(1000)}
    for number, key in enumerate(sorted(keys)):
        group.add(key, number)
        group.add(key, number)
    group.add((1, 0x10000, 7, 7), 5)  # two bytes are never so much
    lists: list[int] = [NONE]
    table = build_table(group, lists)
    assert table.packing.words == 2

    def find(key: tuple[int, ...]) -> list[int] | None:
        packed = pack_keys(np.array([key], np.uint64), table.packing)
        place = int(hash_keys(packed)[0]) & (table.slots - 1)
        while table.entries[place][-1] != NONE:
            if (table.entries[place][:-1] == packed[0]).all():
                at = int(table.entries[place][-1])
                return lists[at : lists.index(NONE, at)]
            place = (place + 1) & (table.slots - 1)
        return None

    for number, key in enumerate(sorted(keys)):
        assert find(key) == [number]
    assert find((1, 0, 7, 9)) is None
    assert len(lists) == 1 + 2 * len(keys)
