"""The words of a tc command line: how a line falls into words, and how words are matched and taken.

Words are separated by blanks (lib/utils.c, makeargs).  A word that *begins* with a quote reaches to
the next quote of the same kind, and what follows that quote at once is the next word (`'a'b` is two
words).  There is no other quoting.

A keyword is matched by any prefix of it that is not empty, and the first match in tc's order wins:
`p` is "preference", `c` is "classid".  Where tc wants the exact word, so do we.
"""

from __future__ import annotations

from collections.abc import Sequence

from .errors import CommandError, incomplete

BLANKS = " \t\r\n"
"""What separates words."""
MAX_WORDS = 511
"""MAX_ARGS of include/utils.h is 512, with the NULL at the end."""


def matches(word: str, keyword: str) -> bool:
    """matches() of lib/utils.c: is `word` a prefix of `keyword`, and not empty?"""
    return word != "" and keyword.startswith(word)


def matches_any(word: str, *keywords: str) -> bool:
    """Is `word` a prefix of one of them?"""
    return any(matches(word, keyword) for keyword in keywords)


def split_words(line: str) -> tuple[str, ...]:
    """makeargs(): the words of one command line."""
    words: list[str] = []
    at, end = 0, len(line)
    while True:
        while at < end and line[at] in BLANKS:
            at += 1
        if at == end:
            return tuple(words)
        if len(words) == MAX_WORDS:
            raise CommandError("Too many arguments to command", 1, word=line[at:], ends_batch=True)
        if line[at] in "'\"":
            close = line.find(line[at], at + 1)
            if close < 0:
                raise CommandError("Unterminated quoted string", 1, word=line[at:].rstrip(), ends_batch=True)
            words.append(line[at + 1 : close])
            at = close + 1
        else:
            start = at
            while at < end and line[at] not in BLANKS:
                at += 1
            words.append(line[start:at])


class Words:
    """A cursor over the words of one command: tc's argc, argv and NEXT_ARG."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = tuple(words)
        self._at = 0
        self.remarks: list[str] = []
        """What tc says on standard error while it reads, whatever becomes of the command."""

    @property
    def left(self) -> int:
        """How many words are left, the current one included (argc)."""
        return len(self._words) - self._at

    @property
    def current(self) -> str:
        """The word under the cursor; there must be one."""
        return self._words[self._at]

    @property
    def ahead(self) -> str | None:
        """The word after the current one, for a message; None when there is none."""
        return self._words[self._at + 1] if self.left > 1 else None

    def __bool__(self) -> bool:
        return self.left > 0

    def take(self) -> str:
        """The current word, and step over it; there must be one."""
        word = self.current
        self._at += 1
        return word

    def next(self) -> str:
        """NEXT_ARG: step to the next word and give it; CommandError (255) when there is none."""
        self._at += 1
        if not self:
            incomplete(self._words[-1] if self._words else None)
        return self.current

    def mark(self) -> int:
        """Where the cursor is, for `back_to`."""
        return self._at

    def back_to(self, mark: int) -> None:
        """Step back to where the cursor was."""
        self._at = mark

    def skip(self) -> None:
        """NEXT_ARG_FWD: step over the current word."""
        self._at += 1

    def at(self, word: str) -> bool:
        """Is the current word exactly `word`?  No when none is left."""
        return bool(self) and self.current == word

    def at_prefix_of(self, keyword: str) -> bool:
        """Does the current word match `keyword`?  No when none is left."""
        return bool(self) and matches(self.current, keyword)
