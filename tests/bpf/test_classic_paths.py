"""The paths of classic programs, case by case.  tests/fuzz/test_paths.py holds them against what runs."""

from __future__ import annotations

import pytest

from clsbpf.bpf import classic as c
from clsbpf.bpf.check import check
from clsbpf.bpf.classic import SKF_NET_OFF, Ancillary, SockFilter
from clsbpf.bpf.conditions import Test as Condition  # pytest would collect a class called Test
from clsbpf.bpf.conditions import simplify
from clsbpf.bpf.isa import Alu, Jmp, Size
from clsbpf.bpf.paths import Path, TooMany, outlines, paths, shape_of
from clsbpf.bpf.values import Binary, Constant, Length, Load, Metadata, header_length
from clsbpf.profile import V4_13

YES, NO = c.ret_k(7), c.ret_k(0)
TYPE = Load(12, 2)
BYTE = c.ld_abs(Size.B, 0)
X = header_length(14)


def found(*insns: SockFilter) -> list[Path]:
    known = paths(check(insns))
    assert not isinstance(known, TooMany)
    return list(known)


def test_one_path() -> None:
    """What is loaded must be there, what is tested must be so, and what is returned is known."""
    assert found(c.ld_abs(Size.H, 12), c.jmp_k(Jmp.JEQ, 0x0800, 0, 1), YES, NO) == [
        Path(14, (), (Condition(TYPE, Jmp.JEQ, 0x0800, True, 1),), 7)
    ]


def test_each_way_is_a_path() -> None:
    """Paths part at a test; one way is that it holds, the other that it does not."""
    insns = c.ld_abs(Size.H, 12), c.jmp_k(Jmp.JGT, 1500, 0, 1), c.ret_k(1), c.ret_k(2)
    assert {(path.tests[0].holds, path.returned) for path in found(*insns)} == {(True, 1), (False, 2)}


def test_relative_loads() -> None:
    """A load relative to X, or to a header, is inside or the path is not taken."""
    (path,) = found(c.ldx_msh(14), c.ld_ind(Size.H, 16), c.jmp_k(Jmp.JEQ, 80, 0, 1), YES, NO)
    assert path.needs == 15
    assert path.loads == (Load(16, 2, X),)
    (path,) = found(c.ld_abs(Size.B, SKF_NET_OFF + 9), YES)
    assert (path.needs, path.loads) == (0, (Load(SKF_NET_OFF + 9, 1),))


VALUES: list[tuple[list[SockFilter], object]] = [
    # What A holds in the end, where every packet is accepted that makes it other than 0.
    ([c.ld_len()], Length()),
    ([BYTE, c.alu_k(Alu.AND, 0xF0), c.alu_k(Alu.AND, 0x3C)], Binary(Alu.AND, Load(0, 1), Constant(0x30))),
    ([BYTE, c.alu_k(Alu.AND, 0xFFF)], Load(0, 1)),
    ([BYTE, c.alu_k(Alu.ADD, 5), c.alu_k(Alu.SUB, 5)], Load(0, 1)),
    ([BYTE, c.alu_k(Alu.SUB, 1)], Binary(Alu.ADD, Load(0, 1), Constant(0xFFFFFFFF))),
    ([c.ldx_imm(4), c.ld_ind(Size.W, 10)], Load(14, 4)),
    ([BYTE, c.alu_k(Alu.ADD, 2), c.tax(), c.ld_ind(Size.B, 3)], Load(5, 1, Load(0, 1))),
    ([BYTE, c.st(3), c.ld_imm(9), c.ld_mem(3)], Load(0, 1)),
    ([BYTE, c.ldx_imm(3), c.alu_x(Alu.LSH)], Binary(Alu.LSH, Load(0, 1), Constant(3))),
    ([BYTE, c.neg()], Binary(Alu.SUB, Constant(0), Load(0, 1))),
    ([BYTE, c.ldx_len(), c.ld_ad(Ancillary.ALU_XOR_X)], Binary(Alu.XOR, Load(0, 1), Length())),
    ([c.ld_ad(Ancillary.MARK)], Metadata(Ancillary.MARK)),
    ([c.ld_ad(Ancillary.RANDOM), c.ld_ad(Ancillary.RANDOM)], Metadata(Ancillary.RANDOM, nth=1)),
    ([BYTE, c.ldx_imm(2), c.ld_ad(Ancillary.NLATTR)], Metadata(Ancillary.NLATTR, Load(0, 1), Constant(2))),
]


@pytest.mark.parametrize(("insns", "value"), VALUES)
def test_values(insns: list[SockFilter], value: object) -> None:
    (path,) = found(*insns, c.ret_a())
    assert path.returned == value


def test_ends_on_the_way() -> None:
    """Division by an X of 0 ends with 0; without a device a load of its index ends with A."""
    (path,) = found(BYTE, c.tax(), c.ld_len(), c.alu_x(Alu.DIV), YES)
    assert path.tests == (Condition(Load(0, 1), Jmp.JEQ, 0, False),)
    without, with_device = found(c.ld_len(), c.ld_ad(Ancillary.IFINDEX), YES)
    ifindex = Metadata(Ancillary.IFINDEX)
    assert without.tests == (
        Condition(ifindex, Jmp.JEQ, 0, True),
        Condition(Length(), Jmp.JEQ, 0, False),
    )
    assert without.returned == Length()
    assert with_device.tests == (Condition(ifindex, Jmp.JEQ, 0, False),)


def test_vlan_tag_of_4_13() -> None:
    """4.13 clears bit 0x1000 of the tag."""
    known = paths(check([c.ld_ad(Ancillary.VLAN_TAG), c.ret_a()]), V4_13)
    assert not isinstance(known, TooMany)
    assert known[0].returned == Binary(Alu.AND, Metadata(Ancillary.VLAN_TAG), Constant(0xFFFFEFFF))


CONTRADICTIONS: list[tuple[list[tuple[Jmp, int, bool]], list[tuple[Jmp, int, bool]] | None]] = [
    # Tests of one byte, and the fewer that say the same; None: there is no such byte.
    ([(Jmp.JEQ, 5, True), (Jmp.JEQ, 6, True)], None),
    ([(Jmp.JEQ, 5, True), (Jmp.JEQ, 5, False)], None),
    ([(Jmp.JEQ, 5, True), (Jmp.JEQ, 6, False)], [(Jmp.JEQ, 5, True)]),
    ([(Jmp.JEQ, 256, True)], None),
    ([(Jmp.JEQ, 256, False)], []),
    ([(Jmp.JGT, 255, True)], None),
    ([(Jmp.JGT, 5, True), (Jmp.JGE, 3, True)], [(Jmp.JGT, 5, True)]),
    ([(Jmp.JGT, 5, True), (Jmp.JGE, 7, False)], [(Jmp.JEQ, 6, True)]),
    ([(Jmp.JGT, 5, True), (Jmp.JGE, 8, False), (Jmp.JEQ, 6, False)], [(Jmp.JEQ, 7, True)]),
    ([(Jmp.JGT, 5, True), (Jmp.JGE, 6, False)], None),
    ([(Jmp.JGT, 9, True), (Jmp.JEQ, 3, False)], [(Jmp.JGT, 9, True)]),
    ([(Jmp.JSET, 0xF0, False), (Jmp.JSET, 0x30, True)], None),
    ([(Jmp.JSET, 0xF0, False), (Jmp.JEQ, 0x11, True)], None),
    ([(Jmp.JSET, 0x100, True)], None),
    ([(Jmp.JSET, 0xFF, False)], [(Jmp.JEQ, 0, True)]),
]


@pytest.mark.parametrize(("tests", "left"), CONTRADICTIONS)
def test_contradictions(tests: list[tuple[Jmp, int, bool]], left: list[tuple[Jmp, int, bool]] | None) -> None:
    simpler = simplify([Condition(Load(0, 1), *each) for each in tests])
    said = None if simpler is None else [(each.op, each.constant, each.holds) for each in simpler]
    assert said == left
    alike = [n for n in range(256) if all(Condition(Load(0, 1), *each).accepts(n) for each in tests)]
    assert alike == [
        n for n in range(256) if simpler is not None and all(each.accepts(n) for each in simpler)
    ]


def ladder(count: int) -> list[SockFilter]:
    """`count` bytes each of which is tested, and either way it goes on."""
    tests = [(c.ld_abs(Size.B, at), c.jmp_k(Jmp.JSET, 1, 1, 0), c.ldx_imm(at)) for at in range(count)]
    return [insn for each in tests for insn in each]


def test_too_many() -> None:
    """What cannot be told within the limits is a value that says so."""
    program = check([*ladder(5), YES])
    assert paths(program, limit=31) == TooMany("paths", 31)
    assert len(found(*program.insns)) == 32
    assert str(TooMany("paths", 31)) == "more than 31 paths"
    doubling = [c.ld_len(), *[each for _ in range(8) for each in (c.tax(), c.alu_x(Alu.ADD))], c.ret_a()]
    assert paths(check(doubling)) == TooMany("operations", 64)
    lost = [*ladder(30), c.ld_abs(Size.B, 99), c.jmp_k(Jmp.JGT, 255, 0, 1), YES, NO]
    assert isinstance(paths(check(lost), limit=4), TooMany)


def test_what_cannot_match_is_not_followed() -> None:
    """However many ways lead there: where only 0 is returned nobody looks."""
    assert found(*ladder(40), NO) == []


def test_shape() -> None:
    """Constants of jumps and of returns are not part of a shape; which are equal, and which 0, is."""

    def shape(port: int, other: int, answer: int) -> object:
        insns = [
            c.ld_abs(Size.H, 0),
            c.jmp_k(Jmp.JEQ, port, 1, 0),
            c.jmp_k(Jmp.JEQ, other, 0, 1),
            c.ret_k(answer),
            NO,
        ]
        return shape_of(check(insns))

    assert shape(80, 443, 1) == shape(53, 80, 0x10001)
    assert shape(80, 443, 1) != shape(80, 80, 1)
    assert shape(80, 443, 1) != shape(80, 443, 0)
    known = outlines(shape_of(check([c.ld_abs(Size.H, 0), c.jmp_k(Jmp.JEQ, 80, 0, 1), YES, NO])), False)
    assert not isinstance(known, TooMany)
    assert [test.at for test in known.tests] == [1]
