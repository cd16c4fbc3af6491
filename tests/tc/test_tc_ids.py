"""Class ids and handles: as tc reads and writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsbpf.errors import ClsbpfError
from clsbpf.tc import ids

BOTH_WAYS = [
    (0x00010010, "1:10"),
    (0x00010000, "1:"),
    (0x00000001, ":1"),
    (0xFFFF0000, "ffff:"),
    (0xFFFFFFF2, "ffff:fff2"),
    (0xABCDEF01, "abcd:ef01"),
    (0, "none"),
    (0xFFFFFFFF, "root"),
]
READ_ONLY = [("10", 0x10), ("10001", 0x10001), ("0x1:0x2", 0x10002), ("1:00f", 0x1000F), (":", 0), ("0:0", 0)]
REFUSED = ["", "x", "1:2:3", "10000:", "1:10000", "100000000", "-1", " 1", "1: 2", "1:-1", "0x", "roots"]


@pytest.mark.parametrize(("classid", "text"), BOTH_WAYS)
def test_classid_both_ways(classid: int, text: str) -> None:
    assert ids.format_classid(classid) == text
    assert ids.parse_classid(text) == classid


@pytest.mark.parametrize(("text", "classid"), READ_ONLY)
def test_other_ways_to_write_one(text: str, classid: int) -> None:
    assert ids.parse_classid(text) == classid


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    with pytest.raises(ClsbpfError, match="is not a class id"):
        ids.parse_classid(text)


@given(st.integers(0, 0xFFFFFFFF))
def test_what_is_written_is_read_back(classid: int) -> None:
    assert ids.parse_classid(ids.format_classid(classid)) == classid
    assert ids.parse_handle(ids.format_handle(classid)) == classid
    assert ids.major(classid) | ids.minor(classid) == classid == ids.make(classid, classid)


@pytest.mark.parametrize(
    ("text", "handle"),
    [("1", 1), ("0x1F", 31), ("010", 8), ("0", 0), ("4294967295", 0xFFFFFFFF), ("0xffffffff", 0xFFFFFFFF)],
)
def test_handles(text: str, handle: int) -> None:
    assert ids.parse_handle(text) == handle


@pytest.mark.parametrize("text", ["", "-1", "4294967296", "1e", "0x", "09", "0b1", "0o7", "1_0"])
def test_handles_refused(text: str) -> None:
    with pytest.raises(ClsbpfError, match="is not a filter handle"):
        ids.parse_handle(text)


def test_the_parents_of_clsact() -> None:
    assert ids.format_classid(ids.PARENT_INGRESS) == "ffff:fff2"
    assert ids.format_classid(ids.PARENT_EGRESS) == "ffff:fff3"
    assert ids.format_classid(ids.TC_H_CLSACT) == "ffff:fff1"
