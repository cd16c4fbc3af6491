"""`clsbpf run`: its options, and what they come to.  `execute.py` does it.

Filters are tried in the order in which they were given, also when `-e` and `--bytecode` alternate.
click keeps the values of each option apart, so `InOrder` keeps the order of their occurrences too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import click

from ..profile import PROFILES
from .prog import NO_VERIFY

ORDER = "clsbpf.order"
"""Where `InOrder` leaves the parameters' names in a context's `meta`."""

MAX_JOBS = 256

Hook = Literal["ingress", "egress"]
Backend = Literal["native", "jit", "interpreter"]
FilterKind = Literal["expression", "bytecode", "object"]


@dataclass(frozen=True, slots=True)
class Request:
    """What `clsbpf run` is to do; `policy` is a file for `tc -batch`, or else there are `filters`, each
    of a kind and with its text."""

    captures: tuple[str, ...]
    policy: str | None = None
    filters: tuple[tuple[FilterKind, str], ...] = ()
    dev: str | None = None
    hook: Hook = "ingress"
    backend: Backend = "native"
    jobs: int | None = None
    profile: str = "current"
    skip_unsupported: bool = False
    direct_action: bool = True
    keep_going: bool = False
    btf: str | None = None
    verify: bool = True
    json: bool = False
    results: str | None = None
    split: str | None = None


class InOrder(click.Command):
    """A command that knows in which order its options came."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse twice: for the order of occurrences, then as usual."""
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta[ORDER] = [parameter.name for parameter in order]
        return super().parse_args(ctx, args)


@click.command(cls=InOrder)
@click.argument("captures", metavar="CAPTURE...", nargs=-1, required=True)
@click.option("-b", "--batch", "policy", metavar="POLICY", help="A policy: a file for `tc -batch`.")
@click.option("-e", "--expression", multiple=True, metavar="EXPRESSION", help="A tcpdump expression. [*]")
@click.option(
    "--bytecode", multiple=True, metavar="TEXT", help="A program as tc and tcpdump -ddd write it. [*]"
)
@click.option(
    "-o",
    "--object",
    multiple=True,
    metavar="FILE[:PROGRAM]",
    help="A program of a compiled object, by function or section. [*]",
)
@click.option(
    "--no-direct-action",
    is_flag=True,
    help="Objects' programs return a class, not a verdict.",
)
@click.option(
    "--keep-going", is_flag=True, help="Count packets on which a program faults, instead of stopping there."
)
@click.option(
    "--btf", metavar="FILE", help="BTF of the kernel that objects shall fit; by default this one's."
)
@NO_VERIFY
@click.option("--dev", metavar="NAME", help="The device of the policy where the captures arrive.")
@click.option(
    "--hook",
    type=click.Choice(["ingress", "egress"]),
    default="ingress",
    show_default=True,
    help="Where on that device.",
)
@click.option(
    "--backend",
    type=click.Choice(["native", "jit", "interpreter"]),
    default="native",
    show_default=True,
    help="How programs run: all in one native function, each compiled, or interpreted.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, MAX_JOBS),
    help="Workers that read a capture, where that makes no difference to the results."
    "  [default: 2 for a large one, if there are as many processors]",
)
@click.option(
    "--profile",
    type=click.Choice(list(PROFILES)),
    default="current",
    show_default=True,
    help="The kernel whose behaviour counts.",
)
@click.option("--json", is_flag=True, help="Print one JSON object.")
@click.option("--results", metavar="FILE", help="A row a packet, to FILE.parquet, FILE.arrow or FILE.csv.")
@click.option("--split", metavar="DIR", help="A capture a class, in DIR.")
@click.option(
    "--skip-unsupported", is_flag=True, help="Leave out the policy's lines of other classifier kinds."
)
@click.pass_context
def run(
    ctx: click.Context,
    captures: tuple[str, ...],
    policy: str | None,
    expression: tuple[str, ...],
    bytecode: tuple[str, ...],
    object: tuple[str, ...],
    no_direct_action: bool,
    keep_going: bool,
    btf: str | None,
    no_verify: bool,
    dev: str | None,
    hook: Hook,
    backend: Backend,
    jobs: int | None,
    profile: str,
    json: bool,
    results: str | None,
    split: str | None,
    skip_unsupported: bool,
) -> None:
    """Classify the packets of captures ("-": standard input) and count.

    \b
    clsbpf run office.pcap -b policy.tc
    clsbpf run office.pcap -e 'tcp port 443' -e 'udp port 53'
    clsbpf run office.pcap --object prog.o:classifier

    What classifies is a policy, or filters [*], each of which may be given several times: they are
    tried in the order given, the nth with pref n, handle 1, protocol all and flowid 1:n.  A policy and
    programs of objects see packets as the kernel has them at the hook; -e and --bytecode see frames as
    captured.
    """
    texts: dict[FilterKind, Iterator[str]] = {
        "expression": iter(expression),
        "bytecode": iter(bytecode),
        "object": iter(object),
    }
    filters = tuple((kind, next(texts[kind])) for kind in ctx.meta[ORDER] if kind in texts)
    if policy is None and not filters:
        raise click.UsageError("what classifies? Give a policy (-b), -e, --bytecode or --object.")
    if policy is not None and filters:
        raise click.UsageError("a policy (-b) cannot be joined by -e, --bytecode or --object.")
    if policy is None and (dev is not None or skip_unsupported):
        raise click.UsageError("--dev and --skip-unsupported are for a policy (-b).")
    if no_direct_action and not object:
        raise click.UsageError("--no-direct-action is for --object.")
    if captures.count("-") > 1:
        raise click.UsageError("standard input (-) can be read only once.")

    from .execute import execute

    execute(
        Request(
            captures=captures,
            policy=policy,
            filters=filters,
            dev=dev,
            hook=hook,
            backend=backend,
            jobs=jobs,
            profile=profile,
            skip_unsupported=skip_unsupported,
            direct_action=not no_direct_action,
            keep_going=keep_going,
            btf=btf,
            verify=not no_verify,
            json=json,
            results=results,
            split=split,
        )
    )
