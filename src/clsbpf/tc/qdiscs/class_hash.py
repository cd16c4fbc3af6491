"""The classes of a qdisc by classid, in the order in which the kernel shows them.

The kernel's table starts with four buckets and doubles when it is three quarters full; a new class
is the first of its bucket, and growing reverses what shared one.

Mirrors struct Qdisc_class_hash and qdisc_class_hash_*() of net/sched/sch_api.c.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Generic, Protocol, TypeVar


class HasClassid(Protocol):
    """A class: it has a classid, which does not change."""

    @property
    def classid(self) -> int:
        """32 bits."""
        ...


C = TypeVar("C", bound=HasClassid)


class ClassHash(Generic[C]):
    """struct Qdisc_class_hash."""

    def __init__(self) -> None:
        self._buckets: list[list[C]] = [[] for _ in range(4)]
        self._by_classid: dict[int, C] = {}

    def __len__(self) -> int:
        return len(self._by_classid)

    def __iter__(self) -> Iterator[C]:
        return (each for bucket in self._buckets for each in tuple(bucket))

    def find(self, classid: int) -> C | None:
        """qdisc_class_find()."""
        return self._by_classid.get(classid)

    def insert(self, each: C) -> None:
        """qdisc_class_hash_insert(); `grow` is for the caller."""
        self._by_classid[each.classid] = each
        self._bucket(each).insert(0, each)

    def remove(self, each: C) -> None:
        """qdisc_class_hash_remove()."""
        del self._by_classid[each.classid]
        self._bucket(each).remove(each)

    def grow(self) -> None:
        """qdisc_class_hash_grow()."""
        if len(self) * 4 <= len(self._buckets) * 3:
            return
        old = tuple(self)
        self._buckets = [[] for _ in range(2 * len(self._buckets))]
        for each in old:
            self._bucket(each).insert(0, each)

    @property
    def layout(self) -> tuple[int, tuple[int, ...]]:
        """How many buckets there are, and the classids in the order of the walk: what `arrange` takes."""
        return len(self._buckets), tuple(each.classid for each in self)

    def arrange(self, buckets: int, order: Collection[int]) -> None:
        """The same classes in another order, that of a table which has grown otherwise."""
        named = [self._by_classid[classid] for classid in order if classid in self._by_classid]
        others = [each for each in self if each.classid not in set(order)]
        self._buckets = [[] for _ in range(buckets)]
        for each in (*named, *others):
            self._bucket(each).append(each)

    def _bucket(self, each: C) -> list[C]:
        """qdisc_class_hash()."""
        id = each.classid
        id ^= id >> 8
        id ^= id >> 4
        return self._buckets[id & len(self._buckets) - 1]
