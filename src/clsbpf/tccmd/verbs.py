"""The verb after one of tc's objects: `qdisc add`, `filter show`.

Mirrors do_qdisc(), do_class(), do_filter() and do_chain().
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .errors import CommandError
from .options import Options
from .request import Command, Lookups
from .words import Words, matches, matches_any

Do = Callable[[Words, Lookups, Options], Command]
"""What a verb does with the words after it."""

_LISTS = ("list", "show", "lst")


class Help(Exception):
    """The word `help` was met.

    tc goes on after its usage, sends what it has, and ends with what the kernel says to that; here help only
    helps.
    """


@dataclass(frozen=True, slots=True)
class Verbs:
    """An object's verbs in tc's order of looking: a word that begins the first and the second is the first.

    `listing` comes last, and is what an object without a verb means.
    """

    name: str
    usage: str
    verbs: tuple[tuple[str, Do], ...]
    listing: Do

    def read(self, words: Words, lookups: Lookups, options: Options) -> Command:
        """The command that the words after the object spell."""
        if not words:
            return self.listing(words, lookups, options)
        verb = words.take()
        try:
            for name, do in self.verbs:
                if matches(verb, name):
                    return do(words, lookups, options)
            if matches_any(verb, *_LISTS):
                return self.listing(words, lookups, options)
            if matches(verb, "help"):
                raise Help
        except Help:
            return Command(usage=self.usage)
        raise CommandError(f'Command "{verb}" is unknown, try "tc {self.name} help".', 255, word=verb)
