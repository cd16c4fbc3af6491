"""How a tc command line goes wrong: the word at fault, the exit code, and what a batch does then.

tc refuses in two ways, and in a batch the difference shows.  Some of its checks *return*: the batch
adds "Command failed FILE:LINE", ends with 1, and with -force goes on.  Others *exit* on the spot (the
helpers missarg, invarg, duparg and incomplete_command of lib/utils.c): the whole batch ends there and
then, with 255, whatever -force says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from ..errors import TcError


class CommandError(TcError):
    """A command line that tc refuses; the message is what tc prints, without the last newline.

    `word` is the word at fault (None: no single one), `ends_batch` whether tc would leave a batch here.
    In a batch `file` and `line` say where (the last physical line of the command, as tc counts), and
    `reason` is the message without tc's "Command failed FILE:LINE".  `usage` is a help text that
    belongs under the message, `stdout` what had been printed before it went wrong.
    """

    def __init__(
        self,
        message: str,
        exit_code: int = 1,
        errno: int | None = None,
        *,
        word: str | None = None,
        ends_batch: bool = False,
        usage: str = "",
        stdout: str = "",
    ) -> None:
        super().__init__(message, exit_code, errno)
        self.word = word
        self.ends_batch = ends_batch
        self.usage = usage
        self.stdout = stdout
        self.reason = message
        self.file: str | None = None
        self.line: int | None = None

    def after(self, remarks: Sequence[str]) -> CommandError:
        """The error, and before it what tc had said by then."""
        if remarks:
            self.reason = "\n".join([*remarks, *filter(None, [self.reason])])
            self.args = (self.reason,)
        return self


class UnsupportedKind(CommandError):
    """A classifier, qdisc or action that tc knows and this project does not.

    `kind` is its name ("flower"), `what` one of "classifier", "qdisc", "action".
    """

    def __init__(self, what: str, kind: str, supported: str) -> None:
        super().__init__(f'{what} "{kind}" is not supported here (supported: {supported})', word=kind)
        self.what = what
        self.kind = kind


def incomplete(word: str | None) -> NoReturn:
    """incomplete_command(): something must follow `word`, the last word there is."""
    raise CommandError('Command line is not complete. Try option "help"', 255, word=word, ends_batch=True)


def invalid(reason: str, word: str, *, shown: str | None = None) -> NoReturn:
    """invarg(): `word` is wrong.  `shown` stands in its place where tc itself shows another text."""
    text = word if shown is None else shown
    raise CommandError(f'Error: argument "{text}" is wrong: {reason}', 255, word=word, ends_batch=True)


def duplicate(key: str, word: str) -> NoReturn:
    """duparg(): `key` was given before."""
    raise CommandError(
        f'Error: duplicate "{key}": "{word}" is the second value.', 255, word=word, ends_batch=True
    )
