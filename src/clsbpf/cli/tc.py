"""`clsbpf tc`: whose words, and who carries them out.  `tc_main` does."""

from __future__ import annotations

from collections.abc import Sequence

import click

USAGE = """\
clsbpf tc [--socket PATH | --kernel] …

What tc takes, carried out by the daemon that answers on the socket (`clsbpf daemon`), by default the one
that CLSBPF_SOCKET names or the user's own; with --kernel by the kernel's own classifier.
"""


class Words(click.Command):
    """A command whose words are all its own: click reads none of them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """All of them, also those that look like options."""
        ctx.params = {"words": tuple(args)}
        return []


@click.command("tc", cls=Words, add_help_option=False)
def tc(words: tuple[str, ...]) -> None:
    """Carry out a tc command line, on a running daemon or (--kernel) on the kernel.

    \b
    clsbpf tc qdisc add dev lab0 clsact
    clsbpf tc -s filter show dev lab0 ingress
    """
    where, socket, rest = _own_options(words)
    if where == "help":
        click.echo(USAGE)
        rest = ("-help",)
    from .tc_main import main_tc

    raise click.exceptions.Exit(main_tc(rest, kernel=where == "kernel", socket=socket))


def _own_options(words: Sequence[str]) -> tuple[str, str | None, tuple[str, ...]]:
    """What stands before tc's own words: who carries them out."""
    where, socket = "daemon", None
    at = 0
    while at < len(words):
        if words[at] == "--help":
            where = "help"
        elif words[at] == "--kernel":
            where = "kernel"
        elif words[at].startswith("--socket="):
            socket = words[at].partition("=")[2]
        elif words[at] == "--socket" and at + 1 < len(words):
            at += 1
            socket = words[at]
        else:
            break
        at += 1
    if where == "kernel" and socket is not None:
        raise click.UsageError("--socket names a daemon, --kernel is none: one of the two")
    return where, socket, tuple(words[at:])
