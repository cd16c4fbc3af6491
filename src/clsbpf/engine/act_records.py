"""How are a filter's actions written down for native code?  As records in memory, one an action.

A record has its action's kind, control and parameters, and where the memory is in which the action itself
keeps its counters (`tc.actions.memory`).  So a native walk counts where the action looks, and there is
nothing to bring back.  A filter's list is records one behind the other:

    filter 3 ─▶ │ skbedit │ police │ gact │        record ─▶ counters, times, buckets of the action
    filter 5 ─▶ │ gact │

Records hold what the actions were when the plan was made; an action that changes (`Surroundings.generation`)
makes the plan stale.  What native code does by them is in act_native.py.
"""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Callable, Sequence
from typing import Any

from ..tc.actions import NO_ACTIONS
from ..tc.actions.action import AnyAction
from ..tc.actions.clock import CaptureClock
from ..tc.actions.gact import Chance, Gact
from ..tc.actions.memory import NEVER, ActionMemory
from ..tc.actions.police import Police, packet_cost
from ..tc.actions.skbedit import Skbedit
from ..tc.chain import Block
from ..tc.filter import Filter
from ..tc.rate import ATM, Rate, reciprocal
from .actions import FilterActions
from .walk_state import Cells, Layout


class Kind(enum.IntEnum):
    """The kinds that native code knows."""

    GACT = 1
    SKBEDIT = 2
    POLICE = 3
    SKIPPED = 4
    """Any with skip_sw: it is for hardware only."""
    PYTHON = 5
    """One that Python does (`in_python.py`)."""


class Act(Layout):
    """An action as native code reads it; the cells after `HAS_GOTO` are a kind's own."""

    KIND = enum.auto()
    MEMORY = enum.auto()
    """The address of its ActionMemory."""
    CONTROL = enum.auto()
    HAS_GOTO = enum.auto()
    NUMBER = enum.auto()
    """Which of the plan's records it is."""
    ESTIMATOR = enum.auto()
    """The address of its Estimator, or 0."""
    # gact
    CHANCE = enum.auto()
    VALUE = enum.auto()
    OTHER = enum.auto()
    # skbedit: what of it is wanted (`Edit`), and the numbers
    EDITS = enum.auto()
    PRIORITY = enum.auto()
    QUEUE = enum.auto()
    QUEUES = enum.auto()
    """How many queues there are to choose from."""
    MARK = enum.auto()
    MASK = enum.auto()
    PTYPE = enum.auto()
    # police
    RESULT = enum.auto()
    MTU = enum.auto()
    BURST = enum.auto()
    AVERAGE = enum.auto()
    """Bytes a second."""
    LIMITS = enum.auto()
    """`Limit`: which buckets there are."""
    PEAK_LIMIT = enum.auto()
    PACKET_COST = enum.auto()
    PACKETS_BURST = enum.auto()
    RATE = enum.auto()
    """The first of the five numbers of a `tc.rate.Rate`, as `transmit_time` takes them."""
    RATE_MPU = enum.auto()
    RATE_CELLS = enum.auto()
    RATE_MULT = enum.auto()
    RATE_SHIFT = enum.auto()
    PEAK = enum.auto()
    PEAK_MPU = enum.auto()
    PEAK_CELLS = enum.auto()
    PEAK_MULT = enum.auto()
    PEAK_SHIFT = enum.auto()


ACT_BYTES = 8 * len(Act)


class Edit(enum.IntFlag):
    """What skbedit is to change."""

    PRIORITY = 1
    DSFIELD = 2
    QUEUE = 4
    MARK = 8
    PTYPE = 16


class Limit(enum.IntFlag):
    """What a policer limits."""

    BYTES = 1
    PEAK = 2
    PACKETS = 4
    AVERAGE = 8


def obstacle(each: Filter, block: Block) -> str | None:
    """Why native code cannot do what a filter's actions do, or None where it can."""
    actions = each.actions
    if actions is NO_ACTIONS:
        return None
    if not isinstance(actions, FilterActions):
        return "its actions are not the engine's"
    for action in actions.actions:
        reason = _obstacle(action, block)
        if reason is not None:
            return f"{action.kind} {action.index} {reason}"
    return None


def _obstacle(action: AnyAction, block: Block) -> str | None:
    if not isinstance(action.around.clock, CaptureClock):
        return "has a clock that is not the capture's"
    if action.goto is not None and action.goto.block is not block:
        return "leads to a chain of another block"
    return None


def needs_python(action: AnyAction) -> bool:
    """Is it done by Python: of another kind, or with numbers too large?"""
    if type(action) not in _NUMBERS:
        return True
    return any(abs(number) >= 1 << 62 for number in _NUMBERS[type(action)](action).values())


def keeps_state(each: Filter) -> bool:
    """Do the filter's actions do something that depends on packets before, or that others see?"""
    return any(
        needs_python(action)
        or action.estimator is not None
        or isinstance(action, Police)
        or (isinstance(action, Gact) and action.params.chance is not Chance.NONE)
        for action in actions_of(each)
    )


def actions_of(each: Filter) -> tuple[AnyAction, ...]:
    """The filter's actions."""
    return each.actions.actions if isinstance(each.actions, FilterActions) else ()


def _gact(action: AnyAction) -> dict[Act, int]:
    params = action.params
    return {Act.KIND: Kind.GACT, Act.CHANCE: params.chance, Act.VALUE: params.value, Act.OTHER: params.other}


def _skbedit(action: AnyAction) -> dict[Act, int]:
    params = action.params
    edits = Edit(0)
    for edit, wanted in (
        (Edit.PRIORITY, params.priority is not None),
        (Edit.DSFIELD, params.inherit_dsfield),
        (Edit.QUEUE, params.queue is not None),
        (Edit.MARK, params.mark is not None),
        (Edit.PTYPE, params.ptype is not None),
    ):
        edits |= edit if wanted else 0
    queues = 1
    if params.queue is not None and params.queue_most is not None:
        queues = params.queue_most - params.queue + 1
    return {
        Act.KIND: Kind.SKBEDIT,
        Act.EDITS: edits,
        Act.PRIORITY: params.priority or 0,
        Act.QUEUE: params.queue or 0,
        Act.QUEUES: queues,
        Act.MARK: params.mark or 0,
        Act.MASK: 0xFFFFFFFF if params.mask is None else params.mask,
        Act.PTYPE: params.ptype or 0,
    }


def _police(action: AnyAction) -> dict[Act, int]:
    params = action.params
    numbers = {
        Act.KIND: Kind.POLICE,
        Act.RESULT: params.result,
        Act.MTU: params.mtu,
        Act.BURST: params.burst,
    }
    limits = Limit(0)
    if params.average:
        limits |= Limit.AVERAGE
        numbers[Act.AVERAGE] = params.average
    if params.packets:
        limits |= Limit.PACKETS
        numbers |= {
            Act.PACKET_COST: packet_cost(params.packets),
            Act.PACKETS_BURST: params.packets_burst,
        }
    if params.rate is not None:
        limits |= Limit.BYTES
        numbers |= _rate(Act.RATE, params.rate)
        if params.peak is not None:
            limits |= Limit.PEAK
            numbers |= _rate(Act.PEAK, params.peak)
            numbers[Act.PEAK_LIMIT] = params.peak.time(params.mtu)
    return numbers | {Act.LIMITS: limits}


def _rate(first: Act, rate: Rate) -> dict[Act, int]:
    mult, shift = reciprocal(rate.bytes_ps)
    values = (rate.overhead, rate.mpu, int(rate.linklayer == ATM), mult, shift)
    return {Act(first + 8 * number): value for number, value in enumerate(values)}


_NUMBERS: dict[type[Any], Callable[[AnyAction], dict[Act, int]]] = {
    Gact: _gact,
    Skbedit: _skbedit,
    Police: _police,
}


class Records:
    """The actions of a plan's filters in memory, of which there is at least one.

    `lists` says where those of filter n begin and how many they are; `around` is what they ask of the world.
    Holds the actions, whose memory is pointed to.
    """

    def __init__(self, filters: Sequence[Filter]) -> None:
        self.held: list[AnyAction] = []
        self.lists: list[tuple[int, int]] = []
        for each in filters:
            actions = actions_of(each)
            self.lists.append((len(self.held) * ACT_BYTES, len(actions)))
            self.held += actions
        self.around = self.held[0].around
        self._cells = Cells(Act, len(self.held))
        self.address = self._cells.address
        for number, action in enumerate(self.held):
            for cell, value in record_of_action(number, action).items():
                self._cells.put(number * ACT_BYTES + cell, value)
        self.ask_python = any(needs_python(action) for action in self.held)

    @property
    def clock(self) -> int:
        """The address of the clock that they look at."""
        assert isinstance(self.around.clock, CaptureClock)
        return ctypes.addressof(self.around.clock.memory)

    @property
    def random(self) -> int:
        """The address of their random numbers."""
        return ctypes.addressof(self.around.random)


WorkerCounters = dict[AnyAction, ActionMemory]
"""What a worker counted, by action."""


class WorkerRecords:
    """The records again, for a worker that reads a piece of a capture and counts for itself."""

    def __init__(self, records: Records, counters: WorkerCounters) -> None:
        self._cells = Cells(Act, len(records.held))
        self.address = self._cells.address
        ctypes.memmove(self.address, records.address, len(records.held) * ACT_BYTES)
        for number, action in enumerate(records.held):
            memory = counters.setdefault(action, ActionMemory())
            self._cells.put(number * ACT_BYTES + Act.MEMORY, ctypes.addressof(memory))


def hand_over(counters: WorkerCounters, moment: Callable[[int], int]) -> None:
    """Add what a worker counted to the actions, which only count; `moment` is what their clock says at a
    time of the worker's."""
    for action, counted in counters.items():
        if not counted.counters.packets:
            continue
        times, sums = action.times, action.counters
        times.last_use = max(times.last_use, moment(counted.times.last_use))
        if times.first == NEVER:
            times.first = moment(counted.times.first)
        sums.bytes += counted.counters.bytes
        sums.packets += counted.counters.packets
        sums.drops += counted.counters.drops


def record_of_action(number: int, action: AnyAction) -> dict[Act, int]:
    """The cells of an action that are not 0."""
    common = {
        Act.MEMORY: ctypes.addressof(action.memory),
        Act.CONTROL: action.control,
        Act.HAS_GOTO: int(action.goto is not None),
        Act.NUMBER: number,
        Act.ESTIMATOR: 0 if action.estimator is None else ctypes.addressof(action.estimator),
    }
    if action.skip_sw:
        return {Act.KIND: Kind.SKIPPED}
    if needs_python(action):
        return common | {Act.KIND: Kind.PYTHON}
    return common | _NUMBERS[type(action)](action)


def goto_chains(each: Filter) -> set[int]:
    """The chains that a filter's actions may lead to."""
    return {action.goto.index for action in actions_of(each) if action.goto is not None}
