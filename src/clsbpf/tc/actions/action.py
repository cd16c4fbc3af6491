"""One action: struct tc_action, what all kinds have in common.

An action has a *control*: the answer it gives when it has done its work (`pipe`: go on with the next
action).  Actions are shared: a filter may name an action by its index, and the same one then serves
several filters.  `references` counts everybody who holds it, `bindings` the filters among them; it ends
when the last lets go.

A kind subclasses `Action` with an `act` and immutable parameters; a change swaps the parameters in one
step, so whoever runs the action in another thread has the old ones or the new.

Mirrors struct tc_action of include/net/act_api.h and net/sched/act_api.c.
"""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from ...errors import NetlinkError
from ...skb import Skb
from ..act import TC_ACT_EXT_VAL_MASK, TC_ACT_GOTO_CHAIN, TcAct, as_answer, ext_value, is_goto_chain
from ..offload import ActionCommand, ActionDriver, tell_action
from ..result import ClassifyResult
from .estimator import Estimator
from .hardware import FlowStats, counts_in_hardware
from .memory import NEVER, ActionMemory
from .surroundings import Surroundings

if TYPE_CHECKING:
    from ..chain import Block, Chain

FLAG_NO_PERCPU_STATS = 1 << 0
FLAG_SKIP_HW = 1 << 1
FLAG_SKIP_SW = 1 << 2
HW_STATS_IMMEDIATE, HW_STATS_DELAYED = 1, 2
HW_STATS_ANY = HW_STATS_IMMEDIATE | HW_STATS_DELAYED

P = TypeVar("P")


class Action(Generic[P]):
    """struct tc_action of a kind; `params` are the kind's own (struct tcf_gact, …)."""

    kind: ClassVar[str]

    def __init__(self, index: int, control: int, params: P, around: Surroundings) -> None:
        self.index = index
        self.control = control
        self.params = params
        self.around = around
        self.goto: Chain | None = None
        """goto_chain: where `goto chain` leads; held."""
        self.references = 1
        self.bindings = 0
        self.by_filter = False
        """TCA_ACT_FLAGS_BIND: did a filter make it?"""
        self.flags = 0
        """FLAG_*, as the request set them."""
        self.hw_stats = HW_STATS_ANY
        self.tells_hw_stats = False
        """used_hw_stats_valid: has a dump asked hardware for its counters?"""
        self.used_hw_stats = 0
        """HW_STATS_*: the kind of counters that hardware has of it."""
        self.offloaded: tuple[ActionDriver, ...] = ()
        """The drivers that hold it by itself, without a filter."""
        self.in_hardware = FlowStats()
        """What hardware has counted and not told yet."""
        self.told_by_hardware = FlowStats()
        """bstats_hw: what of the counters hardware has told."""
        self.cookie: bytes | None = None
        self.old_police = False
        """TCA_OLD_COMPAT: was it made by the attribute that policers had before there were actions?"""
        now = around.clock.now()
        self.memory = ActionMemory()
        """What packets change."""
        self.times = self.memory.times
        self.times.install = self.times.last_use = now
        self.counters = self.memory.counters
        self.estimator: Estimator | None = None
        self.lock = threading.Lock()
        """Held while counters and what else packets change are written."""

    def __repr__(self) -> str:
        return f"<{self.kind} index {self.index} ref {self.references} bind {self.bindings}>"

    @property
    def skip_hw(self) -> bool:
        """tc_act_skip_hw(): is it for software only?"""
        return bool(self.flags & FLAG_SKIP_HW)

    @property
    def skip_sw(self) -> bool:
        """tc_act_skip_sw(): is it for hardware only?"""
        return bool(self.flags & FLAG_SKIP_SW)

    def act(self, skb: Skb, result: ClassifyResult) -> int:
        """tc_action_ops.act: do it to a packet; the answer is a TC_ACT_* number."""
        raise NotImplementedError

    def change(self, control: int, params: P, goto: Chain | None) -> None:
        """What a replacement changes.  It keeps index, references, counters and times."""
        self.params = params
        self.set_control(control, goto)

    def set_control(self, control: int, goto: Chain | None) -> None:
        """tcf_action_set_ctrlact(): the new control; the chain of the old one is let go."""
        old, self.goto = self.goto, goto
        self.control = control
        self.around.generation += 1
        if old is not None:
            old.block.put_chain(old, by_action=True)

    def release(self) -> None:
        """tcf_action_cleanup(): nobody holds it any more."""
        self.leave_hardware()
        if self.goto is not None:
            self.goto.block.put_chain(self.goto, by_action=True)
            self.goto = None

    def leave_hardware(self) -> None:
        """tcf_action_offload_del(): the drivers let it go, whatever they say."""
        drivers, self.offloaded = self.offloaded, ()
        for driver in drivers:
            tell_action(driver, ActionCommand.DESTROY, self)

    # what packets count

    def used(self, skb: Skb) -> None:
        """tcf_lastuse_update() and tcf_action_update_bstats(): a packet is here."""
        with self.lock:
            now = self.around.clock.now()
            if counts_in_hardware():
                self.in_hardware.add(skb.wire_len, skb.gso_segs or 1, now)
                return
            if self.estimator is not None:
                self.estimator.catch_up(now, self.counters.bytes, self.counters.packets)
            self.times.last_use = now
            if self.times.first == NEVER:
                self.times.first = now
            self.counters.bytes += skb.wire_len
            self.counters.packets += skb.gso_segs or 1

    def hardware_counted(self, stats: FlowStats, kind: int) -> None:
        """tcf_action_update_stats() and what goes with it: hardware tells what it has counted since.

        `kind` is HW_STATS_IMMEDIATE or HW_STATS_DELAYED.
        """
        with self.lock:
            if self.estimator is not None:
                now = self.around.clock.now()
                self.estimator.catch_up(now, self.counters.bytes, self.counters.packets)
            for counted in (self.counters, self.told_by_hardware):
                counted.bytes += stats.bytes
                counted.packets += stats.packets
                counted.drops += stats.drops
            if stats.packets:
                self.times.last_use = max(self.times.last_use, stats.last_use)
                if self.times.first == NEVER:
                    self.times.first = stats.last_use
            self.used_hw_stats, self.tells_hw_stats = kind, True

    def rates(self) -> tuple[int, int] | None:
        """gen_estimator_read(): bytes and packets a second; None without an estimator."""
        if self.estimator is None:
            return None
        with self.lock:
            self.estimator.catch_up(self.around.clock.now(), self.counters.bytes, self.counters.packets)
            return self.estimator.rates

    def dropped(self) -> None:
        """tcf_action_inc_drop_qstats()."""
        with self.lock:
            if counts_in_hardware():
                self.in_hardware.drops += 1
            else:
                self.counters.drops += 1

    def overlimit(self) -> None:
        """tcf_action_inc_overlimit_qstats()."""
        with self.lock:
            self.counters.overlimits += 1


AnyAction = Action[Any]


def check_control(control: int, block: Block | None) -> Chain | None:
    """tcf_action_check_ctrlact(): the chain that a control leads to, held for the action; None for others.

    `control` is signed; `block` is that of the filter the action belongs to, None for an action on its
    own, which cannot lead anywhere.  NetlinkError EINVAL for a number that is no control.
    """
    opcode = as_answer(control & ~TC_ACT_EXT_VAL_MASK & 0xFFFFFFFF)
    # Negative numbers pass, whatever their upper bits: the kernel compares as signed.
    valid = control <= TcAct.TRAP if not opcode else opcode <= TC_ACT_GOTO_CHAIN
    if not valid:
        raise NetlinkError(errno.EINVAL, "invalid control action")
    if not is_goto_chain(control):
        return None
    if block is None:
        raise NetlinkError(errno.EINVAL, "can't goto NULL proto/chain")
    return block.get_chain(ext_value(control), by_action=True)
