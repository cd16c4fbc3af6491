"""What do actions do to a packet, natively?  tcf_action_exec() over actions that lie in memory.

`tc/actions/` is the definition.  A plan writes each action that it takes down as a *record*: its kind, its
control, its parameters, and where the memory is in which the action itself keeps its counters
(`tc.actions.memory`).  So the native walk counts where the action looks, and there is nothing to bring
back.  A filter's list is records one behind the other:

    filter 3 ─▶ │ skbedit │ police │ gact │        record ─▶ counters, times, buckets of the action
    filter 5 ─▶ │ gact │

Records hold what the actions were when the plan was made; an action that changes (`Surroundings.generation`)
makes the plan stale.  What is done by numbers alone (a policer's buckets, the clock, random numbers) is done
by the functions of the definition, compiled.
"""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Callable, Sequence
from typing import Any

from ..tc.act import TC_ACT_EXT_VAL_MASK, TC_ACT_GOTO_CHAIN, TC_ACT_JUMP, TcAct
from ..tc.actions import NO_ACTIONS
from ..tc.actions.action import AnyAction
from ..tc.actions.clock import CaptureClock
from ..tc.actions.execute import JUMP_MASK, TCA_ACT_MAX_PRIO
from ..tc.actions.gact import Chance, Gact
from ..tc.actions.memory import NEVER, ActionMemory, Buckets, Counters, Times
from ..tc.actions.police import ATM, Police, Rate, left_over, packet_cost, reciprocal, transmit_time
from ..tc.actions.skbedit import Skbedit
from ..tc.actions.surroundings import following, scaled
from ..tc.chain import Block
from ..tc.filter import Filter
from ..vm.native_skb import At
from ..vm.subset import (
    load_be16,
    load_i32,
    load_i64,
    load_u8,
    load_u32,
    native,
    store_i64,
    store_u32,
    swap16,
    umod,
)
from .actions import FilterActions
from .clock import NOW
from .in_python import act_in_python
from .walk_state import Cells, Layout, State

for _function in (following, scaled, transmit_time, left_over):
    native(_function)


# Records ------------------------------------------------------------------------------------------


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
    LIMITS = enum.auto()
    """`Limit`: which buckets there are."""
    PEAK_LIMIT = enum.auto()
    PACKET_COST = enum.auto()
    PACKETS_BURST = enum.auto()
    RATE = enum.auto()
    """The first of the five numbers of a `tc.actions.police.Rate`, as `transmit_time` takes them."""
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
    EVERYTHING = 8
    """An average rate that nothing measures: no packet conforms."""


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
    """Is it done by Python: of another kind, with an estimator, or with numbers too large?"""
    if type(action) not in _NUMBERS or action.estimator is not None:
        return True
    return any(abs(number) >= 1 << 62 for number in _NUMBERS[type(action)](action).values())


def keeps_state(each: Filter) -> bool:
    """Do the filter's actions do something that depends on packets before, or that others see?"""
    return any(
        needs_python(action)
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
        limits |= Limit.EVERYTHING
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
    mult, shift = reciprocal(rate.rate)
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
    }
    if action.skip_sw:
        return {Act.KIND: Kind.SKIPPED}
    if needs_python(action):
        return common | {Act.KIND: Kind.PYTHON}
    return common | _NUMBERS[type(action)](action)


def goto_chains(each: Filter) -> set[int]:
    """The chains that a filter's actions may lead to."""
    return {action.goto.index for action in actions_of(each) if action.goto is not None}


# The world ----------------------------------------------------------------------------------------

_COUNTERS = ActionMemory.counters.offset
BYTES = _COUNTERS + Counters.bytes.offset  # type: ignore[attr-defined]
PACKETS = _COUNTERS + Counters.packets.offset  # type: ignore[attr-defined]
DROPS = _COUNTERS + Counters.drops.offset  # type: ignore[attr-defined]
OVERLIMITS = _COUNTERS + Counters.overlimits.offset  # type: ignore[attr-defined]
LAST_USE = ActionMemory.times.offset + Times.last_use.offset  # type: ignore[attr-defined]
FIRST_USE = ActionMemory.times.offset + Times.first.offset  # type: ignore[attr-defined]
SEEN = ActionMemory.seen.offset  # type: ignore[attr-defined]
_BUCKETS = ActionMemory.buckets.offset
FILLED = _BUCKETS + Buckets.filled.offset  # type: ignore[attr-defined]
TOKENS = _BUCKETS + Buckets.tokens.offset  # type: ignore[attr-defined]
PEAK_TOKENS = _BUCKETS + Buckets.peak_tokens.offset  # type: ignore[attr-defined]
PACKET_TOKENS = _BUCKETS + Buckets.packet_tokens.offset  # type: ignore[attr-defined]


@native
def random_below(random: int, limit: int) -> int:
    """`Random.below`."""
    store_i64(random, following(load_i64(random)))
    return scaled(load_i64(random), limit)


# Actions ------------------------------------------------------------------------------------------


@native
def used(memory: int, skb: int, clock: int) -> None:
    """`Action.used`: a packet is here."""
    now = load_i64(clock + NOW)
    store_i64(memory + LAST_USE, now)
    if load_i64(memory + FIRST_USE) == NEVER:
        store_i64(memory + FIRST_USE, now)
    segments = load_u32(skb + At.GSO_SEGS)
    store_i64(memory + BYTES, load_i64(memory + BYTES) + load_u32(skb + At.WIRE_LEN))
    store_i64(memory + PACKETS, load_i64(memory + PACKETS) + (segments if segments else 1))


@native(inline=True)
def count(memory: int, answer: int) -> None:
    """A packet that is answered so was dropped, perhaps."""
    if answer == TcAct.SHOT:
        store_i64(memory + DROPS, load_i64(memory + DROPS) + 1)


@native
def gact_act(record: int, skb: int, clock: int, random: int) -> int:
    """`Gact.act`."""
    memory = load_i64(record + Act.MEMORY)
    chance = load_i64(record + Act.CHANCE)
    drawn = 1
    if chance == Chance.NETRAND:
        drawn = random_below(random, load_i64(record + Act.VALUE))
    elif chance == Chance.DETERM:
        seen = load_i64(memory + SEEN) + 1 & 0xFFFFFFFF
        store_i64(memory + SEEN, seen)
        drawn = umod(seen, load_i64(record + Act.VALUE))
    answer = load_i64(record + Act.CONTROL) if drawn else load_i64(record + Act.OTHER)
    used(memory, skb, clock)
    count(memory, answer)
    return answer


ETH_P_IP, ETH_P_IPV6, ETH_P_8021Q, ETH_P_8021AD = 0x0800, 0x86DD, 0x8100, 0x88A8
IP_BYTES, IPV6_BYTES = 20, 40


@native
def readable(skb: int, at: int, size: int) -> int:
    """`headers.read`: are `size` bytes at an address there to read?  What was not captured is noted."""
    if at + size > load_i64(skb + At.DATA_PTR) + load_u32(skb + At.LEN):
        return 0
    if at + size > load_i64(skb + At.DATA_END_PTR):
        store_u32(skb + At.READ_PAST, 1)
        return 0
    return 1


NO_FIELD, NO_HEADER = 0x100, -1
"""What `dsfield` says where there is no IP packet, and where its header is not wholly there."""


@native
def dsfield(skb: int) -> int:
    """`headers.dsfield` of a packet whose IP header is there, NO_FIELD or NO_HEADER."""
    protocol = swap16(load_u32(skb + At.PROTOCOL))
    at = load_i64(skb + At.DATA_PTR) + load_i32(skb + At.NET_OFF)
    while protocol in (ETH_P_8021Q, ETH_P_8021AD):
        if not readable(skb, at, 4):
            break
        protocol = load_be16(at + 2)
        at += 4
    if protocol == ETH_P_IP:
        return load_u8(at + 1) if readable(skb, at, IP_BYTES) else NO_HEADER
    if protocol == ETH_P_IPV6:
        return load_be16(at) >> 4 & 0xFF if readable(skb, at, IPV6_BYTES) else NO_HEADER
    return NO_FIELD


@native
def skbedit_act(record: int, skb: int, clock: int) -> int:
    """`Skbedit.act`."""
    memory = load_i64(record + Act.MEMORY)
    used(memory, skb, clock)
    edits = load_i64(record + Act.EDITS)
    if edits & Edit.PRIORITY:
        store_u32(skb + At.PRIORITY, load_i64(record + Act.PRIORITY))
    if edits & Edit.DSFIELD:
        field = dsfield(skb)
        if field == NO_HEADER:
            count(memory, TcAct.SHOT)
            return TcAct.SHOT
        if field != NO_FIELD:
            store_u32(skb + At.PRIORITY, field >> 2)
    if edits & Edit.QUEUE:
        chosen = umod(load_u32(skb + At.HASH), load_i64(record + Act.QUEUES))
        store_u32(skb + At.QUEUE_MAPPING, load_i64(record + Act.QUEUE) + chosen)
    if edits & Edit.MARK:
        mask = load_i64(record + Act.MASK)
        mark = load_u32(skb + At.MARK) & ~mask
        store_u32(skb + At.MARK, mark | load_i64(record + Act.MARK) & mask)
    if edits & Edit.PTYPE:
        store_u32(skb + At.PKT_TYPE, load_i64(record + Act.PTYPE))
    return load_i64(record + Act.CONTROL)


@native
def rate_time(rate: int, length: int) -> int:
    """`Rate.time` of the rate that is written down here."""
    return transmit_time(
        length,
        load_i64(rate),
        load_i64(rate + 8),
        load_i64(rate + 16),
        load_i64(rate + 24),
        load_i64(rate + 32),
    )


@native
def conforms(record: int, memory: int, length: int, link_layer: int, now: int) -> int:
    """`Police._conforms`: take the packet's tokens, if there are enough in every bucket."""
    limits = load_i64(record + Act.LIMITS)
    if limits & Limit.EVERYTHING or length + link_layer > load_i64(record + Act.MTU):
        return 0
    if limits == 0:
        return 1
    passed = now - load_i64(memory + FILLED)
    tokens = 0
    peak = 0
    packets = 0
    if limits & Limit.PACKETS:
        burst = load_i64(record + Act.PACKETS_BURST)
        cost = load_i64(record + Act.PACKET_COST)
        packets = left_over(load_i64(memory + PACKET_TOKENS), passed, burst, burst, cost)
    if limits & Limit.BYTES:
        burst = load_i64(record + Act.BURST)
        if limits & Limit.PEAK:
            cost = rate_time(record + Act.PEAK, length)
            most = load_i64(record + Act.PEAK_LIMIT)
            peak = left_over(load_i64(memory + PEAK_TOKENS), passed, burst, most, cost)
        cost = rate_time(record + Act.RATE, length)
        tokens = left_over(load_i64(memory + TOKENS), passed, burst, burst, cost)
    if tokens < 0 or peak < 0 or packets < 0:
        return 0
    store_i64(memory + FILLED, now)
    store_i64(memory + TOKENS, tokens)
    store_i64(memory + PEAK_TOKENS, peak)
    store_i64(memory + PACKET_TOKENS, packets)
    return 1


@native
def police_act(record: int, skb: int, clock: int) -> int:
    """`Police.act`."""
    memory = load_i64(record + Act.MEMORY)
    used(memory, skb, clock)
    answer = load_i64(record + Act.RESULT)
    link_layer = load_u32(skb + At.MAC_LEN) if load_u32(skb + At.AT_INGRESS) else 0
    if conforms(record, memory, load_u32(skb + At.WIRE_LEN), link_layer, load_i64(clock + NOW)) == 0:
        store_i64(memory + OVERLIMITS, load_i64(memory + OVERLIMITS) + 1)
        answer = load_i64(record + Act.CONTROL)
    count(memory, answer)
    return answer


# Lists --------------------------------------------------------------------------------------------


@native
def act(state: int, record: int, skb: int) -> int:
    """One action, whatever its kind."""
    kind = load_i64(record + Act.KIND)
    clock = load_i64(state + State.CLOCK)
    if kind == Kind.GACT:
        return gact_act(record, skb, clock, load_i64(state + State.RANDOM))
    if kind == Kind.SKBEDIT:
        return skbedit_act(record, skb, clock)
    if kind == Kind.POLICE:
        return police_act(record, skb, clock)
    return act_in_python(state, load_i64(record + Act.NUMBER))


OPCODE = ~TC_ACT_EXT_VAL_MASK


@native
def run_actions(state: int, list: int, length: int, skb: int) -> int:
    """`execute`: the answer of the `length` actions that begin at `list` in the records; `goto chain` as
    the number it is."""
    records = load_i64(state + State.ACTIONS) + list
    answer: int = TcAct.OK
    skip = 0
    jumps = TCA_ACT_MAX_PRIO
    at = 0
    while at < length:
        record = records + at * ACT_BYTES
        at += 1
        if skip:
            skip -= 1
            continue
        if load_i64(record + Act.KIND) == Kind.SKIPPED:
            continue
        answer = act(state, record, skb)
        repeats = TCA_ACT_MAX_PRIO - 1
        while answer == TcAct.REPEAT and repeats:
            answer = act(state, record, skb)
            repeats -= 1
        if answer == TcAct.REPEAT:
            return TcAct.OK
        opcode = answer & OPCODE
        if opcode == TC_ACT_JUMP:
            skip = answer & JUMP_MASK
            jumps -= 1
            if skip == 0 or skip > length or jumps == 0:
                return TcAct.OK
            at = 0
        elif opcode == TC_ACT_GOTO_CHAIN:
            return answer if load_i64(record + Act.HAS_GOTO) else TcAct.SHOT
        elif answer != TcAct.PIPE:
            return answer
    return answer
