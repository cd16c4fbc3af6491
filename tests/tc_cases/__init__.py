"""Cases for tc as whoever tests a kernel with it writes them: lines before, the line that is tried, its
exit code, then a line that shows what came of it and how often a pattern is in its output.

They say what somebody expects who knows the manual pages (tc-actions(8), tc-bpf(8), tc-htb(8), …).  Who
answers is not said: `clsbpf tc` on a daemon must, the real tc on the kernel must where it has the kind,
and the real tc on our endpoint.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One case; `undo` may fail, for nobody knows what came of the line."""

    line: str
    exit_code: int
    verify: str
    pattern: str
    count: int
    setup: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    in_kernel: bool = False
    """Has the kernel of the judges (mirred, htb, tbf, clsact, ingress) what it takes?"""

    def matches(self, shown: str) -> int:
        """How often the pattern is there."""
        return len(re.findall(self.pattern, shown, re.DOTALL | re.MULTILINE))


Row = tuple[str, int, str, int] | tuple[str, int, str, int, str]
"""Line, exit code, pattern, count; and lines before it, each ended by a semicolon."""


def family(
    rows: Iterable[Row], *, verify: str, undo: str, setup: str = "", in_kernel: bool = False
) -> Iterator[Case]:
    """Cases with the same lines before and after, and the same look at what came of them."""
    for line, exit_code, pattern, count, *more in rows:
        yield Case(
            line,
            exit_code,
            verify,
            pattern,
            count,
            (*_lines(setup), *_lines(more[0] if more else "")),
            _lines(undo),
            in_kernel,
        )


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line for line in (each.strip() for each in text.split(";")) if line)
