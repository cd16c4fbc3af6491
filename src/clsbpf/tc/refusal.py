"""How `tc/` refuses: with the kernel's errno, and with words where the kernel has none."""

from __future__ import annotations

from ..errors import NetlinkError


def refusal(number: int, why: str) -> NetlinkError:
    """A NetlinkError with the kernel's `errno` and no extack, because the kernel sends none here.

    `why` is its message for whoever meets it on this side of the wire.
    """
    error = NetlinkError(number)
    error.args = (why,)
    return error
