"""A driver that comes with the package: hardware that is a worker of its own.

A device with a `Worker` takes every filter that is not skip_hw, and a packet that meets a filter there is
decided by the worker, in its own thread, also where software would not run the filter at all (skip_sw).
The filter's actions run and count there, too; their counters come over when somebody asks for them, as a
card's do (FLOW_CLS_STATS).  What a packet is decided to is what software would have decided: so a policy
that relies on hardware can be tried without any.

Who classifies waits for the worker's answer: packets stay in order, and no packet is seen by two threads.
A worker that meets another device's worker (a packet that mirred sends there) does its work itself.

Mirrors what a driver does in ndo_setup_tc() for TC_SETUP_CLSBPF and TC_SETUP_ACT.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..errors import ClsbpfError
from ..skb import Skb
from ..tc.actions.action import HW_STATS_IMMEDIATE, AnyAction
from ..tc.actions.hardware import counts_in_hardware, in_hardware
from ..tc.filter import Filter, decide
from ..tc.offload import ActionCommand, OffloadCommand, OffloadDriver, OffloadRequest
from ..tc.result import ClassifyResult
from .actions import FilterActions


@dataclass(slots=True)
class FlowCount:
    """What a filter in hardware has met: packets that its program saw, and of them those it matched."""

    seen: int = 0
    matched: int = 0
    bytes: int = 0
    """Of those it matched, without the link-layer header at ingress."""


class Worker:
    """A driver for one device; what its methods are, `clsbpf.tc.offload` says.

    `capacity` is how many filters it holds (None: any number); one more is refused with ENOSPC.  `enabled`
    is `ethtool -K … hw-tc-offload`.
    """

    def __init__(self, *, capacity: int | None = None) -> None:
        self.capacity = capacity
        self.enabled = True
        self._held: dict[Filter, FlowCount] = {}
        self._actions: set[AnyAction] = set()
        self._lock = threading.Lock()
        self._thread: ThreadPoolExecutor | None = None

    # OffloadDriver, ActionDriver

    def can_offload(self) -> bool:
        """tc_can_offload()."""
        return self.enabled

    def setup_tc(self, request: OffloadRequest) -> int:
        """ndo_setup_tc(TC_SETUP_CLSBPF)."""
        with self._lock:
            return _COMMANDS[request.command](self, request)

    def setup_act(self, command: ActionCommand, action: AnyAction) -> int:
        """TC_SETUP_ACT: an action without a filter."""
        with self._lock:
            if command is ActionCommand.REPLACE:
                if not self.enabled:
                    return errno.EOPNOTSUPP
                self._actions.add(action)
            elif action not in self._actions:
                return errno.ENOENT
            elif command is ActionCommand.DESTROY:
                self._actions.remove(action)
            else:
                _tell(action)
        return 0

    # packets

    def decide(self, each: Filter, skb: Skb, result: ClassifyResult) -> int | None:
        """What the filter makes of a packet of the device, worked out by the worker."""
        if counts_in_hardware():
            return self._decide(each, skb, result)
        thread = self._thread or self._start()
        return thread.submit(self._decide, each, skb, result).result()

    def _decide(self, each: Filter, skb: Skb, result: ClassifyResult) -> int | None:
        size = skb.wire_len
        with in_hardware():
            answer = decide(each, skb, result, in_hardware=True)
        with self._lock:
            count = self._held.get(each)
            if count is not None:
                count.seen += 1
                if answer is not None and answer >= 0:
                    count.matched += 1
                    count.bytes += size
        return answer

    def _start(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="clsbpf-offload")
            return self._thread

    # what it holds

    @property
    def filters(self) -> tuple[Filter, ...]:
        """The filters in hardware, the first taken first."""
        with self._lock:
            return tuple(self._held)

    def count(self, each: Filter) -> FlowCount:
        """What a filter in hardware has met; KeyError for one that is not there."""
        with self._lock:
            found = self._held[each]
            return FlowCount(found.seen, found.matched, found.bytes)

    def close(self) -> None:
        """The worker ends; another starts with the next packet."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown()

    def _add(self, request: OffloadRequest) -> int:
        if self.capacity is not None and len(self._held) >= self.capacity:
            return errno.ENOSPC
        self._held[request.filter] = FlowCount()
        return 0

    def _replace(self, request: OffloadRequest) -> int:
        if request.old is None or request.old not in self._held:
            return errno.ENOENT
        del self._held[request.old]
        self._held[request.filter] = FlowCount()
        return 0

    def _destroy(self, request: OffloadRequest) -> int:
        return 0 if self._held.pop(request.filter, None) is not None else errno.ENOENT

    def _stats(self, request: OffloadRequest) -> int:
        if request.filter not in self._held:
            return errno.ENOENT
        if isinstance(request.filter.actions, FilterActions):
            for action in request.filter.actions.actions:
                _tell(action)
        return 0


_COMMANDS: dict[OffloadCommand, Callable[[Worker, OffloadRequest], int]] = {
    OffloadCommand.ADD: Worker._add,
    OffloadCommand.REPLACE: Worker._replace,
    OffloadCommand.DESTROY: Worker._destroy,
    OffloadCommand.STATS: Worker._stats,
}


def _tell(action: AnyAction) -> None:
    """What the action has counted in hardware comes over."""
    with action.lock:
        stats = action.in_hardware.take()
    action.hardware_counted(stats, HW_STATS_IMMEDIATE)


DRIVERS: dict[str, Callable[[], OffloadDriver]] = {"worker": Worker}
"""By name, the drivers that come with the package."""


def name_of(driver: OffloadDriver | None) -> str | None:
    """The name of a driver that comes with the package."""
    return next((name for name, make in DRIVERS.items() if type(driver) is make), None)


def driver_by_name(name: str) -> OffloadDriver:
    """A new driver of that name; ClsbpfError lists those that exist."""
    try:
        return DRIVERS[name]()
    except KeyError:
        raise ClsbpfError(f"no driver {name!r}; there are: {', '.join(DRIVERS)}") from None
