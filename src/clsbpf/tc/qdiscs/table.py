"""Where a device finds its qdiscs by handle: all but the root and the one for ingress.

The order is the kernel's, since dumps show it: 16 buckets by a hash of the handle, the newest first in
each.

Mirrors qdisc_hash_add(), qdisc_hash_del() and qdisc_match_from_root() of net/sched/sch_api.c, and
hash_32() of linux/hash.h.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .qdisc import Qdisc

_BITS = 4
_GOLDEN_RATIO_32 = 0x61C88647


def _bucket(handle: int) -> int:
    return (handle * _GOLDEN_RATIO_32 & 0xFFFFFFFF) >> 32 - _BITS


class QdiscTable:
    """net_device.qdisc_hash."""

    def __init__(self) -> None:
        self._buckets: list[list[Qdisc]] = [[] for _ in range(1 << _BITS)]

    def add(self, qdisc: Qdisc) -> None:
        """qdisc_hash_add()."""
        self._buckets[_bucket(qdisc.handle)].insert(0, qdisc)

    def remove(self, qdisc: Qdisc) -> None:
        """qdisc_hash_del(); one that was never added is no error."""
        bucket = self._buckets[_bucket(qdisc.handle)]
        bucket[:] = [each for each in bucket if each is not qdisc]

    def find(self, handle: int) -> Qdisc | None:
        """The qdisc with a handle other than 0."""
        return next((each for each in self._buckets[_bucket(handle)] if each.handle == handle), None)

    def arrange(self, handles: Sequence[int]) -> None:
        """The same qdiscs in the order in which they once came: those of one bucket may have another."""
        for bucket in self._buckets:
            bucket.sort(key=lambda each: handles.index(each.handle) if each.handle in handles else -1)

    def __iter__(self) -> Iterator[Qdisc]:
        return (each for bucket in self._buckets for each in bucket)
