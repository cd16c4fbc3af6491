"""What classifying a packet yields besides the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .chain import Chain
    from .filter import Classifier, Filter


@dataclass(slots=True, eq=False)
class ClassifyResult:
    """struct tcf_result: the class of a packet, filled in by whoever decides it.

    As in the kernel, a filter that matched but went on (direct action and UNSPEC, or a negative answer
    of its actions) leaves its classid here; it counts only where a filter decided.
    """

    classid: int = 0
    """32 bits, major and minor."""
    class_: object | None = None
    """The bound class of a classful qdisc; None: not bound, or the program chose the classid."""
    goto: Chain | None = None
    """goto_tp: where to go on after TC_ACT_GOTO_CHAIN."""
    filter: Filter | None = None
    """The filter that decided; None: none did.  (Not in the kernel's struct.)"""
    classifier: Classifier | None = None
    """The classifier of `filter`."""
