"""Filters in hardware: what a driver is asked, and when.

A driver whose device can run BPF is told of every filter of the block that is not `skip_hw`: ADD
the first time, REPLACE when another takes its place, DESTROY when the place ends, STATS when
someone wants to see its counters.  Software classifies as well unless the filter is `skip_sw`; so a
driver's refusal matters only where `skip_sw` promises that hardware does the work.

A filter's place in hardware is its handle's, and passes to the filter that replaces it.  Where a
refused command is tolerated, the hardware keeps what it holds: `Offload` remembers that, so that it
is replaced or destroyed with the new filter.  (The specification forgets it, and the hardware goes
on with a program that no one can take out.)

Mirrors struct tc_cls_bpf_offload, TCA_CLS_FLAGS_*, cls_bpf_offload() and its neighbours.
"""

from __future__ import annotations

import enum
import errno
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .refusal import refusal

if TYPE_CHECKING:
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
    count.  `filter.program`, `.actions`, `.name`, `.direct_action` and `.gen_flags` are what it is.
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
        """Do what is asked; 0, or the positive errno of a refusal, after which all is as before."""
        ...


def should_offload(driver: OffloadDriver | None, gen_flags: int) -> bool:
    """tc_should_offload(): is there a driver for it, and may it go there?"""
    return driver is not None and driver.can_offload() and not gen_flags & TCA_CLS_FLAGS_SKIP_HW


class Offload:
    """What a driver holds of one classifier's filters."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self._held: dict[int, Filter] = {}
        """By handle, the filter in hardware: after a refusal perhaps one that was replaced long ago."""

    def put(self, new: Filter, old: Filter | None) -> None:
        """cls_bpf_offload(): `new` goes to hardware, or what it replaces comes out; sets IN_HW.

        NetlinkError, and nothing is changed, when that fails and either filter is `skip_sw`.
        """
        block = self._classifier.chain.block
        if old is not None and not block.profile.skip_hw_may_change and _skips(new) != _skips(old):
            raise refusal(errno.EINVAL, "a replacement cannot change skip_hw or skip_sw")
        skip_sw = new.skip_sw or (old is not None and old.skip_sw)
        held = self._held.get(old.handle) if old is not None else None
        command = _command(should_offload(block.driver, new.gen_flags), held, new)
        if command is None and skip_sw:
            raise refusal(block.profile.skip_sw_errno, "skip_sw, but no device here offloads bpf filters")
        if command is not None:
            error = self._tell(command, new, held)
            if error and skip_sw:
                raise refusal(error, f"the driver refused to {command.name.lower()} the filter")
            if not error:
                held = None if command is OffloadCommand.DESTROY else new
        if old is not None:
            self._held.pop(old.handle, None)
        if held is not None:
            self._held[new.handle] = held
        if held is new:
            new.gen_flags |= TCA_CLS_FLAGS_IN_HW

    def stop(self, each: Filter) -> None:
        """cls_bpf_stop_offload(): the filter's place in hardware ends, whatever the driver says to it."""
        held = self._held.pop(each.handle, None)
        if held is None:
            return
        error = self._tell(OffloadCommand.DESTROY, each, held)
        if error:
            _log.error("Stopping hardware offload failed: %s", errno.errorcode.get(error, error))

    def update_stats(self, each: Filter) -> None:
        """cls_bpf_offload_update_stats(): the driver brings the actions' counters up to date."""
        if self._held.get(each.handle) is each:
            self._tell(OffloadCommand.STATS, each, each)

    def _tell(self, command: OffloadCommand, each: Filter, held: Filter | None) -> int:
        """cls_bpf_offload_cmd(): 0, or the errno of the driver's refusal."""
        classifier = self._classifier
        driver = classifier.chain.block.driver
        if driver is None:
            return errno.EOPNOTSUPP
        old = held if command is OffloadCommand.REPLACE else None
        about = held if command is OffloadCommand.DESTROY and held is not None else each
        return driver.setup_tc(
            OffloadRequest(command, classifier.chain.index, classifier.prio, classifier.protocol, about, old)
        )


def _skips(each: Filter) -> int:
    """cls_bpf_flags(): the flags that a request set."""
    return each.gen_flags & SUPPORTED_GEN_FLAGS


def _command(wanted: bool, held: Filter | None, new: Filter) -> OffloadCommand | None:
    """What to tell the driver when `new` comes and it holds `held`; None: nothing."""
    if wanted:
        return OffloadCommand.ADD if held is None else OffloadCommand.REPLACE
    if held is not None and not new.skip_sw:
        return OffloadCommand.DESTROY
    return None
