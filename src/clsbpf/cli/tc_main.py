"""tc's command line, carried out by a running daemon or by the kernel.

Words are read and replies shown by `tccmd`, which is tc's language; here is what it needs of the outside
(`Seam`: who answers requests, what devices and programs are called, how a program is loaded), and what tc's
main() does: batches, where the output goes, the exit code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import ClsbpfError, TcError
from ..tccmd.batch import BatchLine, at_line, each_line, read_batch
from ..tccmd.command import parse_command
from ..tccmd.errors import CommandError
from ..tccmd.ids import parse_class_names
from ..tccmd.options import Options, parse_options
from ..tccmd.perform import Outcome, Talk, perform
from ..tccmd.render import Names, ProgramInfo
from ..tccmd.request import Command, ObjectSource, Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

CLASS_NAMES = "/etc/iproute2/tc_cls"
"""Where tc -nm looks for names of classes, unless -cf names another file."""


AskAll = Callable[[Sequence[bytes], bool], Iterator[bytes]]
"""Requests, and whether those after a refused one are left undone: what answers them, in order."""


@dataclass(frozen=True, slots=True)
class Seam:
    """Who carries commands out: requests go to `ask`, and names come from the same place."""

    ask: Talk
    resolve: Callable[[str], int | None]
    device: Callable[[int], str]
    program: Callable[[int], ProgramInfo | None]
    load_object: Callable[[ObjectSource], int]
    listen: Callable[..., None]
    receive: Callable[[], bytes]
    ask_all: AskAll | None = None
    """Takes many requests at once, where that is possible: nothing else comes between them."""


def main_tc(words: Sequence[str], *, kernel: bool, socket: str | None) -> int:
    """main() of tc: the exit code, when everything has been said."""
    try:
        options, rest = parse_options(words)
        if options.color == "auto":
            options = replace(options, color="always" if sys.stdout.isatty() else "never")
        if options.version:
            say(_version() + "\n")
            return 0
        if options.help or (not rest and options.batch is None):
            return _tell(perform(parse_command((), lambda name: None, options=options), _nobody))
        with ExitStack() as stack:
            seam = _open(stack, options, kernel=kernel, socket=socket)
            session = Session(seam, options)
            if options.batch is not None:
                return session.batch(options.batch)
            if rest and _is_monitor(rest[0]):
                from .monitor import monitor

                return monitor(rest[1:], seam.listen, seam.receive, session.names, options)
            return _tell(session.run(options, rest))
    except TcError as error:
        return _refuse(error)


def _nobody(request: bytes) -> Iterator[bytes]:
    raise AssertionError("help asks nobody")


def _is_monitor(word: str) -> bool:
    return word != "" and "monitor".startswith(word)


def _version() -> str:
    from importlib.metadata import version

    return f"tc utility, clsbpf-{version('clsbpf')}"


def _open(stack: ExitStack, options: Options, *, kernel: bool, socket: str | None) -> Seam:
    """The seam; what it holds open is closed with the stack."""
    if kernel:
        from .tc_kernel import kernel_seam

        return kernel_seam(stack, options)
    if options.netns is not None:
        raise CommandError(
            f'no network namespace "{options.netns}": a daemon has one of its own (-n is for --kernel)', 255
        )
    from .tc_daemon import daemon_seam

    return daemon_seam(stack, socket)


class Session:
    """One run of tc: its options, and what it has learned of names."""

    def __init__(self, seam: Seam, options: Options) -> None:
        self._seam = seam
        self._options = options
        self.names = Names(seam.device, seam.program, _class_names(options))

    def run(self, options: Options, words: Sequence[str]) -> Outcome:
        """One command."""
        return perform(self._read(options, words, self._seam.load_object), self._seam.ask, self.names)

    def _read(
        self, options: Options, words: Sequence[str], load_object: Callable[[ObjectSource], int]
    ) -> Command:
        return parse_command(
            words, self._seam.resolve, read_text, options=options, load_object=load_object, environ=os.environ
        )

    def batch(self, path: str) -> int:
        """`tc -b FILE`; `-` is standard input, read line by line as it comes."""
        ahead = _Ahead(self._seam, self.names, force=bool(self._options.force))
        together = path != "-" and self._seam.ask_all is not None

        def load_object(source: ObjectSource) -> int:
            ahead.ask()
            return self._seam.load_object(source)

        try:
            for line in _batch_lines(path):
                try:
                    command = self._read(self._options, line.words, load_object)
                    if together and _wants_a_yes(command):
                        ahead.add(line, command)
                        continue
                    ahead.ask()
                    _tell(perform(command, self._seam.ask, self.names))
                except TcError as error:
                    ahead.ask()
                    ahead.refuse(line, error)
            ahead.ask()
        except _BatchEnds:
            pass
        return ahead.failed


def _wants_a_yes(command: Command) -> bool:
    """Is all that comes back of a command whether it was done?"""
    return len(command.requests) == 1 and command.requests[0].reply is Reply.ACK


class _BatchEnds(Exception):
    """A line failed, which was told."""


class _Ahead:
    """The lines of a batch that have been read and not asked for yet: one datagram asks for many.

    What they print comes in the order of the lines, and nothing after a line that fails is done.
    """

    MOST, MOST_BYTES = 100, 100_000

    def __init__(self, seam: Seam, names: Names, *, force: bool) -> None:
        self._seam, self._names, self._force = seam, names, force
        self._lines: list[tuple[BatchLine, Command, bytes]] = []
        self._bytes = 0
        self.failed = 0
        """The exit code."""

    def add(self, line: BatchLine, command: Command) -> None:
        """A line that only wants a yes."""
        request = command.requests[0].data
        if len(self._lines) == self.MOST or self._bytes + len(request) > self.MOST_BYTES:
            self.ask()
        self._lines.append((line, command, request))
        self._bytes += len(request)

    def ask(self) -> None:
        """For all of them."""
        if not self._lines:
            return
        lines, self._lines, self._bytes = self._lines, [], 0
        assert self._seam.ask_all is not None
        answers = _each_message(self._seam.ask_all([request for _, _, request in lines], not self._force))
        for line, command, _ in lines:
            try:
                _tell(perform(command, lambda request: [next(answers)], self._names))
            except TcError as error:
                self.refuse(line, error)

    def refuse(self, line: BatchLine, error: TcError) -> None:
        """Tell of an error; _BatchEnds where no further line is to be done."""
        located = at_line(error, line)
        self.failed = _refuse(located)
        if not self._force or located.ends_batch:
            raise _BatchEnds


def _each_message(datagrams: Iterator[bytes]) -> Iterator[bytes]:
    for datagram in datagrams:
        at = 0
        while at < len(datagram):
            length = int.from_bytes(datagram[at : at + 4], sys.byteorder)
            yield datagram[at : at + length]
            at += length + -length % 4


def _class_names(options: Options) -> Mapping[int, str]:
    """cls_names_init().  A file that -cf names is read with -nm only."""
    if not options.names:
        return {}
    path = options.names_file or CLASS_NAMES
    try:
        return parse_class_names(read_text(path), path)
    except OSError:
        if options.names_file is not None:
            raise CommandError(f"Can't open class names file: {path}", 255) from None
        return {}


def _batch_lines(path: str) -> Iterator[BatchLine]:
    """The commands, each as soon as it is whole: who types one sees what came of it."""
    if path == "-":
        yield from _lines_as_they_come()
        return
    try:
        text = read_text(path)
    except OSError as error:
        raise CommandError(f'Cannot open file "{path}" for reading: {error.strerror}', 1) from None
    yield from each_line(text, path)


def _lines_as_they_come() -> Iterator[BatchLine]:
    held, done = "", 0
    source = sys.stdin
    source.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    for number, line in enumerate(source, 1):
        held += line
        if line.endswith("\\\n") and "#" not in line and "\0" not in line:
            continue
        yield from _numbered(read_batch(held), done)
        held, done = "", number
    yield from _numbered(read_batch(held), done)


def _numbered(lines: Sequence[BatchLine], before: int) -> Iterator[BatchLine]:
    for line in lines:
        yield BatchLine(line.file, line.number + before, line.text, line.cut)


def read_text(path: str) -> str:
    """A batch, bytecode or names file; bytes that are not UTF-8 survive."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _tell(outcome: Outcome) -> int:
    say(outcome.stdout)
    if outcome.stderr:
        say_error(outcome.stderr + "\n")
    return 0


def _refuse(error: TcError) -> int:
    """What tc says: what came before, the reason, a usage, where in a batch; its exit code."""
    texts = [str(error)]
    if isinstance(error, CommandError):
        say(error.stdout)
        if error.usage and str(error).startswith(error.reason):
            texts = [error.reason, error.usage, str(error)[len(error.reason) :].lstrip("\n")]
        else:
            texts.append(error.usage)
    for text in filter(None, texts):
        say_error(text + "\n")
    return error.exit_code


def say(text: str) -> None:
    """To standard output; bytes that are not UTF-8 go out as they came in."""
    _write(sys.stdout, text)


def say_error(text: str) -> None:
    """To standard error."""
    _write(sys.stderr, text)


def _write(stream: Any, text: str) -> None:
    if not text:
        return
    raw = getattr(stream, "buffer", None)
    if raw is None:
        stream.write(text)
        return
    stream.flush()
    raw.write(text.encode("utf-8", "surrogateescape"))
    raw.flush()


def refusal(error: ClsbpfError, exit_code: int = 1) -> CommandError:
    """Any error as one of tc's."""
    return CommandError(str(error), exit_code, error.errno)
