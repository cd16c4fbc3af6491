"""Numbers, times, classids, handles and protocols, as tc reads and writes them."""

from __future__ import annotations

import ctypes
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsbpf.tccmd.errors import CommandError
from clsbpf.tccmd.ids import (
    PROTOCOLS,
    format_classid,
    format_protocol,
    parse_class_names,
    parse_classid,
    parse_protocol,
    parse_qdisc_handle,
)
from clsbpf.tccmd.numbers import U16, estimator, microseconds, strtod, strtoul, unsigned

UNSIGNED = [
    ("0", 0),
    ("1", 1),
    ("010", 8),
    ("08", None),
    ("0x10", 16),
    ("0X1f", 31),
    ("0x", None),
    (" 5", 5),
    ("5 ", None),
    ("+5", 5),
    ("-1", None),
    ("-18446744073709551615", 1),
    ("4294967295", 0xFFFFFFFF),
    ("4294967296", None),
    ("99999999999999999999", None),
    ("9" * 5000, None),
    ("", None),
    ("x", None),
    ("1x", None),
    ("٣", None),
]


@pytest.mark.parametrize(("text", "value"), UNSIGNED)
def test_unsigned(text: str, value: int | None) -> None:
    assert unsigned(text) == value


def test_unsigned_of_16_bits() -> None:
    assert unsigned("65535", U16) == 65535
    assert unsigned("65536", U16) is None


_libc = ctypes.CDLL(None)
_libc.strtoul.restype = ctypes.c_ulong
_libc.strtod.restype = ctypes.c_double


@pytest.mark.skipif(ctypes.sizeof(ctypes.c_ulong) != 8, reason="this machine's long is not 64 bits")
@given(st.text(alphabet="0123456789abfxX+- \t:gz", max_size=24), st.sampled_from([0, 10, 16]))
def test_strtoul_is_the_c_librarys(text: str, base: int) -> None:
    """Value and rest are those of strtoul(3)."""
    data = text.encode()
    buffer = ctypes.create_string_buffer(data)
    end = ctypes.c_char_p()
    value = _libc.strtoul(buffer, ctypes.byref(end), base)
    assert strtoul(text, base) == (value, (end.value or b"").decode())


@given(st.text(alphabet="0123456789.eExXpPinfa+- \tsm", max_size=16))
def test_strtod_is_the_c_librarys(text: str) -> None:
    """Value and rest are those of strtod(3)."""
    buffer = ctypes.create_string_buffer(text.encode())
    end = ctypes.c_char_p()
    value = _libc.strtod(buffer, ctypes.byref(end))
    ours, rest = strtod(text)
    assert (ours == value or (math.isnan(ours) and math.isnan(value)), rest) == (
        True,
        (end.value or b"").decode(),
    )


TIMES = [
    ("1s", 1_000_000),
    ("1sec", 1_000_000),
    ("2SECS", 2_000_000),
    ("250ms", 250_000),
    ("1.5ms", 1500),
    ("7us", 7),
    ("7", 7),
    ("1e3", 1000),
    ("0x10s", 16_000_000),
    ("1m", None),
    ("s", None),
    ("", None),
    ("inf", 0),
    ("nan", 0),
    ("1e300s", 0),
]


@pytest.mark.parametrize(("text", "value"), TIMES)
def test_times(text: str, value: int | None) -> None:
    assert microseconds(text) == value


ESTIMATORS = [
    ((250_000, 1_000_000), (-2, 2)),
    ((1_000_000, 4_000_000), (0, 2)),
    ((8_000_000, 60_000_000), (3, 3)),
    ((8_000_001, 60_000_000), None),
    ((1, 1), None),
    ((1_000_000, 1_000_000), None),
    ((1, 0xFFFFFFFF), None),
]


@pytest.mark.parametrize(("times", "rate"), ESTIMATORS)
def test_estimators(times: tuple[int, int], rate: tuple[int, int] | None) -> None:
    assert estimator(*times) == rate


CLASSIDS = [
    ("1:1", 0x10001, "1:1"),
    ("1:", 0x10000, "1:"),
    (":5", 5, ":5"),
    ("ffff:fff2", 0xFFFFFFF2, "ffff:fff2"),
    ("FFFF:", 0xFFFF0000, "ffff:"),
    ("10", 0x10, ":10"),
    ("0x1:0x2", 0x10002, "1:2"),
    ("root", 0xFFFFFFFF, "root"),
    ("none", 0, "none"),
    ("0", 0, "none"),
    (":", 0, "none"),
    ("100000001", 1, ":1"),
    ("-1", 0xFFFFFFFF, "root"),
]


@pytest.mark.parametrize(("text", "classid", "shown"), CLASSIDS)
def test_classids(text: str, classid: int, shown: str) -> None:
    assert parse_classid(text) == classid
    assert format_classid(classid) == shown


@pytest.mark.parametrize(
    "text", ["", "x", "roo", "1:x", "1:2:3", "10000:1", "1:10000", "-1:1", " :2", "1: ", "1 :2"]
)
def test_what_is_no_classid(text: str) -> None:
    assert parse_classid(text) is None


@given(st.integers(0, 0xFFFFFFFF))
def test_a_classid_as_written_is_read_again(classid: int) -> None:
    assert parse_classid(format_classid(classid)) == classid


HANDLES = [
    ("1:", 0x10000),
    ("1", 0x10000),
    ("ffff:anything", 0xFFFF0000),
    ("none", 0),
    ("10000:", None),
    ("x", None),
]


@pytest.mark.parametrize(("text", "handle"), HANDLES)
def test_qdisc_handles(text: str, handle: int | None) -> None:
    assert parse_qdisc_handle(text) == handle


@pytest.mark.parametrize(("number", "name"), PROTOCOLS)
def test_protocol_names(number: int, name: str) -> None:
    assert parse_protocol(name) == parse_protocol(name.upper()) == number
    assert parse_protocol(format_protocol(number)) == number


def test_protocols_by_number() -> None:
    assert parse_protocol("0x800") == parse_protocol("2048") == 0x800
    assert parse_protocol("65536") is None
    assert parse_protocol("nosuch") is None
    assert format_protocol(0x800) == "ip"
    assert format_protocol(0x1234) == "[4660]"
    assert format_protocol(0x800, numeric=True) == "[2048]"


def test_class_names() -> None:
    names = parse_class_names("# comment\n\n1:1 web # 80\n0x10002 mail\n5 five\n9000:1 lost\n", "tc_cls")
    assert names == {0x10001: "web", 0x10002: "mail", 5: "five"}
    assert format_classid(0x10001, names) == "web#1:1"
    with pytest.raises(CommandError, match="Database tc_cls is corrupted at what is this"):
        parse_class_names("1:1 web\nwhat is this\n", "tc_cls")
