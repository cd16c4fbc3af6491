"""What tests of `tc/` put around it: programs that are Python functions, a driver, a class binder, actions.

`tc/` needs no VM, and these are real enough to be asked afterwards what they still hold.
"""

from __future__ import annotations

import errno
import struct
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from clsbpf.errors import BytecodeError, NetlinkError
from clsbpf.profile import CURRENT, V4_13, KernelProfile
from clsbpf.skb import Skb
from clsbpf.tc.actions.hardware import FlowStats
from clsbpf.tc.chain import Block
from clsbpf.tc.filter import BpfOptions, Classifier, Filter
from clsbpf.tc.offload import OffloadCommand, OffloadRequest
from clsbpf.tc.result import ClassifyResult

ETH_P_ALL = 3
PROFILES = (CURRENT, V4_13)


class FunctionProgram:
    """A program that is a function of the packet."""

    def __init__(self, function: Callable[[Skb], int]) -> None:
        self.function = function

    def run(self, skb: Skb) -> int:
        return self.function(skb)


def ret_ops(value: int) -> bytes:
    """`ret #value`, the only classic program that `Programs` takes."""
    return struct.pack("<HBBI", 0x06, 0, 0, value)


class Programs:
    """A ProgramSource: classic programs of one `ret`, and functions behind descriptors."""

    def __init__(self) -> None:
        self.live: weakref.WeakSet[FunctionProgram] = weakref.WeakSet()
        self._by_fd: dict[int, Callable[[Skb], int]] = {}

    def fd(self, function: Callable[[Skb], int]) -> int:
        """A new descriptor whose program is `function`."""
        number = len(self._by_fd) + 3
        self._by_fd[number] = function
        return number

    def from_ops(self, ops: bytes) -> FunctionProgram:
        code, jt, jf, k = struct.unpack("<HBBI", ops[-8:])
        if (code, jt, jf) != (0x06, 0, 0):
            raise BytecodeError("the last instruction is not a return", 0)
        return self._keep(FunctionProgram(lambda skb: k))

    def from_fd(self, fd: int) -> FunctionProgram:
        if fd not in self._by_fd:
            raise NetlinkError(errno.EBADF)
        return self._keep(FunctionProgram(self._by_fd[fd]))

    def _keep(self, program: FunctionProgram) -> FunctionProgram:
        self.live.add(program)
        return program


@dataclass
class Binder:
    """A classful qdisc: it has the classes in `classes`, and counts who holds them."""

    classes: dict[int, str]
    held: Counter[str] = field(default_factory=Counter)
    parents: list[int] = field(default_factory=list)

    def bind(self, classid: int, parent: int) -> object | None:
        self.parents.append(parent)
        name = self.classes.get(classid)
        if name is not None:
            self.held[name] += 1
        return name

    def unbind(self, class_: object) -> None:
        assert isinstance(class_, str)
        assert self.held[class_] > 0
        self.held[class_] -= 1


@dataclass
class FixedActions:
    """Actions that always answer the same, after `effect`."""

    answer: int
    effect: Callable[[Skb, ClassifyResult], None] = lambda skb, result: None
    destroyed: bool = False

    def execute(self, skb: Skb, result: ClassifyResult) -> int:
        assert not self.destroyed
        self.effect(skb, result)
        return self.answer

    def settle(self) -> None:
        assert not self.destroyed

    def hardware_counted(self, stats: FlowStats, kind: int) -> None:
        assert not self.destroyed

    def destroy(self) -> None:
        assert not self.destroyed
        self.destroyed = True


class ActionMaker:
    """An ActionSource: the payload of TCA_BPF_ACT names an entry of `table`."""

    def __init__(self, **table: Callable[[], FixedActions]) -> None:
        self.table = table
        self.made: list[FixedActions] = []
        self.overrides: list[bool] = []

    def make(
        self, act: bytes | None, police: bytes | None, rate: bytes | None, override: bool, block: Block
    ) -> FixedActions:
        name = (act or police or b"").decode()
        if name not in self.table:
            raise NetlinkError(errno.ENOENT, "Failed to load TC action module")
        self.overrides.append(override)
        self.made.append(self.table[name]())
        return self.made[-1]

    @property
    def alive(self) -> int:
        return sum(not actions.destroyed for actions in self.made)


@dataclass
class Driver:
    """A driver that records what it was told, and refuses the commands in `refuses` with their errno.

    `hardware` is what its device runs: by (chain, prio, handle), the filter.
    """

    refuses: dict[OffloadCommand, int] = field(default_factory=dict)
    on: bool = True
    told: list[OffloadRequest] = field(default_factory=list)
    hardware: list[Filter] = field(default_factory=list)

    def can_offload(self) -> bool:
        return self.on

    def setup_tc(self, request: OffloadRequest) -> int:
        self.told.append(request)
        if error := self.refuses.get(request.command, 0):
            return error
        match request.command:
            case OffloadCommand.ADD:
                self.hardware.append(request.filter)
            case OffloadCommand.REPLACE:
                assert request.old is not None
                self.hardware[self.hardware.index(request.old)] = request.filter
            case OffloadCommand.DESTROY:
                self.hardware.remove(request.filter)
            case OffloadCommand.STATS:
                assert request.filter in self.hardware
        return 0

    @property
    def commands(self) -> list[OffloadCommand]:
        return [request.command for request in self.told]


@dataclass
class Lab:
    """A block with all its surroundings."""

    profile: KernelProfile = CURRENT
    driver: Driver | None = None
    binder: Binder | None = None
    actions: ActionMaker | None = None
    programs: Programs = field(default_factory=Programs)
    block: Block = field(init=False)

    def __post_init__(self) -> None:
        self.block = Block(
            self.programs,
            profile=self.profile,
            driver=self.driver,
            binder=self.binder,
            action_source=self.actions,
        )

    def classifier(self, prio: int = 1, protocol: int = ETH_P_ALL, chain: int = 0) -> Classifier:
        """A new classifier; only it holds its chain."""
        held = self.block.get_chain(chain)
        classifier = held.insert(prio, protocol)
        self.block.put_chain(held)
        return classifier

    def runs(self, function: Callable[[Skb], int], **options: Any) -> BpfOptions:
        """Options of a filter whose program is `function`."""
        return BpfOptions(fd=self.programs.fd(function), **options)


def returns(value: int, *, da: bool = False, **options: Any) -> BpfOptions:
    """Options of a classic filter that returns `value`."""
    if da:
        options["flags"] = 1
    return BpfOptions(ops_len=1, ops=ret_ops(value & 0xFFFFFFFF), **options)


FRAME = bytes.fromhex("0200000000020200000000010800") + bytes(range(46))


def frame_skb(frame: bytes = FRAME) -> Skb:
    """A packet on its way out."""
    return Skb.from_frame(frame)
