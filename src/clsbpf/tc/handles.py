"""The handles of one classifier's filters: which are taken, and which one is next.

A request may name the handle of its new filter, any number but 0.  With 0 it asks for one, and
kernels differ in which it gets (`HandlePolicy`):

- `HGEN`: a counter goes round from 1 to 0x7ffffffe and skips what is taken, so a handle is not used
  again soon.  As in the specification the counter also moves when the change fails afterwards.
- `LOWEST_FREE`: the lowest that is not taken, up to 0x7fffffff.
"""

from __future__ import annotations

import errno
import heapq

from ..profile import HandlePolicy
from .refusal import refusal

HGEN_END = 0x7FFFFFFF
"""Where `cls_bpf_grab_new_handle` wraps to 1; never given itself."""
IDR_LAST = 0x7FFFFFFF
"""The last that `idr_alloc_u32` may give (INT_MAX)."""


class Handles:
    """The handles in use.  `last` is the highest that may be given to those who ask for one."""

    def __init__(self, policy: HandlePolicy, last: int | None = None) -> None:
        self._policy = policy
        self._last = last or (HGEN_END - 1 if policy is HandlePolicy.HGEN else IDR_LAST)
        self._taken: set[int] = set()
        self._hgen = 0
        self._fresh = 1
        """Everything below is taken or in `_freed`."""
        self._freed: list[int] = []
        """A heap of what was freed below `_fresh`; may hold some that are taken again."""

    def take(self, handle: int) -> int:
        """`handle` for a new filter, or one that is free when it is 0.

        NetlinkError: ENOSPC when the handle is taken or (lowest free) none is left, EINVAL when the
        counter of the specification finds none.
        """
        if not handle:
            handle = self._choose()
        elif handle in self._taken:
            raise refusal(errno.ENOSPC, f"handle {handle:#x} is taken")
        self._taken.add(handle)
        return handle

    def release(self, handle: int) -> None:
        """A filter is gone: its handle is free."""
        self._taken.remove(handle)
        if handle < self._fresh:
            heapq.heappush(self._freed, handle)

    def _choose(self) -> int:
        if self._policy is HandlePolicy.HGEN:
            return self._next_of_hgen()
        return self._lowest_free()

    def _next_of_hgen(self) -> int:
        """cls_bpf_grab_new_handle().  It tries 2^31 times; one time more than are taken is enough."""
        for _ in range(min(len(self._taken) + 1, self._last)):
            self._hgen = self._hgen + 1 if self._hgen < self._last else 1
            if self._hgen not in self._taken:
                return self._hgen
        raise refusal(errno.EINVAL, self._none_left())

    def _lowest_free(self) -> int:
        """idr_alloc_u32(), start 1."""
        while self._freed:
            handle = heapq.heappop(self._freed)
            if handle not in self._taken:
                return handle
        while self._fresh in self._taken:
            self._fresh += 1
        if self._fresh > self._last:
            raise refusal(errno.ENOSPC, self._none_left())
        self._fresh += 1
        return self._fresh - 1

    def _none_left(self) -> str:
        return f"insufficient number of handles: all from 1 to {self._last:#x} are taken"
