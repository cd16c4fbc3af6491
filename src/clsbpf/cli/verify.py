"""`clsbpf prog verify`: would the kernel take these programs, and if not, why?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ObjectError
from ..profile import PROFILES
from .prog import BTF

if TYPE_CHECKING:
    from ..bpf.spec import ObjectSpec, ProgramSpec
    from ..verifier.verdict import Verdict


@click.command("verify")
@click.argument("object", metavar="OBJECT")
@click.argument("programs", metavar="[PROGRAM]…", nargs=-1)
@BTF
@click.option("-v", "--verbose", is_flag=True, help="Print the whole log, in the kernel's form.")
@click.option(
    "--profile", type=click.Choice(list(PROFILES)), default="current", help="The kernel release that judges."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--sarif", metavar="FILE", help="Write what was refused as SARIF 2.1.0, for code reviews.")
def verify_programs(
    object: str,
    programs: tuple[str, ...],
    btf: str | None,
    verbose: bool,
    profile: str,
    as_json: bool,
    sarif: str | None,
) -> None:
    """Judge programs as the kernel's verifier would, without a kernel.  All of the object's by default.

    Exit code 1 when one is refused.

    \b
    clsbpf prog verify prog.o
    clsbpf prog verify prog.o firewall -v --profile 5.15
    """
    import json

    from ..bpf.spec import RUNNABLE_TYPES
    from ..objfile import read_object
    from ..verifier.verdict import as_sarif, judge

    spec = read_object(object, btf=btf)
    wanted = [spec.program(name) for name in programs] if programs else list(_judged(spec))
    if not wanted:
        raise ObjectError(f"{spec.name}: no program of a type that is judged: {', '.join(RUNNABLE_TYPES)}")
    verdicts = []
    for program in wanted:
        verdicts.append(judge(program, btf=spec.btf, profile=PROFILES[profile], verbose=verbose))
        if not as_json:
            _print(verdicts[-1], verbose)
    if sarif is not None:
        Path(sarif).write_text(json.dumps(as_sarif(verdicts), indent=1) + "\n")
    if as_json:
        shown: dict[str, Any] = {
            "version": 1,
            "object": object,
            "profile": profile,
            "programs": [v.as_json() for v in verdicts],
        }
        click.echo(json.dumps(shown))
    if not all(verdict.accepted for verdict in verdicts):
        raise click.exceptions.Exit(1)


def _judged(spec: ObjectSpec) -> list[ProgramSpec]:
    """The programs of types that are judged here; the others are named only when asked for."""
    from ..bpf.spec import RUNNABLE_TYPES

    return [program for program in spec.programs.values() if program.type in RUNNABLE_TYPES]


def _print(verdict: Verdict, verbose: bool) -> None:
    from .objects import printable

    if verbose and verdict.log:
        click.echo(verdict.log, nl=False)
    for line in verdict.text.splitlines():
        click.echo(printable(line))
