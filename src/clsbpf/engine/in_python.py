"""What does Python do while a native walk is under way?  What native code cannot, at the packet it is about.

Some helpers' bodies are Python (what they ask no number answers), some kinds of actions are, and packets that
go elsewhere go through Python.  Native code calls it there and then, so the order of things is that of the
classifier, whoever looks.  (To record such packets and finish them later would be no faster for them, and
the order could then be observed: by shared maps, by clocks, by filters of another device.)

`Assistant` has what such calls need: the packet as an object at a known place, which program runs, whom it
can be sent to.
"""

from __future__ import annotations

import contextlib
import ctypes
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..errors import ProgramFault
from ..skb import Skb
from ..tc.result import ClassifyResult
from ..vm.environment import Redirect
from ..vm.native_calls import flagging, keep, raise_pending, take_pending
from ..vm.native_memory import maps_of, ranges_of
from ..vm.native_program import code_in_use
from ..vm.native_skb import NativeSkb, fill, take_back
from ..vm.subset import external
from .walk_state import State

if TYPE_CHECKING:
    from ..tc.actions.action import AnyAction
    from ..vm.environment import Environment
    from ..vm.memory import Memory
    from ..vm.net import Socket
    from .delivery import Courier
    from .plan import Plan
    from .walk_state import Cells


class WalkSkb(NativeSkb):
    """The skb of a walk.  Its bytes are wherever native code has them; `buffer` is a copy of those, made when
    somebody asks, until one is given that holds them."""

    def __init__(self) -> None:
        super().__init__()
        self.pinned = None
        self.short = 0
        self._own: bytearray | None = None

    @property
    def buffer(self) -> bytearray:
        """The packet's buffer, from `head_ptr` to `end_ptr`."""
        if (
            self._own is not None
            and self.pinned is not None
            and self.head_ptr == ctypes.addressof(self.pinned)
        ):
            return self._own
        first = min(self.data_ptr, self.data_ptr + self.mac_off)
        captured = ctypes.string_at(first, self.data_end_ptr - first)
        made = bytearray(self.end_ptr - self.head_ptr)
        made[first - self.head_ptr : self.data_end_ptr - self.head_ptr] = captured
        return made

    @buffer.setter
    def buffer(self, made: bytearray) -> None:
        self._own = made


class Running:
    """What `Environment.running` is during a walk; what a program was shown is kept until the next packet."""

    def __init__(self, assistant: Assistant) -> None:
        self._assistant = assistant
        self._for: tuple[int, int] | None = None
        self._sockets: dict[int, Socket] = {}
        self._kept: list[object] = []
        self.skb: NativeSkb | None = assistant.skb
        self.profile = assistant.plan.profile
        self.memory: Memory | None = None
        self.shown: object = None

    def _look(self) -> None:
        assistant = self._assistant
        now = assistant.environment.packet, assistant.state[State.RUNNING]
        if now != self._for:
            self._for = now
            self._sockets, self._kept = {}, []

    @property
    def sockets(self) -> dict[int, Socket]:
        """As in `environment.Running`."""
        self._look()
        return self._sockets

    @property
    def kept(self) -> list[object]:
        """As in `environment.Running`."""
        self._look()
        return self._kept

    def name(self, number: int) -> str:
        """The name of a filter's program."""
        linked = self._assistant.plan.filters[number].program.linked
        return linked.name if linked is not None else ""

    def ranges(self) -> Iterator[tuple[int, int]]:
        """The values of the maps of all programs of the plan."""
        linked = (each.program.linked for each in self._assistant.plan.filters)
        return ranges_of(maps_of(*(each for each in linked if each is not None)))


Forgive = Callable[[ProgramFault, int], ProgramFault | None]
"""Told of a fault with a packet of a number: what to raise of it, None where the packet is only counted."""

_ASSISTANTS: weakref.WeakValueDictionary[int, Assistant] = weakref.WeakValueDictionary()


class Assistant:
    """Python's side of a walk; `state` are the walk's cells, by whose address native code names it."""

    def __init__(self, plan: Plan, state: Cells, courier: Courier, forgive: Forgive) -> None:
        self._forgive = forgive
        self.plan = plan
        self.state = state
        self.courier = courier
        self.environment: Environment = plan.environment
        self.skb = WalkSkb()
        state[State.SKB] = ctypes.addressof(self.skb)
        self.running = Running(self)
        _ASSISTANTS[state.address] = self

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """While native code runs; what went wrong in Python meanwhile is raised at the end."""
        environment = self.environment
        before = environment.enter(self.running, self.skb, self.state.address + State.RUNNING)
        self.state[State.FAULTED] = 0
        try:
            with code_in_use(), flagging(self.state.address + State.FAULTED):
                yield
            raise_pending()
        finally:
            environment.end(before)

    def fault(self) -> None:
        """Something went wrong in Python with the packet: it has no verdict, or the walk ends here."""
        error = take_pending()
        if isinstance(error, ProgramFault):
            error = self._forgive(error, self.environment.packet)
        if error is not None:
            keep(error)

    def begin(self) -> None:
        """Something is sent elsewhere, or an action is done: which packet is it about?"""
        self.courier.begin(self.environment.packet, self.state[State.TIME], self.plan.view.link.number)

    def deliver(self, skb: Skb, ifindex: int, flags: int) -> int:
        """`Courier.deliver`, for bpf_clone_redirect."""
        self.begin()
        return self.courier.deliver(skb, ifindex, flags)

    def take(self) -> Skb:
        """The packet as it is now, with a buffer of its own and `data` where the hook has it."""
        native = self.skb
        skb = Skb(bytearray(), 0, 0, 0, 0, 0, 0)
        take_back(native, skb, release=False)
        skb.buffer = bytearray(skb.buffer)
        skb.at_ingress = bool(native.at_ingress)
        skb.ifindex, skb.ingress_ifindex = native.ifindex, native.ingress_ifindex
        skb.hatype, skb.wire_len = native.hatype, native.wire_len
        if skb.at_ingress:
            skb.pull(skb.mac_len)
        return skb

    def put(self, skb: Skb) -> None:
        """The packet is this from now on."""
        if skb.at_ingress:
            skb.push(skb.mac_len)
        self.skb.tunnel = self.skb.trans_set = 0
        fill(skb, self.skb, self.environment.address)
        self.state[State.OWNED] = 1

    def act(self, action: AnyAction) -> int:
        """Do an action to the packet; its answer."""
        self.begin()
        skb = self.take()
        answer = action.act(skb, ClassifyResult())
        self.put(skb)
        return answer


@external
def fault_in_python(state: int) -> int:
    """`Assistant.fault`."""
    _ASSISTANTS[state].fault()
    return 0


@external
def redirect_in_python(state: int, skb: int, ifindex: int, flags: int) -> int:
    """`Courier.redirect`: the packet goes to another device."""
    assistant = _ASSISTANTS[state]
    assistant.begin()
    target = Redirect(ifindex, flags, bytes(assistant.environment.native.redirect_next_hop)[:20])
    assistant.courier.redirect(assistant.take(), target)
    return 0


@external
def act_in_python(state: int, number: int) -> int:
    """The action that is `number` of the plan's records, done to the packet."""
    assistant = _ASSISTANTS[state]
    assert assistant.plan.records is not None
    return assistant.act(assistant.plan.records.held[number])
