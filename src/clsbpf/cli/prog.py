"""`clsbpf prog`: looks at the programs of an object.  `objects.py` says what there is to tell."""

from __future__ import annotations

from importlib import import_module

import click

BTF = click.option(
    "--btf",
    metavar="FILE",
    help="The kernel's types (BTF) that programs are made to fit; by default this machine's.",
)
NO_VERIFY = click.option(
    "--no-verify",
    is_flag=True,
    help="Do not verify objects' programs: they run in the checked interpreter, which is slow.",
)


_ELSEWHERE = {"run": ("prog_run", "run_program"), "verify": ("verify", "verify_programs")}
"""Commands of modules of their own, which are imported when they are asked for."""


class Prog(click.Group):
    """The commands here and elsewhere."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All of them, as the help lists them."""
        return sorted([*super().list_commands(ctx), *_ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name."""
        if cmd_name not in _ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module, name = _ELSEWHERE[cmd_name]
        command = getattr(import_module(f".{module}", __package__), name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Prog)
def prog() -> None:
    """Look at the BPF programs in an object (.o)."""


@prog.command()
@click.argument("object", metavar="OBJECT")
@BTF
@click.option("--json", is_flag=True, help="Print one JSON object.")
def show(object: str, btf: str | None, json: bool) -> None:
    """Show its programs, maps and variables, the helpers that it calls, and what it needs.

    \b
    clsbpf prog show prog.o
    """
    from ..objfile import read_object
    from ..vm.helpers import KFUNCS
    from .objects import as_json, as_text, describe

    described = describe(read_object(object, btf=btf, kfuncs=KFUNCS))
    click.echo(as_json(described) if json else as_text(described))


@prog.command()
@click.argument("object", metavar="OBJECT")
@click.argument("section", metavar="[SECTION]", required=False)
@BTF
@click.option("--source", is_flag=True, help="Show the source lines that instructions come from.")
def dump(object: str, section: str | None, btf: str | None, source: bool) -> None:
    """Disassemble programs as they would be loaded: all, those of a section, or that of a function.

    The section .BTF is shown as `bpftool btf dump` does.

    \b
    clsbpf prog dump prog.o classifier --source
    """
    from ..objfile import read_object
    from ..vm.helpers import KFUNCS
    from .objects import dump_btf, dump_programs

    spec = read_object(object, btf=btf, kfuncs=KFUNCS)
    lines = dump_btf(spec) if section == ".BTF" else dump_programs(spec, section, source=source)
    for line in lines:
        click.echo(line)
