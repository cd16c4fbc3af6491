"""Which number does a program or a map get?  idr_alloc_cyclic() of kernel/bpf/syscall.c: the next one.

A daemon that starts again brings things back with the numbers that they had (`taken`): those that come
later get higher ones.
"""

from __future__ import annotations


class Ids:
    """Numbers from 1 on, each given once."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        """One that nobody had."""
        self._last += 1
        return self._last

    def taken(self, id: int) -> int:
        """The number itself: somebody has it, be it from before."""
        self._last = max(self._last, id)
        return id

    @property
    def last(self) -> int:
        """The highest that was given."""
        return self._last


MAP_IDS = Ids()
PROGRAM_IDS = Ids()
