"""A capture, packet by packet, through the classifier itself: the definition of a run.

Each record becomes an `Skb` as the hook has it, and `Block.classify` says what becomes of it.  This is
slow and plain; the native walk must come to the same counts and rows.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..capture import Capture, Record
from ..link import link_layer
from ..skb import Skb, receive
from ..tc.result import ClassifyResult
from .ledger import Ledger
from .plan import Plan, PlannedFilter, View
from .plans import Plans
from .walk import account, keep_packet, stop_before
from .walk_state import (
    CLASSID_MASK,
    FILTER_SHIFT,
    READ_PAST_SHIFT,
    UNDECIDED,
    VERDICT_MASK,
    VERDICT_SHIFT,
    State,
    Stop,
)


def run_in_order(capture: Capture, plans: Plans, ledger: Ledger) -> Iterator[int]:
    """Classify the capture's packets; yields the bytes done after each window."""
    state = ledger.state
    plan: Plan | None = None
    for window in capture.windows():
        ledger.show(window.view, window.address)
        try:
            for record, data in capture.records(window):
                link_type = capture.interfaces[record.interface].link_type
                if plan is None or plan.view.link.number != link_type or plan.is_stale:
                    plan = plans.plan(link_layer(link_type))
                    ledger.bind(plan)
                outcome = classify_record(plan, ledger, record, data)
                if (stop := stop_before(state.address)) == Stop.ROWS_FULL:
                    ledger.flush_rows()
                elif stop == Stop.CLASSES_FULL:
                    ledger.settle_classes()
                account(state[State.FILTERS], state[State.VERDICTS], outcome, record.length)
                address = window.address + record.offset - window.offset
                keep_packet(state.address, outcome, record.length, record.time_ns, address, record.captured)
                state[State.TRUNCATED] += outcome >> READ_PAST_SHIFT & 1
                state[State.PACKETS] += 1
                state[State.BYTES] += record.length
        finally:
            if ledger.with_data:
                ledger.flush_rows()
        yield window.offset + window.length


def classify_record(plan: Plan, ledger: Ledger, record: Record, data: memoryview) -> int:
    """The outcome of one packet.  Filters may change meanwhile, so one that the plan lacks is added to it."""
    skb = make_skb(plan.view, data, record.length)
    if skb is None:
        return UNDECIDED
    result = ClassifyResult()
    answer = plan.block.classify(skb, result)
    outcome = int(skb.read_past) << READ_PAST_SHIFT
    if result.filter is None or result.classifier is None:
        return outcome
    if result.filter not in plan.numbers:
        plan.include(PlannedFilter(result.classifier.chain.index, result.classifier, result.filter))
        ledger.bind(plan)
    number = plan.numbers[result.filter]
    verdict = (answer + 1 & VERDICT_MASK) << VERDICT_SHIFT
    return outcome | number + 1 << FILTER_SHIFT | verdict | result.classid & CLASSID_MASK


def make_skb(view: View, frame: memoryview, length: int) -> Skb | None:
    """The packet as the hook has it; None when it never gets there."""
    if view.at_ingress:
        skb = receive(frame, length=length, link=view.link)
        if skb is None:
            return None
        skb.ingress_ifindex = view.ifindex
    else:
        skb = Skb.from_frame(frame, length=length, link=view.link)
    skb.ifindex = view.ifindex
    return skb
