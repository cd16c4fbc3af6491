"""Which plan serves a packet?  One for each link type that a run meets, made when it is first met.

`Setup` is what a run classifies with.  Its block may depend on the link type, because a tcpdump
expression compiles for one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ..errors import ProgramFault
from ..link import LinkLayer
from ..profile import CURRENT, KernelProfile
from ..tc.actions.clock import CaptureClock
from ..tc.chain import Block
from ..tc.filter import Filter
from ..tc.qdiscs.qdisc import Qdisc
from ..vm.environment import Environment
from .delivery import OnDelivery
from .devices import Network
from .matches import describe_filter
from .plan import Plan
from .queueing import Queueing
from .view import View

if TYPE_CHECKING:
    from .queueing_plain import PlainQueueing
    from .tally import Tally

T = TypeVar("T")


def describe_program(prio: int, each: Filter) -> str:
    """What a filter matches, as its program says it."""
    return describe_filter(each)


@dataclass(frozen=True, slots=True)
class Setup:
    """What packets meet: the block for a link type, and from which side.

    `for_ethernet` says that the filters were written for Ethernet, whatever the capture has;
    `in_order` why packets must go through the classifier one by one: which filter cannot be part of a native
    plan; `matches` tells a reader what the filter of a prio matches.  `extra` are the
    columns of what programs may write (`written.py`).  With `keep_going` a packet on which a program
    faults is counted and goes without a verdict; otherwise the run ends there.  `linear`: never look
    filters up, try them one by one (to compare with).  `network` has the devices that packets can be sent to
    (None: any) and the clock of actions, and `on_delivery` gets what is sent.  `root` is the qdisc that
    packets are queued in after that, where it has classes; `plain` says that it is one (`queueing_plain`),
    and `block` its own.
    """

    block: Callable[[LinkLayer], Block]
    at_ingress: bool = True
    ifindex: int = 1
    for_ethernet: bool = True
    in_order: str | None = None
    extra: tuple[str, ...] = ()
    keep_going: bool = False
    linear: bool = False
    network: Network | None = None
    on_delivery: OnDelivery | None = None
    root: Qdisc | None = None
    plain: bool = False
    profile: KernelProfile = CURRENT
    environment: Environment | None = None
    matches: Callable[[int, Filter], str] = describe_program


class Plans:
    """The plans of a run.  `seconds` is what making them took."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.seconds = 0.0
        self.environment = setup.environment or Environment()
        self.queueing: Queueing | None = None
        """The root qdisc that packets go on into."""
        self.plain: PlainQueueing | None = None
        """The root qdisc whose counts are drawn from the plan's."""
        if setup.root is not None and setup.plain:
            from .queueing_plain import PlainQueueing

            self.plain = PlainQueueing(setup.root)
        elif setup.root is not None:
            self.queueing = Queueing(setup.root)
        self._plans: dict[int, Plan] = {}

    @property
    def clock(self) -> CaptureClock | None:
        """The clock that packets advance; None where there is no action to look at it."""
        network = self.setup.network
        if network is None or not any(map(len, network.actions.tables.values())):
            return None
        return network.clock if isinstance(network.clock, CaptureClock) else None

    def plan(self, link: LinkLayer) -> Plan:
        """The plan for a link type; a new one if the block has changed."""
        plan = self._plans.get(link.number)
        if plan is None or plan.is_stale:
            started = time.perf_counter()
            setup = self.setup
            view = View(link, setup.at_ingress, setup.ifindex)
            tree = None
            if self.queueing is not None:
                from .passages import Tree

                assert setup.network is not None
                tree = Tree(self.queueing.root, setup.network)
            plan = Plan(
                setup.block(link), view, setup.profile, self.environment, linear=setup.linear, tree=tree
            )
            self._plans[link.number] = plan
            self.seconds += time.perf_counter() - started
        return plan

    def forgive(self, fault: ProgramFault, tally: Tally, place: str) -> ProgramFault | None:
        """What to raise of a program's fault with the packet at `place`; None where it is only counted."""
        self.environment.take_redirect()
        if not self.setup.keep_going:
            return ProgramFault(f"{place}: {fault}", fault.insn)
        tally.faulted += 1
        return None

    def timed(self, make: Callable[[], T]) -> T:
        """Do something that counts as planning."""
        started = time.perf_counter()
        try:
            return make()
        finally:
            self.seconds += time.perf_counter() - started
