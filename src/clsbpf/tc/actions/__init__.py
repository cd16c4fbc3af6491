"""What a filter does with a packet that it matched: struct tcf_exts.

A filter has a list of actions; the first verdict that is not "pipe" ends it.  The empty list says
OK: a match without actions accepts the packet into its class.

- `action`: one action, what all kinds have in common
- `table`: the actions of a kind by index, shared by reference and bind counts
- `execute`: a packet meets a list of actions
- `hardware`: counters of a driver's
- `surroundings`: the clock, random numbers and other devices, injected
- one file a kind: `gact`, `mirred`, …
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ...skb import Skb
from ..act import TcAct
from ..result import ClassifyResult

if TYPE_CHECKING:
    from ..chain import Block
    from .hardware import FlowStats


class Actions(Protocol):
    """struct tcf_exts: the actions of one filter."""

    def execute(self, skb: Skb, result: ClassifyResult) -> int:
        """tcf_exts_exec(): the answer, a TC_ACT_* number; a negative one goes on with the next filter."""
        ...

    def settle(self) -> None:
        """The filter stands: what its request said of actions that were there before holds from now on."""
        ...

    def hardware_counted(self, stats: FlowStats, kind: int) -> None:
        """tcf_exts_hw_stats_update(): a driver tells what its device counted since, for each action."""
        ...

    def destroy(self) -> None:
        """tcf_exts_destroy(): the filter is gone; give back what its actions hold."""
        ...


class NoActions:
    """A tcf_exts without actions."""

    __slots__ = ()

    def execute(self, skb: Skb, result: ClassifyResult) -> int:
        """OK: the match stands."""
        return TcAct.OK

    def settle(self) -> None:
        """Nothing was said."""

    def hardware_counted(self, stats: FlowStats, kind: int) -> None:
        """Nothing counts."""

    def destroy(self) -> None:
        """Nothing is held."""

    def __repr__(self) -> str:
        return "NO_ACTIONS"


NO_ACTIONS = NoActions()


class ActionSource(Protocol):
    """Who makes actions of a request's attributes: tcf_exts_validate()."""

    def make(self, act: Any, police: Any, rate: bytes | None, override: bool, block: Block) -> Actions:
        """The actions of TCA_BPF_ACT and TCA_BPF_POLICE, with the estimator of TCA_RATE (a payload).

        `override`: actions that exist already may be changed (a request without NLM_F_CREATE); `block`
        is where the filter is, and where `goto chain` leads.
        """
        ...
