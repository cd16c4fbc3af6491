"""A capture, packet by packet, through the classifier itself: the definition of a run.

Each record becomes an `Skb` as the hook has it, and `Block.classify` says what becomes of it.  This is
slow and plain; the native walk must come to the same counts and rows.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..capture import Capture, Record
from ..errors import ProgramFault
from ..link import link_layer
from ..skb import Skb, receive
from ..tc import ids
from ..tc.act import TcAct
from ..tc.actions.clock import CaptureClock
from ..tc.result import ClassifyResult
from .columns import left_in
from .delivery import Courier
from .ledger import Ledger
from .plan import Plan
from .planned import PlannedFilter
from .plans import Plans
from .queueing import Queueing, goes_on, transmit
from .tally import key_of
from .view import View
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
    """Classify the capture's packets; yields the bytes done after each window.

    ProgramFault, with the packet's number, where a program does what no verified program does, unless
    the setup says to keep going.
    """
    walk = _InOrder(capture, plans, ledger)
    for window in capture.windows():
        ledger.show(window.view, window.address)
        try:
            for record, data in capture.records(window):
                walk.take(record, data, window.address + record.offset - window.offset)
        finally:
            if ledger.with_data:
                ledger.flush_rows()
        yield window.offset + window.length


class _InOrder:
    """One capture on its way through the classifier."""

    def __init__(self, capture: Capture, plans: Plans, ledger: Ledger) -> None:
        self.capture = capture
        self.plans = plans
        self.ledger = ledger
        self.plan: Plan | None = None
        setup = plans.setup
        self.courier = Courier(setup.network, setup.on_delivery)
        clock = setup.network.clock if setup.network is not None else None
        self.clock = clock if isinstance(clock, CaptureClock) else CaptureClock()
        self.clock.begin()
        self.queueing = plans.queueing
        self.environment = plans.environment
        self.environment.net.devices = self.courier.devices
        self.environment.net.deliver = self.courier.deliver

    def take(self, record: Record, data: memoryview, address: int) -> None:
        """Classify, count and keep one packet."""
        ledger, state = self.ledger, self.ledger.state
        plan = self._plan(self.capture.interfaces[record.interface].link_type)
        skb = make_skb(plan.view, data, record.length)
        self.environment.packet = ledger.packets
        self.environment.native.ktime_ns = max(record.time_ns, 0)  # time is the capture's
        self.clock.advance(record.time_ns)
        self.courier.begin(ledger.packets, record.time_ns, plan.view.link.number)
        outcome = UNDECIDED if skb is None else self._classify(plan, skb)
        if (stop := stop_before(state.address)) == Stop.ROWS_FULL:
            ledger.flush_rows()
        elif stop == Stop.CLASSES_FULL:
            ledger.settle_classes()
        account(state[State.FILTERS], state[State.VERDICTS], outcome, record.length)
        keep_packet(state.address, outcome, record.length, record.time_ns, address, record.captured)
        if ledger.keeps_rows and skb is not None:
            ledger.keep_extra({name: left_in(skb, name) for name in self.plans.setup.extra})
        state[State.TRUNCATED] += outcome >> READ_PAST_SHIFT & 1
        state[State.PACKETS] += 1
        state[State.BYTES] += record.length

    def _plan(self, link_type: int) -> Plan:
        if self.plan is None or self.plan.view.link.number != link_type or self.plan.is_stale:
            self.plan = self.plans.plan(link_layer(link_type))
            self.ledger.bind(self.plan)
        return self.plan

    def _classify(self, plan: Plan, skb: Skb) -> int:
        try:
            return self._outcome(plan, skb)
        except ProgramFault as fault:
            place = f"{self.capture.name}: packet {self.ledger.packets}"
            error = self.plans.forgive(fault, self.ledger.tally, place)
            if error is not None:
                raise error from None
            return UNDECIDED

    def _outcome(self, plan: Plan, skb: Skb) -> int:
        """The outcome of one packet.  Filters may change meanwhile: one that the plan lacks is added."""
        result = ClassifyResult()
        length = skb.wire_len = skb.len
        answer = plan.block.classify(skb, result)
        target = self.environment.take_redirect()
        if answer == TcAct.REDIRECT and target is not None:
            self.courier.redirect(skb, target)
        classid = result.classid if result.filter is not None else 0
        if self.queueing is not None and goes_on(answer):
            answer, result, classid = self._queue(self.queueing, plan, skb, length, answer, result)
        outcome = int(skb.read_past) << READ_PAST_SHIFT | classid & CLASSID_MASK
        if result.filter is None:
            return outcome
        verdict = (answer + 1 & VERDICT_MASK) << VERDICT_SHIFT
        return outcome | self._number(plan, result) + 1 << FILTER_SHIFT | verdict

    def _queue(
        self, queueing: Queueing, plan: Plan, skb: Skb, length: int, answer: int, result: ClassifyResult
    ) -> tuple[int, ClassifyResult, int]:
        """The packet goes on into the root qdisc: who decided it last, and how, and its class.

        Filters that decided it before are counted, too; it came with `length` bytes.
        """
        if answer in (TcAct.OK, TcAct.RECLASSIFY):
            skb.tc_index = ids.minor(result.classid)
        passage = transmit(queueing.root, skb)
        self.environment.take_redirect()  # a qdisc's filters cannot: nobody carries it out
        for decision in passage.decisions:
            if result.filter is not None:
                self._number(plan, result)
                self.ledger.tally.filters[key_of(plan.filters[plan.numbers[result.filter]])].add(1, length)
            answer, result = decision.answer, decision.result
        return answer, result, passage.classid

    def _number(self, plan: Plan, result: ClassifyResult) -> int:
        """The number of the filter that decided; one that came during the run gets one."""
        assert result.filter is not None
        assert result.classifier is not None
        if result.filter not in plan.numbers:
            chain = result.classifier.chain
            parent = chain.block.classid if chain.block.binder is not None else 0
            plan.include(PlannedFilter(chain.index, result.classifier, result.filter, parent))
            self.ledger.bind(plan)
        return plan.numbers[result.filter]


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
