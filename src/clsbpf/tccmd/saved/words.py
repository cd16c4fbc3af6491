"""Requests to tc's words: a line for tc -batch, where tc's language has words for the request.

A line is made, then read as tc reads it; only if the very same request comes out is it the line.  So a line
may fall short of what a request says, and nothing is lost by it: the caller keeps the request itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...netlink.message import Message


@dataclass(frozen=True, slots=True)
class Said:
    """How things are called: a device by its ifindex, and where the program with an id is found."""

    device: Callable[[int], str | None]
    program: Callable[[int], str]


def line_of(request: Message, said: Said) -> str | None:
    """The line of a request, or None."""
    return None
