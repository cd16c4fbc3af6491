"""`clsbpf bench`: what a policy costs on a capture, by backend, by filter and by program."""

from __future__ import annotations

import json as json_text
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from ..profile import PROFILES
from .run import ORDER, FilterKind, InOrder

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress as Bar

    from ..engine.bench import Bench, FilterFigure

MAX_ROUNDS = 1000


@click.command("bench", cls=InOrder)
@click.argument("capture")
@click.option("-b", "--batch", "policy", metavar="POLICY", help="A policy: a file for `tc -batch`.")
@click.option("-e", "--expression", multiple=True, metavar="EXPRESSION", help="A tcpdump expression. [*]")
@click.option(
    "--bytecode", multiple=True, metavar="TEXT", help="A program as tc and tcpdump -ddd write it. [*]"
)
@click.option(
    "-o", "--object", multiple=True, metavar="FILE[:PROGRAM]", help="A program of a compiled object. [*]"
)
@click.option("--dev", metavar="NAME", help="The device of the policy where the captures arrive.")
@click.option(
    "--hook",
    type=click.Choice(["ingress", "egress"]),
    default="ingress",
    show_default=True,
    help="Where on that device.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, MAX_ROUNDS),
    default=5,
    show_default=True,
    help="Runs of the native backend, whose median counts.",
)
@click.option(
    "--kernel/--no-kernel",
    default=None,
    help="Ask this machine's kernel, too (BPF_PROG_TEST_RUN).  [default: as root]",
)
@click.option(
    "--profile",
    type=click.Choice(list(PROFILES)),
    default="current",
    show_default=True,
    help="The kernel whose behaviour counts.",
)
@click.option(
    "--skip-unsupported", is_flag=True, help="Leave out the policy's lines of other classifier kinds."
)
@click.option("--json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def bench(
    ctx: click.Context,
    capture: str,
    policy: str | None,
    expression: tuple[str, ...],
    bytecode: tuple[str, ...],
    object: tuple[str, ...],
    dev: str | None,
    hook: str,
    rounds: int,
    kernel: bool | None,
    profile: str,
    skip_unsupported: bool,
    json: bool,
) -> None:
    """Measure a policy, or filters [*] as `clsbpf run` takes them, on a capture's packets.

    \b
    clsbpf bench office.pcap -b policy.tc
    clsbpf bench office.pcap -e 'tcp port 443' -e 'udp port 53'
    sudo clsbpf bench office.pcap --object prog.o:classifier

    Nanoseconds a packet of each backend, of each filter's program, and of the same program in this
    machine's kernel where it may be asked; and each filter's share of the time.  Results are compared
    with the interpreter's first.
    """
    texts: dict[FilterKind, Iterator[str]] = {
        "expression": iter(expression),
        "bytecode": iter(bytecode),
        "object": iter(object),
    }
    filters = [(kind, next(texts[kind])) for kind in ctx.meta[ORDER] if kind in texts]
    if (policy is None) == (not filters):
        raise click.UsageError("what is measured? Give a policy (-b), or filters: -e, --bytecode, --object.")
    if policy is None and (dev is not None or skip_unsupported):
        raise click.UsageError("--dev and --skip-unsupported are for a policy (-b).")

    from ..api.bench import bench_filters, bench_policy
    from ..api.filters import FilterText

    asked = is_root() if kernel is None else kernel
    with Meter() as meter:
        if policy is not None:
            measured, refusal = bench_policy(
                capture,
                policy,
                dev=dev,
                hook=hook,
                profile=profile,
                skip_unsupported=skip_unsupported,
                rounds=rounds,
                kernel=asked,
                report=meter.show,
            )
        else:
            measured, refusal = bench_filters(
                capture,
                [FilterText(kind, text) for kind, text in filters],
                hook=hook,
                profile=profile,
                rounds=rounds,
                kernel=asked,
                report=meter.show,
            )
    if asked and refusal is not None:
        click.echo(f"clsbpf: warning: the kernel: {refusal}", err=True)
    for warning in measured.warnings:
        click.echo(f"clsbpf: warning: {warning}", err=True)
    if json:
        click.echo(json_text.dumps(as_json(capture, measured)))
        return
    from rich.console import Console

    from .execute import PIPED_WIDTH

    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
    with console.capture() as captured:
        ascii_only = not console.encoding.startswith("utf")
        console.print(as_table(capture, measured, ascii_only=ascii_only))
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(captured.get().encode(encoding, "backslashreplace").decode(encoding), nl=False)


def is_root() -> bool:
    """May this process load programs, as far as one can tell?"""
    import os

    return hasattr(os, "geteuid") and os.geteuid() == 0


class Meter:
    """Shows what is being measured where standard error is a terminal."""

    def __init__(self) -> None:
        self._bar: Bar | None = None

    def show(self, what: str, done: int, of: int) -> None:
        """What is going on, and how much of it is done."""
        if not sys.stderr.isatty():
            return
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._bar.add_task("", total=None)
        self._bar.update(self._bar.task_ids[0], description=what, completed=done, total=of)

    def __enter__(self) -> Meter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def as_json(capture: str, measured: Bench) -> dict[str, Any]:
    """The object that `--json` prints; times are nanoseconds a packet."""
    return {
        "version": 1,
        "capture": capture,
        "packets": measured.packets,
        "bytes": measured.bytes,
        "walk_ns": round(measured.walk, 1),
        "backends": [
            {"name": each.name, "ns": round(each.nanoseconds, 1), "packets": each.packets}
            for each in measured.backends
        ],
        "filters": [filter_json(each) for each in measured.filters],
    }


def filter_json(each: FilterFigure) -> dict[str, Any]:
    """One filter."""
    from ..tc.ids import format_classid, format_handle

    return {
        "parent": format_classid(each.parent) if each.parent else None,
        "chain": each.chain,
        "pref": each.pref,
        "protocol": each.protocol,
        "handle": format_handle(each.handle),
        "flowid": format_classid(each.flowid) if each.flowid else None,
        "program_ns": rounded(each.nanoseconds),
        "kernel_ns": rounded(each.kernel),
        "arrivals": each.arrivals,
        "packets": each.decided,
        "share": round(each.share, 4),
    }


def rounded(value: float | None) -> float | None:
    """A figure with one decimal, where there is one."""
    return None if value is None else round(value, 1)


def as_table(capture: str, measured: Bench, *, ascii_only: bool = False) -> RenderableType:
    """The tables for people."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from ..tc.ids import format_classid
    from .report import Bars, filter_cells, human_bytes, printable

    head = Text(printable(capture), style="bold")
    head.append(f": {measured.packets:,} packets, {human_bytes(measured.bytes)}", style="not bold")
    backends = Table(box=None, padding=(0, 2, 0, 0), header_style="bold cyan")
    backends.add_column("backend")
    for title in ("ns a packet", "million packets/s", "measured on"):
        backends.add_column(title, justify="right", no_wrap=True)
    for each in measured.backends:
        rate = f"{1e3 / each.nanoseconds:.3f}"
        backends.add_row(each.name, f"{each.nanoseconds:,.1f}", rate, f"{each.packets:,}")
    if measured.walk:
        backends.add_row("no filter", f"{measured.walk:,.1f}", "", f"{measured.packets:,}", style="dim")

    bars = Bars(1.0, ascii_only, True)
    chains = any(each.chain for each in measured.filters)
    parents = any(each.parent for each in measured.filters)
    filters = Table(box=None, padding=(0, 2, 0, 0), header_style="bold cyan")
    if parents:
        filters.add_column("parent", no_wrap=True)
    for title in ("chain", "pref")[not chains :]:
        filters.add_column(title, justify="right", no_wrap=True)
    for title in ("protocol", "handle", "flowid"):
        filters.add_column(title, no_wrap=True)
    filters.add_column("matches", overflow="fold", max_width=40)
    for title in ("come to it", "program ns", "kernel ns", "share"):
        filters.add_column(title, justify="right", no_wrap=True)
    filters.add_column("", style="green", no_wrap=True)
    for row in measured.filters:
        filters.add_row(
            *([format_classid(row.parent) if row.parent else ""] if parents else []),
            *([str(row.chain)] if chains else []),
            *filter_cells(row),
            f"{row.arrivals:,}",
            "-" if row.nanoseconds is None else f"{row.nanoseconds:,.1f}",
            "-" if row.kernel is None else f"{row.kernel:,.1f}",
            *bars.cells(row.share),
        )
    return Group(head, Text(), backends, Text(), filters)
