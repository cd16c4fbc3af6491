"""The kinds of qdiscs in tc's words and rows (`kinds`), for who meets one that has any.

A policy for clsact does not, and a command starts sooner without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .kinds import KindWords

HOOKS = ("clsact", "ingress")
"""These have no options."""


def kind_words(kind: str) -> KindWords | None:
    """get_qdisc_kind(): what the kind reads and shows; None where it has no options, or is not known."""
    if kind in HOOKS:
        return None
    from .kinds import KINDS

    return KINDS.get(kind)


def known_kinds() -> list[str]:
    """The kinds there are."""
    from .kinds import KINDS

    return [*HOOKS, *KINDS]
