"""Filters in hardware: what a driver is asked, and when.

A driver whose device can run BPF is told of every filter of the block that is not `skip_hw`: ADD
the first time, REPLACE when another takes its place, DESTROY when the place ends, STATS when
someone wants to see its counters.  Software classifies as well unless the filter is `skip_sw`; so a
driver's refusal matters only where `skip_sw` promises that hardware does the work.

A filter's place in hardware is its handle's, and passes to the filter that replaces it.  Where a
refused command is tolerated, the hardware keeps what it holds: `Offload` remembers that, so that it
is replaced or destroyed with the new filter.  (The specification forgets it, and the hardware goes
on with a program that no one can take out.)

A shared block has a driver for each device that is bound to it (a *port*), and a filter is in as many
of them as take it.  What one driver did for a `skip_sw` filter is taken back when another refuses it.  A
device that is bound later is told of the filters that are there.

Mirrors struct tc_cls_bpf_offload, TCA_CLS_FLAGS_*, cls_bpf_offload() and its neighbours, and
tc_setup_cb_add() and cls_bpf_reoffload() for blocks of several devices.
"""

from __future__ import annotations

import enum
import errno
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..errors import ClsbpfError
from ..skb import Skb
from .refusal import refusal
from .result import ClassifyResult

if TYPE_CHECKING:
    from .actions.action import AnyAction
    from .filter import Classifier, Filter

_log = logging.getLogger(__name__)

TCA_CLS_FLAGS_SKIP_HW = 1 << 0
"""Do not offload the filter to hardware."""
TCA_CLS_FLAGS_SKIP_SW = 1 << 1
"""Do not run the filter in software."""
TCA_CLS_FLAGS_IN_HW = 1 << 2
"""Set by us: the filter is in hardware."""
TCA_CLS_FLAGS_NOT_IN_HW = 1 << 3
"""Set by us: the filter is not in hardware."""

SUPPORTED_GEN_FLAGS = TCA_CLS_FLAGS_SKIP_HW | TCA_CLS_FLAGS_SKIP_SW
"""CLS_BPF_SUPPORTED_GEN_FLAGS: what a request may set."""


def gen_flags_valid(flags: int) -> bool:
    """Only known bits, and not both skips (`tc_flags_valid`): a filter must run somewhere."""
    return not flags & ~SUPPORTED_GEN_FLAGS and flags != SUPPORTED_GEN_FLAGS


class OffloadCommand(enum.Enum):
    """enum tc_clsbpf_command."""

    ADD = 0
    REPLACE = 1
    DESTROY = 2
    STATS = 3


@dataclass(frozen=True, slots=True)
class OffloadRequest:
    """struct tc_cls_bpf_offload with its tc_cls_common_offload: one command to a driver.

    `filter` is the one to add, the one to put in the place of `old` (REPLACE only), to take out, or to
    count.  `filter.program`, `.actions`, `.name`, `.direct_action` and `.gen_flags` are what it is; STATS is
    answered by `filter.actions.hardware_counted`.
    """

    command: OffloadCommand
    chain: int
    prio: int
    protocol: int
    filter: Filter
    old: Filter | None = None


class OffloadDriver(Protocol):
    """A device's offload: NETIF_F_HW_TC and ndo_setup_tc(TC_SETUP_CLSBPF)."""

    def can_offload(self) -> bool:
        """tc_can_offload(): is offload switched on?"""
        ...

    def setup_tc(self, request: OffloadRequest) -> int:
        """Do what is asked; 0, or the positive errno of a refusal, after which all is as before.

        An exception is a refusal, too: a ClsbpfError with its errno, any other with EIO, and it is logged.
        """
        ...


@runtime_checkable
class DecidingDriver(Protocol):
    """A driver whose hardware is here: it decides packets itself, for the filters that it holds."""

    def decide(self, each: Filter, skb: Skb, result: ClassifyResult) -> int | None:
        """What a filter in this hardware makes of a packet of its device: as `filter.decide`."""
        ...


class ActionCommand(enum.Enum):
    """enum offload_act_command."""

    REPLACE = 0
    DESTROY = 1
    STATS = 2


@runtime_checkable
class ActionDriver(Protocol):
    """A driver that takes actions by themselves, too (TC_SETUP_ACT)."""

    def setup_act(self, command: ActionCommand, action: AnyAction) -> int:
        """Take an action, or what it has become; let it go; tell its counters.  As `setup_tc`."""
        ...


def tell_action(driver: ActionDriver, command: ActionCommand, action: AnyAction) -> int:
    """tcf_action_offload_cmd(), for one driver: 0, or the errno of its refusal."""
    return _asked(lambda: driver.setup_act(command, action), f"{command.name.lower()} an action")


def _asked(ask: Callable[[], int], what: str) -> int:
    """What a driver answers, be it by an exception."""
    try:
        return ask()
    except ClsbpfError as refused:
        return refused.errno or errno.EIO
    except Exception:  # a driver may be anybody's, and a request is always answered
        _log.exception("the driver failed to %s", what)
        return errno.EIO


def should_offload(driver: OffloadDriver | None, gen_flags: int) -> bool:
    """tc_should_offload(): is there a driver for it, and may it go there?"""
    return driver is not None and driver.can_offload() and not gen_flags & TCA_CLS_FLAGS_SKIP_HW


_Places = dict[int, "Filter"]
"""What the driver of each port (by ifindex) holds: after a refusal perhaps a filter replaced long ago."""


class Offload:
    """What drivers hold of one classifier's filters."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self._held: dict[int, _Places] = {}
        """By handle."""

    @property
    def in_use(self) -> bool:
        """Is any filter in hardware?"""
        return bool(self._held)

    def put(self, new: Filter, old: Filter | None) -> None:
        """cls_bpf_offload(): `new` goes to hardware, or what it replaces comes out; sets IN_HW.

        NetlinkError, and nothing is changed, when that fails and either filter is `skip_sw`.
        """
        profile = self._classifier.chain.block.profile
        if old is not None and not profile.skip_hw_may_change and _skips(new) != _skips(old):
            raise refusal(errno.EINVAL, "a replacement cannot change skip_hw or skip_sw")
        skip_sw = new.skip_sw or (old is not None and old.skip_sw)
        held = dict(self._held.get(old.handle, {})) if old is not None else {}
        commands = {port: _command(wanted, held.get(port), new) for port, wanted in self._wanted(new)}
        if skip_sw and (None in commands.values() or not commands):
            raise refusal(profile.skip_sw_errno, "skip_sw, but no device here offloads bpf filters")
        done: list[tuple[int, OffloadCommand, Filter | None]] = []
        for port, command in commands.items():
            if command is None:
                continue
            before = held.get(port)
            error = self._tell(port, command, new, before)
            if error and skip_sw:
                self._undo(done, new)
                raise refusal(error, f"the driver refused to {command.name.lower()} the filter")
            if not error:
                done.append((port, command, before))
                if command is OffloadCommand.DESTROY:
                    del held[port]
                else:
                    held[port] = new
        if old is not None:
            self._held.pop(old.handle, None)
        if held:
            self._held[new.handle] = held
        self._mark(new)

    def _wanted(self, new: Filter) -> Iterator[tuple[int, bool]]:
        """The ports, and whether their drivers should have the filter."""
        for port, driver in self._classifier.chain.block.drivers.items():
            yield port, should_offload(driver, new.gen_flags)

    def _undo(self, done: list[tuple[int, OffloadCommand, Filter | None]], new: Filter) -> None:
        """What the drivers before the one that refused did is taken back."""
        for port, command, before in reversed(done):
            if command is OffloadCommand.ADD:
                error = self._tell(port, OffloadCommand.DESTROY, new, new)
            elif command is OffloadCommand.REPLACE:
                assert before is not None
                error = self._tell(port, OffloadCommand.REPLACE, before, new)
            else:
                assert before is not None
                error = self._tell(port, OffloadCommand.ADD, before, None)
            if error:
                _log.error("Undoing hardware offload failed: %s", errno.errorcode.get(error, error))

    def _mark(self, each: Filter) -> None:
        """tc_cls_offload_cnt_update(): how many drivers hold the filter, and its flags for it."""
        drivers = self._classifier.chain.block.drivers
        ports = [port for port, held in self._held.get(each.handle, {}).items() if held is each]
        each.in_hw_count = len(ports)
        where = TCA_CLS_FLAGS_IN_HW if ports else TCA_CLS_FLAGS_NOT_IN_HW
        each.gen_flags = _skips(each) | where
        hardware: dict[int, DecidingDriver] = {}
        for port in ports:
            driver = drivers.get(port)
            if isinstance(driver, DecidingDriver):
                hardware[port] = driver
        each.hardware = hardware

    def stop(self, each: Filter) -> None:
        """cls_bpf_stop_offload(): the filter's place in hardware ends, whatever the drivers say to it."""
        for port, held in self._held.pop(each.handle, {}).items():
            self._stop(port, held)

    def _stop(self, port: int, held: Filter) -> None:
        error = self._tell(port, OffloadCommand.DESTROY, held, held)
        if error:
            _log.error("Stopping hardware offload failed: %s", errno.errorcode.get(error, error))

    def update_stats(self, each: Filter) -> None:
        """cls_bpf_offload_update_stats(): the drivers bring the actions' counters up to date."""
        for port, held in self._held.get(each.handle, {}).items():
            if held is each:
                self._tell(port, OffloadCommand.STATS, each, each)

    def bind(self, port: int) -> None:
        """cls_bpf_reoffload(): a device comes, and its driver is told of the filters.

        NetlinkError when it refuses one that is skip_sw; `unbind` then takes back what it took.
        """
        driver = self._classifier.chain.block.drivers[port]
        for each in self._classifier.filters:
            if not should_offload(driver, each.gen_flags):
                continue
            error = self._tell(port, OffloadCommand.ADD, each, None)
            if error and each.skip_sw:
                raise refusal(error, "the driver refused to add a filter that is skip_sw")
            if not error:
                self._held.setdefault(each.handle, {})[port] = each
                self._mark(each)

    def unbind(self, port: int) -> None:
        """cls_bpf_reoffload(): a device goes, and its driver forgets the filters."""
        for handle, places in list(self._held.items()):
            held = places.pop(port, None)
            if held is None:
                continue
            self._stop(port, held)
            if not places:
                del self._held[handle]
            each = self._classifier.get(handle)
            if each is not None:
                self._mark(each)

    def _tell(self, port: int, command: OffloadCommand, each: Filter, held: Filter | None) -> int:
        """cls_bpf_offload_cmd(): 0, or the errno of the driver's refusal."""
        classifier = self._classifier
        driver = classifier.chain.block.drivers.get(port)
        if driver is None:
            return errno.EOPNOTSUPP
        old = held if command is OffloadCommand.REPLACE else None
        about = held if command is OffloadCommand.DESTROY and held is not None else each
        request = OffloadRequest(
            command, classifier.chain.index, classifier.prio, classifier.protocol, about, old
        )
        return _asked(lambda: driver.setup_tc(request), f"{command.name.lower()} a filter")


def _skips(each: Filter) -> int:
    """cls_bpf_flags(): the flags that a request set."""
    return each.gen_flags & SUPPORTED_GEN_FLAGS


def _command(wanted: bool, held: Filter | None, new: Filter) -> OffloadCommand | None:
    """What to tell a driver when `new` comes and it holds `held`; None: nothing."""
    if wanted:
        return OffloadCommand.ADD if held is None else OffloadCommand.REPLACE
    if held is not None and not new.skip_sw:
        return OffloadCommand.DESTROY
    return None
