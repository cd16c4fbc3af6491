"""htb: a tree of classes that share a rate (hierarchical token bucket).

A class without children is a *leaf* and has a queue; one with children is an *inner* class, and its
children may borrow what it does not use.  A class becomes an inner one when its first child comes
and a leaf again when the last goes.  `level` is 0 for leaves, 7 for inner classes at the top, and one
less with each step down.

A packet looks for its leaf: by its priority if that is a classid, else through the filters of the
qdisc, and then through those of each inner class that they choose.  What names no leaf goes to the
default class, and where there is none past the classes altogether (*direct*).

Rates shape traffic in time, and time is not modelled: each packet finds its class with tokens enough.

Mirrors net/sched/sch_htb.c.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from ...errors import NetlinkError
from ...skb import Skb
from .. import ids
from ..act import TcAct
from ..chain import Block
from ..rate import Rate
from ..result import ClassifyResult
from .class_hash import ClassHash
from .fifo import usual_queue
from .passage import Passage
from .qdisc import Qdisc, QdiscHome, QdiscStats

HTB = "htb"
MAX_DEPTH = 8
"""TC_HTB_MAXDEPTH."""
PRIOS = 8
"""TC_HTB_NUMPRIO."""
INT_MAX = 0x7FFFFFFF
SMALLEST_QUANTUM, BIGGEST_QUANTUM = 1000, 200000
"""Outside them a quantum that nobody asked for is remarked on, and brought back."""
TICK_SHIFT = 6
"""PSCHED_SHIFT: a tick is 64 ns."""


@dataclass(frozen=True, slots=True)
class ClassOptions:
    """struct tc_htb_opt and what stands beside it, decoded: what a request wants a class to be.

    `buffer` and `cbuffer` are in ticks; `quantum` 0 asks for the usual one.
    """

    rate: Rate
    ceil: Rate
    buffer: int
    cbuffer: int
    quantum: int
    prio: int


@dataclass(slots=True, eq=False)
class HtbClass:
    """struct htb_class.  `queue` is a leaf's qdisc, None for an inner class; `tokens` are in ticks."""

    classid: int
    parent: HtbClass | None
    block: Block
    options: ClassOptions
    queue: Qdisc | None
    tokens: int = 0
    ctokens: int = 0
    quantum: int = 0
    prio: int = 0
    level: int = 0
    children: int = 0
    filters: int = 0
    """qdisc_class_get(): how many filters are bound to it."""
    stats: QdiscStats = field(default_factory=QdiscStats)
    lends: int = 0
    """Packets that it sent with its own tokens."""


class _Direct(Enum):
    """HTB_DIRECT: the packet goes past the classes."""

    DIRECT = 0


class _Dropped(Enum):
    """NULL: a filter took or dropped the packet."""

    STOLEN = 0
    SHOT = 1


_STOLEN = (TcAct.STOLEN, TcAct.QUEUED, TcAct.TRAP)


@dataclass(slots=True, eq=False)
class Htb(Qdisc):
    """struct htb_sched.  `defcls` is the minor of the default class as it came, `direct_qlen` in packets."""

    home: QdiscHome = field(kw_only=True)
    rate2quantum: int = 10
    defcls: int = 0
    direct_qlen: int = 0
    direct_packets: int = 0
    own_block: Block = field(init=False)
    classes: ClassHash[HtbClass] = field(default_factory=ClassHash)
    _named_in: dict[int, set[int]] = field(default_factory=dict)
    """The classes in which a filter was that named a classid: where `bind_class` has to look."""

    def __post_init__(self) -> None:
        self.own_block = self.home.new_block(self)

    @property
    def attaches(self) -> bool:
        """htb_attach(): it takes the device's queues itself."""
        return True

    # classes

    @property
    def has_classes(self) -> bool:
        """It has."""
        return True

    def find(self, classid: int) -> HtbClass | None:
        """htb_find()."""
        return self.classes.find(classid)

    def walk(self) -> Iterator[HtbClass]:
        """htb_walk()."""
        return iter(self.classes)

    def leaf(self, class_: HtbClass) -> Qdisc | None:
        """htb_leaf()."""
        return class_.queue

    def graft(self, class_: HtbClass, new: Qdisc | None) -> Qdisc:
        """htb_graft()."""
        if class_.queue is None:
            raise NetlinkError(errno.EINVAL)
        old, class_.queue = class_.queue, new or usual_queue(class_.classid, self.home)
        return old

    def create_class(self, classid: int, parentid: int, options: ClassOptions) -> tuple[HtbClass, str | None]:
        """htb_change_class() of a class that is not there; with it a remark, if there is one.

        A parent that is no class is none: the class is then at the top.
        """
        self.check_new_class(classid, parentid)
        parent = self._parent(parentid)
        queue = usual_queue(classid, self.home)
        queue.invisible = True
        new = HtbClass(
            classid,
            parent,
            self.home.new_block(self),
            options,
            queue,
            tokens=options.buffer,
            ctokens=options.cbuffer,
        )
        if parent is not None:
            if parent.queue is not None:
                self._to_inner(parent)
            parent.children += 1
        self.classes.insert(new)
        self.home.table.add(queue)
        remark = self.change_class(new, options)
        self.classes.grow()
        return new, remark

    def check_new_class(self, classid: int, parentid: int) -> None:
        """NetlinkError where there can be no such class."""
        if not classid or ids.major(classid) != self.handle:
            raise NetlinkError(errno.EINVAL)
        parent = self._parent(parentid)
        if parent and parent.parent and parent.parent.level < 2:
            raise NetlinkError(errno.EINVAL, "sch_htb: tree is too deep")

    def _parent(self, parentid: int) -> HtbClass | None:
        return None if parentid == ids.TC_H_ROOT else self.find(parentid)

    def change_class(self, class_: HtbClass, options: ClassOptions) -> str | None:
        """htb_change_class() of a class that is there; a remark, if there is one.

        An inner class keeps its quantum and prio.
        """
        class_.options = options
        if class_.level:
            return None
        quantum, size = options.quantum, None
        if not quantum:
            usual = min(options.rate.bytes_ps // self.rate2quantum, INT_MAX)
            quantum = min(max(usual, SMALLEST_QUANTUM), BIGGEST_QUANTUM)
            size = "small" if usual < quantum else "big" if usual > quantum else None
        class_.quantum = quantum
        class_.prio = min(options.prio, PRIOS - 1)
        if size is None:
            return None
        return f"sch_htb: quantum of class {class_.classid:X} is {size}. Consider r2q change."

    def delete_class(self, class_: HtbClass) -> None:
        """htb_delete()."""
        if class_.children or class_.filters:
            raise NetlinkError(errno.EBUSY, "HTB class in use")
        parent = class_.parent
        self.classes.remove(class_)
        if parent is not None:
            parent.children -= 1
            if not parent.children:
                self._to_leaf(parent)
        self._destroy_class(class_)

    def _to_inner(self, class_: HtbClass) -> None:
        """The class gets its first child: its queue goes, with what hangs on it."""
        assert class_.queue is not None
        queue, class_.queue = class_.queue, None
        class_.level = (class_.parent.level if class_.parent is not None else MAX_DEPTH) - 1
        self._put(queue)

    def _to_leaf(self, class_: HtbClass) -> None:
        """htb_parent_to_leaf(): the class has lost its last child."""
        class_.level = 0
        class_.queue = usual_queue(class_.classid, self.home)
        class_.tokens, class_.ctokens = class_.options.buffer, class_.options.cbuffer

    def _destroy_class(self, class_: HtbClass) -> None:
        """htb_destroy_class()."""
        if class_.queue is not None:
            self._put(class_.queue)
        class_.block.flush()

    def _put(self, queue: Qdisc) -> None:
        """qdisc_put()."""
        self.home.table.remove(queue)
        queue.destroy()

    def destroy(self) -> None:
        """htb_destroy(): filters first, for they hold classes."""
        for block in self.blocks:
            block.flush()
        for class_ in tuple(self.classes):
            self.classes.remove(class_)
            if class_.queue is not None:
                self._put(class_.queue)

    # filters

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Its own block, then those of its classes."""
        return (self.own_block, *(class_.block for class_ in self.classes))

    def block(self, class_: HtbClass | None) -> Block:
        """htb_tcf_block()."""
        return self.own_block if class_ is None else class_.block

    def bind(self, classid: int, parent: int) -> HtbClass | None:
        """htb_bind_filter()."""
        if ids.minor(parent):
            self._named_in.setdefault(classid, set()).add(parent)
        class_ = self.find(classid)
        if class_ is not None:
            class_.filters += 1
        return class_

    def unbind(self, class_: object) -> None:
        """htb_unbind_filter()."""
        assert isinstance(class_, HtbClass)
        class_.filters -= 1

    def bind_class(self, classid: int, new: HtbClass | None) -> None:
        """tc_bind_tclass().  Only the classes are walked: filters of the qdisc itself stay as they are."""
        for parent in self._named_in.get(classid, ()):
            class_ = self.find(parent)
            if class_ is not None:
                class_.block.bind_class(classid, bound=new is not None)

    # packets

    def classify(self, skb: Skb, passage: Passage) -> HtbClass | _Direct | _Dropped:
        """htb_classify()."""
        if skb.priority == self.handle:
            return _Direct.DIRECT
        class_ = self.find(skb.priority)
        if class_ is not None and not class_.level:
            return class_
        block = self.own_block if class_ is None else class_.block
        # Filters that send a packet round in circles keep the kernel busy for ever; here it is "no class".
        for _ in range(len(self.classes) + 1):
            result = ClassifyResult()
            answer = block.classify(skb, result)
            passage.decided(answer, result)
            if answer < 0:
                break
            if answer in _STOLEN:
                return _Dropped.STOLEN
            if answer == TcAct.SHOT:
                return _Dropped.SHOT
            class_ = result.class_ if isinstance(result.class_, HtbClass) else None
            if class_ is None:
                if result.classid == self.handle:
                    return _Direct.DIRECT
                class_ = self.find(result.classid)
                if class_ is None:
                    break
            if not class_.level:
                return class_
            block = class_.block
        default = self.find(ids.make(self.handle, self.defcls))
        return _Direct.DIRECT if default is None or default.level else default

    def enqueue(self, skb: Skb, passage: Passage) -> bool:
        """htb_enqueue(), and htb_dequeue() at once."""
        found = self.classify(skb, passage)
        if found is _Dropped.STOLEN:
            passage.stolen = True
            return False
        if found is _Dropped.SHOT:
            self.stats.drops += 1
            return False
        if found is _Direct.DIRECT:
            if not self.direct_qlen:
                self.stats.drops += 1
                return False
            self.direct_packets += 1
        else:
            assert isinstance(found, HtbClass)
            assert found.queue is not None
            passage.classified(found.classid)
            if not found.queue.enqueue(skb, passage):
                self.stats.drops += not passage.stolen
                found.stats.drops += not passage.stolen
                return False
            found.lends += 1
            each: HtbClass | None = found
            while each is not None:
                each.stats.add(skb.wire_len)
                each = each.parent
        self.stats.add(skb.wire_len)
        return True
