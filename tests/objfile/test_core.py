"""CO-RE: what each kind of relocation becomes for another kernel's types, and when it cannot be had."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from btf_writer import BtfWriter
from clsbpf.bpf import insn as e
from clsbpf.bpf.insn import Insn
from clsbpf.bpf.isa import Size
from clsbpf.bpf.spec import ProgramSpec
from clsbpf.errors import ObjectError
from clsbpf.objfile import Btf, load_object
from clsbpf.objfile.core import CoreKind as C
from clsbpf.objfile.core import CoreResolver
from clsbpf.objfile.core_patch import POISON
from elf_writer import program

Write = Callable[[BtfWriter], int]


def flow(w: BtfWriter, *, name: str = "flow", pad: int = 0, wide: bool = False, signed: bool = False) -> int:
    """struct flow { char pad[]; u32 mark; u16 ports[4]; u32 low:3, high:7; } with what varies."""
    byte = w.int("char", 1)
    mark = w.int("mark_t", 8 if wide else 4, signed=signed)
    port = w.int("u16", 2, signed=False)
    word = w.int("u32", 4, signed=False)
    ports = w.array(port, 4)
    at = 8 * pad
    after = at + (64 if wide else 32)
    return w.struct(
        *(name, pad + 20, ("pad", w.array(byte, pad), 0, 0), ("mark", mark, at, 0)),
        *(("ports", ports, after, 0), ("low", word, after + 64, 3), ("high", word, after + 67, 7)),
    )


def nested(w: BtfWriter) -> int:
    """struct flow with `mark` in an anonymous union in an anonymous struct, 12 bytes in."""
    word = w.int("u32", 4, signed=False)
    inner = w.union("", 4, ("other", word, 0), ("mark", word, 0))
    return w.struct(
        "flow", 24, ("first", word, 0), ("", w.struct("", 12, ("x", word, 0), ("", inner, 64)), 32)
    )


def enumeration(w: BtfWriter) -> int:
    return w.enum("state", {"IDLE": 0, "BUSY": 4, "GONE": 0xFFFFFFFF})


def resolve(kind: int, access: str, local: Write, *targets: Write) -> tuple[int | None, str]:
    """(the new value or None where poisoned, why)."""
    mine, theirs = BtfWriter(), BtfWriter()
    root = local(mine)
    for target in targets:
        target(theirs)
    resolved = CoreResolver(mine.btf("p.o"), theirs.btf("kernel")).resolve(kind, root, access)
    return (resolved.after.value if resolved.poison is None else None), resolved.poison or ""


def moved(w: BtfWriter) -> int:
    return flow(w, pad=100)


def nothing(w: BtfWriter) -> int:
    return w.int("unrelated")


def wide_state(w: BtfWriter) -> int:
    return w.enum64("state", {"BUSY": 1 << 40})


VALUES = [
    (C.FIELD_BYTE_OFFSET, "0:1", flow, moved, 100),
    (C.FIELD_BYTE_OFFSET, "0:2:3", flow, moved, 110),
    (C.FIELD_BYTE_OFFSET, "2:1", flow, moved, 2 * 120 + 100),
    (C.FIELD_BYTE_OFFSET, "0:1", flow, nested, 12),
    (C.FIELD_BYTE_OFFSET, "0:4", flow, moved, 112),
    (C.FIELD_BYTE_SIZE, "0:1", flow, lambda w: flow(w, wide=True), 8),
    (C.FIELD_BYTE_SIZE, "0:2", flow, moved, 8),
    (C.FIELD_BYTE_SIZE, "0:2:1", flow, moved, 2),
    (C.FIELD_EXISTS, "0:1", flow, moved, 1),
    (C.FIELD_EXISTS, "0:4", flow, nested, 0),
    (C.FIELD_EXISTS, "0:1", flow, nothing, 0),
    (C.FIELD_SIGNED, "0:1", flow, lambda w: flow(w, signed=True), 1),
    (C.FIELD_SIGNED, "0:1", flow, moved, 0),
    (C.FIELD_LSHIFT_U64, "0:4", flow, moved, 64 - 10),
    (C.FIELD_RSHIFT_U64, "0:4", flow, moved, 64 - 7),
    (C.FIELD_RSHIFT_U64, "0:1", flow, moved, 32),
    (C.TYPE_ID_TARGET, "0", flow, moved, 7),
    (C.TYPE_ID_TARGET, "0", flow, nothing, 0),
    (C.TYPE_EXISTS, "0", flow, nested, 1),
    (C.TYPE_EXISTS, "0", flow, lambda w: w.union("flow", 4), 0),
    (C.TYPE_SIZE, "0", flow, nested, 24),
    (C.TYPE_SIZE, "0", flow, nothing, 0),
    (C.TYPE_MATCHES, "0", flow, moved, 0),
    (C.TYPE_MATCHES, "0", nested, nested, 1),
    (C.TYPE_MATCHES, "0", enumeration, enumeration, 1),
    (C.TYPE_MATCHES, "0", enumeration, wide_state, 0),
    (C.ENUMVAL_EXISTS, "1", enumeration, wide_state, 1),
    (C.ENUMVAL_EXISTS, "0", enumeration, wide_state, 0),
    (C.ENUMVAL_VALUE, "1", enumeration, wide_state, 1 << 40),
    (C.ENUMVAL_VALUE, "2", enumeration, enumeration, (1 << 64) - 1),
]


@pytest.mark.parametrize(
    ("kind", "access", "local", "target", "value"),
    VALUES,
    ids=[f"{row[0].name.lower()}-{n}" for n, row in enumerate(VALUES)],
)
def test_every_kind(kind: C, access: str, local: Write, target: Write, value: int) -> None:
    assert resolve(kind, access, local, target) == (value, "")


def test_what_the_kernel_does_not_have_is_poisoned() -> None:
    for kind in (C.FIELD_BYTE_OFFSET, C.FIELD_BYTE_SIZE, C.FIELD_SIGNED, C.FIELD_LSHIFT_U64):
        assert resolve(kind, "0:4", flow, nested) == (None, "the kernel has no struct flow.high")
    assert resolve(C.ENUMVAL_VALUE, "0", enumeration, wide_state) == (
        None,
        "the kernel has no enum state.IDLE",
    )


# Candidates ---------------------------------------------------------------------------------------


def test_flavours_of_both_sides_are_candidates_of_each_other() -> None:
    def flavoured(w: BtfWriter) -> int:
        return flow(w, name="flow___mine")

    def theirs(w: BtfWriter) -> int:
        return flow(w, name="flow___2", pad=8)

    assert resolve(C.FIELD_BYTE_OFFSET, "0:1", flavoured, theirs) == (8, "")


def test_candidates_that_do_not_fit_do_not_count_and_those_that_do_must_agree() -> None:
    assert resolve(C.FIELD_BYTE_OFFSET, "0:4", flow, nested, moved) == (112, "")
    assert resolve(C.FIELD_BYTE_OFFSET, "0:1", flow, moved, moved) == (100, "")
    with pytest.raises(ObjectError, match=r"struct flow\.mark is ambiguous: .* answer 100 and 12"):
        resolve(C.FIELD_BYTE_OFFSET, "0:1", flow, moved, nested)


def mark_of(make: Write) -> Write:
    """struct flow with one member, `mark`, of a type."""
    return lambda w: w.struct("flow", 8, ("mark", make(w), 0))


COMPATIBLE: list[tuple[Write, Write, int]] = [
    (lambda w: w.int("a", 4), lambda w: w.int("b", 8, signed=False), 1),
    (lambda w: w.int("a", 4), lambda w: w.int("b", 4, bit_offset=3), 0),
    (lambda w: w.int("a", 4), lambda w: w.ptr(0), 0),
    (lambda w: w.ptr(0), lambda w: w.ptr(1), 1),
    (lambda w: w.typedef("t", w.int("a", 4)), lambda w: w.int("a", 4), 1),
    (lambda w: w.struct("x", 4), lambda w: w.union("y", 8), 1),
    (lambda w: w.enum("x", {}), lambda w: w.enum("y", {}), 0),
    (lambda w: w.enum("x___1", {}), lambda w: w.enum64("x", {}), 1),
    (lambda w: w.enum("", {}), lambda w: w.enum("y", {}), 1),
    (lambda w: w.array(w.int("a", 4), 3), lambda w: w.array(w.int("b", 2), 9), 1),
    (lambda w: w.array(w.int("a", 4), 3), lambda w: w.array(w.ptr(0), 3), 0),
    (lambda w: w.fwd("x"), lambda w: w.fwd("x___2"), 1),
    (lambda w: w.proto(0), lambda w: w.proto(0), 0),
]


@pytest.mark.parametrize(("local", "target", "there"), COMPATIBLE, ids=range(len(COMPATIBLE)))
def test_a_field_must_be_of_a_type_that_can_be_read_as_the_other(
    local: Write, target: Write, there: int
) -> None:
    assert resolve(C.FIELD_EXISTS, "0:0", mark_of(local), mark_of(target)) == (there, "")


def typedef_of(make: Write) -> Write:
    return lambda w: w.typedef("handler", make(w))


def handler(*params: str, result: int = 4) -> Write:
    return lambda w: w.ptr(
        w.proto(w.int("r", result), *((name, w.ptr(w.struct(name, 4))) for name in params))
    )


TYPES: list[tuple[Write, Write, int, int]] = [
    (handler("skb"), handler("skb"), 1, 1),
    (handler("skb"), handler("other"), 1, 0),
    (handler("skb"), handler("skb", "dev"), 0, 0),
    (handler("skb"), handler("skb", result=8), 1, 0),
    (lambda w: w.int("i", 4), lambda w: w.int("i", 8), 1, 0),
    (lambda w: w.int("i", 4), lambda w: w.add(16, "i", size=4), 0, 0),
    (lambda w: w.ptr(w.fwd("s")), lambda w: w.ptr(w.struct("s", 9)), 0, 1),
    (lambda w: w.ptr(w.struct("s", 1)), lambda w: w.ptr(w.fwd("s")), 0, 1),
    (lambda w: w.struct("s", 1), lambda w: w.fwd("s"), 0, 0),
    (lambda w: w.array(w.int("i"), 2), lambda w: w.array(w.int("i"), 3), 1, 0),
    (lambda w: w.enum("e", {"A": 1}), lambda w: w.enum("e", {"A": 2, "B": 3}), 1, 1),
    (lambda w: w.enum("e", {"A": 1, "C": 2}), lambda w: w.enum("e", {"A": 2, "B": 3}), 1, 0),
    (lambda w: w.typedef("nothing", 0), lambda w: w.typedef("nothing", 0), 1, 1),
]


@pytest.mark.parametrize(("local", "target", "exists", "matches"), TYPES, ids=range(len(TYPES)))
def test_a_type_exists_or_matches(local: Write, target: Write, exists: int, matches: int) -> None:
    sides = typedef_of(local), typedef_of(target)
    assert resolve(C.TYPE_EXISTS, "0", *sides) == (exists, "")
    assert resolve(C.TYPE_MATCHES, "0", *sides) == (matches, "")


WRONG = [
    (13, "0", flow, "CO-RE relocation of the unknown kind 13"),
    (C.FIELD_EXISTS, "", flow, "the access '' is no list of numbers like 0:1:2"),
    (C.FIELD_EXISTS, "0:-1", flow, "the access '0:-1' is no list of numbers"),
    (C.FIELD_EXISTS, ":".join("0" * 65), flow, "is no list of numbers"),
    (C.FIELD_EXISTS, "0:9", flow, "member 9 of 5 of struct flow"),
    (C.FIELD_EXISTS, "0:2:4", flow, "element 4 of 4 of struct flow.ports"),
    (C.FIELD_EXISTS, "0:1:0", flow, "struct flow.mark has no parts, but the access '0:1:0' names one"),
    (C.FIELD_SIGNED, "0:2:1", flow, "struct flow.ports[1]: a relocation that only a member can have"),
    (C.TYPE_SIZE, "1", flow, "the access '1' to a whole type; it must be 0"),
    (C.ENUMVAL_VALUE, "3", enumeration, "the access '3' names no value of an enum"),
    (C.ENUMVAL_VALUE, "0", flow, "the access '0' names no value of an enum"),
    (
        C.TYPE_EXISTS,
        "0",
        lambda w: w.struct("", 4),
        "type 1 has no name to look for among the kernel's types",
    ),
    (C.TYPE_EXISTS, "0", lambda w: w.int("i") + 8, "there is no type 9; there are 1"),
]


@pytest.mark.parametrize(("kind", "access", "local", "message"), WRONG, ids=range(len(WRONG)))
def test_relocations_that_make_no_sense(kind: int, access: str, local: Write, message: str) -> None:
    with pytest.raises(ObjectError) as refusal:
        resolve(kind, access, local, moved)
    assert message in str(refusal.value)


def test_types_with_more_paths_than_can_be_walked() -> None:
    """Each anonymous struct holds the next one twice: 2**60 members, none of the name."""

    def maze(w: BtfWriter) -> int:
        inner = w.struct("", 4, ("leaf", w.int(), 0))
        for _ in range(60):
            inner = w.struct("", 4, ("", inner, 0), ("", inner, 0))
        return w.struct("flow", 4, ("", inner, 0))

    mine, theirs = BtfWriter(), BtfWriter()
    root = flow(mine)
    maze(theirs)
    resolver = CoreResolver(mine.btf(), theirs.btf())
    resolver._budget.left = 10_000
    with pytest.raises(ObjectError, match="its types are too intertwined to be compared"):
        resolver.resolve(C.FIELD_EXISTS, root, "0:1")


# Instructions -------------------------------------------------------------------------------------


def patched(
    insns: Sequence[Insn], kind: int, access: str, kernel: Btf | None, *, local: Write = flow
) -> ProgramSpec:
    """A program whose first instruction has that relocation."""
    types = BtfWriter()
    root = local(types)
    writer = program(*insns, *e.program(e.mov64_imm(0, 0), e.exit_()), section="tc")
    ext = types.ext(core=[("tc", [(0, root, types.name(access), kind)])])
    writer.section(".BTF", types.raw(), flags=0)
    writer.section(".BTF.ext", ext, flags=0)
    return load_object(writer.build(), "p.o", kernel_btf=kernel).programs["main"]


def kernel(write: Write) -> Btf:
    writer = BtfWriter()
    write(writer)
    return writer.btf("kernel")


WIDE = kernel(lambda w: flow(w, pad=100, wide=True))
SAME = kernel(moved)
FAR = kernel(lambda w: flow(w, pad=40000))

PATCHED = [
    ((e.mov64_imm(1, 0),), SAME, (e.mov64_imm(1, 100),)),
    ((e.alu64_imm(e.Alu.ADD, 1, 0),), SAME, (e.alu64_imm(e.Alu.ADD, 1, 100),)),
    ((e.alu32_imm(e.Alu.MOV, 1, 0),), FAR, (e.alu32_imm(e.Alu.MOV, 1, 40000),)),
    (e.ld_imm64(1, 0), SAME, e.ld_imm64(1, 100)),
    ((e.ldx(Size.W, 1, 2, 0),), SAME, (e.ldx(Size.W, 1, 2, 100),)),
    ((e.ldx(Size.W, 1, 2, 0),), WIDE, (e.ldx(Size.DW, 1, 2, 100),)),
    ((e.stx(Size.W, 1, 0, 2),), WIDE, (e.stx(Size.DW, 1, 100, 2),)),
    ((e.st(Size.W, 1, 0, 7),), SAME, (e.st(Size.W, 1, 100, 7),)),
]


@pytest.mark.parametrize(("insns", "target", "expected"), PATCHED, ids=range(len(PATCHED)))
def test_the_number_goes_into_the_instruction(
    insns: tuple[Insn, ...], target: Btf, expected: tuple[Insn, ...]
) -> None:
    made = patched(insns, C.FIELD_BYTE_OFFSET, "0:1", target)
    assert made.insns[: len(insns)] == expected
    assert (made.problem, made.core_relocations) == (None, 1)


UNPATCHED = [
    ((e.mov64_imm(1, 3),), SAME, "struct flow.mark: the instruction has 3, not 0"),
    ((e.mov64_reg(1, 3),), SAME, "struct flow.mark: the instruction has no immediate"),
    (e.ld_imm64(1, 1 << 32), SAME, "struct flow.mark: the instruction has 4294967296, not 0"),
    ((e.ldx(Size.W, 1, 2, 4),), SAME, "struct flow.mark: the instruction has offset 4, not 0"),
    ((e.ldx(Size.W, 1, 2, 0),), FAR, "struct flow.mark: its offset 40000 does not fit an instruction"),
    ((e.ldx(Size.B, 1, 2, 0),), WIDE, "struct flow.mark: moves 1 bytes of 4; the kernel's field has 8"),
    ((e.ja(0),), SAME, "struct flow.mark: an instruction without a place for it"),
    (
        (e.mov64_imm(1, 0),),
        None,
        "struct flow.mark must be looked up in the kernel's BTF (CO-RE), and there is",
    ),
]


@pytest.mark.parametrize(("insns", "target", "message"), UNPATCHED, ids=range(len(UNPATCHED)))
def test_instructions_that_are_not_what_the_compiler_said(
    insns: tuple[Insn, ...], target: Btf | None, message: str
) -> None:
    made = patched(insns, C.FIELD_BYTE_OFFSET, "0:1", target)
    assert made.problem is not None
    assert message in made.problem
    assert made.insns[: len(insns)] == insns


def test_a_poisoned_instruction_calls_what_does_not_exist() -> None:
    bad = Insn(0x85, imm=POISON)
    target = kernel(nested)
    made = patched(e.ld_imm64(1, 16), C.FIELD_BYTE_OFFSET, "0:4", target)
    assert made.insns[:2] == (bad, bad)
    assert made.poison == dict.fromkeys((0, 1), "the kernel has no struct flow.high")
    assert made.problem is None


def test_a_load_of_another_size_is_poisoned_where_the_sign_would_be_lost() -> None:
    signed = kernel(lambda w: flow(w, pad=8, wide=True, signed=True))
    made = patched((e.ldx(Size.W, 1, 2, 0),), C.FIELD_BYTE_OFFSET, "0:1", signed)
    assert made.poison == {0: "struct flow.mark has 8 bytes in the kernel, 4 in the program"}


def test_a_local_type_needs_no_kernel() -> None:
    made = patched(e.ld_imm64(1, 99), C.TYPE_ID_LOCAL, "0", None)
    assert made.problem is None
    assert made.insns[:2] == e.ld_imm64(1, 7)


def test_the_kernels_types_are_only_asked_for_when_they_matter() -> None:
    def never() -> Btf | None:
        raise AssertionError("asked")

    made = load_object(program(e.mov64_imm(0, 0), e.exit_()).build(), "p.o", kernel_btf=never)
    assert made.programs["main"].problem is None
