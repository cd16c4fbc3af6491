"""Why is a program refused?  What the checks raise, before `explain` tells it to a human."""

from __future__ import annotations

from typing import Any

ENOTSUPP = 524
"""An errno of the kernel's own, which it lets out in a few places."""


class Refused(Exception):
    """A requirement does not hold.

    `kind` names the rule (the key of `explain`'s table), `message` is the kernel's line in the log and
    `after` the one that follows it, if any; `register` is the one that is at fault, if any, `insn` where,
    if it is not where the walk is; `facts` are the values that the explanation tells.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        register: int | None = None,
        *,
        insn: int | None = None,
        errno: int = 13,
        after: str = "",
        **facts: Any,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.register = register
        self.insn = insn
        self.errno = errno
        self.after = after
        self.facts = facts
