"""Specs: what one cannot be, and how a program is named."""

from __future__ import annotations

import pytest

from clsbpf.bpf import classic as c
from clsbpf.bpf import insn as e
from clsbpf.bpf.spec import PROGRAM_TYPES, SCHED_CLS, LineInfo, MapSpec, ObjectSpec, ProgramSpec
from clsbpf.errors import BytecodeError, ObjectError

EXTENDED = (e.mov64_imm(0, 0), e.exit_())
CLASSIC = (c.ret_k(0),)


def test_a_program_is_extended_or_classic() -> None:
    assert ProgramSpec("p", insns=EXTENDED).type == SCHED_CLS
    assert ProgramSpec("p", classic=CLASSIC).insns == ()
    for insns, classic in (((), None), (EXTENDED, CLASSIC)):
        with pytest.raises(
            BytecodeError, match="'p' must have extended or classic instructions, one of the two"
        ):
            ProgramSpec("p", insns=insns, classic=classic)


def test_a_type_that_is_not_known() -> None:
    with pytest.raises(BytecodeError, match="no program type 'xpd'; there are: socket_filter, kprobe, "):
        ProgramSpec("p", type="xpd", insns=EXTENDED)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("socket_filter", 1),
        ("sched_cls", 3),
        ("sched_act", 4),
        ("xdp", 6),
        ("sk_lookup", 30),
        ("netfilter", 32),
    ],
)
def test_types_have_the_kernels_numbers(name: str, number: int) -> None:
    assert PROGRAM_TYPES[name] == number


def test_a_map_names_its_type() -> None:
    assert MapSpec("m", 11, 8, 4, 1).type_name == "lpm_trie"
    assert MapSpec("m", 77, 8, 4, 1).type_name == "77"


def test_an_instruction_has_the_line_that_began_before_it() -> None:
    first, second = LineInfo(1, "p.c", 4, 1, "a;"), LineInfo(3, "p.c", 5, 1, "b;")
    program = ProgramSpec("p", insns=EXTENDED, line_info=(first, second))
    assert [program.line_at(insn) for insn in range(5)] == [None, first, first, second, second]


IN = ProgramSpec("on_in", insns=EXTENDED, section="tc")
OUT = ProgramSpec("on_out", insns=EXTENDED, section="tc")
ALONE = ProgramSpec("alone", insns=EXTENDED, section="classifier")
OBJECT = ObjectSpec("p.o", programs={each.name: each for each in (IN, OUT, ALONE)})


def test_a_program_is_found_by_function_and_by_section() -> None:
    assert OBJECT.program("on_in") is IN
    assert OBJECT.program("classifier") is ALONE
    assert ObjectSpec("p.o", programs={"alone": ALONE}).program() is ALONE


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tc", r"section 'tc' holds several programs: on_in \(section tc\), on_out \(section tc\)$"),
        ("xdp", r"no program or section 'xdp'; there are: on_in .*, on_out .*, alone \(section classifier\)"),
        (None, "which program is meant\\? There are: on_in "),
    ],
)
def test_a_name_that_names_no_program(name: str | None, message: str) -> None:
    with pytest.raises(ObjectError, match=message):
        OBJECT.program(name)
