"""gact, the generic action: nothing but a verdict, now and then another one.

With a probability, one packet in `value` gets `other` instead of the control: `determ` counts packets
and takes every `value`th, `netrand` draws a random number for each.  A value of 10 is one in ten.

Mirrors net/sched/act_gact.c.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ...skb import Skb
from ..act import TcAct
from ..result import ClassifyResult
from .action import Action


class Chance(enum.IntEnum):
    """PGACT_*: how the packets are chosen."""

    NONE = 0
    NETRAND = 1
    DETERM = 2


@dataclass(frozen=True, slots=True)
class GactParams:
    """struct tcf_gact: one packet in `value` (1 to 65535) is answered `other` (TC_ACT_*)."""

    chance: Chance = Chance.NONE
    value: int = 1
    other: int = TcAct.OK


class Gact(Action[GactParams]):
    """struct tcf_gact."""

    kind = "gact"

    def act(self, skb: Skb, result: ClassifyResult) -> int:
        """tcf_gact_act()."""
        answer = self._answer()
        self.used(skb)
        if answer == TcAct.SHOT:
            self.dropped()
        return answer

    def _answer(self) -> int:
        params = self.params
        match params.chance:
            case Chance.NETRAND:
                drawn = self.around.random.below(params.value)
            case Chance.DETERM:
                with self.lock:
                    self.memory.seen = self.memory.seen + 1 & 0xFFFFFFFF
                    drawn = self.memory.seen % params.value
            case _:
                return self.control
        return self.control if drawn else params.other
