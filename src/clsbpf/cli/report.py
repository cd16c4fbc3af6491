"""What a run shows: the table for people and the object for programs.

Numbers are packets as they were decided and bytes as they were on the wire.  A share is of all packets.
What comes from a policy or a file name is shown without its control characters: a report must not be
able to move the cursor.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..engine.results import FilterCount, Results
from ..tc.ids import format_classid, format_handle

if TYPE_CHECKING:
    from ..engine.bench import FilterFigure

BAR_CELLS = 12
WIDE = 100
"""Columns of a terminal that has room for bars, too."""
EIGHTHS = " ▏▎▍▌▋▊▉█"
UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


@dataclass(frozen=True, slots=True)
class Heading:
    """What was run: the captures' names, and where their packets arrived (None: nowhere in particular)."""

    captures: Sequence[str]
    place: str | None = None


def as_json(results: Results) -> str:
    """The object that `clsbpf run --json` prints, on one line."""
    return json.dumps(results.summary())


def print_report(console: Console, heading: Heading, results: Results) -> None:
    """The table, for people."""
    ascii_only = not console.encoding.startswith("utf")
    console.print(report(heading, results, ascii_only=ascii_only, bars=console.width >= WIDE))


def report(
    heading: Heading, results: Results, *, ascii_only: bool = False, bars: bool = True
) -> RenderableType:
    """The tables and the lines around them; `bars` only where they take no room from numbers."""
    shares = Bars(results.packets, ascii_only, bars)
    parts: list[RenderableType] = [_first_line(heading, results), Text(), _filters(results, shares), Text()]
    parts += [_verdicts(results, shares), Text()]
    if results.classes:
        parts += [_classes(results, shares), Text()]
    parts.append(_last_line(results))
    return Group(*parts)


def _first_line(heading: Heading, results: Results) -> Text:
    line = Text(", ".join(map(printable, heading.captures)), style="bold")
    facts = [f"{results.packets:,} packets", human_bytes(results.bytes), *results.link_types]
    if heading.place:
        facts.append(printable(heading.place))
    return line.append(": " + ", ".join(facts), style="not bold")


def _filters(results: Results, bars: Bars) -> Table:
    chains = any(each.chain for each in results.filters)
    parents = any(each.parent for each in results.filters)
    table = _table()
    for title, shown in (("parent", parents), ("chain", chains), ("pref", True)):
        if shown:
            table.add_column(title, justify="right", no_wrap=True)
    for title in ("protocol", "handle", "flowid"):
        table.add_column(title, no_wrap=True)
    table.add_column("matches", overflow="fold", max_width=40)  # what wraps makes room for numbers
    _add_counts(table)
    for each in results.filters:
        where = [format_classid(each.parent) if each.parent else "-"] if parents else []
        where += [str(each.chain)] if chains else []
        table.add_row(
            *where, *filter_cells(each), *_counts(each.packets, each.bytes), *bars.cells(each.packets)
        )
    blank = [""] * (4 + chains + parents)
    undecided = Text("no filter decided", style="dim")
    table.add_row(
        *blank, undecided, f"{results.undecided:,}", "", *bars.cells(results.undecided), style="dim"
    )
    return table


def filter_cells(each: FilterCount | FilterFigure) -> list[str | Text]:
    """Where a filter is and what it matches."""
    flowid = format_classid(each.flowid) if each.flowid else "-"
    name = each.name if isinstance(each, FilterCount) else None
    both = name and name != each.matches
    matches = f"{name} ({each.matches})" if both else each.matches
    return [str(each.pref), each.protocol, format_handle(each.handle), flowid, Text(printable(matches))]


def _verdicts(results: Results, bars: Bars) -> Table:
    table = _table()
    table.add_column("verdict")
    _add_counts(table, size=False)
    for name, packets in sorted(results.verdicts.items(), key=lambda item: -item[1]):
        if packets:
            table.add_row(name, f"{packets:,}", *bars.cells(packets))
    return table


def _classes(results: Results, bars: Bars) -> Table:
    table = _table()
    table.add_column("class")
    _add_counts(table)
    for each in results.classes:
        table.add_row(
            format_classid(each.classid), *_counts(each.packets, each.bytes), *bars.cells(each.packets)
        )
    return table


def _last_line(results: Results) -> Text:
    line = Text()
    if results.truncated:
        line.append(
            f"{results.truncated:,} packets were read past the end of what was captured of them:"
            " their verdicts may be others than on the wire\n",
            style="yellow",
        )
    if results.faulted:
        line.append(f"{results.faulted:,} packets made a program fault and have no verdict\n", style="yellow")
    rate = ""
    if results.seconds > 0:
        rate = (
            f": {results.packets / results.seconds / 1e6:.2f} million packets/s,"
            f" {human_bytes(results.bytes / results.seconds)}/s"
        )
    return line.append(f"{results.seconds:.3f} s after {results.plan_seconds:.3f} s of preparing{rate}")


def _table() -> Table:
    return Table(box=None, padding=(0, 2, 0, 0), header_style="bold cyan")


def _add_counts(table: Table, *, size: bool = True) -> None:
    table.add_column("packets", justify="right", no_wrap=True)
    if size:
        table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("", style="green", no_wrap=True)


def _counts(packets: int, size: int) -> list[str]:
    return [f"{packets:,}", f"{size:,}"]


@dataclass(frozen=True, slots=True)
class Bars:
    """Shares of a whole, in per cent and as a bar."""

    whole: float
    ascii_only: bool
    shown: bool

    def cells(self, part: float) -> list[str]:
        """A share's two cells."""
        share = part / self.whole if self.whole else 0.0
        return [f"{share:.1%}", self.bar(share).ljust(BAR_CELLS) if self.shown else ""]

    def bar(self, share: float) -> str:
        """What is not nothing shows: at least an eighth of a cell."""
        if self.ascii_only:
            return "#" * max(round(share * BAR_CELLS), share > 0)
        eighths = max(round(share * BAR_CELLS * 8), share > 0)
        return (EIGHTHS[8] * (eighths // 8) + EIGHTHS[eighths % 8]).rstrip()


def human_bytes(count: float) -> str:
    """Bytes with a unit: `1.5 MB`; powers of ten, as disks and networks have them."""
    for unit in UNITS:
        if count < 1000 or unit == UNITS[-1]:
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def printable(text: str) -> str:
    """The text with each control character spelled out."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
