"""A tc command line, read: the object, then its own grammar (tc/tc.c, do_cmd).

words ── parse_command ──▶ Command (messages to send, how to show the reply) ── perform ──▶ Outcome
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module

from . import usage
from .errors import CommandError
from .options import NO_OPTIONS, Options
from .request import Command, Lookups, ObjectSource, no_file
from .words import Words, matches

_Parser = Callable[[Words, Lookups, Options], Command]

_OBJECTS: tuple[tuple[str, str, str], ...] = (
    ("qdisc", "qdisc", "parse_qdisc"),
    ("class", "class_words", "parse_class"),
    ("filter", "filter", "parse_filter"),
    ("chain", "filter", "parse_chain"),
    ("actions", "actions", "parse_actions_command"),
    ("monitor", "", ""),
    ("exec", "", ""),
)
"""In tc's order of looking: the object, and which module's function reads the rest of the line.

The module is imported when a line needs it.  Without one: tc has it, this project not, or elsewhere.
"""


def parse_command(
    words: Sequence[str],
    resolve: Callable[[str], int | None],
    read_file: Callable[[str], str] = no_file,
    *,
    options: Options = NO_OPTIONS,
    load_object: Callable[[ObjectSource], int] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Command:
    """The command that `words` (from the object on, without the options before it) spell.

    `resolve` gives a device's ifindex or None, `read_file` a file's text or raises OSError,
    `load_object` the descriptor of an eBPF program; see `Lookups`.  CommandError as tc refuses.
    """
    if not words or options.help:
        return Command(usage=usage.TC)
    lookups = Lookups(resolve, read_file, load_object, environ or {})
    cursor = Words(words)
    word = cursor.take()
    for name, module, function in _OBJECTS:
        if matches(word, name):
            if not module:
                raise CommandError(f'Object "{name}" is not supported here, try "tc help".', 1, word=word)
            parse: _Parser = getattr(import_module(f".{module}", __package__), function)
            try:
                command = parse(cursor, lookups, options)
            except CommandError as error:
                raise error.after(cursor.remarks) from error.__cause__
            return replace(command, remarks=tuple(cursor.remarks)) if cursor.remarks else command
    if matches(word, "help"):
        return Command(usage=usage.TC)
    raise CommandError(f'Object "{word}" is unknown, try "tc help".', 255, word=word)
