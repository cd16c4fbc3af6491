"""bpf as an action: a program whose return value is the verdict.

Of its answers OK, RECLASSIFY, PIPE, SHOT and REDIRECT pass; -1 leaves the verdict to the action's own
control, and any other becomes -1: the next filter is tried.

Mirrors net/sched/act_bpf.c.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...skb import Skb
from ..act import TcAct, as_answer
from ..program import Program
from ..result import ClassifyResult
from .action import Action


@dataclass(frozen=True, slots=True)
class BpfParams:
    """struct tcf_bpf: the program; `ops` as it came, None for one given by descriptor, with its `name`."""

    program: Program
    ops: bytes | None = None
    name: str | None = None


_PASSED = frozenset({TcAct.PIPE, TcAct.RECLASSIFY, TcAct.OK, TcAct.REDIRECT, TcAct.SHOT})


class Bpf(Action[BpfParams]):
    """struct tcf_bpf."""

    kind = "bpf"

    def act(self, skb: Skb, result: ClassifyResult) -> int:
        """tcf_bpf_act(): at ingress the program sees the link-layer header too."""
        self.used(skb)
        if skb.at_ingress:
            skb.push(skb.mac_len)
            value = as_answer(self.params.program.run(skb))
            skb.pull(skb.mac_len)
        else:
            value = as_answer(self.params.program.run(skb))
        if value == TcAct.UNSPEC:
            return self.control
        if value not in _PASSED:
            return TcAct.UNSPEC
        if value == TcAct.SHOT:
            self.dropped()
        return value
