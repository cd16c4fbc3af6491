"""BTF: every kind read back as it was written; sizes, names, C text; what is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from btf_writer import BtfWriter
from clsbpf.errors import ObjectError
from clsbpf.objfile import btf as b
from clsbpf.objfile.btf import Btf, Kind, essential_name
from clsbpf.objfile.btf_text import type_name

KINDS: list[tuple[Callable[[BtfWriter], int], b.Type]] = [
    (lambda w: w.int("u16", 2, signed=False), b.Int(1, "u16", 2, False, False, False, 0, 16)),
    (lambda w: w.int("int"), b.Int(1, "int", 4, True, False, False, 0, 32)),
    (lambda w: w.add(Kind.FLOAT, "double", size=8), b.Float(1, "double", 8)),
    (lambda w: w.ptr(0), b.Ptr(1, 0)),
    (lambda w: w.array(1, 7), b.Array(1, 1, 1, 7)),
    (
        lambda w: w.struct("s", 8, ("a", 1, 0), ("b", 1, 32)),
        b.Composite(1, "s", False, 8, (b.Member("a", 1, 0, 0), b.Member("b", 1, 32, 0))),
    ),
    (
        lambda w: w.union("u", 4, ("low", 1, 0, 3), ("high", 1, 3, 29)),
        b.Composite(1, "u", True, 4, (b.Member("low", 1, 0, 3), b.Member("high", 1, 3, 29))),
    ),
    (
        lambda w: w.enum("e", {"A": 0, "B": 0xFFFFFFFF}),
        b.Enum(1, "e", 4, False, False, (b.Enumerator("A", 0), b.Enumerator("B", 0xFFFFFFFF))),
    ),
    (lambda w: w.enum("e", {"A": -1}, signed=True), b.Enum(1, "e", 4, True, False, (b.Enumerator("A", -1),))),
    (
        lambda w: w.enum64("e", {"A": 1 << 63}),
        b.Enum(1, "e", 8, False, True, (b.Enumerator("A", 1 << 63),)),
    ),
    (
        lambda w: w.enum64("e", {"A": -(1 << 40)}, signed=True),
        b.Enum(1, "e", 8, True, True, (b.Enumerator("A", -(1 << 40)),)),
    ),
    (lambda w: w.fwd("f", union=True), b.Fwd(1, "f", True)),
    (lambda w: w.typedef("t", 0), b.Modifier(1, Kind.TYPEDEF, "t", 0)),
    (lambda w: w.modifier(Kind.VOLATILE, 0), b.Modifier(1, Kind.VOLATILE, "", 0)),
    (lambda w: w.modifier(Kind.TYPE_TAG, 0, "rcu"), b.Modifier(1, Kind.TYPE_TAG, "rcu", 0)),
    (lambda w: w.func("main", 1, 2), b.Func(1, "main", 1, 2)),
    (
        lambda w: w.proto(0, ("x", 1), ("", 0)),
        b.FuncProto(1, 0, (b.Param("x", 1), b.Param("", 0))),
    ),
    (lambda w: w.var("v", 1, 0), b.Var(1, "v", 1, 0)),
    (
        lambda w: w.datasec(".data", (1, 4, 8), size=12),
        b.Datasec(1, ".data", 12, (b.SectionVar(1, 4, 8),)),
    ),
    (
        lambda w: w.add(Kind.DECL_TAG, "tag", size=1, rest=struct.pack("<i", -1)),
        b.DeclTag(1, "tag", 1, -1),
    ),
]


@pytest.mark.parametrize(("write", "type"), KINDS, ids=lambda each: getattr(each, "name", ""))
def test_every_kind(write: Callable[[BtfWriter], int], type: b.Type) -> None:
    writer = BtfWriter()
    id = write(writer)
    assert writer.btf()[id] == type
    assert writer.btf()[0] == b.Void()


def test_types_are_found_by_name_and_kind() -> None:
    writer = BtfWriter()
    struct_, typedef = writer.struct("flow", 0), writer.typedef("flow", 1)
    flavour = writer.struct("flow___old", 0)
    btf = writer.btf()
    assert btf.named("flow") == (struct_, typedef)
    assert btf.find("flow", Kind.TYPEDEF) == typedef
    assert btf.find("flow", Kind.UNION) is None
    assert btf.flavours("flow") == (struct_, typedef, flavour)


@pytest.mark.parametrize(
    ("name", "essence"),
    [
        ("task", "task"),
        ("task___old", "task"),
        ("task___old___er", "task___old"),
        ("___task", "___task"),
        ("task___", "task___"),
        ("task____old", "task____old"),
        ("a___b", "a"),
        ("", ""),
    ],
)
def test_a_flavour_is_what_follows_the_last_three_underscores(name: str, essence: str) -> None:
    assert essential_name(name) == essence


def test_split_btf_goes_on_where_its_base_ends() -> None:
    base = BtfWriter()
    base.int("int")
    split = BtfWriter()
    split.strings = bytearray()
    offset = len(base.strings)
    split.types = struct.pack("<III", offset, Kind.TYPEDEF << 24, 1)
    split.strings += b"number\0"
    btf = Btf(split.raw(), "module", base.btf())
    assert btf[2] == b.Modifier(2, Kind.TYPEDEF, "number", 1)
    assert btf.size_of(2) == 4
    assert btf.named("int") == (1,)


# Sizes --------------------------------------------------------------------------------------------


def test_sizes_and_alignments() -> None:
    w = BtfWriter()
    number = w.int("u16", 2)
    pointer = w.ptr(0)
    table = w.array(w.array(w.typedef("port", number), 3), 5)
    holder = w.struct("s", 40, ("a", number, 0), ("p", pointer, 64))
    constant = w.modifier(Kind.CONST, holder)
    btf = w.btf()
    types = (number, pointer, table, holder, constant)
    assert [btf.size_of(id) for id in types] == [2, 8, 30, 40, 40]
    assert [btf.align_of(id) for id in types] == [2, 8, 2, 8, 8]
    assert btf.ref(constant).size == 40
    assert btf.ref(constant).type == btf[holder]


def circle_of_typedefs(w: BtfWriter) -> int:
    w.typedef("a", 2)
    return w.typedef("b", 1)


def array_of_itself(w: BtfWriter) -> int:
    return w.array(1, 2)


def huge(w: BtfWriter) -> int:
    return w.array(w.array(w.int(), 1 << 20), 1 << 20)


NO_SIZE = [
    (circle_of_typedefs, "more than 32 typedefs and qualifiers, or a circle of them, at type"),
    (array_of_itself, "arrays nested deeper than 32, or in a circle, at type 1"),
    (huge, "type 1 would take 4398046511104 bytes"),
    (lambda w: w.proto(0), "type 1 (funcproto) has no size"),
    (lambda w: w.fwd("s"), "type 1 (fwd) has no size"),
    (lambda w: w.typedef("t", 9), "there is no type 9; there are 1"),
]


@pytest.mark.parametrize(("write", "message"), NO_SIZE, ids=range(len(NO_SIZE)))
def test_what_has_no_size(write: Callable[[BtfWriter], int], message: str) -> None:
    writer = BtfWriter()
    id = write(writer)
    with pytest.raises(ObjectError) as refusal:
        writer.btf().size_of(id)
    assert message in str(refusal.value)


# Text ---------------------------------------------------------------------------------------------


def test_a_type_is_written_as_in_c() -> None:
    w = BtfWriter()
    number, char = w.int("int"), w.int("char", 1)
    flow = w.struct("flow", 4, ("a", number, 0))
    text = w.modifier(Kind.CONST, char)
    proto = w.proto(number, ("skb", w.ptr(flow)), ("", 0))
    cases = [
        (number, "int"),
        (0, "void"),
        (w.ptr(flow), "struct flow *"),
        (w.ptr(w.ptr(text)), "const char **"),
        (w.modifier(Kind.CONST, w.ptr(char)), "char *const"),
        (w.array(w.array(char, 3), 2), "char [2][3]"),
        (w.ptr(w.array(number, 4)), "int (*)[4]"),
        (w.ptr(proto), "int (*)(struct flow *skb, ...)"),
        (w.func("main", proto), "int main(struct flow *skb, ...)"),
        (w.func("none", w.proto(0)), "void none(void)"),
        (w.var("table", w.array(number, 0)), "int table[]"),
        (w.union("", 4), "union {...}"),
        (w.fwd("later"), "struct later"),
        (w.enum("state", {}), "enum state"),
        (w.ptr(w.modifier(Kind.TYPE_TAG, flow, "rcu")), "struct flow *"),
    ]
    btf = w.btf()
    assert [type_name(btf, id) for id, _ in cases] == [text for _, text in cases]


def test_a_type_that_never_ends_is_cut() -> None:
    w = BtfWriter()
    w.add(Kind.FUNC_PROTO, vlen=2, size=1, rest=struct.pack("<IIII", 0, 1, 0, 1))
    assert "..." in type_name(w.btf(), 1)
    assert len(type_name(w.btf(), 1)) < 2000


# Damage -------------------------------------------------------------------------------------------


def broken(offset: int, form: str, value: int) -> bytes:
    writer = BtfWriter()
    writer.int("int")
    raw = bytearray(writer.raw())
    struct.pack_into(form, raw, offset, value)
    return bytes(raw)


DAMAGED = [
    (b"", "BTF: 0 bytes are too few for a BTF header, which has 24"),
    (broken(0, ">H", 0xEB9F), "the BTF is big-endian; only little-endian BTF is read here"),
    (broken(0, "<H", 0x1234), "not BTF: it begins with 0x1234, not 0xeb9f"),
    (broken(2, "B", 2), "BTF version 2; only version 1 is known"),
    (broken(4, "<I", 1000), "a BTF header of 1000 bytes in 45"),
    (broken(12, "<I", 1000), "1000 bytes of types at 0 do not fit the 21 bytes of BTF"),
    (broken(20, "<I", 0xFFFFFFFF), "4294967295 bytes of strings at 16 do not fit the 21 bytes of BTF"),
    (broken(20, "<I", 4), "the strings do not begin and end with a zero byte"),
    (broken(28, "<I", 31 << 24), "type 1 is of the unknown kind 31"),
    (broken(28, "<I", Kind.STRUCT << 24 | 7), "type 1 goes beyond the end of the types"),
    (broken(24, "<I", 1000), "a name at 1000; the strings end at 5"),
]


@pytest.mark.parametrize(("raw", "message"), DAMAGED, ids=range(len(DAMAGED)))
def test_damage(raw: bytes, message: str) -> None:
    with pytest.raises(ObjectError) as refusal:
        list(Btf(raw))
    assert message in str(refusal.value)


def test_a_name_without_end() -> None:
    writer = BtfWriter()
    writer.int("x" * 70000)
    with pytest.raises(ObjectError, match="the name at 1 is longer than 65535 bytes"):
        writer.btf().name(1)
