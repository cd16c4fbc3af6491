"""The `clsbpf` command.

This module is all that `clsbpf --help` needs: it imports click and the commands' options, nothing that
is heavy.  What a command does is imported when the command runs.

What goes wrong is told in one place, `Main.invoke`: a ClsbpfError becomes one message on standard error
and an exit code, tc's own for a line of a policy and 1 for the rest; 2 is a wrong command line, 130 an
interrupted run, 128 and more a run that another signal ended.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import click

from ..errors import ClsbpfError, TcError

_TAKES_NO_MORE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


_COMMANDS = ("bench", "daemon", "prog", "run", "tc")
"""Each in a module of its name, which is imported when the command is asked for."""


class Main(click.Group):
    """The group of commands; knows how to tell what went wrong."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All of them, as the help lists them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name."""
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(import_module(f".{cmd_name}", __package__), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what a user can meet becomes a message and an exit code."""
        _fill_closed_streams()
        try:
            with _signals_unwind():
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
        except Ended as end:
            raise _failure(f"clsbpf: ended by {end.signal.name}", 128 + end.signal) from None
        except BrokenPipeError:
            _forget_stdout()  # the reader has seen enough
            raise click.exceptions.Exit(0) from None
        except OSError as error:
            # Who opens a file tells its name; standard output, which takes no more, has none to tell.
            is_output = error.filename is None and error.errno in _TAKES_NO_MORE
            where = "standard output: " if is_output else f"{error.filename}: " if error.filename else ""
            raise _failure(f"clsbpf: {where}{error.strerror or error}", 1) from None
        except MemoryError:
            raise _failure("clsbpf: out of memory", 1) from None


class Ended(BaseException):
    """A signal that ends a process came: what is half written is removed on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


_ENDING = ("SIGTERM", "SIGHUP")
"""Signals that end a process without a word to Python; one that is ignored (nohup) stays so."""


@contextmanager
def _signals_unwind() -> Iterator[None]:
    """While a command runs, a signal that would kill it raises `Ended`."""

    def end(number: int, frame: object) -> None:
        raise Ended(number)

    numbers = [getattr(signal, name) for name in _ENDING if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []  # only the main thread may say what signals do
    taken = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _fill_closed_streams() -> None:
    """Who closed standard output or error (`>&-`) wants to see nothing there; Python has None for it."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (for good)


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
    """Linux's tc BPF classifier in user space: on recorded traffic, or as a daemon for tc."""
