"""What every qdisc has: a handle, a parent, counters, and the operations that its kind fills in.

A *classless* qdisc is a queue.  A *classful* one divides packets among classes, and each class without
classes of its own has a qdisc in turn.  What a class is, its qdisc knows (here: any object); `find`
gives it for a classid.

Mirrors struct Qdisc, struct Qdisc_ops and struct Qdisc_class_ops of net/sch_generic.h, and the size
tables of net/sched/sch_api.c.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ...errors import NetlinkError
from ...skb import Skb
from ..actions.clock import Clock
from ..actions.estimator import Estimator
from ..chain import Block
from ..program import ClassBinder

if TYPE_CHECKING:
    from .passage import Passage
    from .table import QdiscTable


TcaRate = bytes
"""The payload of TCA_RATE."""


@dataclass(slots=True, eq=False)
class QdiscStats:
    """struct gnet_stats_basic and gnet_stats_queue: what passed a qdisc or class, and what it dropped.

    With a rate estimator (TCA_RATE), whose clock is `clock`.
    """

    bytes: int = 0
    packets: int = 0
    drops: int = 0
    overlimits: int = 0
    estimator: Estimator | None = None
    clock: Clock | None = None

    def estimate(self, rate: TcaRate, clock: Clock) -> None:
        """gen_replace_estimator(); NetlinkError EINVAL for a bad TCA_RATE."""
        self.estimator, self.clock = Estimator.from_attr(rate, clock.now()), clock
        self.estimator.last_bytes, self.estimator.last_packets = self.bytes, self.packets

    def rates(self) -> tuple[int, int] | None:
        """gen_estimator_read(): bytes and packets a second; None without an estimator."""
        if self.estimator is None:
            return None
        self._catch_up(self.estimator)
        return self.estimator.rates

    def _catch_up(self, estimator: Estimator) -> None:
        assert self.clock is not None
        estimator.catch_up(self.clock.now(), self.bytes, self.packets)

    def add(self, size: int, packets: int = 1) -> None:
        """bstats_update(): packets of so many bytes together."""
        if self.estimator is not None:
            self._catch_up(self.estimator)
        self.bytes += size
        self.packets += packets


@dataclass(frozen=True, slots=True)
class SizeTable:
    """struct qdisc_size_table: for how long a packet counts.

    `spec` is struct tc_sizespec as it came; the other fields are what of it matters here.
    """

    spec: bytes
    cell_log: int
    size_log: int
    cell_align: int
    overhead: int
    data: tuple[int, ...]

    def size(self, length: int) -> int:
        """__qdisc_calculate_pkt_len(): the bytes that a packet of `length` counts for."""
        size = length + self.overhead
        if self.data:
            slot = max(size + self.cell_align, 0) >> self.cell_log
            full, rest = divmod(slot, len(self.data))
            size = self.data[slot] if not full else self.data[-1] * full + self.data[rest]
            size <<= self.size_log
        return max(size, 1)


class BlockHolder(ClassBinder, Protocol):
    """A qdisc that has blocks: it binds their filters to its classes, and they are named by its handle."""

    handle: int


@dataclass(frozen=True, slots=True)
class QdiscHome:
    """What a qdisc needs of its device.

    `tx_queue_len` packets wait in a queue that nobody sized, `mtu` is the longest frame with its
    link-layer header, `table` where the device finds its qdiscs, `new_block` makes the place of filters.
    """

    tx_queue_len: int
    mtu: int
    table: QdiscTable
    new_block: Callable[[BlockHolder], Block]


@dataclass(slots=True, eq=False)
class Qdisc:
    """struct Qdisc.  `parent` is the class it hangs on, TC_H_ROOT at the device's root.

    This base class has no classes and cannot be changed.
    """

    kind: str
    handle: int
    parent: int
    stats: QdiscStats = field(default_factory=QdiscStats, kw_only=True)
    stab: SizeTable | None = field(default=None, kw_only=True)
    invisible: bool = field(default=False, kw_only=True)
    """TCQ_F_INVISIBLE: a queue that came with its class, which dumps leave out."""

    @property
    def has_classes(self) -> bool:
        """Has it class operations (cl_ops)?"""
        return False

    @property
    def takes_filters(self) -> bool:
        """Has it, if it has classes, cl_ops->tcf_block?"""
        return True

    @property
    def chooses(self) -> bool:
        """Is there something to choose for a packet: a class, what its filters say?"""
        return self.has_classes

    @property
    def is_ingress(self) -> bool:
        """TCQ_F_INGRESS: is it clsact or ingress?"""
        return False

    @property
    def attaches(self) -> bool:
        """Has it ops->attach?  Then a device's queues are its own before it is at the root."""
        return False

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks of its filters: its own, then those of its classes."""
        return ()

    # cl_ops

    def find(self, classid: int) -> Any:
        """cl_ops->find(): the class of a classid; what is false is none."""
        return None

    def walk(self) -> Iterator[Any]:
        """cl_ops->walk(): the classes, in the order of dumps."""
        return iter(())

    def block(self, class_: Any) -> Block | None:
        """cl_ops->tcf_block(): the block of a class that `find` gave, or the qdisc's own (none)."""
        return None

    def leaf(self, class_: Any) -> Qdisc | None:
        """cl_ops->leaf(): the qdisc of a class."""
        return None

    def graft(self, class_: Any, new: Qdisc | None) -> Qdisc:
        """cl_ops->graft(): another qdisc for a class (None: the usual one); gives the old one."""
        raise NetlinkError(errno.EOPNOTSUPP)

    def delete_class(self, class_: Any) -> None:
        """cl_ops->delete(); NetlinkError where the class is in use."""
        raise NetlinkError(errno.EOPNOTSUPP)

    def bind_class(self, classid: int, new: Any) -> None:
        """tc_bind_tclass(): the filters of classes that name `classid` are bound to `new` (None: unbound)."""

    # packets, end

    def enqueue(self, skb: Skb, passage: Passage) -> bool:
        """ops->enqueue(), and ops->dequeue() at once; False when the packet is dropped.

        It counts for `skb.wire_len` bytes (qdisc_pkt_len).
        """
        raise NotImplementedError

    def destroy(self) -> None:
        """ops->destroy(): what it holds goes with it."""

    def block_of(self, parent: int) -> Block | None:
        """The block of a filter's parent (a classid); None where the kernel finds none."""
        if parent & 0xFFFF == 0:
            return self.block(None)
        class_ = self.find(parent)
        return self.block(class_) if class_ else None


def walk_qdiscs(root: Qdisc) -> Iterator[Qdisc]:
    """A qdisc and those below it, from the top down."""
    yield root
    for class_ in root.walk():
        leaf = root.leaf(class_)
        if leaf is not None:
            yield from walk_qdiscs(leaf)
