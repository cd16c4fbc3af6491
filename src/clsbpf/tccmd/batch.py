"""`tc -b FILE`: a batch falls into commands, they run one after the other, and what a wrong one does.

`#` begins a comment *wherever it stands*, within quotes too; a backslash before the newline joins the
next line (lib/utils.c, getcmdline).

A command that fails is told with "Command failed FILE:LINE" and ends the batch with exit code 1, or
with -force is told and passed over (do_batch).  Some errors end tc on the spot, also with -force, and
say no line (see `errors`); the CommandError names it all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..errors import TcError
from .errors import CommandError
from .words import BLANKS, split_words

T = TypeVar("T")

FAILED = 1
"""The exit code of a batch with a command that failed."""


@dataclass(frozen=True, slots=True)
class BatchLine:
    """One command of a batch: its text without comments, continuation lines joined.

    `number` is that of its last physical line, from 1: what tc names when the command fails.
    """

    file: str
    number: int
    text: str
    cut: bool = False
    """The file ended where a continuation line was announced."""

    @property
    def words(self) -> tuple[str, ...]:
        """The words, at least one; CommandError when the line cannot be split."""
        if self.cut:
            # tc says the same, drops the line and calls the batch a success.
            raise CommandError("Missing continuation line", 1, word="\\", ends_batch=True)
        return split_words(self.text)


def read_batch(text: str, filename: str = "-") -> list[BatchLine]:
    """The commands of a batch file, blank lines and comments left out; "-" is standard input.

    A line that cannot be split into words says so when its `words` are asked for: tc has run the
    lines before it by then.
    """
    return list(each_line(text, filename))


def each_line(text: str, filename: str = "-") -> Iterator[BatchLine]:
    """The same, one after the other."""
    physical = text.split("\n")
    last_is_open = physical[-1] != ""
    if not last_is_open:
        physical.pop()

    at = 0
    while at < len(physical):
        line, joins = _code(physical[at])
        at += 1
        while joins and at < len(physical):
            more, joins = _code(physical[at])
            line = line[:-1] + more
            at += 1
        joins = joins and not last_is_open  # a backslash at the very end of the file joins nothing
        if line.strip(BLANKS):
            yield BatchLine(filename, at, line, cut=joins)


def _code(line: str) -> tuple[str, bool]:
    """The line without its comment, as a C string (to the first NUL); does it join the next?"""
    code = line.split("\0", 1)[0].split("#", 1)[0]
    return code, code == line and line.endswith("\\")


def run_batch(
    lines: Iterable[BatchLine], run: Callable[[Sequence[str]], T], *, force: bool = False
) -> Iterator[T | CommandError]:
    """What `run` makes of each line's words, in order.

    An error is located (`at_line`) and raised; with `force` it is yielded in the line's place, unless
    it is one that ends a batch.
    """
    for line in lines:
        try:
            yield run(line.words)
        except TcError as error:
            located = at_line(error, line)
            if not force or located.ends_batch:
                raise located from error
            yield located


def at_line(error: TcError, line: BatchLine) -> CommandError:
    """The error as tc -b has it: with file and line, and "Command failed" where tc says so."""
    located = CommandError(str(error), error.exit_code, error.errno)
    if isinstance(error, CommandError):
        located = error
    if located.file is None:
        located.file, located.line = line.file, line.number
        if not located.ends_batch:
            located.args = (f"{located.reason}\nCommand failed {line.file}:{line.number}".lstrip("\n"),)
            located.exit_code = FAILED
    return located
