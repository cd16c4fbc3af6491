"""Attributes: values to bytes and back, from one list; and what a hostile stream may do (nothing)."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsbpf.errors import ClsbpfError
from clsbpf.netlink import attr as nla
from clsbpf.netlink.attr import Attr

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="bytes of a little-endian host")

# name, attribute, its bytes, how it reads
CASES = [
    ("u8", nla.u8(12, 0), "0500 0c00 00 000000", ("u8", 0)),
    ("u16", nla.u16(4, 0x0102), "0600 0400 0201 0000", ("u16", 0x0102)),
    ("u32", nla.u32(3, 0x00010001), "0800 0300 01000100", ("u32", 0x00010001)),
    ("u64", nla.u64(8, 2**63), "0c00 0800 0000000000000080", ("u64", 2**63)),
    ("string", nla.string(1, "bpf"), "0800 0100 62706600", ("string", "bpf")),
    ("string, padded", nla.string(1, "clsact"), "0b00 0100 636c7361637400 00", ("string", "clsact")),
    ("empty string", nla.string(1, ""), "0500 0100 00 000000", ("string", "")),
    ("string, not UTF-8", nla.string(1, "\udcff"), "0600 0100 ff00 0000", ("string", "\udcff")),
    ("flag", nla.flag(10), "0400 0a00", ("payload", b"")),
    ("binary", nla.binary(5, b"\1\2\3"), "0700 0500 010203 00", ("payload", b"\1\2\3")),
    ("nest", nla.nest(2, [nla.u8(1, 7)]), "0c00 0200 0500 0100 07000000", ("attrs", [nla.u8(1, 7)])),
    (
        "nest, flagged",
        nla.nest(2, [nla.flag(1)], flagged=True),
        "0800 0280 0400 0100",
        ("attrs", [nla.flag(1)]),
    ),
    ("empty nest", nla.nest(2, []), "0400 0200", ("attrs", [])),
]


@pytest.mark.parametrize(("attr", "raw", "reads"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_both_ways(attr: Attr, raw: str, reads: tuple[str, object]) -> None:
    data = bytes.fromhex(raw)
    assert nla.encode_attrs([attr]) == data
    (read,) = nla.iter_attrs(data)
    assert read == attr
    name, value = reads
    got = getattr(read, name)
    assert (got() if callable(got) else got) == value


def test_a_stream_in_order_with_offsets() -> None:
    stream = nla.encode_attrs([case[1] for case in CASES])
    read = list(nla.iter_attrs(stream, offset=36))
    assert read == [case[1] for case in CASES]
    assert [attr.offset - 36 for attr in read] == [
        len(nla.encode_attrs([case[1] for case in CASES[:n]])) for n in range(len(CASES))
    ]
    assert nla.leftover(stream) == 0


def test_the_offsets_inside_a_nest_count_from_the_same_place() -> None:
    (outer,) = nla.iter_attrs(nla.encode_attrs([nla.nest(2, [nla.u8(1, 0), nla.u8(2, 0)])]), offset=44)
    assert [inner.offset for inner in outer.attrs()] == [48, 56]


@pytest.mark.parametrize(
    ("raw", "attrs", "left"),
    [
        ("", 0, 0),
        ("0400", 0, 2),
        ("0300 0100 00", 0, 5),  # shorter than its own header
        ("0900 0100 00000000", 0, 8),  # longer than what is there
        ("0500 0100 07", 1, -3),  # the last one's padding is missing: fine
        ("0500 0100 07000000 0200", 1, 2),
        ("0000 0000 0000 0000", 0, 8),  # a zero length must not loop for ever
    ],
)
def test_a_cut_stream_ends_before_the_first_that_is_not_whole(raw: str, attrs: int, left: int) -> None:
    data = bytes.fromhex(raw)
    assert len(list(nla.iter_attrs(data))) == attrs
    assert nla.leftover(data) == left


def test_a_longer_number_is_read_from_its_start() -> None:
    assert Attr(3, b"\1\0\0\0\xff\xff").u32 == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: nla.u16(4, 65536),
        lambda: nla.u32(3, -1),
        lambda: Attr(0x4000),
        lambda: nla.binary(5, bytes(65536)),
        lambda: Attr(3, b"\1\2").u32,
    ],
)
def test_what_cannot_be_said_in_an_attribute(make: object) -> None:
    with pytest.raises(ClsbpfError):
        make()  # type: ignore[operator]


@given(st.binary(max_size=64))
def test_fuzz_any_bytes(data: bytes) -> None:
    """Whatever the bytes, reading ends, and what was read encodes to bytes that read the same."""
    read = list(nla.iter_attrs(data))
    assert list(nla.iter_attrs(nla.encode_attrs(read))) == read
