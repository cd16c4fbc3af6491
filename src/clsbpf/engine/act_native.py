"""What do actions do to a packet, natively?  tcf_action_exec() over records of actions (act_records.py).

`tc/actions/` is the definition.  What is done by numbers alone (a policer's buckets, random numbers) is done
by the functions of the definition, compiled; the rest is said again here for a NativeSkb, and tests hold it
to the definition.
"""

from __future__ import annotations

from ..tc.act import TC_ACT_EXT_VAL_MASK, TC_ACT_GOTO_CHAIN, TC_ACT_JUMP, TcAct
from ..tc.actions.estimator import AVERAGE_SHIFT, IDLE_INTERVALS, Estimator, mixed, next_end
from ..tc.actions.execute import JUMP_MASK, TCA_ACT_MAX_PRIO
from ..tc.actions.gact import Chance
from ..tc.actions.memory import NEVER, ActionMemory, Buckets, Counters, Times
from ..tc.actions.police import left_over
from ..tc.actions.surroundings import following, scaled
from ..tc.rate import transmit_time
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
    udiv,
    umod,
)
from .act_records import ACT_BYTES, Act, Edit, Kind, Limit
from .clock import NOW
from .in_python import act_in_python
from .walk_state import State

# Places in memory ---------------------------------------------------------------------------------


def place(part: str, name: str) -> int:
    """Where in an ActionMemory a number of one of its parts is."""
    of = {"counters": Counters, "times": Times, "buckets": Buckets}[part]
    return int(getattr(ActionMemory, part).offset + getattr(of, name).offset)


BYTES, PACKETS = place("counters", "bytes"), place("counters", "packets")
DROPS, OVERLIMITS = place("counters", "drops"), place("counters", "overlimits")
LAST_USE, FIRST_USE = place("times", "last_use"), place("times", "first")
FILLED, TOKENS = place("buckets", "filled"), place("buckets", "tokens")
PEAK_TOKENS, PACKET_TOKENS = place("buckets", "peak_tokens"), place("buckets", "packet_tokens")
SEEN = int(getattr(ActionMemory, "seen").offset)  # noqa: B009 (to mypy it is a number)

INTERVAL_LOG, EWMA_LOG, INTERVAL, DUE, SEEN_BYTES, SEEN_PACKETS, BYTES_AVERAGE, PACKETS_AVERAGE = (
    int(getattr(Estimator, name).offset) for name, *_ in Estimator._fields_
)

for _function in (following, scaled, transmit_time, left_over, mixed, next_end):
    native(_function)


# Actions ------------------------------------------------------------------------------------------


@native
def random_below(random: int, limit: int) -> int:
    """`Random.below`."""
    store_i64(random, following(load_i64(random)))
    return scaled(load_i64(random), limit)


@native(cold=True)
def catch_up(estimator: int, memory: int, now: int) -> None:
    """`Estimator.catch_up`, by what the action has counted."""
    due = load_i64(estimator + DUE)
    if now < due:
        return
    left = udiv(now - due, load_i64(estimator + INTERVAL)) + 1
    store_i64(estimator + DUE, next_end(due, now, load_i64(estimator + INTERVAL)))
    size = load_i64(memory + BYTES)
    packets = load_i64(memory + PACKETS)
    log = load_i64(estimator + INTERVAL_LOG)
    weight = load_i64(estimator + EWMA_LOG)
    left = left if left < IDLE_INTERVALS else IDLE_INTERVALS
    while left:
        counted = size - load_i64(estimator + SEEN_BYTES)
        store_i64(estimator + BYTES_AVERAGE, mixed(load_i64(estimator + BYTES_AVERAGE), counted, log, weight))
        counted = packets - load_i64(estimator + SEEN_PACKETS)
        average = mixed(load_i64(estimator + PACKETS_AVERAGE), counted, log, weight)
        store_i64(estimator + PACKETS_AVERAGE, average)
        store_i64(estimator + SEEN_BYTES, size)
        store_i64(estimator + SEEN_PACKETS, packets)
        left -= 1


@native
def used(record: int, memory: int, skb: int, clock: int) -> None:
    """`Action.used`: a packet is here."""
    now = load_i64(clock + NOW)
    estimator = load_i64(record + Act.ESTIMATOR)
    if estimator:
        catch_up(estimator, memory, now)
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
    used(record, memory, skb, clock)
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
    used(record, memory, skb, clock)
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
def too_fast(record: int, memory: int, now: int) -> int:
    """Is the average rate that a policer allows exceeded?  Always, where nobody measures it."""
    estimator = load_i64(record + Act.ESTIMATOR)
    if estimator == 0:
        return 1
    catch_up(estimator, memory, now)
    return load_i64(estimator + BYTES_AVERAGE) >> AVERAGE_SHIFT >= load_i64(record + Act.AVERAGE)


@native
def conforms(record: int, memory: int, length: int, link_layer: int, now: int) -> int:
    """`Police._conforms`: take the packet's tokens, if there are enough in every bucket."""
    limits = load_i64(record + Act.LIMITS)
    if length + link_layer > load_i64(record + Act.MTU):
        return 0
    if limits & ~Limit.AVERAGE == 0:
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
    now = load_i64(clock + NOW)
    # Read before this packet is counted, as the kernel's estimator knows only of earlier ones.
    exceeds = too_fast(record, memory, now) if load_i64(record + Act.LIMITS) & Limit.AVERAGE else 0
    used(record, memory, skb, clock)
    answer = load_i64(record + Act.RESULT)
    link_layer = load_u32(skb + At.MAC_LEN) if load_u32(skb + At.AT_INGRESS) else 0
    if exceeds or conforms(record, memory, load_u32(skb + At.WIRE_LEN), link_layer, now) == 0:
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
