"""The `clsbpf` command.

This module is all that `clsbpf --help` needs: it imports click and the commands' options, nothing that
is heavy.  What a command does is imported when the command runs.

What goes wrong is told in one place, `Main.invoke`: a ClsbpfError becomes one message on standard error
and an exit code, tc's own for a line of a policy and 1 for the rest; 2 is a wrong command line, 130 an
interrupted run.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

import click

from ..errors import ClsbpfError, TcError
from .prog import prog
from .prog_run import run_program
from .run import run
from .verify import verify_programs


class Main(click.Group):
    """The group of commands; knows how to tell what went wrong."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what a user can meet becomes a message and an exit code."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except TcError as error:
            raise _failure(str(error), error.exit_code) from None
        except ClsbpfError as error:
            raise _failure(f"clsbpf: {error}", 1) from None
        except KeyboardInterrupt as interrupt:
            how_far = f" {interrupt}" if interrupt.args else ""
            raise _failure(f"clsbpf: interrupted{how_far}", 130) from None
        except BrokenPipeError:
            _forget_stdout()  # the reader has seen enough
            raise click.exceptions.Exit(0) from None
        except OSError as error:
            raise _failure(f"clsbpf: {error}", 1) from None
        except MemoryError:
            raise _failure("clsbpf: out of memory", 1) from None


def _failure(message: str, exit_code: int) -> click.exceptions.Exit:
    click.echo(message, err=True)
    _forget_stdout()
    return click.exceptions.Exit(exit_code)


def _forget_stdout() -> None:
    """Let what could not be written to standard output go nowhere, so that the exit does not fail on it."""
    with suppress(OSError, ValueError):  # not a file: nothing to fail on
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)


@click.group(cls=Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="clsbpf", message="%(package)s %(version)s")
def main() -> None:
    """Linux's tc BPF classifier in user space, on recorded traffic."""


main.add_command(run)
main.add_command(prog)
prog.add_command(run_program)
prog.add_command(verify_programs)
