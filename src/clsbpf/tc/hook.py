"""Where filters meet packets: the clsact and ingress qdiscs.

Both are qdiscs without a queue.  clsact has two blocks, one for packets that come in and one for
those that go out, told apart by the minor of a filter's parent; the older ingress has only the
first, and takes it for any parent.  The qdiscs that packets queue in on their way out are another
matter (`qdiscs/`).

Mirrors net/sched/sch_ingress.c and tc_run() of net/core/dev.c.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..skb import Skb
from . import ids
from .act import TcAct
from .chain import Block
from .qdiscs.qdisc import Qdisc
from .result import ClassifyResult

CLSACT = "clsact"
INGRESS = "ingress"


@dataclass(slots=True, eq=False)
class HookQdisc(Qdisc):
    """struct Qdisc of kind `clsact` or `ingress` on a device, with its blocks (tcf_block)."""

    handle: int = field(default=ids.major(ids.TC_H_CLSACT), init=False)
    parent: int = field(default=ids.TC_H_CLSACT, init=False)
    ingress: Block
    egress: Block | None = None

    def __post_init__(self) -> None:
        assert (self.kind, self.egress is None) in {(CLSACT, False), (INGRESS, True)}

    @property
    def has_classes(self) -> bool:
        """It has, for filters to hang on."""
        return True

    @property
    def is_ingress(self) -> bool:
        """It is."""
        return True

    def find(self, classid: int) -> int:
        """cl_ops->find(): the class that a parent means, 0 if there is none.

        ingress has one for every classid; tc's `egress` on it is silently its ingress.
        """
        minor = ids.minor(classid)
        if self.kind == INGRESS:
            return minor + 1
        return minor if minor in (ids.TC_H_MIN_INGRESS, ids.TC_H_MIN_EGRESS) else 0

    def block(self, class_: int | None) -> Block | None:
        """cl_ops->tcf_block(): the block of a class that `find` gave, or of none (a parent without minor)."""
        if self.kind == INGRESS or class_ == ids.TC_H_MIN_INGRESS:
            return self.ingress
        return self.egress if class_ == ids.TC_H_MIN_EGRESS else None

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Its blocks, ingress first."""
        return (self.ingress,) if self.egress is None else (self.ingress, self.egress)

    def classify(self, skb: Skb, result: ClassifyResult) -> int:
        """tc_run(): what the block on the packet's side (`skb.at_ingress`) says of it.

        A packet that is let through has the minor of its class as `tc_index` afterwards.
        """
        block = self.ingress if skb.at_ingress else self.egress
        if block is None:
            return TcAct.UNSPEC
        skb.wire_len = skb.len
        answer = block.classify(skb, result)
        if answer == TcAct.OK:
            skb.tc_index = ids.minor(result.classid)
        return answer
