"""How does a block of filters become one native function?

`tc/` is the definition of what a block does with a packet: it tries filter after filter.  Here that
walk is written out as LLVM IR for one block, one link type and one side of a device, and the capture walk
(engine/walk.py) is compiled around it:

    walk_pcap ── decide ── classify ──┬─ prio 10 ─┬─ filter 0x2 ── program
                 (tag out  (the skb,  │           └─ filter 0x1 ── program
                  of data)  protocol) └─ prio 20 ─── …

A few filters are tried one after the other, their programs inlined (`linear.py`): the skb then exists
only as far as a program looks at it.  Of many, those that can match are looked up (`index.py`).

A plan is made of a block as it is at one `generation`; a block that has changed needs a new plan.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from ..errors import ClsbpfError
from ..profile import KernelProfile
from ..tc.chain import Block
from ..tc.filter import Filter
from ..vm import subset
from ..vm.environment import Environment
from ..vm.jit import NativeModule, find_object, load_object
from .kept_plans import plan_key
from .planned import FEW_INSNS, MIN_FILTERS, PlannedFilter, planned_filters
from .view import View
from .walk import count_file, count_pcap, read_at, walk_pcap, walk_pcapng

if TYPE_CHECKING:
    from .act_records import Records
    from .extended import Programs
    from .index import Index
    from .passages import Node, Tree

Walker = Callable[[int], int]
"""A native function of the address of the state cells."""


class Plan:
    """A block, compiled for a view.  `filters[n]` is what an outcome calls filter n (its number less 1).

    `linear`: try filters one by one, however many there are.  `tree` is the root qdisc that packets go on
    into, whose filters come behind the block's.
    """

    def __init__(
        self,
        block: Block,
        view: View,
        profile: KernelProfile,
        environment: Environment,
        *,
        linear: bool = False,
        tree: Tree | None = None,
    ) -> None:
        self.generation = block.generation
        self.block = block
        self.view = view
        self.tree = tree
        self.filters = tuple(planned_filters(block))
        self.own = len(self.filters)
        """How many filters are the block's own."""
        if tree is not None:
            self.filters += tuple(tree.filters)
        self.is_native = all(planned.is_native for planned in self.filters)
        self.counts_classes = tree is None and any(planned.has_other_classids for planned in self.filters)
        self.profile = profile
        self.environment = environment
        self._linear = linear
        self.sees_captured = any(planned.sees_captured for planned in self.filters)
        """Do some programs see frames as captured, among others that do not?"""
        self.watches = self.is_native and any(planned.is_extended for planned in self.filters)
        """Does a program look at the time of packets, perhaps?"""
        self.records: Records | None = None
        """Their actions, where there are any and all filters are native."""
        if self.is_native and any(planned.has_actions for planned in self.filters):
            from .act_records import Records

            self.records = Records([planned.filter for planned in self.filters])
        self._actions = self.records.around.generation if self.records is not None else 0

    @property
    def is_stale(self) -> bool:
        """Has the block changed since, an action, or the root qdisc?"""
        if self.tree is not None and self.tree.is_stale:
            return True
        if self.records is not None and self.records.around.generation != self._actions:
            return True
        return self.block.generation != self.generation

    @property
    def ends(self) -> Sequence[Node]:
        """The qdiscs in which packets' ways may end."""
        return self.tree.nodes if self.tree is not None else ()

    @functools.cached_property
    def numbers(self) -> dict[Filter, int]:
        """The filters' numbers."""
        return {planned.filter: number for number, planned in enumerate(self.filters)}

    def include(self, planned: PlannedFilter) -> None:
        """Number a filter that came into the block after the plan was made (and may be gone again)."""
        self.numbers[planned.filter] = len(self.filters)
        self.filters = (*self.filters, planned)

    @functools.cached_property
    def extended(self) -> Programs | None:
        """The extended programs, lowered, where there are any."""
        linked = [planned.program.linked for planned in self.filters if planned.is_extended]
        if not linked:
            return None
        from .extended import lower_programs

        return lower_programs((each for each in linked if each is not None), self.profile)

    @property
    def may_look_up(self) -> bool:
        """Are there enough filters, and may they be looked up?"""
        return not self._linear and len(self.filters) >= MIN_FILTERS

    @functools.cached_property
    def index(self) -> Index | None:
        """The index of the filters, where it helps and all of them can be looked up."""
        if not self.may_look_up or self.tree is not None:
            return None
        from .index import build_index

        return build_index(self.filters, self.profile)

    @functools.cached_property
    def pcap(self) -> Walk:
        """The walk over pcap windows."""
        return self._walk(walk_pcap)

    @functools.cached_property
    def counts(self) -> Walk:
        """The same for records of the usual form, where only counts are wanted."""
        if not self.may_interleave:
            return self._walk(count_pcap, count_file)
        from .lanes import count_lanes

        return self._walk(count_pcap, count_file, count_lanes)

    @property
    def may_interleave(self) -> bool:
        """May packets come in another order, and is it memory that they wait for (engine/lanes.py)?

        That is for a few small classic filters, which do nothing but look.
        """
        programs = [planned.classic for planned in self.filters]
        size = sum(FEW_INSNS + 1 if each is None else len(each.insns) for each in programs)
        is_plain = self.tree is None and not any(
            planned.has_actions or planned.has_state for planned in self.filters
        )
        return is_plain and size <= FEW_INSNS

    @functools.cached_property
    def pcapng(self) -> Walk:
        """The walk over pcapng windows."""
        return self._walk(walk_pcapng)

    def _walk(self, *walkers: Walker) -> Walk:
        """Compile; ClsbpfError where a filter cannot be part of a plan."""
        for planned in self.filters:
            if not planned.is_native:
                raise ClsbpfError(
                    f"filter {planned.filter.handle:#x} cannot be part of a native plan: {planned.obstacle}"
                )
        if self.index is None:
            return kept_walk(self, walkers)
        from .plan_code import indexed_walk

        return indexed_walk(self, self.index, walkers)


class Walk:
    """A compiled walk: call it with the address of the state cells; it returns a `Stop`.

    `run_file` is the one that reads the file itself (`walk.count_file`), `run_lanes` the one for a mapped
    file (`lanes.count_lanes`), if there are such.  `keeps` is what its code points to.  Where it
    `asks_python` an `Assistant` must be at work.
    """

    def __init__(
        self,
        module: NativeModule,
        walkers: Sequence[Walker],
        keeps: object = None,
        *,
        asks_python: bool = False,
    ) -> None:
        self._module = module
        self._keeps = keeps
        self.asks_python = asks_python
        native = [_FUNCTION(module.address(symbol)) for symbol in symbols_of(walkers)]
        self.run = native[0]
        self.run_file = native[1] if len(native) > 1 and read_at_address() else None
        self.run_lanes = native[2] if len(native) > 2 else None


_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)


def symbols_of(walkers: Iterable[Walker]) -> list[str]:
    """What the linker calls them."""
    return [subset.record_of(walker).symbol for walker in walkers]


def kept_walk(plan: Plan, walkers: Sequence[Walker]) -> Walk:
    """The walk that tries filters one after the other, new or as it was kept."""
    key = plan_key(plan, symbols_of(walkers))
    image = find_object(key) if key is not None else None
    if image is None:
        from .plan_code import linear_walk

        return linear_walk(plan, walkers, key)
    return Walk(load_object(image, symbols_of(walkers), outside()), walkers)


def outside(extended: Programs | None = None, *, whole: bool = False) -> dict[str, int]:
    """What a plan's code reaches that belongs to this process; `whole` as in `module_text`."""
    addresses = {subset.record_of(read_at).symbol: read_at_address()}
    if whole:
        from ..vm.native_calls import address_of
        from .in_python import act_in_python, fault_in_python, redirect_in_python

        called = (act_in_python, fault_in_python, redirect_in_python)
        addresses |= {(each := subset.record_of(one)).symbol: address_of(each) for one in called}
    if extended is not None:
        addresses |= extended.symbols.addresses
    return addresses


@functools.cache
def read_at_address() -> int:
    """Where the C library's pread(2) is; 0 on a system without one, where nobody calls it."""
    try:
        return ctypes.cast(ctypes.CDLL(None).pread, ctypes.c_void_p).value or 0
    except (AttributeError, OSError, TypeError):
        return 0
