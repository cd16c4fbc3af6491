"""One packet's way through the qdiscs: which filters decided it, and which class it came to.

Mirrors the return values of Qdisc_ops.enqueue() (NET_XMIT_*), with what the kernel does not keep.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..result import ClassifyResult


@dataclass(frozen=True, slots=True)
class Decision:
    """What a block said of the packet: the answer (TC_ACT_*) and whose it was."""

    answer: int
    result: ClassifyResult


@dataclass(slots=True)
class Passage:
    """The way of one packet, filled in as it goes.

    `classid` is its class in the root qdisc (0: none, as in a classless one or past the classes),
    `decisions` are those of blocks in which a filter decided, in order.
    """

    classid: int = 0
    dropped: bool = False
    """Did it not come out?"""
    stolen: bool = False
    """Did a filter's action take it (and so it is nobody's loss)?"""
    decisions: list[Decision] = field(default_factory=list)

    def decided(self, answer: int, result: ClassifyResult) -> None:
        """A block was asked; note what its filters said, if one decided."""
        if result.filter is not None:
            self.decisions.append(Decision(answer, result))

    def classified(self, classid: int) -> None:
        """The packet's class, as its first classful qdisc says."""
        if not self.classid:
            self.classid = classid
