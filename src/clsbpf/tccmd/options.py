"""The options before the object: `tc -s -j filter …`.

tc matches them by prefix in a fixed order, which has its surprises, kept here: `-c` is `-cf` and not
`-color`, `-n` is `-netns`, `-b` is `-batch`, `-s` is `-stats`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .errors import CommandError, incomplete
from .words import matches


@dataclass(frozen=True, slots=True)
class Options:
    """What stands before the object.  Sums count how often an option was given."""

    stats: int = 0
    details: int = 0
    raw: int = 0
    pretty: int = 0
    json: int = 0
    oneline: int = 0
    brief: int = 0
    numeric: int = 0
    names: bool = False
    names_file: str | None = None
    batch: str | None = None
    force: int = 0
    netns: str | None = None
    color: str | None = None
    """"auto", "always" or "never"; nothing is coloured here."""
    graph: bool = False
    iec: int = 0
    timestamp: int = 0
    timestamp_short: int = 0
    help: bool = False
    version: bool = False


NO_OPTIONS = Options()

_COUNTED: tuple[tuple[tuple[str, ...], str], ...] = (
    (("-stats", "-statistics"), "stats"),
    (("-details",), "details"),
    (("-raw",), "raw"),
    (("-pretty",), "pretty"),
    (("-graph",), "graph"),
    (("-Version",), "version"),
    (("-iec",), "iec"),
    (("-help",), "help"),
    (("-force",), "force"),
    (("-batch",), "batch="),
    (("-netns",), "netns="),
    (("-Numeric",), "numeric"),
    (("-names", "-nm"), "names"),
    (("-cf", "-conf"), "names_file="),
    (("-color",), "color"),
    (("-timestamp",), "timestamp"),
    (("-tshort",), "timestamp_short"),
    (("-json",), "json"),
    (("-oneline",), "oneline"),
    (("-brief",), "brief"),
)
"""In tc's order of looking; a name that ends in `=` takes the next word."""

_FLAGS = ("graph", "version", "help", "names")


def parse_options(words: Sequence[str]) -> tuple[Options, tuple[str, ...]]:
    """main() of tc: the options, and the words from the object on; CommandError (255) for an unknown one.

    `-help` and `-Version` end the reading, as they end tc.
    """
    options = NO_OPTIONS
    at = 0
    while at < len(words) and words[at].startswith("-"):
        word = words[at]
        name = _option(word)
        if name.endswith("="):
            at += 1
            if at == len(words):
                if name == "netns=":
                    incomplete(word)
                return replace(options, help=True), ()  # tc shows its usage and calls it a success
            value: Any = words[at]
        elif name == "color":
            value = word.partition("=")[2] or "always"
        else:
            value = True if name in _FLAGS else getattr(options, name) + 1
        options = replace(options, **{name.rstrip("="): value})
        if options.help or options.version:
            return options, ()
        at += 1
    return options, tuple(words[at:])


def _option(word: str) -> str:
    for keywords, name in _COUNTED:
        if any(matches(word, keyword) for keyword in keywords):
            return name
        before, _, choice = word.partition("=")
        if name == "color" and matches(before, "-color") and choice in ("", "auto", "always", "never"):
            return name
    raise CommandError(f'Option "{word}" is unknown, try "tc -help".', 255, word=word)
