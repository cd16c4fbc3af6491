"""What a run shows: the JSON object as the design fixes it, and the table for people."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from clsbpf.cli.report import Heading, as_json, human_bytes, print_report, printable
from clsbpf.engine.results import ClassCount, FilterCount, Results

WEB = FilterCount(0, 10, "ip", 1, 0x10010, None, "tcp port 80", packets=750, bytes=90_000)
DROP = FilterCount(3, 49152, "all", 0xABC, 0, "drop.o:[tc]", "eBPF program", packets=0, bytes=0)

RESULTS = Results(
    packets=1000,
    bytes=123_456,
    truncated=7,
    seconds=0.5,
    plan_seconds=0.25,
    filters=(WEB, DROP),
    verdicts={"unspec": 250, "ok": 700, "shot": 0, "redirect": 50},
    classes=(ClassCount(0x10010, 750, 90_000),),
    undecided=250,
    link_types=("EN10MB",),
)
NOTHING = Results(0, 0, 0, 0.0, 0.0, (), {}, (), 0)


def test_the_json_object() -> None:
    assert json.loads(as_json(RESULTS)) == {
        "version": 1,
        "packets": 1000,
        "bytes": 123456,
        "truncated": 7,
        "seconds": 0.5,
        "plan_seconds": 0.25,
        "filters": [
            {
                "chain": 0,
                "pref": 10,
                "protocol": "ip",
                "handle": "0x1",
                "flowid": "1:10",
                "name": None,
                "packets": 750,
                "bytes": 90000,
            },
            {
                "chain": 3,
                "pref": 49152,
                "protocol": "all",
                "handle": "0xabc",
                "flowid": None,
                "name": "drop.o:[tc]",
                "packets": 0,
                "bytes": 0,
            },
        ],
        "verdicts": {"unspec": 250, "ok": 700, "shot": 0, "redirect": 50},
        "classes": [{"classid": "1:10", "packets": 750, "bytes": 90000}],
    }
    assert list(json.loads(as_json(NOTHING))["verdicts"]) == ["unspec", "ok", "shot"]


def shown(results: Results, *, encoding: str = "utf-8", width: int = 200) -> list[str]:
    """The report's lines as they come out of a pipe."""
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        print_report(console, Heading(["a.pcap", "b\x1b[2J.pcap"], "ingress of lab0"), results)
    return [line.rstrip() for line in captured.get().splitlines()]


def row(lines: list[str], *cells: str) -> str:
    """The one line that holds all these cells."""
    (found,) = [line for line in lines if all(cell in line.split() for cell in cells)]
    return found


def test_the_table() -> None:
    lines = shown(RESULTS)
    assert lines[0] == r"a.pcap, b\x1b[2J.pcap: 1,000 packets, 123.5 kB, EN10MB, ingress of lab0"
    assert row(lines, "chain", "pref", "protocol", "handle", "flowid", "matches", "packets", "bytes", "share")
    assert row(lines, "0", "10", "ip", "0x1", "1:10", "tcp", "80", "750", "90,000", "75.0%").endswith("█" * 9)
    assert "drop.o:[tc] (eBPF program)" in row(lines, "3", "49152", "0xabc", "-", "0.0%")
    assert row(lines, "no", "filter", "decided", "250", "25.0%")
    assert row(lines, "redirect", "50", "5.0%")
    assert not any(line.split()[:1] == ["shot"] for line in lines)
    assert ["1:10", "750", "90,000", "75.0%", "█" * 9] in [line.split() for line in lines]
    assert row(lines, "7", "read", "past")
    assert lines[-1] == "0.500 s after 0.250 s of preparing: 0.00 million packets/s, 246.9 kB/s"


def test_chains_are_named_only_where_there_are_any() -> None:
    assert not any("chain" in line.split() for line in shown(NOTHING))


def test_an_empty_run_divides_by_nothing() -> None:
    lines = shown(NOTHING)
    assert row(lines, "no", "filter", "decided", "0.0%")
    assert lines[-1] == "0.000 s after 0.000 s of preparing"


def test_without_unicode_the_bars_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Console, "encoding", "ascii")
    assert row(shown(RESULTS), "1:10", "ip").endswith("#" * 9)
    "\n".join(shown(RESULTS)).encode("ascii")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_343_162_790, "1.3 GB"),
        (10**18, "1000.0 PB"),
    ],
)
def test_bytes_for_people(count: int, text: str) -> None:
    assert human_bytes(count) == text


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain ü", "plain ü"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb", r"a\nb"),
        ("\udcff", r"\udcff"),
        ("\u202e", r"\u202e"),
    ],
)
def test_nothing_moves_the_cursor(text: str, safe: str) -> None:
    assert printable(text) == safe


@pytest.mark.parametrize("width", [80, 99, 100, 200])
def test_no_number_is_cut_in_a_terminal_of_usual_width(width: int) -> None:
    """Where there is little room, bars are left out and what filters match takes more lines."""
    lines = shown(RESULTS, width=width)
    for each in RESULTS.filters:
        assert any(f"{each.packets:,} " in line and f"{each.bytes:,} " in line for line in lines)
    assert "…" not in "".join(lines)
    assert all(len(line) <= width for line in lines)
