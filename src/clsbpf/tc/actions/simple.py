"""simple: print a text, and which packet it is.

Mirrors net/sched/act_simple.c.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...skb import Skb
from ..result import ClassifyResult
from .action import Action


@dataclass(frozen=True, slots=True)
class SimpleParams:
    """tcfd_defdata: the text."""

    text: str


class Simple(Action[SimpleParams]):
    """struct tcf_defact."""

    kind = "simple"

    def act(self, skb: Skb, result: ClassifyResult) -> int:
        """tcf_simp_act()."""
        self.used(skb)
        self.around.say(f"simple: {self.params.text}_{self.counters.packets}")
        return self.control
